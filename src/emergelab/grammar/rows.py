"""Rows of tasks: the ways in which a row can go, and which of its tokens answer something.

A row holds tokens, terms and `if`. Every `if` parts the ways; a way from the first item to the last is a
*case*. Whoever reads a row token by token walks through *places*: what stands before a place leaves some
cases possible, and the next token tells more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from emergelab.grammar.syntax import If, Item, Print, Term, Terminal

MOST_CASES = 256

Symbol: TypeAlias = "str | Term"
"""What a row prints in one column: a word, or the value of a term."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A question of a row, `if predicate(term)`, with its answer; `column` tokens stand before it."""

    predicate: str
    term: Term
    holds: bool
    column: int = field(compare=False)

    def contradicts(self, other: Answered) -> bool:
        """Tell whether both answer one question, differently."""
        same = (self.predicate, self.term) == (other.predicate, other.term)
        return same and self.holds != other.holds


@dataclass(frozen=True, slots=True)
class Case:
    """A way in which a row can go: what it prints, and the answers that lead there."""

    symbols: tuple[Symbol, ...] = ()
    answers: tuple[Answered, ...] = ()

    def agrees(self, other: Case) -> bool:
        """Tell whether some world answers all questions of both as they do."""
        return not any(one.contradicts(two) for one in self.answers for two in other.answers)

    def answer(self, question: If) -> bool | None:
        """Return how the question has been answered on the way, None where it has not been asked."""
        asked = (question.predicate, question.term)
        return next((one.holds for one in self.answers if (one.predicate, one.term) == asked), None)


@dataclass(frozen=True, slots=True)
class Place:
    """Behind `column` tokens of a row, the first being the argument.

    `cases` are those that print what has been read: words as they are, an object for every term. `onwards`
    leads from each word that may follow (None: an object) to the next place, None at the row's end.
    """

    column: int
    cases: tuple[int, ...]
    onwards: dict[str | None, int | None]

    @property
    def answers(self) -> bool:
        """Whether the token here answers something: an object, or a word where the row could go otherwise."""
        return None in self.onwards or len(self.onwards) > 1


def cases_of(items: tuple[Item, ...]) -> list[Case]:
    """Return the cases of a row of tokens, terms and `if`, those of `then` first.

    At most `MOST_CASES` + 1 are returned. Raises TypeError for a row that holds anything else.
    """
    return list(itertools.islice(_cases(items), MOST_CASES + 1))


def _cases(items: tuple[Item, ...]) -> Iterator[Case]:
    waiting = [(items, Case())]
    while waiting:
        rest, case = waiting.pop()
        printed = tuple(itertools.takewhile(lambda item: isinstance(item, Terminal | Print), rest))
        case = Case((*case.symbols, *map(_symbol, printed)), case.answers)
        if len(printed) == len(rest):
            yield case
            continue
        question = rest[len(printed)]
        if not isinstance(question, If):
            raise TypeError(f"A row holds tokens, terms and `if`. Got {type(question).__name__}.")
        waiting += _branches(question, case, rest[len(printed) + 1 :])


def _branches(question: If, case: Case, behind: tuple[Item, ...]) -> Iterator[tuple[tuple[Item, ...], Case]]:
    known = case.answer(question)
    for holds, body in ((False, question.otherwise), (True, question.then)):
        if known is None:
            answer = Answered(question.predicate, question.term, holds, len(case.symbols))
            yield (*body, *behind), Case(case.symbols, (*case.answers, answer))
        elif known == holds:
            yield (*body, *behind), case


def _symbol(item: Item) -> Symbol:
    if isinstance(item, Print):
        return item.term
    if isinstance(item, Terminal):
        return item.text
    raise TypeError(f"Only tokens and terms print a symbol. Got {type(item).__name__}.")


def row_width(items: tuple[Item, ...]) -> int:
    """Return the number of tokens of the longest row that a task's items can print."""
    return max(len(case.symbols) for case in cases_of(items))


def places_of(cases: Sequence[Case]) -> tuple[Place, ...]:
    """Return the places of a row behind its argument, the first one first.

    Rows tell where they end, see `unfinished`; where they do not, the shorter row is left out.
    """
    found: list[Place] = []
    waiting: list[tuple[int, tuple[int, ...]]] = [(1, tuple(range(len(cases))))]
    for column, consistent in waiting:  # grows while it is walked along
        groups: dict[str | None, list[int]] = {}
        for number in consistent:
            if column < len(cases[number].symbols):
                groups.setdefault(_word(cases[number].symbols[column]), []).append(number)
        onwards: dict[str | None, int | None] = {}
        for word, group in groups.items():
            goes_on = any(column + 1 < len(cases[number].symbols) for number in group)
            onwards[word] = len(waiting) if goes_on else None
            if goes_on:
                waiting.append((column + 1, tuple(group)))
        found.append(Place(column, consistent, onwards))
    return tuple(found)


def _word(symbol: Symbol) -> str | None:
    return symbol if isinstance(symbol, str) else None


def unfinished(cases: Sequence[Case]) -> bool:
    """Tell whether a row can be the beginning of another, so that nothing tells where it ends."""
    shapes = {tuple(map(_word, case.symbols)) for case in cases}
    beginnings = {shape[:length] for shape in shapes for length in range(len(shape))}
    return bool(shapes & beginnings)


def answer_columns(cases: Sequence[Case], places: Sequence[Place]) -> list[tuple[int, ...]]:
    """Return for each case the columns of the tokens that answer something."""
    columns: list[list[int]] = [[] for _ in cases]
    for place in places:
        if place.answers:
            for number in place.cases:
                columns[number].append(place.column)
    return [tuple(sorted(found)) for found in columns]


def final_columns(direct: Sequence[Case], steps: Sequence[Case]) -> list[int | None]:
    """Return where, in each case of a row with steps, stands the answer that the direct row ends on.

    None where the row ends on another answer, or where what it leads to is not told by its questions.
    """
    ends = _last_symbols(direct)
    columns = answer_columns(steps, places_of(steps))
    return [
        _final_column(case, answers, {end for one, end in zip(direct, ends, strict=True) if one.agrees(case)})
        for case, answers in zip(steps, columns, strict=True)
    ]


def _last_symbols(cases: Sequence[Case]) -> list[Symbol | None]:
    columns = answer_columns(cases, places_of(cases))
    return [case.symbols[last[-1]] if last else None for case, last in zip(cases, columns, strict=True)]


def _final_column(case: Case, answers: tuple[int, ...], ends: set[Symbol | None]) -> int | None:
    if len(ends) != 1:
        return None
    (end,) = ends
    final = max((column for column, symbol in enumerate(case.symbols) if symbol == end), default=0)
    return final if final > 0 and all(column <= final for column in answers) else None


def final_answers(items: tuple[Item, ...]) -> list[Symbol | None]:
    """Return, for each case of a row, the last word or term that answers something, None where none does."""
    return _last_symbols(cases_of(items))


def path(start: Term, goal: Term) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what leads from one term of an object to another: functions to undo, then functions to apply."""
    shared = sum(
        1
        for _ in itertools.takewhile(
            lambda pair: pair[0] == pair[1], zip(start.functions, goal.functions, strict=False)
        )
    )
    return tuple(reversed(start.functions[shared:])), goal.functions[shared:]
