"""Puts answers in the order of a table of outcomes by numbers: sorting ten million rows of texts takes minutes."""

from __future__ import annotations

import polars as pl

from emergelab.outcomes.schema import CELL, by_numbers

_PLACE = ("system", "train_tokens", "checkpoint")
_ITEM = ("task", "piece")
_MOST = 2**62


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows by system, training tokens, checkpoint, task, piece and sample, missing ones first.

    Rows that are equal in all of these keep their order.
    """
    codes = (_ranks(frame, _PLACE), _ranks(frame, _ITEM), _ranks(frame, ("sample",)))
    key, largest = codes[0], int(codes[0].max() or 0)  # pyright: ignore[reportArgumentType] - integers
    for code in codes[1:]:
        size = int(code.max() or 0) + 1  # pyright: ignore[reportArgumentType] - integers
        largest = (largest + 1) * size
        if largest > _MOST:
            return frame[_rows_by(pl.DataFrame(dict(zip("pis", codes, strict=True))))]
        key = key * size + code
    if key.is_sorted():
        return frame
    return frame[_rows_by(pl.DataFrame({"key": key}))]


def _rows_by(keys: pl.DataFrame) -> pl.Series:
    return keys.with_row_index("row").sort(keys.columns, maintain_order=True)["row"]


def answered_twice(ordered: pl.DataFrame) -> bool:
    """Whether some item was answered at two checkpoints; rows are in order."""
    items = ordered.select(_ITEM).unique().height
    return items < ordered.height - int(repeated(ordered, (*CELL, *_ITEM)).sum())


def repeated(frame: pl.DataFrame, names: tuple[str, ...]) -> pl.Series:
    """Return which rows are like the one above in all of these columns."""
    like = (pl.col(name).eq_missing(pl.col(name).shift()) for name in names)
    return frame.select(pl.all_horizontal(like) & (pl.int_range(pl.len()) > 0)).to_series()


def _ranks(frame: pl.DataFrame, names: tuple[str, ...]) -> pl.Series:
    """Return for each row how many different values in these columns come before its own."""
    keys = [by_numbers() if name == "checkpoint" else pl.col(name) for name in names]
    known = frame.select(names).unique().sort(*keys, *names, nulls_last=False).with_row_index("rank")
    ranked = frame.select(names).join(known, on=names, how="left", nulls_equal=True, maintain_order="left")
    return ranked["rank"].cast(pl.Int64)
