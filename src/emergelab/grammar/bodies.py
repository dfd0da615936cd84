"""Which bodies of loops a language can print, told by what their rows print for every object.

Bodies whose rows depend on more than the loop's object, through an inner `some`, `each` or repetition, are no
tasks and are left out. All functions are tables; those of the document, which differ from document to
document, are stood in for by several tables each, drawn at random. Bodies that print the same for all of
these are the same, but for one chance in 2^64 or less.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Int64, UInt16

from emergelab.errors import GrammarError
from emergelab.grammar.language import Language
from emergelab.grammar.lowering import (
    LoweredBlock,
    LoweredCall,
    LoweredIf,
    LoweredItem,
    LoweredPrint,
    LoweredTerm,
    LoweredTerminal,
    lowered_walk,
)
from emergelab.grammar.rows import row_width
from emergelab.grammar.sites import LawName, SiteProduction, Sites, explore, function_choices
from emergelab.grammar.syntax import Family
from emergelab.rng import Stream, stream

PAD = 0  # behind the end of a row; no row prints the start token
_MOST_BODIES = 500_000
_MOST_SITES = 50_000
_MOST_TOKENS = 400_000_000
_TOKENS_AT_ONCE = 8_000_000
_ENOUGH_VALUES = 512

Rows: TypeAlias = UInt16[np.ndarray, "bodies width copies objects"]
"""Column for column what bodies print for every object, in every copy of the world."""
Tables: TypeAlias = UInt16[np.ndarray, "functions copies objects"]


def stand_ins(language: Language) -> Tables:
    """Return tables for all functions, in as many copies of the world as tell functions of documents apart.

    A function of the corpus has the same table in all copies; one of the document has random ones.
    """
    families = language.syntax.world.families
    fresh = [family for family in families if family.scope == "document"]
    copies = math.ceil(_ENOUGH_VALUES / language.objects) if fresh else 1
    tables = np.repeat(language.tables[:, None], copies, axis=1)
    for family in fresh:
        root = stream(0, "functions of no document in particular", family.name)
        for place, number in enumerate(language.functions(family.name)):
            tables[number] = draw_fresh(family, (copies, language.objects), root.child(place))
    return tables


def draw_fresh(
    family: Family, shape: tuple[int, int], source: Stream
) -> UInt16[np.ndarray, "copies objects"]:
    """Draw the tables of one function of a family for several documents, as documents draw it."""
    generator = source.generator()
    copies, objects = shape
    if family.kind == "permutation":
        every = np.tile(np.arange(objects, dtype=np.uint16), (copies, 1))
        return generator.permuted(every, axis=1)
    if family.kind == "map":
        return generator.integers(0, objects, size=shape).astype(np.uint16)
    return (generator.random(shape) < (family.density or 0.5)).astype(np.uint16)


def row_tables(rows: Rows) -> list[bytes]:
    """Return the row table of each body, as a digest of its rows in an order of their own: by argument.

    Bodies that print the same rows, whichever value of the loop's variable each stands for, are one body to
    the reader of a document. Rows are padded behind their end.
    """
    return _digests(_in_order(rows))


def printable(language: Language, law: LawName) -> frozenset[bytes]:
    """Return the row tables of all loop bodies that the language prints under a law.

    They are those of `row_tables` with the functions of `stand_ins`, of bodies that begin with an object and
    are no wider than the tasks of the grammar. Raises GrammarError where there are too many to enumerate.
    """
    return _printable(_ByIdentity(language), law)


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
    return frozenset(_Bodies(explore(key.language, law)).all())


def _in_order(rows: Rows) -> Rows:
    """Sort the rows of each body and copy by their tokens, the argument first."""
    if not rows.shape[1]:
        return rows
    arguments = rows[:, 0]
    # With the variable itself as argument they are in order already.
    unordered = np.flatnonzero((arguments[..., 1:] <= arguments[..., :-1]).any(axis=(1, 2)))
    if not len(unordered):
        return rows
    ordered = rows.copy()
    some = rows[unordered]
    order = np.lexsort(np.moveaxis(some, 1, 0)[::-1], axis=-1)
    ordered[unordered] = np.take_along_axis(some, order[:, None], axis=3)
    return ordered


def _digests(rows: Rows) -> list[bytes]:
    """Return a digest of each body, the same however far its rows are padded."""
    contents = np.ascontiguousarray(rows)
    return [
        hashlib.sha256(body[:width].data).digest()
        for body, width in zip(contents, _widths(rows).tolist(), strict=True)
    ]


def _widths(rows: Rows) -> Int64[np.ndarray, " bodies"]:
    """Return the width of the longest row of each body."""
    width = rows.shape[1]
    if not width or rows[:, -1].all():  # rows are padded behind only
        return np.full(len(rows), width)
    return (rows != PAD).any(axis=(2, 3)).sum(axis=1)


@dataclass(frozen=True, slots=True)
class _LoopGoal:
    """The bodies of a loop, by its number."""

    number: int


@dataclass(frozen=True, slots=True)
class _SiteGoal:
    """What a site prints in `room` tokens at most where its attributes have these tables, as bytes."""

    site: int
    attributes: tuple[bytes, ...]
    room: int


_Goal: TypeAlias = _LoopGoal | _SiteGoal


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What a part of a row prints, for some joint draws: `rows[n]` for the draw in place `draws[n]`."""

    draws: Int64[np.ndarray, " bodies"]
    rows: Rows


