"""The table of outcomes: one row for each answer of a system to an item, whoever measured it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

# params, train_tokens and flops are of the training behind a checkpoint; loss is the system's own, in nats per token.
# nats are those of the whole right answer, forced; cloze_loss is the mean over the piece's cloze questions of the
# probability that was not given to the right answer (Arora and Goyal 2023).
OUTCOMES = pl.Schema(
    {
        "system": pl.String,
        "checkpoint": pl.String,
        "params": pl.Int64,
        "train_tokens": pl.Int64,
        "flops": pl.Float64,
        "loss": pl.Float64,
        "task": pl.String,
        "skills": pl.List(pl.String),
        "piece": pl.String,
        "sample": pl.Int32,
        "correct": pl.Boolean,
        "chance": pl.Float64,
        "cloze_loss": pl.Float64,
        "nats": pl.Float64,
        "answer_tokens": pl.Int32,
        "score": pl.Float64,
        "input": pl.String,
        "target": pl.String,
        "prompt": pl.String,
        "shots": pl.Int32,
    }
)

CELL = ("system", "checkpoint")
"""Columns that tell the systems apart that answered: a system at one point of its training."""

SCALE = ("params", "train_tokens", "flops", "loss")
"""Where a cell stands; the same in all of its rows."""

REQUIRED = ("system", "checkpoint", "task", "skills", "piece", "sample")
"""Columns without missing values."""

ORDER = ("system", "train_tokens", "checkpoint", "task", "piece", "sample")
"""How rows are sorted; labels of checkpoints by the numbers in them, see `by_numbers`."""

SEPARATORS = r"\s*[+;,|]\s*"
"""What stands between skills that are named in one text."""

_DIGITS = 20

FLOPS_PER_PARAMETER_AND_TOKEN = 6
"""Forward and backward pass of a dense transformer (Kaplan et al. 2020, section 2.1)."""


@dataclass(frozen=True)
class Outcomes:
    """A table of `OUTCOMES`, what was assumed when it was read, and where it came from."""

    frame: pl.DataFrame
    notes: tuple[str, ...]
    source: str


def cells(frame: pl.DataFrame) -> pl.DataFrame:
    """Return `CELL`, `SCALE` and `answers` of each cell, by system and training tokens."""
    return (
        frame.group_by(CELL, maintain_order=True)
        .agg(*(pl.col(name).first() for name in SCALE), answers=pl.len())
        .sort("system", "train_tokens", by_numbers(), "checkpoint", nulls_last=False)
    )


def by_numbers(name: str = "checkpoint") -> pl.Expr:
    """Return a key by which texts sort so that step900 stands before step1000. For few rows: it is not fast."""
    return pl.col(name).map_elements(_padded, return_dtype=pl.String)


def _padded(text: str) -> str:
    return re.sub("[0-9]+", lambda found: found[0].zfill(_DIGITS), text)
