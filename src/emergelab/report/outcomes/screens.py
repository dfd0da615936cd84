"""The section about what is wrong with a table of results, and what that does to which conclusion."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from emergelab.outcomes.findings import Finding, cases_table, counted, named, severities
from emergelab.outcomes.screens import unfit_tasks
from emergelab.report.sections import Section, Table

_SMALL = 0.005
_MEANING = "A fault makes numbers wrong, a warning changes what they mean, a note says what cannot be said."
_SOUND = "The screens found nothing that would change a conclusion."


def section(findings: Sequence[Finding]) -> Section:
    """Return what the screens found, the gravest first, and the tasks that verdicts leave out with their reasons."""
    notes = [finding for finding in findings if finding.severity == "note"]
    grave = [finding for finding in findings if finding.severity != "note"]
    left_out = unfit_tasks(findings)
    tables = [_found("What the screens found", grave, "faults")] if grave else []
    tables += [_left_out(left_out)] if left_out.height else []
    tables += [_found("What cannot be said, and what was assumed", notes, "notes")] if notes else []
    return Section(
        name="screens", title="Faults of the data", text=_summary(findings, left_out), tables=tables
    )


def _summary(findings: Sequence[Finding], left_out: pl.DataFrame) -> str:
    if not findings:
        return _SOUND
    counts = ", ".join(counted(count, severity) for severity, count in severities(findings).items())
    faults = list(dict.fromkeys(finding.about for finding in findings if finding.severity == "fault"))
    said = [f"The table was screened before anything was concluded: {counts}. {_MEANING}"]
    if faults:
        said.append(f"Faults are: {named(faults, len(faults))}.")
    if left_out.height:
        said.append(f"Verdicts on competence and composition leave out {counted(left_out.height, 'task')}.")
    return " ".join(said)


def _found(title: str, findings: Sequence[Finding], name: str) -> Table:
    rows = [
        (f"{finding.severity}: {finding.about}", finding.message, finding.consequence, _touched(finding))
        for finding in findings
    ]
    return Table(
        title=title,
        columns=("Finding", "What there is", "What it does", "Rows"),
        rows=rows,
        note="Shares are of all rows. The file has every single case behind a finding.",
        name=name,
        whole=cases_table(findings),
        prose=True,
    )


def _touched(finding: Finding) -> str:
    if finding.share == 0:
        return "none"
    return f"{finding.rows:,}" if finding.share < _SMALL else f"{finding.share:.0%}"


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
