//! What bear, the statistics behind the seed's `compile_stats`, says of samples: the same definitions
//! (boundary/bear, src/bear.erl), of all samples. They differ where bear has no answer and gives 0: for fewer than five
//! samples, for the third and fourth moment of samples that are all alike, and, with a 0 among the samples, for the
//! geometric and the harmonic mean, where it leaves that sample out of the sum.

use std::collections::BTreeMap;

use serde::Serialize;

/// Thousandths below which a percentile lies, and its name.
pub(super) const PERCENTILES: [(u64, &str); 6] = [
    (500, "50"),
    (750, "75"),
    (900, "90"),
    (950, "95"),
    (990, "99"),
    (999, "99.9"),
];

/// Statistics of samples, in ms (the variance in ms squared). What is not defined for them is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// How many samples there are.
    pub samples: u64,
    /// The smallest.
    pub min: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
    /// Sum over number.
    pub arithmetic_mean: Option<f64>,
    /// exp(mean of the logarithms); 0 with a sample of 0.
    pub geometric_mean: Option<f64>,
    /// Number over the sum of the reciprocals; 0 with a sample of 0.
    pub harmonic_mean: Option<f64>,
    /// The percentile 50.
    pub median: Option<f64>,
    /// Of a sample: sum of the squared differences from the mean over n - 1.
    pub variance: Option<f64>,
    /// Root of the variance.
    pub standard_deviation: Option<f64>,
    /// Mean of the cubed differences from the mean, over the standard deviation (of n - 1) cubed.
    pub skewness: Option<f64>,
    /// Mean of the fourth powers of the differences, over the standard deviation (of n - 1) to the fourth, minus 3.
    pub kurtosis: Option<f64>,
    /// By name, `75`, `99.9`: the sample number round(p n / 100) in ascending order, at least the first; a half is rounded
    /// up. Nothing is interpolated.
    pub percentile: BTreeMap<String, f64>,
    /// Counts of samples up to and including each edge and above the edge before it. Bins are 3.5 standard deviations over the
    /// cube root of n wide, in whole ns; their edges are rounded up to about two digits, so that those far out are wider.
    pub histogram: Vec<Bin>,
}

/// A bin of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Its upper edge, which belongs to it.
    pub up_to: f64,
    /// Samples in it.
    pub count: u64,
}

const NS_PER_MS: f64 = 1e6;

impl Statistics {
    /// Of samples in ns, in any order.
    pub fn of(mut samples_ns: Vec<u64>) -> Self {
        samples_ns.sort_unstable();
        let samples = &samples_ns[..];
        let (Some(&min_ns), Some(&max_ns)) = (samples.first(), samples.last()) else {
            return Self::default();
        };
        let ms = |ns: f64| Some(ns / NS_PER_MS);
        let means = Means::of(samples);
        let moments = Moments::of(samples, means.arithmetic);
        Self {
            samples: samples.len() as u64,
            min: ms(min_ns as f64),
            max: ms(max_ns as f64),
            arithmetic_mean: ms(means.arithmetic),
            geometric_mean: ms(means.geometric),
            harmonic_mean: ms(means.harmonic),
            median: ms(percentile(samples, 500) as f64),
            variance: moments.variance.map(|ns2| ns2 / NS_PER_MS / NS_PER_MS),
            standard_deviation: moments.deviation().map(|ns| ns / NS_PER_MS),
            skewness: moments.skewness,
            kurtosis: moments.kurtosis,
            percentile: PERCENTILES
                .iter()
                .map(|(thousandths, name)| {
                    let ns = percentile(samples, *thousandths);
                    ((*name).to_owned(), ns as f64 / NS_PER_MS)
                })
                .collect(),
            histogram: histogram(samples, moments.deviation().unwrap_or(0.0)),
        }
    }
}

/// The sample below which so many thousandths lie. `sorted` has at least one.
fn percentile(sorted: &[u64], thousandths: u64) -> u64 {
    let number = (sorted.len() as u64 * thousandths + 500) / 1000;
    sorted[number.max(1) as usize - 1]
}

struct Means {
    arithmetic: f64,
    geometric: f64,
    harmonic: f64,
}

impl Means {
    fn of(samples: &[u64]) -> Self {
        let n = samples.len() as f64;
        let sum: u128 = samples.iter().map(|&ns| u128::from(ns)).sum();
        let (mut logarithms, mut reciprocals) = (Sum::default(), Sum::default());
        for &ns in samples {
            logarithms.add((ns as f64).ln());
            reciprocals.add((ns as f64).recip());
        }
        Self {
            arithmetic: sum as f64 / n,
            geometric: (logarithms.total / n).exp(),
            harmonic: n / reciprocals.total,
        }
    }
}

/// Moments about the mean.
struct Moments {
    variance: Option<f64>,
    skewness: Option<f64>,
    kurtosis: Option<f64>,
}

