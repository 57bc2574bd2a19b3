//! Mean, median, spread, and the confidence interval of a mean.

/// Arithmetic mean; `None` for no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    Some(values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation, the square root of the sum of squares about the mean divided by
/// n - 1; `None` for fewer than two values.
///
/// Two passes: Chan, Golub, LeVeque, "Algorithms for Computing the Sample Variance", The American
/// Statistician 37 (1983), equation 1.7 (the corrected two-pass algorithm).
pub fn sample_standard_deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values)?;
    let n = values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let rest: f64 = values.iter().map(|value| value - mean).sum();
    Some(((squares - rest * rest / n) / (n - 1.0)).max(0.0).sqrt())
}

/// Median: the middle value, or the mean of the two middle ones; `None` for no values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = sorted[sorted.len() / 2 - 1];
    Some(lower + (upper - lower) / 2.0)
}

/// Half the width of the two-sided confidence interval of the mean at `level` (0.95 for 95 %):
/// `t(1 - (1 - level) / 2, n - 1) * s / sqrt(n)`; `None` for fewer than two values.
///
/// Student, "The Probable Error of a Mean", Biometrika 6 (1908); NIST/SEMATECH e-Handbook of
/// Statistical Methods, section 1.3.5.2. It assumes independent values from a roughly normal
/// distribution.
pub fn confidence_half_width(values: &[f64], level: f64) -> Option<f64> {
    let deviation = sample_standard_deviation(values)?;
    let n = values.len() as f64;
    let t = student_t_quantile(0.5 + level / 2.0, n - 1.0)?;
    Some(t * deviation / n.sqrt())
}

/// The value that a Student t variable with `degrees` degrees of freedom does not exceed with
/// probability `p`; `None` unless `0 < p < 1` and `degrees > 0`.
///
/// Solved from [`student_t_upper_tail`] by bisection, which cannot diverge; the result is good to
/// about 1e-10 relative.
pub fn student_t_quantile(p: f64, degrees: f64) -> Option<f64> {
    let inside = p > 0.0 && p < 1.0 && degrees > 0.0 && degrees.is_finite();
    if !inside {
        return None;
    }
    if p < 0.5 {
        return student_t_quantile(1.0 - p, degrees).map(|t| -t);
    }
    let tail = 1.0 - p;
    let mut low = 0.0;
    let mut high = 1.0;
    while student_t_upper_tail(high, degrees) > tail {
        low = high;
        high *= 2.0;
        if !f64::is_finite(high) {
            return None;
        }
    }
    // Each step halves the bracket; 200 exhaust a double from any start.
    for _ in 0..200 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if student_t_upper_tail(middle, degrees) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low + (high - low) / 2.0)
}

/// The value that a standard normal variable does not exceed with probability `0.5 <= p < 1`, good to
/// 0.0005.
///
/// Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.23.
pub(super) fn normal_quantile(p: f64) -> f64 {
    let t = (-2.0 * (1.0 - p).ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - above / below
}

/// Probability that a Student t variable exceeds `t >= 0`: `I_x(degrees/2, 1/2) / 2` with
/// `x = degrees / (degrees + t^2)`.
///
/// Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.1 with 26.5.27.
pub fn student_t_upper_tail(t: f64, degrees: f64) -> f64 {
    0.5 * regularized_incomplete_beta(degrees / (degrees + t * t), degrees / 2.0, 0.5)
}

/// The regularized incomplete beta function `I_x(a, b)` for `0 <= x <= 1`, `a, b > 0`.
///
/// By the continued fraction of the NIST Digital Library of Mathematical Functions, 8.17.22, used
/// where it converges fast (`x < (a + 1) / (a + b + 2)`), else by the symmetry 8.17.4.
fn regularized_incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - regularized_incomplete_beta(1.0 - x, b, a);
    }
    let log_front =
        a * x.ln() + b * (-x).ln_1p() + log_gamma(a + b) - log_gamma(a) - log_gamma(b) - a.ln();
    log_front.exp() * beta_continued_fraction(x, a, b)
}

/// `1 / (1 + d1 / (1 + d2 / (1 + ...)))`, DLMF 8.17.22 and 8.17.23, evaluated front to back by the
/// modified Lentz method (DLMF 3.10(iii); Thompson and Barnett, J. Comput. Phys. 64 (1986)).
fn beta_continued_fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut numerator = 1.0;
    let mut denominator = away_from_zero(1.0 - (a + b) * x / (a + 1.0)).recip();
    let mut fraction = denominator;
    for step in 1..=10_000u32 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for coefficient in [even, odd] {
            denominator = away_from_zero(1.0 + coefficient * denominator).recip();
            numerator = away_from_zero(1.0 + coefficient / numerator);
            change = denominator * numerator;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-16 {
            break;
        }
    }
    fraction
}

