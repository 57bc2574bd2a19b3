//! Statistics over rounds: pure functions on slices, each with its source.
//!
//! Functions return `None` where the statistic is not defined, never NaN.

mod mean;
mod random;

pub use mean::{
    confidence_half_width, mean, median, sample_standard_deviation, student_t_quantile,
    student_t_upper_tail,
};
pub use random::SplitMix64;
