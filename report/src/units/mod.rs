//! Sizes, rates, durations and counts: as users type them, and as people read them.
//!
//! The rule, the same everywhere: **sizes are binary** (`64K` = `64KiB` = 65536 bytes), **rates are
//! decimal bits** (`10G` = `10Gbit/s` = 10 000 000 000 bit/s), **counts are decimal** (`10k` =
//! 10 000), **durations always have a unit** (`10s`, `500ms`, `250us`, `1m30s`).
//!
//! Parsing is exact: a number with a fraction is accepted if it comes out whole (`1.5K` is 1536)
//! and refused if not. `format_*` writes what `parse_*` reads back to the same number; `human_*`
//! rounds to three significant digits for reading.

mod human;
mod parse;

pub use human::{
    counted, grouped, human_bit_rate, human_bytes, human_cores, human_count, human_duration_ns,
    human_ns, human_percent,
};
pub use parse::{
    UnitError, format_count, format_duration_ns, format_rate, format_size, parse_count,
    parse_duration_ns, parse_rate, parse_size,
};
