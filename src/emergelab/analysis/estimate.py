"""One estimated number with its interval and the way it was got."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from emergelab.analysis import intervals

# What the tables call the intervals. A name with "none" says why there is no interval.
WILSON = "wilson"
SKEWED_T = "hall_t"
CLUSTER_T = "cluster_t"
STUDENT_T = "student_t"
PAIRED_SHARES = "bonett_price"
NO_VALUES = "none: no values"
ONE_VALUE = "none: one value"
INFINITE = "none: infinite values"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval from `n` observations; None where there is none, which is not 0."""

    value: float | None
    lo: float | None
    hi: float | None
    n: int
    method: str


def proportion(successes: int, n: int) -> Estimate:
    """Return the share of successes in `n` independent trials with Wilson's interval.

    Raises ValueError unless 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"There must be 0 to n successes. Got {successes} of {n}.")
    if n == 0:
        return _missing(NO_VALUES)
    share = successes / n
    return _estimate(share, intervals.wilson(np.array([share]), np.array([n])), n, WILSON)


def mean(values: np.ndarray) -> Estimate:
    """Return the mean of independent values, which may be skewed as nats are; NaN values are missing.

    Of the intervals tried (Student, percentile and BCa bootstrap, bootstrap-t, Hall's transformed t) on
    exponential, lognormal and zero-inflated values with n from 30 to 500, Hall's kept its level best
    among those that need no random numbers: .94 to .95 on exponential values, where Student's has .92 to
    .95 and BCa .93 to .94.
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if values.size == 0:
        return _missing(NO_VALUES)
    if np.isinf(values).any() or values.size == 1:
        method = ONE_VALUE if values.size == 1 else INFINITE
        return Estimate(float(values.mean()), None, None, values.size, method)
    centred = values - values.mean()
    spread = np.mean(centred**2)
    skewness = np.mean(centred**3) / spread**1.5 if spread > 0 else 0.0
    limits = intervals.skewed_mean(
        *(np.array([x]) for x in (values.mean(), values.std(ddof=1), skewness, values.size))
    )
    return _estimate(values.mean(), limits, values.size, SKEWED_T)


def ratio(
    numerators: Float64[np.ndarray, " clusters"], denominators: Float64[np.ndarray, " clusters"]
) -> Estimate:
    """Return sum(numerators) / sum(denominators) over independent clusters, `n` of them.

    The loss of a corpus is one: nats over tokens, with documents as clusters. The variance is that of the
    linearised ratio (Cochran 1977, Sampling Techniques, section 6), the interval Student's with n - 1.
    """
    n, total = numerators.size, float(np.sum(denominators))
    if n == 0 or total == 0:
        return _missing(NO_VALUES)
    value = float(np.sum(numerators)) / total
    if n == 1:
        return Estimate(value, None, None, n, ONE_VALUE)
    residuals = numerators - value * denominators
    variance = n / (n - 1) * np.sum(residuals**2) / total**2
    return _estimate(
        value, intervals.student(*(np.array([x]) for x in (value, variance, n - 1))), n, CLUSTER_T
    )


def paired_difference(a: np.ndarray, b: np.ndarray, clusters: np.ndarray | None = None) -> Estimate:
    """Return the mean of a - b over pairs; pairs with a missing (NaN) side are left out.

    Pairs of one cluster (a seed, a document) may depend on each other, clusters may not; without
    `clusters` every pair is its own. `n` counts clusters. Raises ValueError on unequal lengths.
    """
    if a.shape != b.shape:
        raise ValueError(f"Pairs need as many values on either side. Got {a.shape} and {b.shape}.")
    difference = np.asarray(a - b, dtype=np.float64)
    labels = np.arange(difference.size) if clusters is None else np.asarray(clusters)
    if labels.shape != difference.shape:
        raise ValueError(f"Every pair needs a cluster. Got {labels.shape} for {difference.shape} pairs.")
    present = ~np.isnan(difference)
    _, cluster = np.unique(labels[present], return_inverse=True)
    sums = np.bincount(cluster, weights=difference[present]).astype(np.float64)  # of none it has integers
    return ratio(sums, np.bincount(cluster).astype(np.float64))


def paired_share_gain(gained: int, lost: int, n: int) -> Estimate:
    """Return (gained - lost) / n of `n` pairs of right-or-wrong answers, see `intervals.paired_shares`.

    Raises ValueError unless the gained and the lost pairs are among the `n`.
    """
    if min(gained, lost) < 0 or gained + lost > n:
        raise ValueError(f"Gained and lost pairs must be among all pairs. Got {gained} and {lost} of {n}.")
    if n == 0:
        return _missing(NO_VALUES)
    limits = intervals.paired_shares(*(np.array([x]) for x in (gained, lost, n)))
    return _estimate((gained - lost) / n, limits, n, PAIRED_SHARES)


def _missing(method: str) -> Estimate:
    return Estimate(None, None, None, 0, method)


def _estimate(value: float, limits: intervals.Interval, n: int, method: str) -> Estimate:
    lo, hi = (float(limit[0]) for limit in limits)
    return Estimate(float(value), lo, hi, n, method)
