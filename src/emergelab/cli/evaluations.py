"""The command that puts the questions of a grammar to somebody else's model."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emergelab.cli.options import ROWS_ON_SCREEN, Format, ParametersOption, console, say_cut
from emergelab.errors import UserError

if TYPE_CHECKING:
    from emergelab.recipes.evaluating import EvaluationRequest

_DEVICES = ("auto", "cpu", "cuda")


def evaluate_command(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL_DIR", help="A folder with a Hugging Face causal language model.")
    ],
    grammar: Annotated[
        str, typer.Option("--grammar", metavar="NAME|FILE", help="A shipped grammar's name or a .cag file.")
    ],
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="A task of the grammar; may be given again. By default all."),
    ] = None,
    shots: Annotated[int, typer.Option(min=1, max=32_000, help="Examples before the last query.")] = 10,
    prompts: Annotated[int, typer.Option(min=1, max=1_000_000, help="Prompts of each form and split.")] = 128,
    key: Annotated[int, typer.Option(min=0, max=2**53 - 1, help="The key of world, prompts and words.")] = 0,
    renderings: Annotated[
        int, typer.Option(min=1, max=1_000, help="Draws of words for the objects: 1, or at least 5.")
    ] = 5,
    settings: ParametersOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu (in float32) or cuda (in bfloat16).")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="The folder; by default runs/evaluate-<model>-<grammar>.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
) -> None:
    """Ask a Hugging Face model a grammar's tasks, in words of its own vocabulary."""
    from emergelab.grammar.notation_numbers import read_settings  # noqa: PLC0415
    from emergelab.pipeline.progress import reporter_for  # noqa: PLC0415
    from emergelab.recipes.evaluating import Questions, evaluate_model, prepare_evaluation  # noqa: PLC0415

    if device not in _DEVICES:
        raise UserError(
            f"Got --device {device!r}. A device is one of {', '.join(_DEVICES)}. Choose one of them."
        )
    questions = Questions(
        grammar=grammar,
        parameters=read_settings(settings or []),
        tasks=tuple(task or ()),
        shots=shots,
        prompts=prompts,
        key=key,
        renderings=renderings,
    )
    request = prepare_evaluation(model, questions, device=device, out=out)
    evaluate_model(request, reporter=reporter_for(sys.stderr))
    _print(request, output)


def _print(request: EvaluationRequest, output: Format) -> None:
    from emergelab.recipes.evaluating import evaluation_rows  # noqa: PLC0415
    from emergelab.recipes.results import csv_lines, json_lines, table_lines  # noqa: PLC0415

    screen = output is Format.table
    rows = evaluation_rows(request, headlines=screen)
    if not screen:
        sys.stdout.writelines(json_lines(rows) if output is Format.json else csv_lines(rows))
        return
    header, *lines = table_lines(rows.columns, list(islice(rows.rows, ROWS_ON_SCREEN)))
    typer.secho(header, bold=True)
    for line in lines:
        typer.echo(line)
    if next(rows.rows, None) is not None:
        say_cut(console(), "--format csv or json prints all rows and columns.")
    typer.echo(f"95 % intervals {request.scope}. All tables: emergelab results {request.folder.path}")