impl Moments {
    fn of(samples: &[u64], mean: f64) -> Self {
        let n = samples.len() as f64;
        let mut sums = [Sum::default(); 3];
        for &ns in samples {
            let difference = ns as f64 - mean;
            let square = difference * difference;
            sums[0].add(square);
            sums[1].add(square * difference);
            sums[2].add(square * square);
        }
        let [squares, cubes, fourths] = sums.map(|sum| sum.total);
        let variance = (n >= 2.0).then(|| squares / (n - 1.0));
        let spread = variance.filter(|variance| *variance > 0.0);
        Self {
            variance,
            skewness: spread.map(|variance| cubes / n / variance.powf(1.5)),
            kurtosis: spread.map(|variance| fourths / n / (variance * variance) - 3.0),
        }
    }

    fn deviation(&self) -> Option<f64> {
        self.variance.map(f64::sqrt)
    }
}

/// A sum of many numbers that keeps what each addition loses (Kahan 1965).
#[derive(Clone, Copy, Default)]
struct Sum {
    total: f64,
    lost: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        if !value.is_finite() {
            // The logarithm and the reciprocal of 0: nothing is lost of what has no digits.
            self.total += value;
            return;
        }
        let value = value - self.lost;
        let total = self.total + value;
        self.lost = if total.is_finite() {
            (total - self.total) - value
        } else {
            0.0
        };
        self.total = total;
    }
}

/// `sorted` has at least one sample.
fn histogram(sorted: &[u64], deviation: f64) -> Vec<Bin> {
    let (min_ns, max_ns) = (sorted[0], sorted[sorted.len() - 1]);
    let mut bins = Vec::new();
    let mut rest = sorted;
    for edge_ns in edges(min_ns, max_ns, deviation, sorted.len()) {
        let (inside, above) = rest.split_at(rest.partition_point(|&ns| ns <= edge_ns));
        bins.push(Bin {
            up_to: edge_ns as f64 / NS_PER_MS,
            count: inside.len() as u64,
        });
        rest = above;
    }
    bins
}

/// Upper edges of bins, as bear chooses them, in ns where it has the unit of its samples.
fn edges(min_ns: u64, max_ns: u64, deviation: f64, samples: usize) -> Vec<u64> {
    let width = (3.5 * deviation / (samples as f64).cbrt()).round() as u64;
    let width = width.max(1);
    let count = (max_ns - min_ns + width / 2) / width + 1;
    if count <= 1 {
        return vec![max_ns];
    }
    let mut edges = Vec::new();
    let mut number = 1;
    while number <= count {
        let edge = rounded_up(number.saturating_mul(width));
        edges.push(min_ns.saturating_add(edge));
        // All multiples up to this edge are rounded to it.
        number = edge / width + 1;
    }
    edges
}

/// The next multiple of the power of ten that leaves it about two digits.
fn rounded_up(edge: u64) -> u64 {
    let exponent = ((edge as f64).log10() - 1.0).round();
    let base = match exponent >= 1.0 {
        true => 10u64.pow(exponent as u32),
        false => 1,
    };
    edge.div_ceil(base).saturating_mul(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_samples_have_what_is_defined_for_them() {
        assert_eq!(Statistics::of(Vec::new()), Statistics::default());
        let one = Statistics::of(vec![2_000_000]);
        assert_eq!(
            (one.samples, one.min, one.median),
            (1, Some(2.0), Some(2.0))
        );
        assert_eq!((one.variance, one.skewness), (None, None));
        assert_eq!(
            one.histogram,
            [Bin {
                up_to: 2.0,
                count: 1
            }]
        );
        let alike = Statistics::of(vec![5; 10]);
        assert_eq!((alike.variance, alike.kurtosis), (Some(0.0), None));
        let with_zero = Statistics::of(vec![0, 4_000_000]);
        let means = (with_zero.geometric_mean, with_zero.harmonic_mean);
        assert_eq!(means, (Some(0.0), Some(0.0)));
    }

    #[test]
    fn a_percentile_is_a_sample_and_a_half_is_rounded_up() {
        let sorted: Vec<u64> = (1..=10).collect();
        let of = |thousandths| percentile(&sorted, thousandths);
        assert_eq!([500, 750, 900, 950, 999].map(of), [5, 8, 9, 10, 10]);
        assert_eq!(percentile(&[7], 1), 7);
    }

    #[test]
    fn every_sample_is_in_one_bin_and_bins_are_few() {
        let mut state = 1u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 33
        };
        for longest in [1, 100, 1 << 20, 1 << 31] {
            let mut samples: Vec<u64> = (0..1_000).map(|_| random() % longest).collect();
            samples.push(60_000_000_000);
            let statistics = Statistics::of(samples);
            let bins = &statistics.histogram;
            assert_eq!(bins.iter().map(|bin| bin.count).sum::<u64>(), 1_001);
            assert!(bins.is_sorted_by(|one, other| one.up_to < other.up_to));
            assert!(bins.len() < 400, "{}", bins.len());
        }
    }
}
