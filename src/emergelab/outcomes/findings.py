"""What a screen finds in a table of outcomes, and what it does to the conclusions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

Severity = Literal["fault", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("fault", "warning", "note")
"""A fault makes numbers wrong; a warning changes what they mean; a note says what cannot be said."""

FINDINGS = pl.Schema(
    {
        "screen": pl.String,
        "severity": pl.String,
        "about": pl.String,
        "systems": pl.List(pl.String),
        "tasks": pl.List(pl.String),
        "rows": pl.Int64,
        "share": pl.Float64,
        "message": pl.String,
        "consequence": pl.String,
        "unfit": pl.String,
    }
)
_NAMED = 4


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a screen found.

    `about` is a short noun phrase, `rows` the number of rows that it touches and `share` their share of the table;
    `message` says what is there, `consequence` what it does to which conclusion. `unfit` is the reason for which
    verdicts leave out its `tasks`, None where they need not. `details` has a row for each case.
    """

    screen: str
    severity: Severity
    about: str
    systems: tuple[str, ...]
    tasks: tuple[str, ...]
    rows: int
    share: float
    message: str
    consequence: str
    unfit: str | None = None
    details: pl.DataFrame = field(default_factory=pl.DataFrame, repr=False, compare=False)


def findings_table(findings: Iterable[Finding]) -> pl.DataFrame:
    """Return findings as a table of `FINDINGS`, without their details."""
    rows = [{name: getattr(finding, name) for name in FINDINGS} for finding in findings]
    lists = [
        {name: list(row[name]) if isinstance(row[name], tuple) else row[name] for name in row} for row in rows
    ]
    return pl.DataFrame(lists, schema=FINDINGS)


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with the gravest first, otherwise in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def named(names: Sequence[str], most: int = _NAMED) -> str:
    """Return names as a sentence has them; of more than `most` the first, and how many others there are."""
    if len(names) > most + 1:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def counted(number: int, noun: str) -> str:
    """Return '1 task' or '3 tasks', thousands apart by commas."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def be(number: int) -> str:
    """Return the verb after `number` of something."""
    return "is" if number == 1 else "are"


def have(number: int) -> str:
    """Return the verb of owning after `number` of something."""
    return "has" if number == 1 else "have"


def distinct(frame: pl.DataFrame, column: str) -> list[str]:
    """Return the different values of a column of names, in order."""
    return frame[column].unique().sort().to_list()
