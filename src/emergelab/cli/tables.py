"""How commands print rows: as a table that a screen has room for, or whole as JSON or CSV."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import typer

from emergelab.cli.options import ROWS_ON_SCREEN, Format, console, say_cut

if TYPE_CHECKING:
    from emergelab.recipes.results import Rows


def print_rows(rows: Rows, output: Format, remedy: str) -> None:
    """Print `rows`; where a screen takes the first of them only, `remedy` says how to see the others."""
    from emergelab.recipes.results import csv_lines, json_lines  # noqa: PLC0415

    if output is not Format.table:
        sys.stdout.writelines(json_lines(rows) if output is Format.json else csv_lines(rows))
        return
    print_table(rows.columns, list(islice(rows.rows, ROWS_ON_SCREEN)))
    if next(rows.rows, None) is not None:
        say_cut(console(), remedy)


def print_table(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Print all of the rows below their headings."""
    from emergelab.recipes.results import table_lines  # noqa: PLC0415

    header, *lines = table_lines(columns, rows)
    typer.secho(header, bold=True)
    for line in lines:
        typer.echo(line)
