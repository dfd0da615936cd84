"""The command that puts two runs side by side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emergelab.cli.options import ROWS_ON_SCREEN, Format, console, say_cut
from emergelab.cli.tables import print_table

if TYPE_CHECKING:
    import polars as pl

    from emergelab.recipes.comparing import Comparison

_NAMES_SHOWN = 5
_LABELS = (
    *("layers", "width", "train_tokens", "unique_documents", "variant", "seed", "task", "form", "split"),
    *("decoding", "argument"),
)
_VALUES = (
    *("n_a", "n_b", "accuracy_a", "accuracy_b", "accuracy_difference", "accuracy_lo", "accuracy_hi"),
    *("accuracy_p_adjusted", "nats_difference", "nats_lo", "nats_hi", "nats_p_adjusted"),
)
_HEADINGS = {
    "accuracy_difference": "B-A",
    "accuracy_lo": "lo",
    "accuracy_hi": "hi",
    "accuracy_p_adjusted": "p",
    "nats_difference": "nats B-A",
    "nats_lo": "nats lo",
    "nats_hi": "nats hi",
    "nats_p_adjusted": "nats p",
}


def compare_command(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A finished run's folder.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Another one's.")],
    shots: Annotated[
        int | None, typer.Option(min=0, help="Examples before the query; by default the most that both have.")
    ] = None,
    output: Annotated[
        Format, typer.Option("--format", help="How to print; csv prints the rows alone.")
    ] = Format.table,
) -> None:
    """Say what differs between two runs: settings, cells, and the answers of corresponding models."""
    from emergelab.recipes.comparing import compare_runs  # noqa: PLC0415
    from emergelab.recipes.run_folder import RunFolder  # noqa: PLC0415

    comparison = compare_runs(RunFolder(run_a), RunFolder(run_b), shots=shots)
    if output is Format.json:
        typer.echo(json.dumps(comparison.as_json(), indent=1, allow_nan=False))
    elif output is Format.csv:
        comparison.table.write_csv(sys.stdout)
    else:
        _print(comparison)


def _print(comparison: Comparison) -> None:
    if comparison.settings:
        entries = [(str(one["entry"]), *(_text(one[side]) for side in "ab")) for one in comparison.settings]
        print_table(("differs", "A", "B"), entries)
    else:
        typer.echo("Both runs were made with the same settings and versions on the same machine.")
    cells = comparison.cells
    count = cells.pairs.height
    typer.echo(f"\n{count} cell{' corresponds' if count == 1 else 's correspond'}.")
    for name, alone in (("A", cells.only_a), ("B", cells.only_b)):
        if alone:
            others = ", ..." if len(alone) > _NAMES_SHOWN else ""
            typer.echo(f"{len(alone)} only in {name}: {'; '.join(alone[:_NAMES_SHOWN])}{others}")
    if comparison.shots is None:
        typer.echo(
            "Cells correspond that have the same scale, variant and seed. There is nothing to compare."
        )
        return
    for note in comparison.notes:
        typer.echo(note)
    typer.echo(f"\n{comparison.summary()}\n")
    _print_rows(comparison.table)
    typer.echo(
        "\nDifferences are B - A with 95 % intervals; p is corrected for all comparisons. The surest come first."
    )
    if comparison.table["seed"].is_not_null().any():
        typer.echo("With a seed of their own, rows speak of these very models, not of others trained alike.")


def _print_rows(table: pl.DataFrame) -> None:
    """Print the rows, without the labels that are the same in all of them."""
    labels = [name for name in _LABELS if table[name].n_unique() > 1 or name in {"task", "form", "split"}]
    shown = table.head(ROWS_ON_SCREEN).select(*labels, *_VALUES)
    print_table([_HEADINGS.get(name, name) for name in shown.columns], shown.rows())
    if table.height > ROWS_ON_SCREEN:
        say_cut(console(), "--format csv or json prints all rows and columns.")


def _text(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value)
    return f"{text[:57]}..." if len(text) > 60 else text  # noqa: PLR2004 - what a screen has room for
