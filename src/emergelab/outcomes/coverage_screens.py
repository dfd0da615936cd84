"""Screens of what was measured where: tasks, items, systems and checkpoints that are missing."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from emergelab.outcomes.findings import Finding, counted, distinct, have, named
from emergelab.outcomes.schema import CELL, SCALE
from emergelab.outcomes.survey import Survey

_WHOLE = 0.9
_CURVE_POINTS = 4
_LEAP = 3.0
_WORDS = {
    "params": "parameters",
    "train_tokens": "training tokens",
    "flops": "compute",
    "loss": "the systems' own loss",
}


def missing_tasks(survey: Survey) -> Iterator[Finding]:
    """Find tasks that a system never answered, and those it answered at some checkpoints only."""
    gaps = _gaps(survey)
    yield from _never_answered(survey, gaps.filter(pl.col("missing") == pl.col("checkpoints")))
    yield from _sometimes_answered(survey, gaps.filter(pl.col("missing") < pl.col("checkpoints")))


def missing_items(survey: Survey) -> Iterator[Finding]:
    """Find checkpoints that answered fewer items of a task than the system's others, and items that not all have."""
    most = pl.col("answered").max().over("system", "task")
    found = survey.tallies.with_columns(most=most).filter(pl.col("answered") < _WHOLE * most)
    if found.height:
        shown = found.select("task", "checkpoint", "answered", "most").iter_rows()
        cases = [
            f"{task} at {checkpoint} ({answered:,} of {most:,})" for task, checkpoint, answered, most in shown
        ]
        yield survey.finding(
            "missing items",
            "warning",
            "checkpoints with fewer items",
            tasks=distinct(found, "task"),
            systems=distinct(found, "system"),
            rows=int(found["rows"].sum()),
            message=f"Fewer items than the system answered elsewhere, in {counted(found.height, 'case')}: "
            f"{named(cases, 3)}.",
            consequence="Curves over tokens: accuracy there is of other items. Compare by shared items, or leave these "
            "checkpoints out of this task.",
            details=found.select(*CELL, "task", "answered", "most"),
        )
    yield from _unshared_items(survey)


def single_scales(survey: Survey) -> Iterator[Finding]:
    """Say what cannot be said of one system, one checkpoint, or one size."""
    if len(survey.systems) == 1:
        yield survey.finding(
            "one system",
            "note",
            "one system",
            message=f"There is one system, {survey.systems[0]}.",
            consequence="What holds for it may be its own: no difference between systems can be seen, and none of "
            "size or training data.",
        )
    yield from _few_checkpoints(survey)
    yield from _sizes(survey)


def unknown_scales(survey: Survey) -> Iterator[Finding]:
    """Find cells whose parameters, tokens, compute or loss are unknown."""
    cells = survey.cells
    unknown = {name: cells[name].null_count() for name in SCALE if cells[name].null_count()}
    if not unknown:
        return
    words = [
        _WORDS[name] if count == cells.height else f"{_WORDS[name]} ({count} of {cells.height})"
        for name, count in unknown.items()
    ]
    lost = {
        "params": "laws over parameters",
        "train_tokens": "curves over tokens",
        "flops": "curves over compute",
        "loss": "curves over loss",
    }
    somewhere = cells.filter(pl.any_horizontal(pl.col(name).is_null() for name in unknown))
    yield survey.finding(
        "unknown scales",
        "note",
        "scales that are not given",
        systems=distinct(somewhere, "system"),
        message=f"Not given: {named(words)}.",
        consequence=f"{named([lost[name] for name in unknown]).capitalize()}: nothing can be said where they are "
        "not given.",
        details=cells.select(*CELL, *SCALE),
    )


def unknown_order(survey: Survey) -> Iterator[Finding]:
    """Find systems with several checkpoints whose training tokens are not all known."""
    ends = survey.cells.group_by("system", maintain_order=True).agg(
        first=pl.col("checkpoint").first(),
        last=pl.col("checkpoint").last(),
        count=pl.len(),
        unknown=pl.col("train_tokens").null_count(),
    )
    found = ends.filter((pl.col("count") > 1) & (pl.col("unknown") > 0))
    if found.is_empty():
        return
    words = [
        f"{first} to {last} of {system}"
        for system, first, last in found.select("system", "first", "last").rows()
    ]
    yield survey.finding(
        "unknown order",
        "warning",
        "checkpoints in the order of their labels",
        systems=distinct(found, "system"),
        message=f"Training tokens do not say in which order checkpoints follow; they stand by their labels: "
        f"{named(words)}.",
        consequence="Competence and emergence: what is said of last checkpoints, of changes since the first and of "
        "neighbours holds only if this order is right. Give a column train_tokens.",
        details=found,
    )


