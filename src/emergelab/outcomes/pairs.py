"""Tests of answers that are paired by item, and the correction for many of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy.special import betainc

Tests = Float64[np.ndarray, " tests"]


def mcnemar_p(gained: np.ndarray, lost: np.ndarray, squares: np.ndarray | None = None) -> Tests:
    """Return the exact two-sided p of as many pairs gained and lost, were either as likely (McNemar 1947).

    Where pairs change by parts, `gained` and `lost` are the sums of their changes up and down, and `squares` the sum
    of squared changes: both are scaled so that a difference of counts like theirs has that variance.
    """
    gained, lost = np.asarray(gained, dtype=np.float64), np.asarray(lost, dtype=np.float64)
    moved = gained + lost
    scale = (
        np.ones_like(moved)
        if squares is None
        else np.divide(moved, squares, out=np.ones_like(moved), where=moved > 0)
    )
    more, less = np.maximum(gained, lost) * scale, np.minimum(gained, lost) * scale
    # The upper tail of the binomial law with success 1/2, which holds between whole counts, too.
    tail = betainc(np.where(moved == 0, 1.0, more), less + 1, 0.5)
    return np.where(moved == 0, 1.0, np.minimum(1.0, 2.0 * tail))


def holm(p: np.ndarray) -> Tests:
    """Return p adjusted for all tests that were made; missing (NaN) ones were not (Holm 1979).

    A test is certain at 5 % with all others where its adjusted p is below .05.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p)[: int(np.count_nonzero(~np.isnan(p)))]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted
