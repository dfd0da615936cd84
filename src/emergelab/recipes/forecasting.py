"""Forecasts from a table of results: what a larger model will score, and how such forecasts did before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from emergelab.analysis.scaling.baselines import baseline
from emergelab.analysis.scaling.calibration import COVERAGE, Widths, calibrate
from emergelab.analysis.scaling.forecast import Forecasts, forecast, intermediates
from emergelab.analysis.scaling.ladder import Ladder, Target
from emergelab.analysis.scaling.law import FEWEST
from emergelab.errors import UserError
from emergelab.recipes.ladders import LadderTable, TableQuestion, find_metric, read_ladder
from emergelab.rng import stream

POOLED = "pooled"
METHODS = {
    "last-value": "last value",
    "power-law": "power law in compute",
    "one-step": "logistic in log compute",
    "two-step": "plain law (Huber)",
}
_FAR, _TOO_FAR = 100.0, 10_000.0  # times the most compute fitted
_ODD_RATIO = 20.0  # times fewer tokens a parameter than any run fitted has
_NORMAL_90 = 1.6448536269514722


class ForecastError(UserError):
    """A forecast that cannot be made, or a model that is none."""


@dataclass(frozen=True, kw_only=True)
class ForecastQuestion:
    """Which metric of which table, for a model of so many parameters and tokens; `kind` where names recur."""

    table: TableQuestion
    metric: str
    params: float
    tokens: float
    kind: str | None = None
    method: str = POOLED


def forecast_of(question: ForecastQuestion) -> dict[str, Any]:
    """Return the forecast as JSON values: value, lo, hi (90 %), method, n, warnings, and each training corpus's own."""
    _require_counts(question)
    table = read_ladder(question.table, question.metric)
    row = find_metric(table.ladder, question.metric, question.kind)
    ladder = _relevant(table.ladder, row)
    row = find_metric(ladder, question.metric, table.ladder.metrics[row].kind)
    groups = _usable(ladder, row)
    warnings = [*table.warnings, *_about_target(ladder, question)]
    target = Target(
        np.array(groups),
        np.full(len(groups), float(question.params)),
        np.full(len(groups), float(question.tokens)),
    )
    found, spreads, said = _by_method(ladder, row, target, question)
    if spreads is None:
        warnings.append(
            "Too few runs to forecast larger ones by smaller ones inside the table: the interval is not calibrated."
        )
        spreads = Widths({}, {}).of("")
    each: list[dict[str, Any]] = [
        {"group": ladder.groups[group], "n": _points(ladder, row, group)}
        | _interval(ladder, row, found.working[row, at], spreads * found.spread[row, at])
        for at, group in enumerate(groups)
    ]
    if not all(math.isfinite(one["value"]) for one in each):
        raise ForecastError(
            f"The method {question.method!r} says nothing of {question.metric!r}. It forecasts shares only. "
            "Take another --method."
        )
    return _answer(question, table, ladder, row, each) | {"method": said, "warnings": warnings}


def _answer(
    question: ForecastQuestion, table: LadderTable, ladder: Ladder, row: int, each: list[dict[str, Any]]
) -> dict[str, Any]:
    compute = 6.0 * question.params * question.tokens
    several = {"groups": each, "group_column": table.group_column} if len(each) > 1 else {}
    return {
        "metric": question.metric,
        "kind": ladder.metrics[row].kind,
        "is": ladder.metrics[row].sort,
        "params": question.params,
        "tokens": question.tokens,
        "compute": compute,
        "times_compute_fitted": compute / float(ladder.compute.max()),
        "value": float(np.mean([one["value"] for one in each])),
        "lo": min(one["lo"] for one in each),
        "hi": max(one["hi"] for one in each),
        "level": COVERAGE,
        "n": sum(one["n"] for one in each),
        **several,
    }


def _by_method(
    ladder: Ladder, row: int, target: Target, question: ForecastQuestion
) -> tuple[Forecasts, float | None, str]:
    """Return forecasts, spreads to either side of them (None: not known), and the method in words."""
    if question.method != POOLED:
        if question.method not in METHODS:
            raise ForecastError(
                f"Got the method {question.method!r}. Methods are {', '.join([POOLED, *METHODS])}. Choose one of these."
            )
        name = METHODS[question.method]
        return baseline(name, ladder, target), _NORMAL_90, f"{name}; interval from the residuals of the fit"
    key = stream(0, "forecast")
    widths = calibrate(ladder, key.child("widths"))
    kind = ladder.metrics[row].kind
    found = forecast(ladder, target, key.child("forecast"))
    return found, widths.spreads.get(kind), _said(ladder, row, widths)


