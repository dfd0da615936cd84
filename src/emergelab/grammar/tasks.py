"""Tasks drawn from a language: every choice of their functions, with the rows that each form prints."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, UInt16

from emergelab.errors import GrammarError, UserError
from emergelab.grammar.language import Language, Table, family_weights
from emergelab.grammar.lowering import (
    LoweredBlock,
    LoweredCall,
    LoweredItem,
    LoweredPrint,
    LoweredProduction,
    LoweredTerm,
    LoweredTerminal,
    lower_task,
    lowered_walk,
)
from emergelab.grammar.sites import LawName, SiteProduction, Sites, explore, function_choices
from emergelab.grammar.syntax import Item, TaskSyntax

_MOST_BODIES = 500_000


@dataclass(frozen=True, slots=True)
class Step:
    """An object that a row prints behind its argument, in column `column`.

    `source` is the column of the nearest object printed before it, which with the functions in between
    determines it; `injective` tells that all these are permutations by their families, `copied` that there
    are none.
    """

    column: int
    source: int
    injective: bool
    copied: bool


@dataclass(frozen=True, eq=False)
class TaskForm:
    """One way of printing a task's row, for all I choices of its functions.

    `rows`, uint16[I, objects, width], are the tokens of the row for every value of the task's variable, the
    argument's token first; `steps` are the objects behind the argument, the last one the answer.
    """

    name: str
    rows: UInt16[np.ndarray, "instances objects width"]
    steps: tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class Task:
    """A task with its forms. `probabilities`, float64[I], are those of its draws without hold-out.

    `held_out`, bool[I], tells for which of them the function from argument to answer is held out.
    """

    name: str
    splits: tuple[str, ...]
    forms: dict[str, TaskForm]
    functions: tuple[tuple[int, ...], ...]
    probabilities: Float64[np.ndarray, " instances"]
    held_out: Bool[np.ndarray, " instances"]

    def form(self, name: str) -> TaskForm:
        """Return a form; raises UserError for one that the task does not have."""
        if name not in self.forms:
            raise UserError(
                f"Task {self.name} has no form {name!r}. Its forms are {', '.join(self.forms)}. "
                "Give the task `steps { … }` in the grammar, or choose another form."
            )
        return self.forms[name]


def ground_task(language: Language, name: str) -> Task:
    """Work out a task of the language. Raises UserError for a task that the grammar does not have."""
    syntax = language.syntax.task(name)
    if syntax is None:
        known = ", ".join(task.name for task in language.syntax.tasks) or "none"
        raise UserError(f"The grammar has no task {name!r}. Its tasks are {known}. Use one of these.")
    families = [language.family(draw.family) for draw in syntax.draws]
    if any(family.scope == "document" for family in families):
        raise GrammarError(
            f"Task {name} (line {syntax.at.line}) draws from a family whose scope is the document; its function "
            "tables differ from document to document. Draw from families of the corpus."
        )
    choices = list(itertools.product(*(language.functions(family.name) for family in families)))
    probabilities = np.ones(1)
    for family in families:
        probabilities = np.outer(probabilities, family_weights(family)).ravel()
    forms = {"direct": _form(language, syntax, "direct", syntax.direct, choices)}
    if syntax.steps is not None:
        forms["steps"] = _form(language, syntax, "steps", syntax.steps, choices)
    held_out = _held_out(language, forms["direct"])
    return Task(name, syntax.splits, forms, tuple(choices), probabilities, held_out)


def row_table(rows: UInt16[np.ndarray, "objects width"]) -> bytes:
    """Return a loop body's rows in an order of their own: by argument.

    Bodies that print the same rows, whichever value of the loop's variable each stands for, are one body to
    the reader of a document.
    """
    return rows[np.lexsort(rows.T[::-1])].tobytes()


def printable(language: Language, law: LawName) -> frozenset[bytes]:
    """Return the row tables, as bytes, of all loop bodies that the language prints under a law.

    Row tables are those of `row_table`, of bodies no wider than the tasks of the grammar. Bodies whose rows
    depend on more than the loop's object (an inner `some`, `each`, `if` or repetition) are no tasks and are
    left out. Raises GrammarError where there are too many to enumerate.
    """
    return _printable(_ByIdentity(language), law)


def _form(
    language: Language, task: TaskSyntax, name: str, items: tuple[Item, ...], choices: list[tuple[int, ...]]
) -> TaskForm:
    lowered = lower_task(task, items)
    rows = np.stack([_rows(language, lowered, functions) for functions in choices])
    if not all(_is_determined(instance) for instance in rows):
        raise GrammarError(
            f"In task {task.name} (line {task.at.line}) the argument, with which a row begins, does not "
            "determine the rest of the row: a map sends two objects to one. Begin the row with "
            f"{task.variable}, or draw from a family of permutations."
        )
    return TaskForm(name, rows, tuple(_steps(language, lowered)))


def _rows(
    language: Language, lowered: LoweredProduction, functions: tuple[int, ...]
) -> UInt16[np.ndarray, "objects width"]:
    return np.stack([_column(language, item, functions) for item in lowered.items], axis=1)


def _is_determined(rows: UInt16[np.ndarray, "objects width"]) -> bool:
    return len(np.unique(rows, axis=0)) == len(np.unique(rows[:, 0]))


def _steps(language: Language, lowered: LoweredProduction) -> Iterator[Step]:
    """Find for each object printed the nearest one before it, and what kind of functions lie between."""
    terms = {n: item.term.slots for n, item in enumerate(lowered.items) if isinstance(item, LoweredPrint)}
    for column, slots in terms.items():
        paths = {other: _path(terms[other], slots) for other in terms if other < column}
        if paths:
            source = min(paths, key=lambda other: (len(paths[other]), -other))
            kinds = {language.family(lowered.draws[slot].family).kind for slot in paths[source]}
            yield Step(column, source, kinds <= {"permutation"}, not kinds)


def _path(start: tuple[int, ...], goal: tuple[int, ...]) -> tuple[int, ...]:
    """Return the draws that lead from one term of a variable to another."""
    shared = sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(start, goal, strict=False))
    )
    return start[shared:] + goal[shared:]


def _held_out(language: Language, form: TaskForm) -> Bool[np.ndarray, " instances"]:
    """Tell for which choices the function from argument to answer is held out."""
    first = language.vocabulary.first_object
    arguments = form.rows[:, :, 0].astype(np.int64) - first
    answers = form.rows[:, :, form.steps[-1].column] - first
    every = np.arange(language.objects)
    tables = [
        answer[np.argsort(argument)] if np.array_equal(np.sort(argument), every) else answer
        for argument, answer in zip(arguments, answers, strict=True)
    ]
    return np.array([table.astype(np.uint16).tobytes() in language.held_out for table in tables])


def _column(language: Language, item: LoweredItem, functions: tuple[int, ...]) -> Table:
    """Return the tokens that an item of a row prints, for every value of the variable."""
    vocabulary = language.vocabulary
    match item:
        case LoweredTerminal():
            return np.full(language.objects, vocabulary.terminal(item.text), dtype=np.uint16)
        case LoweredPrint():
            table = np.arange(language.objects, dtype=np.uint16)
            for slot in item.term.slots:
                table = language.tables[functions[slot]][table]
            return (table + vocabulary.first_object).astype(np.uint16)
        case _:
            raise GrammarError("A task's row holds terminals and terms only. Write the row out in full.")


@dataclass(frozen=True)
class _ByIdentity:
    """A language as a key of a cache: equal only to itself."""

    language: Language

    def __hash__(self) -> int:
        return id(self.language)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and other.language is self.language


@lru_cache(maxsize=16)
def _printable(key: _ByIdentity, law: LawName) -> frozenset[bytes]:
    bodies = _Bodies(explore(key.language, law)).all()
    return frozenset(
        row_table(np.stack([np.frombuffer(column, dtype=np.uint16) for column in body], axis=1))
        for body in bodies
        if body
    )


_Body: TypeAlias = tuple[bytes, ...]
"""What a part of a row prints: for each token, its value for every object."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A production with one choice of its functions and the tables of the variables that are known."""

    production: SiteProduction
    joint: int
    functions: tuple[int, ...]
    variables: dict[int, Table]


