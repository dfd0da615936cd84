"""The command that looks at a table of results for what would make conclusions wrong."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import TYPE_CHECKING

import typer

from emergelab.cli.options import JsonOption
from emergelab.cli.skills import ColumnOption, ResultsArgument, SkillsOption

if TYPE_CHECKING:
    from emergelab.outcomes.findings import Finding
    from emergelab.recipes.screening import Screened

_WIDEST = 110
_COLOURS = {"fault": typer.colors.RED, "warning": typer.colors.YELLOW, "note": typer.colors.BLUE}


def check_command(
    file: ResultsArgument,
    column: ColumnOption = None,
    skills: SkillsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Screen a table of results: what is wrong with it, and what that does to which conclusion."""
    from emergelab.recipes import screening  # noqa: PLC0415
    from emergelab.recipes.outcome_tables import OutcomesFile  # noqa: PLC0415

    found = screening.screened(OutcomesFile(file=file, columns=tuple(column or ()), skills_of=skills))
    if as_json:
        typer.echo(json.dumps(screening.as_json(found), indent=1, allow_nan=False))
        return
    for finding in found.findings:
        _print_finding(finding)
    _print_sum(found)


def _print_finding(finding: Finding) -> None:
    typer.secho(finding.severity, fg=_COLOURS[finding.severity], bold=True, nl=False)
    touched = f"{finding.rows:,} rows, {finding.share:.1%}" if finding.rows else "no rows"
    typer.echo(f"  {_printable(finding.about)} ({touched})")
    _print_text(finding.message)
    _print_text(finding.consequence)
    typer.echo()


def _print_sum(found: Screened) -> None:
    from emergelab.outcomes.findings import counted, severities  # noqa: PLC0415

    counts = severities(found.findings)
    tasks = found.outcomes.frame["task"].n_unique()
    typer.echo(
        ", ".join(counted(count, severity) for severity, count in counts.items())
        + f" in {counted(found.outcomes.frame.height, 'row')}. "
        f"Verdicts on composition and emergence leave out {found.unfit.height} of {counted(tasks, 'task')}; --json has "
        "every case."
    )


def _print_text(text: str) -> None:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    typer.echo(textwrap.fill(_printable(text), width, initial_indent="  ", subsequent_indent="  "))


def _printable(text: str) -> str:
    """Replace what would move a terminal's cursor: names come from the table."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
