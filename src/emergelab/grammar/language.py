"""A language: a grammar whose world has been drawn, with its vocabulary and what is held out of training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import UInt16

from emergelab.errors import GrammarError
from emergelab.grammar.syntax import Family, GrammarSyntax, Terminal, walk
from emergelab.rng import Stream

START_TOKEN = 0
END_TOKEN = 1
_FIRST_TERMINAL = 2

Table = UInt16[np.ndarray, " objects"]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens: start, end, the grammar's terminals in the order of the text, then the objects."""

    terminals: tuple[str, ...]
    objects: int

    def __len__(self) -> int:
        return self.first_object + self.objects

    @property
    def first_object(self) -> int:
        """The token of object 0."""
        return _FIRST_TERMINAL + len(self.terminals)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The text of each token. Objects are written o1, o2, ..."""
        objects = (f"o{number}" for number in range(1, self.objects + 1))
        return ("<start>", "<end>", *self.terminals, *objects)

    def terminal(self, text: str) -> int:
        """Return the token of a terminal; raises ValueError where the grammar has none such."""
        return _FIRST_TERMINAL + self.terminals.index(text)


@dataclass(frozen=True)
class Language:
    """A grammar with the functions of its world drawn.

    `functions` numbers all functions and predicates, family after family in the order of the grammar's
    text; `tables` is uint16[functions, objects] (a predicate's rows hold 0 and 1; rows of functions whose
    scope is the document hold zeros, for they are drawn with each document). `held_out` is the set of
    function tables, as bytes, that no training document shows.
    """

    syntax: GrammarSyntax
    tables: UInt16[np.ndarray, "functions objects"]
    vocabulary: Vocabulary
    held_out: frozenset[bytes] = frozenset()

    @property
    def objects(self) -> int:
        """The number of objects."""
        return self.syntax.world.objects

    def functions(self, family: str) -> range:
        """Return the numbers of the family's functions."""
        first = 0
        for candidate in self.syntax.world.families:
            if candidate.name == family:
                return range(first, first + candidate.count)
            first += candidate.count
        raise KeyError(family)

    def function_names(self) -> list[str]:
        """Return a name for each function: f1, f2, ... for the functions of family f."""
        return [
            f"{family.name}{number}"
            for family in self.syntax.world.families
            for number in range(1, family.count + 1)
        ]

    def family(self, name: str) -> Family:
        """Return the family called `name`; the grammar has been checked to have it."""
        family = self.syntax.world.family(name)
        if family is None:
            raise KeyError(name)
        return family


def draw_tables(syntax: GrammarSyntax, stream: Stream) -> UInt16[np.ndarray, "functions objects"]:
    """Draw the world's functions: the j-th of a family has a stream of its own.

    A family that grows therefore keeps the functions that it had. Two draws may coincide, as may a draw and
    the identity; what follows from that is computed, not excluded.
    """
    rows = [
        _draw_table(family, syntax.world.objects, stream.child(family.name, number))
        for family in syntax.world.families
        for number in range(family.count)
    ]
    empty = np.zeros((0, syntax.world.objects), dtype=np.uint16)
    return np.stack(rows) if rows else empty


def vocabulary_of(syntax: GrammarSyntax) -> Vocabulary:
    """Collect the terminals of the rules and count the objects; refuse what uint16 cannot number."""
    items = (
        item for rule in syntax.rules for production in rule.productions for item in walk(production.items)
    )
    terminals = tuple(dict.fromkeys(item.text for item in items if isinstance(item, Terminal)))
    vocabulary = Vocabulary(terminals, syntax.world.objects)
    limit = np.iinfo(np.uint16).max
    if len(vocabulary) > limit:
        raise GrammarError(
            f"The world has {syntax.world.objects} objects and the grammar {len(terminals)} terminals; "
            f"together with start and end at most {limit} tokens fit. Use fewer objects."
        )
    return vocabulary


def family_weights(family: Family) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the probabilities of a draw from the family, float64[count]: the j-th has weight j^-power."""
    return power_law(family.count, family.power)


def power_law(count: int, power: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the probabilities of `count` things of which the j-th has weight j^-power, float64[count]."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -power
    return weights / weights.sum()


def _draw_table(family: Family, objects: int, stream: Stream) -> Table:
    if family.scope == "document":
        return np.zeros(objects, dtype=np.uint16)
    generator = stream.generator()
    if family.kind == "permutation":
        return generator.permutation(objects).astype(np.uint16)
    if family.kind == "map":
        return generator.integers(0, objects, size=objects).astype(np.uint16)
    return (generator.random(objects) < (family.density or 0.5)).astype(np.uint16)
