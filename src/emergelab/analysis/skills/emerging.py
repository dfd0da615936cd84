"""What emerged while real systems were trained: courses of tasks, of skills alone and of k, by the shared statistics.

Every course is asked in accuracy and in a continuous score, over training tokens, compute and loss: where it crosses
half way from what takes no skill to certainty, how sharply it rises, whether it jumps, and whether the continuous
score jumps with it (see `analysis.emergence`). There is one run at each point, and intervals speak of these runs.

Where the losses of a system do not measure its answers (`outcomes.coherence`), its continuous scores are drawn and
asked for themselves, relative to their own plateaus; they decide nothing about the accuracy's jump.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from jaxtyping import Bool
from scipy.special import chdtrc

from emergelab.analysis import intervals
from emergelab.analysis.emergence import curves
from emergelab.analysis.emergence.breaks import SIMULATIONS, Break, find_break
from emergelab.analysis.emergence.curves import Curve, Scale
from emergelab.analysis.emergence.metrics import Emergence, judged, progress
from emergelab.analysis.emergence.names import Axis, Metric
from emergelab.analysis.emergence.rises import Plateaus, fit_rises
from emergelab.analysis.emergence.tables import EMERGENCE, emergence_table
from emergelab.analysis.emergence.thresholds import sharpness_of, threshold_of
from emergelab.analysis.estimate import NO_VALUES, Estimate
from emergelab.analysis.skills.panels import (
    COMPUTE,
    LOSS,
    STAND_IN,
    TOKENS,
    VALUES,
    Panel,
    Panels,
    Points,
    System,
    finite_items,
    on_axis,
    stand_in_loss,
)
from emergelab.rng import Stream

FEWEST_POINTS = 4
SILENT = "accuracy jumps, losses do not tell"
NEVER = "stays below its level"
ALWAYS = "above its level all along"
SHORT = "too few checkpoints"
NO_CHANGE = "no change along the curve"
VERDICTS = ("jump", "artefact of the metric", SILENT, "no jump", ALWAYS, NEVER, "undecided", SHORT)
"""What may be said of a course, from the most to the least."""

NOT_REACHED, AT_ONCE, WITHIN, UNKNOWN = "not reached", "by the second checkpoint", "within", "not known"
"""Where a course crosses its level: beyond what was measured; before or between the first two points, so that it is not
known when; between later ones; or that is not known."""

_COLUMNS: Mapping[Axis, str] = {"tokens": TOKENS, "compute": COMPUTE, "loss": LOSS}
_ALPHA = 0.05
_SAME_RATIO = 1e-9
_SCALED = ("measured_lo", "measured_hi", "threshold", "break_lo", "break_hi")

_NAMES = {
    "system": pl.String,
    "kind": pl.String,
    "name": pl.String,
    "k": pl.Int32,
    "tasks": pl.Int32,
    "items": pl.Int32,
    "axis_of": pl.String,
    "relative": pl.Boolean,
    "floor": pl.Float64,
    "floor_from": pl.String,
    "untrained": pl.Float64,
}

EMERGING = pl.Schema(
    _NAMES
    | dict(EMERGENCE)
    | {"crossed": pl.String, "verdict": pl.String, "verdict_reason": pl.String}
    | dict.fromkeys(("progress", "progress_lo", "progress_hi"), pl.Float64)
    | {"progress_method": pl.String}
)
"""A row for each course, axis and metric.

