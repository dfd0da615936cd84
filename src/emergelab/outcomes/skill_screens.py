"""Screens of which skills tasks need: skills never measured alone, and skills that tasks cannot tell apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from jaxtyping import Float64

from emergelab.outcomes.findings import Finding, be, counted, distinct, have, named
from emergelab.outcomes.survey import Survey

_MOST_SKILLS = 1000
_ZERO = 1e-9


def never_alone(survey: Survey) -> Iterator[Finding]:
    """Find skills that no task needs alone, and count the composites all of whose parts are measured."""
    alone = set(_skills(survey.tasks.filter(pl.col("skills").list.len() == 1)))
    composites = survey.tasks.filter(pl.col("skills").list.len() > 1)
    missing = sorted(set(_skills(composites)) - alone)
    if not missing:
        return
    lacking = composites.filter(pl.col("skills").list.set_intersection(missing).list.len() > 0)
    whole = composites.height - lacking.height
    by_system = _whole_composites(survey)
    yield survey.finding(
        "skills never alone",
        "warning",
        "skills that are never measured alone",
        tasks=lacking["task"].to_list(),
        message=f"No task needs {named(missing)} alone. Of {counted(composites.height, 'composite')} {whole} "
        f"{have(whole)} all "
        f"parts measured; by system {named([f'{system} {count}' for system, count in by_system.iter_rows()])}.",
        consequence="Composition: what a law predicts from single skills is unknown for the others. They are "
        "missing, not "
        "failures; what can be asked of them is whether parts that are composites themselves predict them.",
        details=lacking.select(
            "task", pl.col("skills"), missing=pl.col("skills").list.set_intersection(missing)
        ),
    )


def confounded_skills(survey: Survey) -> Iterator[Finding]:
    """Find skills that always occur together, and other sets of which tasks determine a combination only."""
    skills, design = _design(survey)
    if len(skills) < 2:  # noqa: PLR2004  two can be confounded
        return
    together = _together(skills, design)
    if together:
        words = [" with ".join(group) for group in together]
        inside = [skill for group in together for skill in group]
        yield survey.finding(
            "confounded skills",
            "warning",
            "skills that always occur together",
            tasks=_needing(survey, inside),
            message=f"Every task that needs one of them needs the others as well: {named(words)}.",
            consequence="Competence: nothing tells them apart, so their numbers are one number. Composition: they "
            "are one "
            "skill here.",
            details=pl.DataFrame({"skills": together}, schema={"skills": pl.List(pl.String)}),
        )
    yield from _dependent(survey, skills, design)


def mixed_tasks(survey: Survey) -> Iterator[Finding]:
    """Find tasks whose items do not all need the same skills."""
    kinds = survey.items.group_by("task").agg(kinds=pl.col("skills").n_unique(), items=pl.len())
    found = kinds.filter(pl.col("kinds") > 1).sort("task")
    if found.is_empty():
        return
    tasks = found["task"].to_list()
    yield survey.finding(
        "mixed tasks",
        "note",
        "tasks whose items need different skills",
        tasks=tasks,
        message=f"In {counted(len(tasks), 'task')} items need different skills: {named(tasks)}.",
        consequence="Composition: items are grouped by their skills, not by these tasks. Baselines of guessing "
        "are by task.",
        details=found,
    )


def _skills(tasks: pl.DataFrame) -> list[str]:
    return tasks["skills"].explode().unique().sort().to_list()


def _whole_composites(survey: Survey) -> pl.DataFrame:
    """Return for each system how many of its composites have all parts measured in it."""
    of_system = (
        survey.tallies.select("system", "task")
        .unique()
        .join(survey.tasks.select("task", "skills"), on="task")
    )
    long = of_system.with_columns(k=pl.col("skills").list.len()).explode("skills")
    alone = long.filter(pl.col("k") == 1).select("system", "skills", known=pl.lit(value=True)).unique()
    whole = (
        long.filter(pl.col("k") > 1)
        .join(alone, on=("system", "skills"), how="left")
        .group_by("system", "task")
        .agg(whole=pl.col("known").is_not_null().all())
    )
    counts = whole.group_by("system").agg(pl.col("whole").sum())
    every = pl.DataFrame({"system": survey.systems}, schema={"system": pl.String})
    return (
        every.join(counts, on="system", how="left").with_columns(pl.col("whole").fill_null(0)).sort("system")
    )


def _design(survey: Survey) -> tuple[list[str], Float64[np.ndarray, "sets skills"]]:
    """Return skills, and how often each different set of skills among the items has each."""
    sets = survey.items.select(pl.col("skills").list.sort()).unique().sort("skills")
    long = sets.with_row_index("set").explode("skills").group_by("set", "skills").len()
    skills = _skills(sets)
    column = {skill: place for place, skill in enumerate(skills)}
    design = np.zeros((sets.height, len(skills)))
    design[long["set"].to_numpy(), [column[skill] for skill in long["skills"]]] = long["len"].to_numpy()
    return skills, design


def _together(skills: list[str], design: Float64[np.ndarray, "sets skills"]) -> list[list[str]]:
    groups: dict[bytes, list[str]] = {}
    for skill, column in zip(skills, design.T > 0, strict=True):
        groups.setdefault(np.packbits(column).tobytes(), []).append(skill)
    return [group for group in groups.values() if len(group) > 1]


def _dependent(
    survey: Survey, skills: list[str], design: Float64[np.ndarray, "sets skills"]
) -> Iterator[Finding]:
    """Tell of skills whose share in success no additive model of the tasks determines, by the null space."""
    if len(skills) > _MOST_SKILLS:
        return
    _, values, directions = np.linalg.svd(design, full_matrices=True)
    rank = int((values > _ZERO * max(design.shape) * values.max()).sum())
    free = directions[rank:]
    open_skills = [
        skill for skill, size in zip(skills, np.abs(free).max(axis=0, initial=0), strict=True) if size > _ZERO
    ]
    if not open_skills:
        return
    yield survey.finding(
        "confounded skills",
        "warning",
        "skills that tasks cannot tell apart",
        tasks=_needing(survey, open_skills),
        message=f"{counted(design.shape[0], 'set')} of skills {be(design.shape[0])} measured, of rank {rank} for "
        f"{len(skills)} "
        f"skills: the share of {named(open_skills, 8)} in a success is not determined.",
        consequence="Competence: a competence of these skills follows from assumptions and not from the table. "
        "Composition: laws that multiply or add skills fit with any values of them that agree on the sums measured.",
        details=pl.DataFrame({"skill": open_skills}, schema={"skill": pl.String}),
    )


def _needing(survey: Survey, skills: list[str]) -> list[str]:
    needs = pl.col("skills").list.set_intersection(skills).list.len() > 0
    return distinct(survey.tasks.filter(needs), "task")
