"""Chance: what a guesser scores that knows how rows are made, but none of the functions.

The guesser knows a task's form, the kinds of its functions, the densities of its predicates and the number of
objects. A token that an object printed before it determines, its *source*, is copied from an earlier row that
has this object there. Any other is the likeliest one: words by the densities, objects by what functions drawn
uniformly at random would print, given the objects that earlier rows print for other sources. Where several
functions may have printed these, all ways of ascribing them are weighed. Functions applied to what is not
printed count as one function, a permutation if all of them are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

from emergelab.corpus.ascribing import Ascriptions
from emergelab.grammar.rows import Answered, Case, Place, Symbol, path
from emergelab.grammar.syntax import Family, Term
from emergelab.grammar.tasks import PrintedRows, Task, TaskForm

_EQUAL = 1e-12  # probabilities that differ by less are those of a tie


@dataclass(frozen=True, eq=False)
class Chances:
    """Of each row the chance of its whole answer, and of each step given what stands before it.

    The steps are those of the row's case in the form; beyond the last one stands NaN.
    """

    whole: Float64[np.ndarray, "prompts rows"]
    steps: Float64[np.ndarray, "prompts rows steps"]


@dataclass(frozen=True, eq=False)
class ShownRows:
    """Rows of prompts with the tables and values of the variable from which they are printed."""

    printed: PrintedRows
    tables: UInt16[np.ndarray, "prompts draws objects"]
    variable: Int64[np.ndarray, "prompts rows"]


def chances_of(task: Task, form: TaskForm, shown: ShownRows) -> Chances:
    """Return the chances of all rows of some prompts."""
    reader = _Reader(task, form, shown)
    prompts, rows = shown.variable.shape
    most = max(map(len, form.steps))
    chances = Chances(np.empty((prompts, rows)), np.full((prompts, rows, most), np.nan))
    for row in range(rows):
        reader.read(row, chances)
    return chances


# --- What may stand at a place ---------------------------------------------------------------------------

_Path: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
_Told: TypeAlias = "frozenset[tuple[str, _Path, bool]]"


@dataclass(frozen=True, slots=True)
class _Guess:
    """What may stand at a place of a row.

    `words` holds the probability of each word, `objects` that of an object, `copied` that of the source itself.
    `functions` are the probabilities of those that may print an object, with whether each is a permutation.
    Places with the same `memory` tell the same about their sources.
    """

    place: Place
    source: Term
    memory: object
    words: Mapping[str, float]
    functions: tuple[tuple[float, bool], ...]
    copied: float

    @property
    def objects(self) -> float:
        """The probability of an object other than by copying the source."""
        return math.fsum(weight for weight, _ in self.functions)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A way to go on at a place: what it prints, and the open questions that lead there."""

    symbol: Symbol
    told: tuple[Answered, ...]


def _guesses(task: Task, form: TaskForm) -> list[_Guess]:
    families = {draw.name: family for draw, family in zip(task.draws, task.families, strict=True)}
    return [_guess(form, place, families) for place in form.places]


def _guess(form: TaskForm, place: Place, families: Mapping[str, Family]) -> _Guess:
    outcomes = _outcomes([form.cases[number] for number in place.cases], place.column, families)
    source = _source(form, place, outcomes, families)
    words: dict[str, float] = {}
    functions: dict[_Path, float] = {}
    for outcome, weight in outcomes.items():
        if isinstance(outcome.symbol, str):
            words[outcome.symbol] = words.get(outcome.symbol, 0.0) + weight
        else:
            way = path(source, outcome.symbol)
            functions[way] = functions.get(way, 0.0) + weight
    copied = functions.pop(((), ()), 0.0)
    kinds = tuple((weight, _is_permutation(way, families)) for way, weight in functions.items())
    memory = frozenset(_seen_from(source, outcome) for outcome in outcomes)
    return _Guess(place, source, memory, words, kinds, copied)


def _outcomes(cases: list[Case], column: int, families: Mapping[str, Family]) -> dict[_Outcome, float]:
    """Return the ways to go on with their probabilities."""
    weights = [_weight(case, families) for case in cases]
    asked = [tuple(answer for answer in case.answers if answer.column <= column) for case in cases]
    told = set.intersection(*(set(answers) for answers in asked))
    outcomes: dict[_Outcome, float] = {}
    for case, answers, weight in zip(cases, asked, weights, strict=True):
        outcome = _Outcome(case.symbols[column], tuple(one for one in answers if one not in told))
        outcomes[outcome] = outcomes.get(outcome, 0.0) + weight / math.fsum(weights)
    return outcomes


