"""What is measured of one prompt: of models, of ideal predictors, and of a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

Measure = Literal["accuracy", "final_accuracy", "nats", "errors", "total_nats"]
Reference = Literal["chance", "ideal", "ideal_train", "bound"]

SHARES: tuple[Measure, ...] = ("accuracy", "final_accuracy")
COUNTS: tuple[Measure, ...] = (*SHARES, "errors")
"""Measures of right and wrong, which may fail to vary by chance."""
SUMS: tuple[Measure, ...] = ("errors", "total_nats")
"""Measures of a prompt's first answers together."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which answers are meant. `shots` for single answers, `answers` for the first of a prompt together."""

    task: str
    form: str
    split: str
    decoding: str = "teacher_forced"
    argument: str | None = None  # None: fresh and repeated alike
    shots: int | None = None
    answers: int | None = None


def per_prompt(items: pl.DataFrame, measure: Measure, question: Question) -> pl.DataFrame:
    """Return `value` and `guess` (the same of a guesser) by cell, predictor and prompt.

    `items` are `ITEMS`. A single answer without a verdict has no row; nor has a sum one of whose answers is missing.
    A guess of probability c costs -ln c nats at least, and is wrong with probability 1 - c.
    """
    asked = items.filter(_asked(question))
    if measure == "final_accuracy":
        final = pl.col("step") == pl.col("step").max().over("cell", "predictor", "prompt", "shot")
        asked = asked.filter((pl.col("step") > 0) & final)
    else:
        asked = asked.filter(pl.col("step") == 0)
    chance = pl.col("chance").cast(pl.Float64)
    right, nats = pl.col("correct").cast(pl.Float64), pl.col("nats").cast(pl.Float64)
    value = {"nats": nats, "total_nats": nats, "errors": 1 - right}.get(measure, right)
    guess = {"nats": -chance.log(), "total_nats": -chance.log(), "errors": 1 - chance}.get(measure, chance)
    rows = asked.select("cell", "predictor", "prompt", value=value, guess=guess)
    if measure in SUMS:
        return _sums(rows, question.answers or 0)
    return rows.filter(pl.col("value").is_not_null())


def _asked(question: Question) -> pl.Expr:
    which = pl.all_horizontal(
        *(pl.col(name) == getattr(question, name) for name in ("task", "form", "split", "decoding"))
    )
    if question.argument is not None:
        which &= pl.col("argument") == question.argument
    if question.answers is not None:
        return which & (pl.col("shot") < question.answers)
    return which & (pl.col("shot") == question.shots)


def _sums(rows: pl.DataFrame, answers: int) -> pl.DataFrame:
    sums = rows.group_by("cell", "predictor", "prompt", maintain_order=True).agg(
        pl.col("value").count().alias("there"), pl.col("value").sum(), pl.col("guess").sum()
    )
    return sums.filter(pl.col("there") == answers).drop("there")


def ideal_cells(cells: Sequence[str], described: pl.DataFrame, predictor: str) -> dict[str, str]:
    """Return for each cell of a model the cell of the ideal predictor of its variant, where there is one.

    `described` has the columns cell and variant, for models and ideal predictors alike; the cell of an ideal predictor
    is its name, and behind it its variant.
    """
    variants = dict(described.select("cell", "variant").iter_rows())
    named = {cell: predictor if variants[cell] is None else f"{predictor},{variants[cell]}" for cell in cells}
    return {cell: ideal for cell, ideal in named.items() if ideal in variants}
