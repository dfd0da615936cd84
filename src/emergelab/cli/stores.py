"""Commands on the store of a run: its artifacts, their bytes, what may be cleared away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from emergelab.cli.options import Format, JsonOption, console, new_group
from emergelab.cli.tables import print_rows
from emergelab.errors import DamagedArtifactError

store_app = new_group("List, query, check and clean the store of a run.")

StoreArgument = Annotated[
    Path, typer.Argument(metavar="RUN_DIR|STORE", help="The folder of a run, or a store.")
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print.")]


@store_app.command("list")
def store_list(
    place: StoreArgument,
    kind: Annotated[str | None, typer.Option(help="Only these: corpus, train, cell, tables, …")] = None,
    output: FormatOption = Format.table,
) -> None:
    """List the artifacts: kind, name, state, bytes, seconds, when they were made, key."""
    from emergelab.recipes.stores import find_store, list_artifacts  # noqa: PLC0415

    rows, totals = list_artifacts(find_store(place), kind)
    print_rows(rows, output, "--kind chooses; --format csv or json prints all of them.")
    if output is Format.table:
        console().print(totals, style="dim", soft_wrap=True)


@store_app.command("query")
def store_query(
    place: StoreArgument,
    sql: Annotated[str, typer.Option(help="A query over the table `artifacts`.")],
    output: FormatOption = Format.table,
) -> None:
    """Print the answer to an SQL query over the artifacts.

    For example --sql "select name, spec->>'$.seed' as seed, bytes from artifacts where kind = 'cell'"
    """
    from emergelab.recipes.stores import find_store, query_artifacts  # noqa: PLC0415

    rows = query_artifacts(find_store(place), sql)
    print_rows(rows, output, "--format csv or json prints all of them.")


@store_app.command("check")
def store_check(place: StoreArgument, as_json: JsonOption = False) -> None:
    """Read every byte of every artifact and say what is damaged. Exit code 2 if anything is."""
    from emergelab.pipeline.upkeep import artifact_keys, damages  # noqa: PLC0415
    from emergelab.recipes.stores import find_store  # noqa: PLC0415

    store = find_store(place)
    found = [str(damage) for damage in damages(store)]
    count = len(artifact_keys(store))
    if as_json:
        typer.echo(json.dumps({"artifacts": count, "damaged": found}, indent=1))
    else:
        typer.echo(f"{count:,} artifacts read, {len(found)} damaged.")
    if found:
        raise DamagedArtifactError("\n".join(found))


@store_app.command("clean")
def store_clean(
    place: StoreArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what may go, and remove it with --yes: scratch of unfinished steps, damaged copies set aside."""
    from emergelab.pipeline.upkeep import clean, leftovers  # noqa: PLC0415
    from emergelab.recipes.stores import bytes_in_words, find_store  # noqa: PLC0415

    store = find_store(place)
    found = clean(store) if yes else leftovers(store)
    if as_json:
        entries = [{**vars(leftover), "path": str(leftover.path)} for leftover in found]
        typer.echo(json.dumps({"removed": yes, "leftovers": entries}, indent=1))
        return
    for leftover in found:
        typer.echo(
            f"{leftover.path}: {leftover.what}, {bytes_in_words(leftover.size)}, of {leftover.changed}"
        )
    total = bytes_in_words(sum(leftover.size for leftover in found))
    done = "Removed." if yes else "Nothing was removed; --yes does it."
    typer.echo(f"{len(found)} leftovers, {total}. {done}" if found else "There is nothing to clear away.")