def _weight(case: Case, families: Mapping[str, Family]) -> float:
    densities = [families[answer.predicate].density or 0.5 for answer in case.answers]
    shares = zip(case.answers, densities, strict=True)
    return math.prod(density if answer.holds else 1 - density for answer, density in shares)


def _source(
    form: TaskForm, place: Place, outcomes: Mapping[_Outcome, float], families: Mapping[str, Family]
) -> Term:
    """Return the nearest object printed before a place that determines what stands there."""
    needed = {one.symbol for one in outcomes if isinstance(one.symbol, Term)}
    needed |= {answer.term for one in outcomes for answer in one.told}
    best, shortest = form.argument, _distance(form.argument, needed)
    for column in range(1, place.column):
        symbols = {form.cases[number].symbols[column] for number in place.cases}
        (term, *others) = symbols
        if isinstance(term, Term) and not others and _determines(term, needed, families):
            distance = _distance(term, needed)
            if distance <= shortest:
                best, shortest = term, distance
    return best


def _distance(term: Term, needed: set[Term]) -> int:
    return sum(len(undone) + len(applied) for undone, applied in (path(term, goal) for goal in needed))


def _determines(term: Term, needed: set[Term], families: Mapping[str, Family]) -> bool:
    undone = (name for goal in needed for name in path(term, goal)[0])
    return all(families[name].kind == "permutation" for name in undone)


def _is_permutation(way: _Path, families: Mapping[str, Family]) -> bool:
    return all(families[name].kind == "permutation" for names in way for name in names)


def _seen_from(source: Term, outcome: _Outcome) -> tuple[str | _Path, _Told]:
    """Return an outcome as it looks from the source, the same wherever that stands."""
    symbol = outcome.symbol
    told = frozenset((one.predicate, path(source, one.term), one.holds) for one in outcome.told)
    return symbol if isinstance(symbol, str) else path(source, symbol), told


# --- Reading rows ----------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Memory:
    """What the rows read so far tell, for each prompt: which sources, and which objects they led to.

    `shown` counts for how many sources each object was printed, `numbers` how many objects were printed for
    one source, for two, and so on.
    """

    sources: Bool[np.ndarray, "prompts objects"]
    shown: Int64[np.ndarray, "prompts objects"]
    numbers: Int64[np.ndarray, "prompts times"]

    @classmethod
    def empty(cls, prompts: int, times: int, objects: int) -> _Memory:
        """Return the memory of prompts of which no row has been read."""
        shape = (prompts, objects)
        return cls(np.zeros(shape, bool), np.zeros(shape, np.int64), np.zeros((prompts, times), np.int64))

    def add_objects(self, prompts: Int64[np.ndarray, " some"], value: Int64[np.ndarray, " some"]) -> None:
        """Remember an object printed for a source that had not been seen."""
        before = self.shown[prompts, value]
        again = before > 0
        self.numbers[prompts[again], before[again] - 1] -= 1
        self.numbers[prompts, before] += 1
        self.shown[prompts, value] += 1


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """A row's place as the guesser sees it: is it copied, how sure is the best guess, how sure an object."""

    known: Bool[np.ndarray, " prompts"]
    right: Float64[np.ndarray, " prompts"]
    an_object: Float64[np.ndarray, " prompts"]


