#!/usr/bin/env python3
"""Golden data for report/tests/suite/golden.rs, from packages that share no code with linerate.

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0
    venv/bin/python report/tests/golden/generate.py > report/tests/golden/statistics.json

What the packages do not have (intervals from ranks, MSER-5) is computed here by brute force over all
sign patterns or orders, and not by the recursions that linerate uses.
"""
import itertools
import json

import numpy as np
import scipy.stats as st
from statsmodels.stats.multitest import multipletests

random = np.random.default_rng(20261121)


def walsh(d):
    return np.sort([(d[i] + d[j]) / 2 for i in range(len(d)) for j in range(i, len(d))])


def ranks_below(totals, level):
    """Largest C >= 1 with P(T <= C - 1) <= (1 - level) / 2, and the level attained."""
    cumulative = lambda k: np.mean(totals <= k)
    c = 1
    while cumulative(c) <= (1 - level) / 2:
        c += 1
    return c, 1 - 2 * cumulative(c - 1)


def signed_rank_totals(n):
    patterns = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    return patterns @ np.arange(1, n + 1)


def paired(d):
    averages = walsh(d)
    c, level = ranks_below(signed_rank_totals(len(d)), 0.95)
    permuted = st.permutation_test(
        (d,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    return {
        "differences": list(d),
        "hodges_lehmann": float(np.median(averages)),
        "low": float(averages[c - 1]),
        "high": float(averages[-c]),
        "level": float(level),
        "sign_flip_p": float(permuted.pvalue),
        "detectable": float(detectable(d, 0.05 / 3, 0.01)),
    }


def detectable(d, level, least):
    """The rule of statistics/sign_flip.rs, with scipy's quantiles."""
    n, s = len(d), np.std(d, ddof=1)
    patterns = 2 ** (n - 1)
    allowed = int(level * patterns)
    if allowed < 2:
        significant = s * st.norm.ppf(0.8 ** (1 / n))
    else:
        t = st.t.ppf(1 - allowed / patterns / 2, n - 1)
        significant = (t + st.norm.ppf(0.8)) * s / np.sqrt(n) * (1 + 0.2 / allowed)
    return max(significant, least + st.norm.ppf(0.9) * s / np.sqrt(n))


def rank_sum_totals(n, m):
    orders = itertools.combinations(range(n + m), m)
    return np.array([sum(o) - m * (m - 1) // 2 for o in orders])


def unpaired(x, y):
    differences = np.sort(np.subtract.outer(y, x).ravel())
    c, level = ranks_below(rank_sum_totals(len(x), len(y)), 0.95)
    return {
        "first": list(x),
        "second": list(y),
        "shift": float(np.median(differences)),
        "low": float(differences[c - 1]),
        "high": float(differences[-c]),
        "level": float(level),
        "p": float(st.mannwhitneyu(y, x, method="exact").pvalue),
    }


def mser5(values):
    batches = [np.mean(values[i : i + 5]) for i in range(0, len(values) - len(values) % 5, 5)]
    most = max(min(len(batches) // 2, len(batches) - 5), 0)
    return 5 * int(np.argmin([np.var(batches[d:]) / len(batches[d:]) for d in range(most + 1)]))


def series(values):
    cut = mser5(values)
    kept = np.asarray(values[cut:])
    slope, _, low, high = st.theilslopes(kept, np.arange(len(kept)), alpha=0.99)
    half = len(kept) // 2
    return {
        "values": list(values),
        "truncation": cut,
        "slope": float(slope),
        "slope_low": float(low),
        "slope_high": float(high),
        "transient_effect": float(np.mean(values) / np.mean(kept) - 1),
        "slope_drift": float(slope * (len(kept) - 1) / np.median(kept)),
        "halves": float(np.median(kept[half:]) / np.median(kept[:half]) - 1),
    }


def adjusted(p):
    return {
        "p_values": list(p),
        "holm": list(multipletests(p, method="holm")[1]),
        "benjamini_hochberg": list(st.false_discovery_control(p, method="bh")),
    }


def series_cases():
    n = 60
    noise = lambda: 1 + 0.01 * random.standard_normal(n)
    yield 1000 * noise()
    yield 1000 * noise() * (1 - 0.6 * np.exp(-np.arange(n) / 5))
    yield 1000 * noise() * np.linspace(1.05, 0.95, n)
    yield (1000 * noise())[:23]


def main():
    result = {
        "paired": [
            paired(random.standard_normal(n) * 0.02 + shift)
            for n in (1, 5, 6, 8, 12, 16)
            for shift in (0.0, 0.015)
            if n > 1
        ]
        + [paired(random.standard_t(2, 11) * 0.01), paired(np.array([0.0, 0.0, 0.1, 0.1, -0.1, 0.3, 0.2]))],
        "unpaired": [
            unpaired(random.standard_normal(n), random.standard_normal(m) + 0.8)
            for n, m in ((1, 1), (3, 3), (4, 4), (5, 8), (10, 7), (9, 9))
        ],
        "adjusted": [adjusted(random.random(n) ** 3) for n in (1, 2, 6, 15)] + [adjusted([0.04, 0.01, 0.04, 1.0])],
        "series": [series(values) for values in series_cases()],
    }
    print(json.dumps(result, indent=1))


main()