`kind` is task, skill (alone) or k. `axis_of` says what a loss axis is made of. `relative`: the metric compares
checkpoints of this system and says nothing in absolute terms; probabilities are then not asked at all. `untrained` is
the value at 0 training tokens, which have no place on a logarithmic axis: there it is where the curve starts from. The
rest is as in `analysis.emergence.tables.EMERGENCE`.
"""

POINTS = pl.Schema(
    {"system": pl.String, "kind": pl.String, "name": pl.String, "k": pl.Int32, "checkpoint": pl.String}
    | dict.fromkeys(("train_tokens", "flops", "loss"), pl.Float64)
    | {"metric": pl.String}
    | dict.fromkeys(("value", "lo", "hi"), pl.Float64)
    | {"n": pl.Int32}
)
"""A row for each course, metric and checkpoint: means over items with 95 % intervals; `loss` may be a stand-in."""


@dataclass(frozen=True)
class Emerging:
    """What was found, `EMERGING`; the courses themselves, `POINTS`; and what was assumed or left out."""

    found: pl.DataFrame
    points: pl.DataFrame
    notes: tuple[str, ...]

    def verdicts(self, kind: str = "task", axis: str = "tokens") -> pl.DataFrame:
        """Return one row for each course of a kind along an axis: that of its accuracy, else of its other metric."""
        rows = self.found.filter((pl.col("kind") == kind) & (pl.col("axis") == axis))
        return rows.unique(subset=["system", "name"], keep="first", maintain_order=True)


@dataclass(frozen=True)
class _Asked:
    """A course along an axis. `names` are columns of `EMERGING`; `starts` are values at 0 tokens, by metric."""

    names: Mapping[str, object]
    axis: Axis
    curves: Mapping[str, Curve]
    levels: Mapping[str, float | None]
    starts: Mapping[str, float]
    fits: bool
    stream: Stream
    simulations: int


def emerging(given: Panels, root: Stream, *, simulations: int = SIMULATIONS, workers: int = 2) -> Emerging:
    """Ask all courses of at least `FEWEST_POINTS` checkpoints along tokens, compute and loss.

    Random draws belong to the course and `root`: neither `workers` (threads) nor what else is asked changes them.
    """
    asked = [
        one
        for system in given.systems
        for panel in _asked_panels(system)
        for axis in ("tokens", "compute", "loss")
        if (one := _course(system, panel, axis, root, simulations)) is not None
    ]
    # Courses of few scales share what is made ready for a scale.
    asked.sort(key=lambda one: (one.axis, tuple(next(iter(one.curves.values())).scale.x.tolist())))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        found = [row for rows in pool.map(_found, asked) for row in rows]
    found += _along_compute(given, found)
    frame = pl.DataFrame(found, schema=EMERGING) if found else EMERGING.to_frame()
    frame = _with_skills(given, frame)
    order = pl.col("kind").replace_strict({"k": 0, "skill": 1, "task": 2}, return_dtype=pl.Int8)
    ordered = frame.sort("system", order, "k", "name", "axis", maintain_order=True)
    points = pl.concat([POINTS.to_frame(), *(_points(s, p) for s in given.systems for p in _all(s))])
    return Emerging(ordered, points, (*given.notes, *_notes(given, ordered)))


def across_systems(given: Panels, root: Stream, *, simulations: int = SIMULATIONS) -> Emerging:
    """Ask the courses of tasks over parameters: systems of at least `FEWEST_POINTS` sizes at the end of training.

    Items are those that all of them answered; systems of one size are runs at one point.
    """
    sizes = {system.params for system in given.systems if np.isfinite(system.params)}
    if len(sizes) < FEWEST_POINTS:
        said = (
            f"Curves over parameters need systems of {FEWEST_POINTS} sizes at least; here "
            f"{'is' if len(sizes) == 1 else 'are'} {len(sizes)}."
        )
        return Emerging(EMERGING.to_frame(), POINTS.to_frame(), (said,))
    names = dict.fromkeys(panel.name for system in given.systems for panel in system.tasks)
    asked = [one for name in names if (one := _over_sizes(given, name, root, simulations)) is not None]
    found = [row for one in asked for row in _found(one)]
    frame = pl.DataFrame(found, schema=EMERGING) if found else EMERGING.to_frame()
    return Emerging(frame, POINTS.to_frame(), ())


def _asked_panels(system: System) -> list[Panel]:
    """Return the panels to ask: a skill of one task is that task, and is not asked twice."""
    joined = [panel for panel in system.skills if len(panel.tasks) > 1]
    return [*system.tasks, *joined, *system.numbers]


def _all(system: System) -> list[Panel]:
    return [*system.tasks, *system.skills, *system.numbers]


def _course(system: System, panel: Panel, axis: Axis, root: Stream, simulations: int) -> _Asked | None:
    """Return the course of a panel along an axis; None where it has too few points, or is another one scaled."""
    if axis == "compute" and _flops_per_token(panel) is not None:
        return None
    x, axis_of = on_axis(panel, system, _COLUMNS[axis])
    names = _named(panel) | {"axis_of": axis_of}
    stream = root.child("skills", panel.system, panel.kind, panel.name, axis)
    asked = _asked((panel, names), (axis, x), (stream, simulations), fits=system.losses_fit)
    if asked is None or axis == "loss":
        return asked
    return replace(asked, starts=_untrained(panel, _metrics(panel)))


def _asked(
    named: tuple[Panel, Mapping[str, object]],
    place: tuple[Axis, Points],
    draws: tuple[Stream, int],
    *,
    fits: bool,
) -> _Asked | None:
    (panel, names), (axis, x), (stream, simulations) = named, place, draws
    arrays = {name: values for name, values in _metrics(panel).items() if fits or name != "probability"}
    if not arrays:
        return None
    there = np.isfinite(x) & (x > 0) & _known(arrays)
    scale = np.unique(x[there])
    if scale.size < FEWEST_POINTS:
        return None
    return _Asked(
        names=names,
        axis=axis,
        curves={
            name: _curve(Scale(scale, axis), x[there], values[there], name) for name, values in arrays.items()
        },
        levels=_levels(panel.floor, fits=fits),
        starts={},
        fits=fits,
        stream=stream,
        simulations=simulations,
    )


def _named(panel: Panel) -> dict[str, object]:
    return {
        "system": panel.system,
        "kind": panel.kind,
        "name": panel.name,
        "k": panel.k,
        "tasks": len(panel.tasks),
        "items": panel.right.shape[1],
        "floor": panel.floor,
        "floor_from": panel.floor_from,
    }


def _metrics(panel: Panel) -> dict[str, np.ndarray]:
    """Return accuracy and the continuous scores that are known, each [points, items]."""
    found: dict[str, np.ndarray] = {}
    if not np.isnan(panel.right).all():
        found["accuracy"] = panel.right
    items = finite_items(panel.nats)
    if items.sum() > 1:
        found["nats"] = panel.nats[:, items]
        found["probability"] = np.exp(-panel.nats[:, items])
    elif not np.isnan(panel.score).all() and panel.score.shape[1] > 1:
        found["score"] = panel.score
    return found


def _known(arrays: Mapping[str, np.ndarray]) -> Bool[np.ndarray, " points"]:
    """Return the points at which every metric has two values at least."""
    return np.all([np.count_nonzero(~np.isnan(values), axis=1) > 1 for values in arrays.values()], axis=0)


def _curve(scale: Scale, x: Points, answers: np.ndarray, metric: str) -> Curve:
    """Return the curve of answers [points, items]; checkpoints at the same x are several runs there."""
    point = np.searchsorted(scale.x, x)
    run = np.array([np.count_nonzero(point[:place] == one) for place, one in enumerate(point)])
    cube = np.full((scale.x.size, int(run.max()) + 1, answers.shape[1]), np.nan)
    cube[point, run] = answers
    return curves.of_answers(scale, cube, rising=metric != "nats")


def _untrained(panel: Panel, arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return each metric's mean without training."""
    zero = panel.tokens == 0
    if not zero.any():
        return {}
    means = {name: float(np.nanmean(values[zero])) for name, values in arrays.items() if _any(values[zero])}
    return {name: value for name, value in means.items() if np.isfinite(value)}


