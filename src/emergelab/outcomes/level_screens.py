"""Screens of how high accuracy is: no better than guessing, never right, always right, before any learning."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from emergelab.outcomes.findings import Finding, be, counted, distinct, have, named
from emergelab.outcomes.schema import CELL
from emergelab.outcomes.survey import SURE, Survey, guessing_p

SOLVED = 0.05
"""A task is never solved where no checkpoint gets this share of its items right."""

_SURELY_UNSOLVED = 0.25

SATURATED = 0.98
"""Accuracy above which nothing is left to learn."""

_FEWEST = 10
_GUESSED = 0.95  # constant targets and copied inputs have their own screens
FEW_ITEMS = 30
"""Items below which a 95 % interval may be wider than .36."""


def never_solved(survey: Survey) -> Iterator[Finding]:
    """Find tasks that no checkpoint of any system solves, and those that some systems never solve.

    Tasks with so few items that they may well be solved are not among them.
    """
    best = _best(survey, "task", "system").with_columns(
        unsolved=(pl.col("accuracy") < SOLVED) & (pl.col("high") < _SURELY_UNSOLVED)
    )
    everywhere = pl.col("unsolved").all().over("task")
    yield from _solved_by_none(survey, best.filter(everywhere))
    yield from _solved_by_others(survey, best.filter(pl.col("unsolved") & ~everywhere))


def _solved_by_none(survey: Survey, found: pl.DataFrame) -> Iterator[Finding]:
    if found.is_empty():
        return
    tasks = distinct(found, "task")
    yield survey.finding(
        "never solved",
        "warning",
        "tasks that nothing solves",
        tasks=tasks,
        message=f"No checkpoint gets {SOLVED:.0%} right of {counted(len(tasks), 'task')}, the best "
        f"{found['accuracy'].max():.1%}: {named(tasks)}.",
        consequence="Composition: every law that predicts zero is right about them, so verdicts on laws leave them "
        "out and name them as composites that did not come. Emergence: no threshold in this range.",
        unfit="never solved",
        details=found.drop("unsolved"),
    )


def _solved_by_others(survey: Survey, found: pl.DataFrame) -> Iterator[Finding]:
    if found.is_empty():
        return
    cases = [f"{task} ({system})" for task, system in found.select("task", "system").iter_rows()]
    yield survey.finding(
        "never solved",
        "note",
        "tasks that some systems never solve",
        tasks=distinct(found, "task"),
        systems=distinct(found, "system"),
        rows=_rows(survey, found),
        message=f"Some systems never get {SOLVED:.0%} right where others do: {named(cases)}.",
        consequence="Emergence: these systems have no threshold there in this range of training.",
        details=found.drop("unsolved"),
    )


def chance_level(survey: Survey) -> Iterator[Finding]:
    """Find tasks where no checkpoint is surely better than guessing, and that are neither unsolved nor constant.

    Tasks with so few items that they may well be far above guessing are not among them.
    """
    never = (survey.measured.group_by("task").agg(p=pl.col("p").min() * pl.len())).filter(pl.col("p") >= SURE)
    found = (
        _best(survey, "task")
        .join(never, on="task", how="semi")
        .filter((pl.col("accuracy") >= SOLVED) & (pl.col("high") < (1 + pl.col("guess")) / 2))
        .filter(pl.col("guess") < _GUESSED)
        .sort("task")
    )
    if found.is_empty():
        return
    cases = [
        f"{task} (best {best:.2f}, guessing {guess:.2f})"
        for task, best, guess in found.select("task", "accuracy", "guess").iter_rows()
    ]
    yield survey.finding(
        "chance level",
        "warning",
        "tasks never surely better than guessing",
        tasks=found["task"].to_list(),
        message=f"{counted(found.height, 'task')} {be(found.height)} at no checkpoint surely above guessing, by chance "
        f"or by the most frequent answer: {named(cases)}.",
        consequence="Competence and composition: what accuracy there is may be guessed; verdicts leave them out. "
        "Emergence: a rise up to this level shows that the kind of answer was learned.",
        unfit="never above guessing",
        details=found,
    )


def saturated(survey: Survey) -> Iterator[Finding]:
    """Find tasks that are solved from the first checkpoint on that has learned anything."""
    levels = (
        survey.measured.join(untrained_cells(survey), on=CELL, how="anti")
        .group_by("task", "system")
        .agg(lowest=pl.col("accuracy").min(), items=pl.col("items").min(), checkpoints=pl.len())
        .sort("task", "system")
    )
    found = levels.filter((pl.col("lowest") >= SATURATED) & (pl.col("items") >= _FEWEST))
    if found.is_empty():
        return
    tasks = distinct(found, "task")
    yield survey.finding(
        "saturated tasks",
        "note",
        "tasks solved from the start",
        tasks=tasks,
        systems=distinct(found, "system"),
        rows=_rows(survey, found),
        message=f"In {counted(len(tasks), 'task')} a system is {SATURATED:.0%} right or more at every checkpoint that "
        f"has learned anything: {named(tasks)}.",
        consequence="Emergence: the threshold lies before the first such checkpoint, no more can be said. Composition: "
        "a skill at its ceiling gates nothing.",
        details=found,
    )


def untrained_cells(survey: Survey) -> pl.DataFrame:
    """Return the cells that are surely above guessing neither in a task nor in all of them together.

    Columns: system, checkpoint, train_tokens, accuracy, rows. Either question may err in half of `SURE`.
    """
    total = pl.col("items").sum()
    cells = (
        survey.measured.group_by(CELL)
        .agg(
            pl.col("train_tokens").first(),
            accuracy=(pl.col("accuracy") * pl.col("items")).sum() / total,
            guess=(pl.col("guess") * pl.col("items")).sum() / total,
            items=total,
            rows=pl.col("rows").sum(),
            p_task=pl.col("p").min() * pl.len(),
        )
        .sort("system", "train_tokens", "checkpoint")
    )
    p = guessing_p(cells)
    untrained = cells.filter((2 * pl.col("p_task") >= SURE) & (2 * p >= SURE))
    return untrained.select(*CELL, "train_tokens", "accuracy", "rows")


def before_learning(survey: Survey) -> Iterator[Finding]:
    """Find checkpoints that have learned nothing of any task."""
    found = untrained_cells(survey)
    if found.is_empty():
        return
    labels = [
        f"{checkpoint} ({system}, {accuracy:.1%} right)"
        for system, checkpoint, accuracy in found.select(*CELL, "accuracy").iter_rows()
    ]
    yield survey.finding(
        "before learning",
        "note",
        "checkpoints before any learning",
        systems=distinct(found, "system"),
        rows=int(found["rows"].sum()),
        message=f"At {counted(found.height, 'checkpoint')} nothing is surely above guessing: {named(labels)}.",
        consequence="Curves over tokens: these checkpoints fix the lower level and say nothing of the shape. "
        "Composition: all laws are right about them, so they must not count as agreement.",
        details=found,
    )


def few_items(survey: Survey) -> Iterator[Finding]:
    """Find tasks with too few items for a narrow interval."""
    found = survey.tasks.filter(pl.col("items") < FEW_ITEMS)
    if found.is_empty():
        return
    tasks = found["task"].to_list()
    fewest = int(found["items"].to_numpy().min())
    half = 0.98 / fewest**0.5
    yield survey.finding(
        "few items",
        "note",
        "tasks with few items",
        tasks=tasks,
        message=f"{counted(len(tasks), 'task')} {have(len(tasks))} fewer than {FEW_ITEMS} items, the fewest {fewest}: "
        f"{named(tasks)}.",
        consequence=f"Competence: an accuracy in the middle is known there to within {min(half, 1):.2f} at best, and "
        "small differences between checkpoints cannot be seen.",
        details=found.select("task", "skills", "items"),
    )


def _best(survey: Survey, *by: str) -> pl.DataFrame:
    """Return the best checkpoint of each group: accuracy, its upper limit, what guessing brings."""
    order = survey.measured.sort(*by, "accuracy", "items", descending=[False] * len(by) + [True, True])
    first = order.group_by(by, maintain_order=True).first()
    return first.select(*by, "accuracy", "high", "guess", "items")


def _rows(survey: Survey, chosen: pl.DataFrame) -> int:
    return int(survey.tallies.join(chosen, on=("task", "system"), how="semi")["rows"].sum())
