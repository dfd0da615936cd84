"""Whether a bound of the theory holds: the largest excess over it, with intervals that hold all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl

from emergelab.analysis import intervals
from emergelab.analysis.groups import numbers
from emergelab.analysis.hypotheses.differences import Tables, bound_of
from emergelab.analysis.hypotheses.measures import Question, per_prompt
from emergelab.analysis.hypotheses.verdicts import Measured, nothing

BONFERRONI = "hall_t over prompts, bonferroni over"
NO_BOUND = "none of these tasks has a finite bound: no derivation prints them"
NO_ANSWERS = "the ideal predictor is out of reach"


def largest_excess(
    tables: Tables,
    measure: Literal["total_nats", "errors"],
    questions: Sequence[Question],
    cells: Sequence[str],
) -> Measured:
    """Return by how much the first answers of a prompt cost more than their bound, at the most.

    The bound is the theory's on the mean over prompts (B1 in nats, B2 for wrong answers), under the grammar as
    written; kinds of task without a finite one are left out. Each excess has Hall's interval, see
    `estimate.mean`, at a level that Bonferroni's correction shares out over all kinds and cells, so that the ends
    returned hold for the largest excess: at least the largest lower end, at most the largest upper end. Infinite
    nats are an infinite excess.
    """
    found = [_excesses(tables, measure, question, cells) for question in questions]
    rows = pl.concat(found)
    if rows.is_empty():
        return nothing(NO_BOUND if tables.bounds.height else NO_ANSWERS, "excesses")
    excess, deviation, skewness, n, bound = numbers(rows, "mean", "deviation", "skewness", "n", "bound")
    excess = excess - bound
    if measure == "errors":  # that nothing varied this time does not say that nothing can
        deviation = np.maximum(deviation, np.sqrt(n * 2 / np.square(n + 2)))
    level = 1 - (1 - intervals.LEVEL) / len(rows)
    with np.errstate(invalid="ignore"):
        lo, hi = intervals.skewed_mean(excess, deviation, skewness, n, level=level)
    # Infinite nats exceed every bound; one prompt alone says nothing.
    lo = np.where(np.isinf(excess), excess, lo)
    known = not (np.isnan(lo) | np.isnan(np.where(np.isinf(excess), 0.0, hi))).any()
    return Measured(
        effect=float(excess.max()),
        lo=float(lo.max()) if known else None,
        hi=float(np.where(np.isinf(excess), np.inf, hi).max()) if known else None,
        n=len(rows),
        of_what="excesses",
        seeds=tables.cells.filter(pl.col("cell").is_in(list(cells)))["seed"].drop_nulls().n_unique(),
        method=f"{BONFERRONI} {len(rows)} excesses",
        why_not="" if known else "one prompt has no interval",
    )


def _excesses(tables: Tables, measure: str, question: Question, cells: Sequence[str]) -> pl.DataFrame:
    """Return mean, deviation, skewness and n of every cell that has a finite bound, and that bound."""
    values = per_prompt(
        tables.items.filter(pl.col("cell").is_in(list(cells))),
        "errors" if measure == "errors" else "total_nats",
        question,
    )
    value = pl.col("value")
    moments = values.group_by("cell", maintain_order=True).agg(
        mean=value.mean(),
        deviation=value.std(ddof=1),
        skewness=value.skew(bias=True),
        n=pl.len(),
    )
    column = "bound_errors" if measure == "errors" else "bound_nats"
    bounds = bound_of(tables.bounds, question).select("variant", bound=column)
    variants = tables.cells.select("cell", "variant")
    joined = moments.join(variants, on="cell", maintain_order="left").join(
        bounds, on="variant", how="left", nulls_equal=True, maintain_order="left"
    )
    return joined.filter(pl.col("bound").is_not_null()).sort("cell")
