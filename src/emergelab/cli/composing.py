"""The command on composition: which law predicts tuples of skills from single skills."""

from __future__ import annotations

import json
from typing import Any

import typer

from emergelab.cli.options import JsonOption
from emergelab.cli.skills import ColumnOption, KeyOption, ResultsArgument, SkillsOption
from emergelab.cli.tables import print_table


def compose_command(
    file: ResultsArgument,
    column: ColumnOption = None,
    skills: SkillsOption = None,
    key: KeyOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say which law predicts composites from their single skills, and which skill gates each of them."""
    from emergelab.recipes.composing import composition_of  # noqa: PLC0415
    from emergelab.recipes.outcome_tables import OutcomesFile  # noqa: PLC0415

    found = composition_of(OutcomesFile(file=file, columns=tuple(column or ()), skills_of=skills), key)
    if as_json:
        typer.echo(json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False))
        return
    if found["laws"]:
        print_table(_COLUMNS, [_law(row) for row in found["laws"] if row["group"] == "all"])
        typer.echo(_NOTE)
    for sentence in found["findings"]:
        typer.echo(sentence)


_COLUMNS = ("law", "learned from other", "CRPS", "lo", "hi", "off by", "bias", "Brier", "skill", "number")
_NOTE = (
    "CRPS: how far the predicted success rate is off, 0 is best; with 95 % limits. bias: predicted less observed. "
    "skill: 1 less the CRPS over that of the mean of the other composites."
)


def _law(row: dict[str, Any]) -> tuple[str, ...]:
    numbers = ("crps", "crps_lo", "crps_hi", "distance", "bias", "brier", "skill_others", "number")
    held = "-" if row["held_out"] is None else f"{row['held_out']}s"
    return row["law"], held, *("-" if row[name] is None else f"{row[name]:.3f}" for name in numbers)
