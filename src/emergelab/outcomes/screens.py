"""Looks at a table of outcomes for what would make conclusions from it wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import polars as pl

from emergelab.outcomes import (
    answer_screens,
    coverage_screens,
    jumps,
    level_screens,
    prompt_screens,
    skill_screens,
    target_screens,
    unit_screens,
)
from emergelab.outcomes.findings import Finding, by_severity
from emergelab.outcomes.survey import Survey

Screen = Callable[[Survey], Iterator[Finding]]

UNFITTING: tuple[Screen, ...] = (
    target_screens.constant_targets,
    target_screens.copied_inputs,
    target_screens.idle_skills,
    level_screens.never_solved,
    level_screens.chance_level,
)
"""Screens whose findings may take tasks out of verdicts."""

SCREENS: tuple[Screen, ...] = (
    answer_screens.foreign_losses,
    *UNFITTING,
    target_screens.nearly_constant_targets,
    target_screens.empty_targets,
    target_screens.twin_tasks,
    target_screens.repeated_items,
    answer_screens.contradictory_targets,
    answer_screens.shifting_items,
    answer_screens.repeated_rows,
    answer_screens.unheard_losses,
    answer_screens.infinite_losses,
    answer_screens.uneven_shots,
    prompt_screens.leaking_prompts,
    coverage_screens.missing_tasks,
    coverage_screens.missing_items,
    coverage_screens.copied_results,
    coverage_screens.unknown_order,
    skill_screens.never_alone,
    skill_screens.confounded_skills,
    skill_screens.mixed_tasks,
    jumps.implausible_jumps,
    unit_screens.odd_scales,
    unit_screens.odd_losses,
    unit_screens.odd_shares,
    unit_screens.odd_labels,
    unit_screens.stated_tokens,
    unit_screens.shared_places,
    level_screens.saturated,
    level_screens.before_learning,
    level_screens.few_items,
    answer_screens.different_tokenizers,
    answer_screens.unknown_chance,
    coverage_screens.single_scales,
    coverage_screens.unknown_scales,
    coverage_screens.wide_gaps,
)
"""All screens, by their weight within one severity."""


def screen(frame: pl.DataFrame, notes: Sequence[str] = ()) -> list[Finding]:
    """Return what all screens find in a table of `OUTCOMES`, the gravest first.

    `notes` are what was assumed when it was read; together they are a finding.
    """
    survey = Survey(frame)
    if frame.is_empty():
        return []
    return by_severity([*_found(survey, SCREENS), *_assumed(survey, notes)])


def unfit(frame: pl.DataFrame) -> pl.DataFrame:
    """Return task and reason of the tasks that verdicts leave out, see `unfit_tasks`."""
    return unfit_tasks(() if frame.is_empty() else _found(Survey(frame), UNFITTING))


def unfit_tasks(findings: Iterable[Finding]) -> pl.DataFrame:
    """Return task and reason, one row for each task that verdicts leave out, by task.

    Several reasons are joined by semicolons.
    """
    pairs = [(task, finding.unfit) for finding in findings if finding.unfit for task in finding.tasks]
    table = pl.DataFrame(pairs, schema={"task": pl.String, "reason": pl.String}, orient="row")
    return table.group_by("task", maintain_order=True).agg(pl.col("reason").str.join("; ")).sort("task")


def _found(survey: Survey, screens: Iterable[Screen]) -> list[Finding]:
    return [finding for one in screens for finding in one(survey)]


def _assumed(survey: Survey, notes: Sequence[str]) -> Iterator[Finding]:
    if notes:
        yield survey.finding(
            "assumptions",
            "note",
            "assumed when the table was read",
            message=" ".join(notes),
            consequence="All conclusions: what follows from these holds if they do.",
            details=pl.DataFrame({"note": list(notes)}),
        )