def _said(ladder: Ladder, row: int, widths: Widths) -> str:
    number = len(intermediates(ladder))
    share = ladder.metrics[row].sort == "share"
    link = "sigmoid and parabola, weighed against a level" if share else "parabola in the logarithm"
    kind = ladder.metrics[row].kind
    return (
        f"law of N and D for the mean log of {number} metric{'s' if number > 1 else ''} ({BASIS}), then a {link}; "
        f"interval from the spread over resampled runs and sizes, times {widths.of(kind):.2f} by "
        f"{widths.counts.get(kind, 0)} nested forecasts"
    )


BASIS = "E + A/N^a + B N^c/D^b"


def _relevant(ladder: Ladder, row: int) -> Ladder:
    """Return the ladder with the metrics that a forecast of one needs: its kind, the common losses, bits per byte."""
    kind = ladder.metrics[row].kind
    needed = set(intermediates(ladder)) | {
        at for at, metric in enumerate(ladder.metrics) if metric.kind == kind or "bpb" in metric.kind
    }
    rows = sorted(needed)
    return Ladder(
        ladder.run, ladder.group, ladder.params, ladder.tokens, ladder.groups,
        tuple(ladder.metrics[at] for at in rows), ladder.values[rows],
    )  # fmt: skip


def _usable(ladder: Ladder, row: int) -> list[int]:
    """Return the training corpora whose runs are enough. Raises ForecastError where there is none."""
    counts = [_points(ladder, row, group) for group in range(len(ladder.groups))]
    groups = [group for group, count in enumerate(counts) if count > FEWEST and _both_vary(ladder, group)]
    if not groups:
        raise ForecastError(
            f"The metric {ladder.metrics[row].name!r} is known of {max(counts)} runs of one training corpus at most. "
            f"A forecast needs {FEWEST + 1}, of two sizes and two numbers of tokens at least: the law has {FEWEST} "
            "constants. Add runs."
        )
    known = ladder.values[row][~np.isnan(ladder.values[row])]
    if np.unique(known).size == 1:
        raise ForecastError(
            f"The metric {ladder.metrics[row].name!r} is {known[0]:g} in all runs. "
            "What does not change cannot be forecast from scale. Check which column holds the values."
        )
    return groups


def _points(ladder: Ladder, row: int, group: int) -> int:
    return int(np.count_nonzero(~np.isnan(ladder.values[row]) & (ladder.group == group)))


def _both_vary(ladder: Ladder, group: int) -> bool:
    part = ladder.at(ladder.group == group)
    return min(np.unique(part.params).size, np.unique(part.tokens).size) > 1


def _interval(ladder: Ladder, row: int, value: float, half: float) -> dict[str, float]:
    """Return value and limits as the table has them."""
    sort = ladder.metrics[row].sort
    ends = [float(value), float(value - half), float(value + half)]
    if sort == "share":
        middle, lo, hi = (min(max(end, 0.0), 1.0) for end in ends)
    else:
        middle, lo, hi = (math.exp(end) for end in ends)
        if sort == "log-likelihood":
            middle, lo, hi = -middle, -hi, -lo
    return {"value": middle, "lo": lo, "hi": hi}


def _require_counts(question: ForecastQuestion) -> None:
    for name, value in (("--params", question.params), ("--tokens", question.tokens)):
        if not (math.isfinite(value) and value >= 1):
            raise ForecastError(f"Got {name} {value:g}. It is a number of 1 at least, for example 7e9.")


def _about_target(ladder: Ladder, question: ForecastQuestion) -> list[str]:
    """Return what to know about where the target lies. Raises ForecastError for one that nobody could forecast."""
    ratio, ratios = question.tokens / question.params, ladder.tokens / ladder.params
    if ratio < ratios.min() / _ODD_RATIO:
        raise ForecastError(
            f"The model has {ratio:.2g} tokens a parameter, and the runs of the table {ratios.min():.2g} to "
            f"{ratios.max():.2g}. Are --params ({question.params:g}) and --tokens ({question.tokens:g}) swapped?"
        )
    times = 6.0 * question.params * question.tokens / float(ladder.compute.max())
    if times > _TOO_FAR:
        raise ForecastError(
            f"The model takes {times:,.0f} times the compute of the largest run. Nothing was ever forecast so far: "
            f"forecasts are made up to {_TOO_FAR:,.0f} times. Ask for a smaller model, or add larger runs."
        )
    if times > _FAR:
        far = f"The model takes {times:,.0f} times the compute of the largest run."
        return [f"{far} Forecasts were tested at up to about 20 times: take the interval for too narrow."]
    inside = question.params <= ladder.params.max() and question.tokens <= ladder.tokens.max()
    if inside and times <= 1:
        return ["The model is no larger than the runs fitted: this is an interpolation, not a forecast."]
    return []