class _Reader:
    """Reads the rows of all prompts, one after the other, and remembers."""

    def __init__(self, task: Task, form: TaskForm, shown: ShownRows) -> None:
        self._form = form
        self._shown = shown
        self._first_object = task.vocabulary.first_object
        self._objects = task.vocabulary.objects
        self._guesses = _guesses(task, form)
        self._everyone = np.arange(len(shown.variable))
        self._sources = {
            guess.source: task.values(guess.source, shown.tables, shown.variable) for guess in self._guesses
        }
        times = min(shown.variable.shape[1] * form.width, self._objects)
        self._memories = {
            guess.memory: _Memory.empty(len(self._everyone), times, self._objects) for guess in self._guesses
        }
        self._ascriptions = [Ascriptions(guess.functions, self._objects) for guess in self._guesses]

    def read(self, row: int, chances: Chances) -> None:
        """Write the chances of one row of every prompt, and remember what it tells."""
        looks: list[_Look] = []
        for number, guess in enumerate(self._guesses):
            source = self._sources[guess.source][:, row]
            looks.append(self._look(number, source))
            if guess.place.answers:
                self._remember(guess, row, source, ~looks[-1].known)
        self._write_steps(row, looks, chances)
        chances.whole[:, row] = self._whole(row, looks)

    def _look(self, number: int, source: Int64[np.ndarray, " prompts"]) -> _Look:
        guess = self._guesses[number]
        memory = self._memories[guess.memory]
        known = memory.sources[self._everyone, source]
        an_object = np.zeros(len(source))
        if guess.functions:
            unseen = self._ascriptions[number].probabilities(memory.numbers, np.zeros_like(source))
            an_object = guess.objects * unseen
        if guess.copied:
            times = memory.shown[self._everyone, source]
            again = self._ascriptions[number].probabilities(memory.numbers, times)
            an_object = np.maximum(an_object, guess.copied + guess.objects * again)
        right = np.maximum(an_object, max(guess.words.values(), default=0.0))
        return _Look(known, np.where(known, 1.0, right), an_object)

    def _remember(
        self,
        guess: _Guess,
        row: int,
        source: Int64[np.ndarray, " prompts"],
        is_new: Bool[np.ndarray, " prompts"],
    ) -> None:
        memory = self._memories[guess.memory]
        printed = self._shown.printed
        new = np.flatnonzero(is_new & np.isin(printed.case[:, row], guess.place.cases))
        values = printed.tokens[new, guess.place.column, row].astype(np.int64) - self._first_object
        memory.sources[new, source[new]] = True
        told = values >= 0
        if guess.copied:
            told &= values != source[new]
        memory.add_objects(new[told], values[told])

    def _write_steps(self, row: int, looks: list[_Look], chances: Chances) -> None:
        case = self._shown.printed.case[:, row]
        for number, guess in enumerate(self._guesses):
            for one in guess.place.cases:
                if guess.place.column in self._form.steps[one]:
                    prompts = case == one
                    step = self._form.steps[one].index(guess.place.column)
                    chances.steps[prompts, row, step] = looks[number].right[prompts]

    def _whole(self, row: int, looks: list[_Look]) -> Float64[np.ndarray, " prompts"]:
        """Follow the guesser's own guesses to the end of the row, and through what it knows."""
        whole: list[Float64[np.ndarray, " prompts"]] = [np.ones(0)] * len(looks)
        certain = np.ones(len(self._everyone))
        for number in reversed(range(len(looks))):
            guess, look = self._guesses[number], looks[number]
            onwards = np.zeros(len(certain))
            for word, place in guess.place.onwards.items():
                behind = certain if place is None else whole[place]
                hope = look.an_object if word is None else guess.words[word]
                leads = hope >= np.where(look.known, self._best(guess, look), look.right) - _EQUAL
                follows = self._follows(number, word, row)
                taken = np.where(look.known & self._passes(guess, row), follows, leads)
                onwards = np.maximum(onwards, np.where(taken, behind, 0.0))
            whole[number] = look.right * onwards
        return whole[0]

    def _best(self, guess: _Guess, look: _Look) -> Float64[np.ndarray, " prompts"]:
        """Return how sure the best guess would be if nothing could be copied."""
        return np.maximum(look.an_object, max(guess.words.values(), default=0.0))

    def _passes(self, guess: _Guess, row: int) -> Bool[np.ndarray, " prompts"]:
        return np.isin(self._shown.printed.case[:, row], guess.place.cases)

    def _follows(self, number: int, word: str | None, row: int) -> Bool[np.ndarray, " prompts"]:
        """Tell which rows go on with a word, or with an object."""
        place = self._guesses[number].place
        symbols = [self._form.cases[case].symbols[place.column] for case in place.cases]
        same = [
            case
            for case, symbol in zip(place.cases, symbols, strict=True)
            if (symbol if isinstance(symbol, str) else None) == word
        ]
        return np.isin(self._shown.printed.case[:, row], same)