def _any(values: np.ndarray) -> bool:
    return not np.isnan(values).all()


def _levels(floor: float, *, fits: bool) -> dict[str, float | None]:
    """Return half way from what takes no skill to certainty; None: half way between the plateaus.

    In nats, certainty is 0. Without a floor, or where losses do not measure the answers, no level is named.
    """
    share = (1 + floor) / 2 if floor < 1 else None
    cost = -float(np.log(floor)) / 2 if fits and 0 < floor < 1 else None
    return {"accuracy": share, "probability": share if fits else None, "nats": cost, "score": None}


def _found(asked: _Asked) -> list[dict[str, object]]:
    """Return the rows of `EMERGING` of one course."""
    made = {name: _emergence(name, curve, asked) for name, curve in asked.curves.items()}
    verdict, reason = _verdict(made, asked)
    done = _progress(made, asked)
    told = {
        "verdict": verdict,
        "verdict_reason": reason,
        "progress": done.value,
        "progress_lo": done.lo,
        "progress_hi": done.hi,
        "progress_method": done.method,
    }
    rows = emergence_table(list(made.values())).to_dicts()
    return [
        dict(asked.names)
        | row
        | told
        | {
            "metric": name,
            "relative": name != "accuracy" and not asked.fits,
            "untrained": asked.starts.get(name),
            "crossed": crossed(made[name].curve.scale, made[name].threshold.hull),
        }
        for name, row in zip(made, rows, strict=True)
    ]


