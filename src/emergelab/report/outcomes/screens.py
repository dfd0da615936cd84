"""The section about what is wrong with a table of results, and what that does to which conclusion."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from emergelab.outcomes.findings import Finding, cases_table, counted, named, severities
from emergelab.outcomes.screens import unfit_tasks
from emergelab.report.sections import Section, Table

_SOUND = "The screens found nothing that would change a conclusion."


def section(findings: Sequence[Finding]) -> Section:
    """Return what the screens found, the gravest first, and the tasks that verdicts leave out with their reasons."""
    tables = [_found(findings)] if findings else []
    left_out = unfit_tasks(findings)
    if left_out.height:
        tables.append(_left_out(left_out))
    return Section(
        name="screens", title="Faults of the data", text=_summary(findings, left_out), tables=tables
    )


def _summary(findings: Sequence[Finding], left_out: pl.DataFrame) -> str:
    if not findings:
        return _SOUND
    counts = ", ".join(counted(count, severity) for severity, count in severities(findings).items())
    first = [
        f"{finding.message} {finding.consequence}" for finding in findings if finding.severity == "fault"
    ]
    kept = (
        f" Verdicts on competence and composition leave out {counted(left_out.height, 'task')}."
        if left_out.height
        else ""
    )
    meaning = (
        "A fault makes numbers wrong, a warning changes what they mean, a note says what cannot be said."
    )
    return "\n\n".join(
        [f"The table was screened before anything was concluded: {counts}. {meaning}{kept}", *first[:1]]
    )


def _found(findings: Sequence[Finding]) -> Table:
    rows = [
        (
            f"{finding.severity}: {finding.about}",
            finding.message,
            finding.consequence,
            f"{finding.share:.1%}" if finding.rows else "none",
        )
        for finding in findings
    ]
    return Table(
        title="What the screens found",
        columns=("Finding", "What there is", "What it does", "Rows touched"),
        rows=rows,
        note="Shares are of all rows. The file has every single case behind a finding.",
        name="findings",
        whole=cases_table(findings),
        prose=True,
    )


def _left_out(left_out: pl.DataFrame) -> Table:
    by_reason = (
        left_out.group_by("reason", maintain_order=True)
        .agg("task")
        .sort(pl.col("task").list.len(), descending=True)
    )
    rows = [(reason, str(len(tasks)), named(tasks, len(tasks))) for reason, tasks in by_reason.iter_rows()]
    return Table(
        title="Tasks that verdicts leave out",
        columns=("Reason", "Tasks", "Which"),
        rows=rows,
        note="Their accuracies are still shown.",
        name="left-out",
        whole=left_out,
        prose=True,
    )
