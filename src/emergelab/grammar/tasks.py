"""Tasks of a language: every choice of their functions, with the rows that each form prints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt16

from emergelab.errors import UserError
from emergelab.grammar.bodies import draw_fresh, printable, row_tables, stand_ins
from emergelab.grammar.language import Language, Vocabulary, family_weights
from emergelab.grammar.rows import (
    Case,
    Place,
    Symbol,
    answer_columns,
    cases_of,
    final_columns,
    path,
    places_of,
    row_width,
)
from emergelab.grammar.syntax import Draw, Family, Item, TaskSyntax, Term
from emergelab.rng import Stream

_TOKENS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class TaskForm:
    """One way of printing a task's rows.

    A row goes by one of `cases`; `steps` holds for each of them the columns of the tokens that answer
    something, the last one the final answer, and `places` how a reader learns which case it is. Column 0 is
    the argument. `width` is that of the longest row.
    """

    name: str
    items: tuple[Item, ...]
    cases: tuple[Case, ...]
    places: tuple[Place, ...]
    steps: tuple[tuple[int, ...], ...]
    width: int

    @property
    def argument(self) -> Term:
        """The term that every row begins with."""
        return _term(self.cases[0].symbols[0])


@dataclass(frozen=True, eq=False)
class PrintedRows:
    """Rows of one form, padded with the start token behind their end; `case` numbers the form's cases."""

    tokens: UInt16[np.ndarray, "instances width rows"]
    case: Int32[np.ndarray, "instances rows"]


@dataclass(frozen=True, eq=False)
class Task:
    """A task with its forms, for all I choices of its functions.

    `functions`, int64[I, draws], numbers the function of each draw as the language does; `families` are those
    that they are drawn from. `probabilities`, float64[I], are those of the draws without hold-out. `held_out`,
    bool[I], tells for which of them a function from the argument to an answer that some row prints is held out.
    """

    name: str
    splits: tuple[str, ...]
    draws: tuple[Draw, ...]
    families: tuple[Family, ...]
    forms: dict[str, TaskForm]
    functions: Int64[np.ndarray, "instances draws"]
    probabilities: Float64[np.ndarray, " instances"]
    held_out: Bool[np.ndarray, " instances"]
    vocabulary: Vocabulary

    def form(self, name: str) -> TaskForm:
        """Return a form; raises UserError for one that the task does not have."""
        if name not in self.forms:
            raise UserError(
                f"Task {self.name} has no form {name!r}. Its forms are {', '.join(self.forms)}. "
                "Give the task `steps { … }` in the grammar, or choose another form."
            )
        return self.forms[name]

    @property
    def branches(self) -> bool:
        """Whether rows ask questions, so that they may go in several ways."""
        return any(len(form.cases) > 1 for form in self.forms.values())

    @cached_property
    def of_documents(self) -> tuple[int, ...]:
        """The places of the draws whose functions each document draws anew."""
        scopes = enumerate(family.scope for family in self.families)
        return tuple(place for place, scope in scopes if scope == "document")

    def tables(
        self, language: Language, instances: Int64[np.ndarray, " instances"], stream: Stream
    ) -> UInt16[np.ndarray, "instances draws objects"]:
        """Return the table of each draw for some instances; each draws functions of the document for itself."""
        numbers = self.functions[instances]
        tables = language.tables[numbers]
        for place in self.of_documents:
            shape = (len(instances), language.objects)
            drawn = draw_fresh(self.families[place], shape, stream.child(self.draws[place].name))
            tables[:, place] = drawn
            for earlier in range(place):  # two draws may be one function
                same = numbers[:, earlier] == numbers[:, place]
                tables[same, place] = tables[same, earlier]
        return tables

    def values(
        self,
        term: Term,
        tables: UInt16[np.ndarray, "instances draws objects"],
        variable: Int64[np.ndarray, "instances rows"],
    ) -> Int64[np.ndarray, "instances rows"]:
        """Return the objects, counted from 0, that a term stands for, given the task's variable."""
        instances, draws, objects = tables.shape
        first = np.arange(instances)[:, None] * (draws * objects)
        values = variable
        for name in term.functions:
            values = tables.take(first + self._slots[name] * objects + values)
        return values.astype(np.int64)

    def print_rows(
        self,
        form: TaskForm,
        tables: UInt16[np.ndarray, "instances draws objects"],
        variable: Int64[np.ndarray, "instances rows"],
    ) -> PrintedRows:
        """Print a row of a form for each value of the task's variable."""
        case = self._case(form, tables, variable)
        instances, rows = variable.shape
        tokens = np.zeros((instances, form.width, rows), dtype=np.uint16)
        columns: dict[Symbol, UInt16[np.ndarray, "instances rows"]] = {}
        for number, one in enumerate(form.cases):
            chosen = case == number if len(form.cases) > 1 else True
            for column, symbol in enumerate(one.symbols):
                if symbol not in columns:
                    columns[symbol] = self._tokens(symbol, tables, variable)
                np.copyto(tokens[:, column], columns[symbol], where=chosen)
        return PrintedRows(tokens, case)

    def _tokens(
        self,
        symbol: Symbol,
        tables: UInt16[np.ndarray, "instances draws objects"],
        variable: Int64[np.ndarray, "instances rows"],
    ) -> UInt16[np.ndarray, "instances rows"]:
        if isinstance(symbol, str):
            return np.full(variable.shape, self.vocabulary.terminal(symbol), dtype=np.uint16)
        return (self.values(symbol, tables, variable) + self.vocabulary.first_object).astype(np.uint16)

    def _case(
        self,
        form: TaskForm,
        tables: UInt16[np.ndarray, "instances draws objects"],
        variable: Int64[np.ndarray, "instances rows"],
    ) -> Int32[np.ndarray, "instances rows"]:
        case = np.zeros(variable.shape, dtype=np.int32)
        truths: dict[tuple[str, Term], Bool[np.ndarray, "instances rows"]] = {}
        for number, one in enumerate(form.cases):
            chosen = np.ones(variable.shape, dtype=bool)
            for answer in one.answers:
                question = (answer.predicate, answer.term)
                if question not in truths:
                    asked = Term(answer.term.variable, (*answer.term.functions, answer.predicate))
                    truths[question] = self.values(asked, tables, variable) != 0
                chosen &= truths[question] == answer.holds
            case[chosen] = number
        return case

    @cached_property
    def _slots(self) -> dict[str, int]:
        return {draw.name: place for place, draw in enumerate(self.draws)}


