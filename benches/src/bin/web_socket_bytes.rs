//! How fast WebSocket payloads are masked, moved and judged, beside memcpy, each in turn (A B A B ...).

use engine::websocket::{mask, utf8::Utf8};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long one measurement takes, and how many of each there are.
const TURN: Duration = Duration::from_millis(60);
const TURNS: usize = 11;

/// One way to go through a buffer. The second buffer is as large as the first.
type Way = fn(&mut [u8], &mut [u8]);

const PAGE_BYTES: usize = 4096;

const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

const WAYS: [(&str, Way); 5] = [
    ("memcpy", |bytes, other| other.copy_from_slice(bytes)),
    ("mask in place", |bytes, _| mask::apply(bytes, KEY)),
    ("mask and move down by 4", |bytes, _| {
        mask::apply_moving(bytes, 4..bytes.len(), 0, KEY);
    }),
    ("UTF-8, ASCII", |bytes, _| judge(bytes)),
    ("UTF-8, two-byte characters", |_, other| judge(other)),
];

fn judge(bytes: &[u8]) {
    let mut text = Utf8::default();
    let good = text.push(bytes) && text.is_complete();
    black_box(good);
}

fn main() {
    println!(
        "| bytes | way | GB/s, median | least .. most | of memcpy |\n|---:|---|---:|---|---:|"
    );
    for size in [64, 1024, 16 * 1024, 1 << 20] {
        let mut rates = vec![Vec::new(); WAYS.len()];
        for _ in 0..TURNS {
            for ((_, way), rates) in WAYS.iter().zip(&mut rates) {
                rates.push(rate(*way, size));
            }
        }
        for rates in &mut rates {
            rates.sort_by(f64::total_cmp);
        }
        let memcpy = rates[0][TURNS / 2];
        for ((name, _), rates) in WAYS.iter().zip(&rates) {
            let median = rates[TURNS / 2];
            println!(
                "| {size} | {name} | {median:.1} | {:.1} .. {:.1} | {:.2} |",
                rates[0],
                rates[TURNS - 1],
                median / memcpy
            );
        }
    }
}

/// Bytes per ns: GB/s.
fn rate(way: Way, size: usize) -> f64 {
    let ascii: Vec<u8> = (0..size).map(|index| b'a' + (index % 26) as u8).collect();
    let two_bytes = "\u{e4}".repeat(size / 2).into_bytes();
    // Half a page apart within their pages: where the second lies a few bytes behind the first in its page, as malloc
    // would place them, some processors copy at a tenth of their speed.
    let second = size.next_multiple_of(PAGE_BYTES) + PAGE_BYTES / 2;
    let mut memory = vec![0; second + size];
    memory[..size].copy_from_slice(&ascii);
    memory[second..].copy_from_slice(&two_bytes);
    let (bytes, other) = memory.split_at_mut(second);
    let bytes = &mut bytes[..size];
    let (begun, mut done) = (Instant::now(), 0_u64);
    while begun.elapsed() < TURN {
        for _ in 0..(1 << 16) / size.min(1 << 16) {
            way(black_box(&mut *bytes), black_box(&mut *other));
            done += size as u64;
        }
    }
    done as f64 / begun.elapsed().as_nanos() as f64
}
