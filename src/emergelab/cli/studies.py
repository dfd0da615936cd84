"""Commands on studies and their runs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emergelab.cli.options import ROWS_ON_SCREEN, Format, JsonOption, RunArgument, console, say_cut
from emergelab.cli.tables import print_rows
from emergelab.errors import UserError
from emergelab.recipes.keep import Keep
from emergelab.recipes.trackers import Tracker

if TYPE_CHECKING:
    from emergelab.recipes.running import Request


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
        console().print(table)


def run_command(
    study: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A shipped study's name or a .toml file.")
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="ENTRY=VALUE", help="Set one entry of the study.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default runs/<study>.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes, 1 at least; by default one a core.")
    ] = None,
    keep: Annotated[
        Keep, typer.Option(help="Which checkpoints stay once their cells are scored: of each training run.")
    ] = Keep.all,
    track: Annotated[
        list[Tracker] | None, typer.Option(help="Send metrics to a tracker; for several, say it again.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Run a study, or go on with it: train its models, score them, and make the report."""
    from emergelab.pipeline.progress import reporter_for  # noqa: PLC0415
    from emergelab.recipes.running import (  # noqa: PLC0415
        available_cores,
        prepare_request,
        require_workers,
        run_study,
    )
    from emergelab.recipes.tracking import tracked  # noqa: PLC0415

    slots = available_cores() if workers is None else workers
    require_workers(slots)
    request = replace(prepare_request(study, settings or [], out), keep=keep)
    if dry_run:
        _print_plan(request, slots)
        return
    reporter = tracked(reporter_for(sys.stderr), track or (), request.grid, request.folder)
    page = run_study(request, workers=slots, reporter=reporter)
    _print_verdicts(request)
    _print_page(page)


def _print_verdicts(request: Request) -> None:
    """Print what was found on each hypothesis, where the study has any."""
    if not request.grid.hypotheses:
        return
    from emergelab.recipes.verdict_lines import verdict_lines  # noqa: PLC0415

    typer.secho("What was tested", bold=True)
    for line in verdict_lines(request.folder):
        typer.echo(line)


def _print_plan(request: Request, workers: int) -> None:
    from rich.table import Table  # noqa: PLC0415

    from emergelab.recipes.running import expected_seconds, plan_study  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2, 0, 0))
    # Names of cells tell them apart at their ends: they are folded, never cut.
    table.add_column("step", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("about, seconds", justify="right")
    steps = plan_study(request)
    for step, state in steps[:ROWS_ON_SCREEN]:
        table.add_row(step.name, str(state), f"{step.cost:.0f}")
    terminal = console()
    terminal.print(table)
    if len(steps) > ROWS_ON_SCREEN:
        say_cut(terminal, "The others follow.")
    grid = request.grid
    terminal.print(
        f"{_count(len(grid.runs), 'training run')}, {_count(grid.cells, 'cell')}, {_count(len(steps), 'step')}, "
        f"into {request.folder.path}. "
        f"{_expectation(expected_seconds(steps, workers), workers)} Nothing was done.",
        soft_wrap=True,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _expectation(seconds: float, workers: int) -> str:
    """Say how long what is to do may take."""
    from emergelab.pipeline.wording import remaining  # noqa: PLC0415

    if not seconds:
        return "All of it is there."
    return f"With --workers {workers} it takes {remaining(seconds)}, guessed for a core of 2.6 GHz."


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
    if sql is None:
        rows = results.read_table(folder, table or "scores", headlines=output is Format.table)
    else:
        rows = results.query(folder, sql)
    print_rows(rows, output, "--format csv or json prints all rows and columns, --sql chooses.")


def report_command(run: RunArgument) -> None:
    """Make the report of a finished run again and print where it is."""
    from emergelab.recipes.run_folder import RunFolder  # noqa: PLC0415
    from emergelab.recipes.running import make_report  # noqa: PLC0415

    _print_page(make_report(RunFolder(run)))


def _print_page(page: Path) -> None:
    """Say where the report is: the path alone on the last line, for scripts."""
    typer.echo(f"The report is ready. Open it in a browser:\n{page.absolute()}")