def ground_task(language: Language, name: str) -> Task:
    """Work out a task of the language. Raises UserError for a task that the grammar does not have."""
    syntax = language.syntax.task(name)
    if syntax is None:
        known = ", ".join(task.name for task in language.syntax.tasks) or "none"
        raise UserError(f"The grammar has no task {name!r}. Its tasks are {known}. Use one of these.")
    families = tuple(language.family(draw.family) for draw in syntax.draws)
    choices = list(itertools.product(*(language.functions(family.name) for family in families)))
    probabilities = np.ones(1)
    for family in families:
        probabilities = np.outer(probabilities, family_weights(family)).ravel()
    functions = np.array(choices, dtype=np.int64).reshape(len(choices), len(families))
    task = Task(
        name=name,
        splits=syntax.splits,
        draws=syntax.draws,
        families=families,
        forms={form.name: form for form in _forms(syntax)},
        functions=functions,
        probabilities=probabilities,
        held_out=np.zeros(len(choices), dtype=bool),
        vocabulary=language.vocabulary,
    )
    task.held_out[:] = _held_out(language, task)
    return task


def shown_in_training(language: Language, task: Task, form: TaskForm) -> Bool[np.ndarray, " instances"]:
    """Tell for which choices of functions a training document can print a form's rows in a loop.

    A choice with functions of the document counts where a loop prints its rows by functions of the document
    just so; since these are random, so are the inverses of permutations, and a loop with the inverse counts.
    """
    bodies = printable(language, "train")
    tables = stand_ins(language)
    shown = np.zeros(len(task.functions), dtype=bool)
    for inverted in _inversions(task):
        for part in _parts(len(shown), math.prod(tables.shape[1:]) * form.width):
            chosen = np.flatnonzero(_is_consistent(task, inverted)[part]) + part.start
            rows = rows_of_all_objects(task, form, _oriented(tables, task.functions[chosen], inverted))
            shown[chosen] |= [table in bodies for table in row_tables(rows)]
    return shown


def rows_of_all_objects(
    task: Task, form: TaskForm, tables: UInt16[np.ndarray, "instances draws copies objects"]
) -> UInt16[np.ndarray, "instances width copies objects"]:
    """Print the rows for every object, in every copy of the world."""
    instances, draws, copies, objects = tables.shape
    worlds = tables.swapaxes(1, 2).reshape(instances * copies, draws, objects)
    every = np.tile(np.arange(objects), (len(worlds), 1))
    tokens = task.print_rows(form, worlds, every).tokens
    return tokens.reshape(instances, copies, form.width, objects).swapaxes(1, 2)


