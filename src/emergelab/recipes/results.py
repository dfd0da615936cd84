"""Reading a run's tables: as they are, or by SQL that sees nothing else. Rows come one by one."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from emergelab.errors import UserError
from emergelab.grammar.problems import suggestion
from emergelab.recipes.run_folder import SKILL_TABLES, TABLES, RunFolder

if TYPE_CHECKING:
    import duckdb
    import polars as pl

_ROWS_AT_ONCE = 1_000
_SIZES = ("layers", "width", "train_tokens", "seed")
_GROUP = ("task", "form", "split", "decoding", "argument", "shots")
_HEADLINES = (*_GROUP, "n", "accuracy", "accuracy_lo", "accuracy_hi", "chance", "nats")
# What one looks for first: fresh arguments, teacher-forced, the longest training, the largest model, all examples.
_HEADLINES_FIRST = (
    "order by argument = 'fresh' desc, decoding = 'teacher_forced' desc, train_tokens desc, params desc, "
    "shots desc, task, form, split, unique_documents, variant, seed"
)


@dataclass(frozen=True)
class Rows:
    """A result: column names and rows of plain values, to be read once; None is missing, as is NaN."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


def read_table(folder: RunFolder, name: str, *, headlines: bool = False) -> Rows:
    """Return a whole table, or the columns of it that a screen has room for.

    Raises UserError for a table that a run does not have.
    """
    if name not in (*TABLES, *SKILL_TABLES):
        raise UserError(f"A run has no table {name!r}. Choose one of its tables. {suggestion(name, TABLES)}")
    if name in SKILL_TABLES and not (folder.open_tables() / f"{name}.parquet").is_file():
        raise UserError(
            f"This run has no table {name!r}: its study measures no skills on text-pieces. Run it with "
            "--set skills.documents=1024."
        )
    if headlines and name in {"scores", "curves"}:
        columns, order = ", ".join((*_scale_columns(folder, name), *_HEADLINES)), _HEADLINES_FIRST
    else:
        columns, order = "*", ""
    return query(folder, f'select {columns} from "{name}" {order}')  # noqa: S608 - the names are listed here


def _scale_columns(folder: RunFolder, name: str) -> list[str]:
    """Return the columns that tell models apart: those of every study, and what this one varies besides."""
    counted = query(folder, f'select count(unique_documents), count(variant) from "{name}"')  # noqa: S608
    documents, variants = next(counted.rows)
    further = [*(["unique_documents"] if documents else []), *(["variant"] if variants else [])]
    return [*further, *_SIZES]


def query(folder: RunFolder, sql: str) -> Rows:
    """Run one SQL query over the tables. It can read these files and nothing else, and write nothing.

    Raises UserError, here or while rows are read, with DuckDB's message for a query that fails.
    """
    tables = folder.open_tables()
    files = {name: tables / f"{name}.parquet" for name in (*TABLES, *SKILL_TABLES)}
    # A run of an earlier version has not all of them, and few studies measure skills.
    return query_files({name: path for name, path in files.items() if path.is_file()}, sql)


def query_files(tables: Mapping[str, Path], sql: str, stack: ExitStack | None = None) -> Rows:
    """Run one SQL query over Parquet files by name, confined as `query`; close `stack` when all is read.

    Raises UserError, here or while rows are read, with DuckDB's message for a query that fails.
    """
    import duckdb  # noqa: PLC0415 - slow to import

    with stack or ExitStack() as opened:
        connection = opened.enter_context(duckdb.connect(":memory:"))
        _confine(connection, tables)
        with _query_errors(tables):
            _require_one_selection(sql, next(iter(tables)))
            result = connection.execute(sql)
            columns = tuple(column[0] for column in result.description or ())
        return Rows(columns, _rows_of(connection, opened.pop_all(), tables))


