"""The command line. Commands parse, call `recipes`, and print; libraries are imported where they are used."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emergelab import __version__
from emergelab.errors import EmergelabError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from emergelab.recipes.results import Rows
    from emergelab.recipes.running import Request

_ROWS_ON_SCREEN = 40
_USER_ERROR = 2
_FAULT = 1
_INTERRUPTED = 130

app = typer.Typer(
    name="emergelab",
    help="When and why in-context learning emerges: grammars, transformers trained on them, honest measurement.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
grammar_app = typer.Typer(no_args_is_help=True, help="Check, show and sample grammars.")
app.add_typer(grammar_app, name="grammar")


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"
    csv = "csv"


GrammarArgument = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="A shipped grammar's name or a .cag file.")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder that `emergelab run` made.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2, an interruption 130."""
    try:
        _run_and_flush()
    except UserError as error:
        _fail(str(error), _USER_ERROR)
    except EmergelabError as error:
        _fail(str(error), _FAULT)
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        _drop_output()
        raise SystemExit(_FAULT) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _drop_output()
        _fail("The output was not written: no space is left on the disk. Free some space.", _USER_ERROR)


def _run_and_flush() -> None:
    try:
        app(standalone_mode=True)
    finally:
        # Here, where a failure has its message, and not when the interpreter ends.
        sys.stdout.flush()


def _drop_output() -> None:
    with contextlib.suppress(OSError):
        sys.stdout.close()


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"Error: {message}\n")
    raise SystemExit(code)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options of all commands."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@grammar_app.command("check")
def grammar_check(grammar: GrammarArgument) -> None:
    """Say what is wrong with a grammar: place, finding, rule and remedy. Exit code 2 if anything is."""
    from emergelab.grammar.library import find_grammar, load_grammar  # noqa: PLC0415

    file = find_grammar(grammar)
    syntax = load_grammar(file)
    tasks = ", ".join(task.name for task in syntax.tasks) or "none"
    typer.echo(f"{file.source} is a valid grammar: {len(syntax.rules)} rules, tasks: {tasks}.")


@grammar_app.command("show")
def grammar_show(grammar: GrammarArgument, as_json: JsonOption = False) -> None:
    """Show a grammar: its world, its productions with their probabilities, its tasks."""
    from emergelab.grammar.library import find_grammar, load_grammar  # noqa: PLC0415
    from emergelab.grammar.rendering import describe, grammar_view  # noqa: PLC0415

    syntax = load_grammar(find_grammar(grammar))
    if as_json:
        typer.echo(json.dumps(describe(syntax), indent=1))
    else:
        _console().print(grammar_view(syntax))