def _inversions(task: Task) -> list[tuple[int, ...]]:
    """Return the sets of draws that may be taken for the inverses of random permutations."""
    turned = [place for place in task.of_documents if task.families[place].kind == "permutation"]
    sizes = range(len(turned) + 1)
    return [chosen for size in sizes for chosen in itertools.combinations(turned, size)]


def _is_consistent(task: Task, inverted: tuple[int, ...]) -> Bool[np.ndarray, " instances"]:
    """Tell for which choices no function is inverted in one draw and not in another."""
    others = [place for place in task.of_documents if place not in inverted]
    clashes = [
        task.functions[:, one] == task.functions[:, other]
        for one, other in itertools.product(inverted, others)
    ]
    return ~np.logical_or.reduce([np.zeros(len(task.functions), dtype=bool), *clashes])


def _oriented(
    tables: UInt16[np.ndarray, "functions copies objects"],
    functions: Int64[np.ndarray, "instances draws"],
    inverted: tuple[int, ...],
) -> UInt16[np.ndarray, "instances draws copies objects"]:
    oriented = tables[functions]
    for place in inverted:
        oriented[:, place] = np.argsort(oriented[:, place], axis=-1)
    return oriented


def _held_out(language: Language, task: Task) -> Bool[np.ndarray, " instances"]:
    """Tell for which choices the function from the argument to an answer is held out."""
    held_out = np.zeros(len(task.functions), dtype=bool)
    if not language.held_out:
        return held_out
    form = task.forms["direct"]
    for part in _parts(len(held_out), language.objects * form.width):
        tables = language.tables[task.functions[part]]
        every = np.tile(np.arange(language.objects), (len(tables), 1))
        case = task.print_rows(form, tables, every).case if task.branches else np.zeros_like(every)
        for number, one in enumerate(form.cases):
            answer = one.symbols[form.steps[number][-1]]
            if isinstance(answer, Term) and _is_of_corpus(task, answer):
                taken = (case == number).any(axis=1)
                held = [
                    table.tobytes() in language.held_out for table in _relation(task, form, answer, tables)
                ]
                held_out[part] |= taken & held
    return held_out


def _is_of_corpus(task: Task, answer: Term) -> bool:
    fresh = {task.draws[place].name for place in task.of_documents}
    return not fresh & {*answer.functions, *task.forms["direct"].argument.functions}


def _relation(
    task: Task, form: TaskForm, answer: Term, tables: UInt16[np.ndarray, "instances draws objects"]
) -> UInt16[np.ndarray, "instances objects"]:
    """Return the tables of the functions from argument to answer."""
    every = np.tile(np.arange(tables.shape[2]), (len(tables), 1))
    undone, applied = path(form.argument, answer)
    if not undone:
        return task.values(Term(answer.variable, applied), tables, every).astype(np.uint16)
    arguments = task.values(form.argument, tables, every)
    answers = task.values(answer, tables, every).astype(np.uint16)
    return np.take_along_axis(answers, np.argsort(arguments, axis=1), axis=1)


def _parts(count: int, tokens: int) -> Iterator[slice]:
    """Cut `count` choices of so many tokens each into parts that memory bears."""
    size = max(1, _TOKENS_AT_ONCE // tokens)
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def _forms(syntax: TaskSyntax) -> Iterator[TaskForm]:
    direct = cases_of(syntax.direct)
    yield _form("direct", syntax.direct, direct, [None] * len(direct))
    if syntax.steps is not None:
        steps = cases_of(syntax.steps)
        yield _form("steps", syntax.steps, steps, final_columns(direct, steps))


def _form(name: str, items: tuple[Item, ...], cases: list[Case], finals: Sequence[int | None]) -> TaskForm:
    places = places_of(cases)
    answers = answer_columns(cases, places)
    steps = [
        columns if final is None else tuple(sorted({*columns, final}))
        for columns, final in zip(answers, finals, strict=True)
    ]
    return TaskForm(name, items, tuple(cases), places, tuple(steps), row_width(items))


def _term(symbol: Symbol) -> Term:
    if isinstance(symbol, str):
        raise TypeError(f"A row begins with a term. Got {symbol!r}.")
    return symbol
