"""Names of the groups that scores are gathered in, and columns of intervals for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from emergelab.analysis import intervals

TASK = ("task", "form", "split", "decoding")
# All that tells runs apart but their seed.
SCALE = ("layers", "width", "params", "train_tokens", "unique_documents", "variant")
NAMES = ("predictor", *TASK, "argument", "shots")
GROUP = ("cell", *NAMES)
LOSS = ("loss", "loss_lo", "loss_hi", "loss_method")
CURVE = (*NAMES, *SCALE)


def with_shots(items: pl.DataFrame) -> pl.DataFrame:
    """Name the number of examples of an item as scores do."""
    return items.rename({"shot": "shots"})


def by_cell(items: pl.DataFrame) -> list[pl.DataFrame]:
    """Part items by cell, for work that grows with a cell and not with the study; at least one part."""
    return items.partition_by("cell", maintain_order=True) or [items]


def credits_of(items: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """Return the share of right steps of every answer that has printed steps, and how many it has.

    `names` are the columns that tell the answers apart.
    """
    steps = items.filter(pl.col("step") > 0).group_by(names, maintain_order=True)
    return steps.agg(credit=pl.col("correct").cast(pl.Float64).mean(), printed=pl.col("correct").count())


def conform(frame: pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
    """Return the columns of `schema`, in its order and types."""
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def numbers(frame: pl.DataFrame, *names: str) -> list[np.ndarray]:
    """Return columns as float64 arrays; null becomes NaN."""
    return [frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in names]


def limits(name: str, interval: intervals.Interval) -> list[pl.Series]:
    """Return an interval as the columns `name`_lo and `name`_hi; NaN becomes null."""
    return [
        pl.Series(f"{name}_{side}", values, nan_to_null=True)
        for side, values in zip(("lo", "hi"), interval, strict=True)
    ]


def above_zero(interval: intervals.Interval) -> intervals.Interval:
    """Cut an interval for nats at 0, below which there are none."""
    return np.maximum(interval[0], 0.0), np.maximum(interval[1], 0.0)