@dataclass(frozen=True, slots=True, eq=False)
class _Setting:
    """A production with some of its joint draws and the tables of the variables that are known."""

    goal: _Goal
    production: SiteProduction
    joint: Int64[np.ndarray, " draws"]
    functions: Int64[np.ndarray, "draws slots"]
    variables: dict[int, UInt16[np.ndarray, "copies objects"]]
    room: int


class _Found:
    """Bodies without repetition, as arrays of one width each."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()
        self._arrays: dict[int, list[Rows]] = {}
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, rows: Rows) -> None:
        new: list[int] = []
        for number, digest in enumerate(_digests(rows)):
            if digest not in self._digests:
                self._digests.add(digest)
                new.append(number)
        if new:
            self._arrays.setdefault(rows.shape[1], []).append(rows[new])
            self.tokens += rows[new[0]].size * len(new)

    def arrays(self) -> list[Rows]:
        """Return what has been found, one array for each width."""
        self._arrays = {width: [np.concatenate(arrays)] for width, arrays in self._arrays.items()}
        return [arrays[0] for arrays in self._arrays.values()]


class _Bodies:
    """All bodies of loops up to the width of the grammar's tasks, as the least solution of their equations.

    What a site prints for given tables of its attributes is a goal, and so is each loop. A goal is worked out
    again when another that it has asked for has grown, which comes to an end under recursion, too, for there
    are finitely many bodies of a width.
    """

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._language = sites.language
        self._first_object = sites.language.vocabulary.first_object
        tables = stand_ins(sites.language)
        self._shape = tables.shape[1:]
        self._tables = tables.ravel()
        self._copy = (np.arange(self._shape[0]) * self._shape[1])[:, None]
        tasks = sites.language.syntax.tasks
        forms = [form for task in tasks for form in (task.direct, task.steps or ())]
        self._width = max(map(row_width, forms), default=0)
        self._found: dict[_Goal, _Found] = {}
        self._asking: dict[_Goal, dict[_Goal, None]] = {}
        self._waiting: dict[_Goal, None] = {}
        self._bodies: set[bytes] = set()

    def all(self) -> set[bytes]:
        """Return the row tables of the bodies of all loops."""
        loops = list(self._loops())
        self._waiting = dict.fromkeys(map(_LoopGoal, range(len(loops))))
        while self._waiting:
            goal = next(iter(self._waiting))
            del self._waiting[goal]
            if isinstance(goal, _LoopGoal):
                self._work_out_loop(goal, *loops[goal.number])
            else:
                self._work_out_site(goal)
        return self._bodies

    def _loops(self) -> Iterator[tuple[SiteProduction, LoweredBlock]]:
        for site in self._sites.sites:
            for production in site.productions:
                for item in lowered_walk(production.lowered.items):
                    if isinstance(item, LoweredBlock) and item.law is not None:
                        yield production, item

    def _work_out_loop(self, goal: _Goal, production: SiteProduction, loop: LoweredBlock) -> None:
        identity = np.broadcast_to(np.arange(self._shape[1], dtype=np.uint16), self._shape)
        for setting in self._settings(goal, production, {loop.local: identity}):
            for part in self._expand(loop.body, setting):
                if part.rows.shape[1]:
                    begins = (part.rows[:, 0] >= self._first_object).all(axis=(1, 2))
                    self._bodies.update(row_tables(part.rows[begins]))
                    self._require_few()

    def _work_out_site(self, goal: _SiteGoal) -> None:
        found = self._found[goal]
        before = len(found)
        for site in self._handed_on(goal):
            for production in self._sites.sites[site.site].productions:
                if _only_call(production) is None:
                    for setting in self._settings(goal, production, self._attributes(site)):
                        for part in self._expand(production.lowered.items, setting):
                            found.add(part.rows)
                            self._require_few()
        if len(found) > before:
            self._waiting.update(self._asking[goal])

    def _handed_on(self, goal: _SiteGoal) -> list[_SiteGoal]:
        """Return the goal and all that productions which print nothing but a call hand it on to."""
        reached = {goal: None}
        for site in (waiting := [goal]):  # grows while it is walked along
            for production in self._sites.sites[site.site].productions:
                call = _only_call(production)
                if call is not None:
                    for setting in self._settings(goal, production, self._attributes(site)):
                        new = [one for one in self._called(call, setting, goal.room) if one not in reached]
                        reached.update(dict.fromkeys(new))
                        waiting.extend(new)
            if len(reached) > _MOST_SITES:
                raise _too_many()
        return waiting

    def _attributes(self, goal: _SiteGoal) -> dict[int, UInt16[np.ndarray, "copies objects"]]:
        tables = (np.frombuffer(table, dtype=np.uint16) for table in goal.attributes)
        return {place: table.reshape(self._shape) for place, table in enumerate(tables)}

    def _settings(
        self,
        goal: _Goal,
        production: SiteProduction,
        variables: dict[int, UInt16[np.ndarray, "copies objects"]],
    ) -> Iterator[_Setting]:
        """Yield the joint draws that are allowed, so many at once as memory bears."""
        room = self._width if isinstance(goal, _LoopGoal) else goal.room
        functions = function_choices(self._language, production)
        every = np.arange(len(functions))
        allowed = every if production.allowed is None else np.flatnonzero(production.allowed)
        at_once = max(1, _TOKENS_AT_ONCE // (self._shape[0] * self._shape[1] * max(1, self._width)))
        for first in range(0, len(allowed), at_once):
            joint = allowed[first : first + at_once]
            yield _Setting(goal, production, joint, functions[joint], variables, room)

    def _require_few(self) -> None:
        bodies = len(self._bodies) + sum(map(len, self._found.values()))
        tokens = sum(found.tokens for found in self._found.values())
        if bodies > _MOST_BODIES or tokens > _MOST_TOKENS:
            raise _too_many()

    def _expand(self, items: tuple[LoweredItem, ...], setting: _Setting) -> list[_Part]:
        """Return what a sequence of items prints; nothing where that is not a function of the loop's object."""
        draws = np.arange(len(setting.joint))
        parts = [_Part(draws, np.empty((len(draws), 0, *self._shape), dtype=np.uint16))]
        for item in items:
            room = setting.room - min(map(_shortest, parts), default=0)
            more = self._item(item, setting, room)
            parts = [_narrow(_behind(first, second), setting.room) for first in parts for second in more]
            parts = [part for part in parts if len(part.draws)]
        return parts

    def _item(self, item: LoweredItem, setting: _Setting, room: int) -> list[_Part]:
        draws = np.arange(len(setting.joint))
        match item:
            case LoweredTerminal():
                token = self._language.vocabulary.terminal(item.text)
                return [_Part(draws, np.full((len(draws), 1, *self._shape), token, dtype=np.uint16))]
            case LoweredPrint() if item.term.local in setting.variables:
                values = self._values(item.term, setting) + np.uint16(self._first_object)
                return [_Part(draws, values[:, None])]
            case LoweredCall() if all(term.local in setting.variables for term in item.arguments):
                return list(self._call(item, setting, room))
            case LoweredIf() if item.term.local in setting.variables:
                return self._branches(item, setting)
            case _:
                return []

    def _values(self, term: LoweredTerm, setting: _Setting) -> UInt16[np.ndarray, "draws copies objects"]:
        shape = (len(setting.joint), *self._shape)
        values = np.broadcast_to(setting.variables[term.local], shape)
        for slot in term.slots:
            values = self._apply(setting.functions[:, slot], values)
        return values

    def _apply(
        self, functions: Int64[np.ndarray, " draws"], values: UInt16[np.ndarray, "draws copies objects"]
    ) -> UInt16[np.ndarray, "draws copies objects"]:
        first = functions * (self._shape[0] * self._shape[1])
        return self._tables.take(first[:, None, None] + self._copy + values)

    def _branches(self, item: LoweredIf, setting: _Setting) -> list[_Part]:
        holds = self._apply(setting.functions[:, item.slot], self._values(item.term, setting)) != 0
        return [
            _chosen(holds, first, second)
            for first in self._expand(item.then, setting)
            for second in self._expand(item.otherwise, setting)
        ]

    def _call(self, call: LoweredCall, setting: _Setting, room: int) -> Iterator[_Part]:
        """Yield what the rule called prints, joint draws that call it alike taken together."""
        found: dict[int, list[_Part]] = {}
        for goal, draws in self._called(call, setting, room).items():
            if goal not in self._found:
                self._found[goal], self._asking[goal], self._waiting[goal] = _Found(), {}, None
            self._asking[goal][setting.goal] = None
            for rows in self._found[goal].arrays():
                _require_room(len(draws) * rows.size)
                part = _Part(np.repeat(draws, len(rows)), np.tile(rows, (len(draws), 1, 1, 1)))
                found.setdefault(rows.shape[1], []).append(part)
        for parts in found.values():
            draws = np.concatenate([part.draws for part in parts])
            yield _Part(draws, np.concatenate([part.rows for part in parts]))

    def _called(
        self, call: LoweredCall, setting: _Setting, room: int
    ) -> dict[_SiteGoal, Int64[np.ndarray, " draws"]]:
        sites = setting.production.calls[call.number]
        joint = len(setting.joint)
        sites = np.broadcast_to(sites, joint) if len(sites) == 1 else sites[setting.joint]
        tables = [np.ascontiguousarray(self._values(term, setting)) for term in call.arguments]
        goals: dict[_SiteGoal, list[int]] = {}
        for draw in range(joint):
            attributes = tuple(table[draw].tobytes() for table in tables)
            goals.setdefault(_SiteGoal(int(sites[draw]), attributes, room), []).append(draw)
        return {goal: np.array(draws, dtype=np.int64) for goal, draws in goals.items()}