class _Bodies:
    """All bodies of loops up to the width of the grammar's tasks, as the least solution of their equations.

    `known` holds what each site prints for given tables of its attributes. It grows until nothing is new,
    which comes to an end under recursion, too, for there are finitely many bodies of a width.
    """

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._language = sites.language
        tasks = sites.language.syntax.tasks
        self._width = max(
            (len(form) for task in tasks for form in (task.direct, task.steps or ())), default=0
        )
        self._known: dict[tuple[int, tuple[bytes, ...]], set[_Body]] = {}

    def all(self) -> set[_Body]:
        """Return the bodies of all loops."""
        before = -1
        bodies: set[_Body] = set()
        while self._size() + len(bodies) > before:
            before = self._size() + len(bodies)
            bodies |= {body for place, loop in self._loops() for body in self._expand(loop.body, place)}
            for key in list(self._known):
                self._known[key] |= self._site(*key)
            self._require_few()
        return bodies

    def _size(self) -> int:
        return len(self._known) + sum(len(bodies) for bodies in self._known.values())

    def _require_few(self) -> None:
        if self._size() > _MOST_BODIES:
            raise GrammarError(
                f"The grammar has more than {_MOST_BODIES:,} different loop bodies, too many to tell "
                "which tasks training shows. Use smaller families or less nesting."
            )

    def _loops(self) -> Iterator[tuple[_Place, LoweredBlock]]:
        identity = np.arange(self._language.objects, dtype=np.uint16)
        for site in self._sites.sites:
            for production in site.productions:
                for item in lowered_walk(production.lowered.items):
                    if isinstance(item, LoweredBlock) and item.law is not None:
                        for joint, functions in _allowed_choices(self._language, production):
                            yield _Place(production, joint, functions, {item.local: identity}), item

    def _site(self, number: int, attributes: tuple[bytes, ...]) -> set[_Body]:
        variables = {n: np.frombuffer(table, dtype=np.uint16) for n, table in enumerate(attributes)}
        return {
            body
            for production in self._sites.sites[number].productions
            for joint, functions in _allowed_choices(self._language, production)
            for body in self._expand(
                production.lowered.items, _Place(production, joint, functions, variables)
            )
        }

    def _expand(self, items: tuple[LoweredItem, ...], place: _Place) -> set[_Body]:
        bodies: set[_Body] = {()}
        for item in items:
            parts = self._item(item, place)
            bodies = {
                body + part for body in bodies for part in parts if len(body) + len(part) <= self._width
            }
        return bodies

    def _item(self, item: LoweredItem, place: _Place) -> set[_Body]:
        """Return what an item can print; nothing where that is not a function of the loop's object."""
        vocabulary = self._language.vocabulary
        match item:
            case LoweredTerminal():
                token = vocabulary.terminal(item.text)
                return {(np.full(self._language.objects, token, dtype=np.uint16).tobytes(),)}
            case LoweredPrint() if item.term.local in place.variables:
                table = self._apply(item.term, place) + vocabulary.first_object
                return {(table.astype(np.uint16).tobytes(),)}
            case LoweredCall() if all(term.local in place.variables for term in item.arguments):
                sites = place.production.calls[item.number]
                site = int(sites[place.joint if len(sites) > 1 else 0])
                attributes = tuple(self._apply(term, place).tobytes() for term in item.arguments)
                return self._known.setdefault((site, attributes), set())
            case _:
                return set()

    def _apply(self, term: LoweredTerm, place: _Place) -> Table:
        table = place.variables[term.local]
        for slot in term.slots:
            table = self._language.tables[place.functions[slot]][table]
        return table


def _allowed_choices(language: Language, production: SiteProduction) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield (joint draw, its functions) for everything that is not held out."""
    for joint, functions in enumerate(function_choices(language, production)):
        if production.allowed is None or production.allowed[joint]:
            yield joint, tuple(int(function) for function in functions)
