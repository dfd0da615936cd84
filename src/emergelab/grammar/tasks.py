"""Tasks drawn from a language: every choice of their functions, with the rows that each form prints."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64, UInt16

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


@dataclass(frozen=True, eq=False)
class TaskForm:
    """One way of printing a task's row, for all I choices of its functions.

    `rows`, uint16[I, objects, width], are the tokens of the row for every value of the task's variable, the
    argument's token first; `steps` are the columns behind the argument that hold objects, the last one the
    answer; `printed_tables`, uint16[I, steps, objects], are their function tables.
    """

    name: str
    rows: UInt16[np.ndarray, "instances objects width"]
    steps: tuple[int, ...]
    printed_tables: UInt16[np.ndarray, "instances steps objects"]


@dataclass(frozen=True, eq=False)
class Task:
    """A task with its forms. `probabilities`, float64[I], are those of its draws without hold-out."""

    name: str
    splits: tuple[str, ...]
    forms: dict[str, TaskForm]
    functions: tuple[tuple[int, ...], ...]
    probabilities: Float64[np.ndarray, " instances"]
    held_out: np.ndarray  # bool[I]: the answer's function table is held out

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
    answers = forms["direct"].printed_tables[:, -1]
    held_out = np.array([answer.tobytes() in language.held_out for answer in answers])
    return Task(name, syntax.splits, forms, tuple(choices), probabilities, held_out)


def printable(language: Language, law: LawName) -> frozenset[bytes]:
    """Return the row tables, as bytes, of all loop bodies that the language prints under a law.

    A row table is uint16[objects, width] with the argument's token first, written row by row. Bodies whose
    rows depend on more than the loop's object (an inner `some`, `each` or choice) are no tasks and are left
    out. Raises GrammarError where there are too many to enumerate.
    """
    return _printable(_ByIdentity(language), law)


def _form(
    language: Language, task: TaskSyntax, name: str, items: tuple[Item, ...], choices: list[tuple[int, ...]]
) -> TaskForm:
    lowered = lower_task(task, items)
    columns = [_columns(language, lowered, functions) for functions in choices]
    rows = np.stack([np.stack([tokens for tokens, _ in row], axis=1) for row in columns])
    steps = tuple(number for number, (_, table) in enumerate(columns[0]) if table is not None and number > 0)
    tables = np.stack([np.stack([_as_table(row[step][1]) for step in steps]) for row in columns])
    return TaskForm(name, rows, steps, tables)


def _as_table(table: Table | None) -> Table:
    if table is None:
        raise AssertionError("a step of a task prints an object")
    return table


def _columns(
    language: Language, lowered: LoweredProduction, functions: tuple[int, ...]
) -> list[tuple[Table, Table | None]]:
    """Return, for each item of a row, its token and the object's number for every value of the variable."""
    return [_column(language, item, functions) for item in lowered.items]


def _column(
    language: Language, item: LoweredItem, functions: tuple[int, ...]
) -> tuple[Table, Table | None]:
    vocabulary = language.vocabulary
    match item:
        case LoweredTerminal():
            return np.full(language.objects, vocabulary.terminal(item.text), dtype=np.uint16), None
        case LoweredPrint():
            table = np.arange(language.objects, dtype=np.uint16)
            for slot in item.term.slots:
                table = language.tables[functions[slot]][table]
            return (table + vocabulary.first_object).astype(np.uint16), table
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
    return frozenset(_BodyEnumerator(explore(key.language, law)).row_tables())


class _BodyEnumerator:
    """Enumerates the bodies of all loops of a language, one column of tokens after the other."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._language = sites.language
        self._count = 0

    def row_tables(self) -> Iterator[bytes]:
        """Yield the row table of every body, also twice."""
        for site in self._sites.sites:
            for production in site.productions:
                for item in lowered_walk(production.lowered.items):
                    if isinstance(item, LoweredBlock) and item.law is not None:
                        yield from self._bodies(production, item)

    def _bodies(self, production: SiteProduction, loop: LoweredBlock) -> Iterator[bytes]:
        for joint, functions in _allowed_choices(self._language, production):
            attributes: dict[int, Table] = {loop.local: np.arange(self._language.objects, dtype=np.uint16)}
            for row in self._expand(loop.body, production, joint, functions, attributes):
                self._count += 1
                if self._count > _MOST_BODIES:
                    raise GrammarError(
                        f"The grammar has more than {_MOST_BODIES:,} different loop bodies, too many to tell "
                        "which tasks training shows. Use smaller families or less nesting."
                    )
                yield np.stack(row, axis=1).tobytes() if row else b""

    def _expand(
        self,
        items: tuple[LoweredItem, ...],
        production: SiteProduction,
        joint: int,
        functions: tuple[int, ...],
        attributes: dict[int, Table],
    ) -> Iterator[list[Table]]:
        """Yield the columns of every derivation of `items`; nothing for rows that are no task."""
        if not items:
            yield []
            return
        for first in self._expand_item(items[0], production, joint, functions, attributes):
            for rest in self._expand(items[1:], production, joint, functions, attributes):
                yield first + rest

    def _expand_item(
        self,
        item: LoweredItem,
        production: SiteProduction,
        joint: int,
        functions: tuple[int, ...],
        attributes: dict[int, Table],
    ) -> Iterator[list[Table]]:
        match item:
            case LoweredTerminal():
                token = self._language.vocabulary.terminal(item.text)
                yield [np.full(self._language.objects, token, dtype=np.uint16)]
            case LoweredPrint() if item.term.local in attributes:
                table = self._apply(item.term, functions, attributes)
                yield [(table + self._language.vocabulary.first_object).astype(np.uint16)]
            case LoweredCall() if all(term.local in attributes for term in item.arguments):
                sites = production.calls[item.number]
                called = self._sites.sites[int(sites[joint if len(sites) > 1 else 0])]
                arguments = {
                    number: self._apply(term, functions, attributes)
                    for number, term in enumerate(item.arguments)
                }
                for inner in called.productions:
                    for inner_joint, inner_functions in _allowed_choices(self._language, inner):
                        yield from self._expand(
                            inner.lowered.items, inner, inner_joint, inner_functions, arguments
                        )
            case _:
                return

    def _apply(
        self, term: LoweredTerm, functions: tuple[int, ...], attributes: dict[int, Table]
    ) -> Table:
        table = attributes[term.local]
        for slot in term.slots:
            table = self._language.tables[functions[slot]][table]
        return table


def _allowed_choices(language: Language, production: SiteProduction) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield (joint draw, its functions) for everything that is not held out."""
    for joint, functions in enumerate(function_choices(language, production)):
        if production.allowed is None or production.allowed[joint]:
            yield joint, tuple(int(function) for function in functions)