/// Logarithm of the gamma function for `x > 0`.
///
/// Stirling's series, DLMF 5.11.1, after the recurrence `gamma(x + 1) = x gamma(x)` (DLMF 5.5.1)
/// has brought the argument to at least 10, where eight terms are exact to a double.
fn log_gamma(x: f64) -> f64 {
    // B(2k) / (2k (2k - 1)) for k = 1 ... 8.
    const TERMS: [f64; 8] = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360_360.0,
        1.0 / 156.0,
        -3617.0 / 122_400.0,
    ];
    let mut product = 1.0;
    let mut shifted = x;
    while shifted < 10.0 {
        product *= shifted;
        shifted += 1.0;
    }
    let inverse_square = (shifted * shifted).recip();
    let series = TERMS
        .iter()
        .rev()
        .fold(0.0, |sum, term| sum * inverse_square + term)
        / shifted;
    (shifted - 0.5) * shifted.ln() - shifted + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
        - product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: f64, expected: f64) {
        let allowed = 1e-9 * expected.abs().max(1.0);
        assert!(
            (found - expected).abs() <= allowed,
            "found {found}, expected {expected}"
        );
    }

    /// `scipy.stats.t.ppf(p, df)`, SciPy 1.17.1.
    const PROBABILITIES: [f64; 6] = [0.6, 0.9, 0.95, 0.975, 0.995, 0.9995];
    const GOLDEN: [(f64, [f64; 6]); 11] = [
        (
            1.0,
            [
                0.32491969623290634,
                3.0776835371752544,
                6.313751514675037,
                12.706204736174694,
                63.656741162871526,
                636.6192487687897,
            ],
        ),
        (
            2.0,
            [
                0.2886751345948128,
                1.8856180831641272,
                2.9199855803537242,
                4.302652729749462,
                9.924843200918287,
                31.599054576445365,
            ],
        ),
        (
            3.0,
            [
                0.2766706623326898,
                1.637744353696209,
                2.3533634348018233,
                3.1824463052837078,
                5.840909309733355,
                12.923978636687961,
            ],
        ),
        (
            4.0,
            [
                0.2707222947075976,
                1.533206274058944,
                2.1318467863266495,
                2.7764451051977934,
                4.604094871349992,
                8.610301581379522,
            ],
        ),
        (
            5.0,
            [
                0.2671808657041451,
                1.4758840488244815,
                2.0150483733330233,
                2.5705818356363146,
                4.032142983555228,
                6.868826625881276,
            ],
        ),
        (
            9.0,
            [
                0.260955336473911,
                1.3830287383966329,
                1.833112932656237,
                2.262157162798205,
                3.249835541592126,
                4.780912585931217,
            ],
        ),
        (
            10.0,
            [
                0.2601848294920803,
                1.372183641110336,
                1.8124611228116756,
                2.228138851986274,
                3.16927267261695,
                4.586893858702708,
            ],
        ),
        (
            29.0,
            [
                0.25568363457125604,
                1.311433647301551,
                1.6991270265334972,
                2.045229642132703,
                2.756385903670605,
                3.6594050194663748,
            ],
        ),
        (
            30.0,
            [
                0.2556053649519128,
                1.3104150253913955,
                1.697260886593957,
                2.0422724563012378,
                2.7499956535672254,
                3.6459586350420627,
            ],
        ),
        (
            100.0,
            [
                0.25402218245822766,
                1.290074761346516,
                1.6602343260853392,
                1.9839715185235518,
                2.6258905214380173,
                3.390491311164263,
            ],
        ),
        (
            1000.0,
            [
                0.25341451583949876,
                1.2823987214609247,
                1.6463788172854643,
                1.9623390808264083,
                2.580754698065951,
                3.300282648423944,
            ],
        ),
    ];

    #[test]
    fn the_t_quantile_agrees_with_scipy() {
        for (degrees, row) in GOLDEN {
            for (p, expected) in PROBABILITIES.iter().zip(row) {
                assert_close(student_t_quantile(*p, degrees).unwrap(), expected);
                assert_close(student_t_quantile(1.0 - p, degrees).unwrap(), -expected);
            }
        }
    }

    #[test]
    fn the_t_quantile_has_limits() {
        assert_close(student_t_quantile(0.5, 3.0).unwrap(), 0.0);
        for (p, degrees) in [(0.0, 3.0), (1.0, 3.0), (f64::NAN, 3.0), (0.9, 0.0)] {
            assert_eq!(student_t_quantile(p, degrees), None);
        }
        // The normal distribution is its limit: 1.959963984540054 by scipy.stats.norm.ppf(0.975).
        let nearly_normal = student_t_quantile(0.975, 1e9).unwrap();
        assert!((nearly_normal - 1.959_963_984_540_054).abs() < 1e-6);
    }

    #[test]
    fn the_log_of_gamma() {
        assert_close(log_gamma(1.0), 0.0);
        assert_close(log_gamma(0.5), std::f64::consts::PI.sqrt().ln());
        assert_close(log_gamma(11.0), 3_628_800f64.ln());
    }

    #[test]
    fn mean_deviation_median_and_interval() {
        // numpy.mean, numpy.std(ddof=1), numpy.median, scipy.stats.sem * t.ppf(0.975, 4).
        let values = [93_400.0, 92_100.0, 94_800.0, 93_000.0, 95_200.0];
        assert_close(mean(&values).unwrap(), 93700.0);
        assert_close(
            sample_standard_deviation(&values).unwrap(),
            1284.523257866513,
        );
        assert_close(median(&values).unwrap(), 93400.0);
        assert_close(
            confidence_half_width(&values, 0.95).unwrap(),
            1594.9462841482589,
        );
    }

    #[test]
    fn what_is_not_defined_is_none() {
        assert_eq!(mean(&[]), None);
        assert_eq!(median(&[]), None);
        assert_eq!(sample_standard_deviation(&[1.0]), None);
        assert_eq!(confidence_half_width(&[1.0], 0.95), None);
        assert_eq!(sample_standard_deviation(&[3.0, 3.0]), Some(0.0));
        assert_eq!(median(&[1.0, 4.0]), Some(2.5));
    }

    #[test]
    fn a_large_mean_does_not_swallow_a_small_deviation() {
        let values = [1e12 + 1.0, 1e12 + 2.0, 1e12 + 3.0];
        assert_close(sample_standard_deviation(&values).unwrap(), 1.0);
    }
}