def wide_gaps(survey: Survey) -> Iterator[Finding]:
    """Find neighbouring checkpoints between which training grows by a large factor."""
    known = survey.cells.filter(pl.col("train_tokens") > 0)
    before = pl.col("train_tokens").shift().over("system")
    found = known.with_columns(
        before=pl.col("checkpoint").shift().over("system"), factor=pl.col("train_tokens") / before
    ).filter(pl.col("factor") >= _LEAP)
    if found.is_empty():
        return
    worst = found.sort("factor", descending=True)
    cases = [
        f"{before} to {checkpoint} ({factor:,.1f} times the tokens)"
        for before, checkpoint, factor in worst.select("before", "checkpoint", "factor").iter_rows()
    ]
    yield survey.finding(
        "wide gaps",
        "note",
        "gaps between checkpoints",
        systems=distinct(found, "system"),
        rows=int(found["answers"].sum()),
        message=f"Training tokens grow by {_LEAP:.0f} times or more from one checkpoint to the next: {named(cases)}.",
        consequence="Curves over tokens: nothing is known in between, and what lies behind a gap weighs much in a fit. "
        "A last checkpoint after another stage of training (annealing) is no point of the same curve.",
        details=worst.select(*CELL, "before", "train_tokens", "factor"),
    )


def copied_results(survey: Survey) -> Iterator[Finding]:
    """Find cells with the same results as another one to the last digit."""
    same = survey.fingerprints.filter(pl.len().over("task", "print") > 1).sort(
        "task", "print", "system", "place"
    )
    groups = same.group_by("task", "print", maintain_order=True).agg(
        cells=pl.col("system") + " at " + pl.col("checkpoint"),
        systems=pl.col("system").unique().sort(),
        rows=pl.col("rows").sum(),
    )
    if groups.is_empty():
        return
    alike = groups.group_by("cells", maintain_order=True).agg(
        pl.col("task"), pl.col("systems").first(), pl.col("rows").sum()
    )
    cases = [
        f"{named(cells, 2)} ({counted(len(tasks), 'task')})"
        for cells, tasks in alike.select("cells", "task").iter_rows()
    ]
    yield survey.finding(
        "copied results",
        "fault",
        "cells with the same results",
        tasks=distinct(groups, "task"),
        systems=distinct(alike.explode("systems"), "systems"),
        rows=int(alike["rows"].sum()),
        message=f"Results are the same answer by answer, to the last digit: {named(cases, 3)}.",
        consequence="All comparisons between these: one file may have been read under several names, or the same "
        "weights "
        "were loaded. Systems that are copies are no replication, checkpoints that are make a plateau.",
        details=alike.drop("systems"),
    )


def _gaps(survey: Survey) -> pl.DataFrame:
    """Return the tasks that some cells of a system lack: system, task, missing, checkpoints, at (which lack it)."""
    every = survey.cells.select(*CELL, "place").join(survey.tasks.select("task"), how="cross")
    absent = every.join(survey.tallies, on=(*CELL, "task"), how="anti")
    sizes = survey.cells.group_by("system").agg(checkpoints=pl.len())
    return (
        absent.sort("system", "task", "place")
        .group_by("system", "task", maintain_order=True)
        .agg(missing=pl.len(), at="checkpoint")
        .join(sizes, on="system")
    )


def _never_answered(survey: Survey, found: pl.DataFrame) -> Iterator[Finding]:
    if found.is_empty():
        return
    of = survey.tasks.height
    cases = [
        f"{system} lacks {len(tasks)} of {of} ({named(tasks, 2)})"
        for system, tasks in found.group_by("system", maintain_order=True).agg("task").iter_rows()
    ]
    yield survey.finding(
        "missing tasks",
        "warning",
        "tasks that a system never answered",
        tasks=distinct(found, "task"),
        systems=distinct(found, "system"),
        rows=0,
        message=f"Not all systems answered all tasks: {named(cases)}.",
        consequence="Competence: means over tasks are of different tasks for different systems, so compare "
        "systems by shared tasks. "
        "Composition: a composite without its parts, or a part without composites, is missing there.",
        details=found.drop("at", "missing"),
    )


