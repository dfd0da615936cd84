"""Commands on grammars."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from emergelab.cli.options import GrammarArgument, JsonOption, ParametersOption, console, new_group

if TYPE_CHECKING:
    from emergelab.grammar.shelf import SourceFile
    from emergelab.grammar.syntax import GrammarSyntax

grammar_app = new_group("Check, show and sample grammars.")


def _load(grammar: str, settings: list[str] | None) -> tuple[SourceFile, GrammarSyntax]:
    from emergelab.grammar.library import find_grammar, load_grammar  # noqa: PLC0415
    from emergelab.grammar.notation_numbers import read_settings  # noqa: PLC0415

    file = find_grammar(grammar)
    return file, load_grammar(file, read_settings(settings or []))


@grammar_app.command("check")
def grammar_check(grammar: GrammarArgument, settings: ParametersOption = None) -> None:
    """Say what is wrong with a grammar: place, finding, rule and remedy. Exit code 2 if anything is."""
    file, syntax = _load(grammar, settings)
    tasks = ", ".join(task.name for task in syntax.tasks) or "none"
    typer.echo(f"{file.source} is a valid grammar: {len(syntax.rules)} rules, tasks: {tasks}.")


@grammar_app.command("show")
def grammar_show(
    grammar: GrammarArgument, settings: ParametersOption = None, as_json: JsonOption = False
) -> None:
    """Show a grammar: its parameters, its world, its productions with their probabilities, its tasks."""
    from emergelab.grammar.rendering import describe, grammar_view  # noqa: PLC0415

    _, syntax = _load(grammar, settings)
    if as_json:
        typer.echo(json.dumps(describe(syntax), indent=1))
    else:
        console().print(grammar_view(syntax))


@grammar_app.command("sample")
def grammar_sample(
    grammar: GrammarArgument,
    count: Annotated[int, typer.Option("-n", "--documents", min=1, max=10_000, help="How many.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="The key of world and documents.")] = 0,
    length: Annotated[int, typer.Option(min=1, max=32_000, help="Cut documents at so many tokens.")] = 120,
    law: Annotated[str, typer.Option(help="`train` leaves out what is held out; `full` does not.")] = "train",
    settings: ParametersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print documents of a grammar, their tokens coloured by role."""
    from emergelab.recipes.samples import sample_documents  # noqa: PLC0415

    _, syntax = _load(grammar, settings)
    samples = sample_documents(syntax, count=count, key=seed, length=length, law=law)
    if as_json:
        typer.echo(json.dumps(samples, indent=1))
        return
    from emergelab.grammar.rendering import legend, sample_text  # noqa: PLC0415

    terminal = console()
    marks = not terminal.is_terminal
    for number, sample in enumerate(samples):
        terminal.print(f"document {number}" + ("" if sample["whole"] else ", cut"), style="bold")
        labels = (sample["tokens"], sample["roles"], sample["statements"], sample["rows"])
        terminal.print(sample_text(*labels, marks=marks), soft_wrap=True)
    terminal.print(legend(marks=marks))
