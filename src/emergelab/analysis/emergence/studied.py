"""The curves that a study has: of each kind of task along each axis with enough points, and what is found of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from emergelab.analysis.emergence.curves import Scale
from emergelab.analysis.emergence.metrics import AcrossMetrics, Question, across_metrics
from emergelab.analysis.emergence.names import AXES, FEWEST_POINTS, METRICS, Axis, Metric
from emergelab.analysis.emergence.tables import COLUMNS, EMERGENCE, emergence_table, task_curves
from emergelab.analysis.groups import SCALE
from emergelab.rng import Stream

KIND = ("task", "form", "split", "shots")

CURVE = (*KIND, "axis", *SCALE)
"""Columns of `FOUND` that tell curves apart."""

# What is the same all along a curve, besides the kind of task.
_SAME: Mapping[Axis, tuple[str, ...]] = {
    "tokens": ("layers", "width", "params", "unique_documents", "variant"),
    "parameters": ("train_tokens", "unique_documents", "variant"),
    "compute": ("unique_documents", "variant"),
    "loss": ("unique_documents", "variant"),
}

# Three rows for each curve, one for each metric. What varies along a curve is null, as is what does not vary at all.
FOUND = pl.Schema(
    {"task": pl.String, "form": pl.String, "split": pl.String, "shots": pl.Int16}
    | {"layers": pl.Int32, "width": pl.Int32, "params": pl.Int64}
    | {"train_tokens": pl.Int64, "unique_documents": pl.Int64, "variant": pl.String}
    | EMERGENCE
    | {"verdict": pl.String, "verdict_reason": pl.String}
    | dict.fromkeys(("progress", "progress_lo", "progress_hi"), pl.Float64)
    | {"progress_method": pl.String}
)


@dataclass(frozen=True)
class StudyCurve:
    """Answers of one kind along one axis. `names` are the columns of `FOUND` that tell the curve apart."""

    names: Mapping[str, str | int | None]
    axis: Axis
    answers: pl.DataFrame
    cells: pl.DataFrame

    @property
    def reach(self) -> float:
        """How far the points reach: natural logarithms of the axis, nats for loss."""
        return float(np.ptp(Scale(_places(self.cells, self.axis).to_numpy(), self.axis).positions()))

    def stream(self, root: Stream) -> Stream:
        """Return the curve's own stream below `root`: the same whatever else is asked."""
        told = [f"{name}={value}" for name, value in self.names.items() if value is not None]
        return root.child("emergence", self.axis, *told)


def fresh_answers(items: pl.LazyFrame, cells: pl.DataFrame, *, shots: int | None = None) -> pl.DataFrame:
    """Return what curves are made of: whole teacher-forced answers of trained models to fresh arguments.

    `items` are `ITEMS`, `cells` has the columns `CELLS`. Each kind of task is taken at `shots` examples, by default
    at the most that it was asked with.
    """
    rows = items.filter(
        (pl.col("step") == 0)
        & (pl.col("argument") == "fresh")
        & (pl.col("decoding") == "teacher_forced")
        & pl.col("cell").is_in(cells["cell"].implode())
    )
    wanted = pl.col("shot").max().over("task", "form", "split") if shots is None else shots
    return rows.filter(pl.col("shot") == wanted).collect()


def groups_along(
    cells: pl.DataFrame, axis: Axis
) -> Iterator[tuple[dict[str, str | int | None], pl.DataFrame]]:
    """Yield the cells of each curve along an axis, and what they have in common.

    Over parameters models are taken at their last token count; over compute and loss are all of one variant and
    one corpus.
    """
    x = pl.col(COLUMNS[axis])
    placed = cells.filter(
        pl.col("train_tokens").is_not_null() & x.is_not_null() & x.cast(pl.Float64).is_finite()
    )
    if axis == "parameters":
        last = pl.col("train_tokens").max().over("unique_documents", "variant")
        placed = placed.filter(pl.col("train_tokens") == last)
    for values, part in placed.group_by(_SAME[axis], maintain_order=True):
        yield dict(zip(_SAME[axis], values, strict=True)), part


def points_along(cells: pl.DataFrame, axis: Axis) -> int:
    """Return how many points a curve of these cells has; 0 where two of them lie at the same place."""
    places = _places(cells, axis)
    return places.len() if places.n_unique() == places.len() else 0


def _places(cells: pl.DataFrame, axis: Axis) -> pl.Series:
    """Return the x of each point: cells that differ in their seed alone are one."""
    return cells.group_by(SCALE).agg(x=pl.col(COLUMNS[axis]).cast(pl.Float64).mean())["x"]


def most_points(cells: pl.DataFrame, axis: Axis) -> int:
    """Return how many points the longest curve along an axis has."""
    return max((points_along(part, axis) for _, part in groups_along(cells, axis)), default=0)


def study_curves(
    answers: pl.DataFrame, cells: pl.DataFrame, axes: tuple[Axis, ...] = AXES
) -> list[StudyCurve]:
    """Return the curves with points enough, see `FEWEST_POINTS`, by kind of task and then by axis.

    `answers` are those of `fresh_answers`.
    """
    groups: list[tuple[Axis, dict[str, str | int | None], pl.DataFrame]] = [
        (axis, same, part)
        for axis in axes
        for same, part in groups_along(cells, axis)
        if points_along(part, axis) >= FEWEST_POINTS[axis]
    ]
    kinds = answers.group_by(*KIND[:-1], "shot", maintain_order=True)
    return [
        StudyCurve(
            dict(zip(KIND, kind, strict=True)) | same,
            axis,
            rows.filter(pl.col("cell").is_in(part["cell"].implode())),
            part,
        )
        for kind, rows in kinds
        for axis, same, part in groups
    ]


def half_way(answers: pl.DataFrame) -> dict[Metric, float]:
    """Return the level of each metric half way from chance to certainty; nothing where chance is no help.

    Of nats, certainty costs none and a guess minus ln(chance) at the least.
    """
    chance = answers["chance"].cast(pl.Float64).mean()
    if not isinstance(chance, float) or not 0 < chance < 1:
        return {}
    share = (1 + chance) / 2
    cost = float(-pl.Series([chance]).log()[0]) / 2
    return {"accuracy": share, "probability": share, "nats": cost}


def found_along(
    curve: StudyCurve,
    root: Stream,
    *,
    levels: Mapping[Metric, float] | None = None,
    span: float | None = None,
) -> pl.DataFrame:
    """Return `FOUND` of one curve.

    `levels` replace those `half_way`; `span` is that of `find_break`. Raises ValueError as `task_curves` does.
    """
    asked = half_way(curve.answers) | dict(levels or {})
    questions: dict[Metric, Question] = {
        metric: Question(level=asked.get(metric), span=span) for metric in METRICS
    }
    found = across_metrics(task_curves(curve.answers, curve.cells, curve.axis), curve.stream(root), questions)
    return _rows(curve, found)


def _rows(curve: StudyCurve, found: AcrossMetrics) -> pl.DataFrame:
    progress = found.progress
    told = {
        **curve.names,
        "verdict": found.verdict,
        "verdict_reason": found.reason,
        "progress": progress.value,
        "progress_lo": progress.lo,
        "progress_hi": progress.hi,
        "progress_method": progress.method,
    }
    columns = (
        pl.lit(told.get(name), dtype=kind).alias(name)
        for name, kind in FOUND.items()
        if name not in EMERGENCE
    )
    return emergence_table(list(found.metrics)).with_columns(columns).select(FOUND.names())