def _rows_of(
    connection: duckdb.DuckDBPyConnection, stack: ExitStack, tables: Iterable[str]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows as the query finds them: a result may be larger than the memory."""
    with stack, _query_errors(tables):
        while batch := connection.fetchmany(_ROWS_AT_ONCE):
            for row in batch:
                yield tuple(_plain(value) for value in row)


def _require_one_selection(sql: str, table: str) -> None:
    import duckdb  # noqa: PLC0415 - slow to import

    # DuckDB takes `pivot` for several statements.
    reading = {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type not in reading:
        found = f"{len(statements)} statements" if len(statements) != 1 else str(statements[0].type)
        raise UserError(
            f"Got {found.removeprefix('StatementType.')} in --sql. A query is one statement that only reads. "
            f'Write for example --sql "from {table} limit 10"'
        )


def _confine(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Path]) -> None:
    """Make views of the tables, then shut every other door."""
    listed = ", ".join(_quoted(str(path)) for path in tables.values())
    connection.execute(f"set allowed_paths = [{listed}]")
    connection.execute("set enable_external_access = false")
    for name, path in tables.items():
        connection.execute(f'create view "{name}" as select * from read_parquet({_quoted(str(path))})')  # noqa: S608 - quoted
    connection.execute("set lock_configuration = true")


@contextmanager
def _query_errors(tables: Iterable[str]) -> Generator[None]:
    import duckdb  # noqa: PLC0415 - slow to import

    try:
        yield
    except RuntimeError as error:
        # DuckDB's way of passing Ctrl-C on.
        if "interrupted" in str(error).lower():
            raise KeyboardInterrupt from error
        raise
    except duckdb.Error as error:
        raise UserError(
            f"{str(error).strip()}\nThe query failed. Its tables are {', '.join(tables)}; "
            f'--sql "describe {next(iter(tables))}" shows the columns of one. Mend the query.'
        ) from error


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _plain(value: Any) -> Any:
    """Return NaN as missing and exact decimals as numbers, within lists and structs, too."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
    number = float(value) if isinstance(value, Decimal) else value
    return None if isinstance(number, float) and math.isnan(number) else number


def json_lines(result: Rows) -> Iterator[str]:
    """Yield the rows as the lines of a JSON list of objects.

    Missing is null; JSON has no infinity, which is "Infinity" or "-Infinity" in quotes. Raises UserError
    for columns of one name.
    """
    require_distinct(result.columns)
    between = ""
    yield "["
    for row in result.rows:
        values = dict(zip(result.columns, map(_finite, row), strict=True))
        yield f"{between}\n {json.dumps(values, default=str, allow_nan=False)}"
        between = ","
    yield "\n]\n"


def frame_of(rows: Rows) -> pl.DataFrame:
    """Return rows as a data frame. Raises UserError for two columns of one name."""
    import polars as pl  # noqa: PLC0415 - slow to import

    content = list(rows.rows)  # to the end, where what they are read from is closed
    require_distinct(rows.columns)
    return pl.DataFrame(content, list(rows.columns), orient="row", infer_schema_length=None)


def require_distinct(columns: Sequence[str]) -> None:
    """Refuse columns of one name where names tell them apart. Raises UserError."""
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise UserError(
            f"Several columns are called {twice[0]!r}. Here every column needs a name of its own. "
            "Name them with `as`."
        )


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def csv_lines(result: Rows) -> Iterator[str]:
    """Yield the rows as the lines of a CSV file with a header; missing is empty."""
    for row in chain([result.columns], result.rows):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        yield text.getvalue()


def table_lines(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """Return a table for the screen, each column as wide as it must be; the first line names the columns."""
    lines = [[_printable(name) for name in columns], *([_short(value) for value in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    right = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(columns))]
    sides = list(zip(widths, right, strict=True))
    return ["  ".join(starmap(_padded, zip(line, sides, strict=True))).rstrip() for line in lines]


def _padded(text: str, side: tuple[int, bool]) -> str:
    width, right = side
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else _printable(str(value))


def _printable(text: str) -> str:
    """Replace what would move a terminal's cursor."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
