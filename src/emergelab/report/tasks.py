"""Kinds of task: what the theory lets each cost, and what the ideal predictor and the best model needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from emergelab.analysis.estimate import Estimate
from emergelab.analysis.ranks import spearman
from emergelab.report.against import learning_gaps
from emergelab.report.labels import IDEALS, PANEL
from emergelab.report.series import FRESH, MODEL, MODELS, TRAINED, Prepared, at_the_end, leading_of

REACHED = 0.9  # share of right answers
IDEAL = "ideal"
_FEWEST_LENGTHS = 5  # different description lengths for a rank correlation
_KIND = ("variant", *PANEL)
_D = tuple(
    f"{name}{end}"
    for name in ("D_nats", "R_nats", "bound_nats", "bound_errors")
    for end in ("", "_min", "_max")
)
_COST = tuple(f"{name}{end}" for name in ("nats", "errors") for end in ("", "_lo", "_hi"))
_NEEDED = ("examples", "examples_lo", "examples_hi", "most_examples")

COLUMNS = (
    *_KIND,
    "series",
    "seed",
    "choices",
    *_D,
    "answers",
    "prompts",
    *_COST,
    *_NEEDED,
    "gap",
    "gap_lo",
    "gap_hi",
)
"""What a reader of the CSV file meets."""
MEANINGS: Mapping[str, str] = {
    "series": "the ideal predictor of the whole grammar, or the model that is best on average",
    "choices": "choices of functions that the means of the theory go over",
    "D_nats": "description length",
    "R_nats": "what a prompt of so many answers costs beyond its first",
    "bound_nats": "D + R_n, at most what the ideal predictor pays for the first answers together",
    "bound_errors": "(D + R_n) / ln 2, at most what it gets wrong among them",
    "answers": "how many first answers of a prompt are taken together",
    "nats": "what these answers cost together",
    "errors": "how many of them are wrong",
    "examples": "fewest examples at which 90 % of the answers are right; empty: not within the most that were scored",
    "examples_lo": "the same of the upper end of the accuracy's interval",
    "examples_hi": "the same of its lower end",
    "most_examples": "the most examples that were scored",
    "gap": "learning gap per answer at the most examples",
}
"""What the columns of the table of tasks mean."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """How description lengths order kinds of task: rank correlations with the examples needed, by series."""

    kinds: int
    lengths: int  # different description lengths
    correlations: Mapping[str, Estimate]  # empty: too few lengths


def tasks(prepared: Prepared) -> pl.DataFrame:
    """Return what the theory allows on each kind of task, and what was reached, in tidy rows.

    One row for the ideal predictor of the whole grammar and for each seed of the best model, in every variant whose
    bounds or ideal answers differ from another's. Empty where there is no bound.
    """
    if prepared.bounds.is_empty() or prepared.together.is_empty():
        return pl.DataFrame()
    bounds = prepared.bounds.filter(pl.col("law") == "full")
    last = bounds.filter(pl.col("answers") == pl.col("answers").max().over(_KIND))
    theory = last.select(*_KIND, "panel", "panel_rank", "variant_rank", "answers", "choices", *_D)
    best = best_models(prepared)
    parts = [_reached(prepared, best), _cost(prepared, best), _gap(prepared, best)]
    keys = [*_KIND, "mark", "series", "seed"]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.join(part, on=keys, how="full", nulls_equal=True, coalesce=True)
    frame = theory.join(joined, on=_KIND, how="inner", nulls_equal=True, maintain_order="left")
    order = ("panel_rank", "variant_rank", pl.col("mark") == MODEL, "series", "seed")
    return _distinct(frame, prepared).sort(*order, maintain_order=True)


def order(frame: pl.DataFrame) -> Order:
    """Correlate description lengths with the examples needed; not within the most that were scored ranks last.

    A kind of task without a description length, or never scored, is left out; seeds are averaged in their ranks.
    """
    known = frame.filter(pl.col("D_nats").is_not_null() & pl.col("most_examples").is_not_null())
    needed = known.group_by(*_KIND, "series", "mark", "D_nats", maintain_order=True).agg(
        pl.col("examples").cast(pl.Float64).fill_null(float("inf")).mean()
    )
    lengths = needed["D_nats"].round_sig_figs(9).n_unique()
    named = needed.with_columns(name=pl.when(pl.col("mark") == MODEL).then(pl.lit(MODEL)).otherwise("series"))
    found = {
        str(name): spearman(
            part["D_nats"].round_sig_figs(9).to_numpy(), part["examples"].to_numpy().astype(np.float64)
        )
        for (name,), part in named.group_by("name", maintain_order=True)
    }
    kinds = needed.select(_KIND).n_unique()
    return Order(kinds=kinds, lengths=lengths, correlations=found if lengths >= _FEWEST_LENGTHS else {})


def best_models(prepared: Prepared) -> pl.DataFrame:
    """Return the best model of every variant, and the ideal predictor of the whole grammar in it."""
    final = prepared.final
    variants = final.filter(TRAINED)["variant"].unique(maintain_order=True).to_list()
    here = [
        (variant, leading_of(final.filter(pl.col("variant").eq_missing(pl.lit(variant, dtype=pl.String)))))
        for variant in variants
    ]
    models = [(variant, MODEL, series) for variant, series in here if series is not None]
    schema = pl.Schema(dict.fromkeys(("variant", "mark", "series"), pl.String))
    ideals = final.filter(pl.col("mark") == IDEAL).select("variant", "mark", "series").unique()
    return pl.concat([pl.DataFrame(models, schema=schema, orient="row"), ideals])


def _of(rows: pl.DataFrame, best: pl.DataFrame) -> pl.DataFrame:
    return rows.join(
        best, on=["variant", "mark", "series"], how="semi", nulls_equal=True, maintain_order="left"
    )


def _reached(prepared: Prepared, best: pl.DataFrame) -> pl.DataFrame:
    """Return the fewest examples at which nine answers of ten are right, on fresh arguments."""
    rows = _of(prepared.final.filter(FRESH & pl.col("accuracy").is_not_null()), best)
    shots = pl.col("shots")
    ends = {"examples": "accuracy", "examples_lo": "accuracy_hi", "examples_hi": "accuracy_lo"}
    return rows.group_by(*_KIND, "mark", "series", "seed", maintain_order=True).agg(
        *(shots.filter(pl.col(column) >= REACHED).min().alias(name) for name, column in ends.items()),
        most_examples=shots.max(),
    )


def _cost(prepared: Prepared, best: pl.DataFrame) -> pl.DataFrame:
    rows = _of(at_the_end(prepared.together), best)
    last = rows.filter(pl.col("answers") == pl.col("answers").max().over(_KIND))
    return last.select(*_KIND, "mark", "series", "seed", *_COST, prompts="n")


def _gap(prepared: Prepared, best: pl.DataFrame) -> pl.DataFrame:
    gaps = learning_gaps(prepared)
    schema = dict.fromkeys((*_KIND, "mark", "series"), pl.String)
    estimate = ("gap", "gap_lo", "gap_hi")
    if gaps.is_empty():
        return pl.DataFrame(schema=schema | {"seed": pl.Int32} | dict.fromkeys(estimate, pl.Float64))
    rows = _of(at_the_end(gaps.filter(pl.col("level") == "prompts")), best)
    return rows.select(*_KIND, "mark", "series", "seed", *estimate)


def _distinct(frame: pl.DataFrame, prepared: Prepared) -> pl.DataFrame:
    """Of variants that theory does not tell apart keep that of the best model."""
    ideal = frame.filter(~MODELS).select("panel", *_D, *_COST)
    if ideal.n_unique() > ideal["panel"].n_unique():
        return frame
    leading = frame.filter(pl.col("series") == pl.lit(prepared.leading, dtype=pl.String))["variant"]
    kept = frame.filter(pl.col("variant").is_in(leading.unique().implode(), nulls_equal=True))
    return kept.with_columns(
        variant=pl.lit(None, dtype=pl.String),
        series=pl.when(MODELS).then("series").otherwise(pl.lit(IDEALS[IDEAL])),
    )
