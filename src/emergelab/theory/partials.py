"""Partial derivations: what has been printed of a statement and what is still to be derived, many at once.

What is still to be derived is *pending*: tokens that are known for every object, calls of rules with the tables
of their attributes, and the bounds of blocks. All terms are evaluated as soon as their functions are drawn, so
that partial derivations with equal tables are equal, however they came about. Outside blocks, where a value is
one object, its table is constant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

from emergelab.grammar.bodies import PAD
from emergelab.grammar.syntax import Law
from emergelab.theory.segments import Loop

Columns: TypeAlias = UInt16[np.ndarray, "partials _columns objects"]


@dataclass(frozen=True, slots=True)
class Fixed:
    """Tokens for every object, padded where rows differ; `drawn` where they depend on functions drawn."""

    width: int
    drawn: bool = False


@dataclass(frozen=True, slots=True)
class Called:
    """A rule's site with tables of its attributes and, last, the objects whose rows it stands in (1, else 0).

    With a law it is called again and again; `done` calls are over.
    """

    site: int
    arguments: int
    inside: bool
    drawn: bool = False
    law: Law | None = None
    done: int = 0

    @property
    def width(self) -> int:
        """The number of its columns."""
        return self.arguments + 1


@dataclass(frozen=True, slots=True)
class Opened:
    """Here a block begins."""

    loop: Loop
    width: int = 0
    drawn: bool = False


@dataclass(frozen=True, slots=True)
class Closed:
    """Here a block ends."""

    width: int = 0
    drawn: bool = False


Pending: TypeAlias = Fixed | Called | Opened | Closed


@dataclass(frozen=True, slots=True)
class Form:
    """What partial derivations have in common: what is pending, and of which kind the segment begun is.

    `width` tokens of it have been printed in the longest row; `loop` is None as long as they are the same for
    all objects. `inside` tells whether its block is open, `drawn` whether tokens depend on functions drawn.
    """

    items: tuple[Pending, ...]
    width: int = 0
    loop: Loop | None = None
    inside: bool = False
    drawn: bool = False

    @property
    def call(self) -> Called:
        """The call that is pending first."""
        first = self.items[0]
        if not isinstance(first, Called):
            raise TypeError(f"what is pending first is no call: {first}")
        return first


@dataclass(frozen=True, slots=True, eq=False)
class Partials:
    """Partial derivations of one form.

    `data` holds the rows printed of the segment begun, column by column, and behind them the columns of what
    is pending. `chain` numbers the segments before it, `source` what this was derived from.
    """

    form: Form
    chain: Int64[np.ndarray, " partials"]
    source: Int64[np.ndarray, " partials"]
    probability: Float64[np.ndarray, " partials"]
    data: Columns

    def __len__(self) -> int:
        return len(self.chain)

    @property
    def rows(self) -> Columns:
        """The rows printed of the segment begun."""
        return self.data[:, : self.form.width]

    @property
    def first(self) -> Columns:
        """The columns of what is pending first."""
        return self.data[:, self.form.width : self.form.width + self.form.items[0].width]

    def among(self, chosen: Bool[np.ndarray, " partials"] | Int64[np.ndarray, " chosen"]) -> Partials:
        """Return some of them."""
        arrays = (self.chain[chosen], self.source[chosen], self.probability[chosen], self.data[chosen])
        return Partials(self.form, *arrays)

    def without_first(self) -> Partials:
        """Leave out what is pending first."""
        width = self.form.width
        behind = width + self.form.items[0].width
        data = np.concatenate([self.data[:, :width], self.data[:, behind:]], axis=1)
        return replace(self, form=replace(self.form, items=self.form.items[1:]), data=data)


def printed(partials: Partials) -> list[Partials]:
    """Print the fixed tokens that are pending first. Rows of different lengths part the ways."""
    fixed, form = partials.form.items[0], partials.form
    width = form.width + fixed.width
    form = replace(form, items=form.items[1:], width=width, drawn=form.drawn or fixed.drawn)
    partials = replace(partials, form=form)
    rows = partials.rows
    if rows.all():
        return [partials]
    rows = compacted(rows)
    data = np.concatenate([rows, partials.data[:, width:]], axis=1)
    longest = (rows != PAD).any(axis=2).sum(axis=1)
    return [
        replace(
            partials.among(longest == length),
            form=replace(form, width=length),
            data=np.delete(data[longest == length], np.s_[length:width], axis=1),
        )
        for length in np.unique(longest).tolist()
    ]


def compacted(rows: Columns) -> Columns:
    """Move what pads the rows behind their tokens."""
    return np.take_along_axis(rows, np.argsort(rows == PAD, axis=1, kind="stable"), axis=1)
