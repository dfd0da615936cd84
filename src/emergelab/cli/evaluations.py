"""The command that puts the questions of a grammar to somebody else's model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from emergelab.cli.options import Format, ParametersOption
from emergelab.cli.tables import print_rows
from emergelab.errors import UserError

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
    from emergelab.recipes.evaluating import (  # noqa: PLC0415
        Questions,
        evaluate_model,
        evaluation_rows,
        prepare_evaluation,
    )

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
    rows = evaluation_rows(request, headlines=output is Format.table)
    print_rows(rows, output, "--format csv or json prints all rows and columns.")
    if output is Format.table:
        typer.echo(f"95 % intervals {request.scope}. All tables: emergelab results {request.folder.path}")
