"""What stands first on the page: few sentences, each the answer to a question, computed from the analyses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from emergelab.analysis.skills.tables import NEVER_SOLVED, OFTEN, CompetenceTables
from emergelab.outcomes.findings import Finding
from emergelab.outcomes.screens import unfit_tasks
from emergelab.report import words
from emergelab.report.outcomes.systems import cell_name, with_interval

_MOST_SYSTEMS = 6
_COUNTED = {"skills": "skills", "tuples": "combinations of one skill or more"}


def trust(findings: Sequence[Finding], tasks: int) -> list[str]:
    """Say what makes numbers wrong, and how much of the table bears verdicts."""
    grave = [finding for finding in findings if finding.severity == "fault"]
    if not findings:
        return ["Yes: the screens found nothing that would change a conclusion."]
    others = words.plural(len(findings) - len(grave), "other finding")
    said = [f"{'Not all of them' if grave else 'Yes, with care'}. {_faults(grave)}{others} below."]
    left = left_out(unfit_tasks(findings), tasks)
    return [*said, left] if left else said


def left_out(unfit: pl.DataFrame, tasks: int) -> str:
    """Say how many tasks verdicts leave out, empty where none; `unfit` has task and reason."""
    if unfit.is_empty():
        return ""
    said = (
        f"Verdicts on composition and emergence leave out {unfit.height} of {words.plural(tasks, 'task')}, which show "
        "no skill"
    )
    unsolved = unfit.filter(pl.col("reason") == NEVER_SOLVED).height
    if not unsolved:
        return f"{said}; so do those on competence."
    return f"{said}; those on competence keep {unsolved} of these that were never solved, as failures are failures."


def _faults(grave: Sequence[Finding]) -> str:
    if not grave:
        return ""
    return f"{words.plural(len(grave), 'fault')}: {words.listing([finding.about for finding in grave])}; "


def have(tables: CompetenceTables) -> list[str]:
    """Say for each system at its last checkpoint how many skills and tuples it has, and its weakest."""
    if tables.measure is None:
        return ["Nothing is known: answers are neither right nor wrong, and there are no cloze losses."]
    said = [
        sentence for cell in tables.last.head(_MOST_SYSTEMS).to_dicts() for sentence in _has(tables, cell)
    ]
    left = tables.last.height - _MOST_SYSTEMS
    return [*said, f"{words.plural(left, 'system')} more below."] if left > 0 else said


def _has(tables: CompetenceTables, cell: Mapping[str, Any]) -> Iterator[str]:
    of_cell = (pl.col("system") == cell["system"]) & (pl.col("checkpoint") == cell["checkpoint"])
    often = tables.weak.filter(of_cell & (pl.col("limit") == OFTEN)).drop_nulls("raw")
    parts = [
        f"{row['n'] - round(row['raw'] * row['n'])} of {row['n']} {_COUNTED[row['of']]}"
        for row in often.to_dicts()
    ]
    ranked = _ranked(tables, of_cell)
    if not parts or ranked.is_empty():
        return
    weakest, strongest = (_named(ranked.row(place, named=True), tables.measure) for place in (0, -1))
    yield (
        f"{cell_name(cell)} fails at most half the time on {words.listing(parts)}; weakest {weakest}, strongest "
        f"{strongest}."
    )


def _ranked(tables: CompetenceTables, of_cell: pl.Expr) -> pl.DataFrame:
    measure = tables.measure or "success"
    known = tables.skills.filter(of_cell).drop_nulls(measure)
    return known.sort(measure, "skill", descending=[measure == "failure", False])


def _named(row: Mapping[str, Any], measure: str | None) -> str:
    share = with_interval(row, measure or "success")
    return f"{row['skill']} ({share} {'right' if measure == 'success' else 'failing'})"