def crossed(scale: Scale, threshold: Estimate) -> str:
    """Return where a threshold lies among the measured points, worst first: one of four words."""
    u = scale.positions()
    early, late = threshold.lo, threshold.hi
    if scale.axis == "loss":
        early, late = (None if end is None else -end for end in (late, early))
    else:
        early, late = (None if end is None or end <= 0 else float(np.log(end)) for end in (early, late))
    if early is not None and early >= u[-1] - _SAME_RATIO:
        return NOT_REACHED
    if late is not None and late <= u[1] + _SAME_RATIO:
        return AT_ONCE
    return UNKNOWN if early is None or late is None else WITHIN


def _emergence(name: str, curve: Curve, asked: _Asked) -> Emergence:
    random = asked.stream.child(name)
    rises = fit_rises(curve, random, Plateaus(start=asked.starts.get(name)))
    metric: Metric = "probability" if name == "score" else name  # pyright: ignore[reportAssignmentType]
    return Emergence(
        metric,
        curve,
        threshold_of(curve, rises, level=asked.levels[name]),
        sharpness_of(curve, rises),
        _break(name, curve, random, asked.simulations),
        rises,
    )


def _break(name: str, curve: Curve, random: Stream, simulations: int) -> Break:
    """Return whether a curve jumps; a flat curve, and a product of probabilities, are not asked."""
    span = float(np.ptp(curve.scale.positions())) / 2
    if not changes(curve):
        return _not_asked(NO_CHANGE, curve, span)
    if name == "probability":
        return _not_asked("jumps as accuracy does, and decides nothing", curve, span)
    return find_break(curve, random, span=span, simulations=simulations)


def _not_asked(reason: str, curve: Curve, span: float) -> Break:
    none = "none: " + reason
    return Break(
        "undecided", reason, None, None, None, None, "", "", None, span, curve.scale.x.size, curve.n, none
    )


def changes(curve: Curve) -> bool:
    """Return whether a chi-square test tells the means of a curve from one mean (at 5 %)."""
    means, variances = curve.means(), curve.mean_variances()
    mean = np.average(means, weights=1 / variances)
    return float(chdtrc(means.size - 1, float(np.sum((means - mean) ** 2 / variances)))) < _ALPHA


def _verdict(made: Mapping[str, Emergence], asked: _Asked) -> tuple[str, str]:
    accuracy = made.get("accuracy")
    other = made.get("nats", made.get("score"))
    if accuracy is None:
        return "undecided", "right and wrong answers are not known"
    if accuracy.jump.reason == NO_CHANGE:
        return _unchanged(accuracy, asked)
    if accuracy.jump.p_smooth is None:
        return SHORT, f"{accuracy.jump.points} checkpoints tell no jump from a smooth rise"
    if other is None:
        return _alone(accuracy.jump, "there is no continuous score")
    if not asked.fits and "nats" in made:
        return _alone(accuracy.jump, "the losses do not measure these answers")
    return judged(accuracy.jump, other.jump)


def _unchanged(accuracy: Emergence, asked: _Asked) -> tuple[str, str]:
    mean, level = float(accuracy.curve.means().mean()), asked.levels["accuracy"]
    start = asked.starts.get("accuracy")
    if level is None or mean < level:
        return NEVER, f"accuracy stays at {mean:.2f}"
    if start is not None and start < level:
        return ALWAYS, f"accuracy is {start:.2f} without training and {mean:.2f} from the first checkpoint on"
    return ALWAYS, f"accuracy is {mean:.2f} from the first checkpoint on"


