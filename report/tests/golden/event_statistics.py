#!/usr/bin/env python3
"""Golden data for report/tests/suite/event_record.rs: statistics of event records, by numpy and scipy.

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1
    venv/bin/python report/tests/golden/event_statistics.py > report/tests/golden/event_statistics.json

The definitions are those of bear, the library behind wsdemo's compile_stats (boundary/bear, src/bear.erl): moments over the
standard deviation of n - 1, percentiles that are samples, and its bins, whose edges are made here one after the other.
"""
import json
import math

import numpy as np
import scipy.stats as st

random = np.random.default_rng(20261128)
NS_PER_MS = 1e6


def round_half_up(value):
    return math.floor(value + 0.5)


def rounded_bin(edge):
    base = max(1, int(10 ** round_half_up(math.log10(edge) - 1)))
    return edge if edge % base == 0 else edge + base - edge % base


def bins(samples, deviation):
    width = max(1, round_half_up(3.5 * deviation / len(samples) ** (1 / 3)))
    least, most = int(samples.min()), int(samples.max())
    count = round_half_up((most - least) / width) + 1
    edges = sorted({rounded_bin((i + 1) * width) for i in range(count)})
    edges = [most] if len(edges) <= 1 else [edge + least for edge in edges]
    inside = [int((samples <= edge).sum()) for edge in edges]
    return [[edge / NS_PER_MS, n - before] for edge, n, before in zip(edges, inside, [0] + inside)]


def statistics(samples):
    ordered = np.sort(samples)
    ms = samples / NS_PER_MS
    n, deviation = len(ms), np.std(ms, ddof=1)
    at = lambda p: float(ordered[max(1, round_half_up(p * n / 1000)) - 1] / NS_PER_MS)
    return {
        "samples_ns": [int(ns) for ns in samples],
        "min": float(ms.min()),
        "max": float(ms.max()),
        "arithmetic_mean": float(np.mean(ms)),
        "geometric_mean": float(st.gmean(ms)),
        "harmonic_mean": float(st.hmean(ms)),
        "median": at(500),
        "variance": float(np.var(ms, ddof=1)),
        "standard_deviation": float(deviation),
        "skewness": float(st.moment(ms, 3) / deviation**3),
        "kurtosis": float(st.moment(ms, 4) / deviation**4 - 3),
        "percentile": {name: at(p) for p, name in
                       [(500, "50"), (750, "75"), (900, "90"), (950, "95"), (990, "99"), (999, "99.9")]},
        "histogram": bins(samples, float(np.std(samples, ddof=1))),
    }


CASES = [
    random.integers(1_000, 2_000, 7),
    random.lognormal(12, 0.4, 1_000).astype(np.int64) + 1,
    np.concatenate([random.lognormal(11, 0.2, 990), random.lognormal(17, 0.5, 10)]).astype(np.int64) + 1,
    random.exponential(3e6, 501).astype(np.int64) + 1,
    random.integers(1, 5, 200),
]
print(json.dumps([statistics(case) for case in CASES]))
