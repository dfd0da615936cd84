"""Whether description lengths order what was measured: rank correlations over tasks or choices of functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl

from emergelab.analysis import intervals
from emergelab.analysis.estimate import Estimate
from emergelab.analysis.hypotheses.differences import NO_ANSWERS, Tables, bound_of
from emergelab.analysis.hypotheses.measures import Question, per_prompt
from emergelab.analysis.hypotheses.verdicts import Measured, nothing
from emergelab.analysis.ranks import ALL_AGREE, spearman

Ordered = Literal["errors", "total_nats", "examples"]
Unit = Literal["tasks", "choices"]

REACHED = 0.9  # share of right answers that "examples" are needed for
NO_LENGTHS = "no task has a description length: no derivation prints them"
ONE_EXCHANGED = "bonett_wright, as if two neighbours were exchanged: all ranks agree"
_KIND = ("variant", "task", "form", "split")


def rank_correlation(
    tables: Tables,
    measure: Ordered,
    asked: tuple[Sequence[Question], Sequence[str]],
    prompts: pl.DataFrame | None = None,
) -> Measured:
    """Return Spearman's correlation of D with what was measured; `asked` holds questions and cells.

    One unit is a task in one form and split of one variant, its D that of `BOUNDS`; with `prompts` (`PROMPTS`) it is
    one choice of functions within such a task. What was measured is a mean over cells and, of a choice, over its
    prompts. Examples are the fewest at which nine answers of ten are right, infinite where that was not reached: of
    tasks alone. Units share functions and a world, so that the interval, which takes them as independent, is too narrow
    if anything.
    """
    questions, cells = asked
    parts = [_units(tables, measure, (question, cells), prompts) for question in questions]
    units = pl.concat(parts)
    what = "tasks" if prompts is None else "choices"
    if units.is_empty():
        return nothing(NO_LENGTHS if tables.bounds.height else NO_ANSWERS, what)
    known = units.sort(*_KIND, "D")
    correlation = spearman(*(known[name].cast(pl.Float64).to_numpy() for name in ("D", "value")))
    agreed = _as_if_exchanged(correlation) if correlation.method == ALL_AGREE else correlation
    return Measured(
        effect=agreed.value,
        lo=agreed.lo,
        hi=agreed.hi,
        n=agreed.n,
        of_what=what,
        seeds=tables.cells.filter(pl.col("cell").is_in(list(cells)))["seed"].drop_nulls().n_unique(),
        method=agreed.method,
        why_not="" if agreed.lo is not None else agreed.method.removeprefix("none: "),
    )


def _as_if_exchanged(correlation: Estimate) -> Estimate:
    """Return the interval that one exchanged pair of neighbours would have: 1 itself has none.

    Their ranks differ by 1 each, which takes 12 / (n³ - n) from the correlation.
    """
    n, value = correlation.n, float(correlation.value or 0.0)
    near = 1 - 12 / (n**3 - n)
    half = intervals.normal_quantile() * math.sqrt((1 + near**2 / 2) / (n - 3))
    end = math.tanh(math.atanh(near) - half)
    lo, hi = (end, 1.0) if value > 0 else (-1.0, -end)
    return Estimate(value=value, lo=lo, hi=hi, n=n, method=ONE_EXCHANGED)


def _units(
    tables: Tables, measure: Ordered, asked: tuple[Question, Sequence[str]], prompts: pl.DataFrame | None
) -> pl.DataFrame:
    """Return `D` and `value` of every unit."""
    question, cells = asked
    items = tables.items.filter(pl.col("cell").is_in(list(cells)))
    variants = tables.cells.select("cell", "variant")
    kind = [pl.lit(getattr(question, name)).alias(name) for name in _KIND[1:]]
    if prompts is not None:
        values = per_prompt(items, "errors" if measure == "errors" else "total_nats", question)
        return _of_choices(
            values.join(variants, on="cell", maintain_order="left").with_columns(kind), prompts
        )
    bounds = bound_of(tables.bounds, question).select("variant", D="D_nats").filter(pl.col("D").is_not_null())
    if measure == "examples":
        values = _examples(items, question)
    else:
        values = per_prompt(items, measure, question).group_by("cell").agg(pl.col("value").mean())
    means = (
        values.join(variants, on="cell").group_by("variant", maintain_order=True).agg(pl.col("value").mean())
    )
    return (
        means.join(bounds, on="variant", nulls_equal=True)
        .with_columns(kind)
        .select(*_KIND, pl.col("D").round_sig_figs(9), "value")
    )


def _of_choices(values: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    known = prompts.filter(pl.col("D_nats").is_finite()).select(*_KIND, "prompt", "functions", D="D_nats")
    joined = values.join(known, on=[*_KIND, "prompt"], nulls_equal=True, maintain_order="left")
    return (
        joined.group_by(*_KIND, "functions", maintain_order=True)
        .agg(pl.col("D").mean().round_sig_figs(9), pl.col("value").mean())
        .select(*_KIND, "D", "value")
    )


def _examples(items: pl.DataFrame, question: Question) -> pl.DataFrame:
    """Return by cell the fewest examples at which nine fresh answers of ten are right; infinite where never."""
    same = [pl.col(name) == getattr(question, name) for name in ("task", "form", "split", "decoding")]
    fresh = items.filter(pl.col("step") == 0, pl.col("argument") == "fresh", *same)
    shares = fresh.group_by("cell", "shot").agg(pl.col("correct").mean())
    reached = pl.col("shot").filter(pl.col("correct") >= REACHED).min().cast(pl.Float64)
    return shares.group_by("cell").agg(value=reached.fill_null(np.inf))
