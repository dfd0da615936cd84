"""Means over prompts, for all groups of a frame at once: of skewed values, and of small whole numbers."""

from __future__ import annotations

import numpy as np
import polars as pl

from emergelab.analysis import estimate, intervals
from emergelab.analysis.groups import limits, numbers


def moments(name: str) -> list[pl.Expr]:
    """Return what a mean and its interval need of the column `name`, to be aggregated by group."""
    values = pl.col(name)
    return [
        values.mean().alias(name),
        values.std(ddof=1).alias(f"{name}_deviation"),
        values.skew(bias=True).alias(f"{name}_skewness"),
    ]


def mean_columns(groups: pl.DataFrame, name: str) -> list[pl.Series | pl.Expr]:
    """Return a mean's interval and method, and the mean itself: null where it is infinite or nothing.

    `groups` has the `moments` of the column and the number of values, `n`. The interval is Hall's, see
    `estimate.mean`.
    """
    mean, deviation, skewness, n = numbers(groups, name, f"{name}_deviation", f"{name}_skewness", "n")
    with np.errstate(invalid="ignore"):
        interval = intervals.skewed_mean(mean, deviation, skewness, n)
    return _columns(name, interval, estimate.SKEWED_T)


def step_columns(groups: pl.DataFrame, name: str) -> list[pl.Series | pl.Expr]:
    """Return the same for a mean of whole numbers that are mostly 0: Student's interval.

    The variance is at least that of one value of 1 and one of -1, added as in `intervals.paired_shares`: that
    nothing varied this time does not say that nothing can.
    """
    mean, deviation, n = numbers(groups, name, f"{name}_deviation", "n")
    variance = np.maximum(np.square(deviation) / n, 2 / np.square(n + 2))
    return _columns(name, intervals.student(mean, variance, n - 1), estimate.STUDENT_T)


def _columns(name: str, interval: intervals.Interval, method: str) -> list[pl.Series | pl.Expr]:
    infinite = pl.col(name).is_infinite() | pl.col(name).is_nan()
    told = (
        pl.when(pl.col(name).is_null())
        .then(pl.lit(estimate.NO_VALUES))
        .when(infinite)
        .then(pl.lit(estimate.INFINITE))
        .when(pl.col("n") == 1)
        .then(pl.lit(estimate.ONE_VALUE))
        .otherwise(pl.lit(method))
    )
    value = pl.when(~infinite).then(pl.col(name)).alias(name)
    return [value, *limits(name, interval), told.alias(f"{name}_method")]