def _alone(jump: Break, why: str) -> tuple[str, str]:
    """Judge accuracy with nothing beside it that could tell a jump from an artefact."""
    if jump.verdict == "jump":
        return SILENT, f"accuracy jumps; {why}, so that an artefact of the metric is not excluded"
    return jump.verdict, f"accuracy: {jump.reason}; {why}"


def _progress(made: Mapping[str, Emergence], asked: _Asked) -> Estimate:
    if not asked.fits or not {"accuracy", "nats"} <= set(made):
        return Estimate(None, None, None, 0, NO_VALUES)
    return progress(made["nats"].curve, made["accuracy"], asked.stream)


def _flops_per_token(panel: Panel) -> float | None:
    """Return the compute for each token where it is the same all along: compute is then tokens in another unit."""
    trained = panel.tokens > 0
    ratios = panel.flops[trained] / panel.tokens[trained]
    if not ratios.size or not np.isfinite(ratios).all() or np.ptp(ratios) > _SAME_RATIO * ratios.max():
        return None
    return float(ratios[0])


def _along_compute(given: Panels, found: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return the rows along tokens in units of compute, for courses with as much compute for every token."""
    factors = {
        (panel.system, panel.kind, panel.name): _flops_per_token(panel)
        for system in given.systems
        for panel in _asked_panels(system)
    }
    scaled: list[dict[str, object]] = []
    for row in found:
        factor = factors.get((str(row["system"]), row["kind"], row["name"]))  # pyright: ignore[reportArgumentType, reportCallIssue]
        if row["axis"] == "tokens" and factor is not None:
            scaled.append(_scaled(row, factor))
    return scaled


def _scaled(row: Mapping[str, object], factor: float) -> dict[str, object]:
    places = [
        name
        for name in row
        if name in _SCALED or (name.startswith("threshold_") and name.endswith(("_lo", "_hi")))
    ] + ["threshold_bracket", "threshold_curve"]
    moved = {
        name: row[name] * factor  # pyright: ignore[reportOperatorIssue]
        for name in places
        if isinstance(row[name], float)
    }
    changed = {**row, **moved, "axis": "compute", "axis_of": COMPUTE}
    return changed | {"threshold_stated": stated(changed)}


def stated(row: Mapping[str, object]) -> str:
    """Say in words between which numbers the threshold of a row of `EMERGING` lies."""
    lo, hi = (None if row[end] is None else f"{row[end]:.4g}" for end in ("threshold_lo", "threshold_hi"))
    if lo is None and hi is None:
        return str(row["threshold_stated"])
    if hi is None:
        return f"above {lo}"
    return f"below {hi}" if lo is None else f"between {lo} and {hi}"


def _with_skills(given: Panels, found: pl.DataFrame) -> pl.DataFrame:
    """Add the rows of skills that one task alone measures: those of the task."""
    same = pl.DataFrame(
        [
            {"system": system.name, "name": panel.tasks[0], "skill": panel.name}
            for system in given.systems
            for panel in system.skills
            if len(panel.tasks) == 1
        ],
        schema={"system": pl.String, "name": pl.String, "skill": pl.String},
    )
    rows = found.filter(pl.col("kind") == "task").join(same, on=["system", "name"], how="inner")
    skills = rows.with_columns(kind=pl.lit("skill"), name="skill").select(EMERGING.names())
    return pl.concat([found, skills])


def _over_sizes(given: Panels, name: str, root: Stream, simulations: int) -> _Asked | None:
    """Return the course of a task over the sizes of systems, at the end of each one's training."""
    ends = [
        (system, panel)
        for system in given.systems
        for panel in system.tasks
        if panel.name == name and panel.checkpoints[-1] == system.checkpoints[-1]
    ]
    common = sorted(set.intersection(*(set(panel.pieces) for _, panel in ends))) if ends else []
    if not common:
        return None
    last = [_last(panel, common) for _, panel in ends]
    joined = replace(
        last[0],
        system="all systems",
        checkpoints=tuple(f"{panel.system} {panel.checkpoints[-1]}" for panel in last),
        **{
            array: np.concatenate([getattr(panel, array) for panel in last])
            for array in ("tokens", "flops", "loss", *VALUES)
        },
    )
    x = np.array([system.params for system, _ in ends])
    stream = root.child("skills", "across", name)
    return _asked(
        (joined, _named(joined) | {"axis_of": "params"}),
        ("parameters", x),
        (stream, simulations),
        fits=all(system.losses_fit for system, _ in ends),
    )


def _last(panel: Panel, items: list[str]) -> Panel:
    """Return the last point of a panel, of some items in their order."""
    end = panel.at(np.arange(len(panel.checkpoints)) == len(panel.checkpoints) - 1)
    at = [panel.pieces.index(item) for item in items]
    return replace(end, pieces=tuple(items), **{array: getattr(end, array)[:, at] for array in VALUES})


def _points(system: System, panel: Panel) -> pl.DataFrame:
    """Return `POINTS` of one panel."""
    loss, _ = on_axis(panel, system, LOSS)
    frames = [
        pl.DataFrame(
            {
                "system": panel.system,
                "kind": panel.kind,
                "name": panel.name,
                "k": panel.k,
                "checkpoint": panel.checkpoints,
                "train_tokens": panel.tokens,
                "flops": panel.flops,
                "loss": loss,
                "metric": name,
                **_means(values, name),
            },
            schema=POINTS,
        )
        for name, values in _metrics(panel).items()
    ]
    return pl.concat([POINTS.to_frame(), *frames]).with_columns(
        pl.col("train_tokens", "flops", "loss", "value", "lo", "hi").fill_nan(None)
    )


def _means(values: np.ndarray, metric: str) -> dict[str, np.ndarray]:
    n = np.count_nonzero(~np.isnan(values), axis=1)
    total = np.nansum(values, axis=1)
    mean = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    if metric == "accuracy":
        lo, hi = intervals.wilson(mean, n)
    else:
        square = np.nansum((values - mean[:, None]) ** 2, axis=1)
        variance = np.where(n > 1, square / np.maximum(n * (n - 1), 1), np.nan)
        lo, hi = intervals.student(mean, variance, n - 1)
        lo = np.maximum(lo, 0.0)
    return {"value": mean, "lo": lo, "hi": hi, "n": n.astype(np.int32)}


def _notes(given: Panels, found: pl.DataFrame) -> tuple[str, ...]:
    """Say what was assumed of the axes, and which courses were not asked."""
    return tuple(said for said in (_of_zero(given), _of_loss(given, found), _of_short(given, found)) if said)


def _of_zero(given: Panels) -> str:
    systems = [system.name for system in given.systems if (system.tokens == 0).any()]
    if not systems:
        return ""
    return (
        f"The checkpoint before any training has no place on a logarithmic axis ({', '.join(systems)}): along tokens "
        "and compute it is taken for the level from which curves start."
    )


def _of_loss(given: Panels, found: pl.DataFrame) -> str:
    stood = found.filter(pl.col("axis_of") == STAND_IN)["system"].unique().to_list()
    if not stood:
        return ""
    told = [
        f"{system.name}: it rises in {rises} of {steps} steps"
        for system in given.systems
        if system.name in stood
        for rises, steps in [_not_monotone(system)]
    ]
    return (
        "There is no loss of the systems' own: the axis of loss is the mean of nats per answer token over the "
        "single-skill tasks measured at every checkpoint, but for the task itself. It only compares checkpoints of one "
        f"system, which stand in its order ({'; '.join(told)})."
    )


def _not_monotone(system: System) -> tuple[int, int]:
    told, _ = stand_in_loss(system)
    steps = np.diff([told[checkpoint] for checkpoint in system.checkpoints])
    return int((steps > 0).sum()), steps.size


def _of_short(given: Panels, found: pl.DataFrame) -> str:
    asked = set(found.filter(pl.col("kind") == "task").select("system", "name").unique().iter_rows())
    short = [
        f"{panel.name} of {system.name}"
        for system in given.systems
        for panel in system.tasks
        if (system.name, panel.name) not in asked
    ]
    if not short:
        return ""
    return (
        f"Nothing is asked of courses of fewer than {FEWEST_POINTS} trained checkpoints: {len(short)}, first "
        f"{short[0]}."
    )