@grammar_app.command("sample")
def grammar_sample(
    grammar: GrammarArgument,
    count: Annotated[int, typer.Option("-n", "--documents", min=1, max=10_000, help="How many.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="The key of world and documents.")] = 0,
    length: Annotated[int, typer.Option(min=1, max=32_000, help="Cut documents at so many tokens.")] = 120,
    law: Annotated[str, typer.Option(help="`train` leaves out what is held out; `full` does not.")] = "train",
    as_json: JsonOption = False,
) -> None:
    """Print documents of a grammar, their tokens coloured by role."""
    from emergelab.recipes.samples import sample_documents  # noqa: PLC0415

    samples = sample_documents(grammar, count=count, key=seed, length=length, law=law)
    if as_json:
        typer.echo(json.dumps(samples, indent=1))
        return
    from emergelab.grammar.rendering import legend, sample_text  # noqa: PLC0415

    console = _console()
    marks = not console.is_terminal
    for number, sample in enumerate(samples):
        console.print(f"document {number}" + ("" if sample["whole"] else ", cut"), style="bold")
        labels = (sample["tokens"], sample["roles"], sample["statements"], sample["rows"])
        console.print(sample_text(*labels, marks=marks), soft_wrap=True)
    console.print(legend(marks=marks))


@app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """List the studies and grammars that come with emergelab."""
    from emergelab.recipes.catalogue import catalogue  # noqa: PLC0415

    entries = catalogue()
    if as_json:
        typer.echo(json.dumps(entries, indent=1))
        return
    from rich.table import Table  # noqa: PLC0415

    for heading, rows in entries.items():
        table = Table(title=heading.capitalize(), title_justify="left", box=None, padding=(0, 2, 0, 0))
        table.add_column("name", style="bold")
        table.add_column("what it is")
        for row in rows:
            table.add_row(row["name"], row["about"])
        _console().print(table)


@app.command("run")
def run_command(
    study: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A shipped study's name or a .toml file.")
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="ENTRY=VALUE", help="Set one entry of the study.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default runs/<study>.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; by default one a core.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Run a study, or go on with it: train its models, score them, and make the report."""
    from emergelab.pipeline.progress import reporter_for  # noqa: PLC0415
    from emergelab.recipes.running import available_cores, run_study  # noqa: PLC0415

    request = _request(study, settings or [], out)
    if dry_run:
        _print_plan(request)
        return
    slots = workers or available_cores()
    _print_page(run_study(request, workers=slots, reporter=reporter_for(sys.stderr)))


def _request(study: str, settings: Sequence[str], out: Path | None) -> Request:
    from emergelab.recipes.grid import build_grid  # noqa: PLC0415
    from emergelab.recipes.run_folder import RunFolder  # noqa: PLC0415
    from emergelab.recipes.running import Request  # noqa: PLC0415
    from emergelab.recipes.study import find_study, read_study  # noqa: PLC0415

    file = find_study(study)
    grid = build_grid(file, read_study(file, settings))
    folder = out or Path("runs") / file.name
    return Request(study, tuple(settings), grid, RunFolder(folder))


def _print_plan(request: Request) -> None:
    from rich.table import Table  # noqa: PLC0415

    from emergelab.recipes.running import plan_study  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("step", "state", "about, seconds"):
        table.add_column(heading, justify="right" if "seconds" in heading else "left")
    steps = plan_study(request)
    for step, state in steps[:_ROWS_ON_SCREEN]:
        table.add_row(step.name, str(state), f"{step.cost:.0f}")
    console = _console()
    console.print(table)
    if len(steps) > _ROWS_ON_SCREEN:
        _say_cut(console, "The others follow.")
    grid = request.grid
    console.print(
        f"{len(grid.runs)} training runs, {grid.cells} cells, {len(steps)} steps, into {request.folder.path}. "
        "Nothing was done.",
        soft_wrap=True,
    )


@app.command("results")
def results_command(
    run: RunArgument,
    table: Annotated[
        str | None, typer.Option(help="scores (if nothing is said), curves, items, gains, losses or cells.")
    ] = None,
    sql: Annotated[str | None, typer.Option(help="A query over these tables instead.")] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.table,
) -> None:
    """Print a table of a run, or the answer to an SQL query over its tables."""
    from emergelab.recipes import results  # noqa: PLC0415
    from emergelab.recipes.run_folder import RunFolder  # noqa: PLC0415

    if sql is not None and table is not None:
        raise UserError(
            "Got --table and --sql. A query names its tables itself. Leave one of the two options out."
        )
    folder = RunFolder(run)
    screen = output is Format.table
    if sql is None:
        rows = results.read_table(folder, table or "scores", headlines=screen)
    else:
        rows = results.query(folder, sql)
    if screen:
        _print_rows(rows)
    else:
        sys.stdout.writelines(results.json_lines(rows) if output is Format.json else results.csv_lines(rows))


def _print_rows(rows: Rows) -> None:
    from emergelab.recipes.results import table_lines  # noqa: PLC0415

    header, *lines = table_lines(rows.columns, list(islice(rows.rows, _ROWS_ON_SCREEN)))
    typer.secho(header, bold=True)
    for line in lines:
        typer.echo(line)
    if next(rows.rows, None) is not None:
        _say_cut(_console(), "--format csv or json prints all rows and columns, --sql chooses.")


def _say_cut(console: Console, remedy: str) -> None:
    console.print(f"These are the first {_ROWS_ON_SCREEN}. {remedy}", style="dim", soft_wrap=True)


@app.command("report")
def report_command(run: RunArgument) -> None:
    """Make the report of a finished run again and print where it is."""
    from emergelab.recipes.run_folder import RunFolder  # noqa: PLC0415
    from emergelab.recipes.running import make_report  # noqa: PLC0415

    _print_page(make_report(RunFolder(run)))


def _print_page(page: Path) -> None:
    """Say where the report is: the path alone on the last line, for scripts."""
    typer.echo(f"The report is ready. Open it in a browser:\n{page.absolute()}")


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415

    # What is printed is data: brackets and colons in it mean nothing.
    return Console(highlight=False, markup=False, emoji=False)
