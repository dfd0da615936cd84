"""From a table of results to what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from emergelab.outcomes.findings import Finding, findings_table
from emergelab.outcomes.schema import Outcomes
from emergelab.outcomes.screens import screen, unfit_tasks
from emergelab.recipes.outcome_tables import OutcomesFile, read


@dataclass(frozen=True, kw_only=True)
class Screened:
    """A table, what the screens found in it, and the tasks (task, reason) that verdicts leave out."""

    outcomes: Outcomes
    findings: Sequence[Finding]
    unfit: pl.DataFrame


def screened(question: OutcomesFile) -> Screened:
    """Read a table and screen it. Raises TableError for one that cannot be read."""
    outcomes = read(question)
    findings = screen(outcomes.frame, outcomes.notes)
    return Screened(outcomes=outcomes, findings=findings, unfit=unfit_tasks(findings))


def as_json(found: Screened) -> dict[str, Any]:
    """Return everything as plain values: infinite numbers are text, missing ones None."""
    rows = findings_table(found.findings).to_dicts()
    details = ([_plain(case) for case in finding.details.to_dicts()] for finding in found.findings)
    return {
        "source": found.outcomes.source,
        "answers": found.outcomes.frame.height,
        "findings": [{**row, "details": cases} for row, cases in zip(rows, details, strict=True)],
        "unfit": found.unfit.to_dicts(),
    }


def _plain(case: dict[str, Any]) -> dict[str, Any]:
    return {name: _finite(value) for name, value in case.items()}


def _finite(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)
