"""What a document has revealed of the functions that it drew anew, with the objects that stay unknown.

A uniformly random function of the document is known where the document has shown it and uniform elsewhere. A
silent composition b(a(x)) shows more: that a leads from x to some object, from which b leads on. Such an
object that nothing names yet is an *unknown*. It gets a name of its own, a negative number, and no list of what it
may be: that follows from the tables, since a function has one value at every argument and a permutation every
value once. So `x1 z1 ; x2 z2` of a composition are one state, however many intermediate objects there may be.

What is revealed stands for all ways to put objects in the place of the unknowns. They are equally likely, for
every one gives each permutation k values, of probability (O-k)!/O! each, and each map k values of
probability O^-k. The chance of whatever comes next is therefore a ratio of numbers of ways.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from emergelab.grammar.language import family_weights
from emergelab.grammar.syntax import Family

Value: TypeAlias = int
"""An object, or an unknown: -1, -2, ..."""
Entries: TypeAlias = tuple[tuple[Value, Value], ...]
Function: TypeAlias = tuple[int, int, Entries]
"""The family, the member's number (-1 where members are interchangeable), (argument, value) in order."""
Revealed: TypeAlias = tuple[Function, ...]
"""All functions that something is known of. A function's place in it is its label."""

ANYONE = -1
NOTHING: Revealed = ()
_MOST_REMEMBERED = 1 << 18


@dataclass(frozen=True, slots=True)
class Outcome:
    """Something that may turn out, with its probability; `value` is None where nothing is known of it."""

    probability: float
    revealed: Revealed
    value: Value | None


