"""The command that makes tables of outcomes from what others wrote."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emergelab.outcomes.schema import Outcomes


class Source(StrEnum):
    """Who wrote the files."""

    table = "table"
    harness = "harness"
    inspect = "inspect"
    run = "run"


def import_command(
    source: Annotated[
        Source,
        typer.Argument(
            metavar="FORMAT",
            help="table (Parquet, CSV, JSON lines), harness (lm-evaluation-harness with --log_samples), inspect (logs "
            "of Inspect), or run (a folder that `emergelab run` made).",
        ),
    ],
    files: Annotated[list[Path], typer.Argument(metavar="FILES", help="Files, or folders of logs.")],
    out: Annotated[Path, typer.Option(help="The table to write: .parquet, .csv or .jsonl.")],
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=NAME",
            help="Say which column has which role; of logs, which metric or scorer says correct or score, and which "
            "field of an item its skills, piece, input or target.",
        ),
    ] = None,
    filtered: Annotated[
        str | None, typer.Option("--filter", help="Which filter of the harness counts; by default the first.")
    ] = None,
    skills: Annotated[Path | None, typer.Option(help="A table with the columns task and skills.")] = None,
    systems: Annotated[
        Path | None,
        typer.Option(
            help="A table with system, checkpoint and what logs do not know: params, train_tokens, flops, loss. With "
            "`logged` (and `logged_checkpoint`) for the names in the logs, systems are renamed."
        ),
    ] = None,
    params: Annotated[float | None, typer.Option(help="Parameters of the one system that is read.")] = None,
    tokens: Annotated[
        float | None, typer.Option(help="Training tokens of the one checkpoint that is read.")
    ] = None,
    loss: Annotated[float | None, typer.Option(help="Its loss, nats per token.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a table that is there.")] = False,
) -> None:
    """Make a table of outcomes, one row for each answer of a system to an item, from what others wrote."""
    from emergelab.recipes.importing_outcomes import ImportQuestion, import_outcomes  # noqa: PLC0415

    question = ImportQuestion(
        source=source.value, files=files, columns=column or (), filter=filtered, skills_of=skills, systems=systems,
        params=params, tokens=tokens, loss=loss,
    )  # fmt: skip
    _say(import_outcomes(question, out, force=force), out)


def _say(outcomes: Outcomes, out: Path) -> None:
    frame = outcomes.frame
    counts = [
        _counted(frame.height, "answer"),
        _counted(frame["system"].n_unique(), "system"),
        _counted(frame.select("system", "checkpoint").unique().height, "checkpoint"),
        _counted(frame["task"].n_unique(), "task"),
    ]
    typer.echo(f"{', '.join(counts[:-1])} and {counts[-1]}, in\n{out.absolute()}")
    for note in outcomes.notes:
        typer.echo(f"Note: {note}", err=True)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
