"""Systems on the page of outcomes: their colours, what they stand over, and how a cell is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from emergelab.report import words
from emergelab.report.plots import COUNTS, Axis

COLOURS = ("mode-0", "mode-1", "other-0", "other-1", "size-0", "size-1", "bound-1", "guess")
"""Names of colours, in the order in which systems take them; a figure draws no more systems."""

# By the column that tells checkpoints apart, the title and the form of its axis.
_AXES = {
    "train_tokens": ("training tokens", COUNTS),
    "flops": ("compute (FLOP)", "~e"),
    "params": ("parameters", COUNTS),
}
_ROOM = 1.15  # around the first and the last checkpoint


def system_colours(systems: Sequence[str]) -> dict[str, str]:
    """Return a colour's name for each system, at most `COLOURS` of them, the first ones."""
    return dict(zip(systems, COLOURS, strict=False))


def colours_of(found: pl.DataFrame, systems: Sequence[str]) -> dict[str, str]:
    """Return the colours of the systems of `found`, the same in all figures of a table with these `systems`."""
    there = set(found["system"])
    return {system: colour for system, colour in system_colours(sorted(systems)).items() if system in there}


def along(cells: pl.DataFrame) -> tuple[str, Axis] | None:
    """Return the column that tells a system's checkpoints apart, and its axis; None where nothing does.

    `cells` has system and the columns `SCALE`. Values of 0 have no place on a logarithmic axis and count as none.
    """
    for name, (title, form) in _AXES.items():
        known = cells.filter(pl.col(name) > 0)
        if known.group_by("system").agg(pl.col(name).n_unique()).filter(pl.col(name) > 1).height:
            first, last = known.select(
                pl.col(name).min().alias("first"), pl.col(name).max().alias("last")
            ).row(0)
            return name, Axis(title=title, scale="log", ends=(first / _ROOM, last * _ROOM), form=form)
    return None


def panel_name(row: Mapping[str, Any]) -> str:
    """Return how a cell is called above its panel, in two lines."""
    tokens = row["train_tokens"]
    return f"{row['system']}\n{row['checkpoint'] if tokens is None else f'{words.count(tokens)} tokens'}"


def cell_name(row: Mapping[str, Any]) -> str:
    """Return how a cell is called in sentences."""
    if row["train_tokens"] is None:
        return f"{row['system']} at {row['checkpoint']}"
    return f"{row['system']} at {words.count(row['train_tokens'])} tokens"


def with_interval(row: Mapping[str, Any], name: str) -> str:
    """Return a share with its interval, as `0.25 [0.23, 0.27]`; missing is a dash."""
    value, lo, hi = (row[f"{name}{end}"] for end in ("", "_lo", "_hi"))
    if value is None or lo is None or hi is None:
        return words.share(value)
    return f"{words.share(value)} [{words.share(lo)}, {words.share(hi)}]"
