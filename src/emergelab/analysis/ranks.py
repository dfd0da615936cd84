"""Rank correlation with its interval."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64

from emergelab.analysis import intervals
from emergelab.analysis.estimate import Estimate

BONETT_WRIGHT = "bonett_wright"
TOO_FEW = "none: too few pairs"
ALL_EQUAL = "none: all ranks are equal"
ALL_AGREE = "none: all ranks agree or all are reversed"
_FEWEST = 5  # pairs for an interval that says anything


def spearman(first: Float64[np.ndarray, " n"], second: Float64[np.ndarray, " n"]) -> Estimate:
    """Return Spearman's rank correlation of pairs; infinite values rank highest, ties share their mean rank.

    The interval is Bonett and Wright's (2000, Psychometrika 65:23): Fisher's z with the variance
    (1 + r²/2) / (n - 3). A correlation of exactly 1 or -1 has none: that form would give it no width. Without a
    value are fewer than five pairs, and pairs of which one side has one value only.
    """
    n = len(first)
    if n < _FEWEST:
        return Estimate(value=None, lo=None, hi=None, n=n, method=TOO_FEW)
    ranks = _ranks(first), _ranks(second)
    if any(np.ptp(of_one) == 0 for of_one in ranks):
        return Estimate(value=None, lo=None, hi=None, n=n, method=ALL_EQUAL)
    value = float(np.corrcoef(*ranks)[0, 1])
    if math.isclose(abs(value), 1.0):
        return Estimate(value=float(round(value)), lo=None, hi=None, n=n, method=ALL_AGREE)
    half = intervals.normal_quantile() * math.sqrt((1 + value**2 / 2) / (n - 3))
    lo, hi = (math.tanh(math.atanh(value) + sign * half) for sign in (-1, 1))
    return Estimate(value=value, lo=lo, hi=hi, n=n, method=BONETT_WRIGHT)


def _ranks(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return ranks from 1; ties share their mean. SciPy's function takes a second to load, for one number."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]
