"""Answers of a system to the same items at all of its checkpoints, as arrays: what courses over training are made of.

A panel is of a task, of a skill alone, or of all tasks of as many skills. Its items are the same at all of its points,
so that what changes along it is the system and not the questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64

from emergelab.outcomes.coherence import losses_fit
from emergelab.outcomes.schema import cells

Kind = Literal["task", "skill", "k"]
Points = Float64[np.ndarray, " points"]
Answers = Float64[np.ndarray, "points pieces"]

TOKENS, COMPUTE, LOSS = "train_tokens", "flops", "loss"
OWN_LOSS = "the system's own loss"
STAND_IN = "stand-in: mean nats per answer token of single-skill tasks"

VALUES = ("right", "nats", "per_token", "score")
"""The arrays [points, items] of a panel."""

_FEW = 0.5  # of the most items, below which a checkpoint has too few


@dataclass(frozen=True)
class Panel:
    """Answers of one system to one group of items, checkpoints in the order of training.

    `right` (1 or 0, the mean over repeated samples) and `nats` of whole answers are NaN where unknown; `per_token` are
    nats over answer tokens; `score` is another continuous score in [0, 1]. `floor` is the share of right answers that
    takes no skill. `items_differ` tells that the items are not the same at all points.
    """

    system: str
    kind: Kind
    name: str
    skills: tuple[str, ...]
    k: int
    checkpoints: tuple[str, ...]
    tokens: Points
    flops: Points
    loss: Points
    right: Answers
    nats: Answers
    per_token: Answers
    score: Answers
    floor: float
    floor_from: str
    pieces: tuple[str, ...]
    tasks: tuple[str, ...]
    items_differ: bool = False

    @property
    def accuracy(self) -> Points:
        """The share of right answers at every point; NaN where none is known."""
        return mean_of(self.right)

    def at(self, chosen: Bool[np.ndarray, " points"]) -> Panel:
        """Return some of the points."""
        kept = tuple(name for name, keep in zip(self.checkpoints, chosen, strict=True) if keep)
        parts = {name: getattr(self, name)[chosen] for name in ("tokens", "flops", "loss", *VALUES)}
        return replace(self, checkpoints=kept, **parts)


@dataclass(frozen=True)
class System:
    """The panels of one system: of its tasks, of skills alone (several tasks of one skill are one panel), of numbers.

    The panel of a number of skills has the tasks measured at every checkpoint. `losses_fit` tells whether the losses
    measure the answers, see `outcomes.coherence`.
    """

    name: str
    params: float
    checkpoints: tuple[str, ...]
    tokens: Points
    tasks: tuple[Panel, ...]
    skills: tuple[Panel, ...]
    numbers: tuple[Panel, ...]
    losses_fit: bool

    @property
    def parts(self) -> Mapping[str, Panel]:
        """The panels of skills alone, by skill."""
        return {panel.skills[0]: panel for panel in self.skills}


@dataclass(frozen=True)
class Panels:
    """All systems of a table of outcomes; `unfit` are tasks that were left out with the reason."""

    systems: tuple[System, ...]
    unfit: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass
class _Notes:
    """What was left out while panels were made: (system, task) by reason."""

    few: list[str] = field(default_factory=list[str])
    differ: list[str] = field(default_factory=list[str])
    odd_nats: int = 0

    def take(self, name: tuple[str, str], *, few: bool, differ: bool) -> None:
        task = f"{name[1]} of {name[0]}"
        self.few.extend([task] * few)
        self.differ.extend([task] * differ)

    def told(self) -> tuple[str, ...]:
        said: list[str] = []
        if self.few:
            said.append(
                f"Checkpoints at which a task has fewer than half of its most items are left out of its curve "
                f"({_some(self.few)})."
            )
        if self.differ:
            said.append(
                f"Items differ between checkpoints, so that curves may change with them ({_some(self.differ)})."
            )
        if self.odd_nats:
            said.append(
                f"Items with an infinite or unknown loss at some checkpoint are left out of the curves in nats "
                f"({self.odd_nats:,} items)."
            )
        return tuple(said)


@dataclass(frozen=True)
class _Known:
    """What holds for all systems: floors by task, systems whose losses fit, and notes that are taken."""

    floors: Mapping[str, tuple[float, str]]
    fitting: frozenset[str]
    notes: _Notes


def panels(frame: pl.DataFrame, unfit: Mapping[str, str] | None = None) -> Panels:
    """Return the panels of a table of `OUTCOMES`; `unfit` names tasks to leave out, with the reason."""
    there = set(frame["task"].unique())
    without = {name: reason for name, reason in (unfit or {}).items() if name in there}
    kept = frame.filter(~pl.col("task").is_in(list(without)))
    known = _Known(_floors(kept), losses_fit(frame), _Notes())
    values = _values(kept).partition_by("system", as_dict=True, maintain_order=True)
    systems = [
        _system(str(name), rows, cells(kept.filter(pl.col("system") == name)), known)
        for (name,), rows in values.items()
    ]
    return Panels(tuple(systems), without, known.notes.told())


def joined_panels(kind: Kind, name: str, parts: list[Panel]) -> Panel | None:
    """Return one panel of several, over the checkpoints that all of them have; None of none."""
    if not parts:
        return None
    common = [one for one in parts[0].checkpoints if all(one in part.checkpoints for part in parts)]
    if not common:
        return None
    aligned = [part.at(np.isin(part.checkpoints, common)) for part in parts]
    sizes = [part.right.shape[1] for part in aligned]
    arrays = {array: np.concatenate([getattr(part, array) for part in aligned], axis=1) for array in VALUES}
    return replace(
        aligned[0],
        kind=kind,
        name=name,
        skills=(),
        pieces=tuple(f"{part.name} {piece}" for part in aligned for piece in part.pieces),
        tasks=tuple(part.name for part in parts),
        floor=float(np.average([part.floor for part in aligned], weights=sizes)),
        floor_from=" / ".join(dict.fromkeys(part.floor_from for part in aligned)),
        items_differ=any(part.items_differ for part in aligned),
        **arrays,
    )


def mean_of(answers: Answers) -> Points:
    """Return the mean over the items that are known at each point; NaN where none is."""
    known = np.count_nonzero(~np.isnan(answers), axis=1)
    return np.where(known > 0, np.nansum(answers, axis=1) / np.maximum(known, 1), np.nan)


def finite_items(answers: Answers) -> Bool[np.ndarray, " pieces"]:
    """Return which items have a finite value at every point."""
    return np.logical_and.reduce(np.isfinite(answers), axis=0)


def stand_in_loss(system: System, without: Iterable[str] = ()) -> tuple[Mapping[str, float], tuple[str, ...]]:
    """Return a loss by checkpoint that stands for the system's own, and the tasks that it is made of.

    The mean, one vote for each task, of nats per answer token over single-skill tasks measured at every checkpoint, but
    for those named in `without`: a task must not be put on an axis made of itself. It says which of two checkpoints
    of one system is better, and nothing in absolute terms.
    """
    left_out = set(without)
    means: dict[str, Points] = {}
    for panel in system.tasks:
        if panel.k == 1 and panel.name not in left_out and panel.checkpoints == system.checkpoints:
            items = finite_items(panel.per_token)
            if items.any():
                means[panel.name] = panel.per_token[:, items].mean(axis=1)
    if not means:
        return {}, ()
    mean = np.mean(list(means.values()), axis=0)
    return dict(zip(system.checkpoints, mean.tolist(), strict=True)), tuple(means)


def on_axis(panel: Panel, system: System, axis: str, without: Iterable[str] = ()) -> tuple[Points, str]:
    """Return where the points of a panel lie on an axis (NaN: nowhere), and what the axis is made of.

    `axis` is one of TOKENS, COMPUTE and LOSS. A stand-in for a missing loss leaves the panel's own tasks out, and those
    of `without`. Values of 0 have no place on a logarithmic axis and are NaN.
    """
    if axis != LOSS:
        x = panel.tokens if axis == TOKENS else panel.flops
        return np.where(x > 0, x, np.nan), axis
    if not np.isnan(panel.loss).all():
        return panel.loss, OWN_LOSS
    told, made_of = stand_in_loss(system, {panel.name, *panel.tasks, *without})
    if not made_of:
        told, made_of = stand_in_loss(system, {panel.name, *without})
    x = np.array([told.get(checkpoint, np.nan) for checkpoint in panel.checkpoints])
    return x, STAND_IN if made_of else ""


def _system(name: str, rows: pl.DataFrame, places: pl.DataFrame, known: _Known) -> System:
    parts = rows.partition_by("task", as_dict=True, maintain_order=True)
    tasks = [
        panel
        for (task,), part in parts.items()
        if (panel := _task_panel((name, str(task)), part, places, known)) is not None
    ]
    params = places["params"].drop_nulls()
    checkpoints = tuple(places["checkpoint"].to_list())
    return System(
        name=name,
        params=float(params[0]) if params.len() else float("nan"),
        checkpoints=checkpoints,
        tokens=_numbers(places, TOKENS),
        tasks=tuple(tasks),
        skills=tuple(_of_skills(tasks)),
        numbers=tuple(_of_numbers(tasks, checkpoints)),
        losses_fit=name in known.fitting,
    )


def _of_skills(tasks: list[Panel]) -> Iterator[Panel]:
    single = [panel for panel in tasks if panel.k == 1]
    for skill in dict.fromkeys(panel.skills[0] for panel in single):
        joined = joined_panels("skill", skill, [panel for panel in single if panel.skills[0] == skill])
        if joined is not None:
            yield replace(joined, skills=(skill,))


def _of_numbers(tasks: list[Panel], checkpoints: tuple[str, ...]) -> Iterator[Panel]:
    for k in sorted({panel.k for panel in tasks}):
        whole = [panel for panel in tasks if panel.k == k and panel.checkpoints == checkpoints]
        joined = joined_panels("k", f"k = {k}", whole)
        if joined is not None:
            yield joined


def _task_panel(
    name: tuple[str, str], rows: pl.DataFrame, places: pl.DataFrame, known: _Known
) -> Panel | None:
    arrays = _arrays(rows, places["checkpoint"])
    answered = ~np.isnan(arrays["right"]) | ~np.isnan(arrays["nats"]) | ~np.isnan(arrays["score"])
    counts = answered.sum(axis=1)
    enough = np.asarray(counts >= max(_FEW * float(counts.max()), 1.0))
    if not enough.any():
        return None
    common = np.logical_and.reduce(answered[enough])
    differ = bool(common.sum() < _FEW * counts.max())
    known.notes.take(name, few=bool((~enough & (counts > 0)).any()), differ=differ)
    items = np.logical_or.reduce(answered[enough]) if differ else common
    chosen = places.filter(pl.Series(values=enough.tolist()))
    arrays = {key: values[np.ix_(enough, items)] for key, values in arrays.items()}
    known.notes.odd_nats += _odd(arrays["nats"])
    floor, floor_from = known.floors[name[1]]
    skills = tuple(rows["skills"][0].to_list())
    return Panel(
        system=name[0],
        kind="task",
        name=name[1],
        skills=skills,
        k=len(skills),
        checkpoints=tuple(chosen["checkpoint"].to_list()),
        tokens=_numbers(chosen, TOKENS),
        flops=_numbers(chosen, COMPUTE),
        loss=_numbers(chosen, LOSS),
        floor=floor,
        floor_from=floor_from,
        pieces=tuple(rows["piece"].unique().sort().filter(pl.Series(values=items.tolist())).to_list()),
        tasks=(name[1],),
        items_differ=differ,
        **arrays,
    )


def _odd(nats: Answers) -> int:
    """Count items whose loss is known at some points and not finite at others."""
    return int((~finite_items(nats) & ~np.isnan(nats).all(axis=0)).sum())


def _values(frame: pl.DataFrame) -> pl.DataFrame:
    """Return what panels hold, a row for each item at each checkpoint: the mean over samples."""
    tokens = pl.when(pl.col("answer_tokens") > 0).then(pl.col("answer_tokens"))
    nats = pl.col("nats").fill_nan(None)
    values = {
        "right": pl.col("correct").cast(pl.Float64),
        "nats": nats,
        "per_token": nats / tokens,
        # Of cloze losses alone the probability of the right answer is known, which is a score.
        "score": pl.coalesce(
            pl.col("score").fill_nan(None), pl.when(pl.col("nats").is_null()).then(1 - pl.col("cloze_loss"))
        ),
    }
    keys = ("system", "task", "checkpoint", "piece")
    if frame["sample"].n_unique() <= 1:
        return frame.select(*keys, "skills", **values)
    means = {name: value.mean() for name, value in values.items()}
    return frame.group_by(keys, maintain_order=True).agg(pl.col("skills").first(), **means)


def _arrays(values: pl.DataFrame, checkpoints: pl.Series) -> dict[str, Answers]:
    """Return the values as [checkpoints, items], NaN where there is none."""
    places = {name: place for place, name in enumerate(checkpoints)}
    point = values["checkpoint"].replace_strict(places, return_dtype=pl.Int64).to_numpy()
    item = values["piece"].rank("dense").to_numpy() - 1
    shape = (len(places), int(item.max()) + 1)
    arrays = {name: np.full(shape, np.nan) for name in VALUES}
    for name, array in arrays.items():
        array[point, item] = _numbers(values, name)
    return arrays


def _floors(frame: pl.DataFrame) -> dict[str, tuple[float, str]]:
    """Return by task the share of right answers without the skill, and whose it is.

    It is that of guessing (taken for 0 where it is not known), or of always giving the most frequent target.
    """
    counted = (
        frame.select("task", "piece", "target").unique().drop_nulls("target").group_by("task", "target").len()
    )
    most = counted.group_by("task").agg(pl.col("len").max().alias("most"), pl.col("len").sum().alias("items"))
    guessed = frame.group_by("task").agg(pl.col("chance").fill_nan(None).mean())
    found: dict[str, tuple[float, str]] = {}
    for task, chance, largest, items in guessed.join(most, on="task", how="left").iter_rows():
        floor, told = (0.0, "chance unknown: 0") if chance is None else (float(chance), "chance")
        # A target that every item has once is none that could be learned as the likeliest.
        always = largest / items if largest is not None and largest > 1 else 0.0
        found[task] = (always, "always the most frequent target") if always > floor else (floor, told)
    return found


def _numbers(frame: pl.DataFrame, name: str) -> Points:
    return frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy()


def _some(names: list[str]) -> str:
    kept = ", ".join(names[:3])
    return kept if len(names) <= 3 else f"{kept} and {len(names) - 3} more"  # noqa: PLR2004
