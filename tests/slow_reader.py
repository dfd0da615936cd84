"""What a document is made of, read token by token in plain Python: the slow twin of the forward filter.

Statements are listed one by one, rows object by object; nothing is merged, no law is rearranged. The
probability that a document begins with some tokens is a sum over everything that could have printed them.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from emergelab.theory.statements import Loop, Statements

END = 1


@dataclass(frozen=True)
class Segment:
    """A loop: what it prints for each object, P(N >= n), and the weights of the objects."""

    rows: tuple[tuple[int, ...], ...]
    at_least: Callable[[int], float]
    distinct: bool
    weights: tuple[float, ...]


@dataclass(frozen=True)
class DocumentLaw:
    """A Markov chain of states, each with its statements: (probability, segments)."""

    statements: tuple[tuple[tuple[float, tuple[Segment, ...]], ...], ...]
    initial: tuple[float, ...]
    transition: tuple[tuple[float, ...], ...]
    """From state to state; the last column is the end."""


def prefix_probability(law: DocumentLaw, tokens: Sequence[int]) -> float:
    """Return the probability that a document's tokens behind the start token begin with these."""
    reader = _Reader(law, tuple(tokens))
    return sum(
        probability * reader.statement(0, state)
        for state, probability in enumerate(law.initial)
        if probability
    )


class _Reader:
    """Reads some tokens from the back to the front: what may come from each place on."""

    def __init__(self, law: DocumentLaw, tokens: tuple[int, ...]) -> None:
        self.law = law
        self.tokens = tokens
        self.statement = lru_cache(maxsize=None)(self._statement)
        self.row = lru_cache(maxsize=None)(self._row)

    def _statement(self, place: int, state: int) -> float:
        if place == len(self.tokens):
            return 1.0
        return sum(
            probability * self.row(place, (state, number, 0), ())
            for number, (probability, _) in enumerate(self.law.statements[state])
        )

    def _row(self, place: int, at: tuple[int, int, int], used: tuple[int, ...]) -> float:
        """Return the probability of what is read from `place` on, where a row begins of which some are `used`."""
        segment = self.law.statements[at[0]][at[1]][1][at[2]]
        left = 1.0 - sum(segment.weights[x] for x in used) if segment.distinct else 1.0
        total = 0.0
        for x, row in enumerate(segment.rows):
            ahead = self.tokens[place : place + len(row)]
            if row[: len(ahead)] == ahead and not (segment.distinct and x in used):
                share = segment.weights[x] / left
                total += share * self._behind_row(place + len(row), at, tuple(sorted((*used, x))))
        return total

    def _behind_row(self, place: int, at: tuple[int, int, int], used: tuple[int, ...]) -> float:
        if place >= len(self.tokens):
            return 1.0
        state, statement, part = at
        segments = self.law.statements[state][statement][1]
        more = segments[part].at_least(len(used) + 1) / segments[part].at_least(len(used))
        on = more * self.row(place, at, used) if more > 0 else 0.0
        if part + 1 < len(segments):
            return on + (1 - more) * self.row(place, (state, statement, part + 1), ())
        return on + (1 - more) * self._behind_statement(place, state)

    def _behind_statement(self, place: int, state: int) -> float:
        *following, end = self.law.transition[state]
        ends = self.tokens[place] == END and place + 1 == len(self.tokens)
        return (end if ends else 0.0) + sum(
            probability * self.statement(place, other)
            for other, probability in enumerate(following)
            if probability
        )


def next_token_law(law: DocumentLaw, tokens: Sequence[int], vocabulary: int) -> np.ndarray:
    """Return M(token | start, tokens) for every token of the vocabulary; NaN where the tokens cannot be."""
    before = prefix_probability(law, tokens)
    joint = [prefix_probability(law, [*tokens, token]) for token in range(vocabulary)]
    return np.array(joint) / before if before > 0 else np.full(vocabulary, np.nan)


def law_of(statements: Statements) -> DocumentLaw:
    """Return what enumerated statements say, row by row and object by object."""
    objects = statements.language.objects
    cuts = statements.row_first.tolist()

    def segment(body: int) -> Segment:
        loop = statements.loops[statements.body_loop[body]]
        rows: list[tuple[int, ...]] = []
        weights: list[float] = []
        for row in range(int(statements.body_first[body]), int(statements.body_first[body + 1])):
            count = int(statements.row_objects[row])
            rows += [tuple(statements.tokens[cuts[row] : cuts[row + 1]].tolist())] * count
            weights += [float(statements.row_weight[row]) / count] * count
        return Segment(tuple(rows), survival(loop, objects), loop.distinct, tuple(weights))

    def chain(body: int) -> tuple[Segment, ...]:
        following = int(statements.body_next[body])
        return (segment(body), *(chain(following) if following >= 0 else ()))

    states = [
        tuple(
            (float(statements.start_probability[start]), chain(int(statements.start_body[start])))
            for start in range(int(first), int(stop))
        )
        for first, stop in itertools.pairwise(statements.start_first)
    ]
    transition = tuple(tuple(row) for row in statements.transition.tolist())
    return DocumentLaw(tuple(states), tuple(statements.initial.tolist()), transition)


def survival(loop: Loop, objects: int) -> Callable[[int], float]:
    """Return P(N >= n) of a loop as the notation defines it."""

    def at_least(n: int) -> float:
        if n <= 1:
            return 1.0
        if loop.law is None or (loop.distinct and n > objects):
            return 0.0
        match loop.law.name:
            case "stop":
                return (1 - loop.law.numbers[0]) ** (n - 1)
            case "power":
                return 1 / n ** loop.law.numbers[0]
            case "uniform":
                low, high = (int(number) for number in loop.law.numbers)
                return sum(1 for count in range(low, high + 1) if count >= n) / (high - low + 1)
            case "all":
                return 1.0

    return at_least
