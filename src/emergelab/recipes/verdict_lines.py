"""Verdicts for the terminal, in one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emergelab.recipes.results import read_table
from emergelab.recipes.run_folder import RunFolder
from emergelab.report import words

_WIDEST = len("not supported")


def verdict_lines(folder: RunFolder) -> list[str]:
    """Return a line for each hypothesis of a finished run; none where it has none. Raises ArtifactError."""
    table = read_table(folder, "verdicts")
    return [_line(dict(zip(table.columns, row, strict=True))) for row in table.rows]


def _line(row: Mapping[str, Any]) -> str:
    effect = "" if row["effect"] is None else f" {words.count(row['effect'])}"
    known = row["lo"] is not None or row["hi"] is not None
    interval = f" [{_end(row['lo'])}, {_end(row['hi'])}]" if known else ""
    limit = "" if row["limit"] is None else f", wanted {row['side']} {words.count(row['limit'])}"
    measured = f"{effect}{interval}{limit}".strip(" ,")
    late = "" if row["fixed"].startswith("before") else f" (fixed {row['fixed']})"
    why = f": {row['reason']}" if row["verdict"] == "undecided" else ""
    said = f"{row['name']}: {measured}" if measured else str(row["name"])
    return f"{row['verdict']:<{_WIDEST}}  {said}{why if measured else f' {why}'}{late}"


def _end(value: float | None) -> str:
    return "?" if value is None else words.count(value)
