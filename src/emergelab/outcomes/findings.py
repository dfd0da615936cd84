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
_SAID = ("severity", "screen", "about", "message", "consequence")
_KEYS = ("system", "task", "checkpoint")
CASES = pl.Schema(dict.fromkeys((*_SAID, *_KEYS, "values"), pl.String))
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


def severities(findings: Iterable[Finding]) -> dict[Severity, int]:
    """Return how many findings there are of each severity, the gravest first."""
    found = [finding.severity for finding in findings]
    return {severity: found.count(severity) for severity in SEVERITIES}


def cases_table(findings: Iterable[Finding]) -> pl.DataFrame:
    """Return every case behind the findings in a row, all of it text: `CASES`.

    What a finding says stands in each row of its cases; a finding without cases has one row. `values` are the other
    columns of the details.
    """
    parts = [_cases(finding) for finding in findings]
    return pl.concat(parts) if parts else pl.DataFrame(schema=CASES)


def _cases(finding: Finding) -> pl.DataFrame:
    said = [pl.lit(getattr(finding, name)).alias(name) for name in _SAID]
    if finding.details.is_empty():
        nothing = [pl.lit(None, pl.String).alias(name) for name in (*_KEYS, "values")]
        return pl.select([*said, *nothing])
    columns = finding.details.columns
    keys = {
        name: _text(name, finding.details) if name in columns else pl.lit(None, pl.String) for name in _KEYS
    }
    values = [
        pl.format("{}: {}", pl.lit(name), _text(name, finding.details))
        for name in columns
        if name not in _KEYS
    ]
    joined = pl.concat_str(values, separator="; ", ignore_nulls=True) if values else pl.lit(None, pl.String)
    return finding.details.select(*said, **keys, values=joined)


def _text(name: str, frame: pl.DataFrame) -> pl.Expr:
    kind = frame.schema[name]
    if isinstance(kind, pl.List):
        return pl.col(name).list.eval(pl.element().cast(pl.String)).list.join(" + ")
    return (pl.col(name).round_sig_figs(4) if kind.is_float() else pl.col(name)).cast(pl.String)
