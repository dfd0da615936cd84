"""Turns columns that somebody wrote into flags, numbers, texts and lists of skills, or says what stands in the way."""

from __future__ import annotations

import polars as pl

from emergelab.outcomes.files import TableError
from emergelab.outcomes.schema import SEPARATORS

_FLAGS = {
    **dict.fromkeys(("true", "t", "1", "1.0", "yes", "y", "right", "correct"), True),
    **dict.fromkeys(("false", "f", "0", "0.0", "no", "n", "wrong", "incorrect"), False),
}
_BLANK = ("", "na", "n/a", "nan", "null", "none", "-")
_JOINED = " | "
_SHOWN = 60


def as_flags(column: pl.Series) -> pl.Series:
    """Return right and wrong, however written, as flags. Raises TableError for shares and other values."""
    if column.dtype == pl.Boolean:
        return column
    if column.dtype.is_numeric():
        numbers = column.cast(pl.Float64).fill_nan(None)
        odd = numbers.filter(~numbers.is_in([0.0, 1.0]))
        flags = numbers == 1.0
    else:
        text = _bare(column, "correct")
        odd = column.filter(~text.is_in(list(_FLAGS)))
        flags = text.replace_strict(_FLAGS, default=None, return_dtype=pl.Boolean)
    if odd.len():
        raise TableError(
            f"Got {_shown(odd[0])} in the column of right and wrong answers ({odd.len():,} such rows). An answer is "
            "right or wrong: true and false, or 1 and 0. Give a row for each answer, or name shares of credit with "
            "--column score=NAME."
        )
    return flags


def as_numbers(column: pl.Series, role: str) -> pl.Series:
    """Return numbers, integers as they are and others as Float64; NaN and blanks are missing. Raises TableError."""
    if column.dtype.is_integer():
        return column
    if column.dtype.is_numeric() or isinstance(column.dtype, pl.Boolean | pl.Null):
        return column.cast(pl.Float64).fill_nan(None)
    text = _bare(column, role)
    numbers = text.cast(pl.Float64, strict=False)
    odd = column.filter(numbers.is_null() & text.is_not_null())
    if odd.len():
        raise TableError(
            f"Got {_shown(odd[0])} in the column read as {role} ({odd.len():,} such rows). It is a number. Write "
            f"7000000000 or 7e9, not 7B, or choose another column with --column {role}=NAME."
        )
    return numbers


def as_text(column: pl.Series, role: str) -> pl.Series:
    """Return texts; lists of texts are joined. Raises TableError for other columns that have no text."""
    if isinstance(column.dtype, pl.List) and column.dtype.inner == pl.String:
        return column.list.join(_JOINED, ignore_nulls=True)
    if column.dtype.is_nested() or isinstance(column.dtype, pl.Binary | pl.Object):
        raise TableError(
            f"The column read as {role} holds {column.dtype}. It is a text. Write one, or choose another column with "
            f"--column {role}=NAME."
        )
    return column.cast(pl.String)


def as_skills(column: pl.Series) -> pl.Series:
    """Return lists of skills, also from texts `a+b`, `a, b`, `a; b`, `a|b`, `["a", "b"]`. Raises TableError."""
    if not isinstance(column.dtype, pl.List | pl.Array):
        return _split(as_text(column, "skills"))
    if isinstance(column.dtype, pl.Array):
        column = column.cast(pl.List(column.dtype.inner))
    if column.dtype.inner.is_nested():  # pyright: ignore[reportAttributeAccessIssue] - a list's
        raise TableError(
            f"The column read as skills holds {column.dtype}. An item's skills are a list of names. Write one."
        )
    return column.cast(pl.List(pl.String))


def _split(text: pl.Series) -> pl.Series:
    """Split each text that there is once: tables repeat few of them many times."""
    known = text.unique()
    bracketed = known.str.starts_with("[")
    bare = known.str.strip_chars("[] ").str.replace_all(SEPARATORS, "+").str.strip_chars(" +")
    parts = bare.replace("", None).str.split("+")
    unquoted = parts.list.eval(pl.element().str.strip_chars("\"' "))
    chosen = pl.select(pl.when(bracketed).then(unquoted).otherwise(parts)).to_series()
    table = pl.DataFrame({"text": known, "parts": chosen})
    return (
        text.to_frame("text")
        .join(table, on="text", how="left", maintain_order="left")["parts"]
        .alias(text.name)
    )


def _bare(column: pl.Series, role: str) -> pl.Series:
    """Return texts in lower case without spaces around them; blanks are missing."""
    text = as_text(column, role).str.strip_chars().str.to_lowercase()
    return text.set(text.is_in(_BLANK), None)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
