"""Reading a run's tables: as they are, or by SQL that sees nothing else."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emergelab.errors import UserError
from emergelab.grammar.problems import suggestion
from emergelab.recipes.run_folder import TABLES, RunFolder

Format = Literal["table", "json", "csv"]


@dataclass(frozen=True)
class Rows:
    """A result: column names and rows of plain values; None is missing."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def read_table(folder: RunFolder, name: str) -> Rows:
    """Return a whole table. Raises UserError for one that a run does not have."""
    if name not in TABLES:
        raise UserError(f"A run has no table {name!r}. Choose one of its tables. {suggestion(name, TABLES)}")
    return query(folder, f'select * from "{name}"')  # noqa: S608 - the name is one of TABLES


def query(folder: RunFolder, sql: str) -> Rows:
    """Run one SQL query over the tables. It can read these files and nothing else, and write nothing.

    Raises UserError with DuckDB's message for a query that fails.
    """
    import duckdb  # noqa: PLC0415 - slow to import

    tables = folder.open_tables()
    with duckdb.connect(":memory:") as connection:
        _confine(connection, tables)
        try:
            result = connection.execute(sql)
            columns = tuple(column[0] for column in result.description or ())
            return Rows(columns, tuple(tuple(_plain(value) for value in row) for row in result.fetchall()))
        except duckdb.Error as error:
            raise UserError(
                f"The query failed: {str(error).strip()} The tables are {', '.join(TABLES)}; "
                "`select * from scores limit 1` shows the columns of one. Mend the query."
            ) from error


def _confine(connection: Any, tables: Path) -> None:
    """Make views of the tables, then shut every other door."""
    paths = [tables / f"{name}.parquet" for name in TABLES]
    listed = ", ".join(_quoted(str(path)) for path in paths)
    connection.execute(f"set allowed_paths = [{listed}]")
    connection.execute("set enable_external_access = false")
    for name, path in zip(TABLES, paths, strict=True):
        connection.execute(f'create view "{name}" as select * from read_parquet({_quoted(str(path))})')  # noqa: S608 - quoted
    connection.execute("set lock_configuration = true")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _plain(value: Any) -> Any:
    """Return NaN as missing; everything else as it is."""
    return None if isinstance(value, float) and math.isnan(value) else value


def as_json(result: Rows) -> str:
    """Return the rows as a JSON list of objects; missing is null."""
    objects = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    return json.dumps(objects, indent=1, default=str, allow_nan=False)


def as_csv(result: Rows) -> str:
    """Return the rows as CSV with a header; missing is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(result.columns)
    writer.writerows(result.rows)
    return text.getvalue()


def as_lines(result: Rows, most: int) -> Sequence[Sequence[str]]:
    """Return the first `most` rows as texts for a table on the screen."""
    return [[_short(value) for value in row] for row in result.rows[:most]]


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
