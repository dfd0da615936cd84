"""Commands on trained models."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emergelab.cli.options import ROWS_ON_SCREEN, JsonOption, RunArgument, console, new_group, say_cut
from emergelab.cli.tables import print_table
from emergelab.errors import UserError

if TYPE_CHECKING:
    from emergelab.spec import Json

model_app = new_group("List and export trained models.")


@model_app.command("list")
def model_list(run: RunArgument, as_json: JsonOption = False) -> None:
    """List the models of a finished run: sizes, training tokens, loss, and the file of each."""
    from emergelab.recipes.exporting_models import list_models  # noqa: PLC0415

    models = list_models(run)
    if as_json:
        typer.echo(json.dumps(models.to_dicts(), indent=1, allow_nan=False))
        return
    gone = models["path"].is_null()
    shown = models.drop("variant", "path", strict=False)
    if gone.any():
        shown = shown.with_columns(kept=gone.replace_strict({False: "yes", True: "no"}))
    print_table(shown.columns, shown.head(ROWS_ON_SCREEN).rows())
    if models.height > ROWS_ON_SCREEN:
        say_cut(console(), "--json prints all of them, with their files.")


@model_app.command("export")
def model_export(
    source: Annotated[
        Path, typer.Argument(metavar="RUN_DIR|CHECKPOINT", help="The folder of a run, or a model's file.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    cell: Annotated[str | None, typer.Option(help="Choose the model by its name in the tables.")] = None,
    layers: Annotated[int | None, typer.Option(help="Choose it by its layers.")] = None,
    width: Annotated[int | None, typer.Option(help="Choose it by its width.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Choose it by its training tokens.")] = None,
    documents: Annotated[float | None, typer.Option(help="Choose it by the documents of its corpus.")] = None,
    seed: Annotated[int | None, typer.Option(help="Choose it by its seed.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="ENTRY=VALUE", help="Choose it by what else the study varies."),
    ] = None,
    grammar: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="The grammar of a file that is in no run's store.")
    ] = None,
    key: Annotated[int, typer.Option(min=0, help="The key of that grammar's world.")] = 0,
    licence: Annotated[
        str | None, typer.Option("--license", help="The licence on the card, such as cc-by-4.0.")
    ] = None,
) -> None:
    """Write a model as a folder for Hugging Face's transformers: weights, tokenizer, card.

    Without a choice it is the largest model with the most training tokens, of the first seed.
    """
    from emergelab.recipes.exporting_models import export_model, find_model  # noqa: PLC0415

    sizes = {"cell": cell, "layers": layers, "width": width, "seed": seed}
    counts = {"tokens": tokens, "documents": documents}
    which: dict[str, Json] = {name: value for name, value in sizes.items() if value is not None}
    which |= {name: value for name, value in counts.items() if value is not None}
    which |= dict(map(_entry, where or ()))
    model = find_model(source, which, grammar=grammar, key=key)
    spec = export_model(model, out, command=shlex.join(sys.argv[1:]), licence=licence)
    typer.echo(f"{model.name}: {spec.parameters():,} parameters, for transformers, in\n{out.absolute()}")


def _entry(text: str) -> tuple[str, Json]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UserError(
            f"Got --where {text!r}. An entry is written name=value. Write for example --where batch=32"
        )
    try:
        return name, float(value)
    except ValueError:
        return name, value
