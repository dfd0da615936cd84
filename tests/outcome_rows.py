"""Small tables of outcomes for tests: answers in few words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from emergelab.outcomes.reading import as_outcomes

Answer = tuple[str, str, str, str, str, bool | None]
"""System, checkpoint, task, skills joined by +, piece, and whether the answer was right."""


def outcomes(answers: Iterable[Answer], **columns: Any) -> pl.DataFrame:
    """Return answers as `OUTCOMES`; `columns` are further ones, one value for each answer or for all."""
    names = ("system", "checkpoint", "task", "skills", "piece", "correct")
    frame = pl.DataFrame(
        list(answers), schema=dict.fromkeys(names, pl.String) | {"correct": pl.Boolean}, orient="row"
    )
    added = [
        pl.Series(name, values) if isinstance(values, list) else pl.lit(values).alias(name)
        for name, values in columns.items()
    ]
    return as_outcomes(frame.with_columns(added), "test").frame


def rows_of(frame: pl.DataFrame, **where: Any) -> list[dict[str, Any]]:
    """Return the rows whose columns have these values."""
    for name, value in where.items():
        frame = frame.filter(pl.col(name) == value)
    return frame.to_dicts()


def row_of(frame: pl.DataFrame, **where: Any) -> dict[str, Any]:
    """Return the one row whose columns have these values."""
    (row,) = rows_of(frame, **where)
    return row
