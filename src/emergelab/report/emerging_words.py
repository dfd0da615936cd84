"""What the page says of what emerges where: the section's sentences, its table, and captions."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from emergelab.analysis.emergence.breaks import FEWEST_POINTS as FEWEST_FOR_JUMPS
from emergelab.analysis.emergence.names import FEWEST_POINTS
from emergelab.report import words
from emergelab.report.content import ReportInput
from emergelab.report.emerging import AXIS_WORDS, axes_drawn
from emergelab.report.information import Information
from emergelab.report.series import FRESH, TRAINED, Prepared

_MOST_ROWS = 60
_LARGEST_FACTOR = 1000
_CURVE = ("panel", "axis", "series", "corpus", "variant")
_VERDICTS = {
    "jump": ("jump in accuracy and in nats", "jumps in accuracy and in nats"),
    "artefact of the metric": (
        "artefact of the metric (accuracy jumps, nats do not)",
        "artefacts of the metric (accuracy jumps, nats do not)",
    ),
    "no jump": ("without a jump", "without a jump"),
    "undecided": ("undecided", "undecided"),
}
"""By verdict, what one curve or several are."""
_UNITS = {"compute": "compute, FLOP", "loss": "loss, nats per token"}
_TIMES = "\N{MULTIPLICATION SIGN}"
_NEVER = {"not known: no rise": "no rise"}


def section(content: ReportInput, prepared: Prepared) -> dict[str, Any] | None:
    """Return the section in words, without its figures; None for a run of an earlier version."""
    if content.emergence is None:
        return None
    found = prepared.emergence
    if found.is_empty():
        return {"lead": _too_few(prepared), "rows": [], "left_out": 0}
    rows = [_row(part) for part in found.partition_by(_CURVE, maintain_order=True)]
    crossed = (
        "" if axes_drawn(prepared) else " No curve is known to cross its level within what was measured."
    )
    return {
        "lead": _lead(found) + crossed,
        "rows": rows[:_MOST_ROWS],
        "left_out": max(0, len(rows) - _MOST_ROWS),
        "seeds": _seeds(found),
    }


def thresholds(information: Information, prepared: Prepared) -> str:
    """Say what the bars are, and what it means where there is none."""
    del information, prepared
    return (
        "A bar is the 95 % interval of a threshold, the dot in it the estimate. The threshold is where a curve crosses "
        "the level at which its bar lies: half way from chance to certainty; of nats, half of what a guess costs. A "
        "bar that ends with its curve is open there. Without a bar it is not known that the level is crossed within "
        "what was measured."
    )


def _too_few(prepared: Prepared) -> str:
    trained = prepared.answers.filter(TRAINED)
    if trained.filter(FRESH).is_empty():
        return "Nothing is known of thresholds: no query with a fresh argument was scored."
    tokens = words.plural(trained["train_tokens"].n_unique(), "token count")
    return (
        f"Where something emerges is read from curves of at least {FEWEST_POINTS['tokens']} token counts or sizes, or "
        f"{FEWEST_POINTS['compute']} of both together. This study has {tokens} and "
        f"{words.plural(prepared.shapes, 'size')} of model."
    )


def _lead(found: pl.DataFrame) -> str:
    """Count the verdicts of the curves that have points enough for one."""
    curves = found.filter(pl.col("metric") == "accuracy")
    tested = curves.filter(pl.col("points") >= FEWEST_FOR_JUMPS)
    short = curves.height - tested.height
    said: list[str] = []
    if tested.height:
        counts = dict(tested["verdict"].value_counts().iter_rows())
        listed = [
            f"{counts[name]} {one if counts[name] == 1 else several}"
            for name, (one, several) in _VERDICTS.items()
            if name in counts
        ]
        said.append(
            f"{words.plural(tested.height, 'curve')} with {FEWEST_FOR_JUMPS} points or more: "
            f"{words.listing(listed)}."
        )
    if short:
        which = (
            f"{'The other ' if said else ''}{words.plural(short, 'curve')} {'has' if short == 1 else 'have'}"
        )
        said.append(
            f"{which} 4 or 5 points: enough for a threshold, too few to tell a jump from a smooth rise."
        )
    return " ".join(said)


def _seeds(found: pl.DataFrame) -> str:
    if found["seeds"].max() == 1:
        return "There is one run at each point, so that intervals hold for these runs alone."
    return "Runs differ by their seed; intervals hold for a typical run."


def _row(part: pl.DataFrame) -> dict[str, Any]:
    accuracy, nats = (
        part.filter(pl.col("metric") == name).row(0, named=True) for name in ("accuracy", "nats")
    )
    task, _, detail = str(accuracy["panel"]).partition("\n")
    who = accuracy["series"] or ", ".join(part for part in (_corpus(accuracy), accuracy["variant"]) if part)
    points = words.plural(accuracy["points"], "point")
    return {
        "title": task,
        "detail": detail,
        "level": _levels(accuracy, nats),
        "axis": _UNITS.get(accuracy["axis"]) or AXIS_WORDS[accuracy["axis"]],
        "who": f"{who}, {points}" if who else points,
        "cells": [
            *(_threshold(row) for row in (accuracy, nats)),
            *(_sharpness(row) for row in (accuracy, nats)),
            {"value": accuracy["verdict"], "under": _reason(accuracy, nats)},
        ],
    }


def _levels(accuracy: dict[str, Any], nats: dict[str, Any]) -> str:
    if accuracy["level"] is None or nats["level"] is None:
        return "levels half way up"
    return f"levels {words.share(accuracy['level'])} and {words.nats(nats['level'])} nats"


def _corpus(row: dict[str, Any]) -> str:
    documents = row["unique_documents"]
    return "" if documents is None else f"{words.count(documents)} documents"


def _threshold(row: dict[str, Any]) -> dict[str, str]:
    """Return the estimate over its interval, or in words on which side of what was measured it lies."""
    value, lo, hi = (row[f"threshold{end}"] for end in ("", "_lo", "_hi"))
    if lo is None:
        unknown = _NEVER.get(row["threshold_stated"], "not known")
        return {"value": unknown if hi is None else f"below {_number(row, hi)}", "under": ""}
    if hi is None:
        return {"value": f"above {_number(row, lo)}", "under": ""}
    interval = f"[{_number(row, lo)}, {_number(row, hi)}]"
    if value is None:
        return {"value": f"{_number(row, lo)} to {_number(row, hi)}", "under": ""}
    return {"value": _number(row, value), "under": interval}


def _number(row: dict[str, Any], value: float) -> str:
    return words.figure(value) if row["axis"] == "loss" else words.count(value)


def _sharpness(row: dict[str, Any]) -> dict[str, str]:
    """Return how far a rise reaches from 10 to 90 %: as a factor, or in nats of loss."""
    ends = [row[f"sharpness{end}"] for end in ("", "_lo", "_hi")]
    if None in ends:
        return {"value": words.MISSING, "under": ""}
    if ends[1] == 0 and ends[2] > _wide(row):
        return {"value": "not known", "under": ""}
    if row["axis"] == "loss":
        value, lo, hi = (words.nats(end) for end in ends)
        return {"value": f"{value} nats", "under": f"[{lo}, {hi}]"}
    value, lo, hi = (_factor(end) for end in ends)
    return {"value": value, "under": f"[{lo}, {hi}]"}


def _wide(row: dict[str, Any]) -> float:
    """Return the width of a rise that reaches beyond all that was measured."""
    lo, hi = row["measured_lo"], row["measured_hi"]
    return hi - lo if row["axis"] == "loss" else math.log(hi / lo)


def _factor(width: float) -> str:
    """Return a difference of logarithms as a factor; beyond a thousand only its order is of interest."""
    if width > math.log(_LARGEST_FACTOR):
        return f"over {_TIMES}{_LARGEST_FACTOR}"
    return f"{_TIMES}{words.figure(math.exp(width))}"


def _reason(accuracy: dict[str, Any], nats: dict[str, Any]) -> str:
    if accuracy["verdict"] != "undecided":
        return str(accuracy["verdict_reason"])
    told = [(name, row["jump"], row["jump_reason"]) for name, row in (("accuracy", accuracy), ("nats", nats))]
    if told[0][1:] == told[1][1:]:
        return str(told[0][2])
    return "; ".join(f"{name}: {jump}, {reason}" for name, jump, reason in told)