class Unknowns:
    """Reckons with functions of the document over a world of `objects` objects.

    Families of equally likely members are exchangeable: of those that nothing is known of, one stands for all.
    """

    def __init__(self, families: Sequence[Family], objects: int) -> None:
        self._families = tuple(families)
        self._objects = objects
        self._member_weights = [
            tuple(family_weights(family).tolist()) if family.power else None for family in families
        ]
        self._remembered: dict[tuple[tuple[int, Entries], ...], int] = {}

    def drawn(self, revealed: Revealed, family: int) -> Iterator[tuple[float, Revealed, int]]:
        """Yield what a draw from a family can be: probability, what is revealed then, the function's label."""
        touched = [label for label, one in enumerate(revealed) if one[0] == family]
        weights = self._member_weights[family]
        if weights is None:
            yield from self._drawn_alike(revealed, family, touched)
            return
        labels = {revealed[label][1]: label for label in touched}
        for number, weight in enumerate(weights):
            if number in labels:
                yield weight, revealed, labels[number]
            else:
                yield weight, (*revealed, (family, number, ())), len(revealed)

    def _drawn_alike(
        self, revealed: Revealed, family: int, touched: list[int]
    ) -> Iterator[tuple[float, Revealed, int]]:
        count = self._families[family].count
        for label in touched:
            yield 1 / count, revealed, label
        if len(touched) < count:
            yield (count - len(touched)) / count, (*revealed, (family, ANYONE, ())), len(revealed)

    def applied(
        self, revealed: Revealed, label: int, argument: Value, *, named: bool, aim: int | None = None
    ) -> Iterator[Outcome]:
        """Yield what a function may have as its value at an argument.

        Where nothing is known of it the value of a predicate is decided, that of another function becomes an
        unknown; but where the value is about to be `named` by a printed token it stays None, and the
        probability is 1: see `shown`. What cannot be the object `aim` is left out, if one is given.
        """
        entries = revealed[label][2]
        known = next((value for other, value in entries if other == argument), None)
        if known is not None:
            yield Outcome(1.0, revealed, known)
            return
        for other, value in entries:
            if (argument < 0 or other < 0) and (aim is None or value < 0 or value == aim):
                yield from self._met(revealed, label, argument, other)
        if self._families[revealed[label][0]].kind == "predicate":
            yield from self._decided(revealed, label, argument)
        elif named:
            yield Outcome(1.0, revealed, None)
        else:
            unknown = _unused(revealed)
            probability, after = self.shown(revealed, label, argument, unknown)
            if probability:
                yield Outcome(probability, after, unknown)

    def _met(self, revealed: Revealed, label: int, argument: Value, other: Value) -> Iterator[Outcome]:
        """Yield the value where the argument turns out to be one that the function is known at."""
        unknown, meant = (other, argument) if argument >= 0 else (argument, other)
        probability, after = self.named(revealed, unknown, meant)
        if probability:
            yield Outcome(probability, after, dict(after[label][2])[meant])

    def _decided(self, revealed: Revealed, label: int, argument: Value) -> Iterator[Outcome]:
        density = self._families[revealed[label][0]].density or 0.0
        for holds, weight in ((0, 1 - density), (1, density)):
            after = _with_entry(revealed, label, argument, holds)
            probability = weight * self.ways(after) / self.ways(revealed)
            if probability:
                yield Outcome(probability, after, holds)

    def shown(self, revealed: Revealed, label: int, argument: Value, value: Value) -> tuple[float, Revealed]:
        """Return the probability that the argument is new to a function, which has this value there."""
        family, _, entries = revealed[label]
        left = self._objects
        if self._families[family].kind == "permutation":
            left -= len(entries)
            if left == 0 or any(other == value for _, other in entries):
                return 0.0, revealed
        after = _with_entry(revealed, label, argument, value)
        return self.ways(after) / (left * self.ways(revealed)), after

    def named(self, revealed: Revealed, unknown: Value, meant: Value) -> tuple[float, Revealed]:
        """Return the probability that an unknown is this object or other unknown, and what is revealed then."""
        after: list[Function] = []
        for function in revealed:
            if any(unknown in entry for entry in function[2]):
                renamed = self._renamed(function, unknown, meant)
                if renamed is None:
                    return 0.0, revealed
                after.append(renamed)
            else:
                after.append(function)
        result = tuple(after)
        return self.ways(result) / self.ways(revealed), result

    def _renamed(self, function: Function, unknown: Value, meant: Value) -> Function | None:
        """Return a function with another name for an unknown; None if it had two values then, or one twice."""
        family, number, entries = function
        renamed = {_named(x, unknown, meant): _named(y, unknown, meant) for x, y in entries}
        one_to_one = self._families[family].kind == "permutation"
        if len(renamed) < len(entries) or (one_to_one and len(set(renamed.values())) < len(renamed)):
            return None
        return family, number, tuple(sorted(renamed.items()))

    def ways(self, revealed: Revealed) -> int:
        """Return in how many ways objects can stand in the place of the unknowns."""
        entangled = tuple(
            (family, entries) for family, _, entries in revealed if any(x < 0 or y < 0 for x, y in entries)
        )
        if not entangled:
            return 1
        ways = self._remembered.get(entangled)
        if ways is None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            ways = self._remembered[entangled] = self._counted(entangled)
        return ways

    def _counted(self, entangled: tuple[tuple[int, Entries], ...]) -> int:
        """Count by a graph of the unknowns: neighbours stand among the arguments of one function, or its values."""
        every = (1 << self._objects) - 1
        free: dict[Value, int] = {}
        differs: dict[Value, int] = {}
        for side in self._sides(entangled):
            taken, unknown = 0, 0
            for x in side:
                if x < 0:
                    unknown |= 1 << ~x
                else:
                    taken |= 1 << x
            for x in side:
                if x < 0:
                    free[x] = free.get(x, every) & ~taken
                    differs[x] = differs.get(x, 0) | unknown
        return math.prod(
            _colourings(tuple(free[x] for x in part), _neighbours(part, differs), self._objects)
            for part in _parts(differs)
        )

    def _sides(self, entangled: tuple[tuple[int, Entries], ...]) -> Iterator[list[Value]]:
        """Yield what has to differ from one another: arguments, and values of permutations."""
        for family, entries in entangled:
            yield [x for x, _ in entries]
            kind = self._families[family].kind
            if kind == "permutation":
                yield [y for _, y in entries]
            elif kind == "map":
                yield from ([y] for _, y in entries if y < 0)


