"""Shares over pieces that may depend on each other: pieces of one item are drawn together, items independently.

A share is a ratio of sums over items (Cochran 1977, Sampling Techniques, section 6). Its interval is Wilson's for as
many independent trials as have the ratio's variance, with Student's quantile for the number of items (Franco et al.
2019): unlike the plain ratio's it has a width where all pieces fail, and stays within 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float64

from emergelab.analysis import estimate, intervals
from emergelab.analysis.groups import limits, numbers

BY_ITEM = "wilson_t over items"
_ROUNDING = 1e-12

Groups = Float64[np.ndarray, " groups"]


def item_sums(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Return by `keys` the sums over items that a share and its variance need.

    `rows` has the keys, item, value and times, how often the piece counts; null values are left out.
    """
    present = rows.lazy().filter(pl.col("value").is_not_null())
    weighted = pl.col("value") * pl.col("times")
    by_item = present.group_by(*keys, "item").agg(y=weighted.sum(), m=pl.col("times").sum(), n=pl.len())
    y, m = pl.col("y"), pl.col("m").cast(pl.Float64)
    sums = {"y": y.sum(), "m": m.sum(), "yy": (y * y).sum(), "ym": (y * m).sum(), "mm": (m * m).sum()}
    return by_item.group_by(keys).agg(**sums, n=pl.col("n").sum(), items=pl.len()).collect()


def ratio_of(sums: pl.DataFrame) -> tuple[Groups, Groups]:
    """Return the ratio of the sums and the variance that items give it, NaN for a single item."""
    y, m, yy, ym, mm, items = numbers(sums, "y", "m", "yy", "ym", "mm", "items")
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = y / m
        squares = yy - 2 * ratio * ym + ratio**2 * mm
        # The sums of equal residuals cancel but for rounding.
        squares = np.where(squares < _ROUNDING * np.maximum(yy, mm), 0.0, squares)
        return ratio, squares / m**2 * items / (items - 1)


def share_columns(sums: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return by the keys of `sums` the share as `name`, with `_lo`, `_hi`, `_n` (pieces), `_trials` and `_method`."""
    share, variance = ratio_of(sums)
    items, n = numbers(sums, "items", "n")
    trials = intervals.effective_trials(share, variance, (items, n))
    with np.errstate(invalid="ignore"):
        interval = intervals.wilson(share, trials, intervals.student_quantile(items - 1))
    told = pl.when(pl.col("items") > 1).then(pl.lit(BY_ITEM)).otherwise(pl.lit(estimate.ONE_VALUE))
    return sums.select(
        pl.exclude("y", "m", "yy", "ym", "mm", "n", "items"),
        pl.Series(name, share),
        *limits(name, interval),
        pl.col("n").cast(pl.Int64).alias(f"{name}_n"),
        pl.Series(f"{name}_trials", trials),
        told.alias(f"{name}_method"),
    )
