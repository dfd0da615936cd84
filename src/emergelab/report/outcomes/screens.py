"""The section about what is wrong with a table of results, and what that does to which conclusion."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from emergelab.outcomes.findings import Finding, cases_table, counted, named, severities
from emergelab.outcomes.screens import unfit_tasks
from emergelab.report.sections import Section, Table

_SMALL = 0.005
_MEANING = "A fault makes numbers wrong, a warning changes what they mean, a note says what cannot be said."
_TITLES = {
    "fault": "Faults",
    "warning": "Warnings",
    "note": "What cannot be said, and what was assumed",
}
_SOUND = "The screens found nothing that would change a conclusion."


def section(findings: Sequence[Finding]) -> Section:
    """Return what the screens found, the gravest first, and the tasks that verdicts leave out with their reasons."""
    left_out = unfit_tasks(findings)
    tables = [
        _found(title, severity, found)
        for severity, title in _TITLES.items()
        if (found := [finding for finding in findings if finding.severity == severity])
    ]
    tables += [_left_out(left_out)] if left_out.height else []
    return Section(name="screens", title="Faults of the data", text=_summary(findings), tables=tables)


def _summary(findings: Sequence[Finding]) -> str:
    if not findings:
        return _SOUND
    counts = ", ".join(counted(count, severity) for severity, count in severities(findings).items())
    faults = list(dict.fromkeys(finding.about for finding in findings if finding.severity == "fault"))
    said = [f"The table was screened before anything was concluded: {counts}. {_MEANING}"]
    if faults:
        said.append(f"Faults are: {named(faults, len(faults))}.")
    return " ".join(said)


def _found(title: str, severity: str, findings: Sequence[Finding]) -> Table:
    rows = [(finding.about, finding.message, finding.consequence, _touched(finding)) for finding in findings]
    return Table(
        title=title,
        columns=("Finding", "What there is", "What it does", "Rows"),
        rows=rows,
        note="Shares are of all rows. The file has every single case behind a finding.",
        name=f"{severity}s",
        whole=cases_table(findings),
        prose=True,
        folded=severity != "fault",
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
        note="Their accuracies are still shown. Verdicts on competence keep those that were never solved: their "
        "failures are failures.",
        name="left-out",
        whole=left_out,
        prose=True,
    )
