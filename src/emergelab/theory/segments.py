"""Segments of statements: rows over the objects with the loop that prints them, equal ones taken together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt16

from emergelab.grammar.bodies import PAD
from emergelab.grammar.language import power_law
from emergelab.grammar.syntax import UNIFORM_OBJECTS, Law
from emergelab.theory.refusals import ExactnessError


@dataclass(frozen=True, slots=True)
class Loop:
    """How often, and over which objects, rows come.

    `law` None is exactly one row: a `some`, or fixed tokens. With `distinct` objects are drawn without
    replacement, so that there are at most as many rows as objects. `weights` is the law of the objects,
    `uniform` or `power`.
    """

    law: Law | None
    distinct: bool
    weights: Law


ONE_ROW = Loop(None, distinct=False, weights=UNIFORM_OBJECTS)


def loop_of(law: Law | None, weights: Law, *, distinct: bool) -> Loop:
    """Return a loop, written in one way where grammars have several."""
    if weights.name == "power" and weights.numbers[0] == 0:
        weights = UNIFORM_OBJECTS
    return Loop(law, distinct and not _is_one_row(law), weights)


def object_weights(weights: Law, objects: int) -> Float64[np.ndarray, " objects"]:
    """Return the probabilities of the objects in one draw."""
    return power_law(objects, weights.numbers[0] if weights.name == "power" else 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Different rows in the order of their tokens, padded behind: how many objects print each, how likely it is."""

    loop: Loop
    rows: UInt16[np.ndarray, "rows width"]
    objects: Int32[np.ndarray, " rows"]
    weights: Float64[np.ndarray, " rows"]


class Segments:
    """Numbers segments; equal ones have one number."""

    def __init__(self) -> None:
        self.all: list[Segment] = []
        self._numbers: dict[tuple[Loop, bytes, bytes, bytes], int] = {}

    def add(
        self,
        loop: Loop,
        rows: UInt16[np.ndarray, "segments width objects"],
        weights: Float64[np.ndarray, "segments objects"],
    ) -> Int64[np.ndarray, " segments"]:
        """Return the numbers of segments; no object of weight 0 prints anything.

        Raises ExactnessError where several objects print one row and which of them did matters.
        """
        ordered, weights = _in_order(rows, weights)
        begins = np.flatnonzero(_is_first(ordered))
        tokens = ordered.reshape(-1, rows.shape[1])[begins]
        printing = tokens[:, 0] != PAD
        objects = np.diff(begins, append=weights.size).astype(np.int32)[printing]
        shares = np.add.reduceat(weights.ravel(), begins)[printing]
        bounds = np.searchsorted(begins[printing], np.arange(len(rows) + 1) * rows.shape[2]).tolist()
        tokens = tokens[printing]
        found = (
            self._add(Segment(loop, tokens[part], objects[part], shares[part]))
            for part in map(slice, bounds[:-1], bounds[1:])
        )
        return np.fromiter(found, dtype=np.int64, count=len(rows))

    def _add(self, segment: Segment) -> int:
        key = (segment.loop, segment.rows.tobytes(), segment.objects.tobytes(), segment.weights.tobytes())
        if key not in self._numbers:
            loop = segment.loop
            if loop.distinct and loop.weights.name == "power" and segment.objects.max() > 1:
                raise _indistinguishable()
            self._numbers[key] = len(self.all)
            self.all.append(segment)
        return self._numbers[key]


def _is_one_row(law: Law | None) -> bool:
    match law:
        case Law("stop", (1.0,)) | Law("uniform", (1.0, 1.0)):
            return True
        case _:
            return False


def _in_order(
    rows: UInt16[np.ndarray, "segments width objects"], weights: Float64[np.ndarray, "segments objects"]
) -> tuple[UInt16[np.ndarray, "segments objects width"], Float64[np.ndarray, "segments objects"]]:
    """Sort the rows of each segment by their tokens."""
    order = np.lexsort(np.moveaxis(rows, 1, 0)[::-1], axis=-1)
    ordered = np.take_along_axis(rows, order[:, None], axis=2)
    return np.ascontiguousarray(ordered.swapaxes(1, 2)), np.take_along_axis(weights, order, axis=1)


def _is_first(rows: UInt16[np.ndarray, "segments objects width"]) -> Bool[np.ndarray, "segments objects"]:
    """Tell which rows differ from the one in front of them."""
    first = np.ones(rows.shape[:2], dtype=np.bool_)
    first[:, 1:] = (rows[:, 1:] != rows[:, :-1]).any(axis=2)
    return first


def _indistinguishable() -> ExactnessError:
    return ExactnessError(
        "Several objects print the same row in a loop that draws weighted objects without replacement. Which of "
        "them has been used up cannot be told from the row, so that the law of the next one has no closed form. "
        "Print the object itself in each row, draw it with replacement, or give all objects the same weight."
    )