def _too_many() -> GrammarError:
    return GrammarError(
        f"The grammar has more than {_MOST_BODIES:,} different loop bodies, or fewer that print more than "
        f"{_MOST_TOKENS:,} tokens for all objects: too many to tell which tasks training shows. Use smaller "
        "families, fewer objects, or less nesting."
    )


def _require_room(tokens: int) -> None:
    if tokens > _MOST_TOKENS:
        raise _too_many()


def _only_call(production: SiteProduction) -> LoweredCall | None:
    """Return the call of a production that prints nothing else."""
    items = production.lowered.items
    return items[0] if len(items) == 1 and isinstance(items[0], LoweredCall) else None


def _shortest(part: _Part) -> int:
    """Return the length of the shortest row."""
    width = part.rows.shape[1]
    if not width or part.rows[:, -1].all():
        return width
    return int(np.count_nonzero(part.rows, axis=1).min(initial=width))


def _narrow(part: _Part, room: int) -> _Part:
    """Leave out bodies that are wider than there is room."""
    if part.rows.shape[1] <= room:
        return part
    kept = ~part.rows[:, room].any(axis=(1, 2))
    return _Part(part.draws[kept], part.rows[kept, :room])


def _behind(first: _Part, second: _Part) -> _Part:
    """Return every body of `first` with every one of `second` behind it that has the same joint draw."""
    if np.array_equal(first.draws, second.draws) and _is_ascending(first.draws):
        left = right = slice(None)
    else:
        left, right = _pairs(first.draws, second.draws)
        _require_room(len(left) * (first.rows[:1].size + second.rows[:1].size))
    rows = np.concatenate([first.rows[left], second.rows[right]], axis=1)
    width = first.rows.shape[1]
    if width and not first.rows[:, -1].all():
        rows = np.take_along_axis(rows, np.argsort(rows == PAD, axis=1, kind="stable"), axis=1)
    return _Part(first.draws[left], rows)


