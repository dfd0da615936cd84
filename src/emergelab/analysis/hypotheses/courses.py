"""Where a task emerges over a scale, and whether it jumps: tests on `analysis.emergence`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from scipy.special import ndtri

from emergelab.analysis import intervals
from emergelab.analysis.emergence.curves import Curve, Scale
from emergelab.analysis.emergence.metrics import Answer, TaskCurves, across_metrics
from emergelab.analysis.emergence.names import Axis
from emergelab.analysis.emergence.tables import task_curves
from emergelab.analysis.emergence.thresholds import threshold
from emergelab.analysis.hypotheses.differences import INFINITE, NO_ANSWERS, Tables
from emergelab.analysis.hypotheses.measures import Question
from emergelab.analysis.hypotheses.verdicts import (
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    Finding,
    Measured,
    Side,
    Verdict,
    found,
    nothing,
)
from emergelab.rng import Stream

Metric = Literal["accuracy", "nats", "probability"]


@dataclass(frozen=True, kw_only=True)
class Course:
    """One question over one scale, asked of these cells."""

    question: Question
    axis: Axis
    cells: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Which metric, and the level of it that a curve crosses; None: half way between its plateaus."""

    metric: Metric = "accuracy"
    level: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A threshold, and its ends in positions: larger is more scale. None: not known.

    A curve that stays short of the level crosses it behind the last point, at infinity for all that is known; one that
    stays beyond it before the first. `stays` says so.
    """

    measured: Measured
    begins: float | None = None
    ends: float | None = None
    stays: str = ""


def threshold_within(tables: Tables, course: Course, crossing: Crossing, random: Stream) -> Finding:
    """Tell whether a threshold lies within what was measured: both ends of its interval are known.

    Not supported where the whole curve stays on one side of the level, with intervals that hold at all points.
    """
    place = _place(tables, course, crossing, random)
    if place.stays:
        return found(place.measured, NOT_SUPPORTED, place.stays)
    if place.measured.why_not:
        return found(place.measured, UNDECIDED, place.measured.why_not)
    return found(place.measured, SUPPORTED, "both ends of its interval lie within what was measured")


def threshold_against(
    tables: Tables, course: Course, crossing: Crossing, held: tuple[float, Side], random: Stream
) -> Finding:
    """Tell whether a threshold lies above or below a value of the axis; `held` is this limit and its side."""
    limit, side = held
    place = _place(tables, course, crossing, random)
    at = _position(limit, course.axis)
    behind, before = _behind(place.begins, at), _behind(at, place.ends)
    above = before if course.axis == "loss" else behind
    if behind or before:
        verdict = SUPPORTED if above == (side == "above") else NOT_SUPPORTED
        reason = f"the whole interval lies {'above' if above else 'below'} the limit"
    else:
        verdict, reason = UNDECIDED, place.measured.why_not or "the limit lies within the interval"
    return found(place.measured, verdict, reason, (limit, side))


def later_than(tables: Tables, courses: tuple[Course, Course], crossing: Crossing, random: Stream) -> Finding:
    """Tell whether the first course crosses the level only at more scale than the second does.

    Supported where its interval begins behind the end of the other's, not supported the other way round.
    """
    first, second = (
        _place(tables, course, crossing, random.child(name))
        for name, course in zip(("first", "second"), courses, strict=True)
    )
    if _behind(first.begins, second.ends):
        verdict, reason = SUPPORTED, "its interval begins behind the end of the other's"
    elif _behind(second.begins, first.ends):
        verdict, reason = NOT_SUPPORTED, "the interval of the other begins behind its end"
    else:
        why = [first.measured.why_not, second.measured.why_not and f"of the other, {second.measured.why_not}"]
        verdict, reason = UNDECIDED, "; ".join(filter(None, why)) or "the two intervals overlap"
    other = second.measured
    falls = courses[0].axis == "loss"
    limit = other.lo if falls else other.hi
    held: tuple[float, Side] | None = None if limit is None else (limit, "below" if falls else "above")
    return found(first.measured, verdict, reason, held)


def _behind(begins: float | None, ends: float | None) -> bool:
    """Tell whether something begins behind where another ends; nothing is known of what lies at infinity."""
    return begins is not None and ends is not None and begins >= ends and math.isfinite(begins + ends)


def jump(tables: Tables, course: Course, expected: Answer, random: Stream) -> Finding:
    """Tell whether accuracy jumps, does not, or only seems to for want of a smooth metric, as was expected.

    The effect is the share of the whole fall in nats that has happened where the accuracy has done a tenth of its
    rise: near 0 for a jump, near 1 for an artefact.
    """
    curves = _curves(tables, course)
    if isinstance(curves, str):
        return found(nothing(curves), UNDECIDED, curves)
    answer = across_metrics(curves, random)
    measured = Measured(
        effect=answer.progress.value,
        lo=answer.progress.lo,
        hi=answer.progress.hi,
        n=curves.accuracy.n,
        of_what="answers",
        seeds=int(curves.accuracy.counts().max()),
        method=answer.metrics[0].jump.method,
    )
    verdicts: dict[Answer, Verdict] = {expected: SUPPORTED, "undecided": UNDECIDED}
    reason = answer.reason if answer.verdict == "undecided" else f"{answer.verdict}: {answer.reason}"
    return found(measured, verdicts.get(answer.verdict, NOT_SUPPORTED), reason)


def _place(tables: Tables, course: Course, crossing: Crossing, random: Stream) -> _Place:
    curves = _curves(tables, course)
    if isinstance(curves, str):
        return _Place(measured=nothing(curves))
    curve: Curve = getattr(curves, crossing.metric)
    crossed = threshold(curve, random, level=crossing.level)
    lo, hi = crossed.hull.lo, crossed.hull.hi
    measured = Measured(
        effect=crossed.hull.value,
        lo=lo,
        hi=hi,
        n=curve.n,
        of_what="answers",
        seeds=int(curve.counts().max()),
        method=crossed.hull.method,
        why_not="" if lo is not None and hi is not None else f"the threshold is {crossed.stated}",
    )
    u = curve.scale.positions()
    stays = _stays(curve, crossing.level)
    if stays < 0:
        return _Place(
            measured=measured, begins=float(u[-1]), stays="the whole curve stays short of the level"
        )
    if stays > 0:
        return _Place(measured=measured, ends=float(u[0]), stays="the whole curve lies beyond the level")
    first, last = (hi, lo) if course.axis == "loss" else (lo, hi)
    ends = [None if end is None else _position(end, course.axis) for end in (first, last)]
    return _Place(measured=measured, begins=ends[0], ends=ends[1])


def _position(x: float, axis: Axis) -> float:
    return float(Scale(np.array([x]), axis).positions()[0])


def _stays(curve: Curve, level: float | None) -> int:
    """Return -1 where the mean over runs is short of the level at all points at once, 1 where it is beyond it, else 0.

    Intervals are over prompts, of these runs, at a level that Bonferroni's correction shares out over the points.
    """
    if level is None:
        return 0
    upward = curve.upward()
    wanted = level if curve.rising else -level
    means = upward.means()
    tail = (1 - intervals.LEVEL) / (2 * means.size)
    half = float(ndtri(1 - tail)) * np.sqrt(upward.mean_variances())
    return int((means - half > wanted).all()) - int((means + half < wanted).all())


def _curves(tables: Tables, course: Course) -> TaskCurves | str:
    """Return the curves, or why there are none."""
    asked = course.question
    items = tables.items.filter(
        pl.col("cell").is_in(list(course.cells)) & (pl.col("shot") == asked.shots),
        *(pl.col(name) == getattr(asked, name) for name in ("task", "form", "split", "decoding", "argument")),
    )
    if items.is_empty():
        return NO_ANSWERS
    if not items.filter(pl.col("step") == 0)["nats"].is_finite().all():
        return INFINITE
    return task_curves(items, tables.cells, course.axis)