def _sometimes_answered(survey: Survey, found: pl.DataFrame) -> Iterator[Finding]:
    if found.is_empty():
        return
    patterns = found.group_by("system", "at", "missing", "checkpoints", maintain_order=True).agg("task")
    patterns = patterns.sort(pl.col("task").list.len() * pl.col("missing"), descending=True)
    cases = [
        f"{system} lacks {named(tasks, 2)} at {missing} of {checkpoints} checkpoints ({_span(at)})"
        for system, at, missing, checkpoints, tasks in patterns.iter_rows()
    ]
    yield survey.finding(
        "missing checkpoints",
        "warning",
        "tasks missing at some checkpoints",
        tasks=distinct(found, "task"),
        systems=distinct(found, "system"),
        message=f"{counted(found.height, 'curve')} {have(found.height)} holes, in "
        f"{counted(patterns.height, 'pattern')}: {named(cases, 3)}.",
        consequence="Curves over tokens: a mean over tasks moves when tasks come and go; only curves of the same "
        "tasks compare. "
        "Emergence: a threshold in a hole is not resolved.",
        details=patterns,
    )


def _span(at: list[str]) -> str:
    return named(at) if len(at) < 3 else f"{at[0]} \N{HORIZONTAL ELLIPSIS} {at[-1]}"  # noqa: PLR2004  two are named


def _unshared_items(survey: Survey) -> Iterator[Finding]:
    """Find tasks of which systems answered different items."""
    systems = survey.asked.group_by("task").agg(pl.col("system").n_unique())
    items = survey.asked.group_by("task", "piece").agg(having=pl.len())
    shared = (
        items.join(systems, on="task")
        .group_by("task")
        .agg(items=pl.len(), unshared=(pl.col("having") < pl.col("system")).sum())
    )
    found = shared.filter(pl.col("unshared") > 0).sort("task")
    if found.is_empty():
        return
    cases = [f"{task} ({unshared:,} of {items:,})" for task, items, unshared in found.iter_rows()]
    yield survey.finding(
        "missing items",
        "note",
        "items that not all systems answered",
        tasks=distinct(found, "task"),
        message=f"Not all systems that answered a task answered the same items: {named(cases)}.",
        consequence="Competence: differences between systems are paired over the shared items only.",
        details=found,
    )


def _few_checkpoints(survey: Survey) -> Iterator[Finding]:
    counts = (
        survey.cells.group_by("system")
        .agg(checkpoints=pl.len(), answers=pl.col("answers").sum())
        .sort("system")
    )
    few = counts.filter(pl.col("checkpoints") < _CURVE_POINTS)
    if few.is_empty():
        return
    systems = distinct(few, "system")
    most = int(few["checkpoints"].to_numpy().max())
    yield survey.finding(
        "few checkpoints",
        "note",
        "systems with few checkpoints",
        systems=systems,
        rows=int(few["answers"].sum()),
        message=f"{named(systems)} {have(len(systems))} "
        f"{'one checkpoint' if most == 1 else f'{most} checkpoints or fewer'}.",
        consequence="Curves over tokens and emergence: "
        + (
            "nothing can be said of the course of training, only of its end."
            if most == 1
            else "a curve has no shape with so few points."
        )
        + " What can be compared is systems, by size or loss.",
        details=few,
    )


def _sizes(survey: Survey) -> Iterator[Finding]:
    sizes = survey.cells.drop_nulls(["params"]).select("system", "params").unique()
    if sizes.is_empty() or survey.cells.height == 1:
        return
    distinct_sizes = sizes["params"].n_unique()
    words = [f"{system} {params / 1e9:.3g}B" for system, params in sizes.sort("params", "system").iter_rows()]
    within = sizes.filter(pl.col("system").is_duplicated())
    if distinct_sizes == 1:
        message, consequence = (
            f"All systems have the same size: {named(words)}.",
            "No law over parameters can be fitted.",
        )
    elif within.is_empty() and len(survey.systems) < _CURVE_POINTS:
        message = f"Every system has one size: {named(words)}."
        consequence = (
            "Size cannot be told from everything else that differs between systems (data, tokenizer, recipe): no "
            "law over "
            "parameters can be fitted, and what ten times the parameters bring cannot be said."
        )
    else:
        return
    yield survey.finding(
        "sizes", "note", "sizes of the systems", message=message, consequence=f"Forecast: {consequence}"
    )
