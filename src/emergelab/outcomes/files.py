"""Tables of results that a user names: those that come with emergelab by name, others by their path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

import polars as pl

from emergelab.errors import UserError
from emergelab.grammar.problems import suggestion

NOTES = "emergelab.notes"
"""Metadata of a Parquet file: what was assumed when its rows were made, a line for each."""

_FOLDER = "examples"


class TableError(UserError):
    """A table of results that cannot be read or that breaks a rule."""


def _csv(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema_length=None)


def _csv_as_text(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema=False)


def _ndjson(path: Path) -> pl.DataFrame:
    return pl.read_ndjson(path, infer_schema_length=None)


_READERS: Mapping[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".csv": _csv,
    ".jsonl": _ndjson,
    ".ndjson": _ndjson,
}


def shipped_tables() -> list[str]:
    """Return the names of the tables that come with emergelab."""
    entries = (resources.files("emergelab") / _FOLDER).iterdir()
    return sorted(Path(entry.name).stem for entry in entries if Path(entry.name).suffix in _READERS)


def read_table(name_or_path: str, *, as_text: bool = False) -> pl.DataFrame:
    """Read a Parquet, CSV or JSON-lines file, or a table that comes with emergelab.

    `as_text` leaves the values of a CSV file texts: a guess at their types would turn an item named 007 into 7.
    Raises TableError for what is not there, is of another kind, cannot be read or has no rows.
    """
    if name_or_path in shipped_tables():
        return _read_shipped(name_or_path)
    path = Path(name_or_path)
    reader = _READERS.get(path.suffix.lower())
    if not path.exists() and path.suffix.lower() not in _READERS:
        raise TableError(
            f"There is no table {name_or_path[:200]!r}. Give a shipped table's name or the path of a "
            f"{', '.join(_READERS)} file. {suggestion(name_or_path, shipped_tables())}"
        )
    if as_text and reader is _csv:
        reader = _csv_as_text
    if reader is None:
        raise _unreadable(path, "its name ends in none of " + ", ".join(_READERS))
    return _read(path, reader)


def read_notes(name_or_path: str) -> tuple[str, ...]:
    """Return what a Parquet file, which was read before, says of how it was made: `NOTES` of its metadata."""
    path = Path(name_or_path)
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return ()
    return tuple(pl.read_parquet_metadata(path).get(NOTES, "").splitlines())


def _read_shipped(name: str) -> pl.DataFrame:
    folder = resources.files("emergelab") / _FOLDER
    for suffix, reader in _READERS.items():
        resource = folder / f"{name}{suffix}"
        if resource.is_file():
            with resources.as_file(resource) as path:
                return reader(path)
    raise FileNotFoundError(name)


def _read(path: Path, reader: Callable[[Path], pl.DataFrame]) -> pl.DataFrame:
    try:
        if path.is_dir():
            raise _unreadable(path, "it is a folder")
        frame = reader(path)
    except FileNotFoundError as error:
        raise TableError(f"There is no file {str(path)[:200]!r}. Check its path.") from error
    except OSError as error:
        raise _unreadable(path, str(error.strerror or error)) from error
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise _unreadable(path, str(error).splitlines()[0][:200]) from error
    if frame.is_empty():
        raise _unreadable(path, "it has no rows")
    return frame


def _unreadable(path: Path, problem: str) -> TableError:
    return TableError(
        f"{str(path)[:200]} cannot be read as a table: {problem}. Give a Parquet, CSV or JSON-lines file with a row "
        "for each result."
    )