def _is_ascending(numbers: Int64[np.ndarray, " numbers"]) -> bool:
    return bool((numbers[1:] > numbers[:-1]).all())


def _chosen(holds: Bool[np.ndarray, "draws copies objects"], first: _Part, second: _Part) -> _Part:
    """Return every body of `first` with every one of `second`, each row from one of the two."""
    left, right = _pairs(first.draws, second.draws)
    draws = first.draws[left]
    width = max(first.rows.shape[1], second.rows.shape[1])
    _require_room(len(left) * width * holds[:1].size)
    rows = np.where(
        holds[draws][:, None], _widened(first.rows[left], width), _widened(second.rows[right], width)
    )
    return _Part(draws, rows)


def _widened(
    rows: UInt16[np.ndarray, "bodies narrow copies objects"], width: int
) -> UInt16[np.ndarray, "bodies {width} copies objects"]:
    missing = width - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, missing), (0, 0), (0, 0)), constant_values=PAD) if missing else rows


def _pairs(
    first: Int64[np.ndarray, " left"], second: Int64[np.ndarray, " right"]
) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
    """Return the places of all pairs of equal numbers."""
    order = np.argsort(second, kind="stable")
    begin = np.searchsorted(second, first, side="left", sorter=order)
    counts = np.searchsorted(second, first, side="right", sorter=order) - begin
    left = np.repeat(np.arange(len(first)), counts)
    within = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
    return left, order[np.repeat(begin, counts) + within]
