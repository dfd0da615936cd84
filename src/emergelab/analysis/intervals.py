"""95 % intervals, for arrays of groups at once: a study has thousands of them.

Every function takes one number per group, broadcasts, and returns the arrays (lo, hi). NaN marks a group
of which nothing can be said. Which interval serves what was decided by simulated coverage, and
tests/reference/test_statistics_coverage.py repeats the simulations.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtri, stdtrit

LEVEL = 0.95

Groups = Float64[np.ndarray, " groups"]
Interval = tuple[Groups, Groups]


def normal_quantile() -> float:
    """Return the upper quantile of the standard normal law that a two-sided interval needs."""
    return float(ndtri((1 + LEVEL) / 2))


def student_quantile(freedom: np.ndarray, level: float = LEVEL) -> Groups:
    """Return the same for Student's law; NaN where there is no degree of freedom."""
    freedom = np.asarray(freedom, dtype=np.float64)
    return np.where(freedom > 0, stdtrit(np.maximum(freedom, 1), (1 + level) / 2), np.nan)


def wilson(share: np.ndarray, n: np.ndarray, quantile: np.ndarray | None = None) -> Interval:
    """Return Wilson's score interval for a share in [0, 1] of `n` independent trials (Wilson 1927).

    `n` may be an effective number of trials and `quantile` Student's in place of the normal one, for
    shares whose variance was measured (Franco et al. 2019, on proportions in complex samples).
    """
    share, n = np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64)
    square = np.square(normal_quantile() if quantile is None else quantile)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = (share + square / (2 * n)) / (1 + square / n)
        half = np.sqrt(square * (share * (1 - share) / n + square / (4 * n * n))) / (1 + square / n)
    # Rounding must not push the limits past the share itself, nor past 0 and 1.
    lo = np.clip(np.minimum(middle - half, share), 0.0, 1.0)
    hi = np.clip(np.maximum(middle + half, share), 0.0, 1.0)
    return np.where(n > 0, lo, np.nan), np.where(n > 0, hi, np.nan)


def effective_trials(
    share: np.ndarray, variance: np.ndarray, trials: tuple[np.ndarray, np.ndarray]
) -> Groups:
    """Return how many independent trials give a share this `variance`; `trials` bounds them.

    The answer is never more than the second of `trials`. A variance of zero says that nothing varied this
    time, not that nothing can: then it is the first.
    """
    share, variance = np.asarray(share, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    varied = variance > 0
    equivalent = share * (1 - share) / np.where(varied, variance, 1.0)
    return np.where(varied, np.minimum(equivalent, trials[1]), trials[0]).astype(np.float64)


def skewed_mean(
    mean: np.ndarray, deviation: np.ndarray, skewness: np.ndarray, n: np.ndarray, *, level: float = LEVEL
) -> Interval:
    """Return an interval for the mean of skewed values by Hall's transformation of Student's t.

    Nats are skewed: most answers cost little, a few much. A plain t interval then lies too low. Hall's
    cubic transformation takes the skewness out (Hall 1992, J. R. Statist. Soc. B 54:221). `deviation` is
    the standard deviation with n - 1, `skewness` m3 / m2^1.5. NaN below two values.
    """
    mean, n = np.asarray(mean, dtype=np.float64), np.asarray(n, dtype=np.float64)
    skewness = np.nan_to_num(np.asarray(skewness, dtype=np.float64))  # constant values have none
    with np.errstate(invalid="ignore", divide="ignore"):
        bound = student_quantile(n - 1, level) / np.sqrt(n)
        upper = _untransformed(-bound - skewness / (6 * n), skewness)
        lower = _untransformed(bound - skewness / (6 * n), skewness)
        return mean - deviation * lower, mean - deviation * upper


def _untransformed(value: np.ndarray, skewness: np.ndarray) -> np.ndarray:
    """Solve w + g w^2 / 3 + g^2 w^3 / 27 = value for w; it is value itself without skewness g."""
    tiny = np.abs(skewness) < 1e-6  # noqa: PLR2004 - below it the cube root loses what it would correct
    g = np.where(tiny, 1.0, skewness)
    return np.where(tiny, value, 3 / g * (np.cbrt(1 + g * value) - 1))


def student(mean: np.ndarray, variance: np.ndarray, freedom: np.ndarray) -> Interval:
    """Return Student's interval for an estimate with this `variance`; NaN without degrees of freedom."""
    half = student_quantile(freedom) * np.sqrt(variance)
    return mean - half, mean + half


def paired_shares(gained: np.ndarray, lost: np.ndarray, n: np.ndarray) -> Interval:
    """Return the interval for (gained - lost) / n of Bonett and Price (2012, J. Educ. Behav. Stat. 37:479).

    Of `n` pairs of right-or-wrong answers, `gained` are right only with the first of two treatments and
    `lost` only with the second. One pair is added to each, so that no pair lost or gained is no certainty.
    """
    gained, lost, n = (np.asarray(count, dtype=np.float64) for count in (gained, lost, n))
    more, less = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = normal_quantile() * np.sqrt((more + less - np.square(more - less)) / (n + 2))
    lo = np.clip(more - less - half, -1.0, 1.0)
    hi = np.clip(more - less + half, -1.0, 1.0)
    return np.where(n > 0, lo, np.nan), np.where(n > 0, hi, np.nan)
