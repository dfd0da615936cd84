"""Asking a finished run where something emerges: any of its curves, at other levels, spans and numbers of examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from emergelab.analysis.emergence.names import AXES, FEWEST_POINTS, METRICS, Axis, Metric
from emergelab.analysis.emergence.studied import (
    FOUND,
    StudyCurve,
    found_along,
    fresh_answers,
    most_points,
    study_curves,
)
from emergelab.errors import UserError
from emergelab.grammar.problems import suggestion
from emergelab.recipes.models import study_of
from emergelab.recipes.run_folder import RunFolder
from emergelab.rng import stream

_KIND = ("task", "form", "split")
_SHARES = ("accuracy", "probability")
_UNITS = {"loss": "nats of loss"}
_ENTRIES = {"tokens": "train.tokens", "parameters": "model.width or model.layers"}


@dataclass(frozen=True, kw_only=True)
class EmergenceQuestion:
    """What is asked of a run; None leaves it open.

    A `level` is one of `metric`, by default of accuracy. `span` is that of a smooth rise: natural logarithms of what
    the `axis` is in, nats for loss. `shots` are by default the most that each task was asked with.
    """

    task: str | None = None
    form: str | None = None
    split: str | None = None
    axis: str | None = None
    metric: str | None = None
    shots: int | None = None
    level: float | None = None
    span: float | None = None

    @property
    def anew(self) -> bool:
        """Whether the table of the run has no answer to it."""
        return (self.shots, self.level, self.span) != (None, None, None)


def _silent(*_: int) -> None:
    """Tell nobody."""


def emergence_of(
    folder: RunFolder, question: EmergenceQuestion, told: Callable[[int, int], None] = _silent
) -> pl.DataFrame:
    """Return `FOUND` of the curves that are asked for; `told` hears how many are done, of how many.

    What the run's table has is read from it, anything else is found now; both are the same where both are there.
    Raises UserError for what the run cannot answer, and ArtifactError where it is not finished.
    """
    _require_possible(question)
    study = study_of(folder.read_record(), folder.path)
    tables = folder.open_tables()
    cells = pl.read_parquet(tables / "cells.parquet")
    _require_asked(tables, cells, question)
    axes = _axes(cells, question)
    if (tables / "emergence.parquet").is_file() and not question.anew:
        found = pl.read_parquet(tables / "emergence.parquet").filter(_chosen(question, (*_KIND, "axis")))
    else:
        curves = study_curves(_answers(tables, cells, question), cells, axes)
        found = _found(curves, question, study["key"], told)
    metric = question.metric or ("accuracy" if question.level is not None else None)
    return found if metric is None else found.filter(pl.col("metric") == metric)


def _require_possible(question: EmergenceQuestion) -> None:
    """Refuse what no run could answer."""
    _require_one_of("axis", question.axis, AXES, "An axis")
    _require_one_of("metric", question.metric, METRICS, "A metric")
    if question.level is not None:
        _require_level(question.level, question.metric or "accuracy")
    if question.span is None:
        return
    if question.axis is None:
        raise UserError(
            f"Got a span of {question.span:g} without an axis. A span is in the logarithm of one axis, or in nats of "
            f"loss. Choose an axis: {', '.join(AXES)}."
        )
    if not (math.isfinite(question.span) and question.span > 0):
        raise UserError(
            f"Got a span of {question.span:g}. It is how far a smooth rise reaches, a number above 0. Choose one, for "
            "example 2.3, a factor of ten."
        )


def _require_one_of(noun: str, value: str | None, known: Iterable[str], what: str) -> None:
    if value is not None and value not in known:
        names = list(known)
        raise UserError(
            f"Got the {noun} {value!r}. {what} is one of {', '.join(names)}. {suggestion(value, names)}"
        )


def _require_level(level: float, metric: str) -> None:
    share = metric in _SHARES
    if math.isfinite(level) and level > 0 and (level < 1 or not share):
        return
    range_ = "between 0 and 1" if share else "above 0"
    raise UserError(
        f"Got the level {level:g} of {metric}. It is a number {range_}. Choose another level"
        f"{', or --metric nats' if share else ''}."
    )


def _require_asked(tables: Path, cells: pl.DataFrame, question: EmergenceQuestion) -> None:
    """Refuse tasks, forms, splits and numbers of examples that no model of the run was asked with."""
    rows = (
        pl.scan_parquet(tables / "scores.parquet")
        .filter(
            pl.col("cell").is_in(cells["cell"].implode())
            & (pl.col("argument") == "fresh")
            & (pl.col("decoding") == "teacher_forced")
        )
        .select(*_KIND, "shots")
        .unique()
        .collect()
    )
    for name in (*_KIND, "shots"):
        value = getattr(question, name)
        if value is None:
            continue
        known = rows[name].unique().sort().to_list()
        if value not in known:
            raise UserError(_unasked(name, value, known, question))
        rows = rows.filter(pl.col(name) == value)


def _unasked(name: str, value: str | int, known: list[str] | list[int], question: EmergenceQuestion) -> str:
    whom = f"Task {question.task}" if question.task and name != "task" else "The run"
    if name == "shots":
        return (
            f"{whom} has no answers to fresh arguments behind {value} examples. It was asked with {known[0]} to "
            f"{known[-1]}. Choose one of these numbers."
        )
    hint = suggestion(str(value), [str(one) for one in known])
    return f"{whom} was not asked: {name} {value!r}. Choose what there are answers to. {hint}"


def _axes(cells: pl.DataFrame, question: EmergenceQuestion) -> tuple[Axis, ...]:
    """Return the axes to ask along. Raises UserError where none has points enough."""
    points = {axis: most_points(cells, axis) for axis in AXES if question.axis in {None, axis}}
    enough: tuple[Axis, ...] = tuple(axis for axis in AXES if points.get(axis, 0) >= FEWEST_POINTS[axis])
    if enough:
        return enough
    counted = ", ".join(
        f"{points[axis]} along {axis} (of {FEWEST_POINTS[axis]} that it takes)"
        for axis in AXES
        if axis in points
    )
    entries = _ENTRIES.get(question.axis or "", "train.tokens, model.width or model.layers")
    raise UserError(
        f"Points of the longest curves of this run: {counted}. Fewer tell no threshold from a plateau. Run a study "
        f"with more values of {entries}."
    )


def _answers(tables: Path, cells: pl.DataFrame, question: EmergenceQuestion) -> pl.DataFrame:
    items = pl.scan_parquet(tables / "items.parquet").filter(_chosen(question, _KIND))
    return fresh_answers(items, cells, shots=question.shots)


def _chosen(question: EmergenceQuestion, names: tuple[str, ...]) -> pl.Expr:
    """Tell which rows are asked for, as far as the question says."""
    asked = {name: getattr(question, name) for name in names}
    return pl.all_horizontal(
        pl.lit(value=True), *(pl.col(name) == value for name, value in asked.items() if value is not None)
    )


def _found(
    curves: list[StudyCurve], question: EmergenceQuestion, key: int, told: Callable[[int, int], None]
) -> pl.DataFrame:
    metric: Metric = question.metric or "accuracy"  # pyright: ignore[reportAssignmentType] - checked
    levels: dict[Metric, float] = {} if question.level is None else {metric: question.level}
    parts = [FOUND.to_frame()]
    for done, curve in enumerate(curves):
        told(done, len(curves))
        _require_span(curve, question)
        parts.append(found_along(curve, stream(key), levels=levels, span=question.span))
    return pl.concat(parts)


def _require_span(curve: StudyCurve, question: EmergenceQuestion) -> None:
    if question.span is None:
        return
    reach = curve.reach
    if question.span >= reach:
        unit = _UNITS.get(curve.axis, f"natural logarithms of {curve.axis}")
        raise UserError(
            f"Got a span of {question.span:g}. It must be shorter than what was measured, here {reach:.3g} {unit}: "
            "else every rise is a jump. Choose a shorter one."
        )