def canonical(revealed: Revealed) -> Revealed:
    """Return the same with labels and unknowns in an order that follows from what is known.

    States that are equal up to the names of functions and unknowns mostly become equal.
    """
    ordered = sorted(revealed, key=_without_names)
    names: dict[Value, Value] = {}
    for _, _, entries in ordered:
        for x in (value for entry in entries for value in entry if value < 0):
            names.setdefault(x, -1 - len(names))
    return tuple(
        (family, number, tuple(sorted((names.get(x, x), names.get(y, y)) for x, y in entries)))
        for family, number, entries in ordered
    )


def _without_names(function: Function) -> tuple[int, int, list[tuple[int, int]]]:
    family, number, entries = function
    return family, number, sorted((max(x, -1), max(y, -1)) for x, y in entries)


def _named(value: Value, unknown: Value, meant: Value) -> Value:
    return meant if value == unknown else value


def _with_entry(revealed: Revealed, label: int, argument: Value, value: Value) -> Revealed:
    family, number, entries = revealed[label]
    function = (family, number, tuple(sorted((*entries, (argument, value)))))
    return (*revealed[:label], function, *revealed[label + 1 :])


def _unused(revealed: Revealed) -> Value:
    used = {x for _, _, entries in revealed for entry in entries for x in entry}
    name = -1
    while name in used:
        name -= 1
    return name


def _parts(differs: dict[Value, int]) -> list[list[Value]]:
    """Return the unknowns in groups, none of which bears on another; `differs` holds neighbours as bits."""
    left = list(differs)
    parts: list[list[Value]] = []
    while left:
        part = differs[left[0]]
        while (grown := _reached(part, left, differs)) != part:
            part = grown
        parts.append([x for x in left if part >> ~x & 1])
        left = [x for x in left if not part >> ~x & 1]
    return parts


def _reached(part: int, left: list[Value], differs: dict[Value, int]) -> int:
    for x in left:
        if part >> ~x & 1:
            part |= differs[x]
    return part


def _neighbours(part: list[Value], differs: dict[Value, int]) -> tuple[int, ...]:
    """Return for each unknown of a group, as bits by their order in it, which others it differs from."""
    return tuple(sum(1 << n for n, y in enumerate(part) if y != x and differs[x] >> ~y & 1) for x in part)


def _colourings(free: tuple[int, ...], neighbours: tuple[int, ...], objects: int) -> int:
    """Count how unknowns can be objects out of `free` (bits) so that no neighbours are the same."""
    every = (1 << len(free)) - 1
    alike = free.count(free[0]) == len(free)
    if alike and all(bits | 1 << n == every for n, bits in enumerate(neighbours)):
        return math.perm(free[0].bit_count(), len(free))
    kinds = Counter(sum(1 << n for n, one in enumerate(free) if one >> x & 1) for x in range(objects))
    return _ways_left(tuple(sorted(kinds.items())), neighbours)


@lru_cache(maxsize=1 << 16)
def _ways_left(kinds: tuple[tuple[int, int], ...], neighbours: tuple[int, ...]) -> int:
    """Count the same by kinds of objects: for whom they are free (bits), and how many there are."""
    if not neighbours:
        return 1
    last = len(neighbours) - 1
    bit = 1 << last
    found = 0
    for chosen, count in kinds:
        if chosen & bit:
            left: Counter[int] = Counter()
            for kind, number in kinds:
                left[kind & ~bit] += number - (kind == chosen)
            left[chosen & ~bit & ~neighbours[last]] += 1
            found += count * _ways_left(tuple(sorted((+left).items())), neighbours[:last])
    return found
