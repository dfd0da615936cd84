"""The table of tasks as a reader meets it."""

from __future__ import annotations

from typing import Any

import polars as pl

from emergelab.analysis.estimate import Estimate
from emergelab.report import words
from emergelab.report.against_words import estimate_words
from emergelab.report.series import MODEL, MODELS, Prepared
from emergelab.report.tasks import IDEAL, REACHED, Order, order, tasks

_MOST_ROWS = 60


def task_table(prepared: Prepared) -> dict[str, Any] | None:
    """Return the table of tasks in words, one row for each kind; None where there is nothing to hold against."""
    frame = tasks(prepared)
    if frame.is_empty():
        return None
    kinds = frame.group_by("panel", "variant", maintain_order=True)
    rows = [_task_row(part, str(panel), variant) for (panel, variant), part in kinds]
    models = frame.filter(MODELS)["series"].drop_nulls().unique(maintain_order=True).to_list()
    return {
        "answers": words.listing([str(n) for n in frame["answers"].unique().sort()]),
        "model": models[0] if len(models) == 1 else "best model",
        "who": models[0] if len(models) == 1 else "the best model of each variant",
        "examples": shots_of(frame),
        "rows": rows[:_MOST_ROWS],
        "left_out": max(0, len(rows) - _MOST_ROWS),
        "order": order_words(order(frame), models),
        "ranges": frame.filter(MODELS).group_by("panel", "variant").len()["len"].max() not in {None, 1},
    }


def shots_of(frame: pl.DataFrame) -> str:
    """Return 'at 10 examples', the most that were scored."""
    most = frame["most_examples"].drop_nulls().unique()
    return f"at {words.plural(int(most[0]), 'example')}" if most.len() == 1 else "at the most examples"


def order_words(found: Order, models: list[str]) -> str:
    """Say whether larger description lengths go with more examples needed, or why nothing is told of it."""
    if not found.correlations:
        return (
            f"The theory expects that a larger D needs more examples. Here D has {found.lengths} "
            f"different value{'' if found.lengths == 1 else 's'} in {words.plural(found.kinds, 'row')}: too few for a "
            "rank correlation, which needs five."
        )
    name = models[0] if len(models) == 1 else "the best models"
    said = [
        f"{_correlation(one)} for {name if who == MODEL else 'the ideal predictor'}"
        for who, one in found.correlations.items()
    ]
    return (
        f"The theory expects that a larger D needs more examples. Spearman's rank correlation of D with the examples "
        f"to {REACHED:.0%} is {words.listing(said)}, over {found.kinds} rows with {found.lengths} different values "
        "of D; what was never reached ranks last. Rows share functions and a world, so the interval, which "
        "takes them as independent, is too narrow if anything."
    ).replace("%", " %")


def _correlation(one: Estimate) -> str:
    if one.value is None:
        return "not defined, as all ranks are equal,"
    value = words.signed(one.value)
    if one.lo is None or one.hi is None:
        return f"{value} (no interval: all ranks agree)"
    return f"{value} [{words.signed(one.lo)}, {words.signed(one.hi)}]"


def _task_row(part: pl.DataFrame, panel: str, variant: object) -> dict[str, Any]:
    task, _, detail = panel.partition("\n")
    ideal, model = part.filter(pl.col("mark") == IDEAL), part.filter(MODELS)
    bound = part.head(1)
    return {
        "title": task,
        "detail": ", ".join(text for text in (detail, str(variant or "")) if text),
        "cells": [
            _over_choices(bound, "D_nats", "no derivation prints this"),
            *(_over_choices(bound, name) for name in ("R_nats", "bound_errors")),
            *(two_lines(estimate_words(who, "errors")) for who in (ideal, model)),
            _over_choices(bound, "bound_nats"),
            *(two_lines(_nats(who)) for who in (ideal, model)),
            *(two_lines(_examples(who)) for who in (ideal, model)),
            two_lines(estimate_words(model, "gap")),
        ],
    }


def _nats(rows: pl.DataFrame) -> str:
    """Return what the first answers cost together; without any probability it is infinite, not missing."""
    lost = rows["nats"].is_null() & rows["errors"].is_not_null()
    return (
        "infinite"
        if lost.any() and rows["nats"].null_count() == rows.height
        else estimate_words(rows, "nats")
    )


def _over_choices(row: pl.DataFrame, name: str, why_none: str = "") -> dict[str, str]:
    """Return a mean over choices with the least and the most; infinity, and why, where it is that."""
    mean, least, most = (row[f"{name}{end}"][0] for end in ("", "_min", "_max"))
    if mean is None:
        return {"value": "∞", "under": why_none}
    same = words.nats(least) == words.nats(most)
    return {
        "value": words.nats(mean),
        "under": "" if same else f"{words.nats(least)} to {words.nats(most)}",
    }


def two_lines(text: str) -> dict[str, str]:
    """Put an interval under its value."""
    value, _, interval = text.partition(" [")
    return {"value": value, "under": f"[{interval}" if interval else ""}


def _examples(rows: pl.DataFrame) -> str:
    """Return '3 [3, 4]', the range over seeds, or 'not within 10'."""
    known = rows.filter(pl.col("most_examples").is_not_null())
    if known.is_empty():
        return words.MISSING
    most = int(str(known["most_examples"].max()))
    found = known["examples"].to_list()
    if all(value is None for value in found):
        return f"not within {most}"
    beyond = f"over {most}"
    if len(found) > 1:
        reached = sorted(value for value in found if value is not None)
        return words.span(str(reached[0]), beyond if len(reached) < len(found) else str(reached[-1]))
    lo, hi = known.select("examples_lo", "examples_hi").row(0)
    return f"{found[0]} [{lo}, {beyond if hi is None else hi}]"
