"""Productions with their names resolved: variables and draws become numbers, `let` disappears.

A production draws all its functions jointly before anything else; that changes no probability, since draws
are independent of one another, and gives hold-outs one place to condition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from emergelab.grammar.syntax import (
    Call,
    Draw,
    Each,
    If,
    Item,
    Law,
    Let,
    Print,
    Repeat,
    Some,
    TaskSyntax,
    Term,
    Terminal,
)


@dataclass(frozen=True, slots=True)
class LoweredTerm:
    """Local variable number `local` with the functions of the draws `slots`, in the order of application."""

    local: int
    slots: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LoweredTerminal:
    """Prints a terminal."""

    text: str


@dataclass(frozen=True, slots=True)
class LoweredPrint:
    """Prints the value of a term."""

    term: LoweredTerm


@dataclass(frozen=True, slots=True)
class LoweredCall:
    """Continues with a rule; `number` counts the calls of the production, repetitions included."""

    rule: str
    arguments: tuple[LoweredTerm, ...]
    number: int


@dataclass(frozen=True, slots=True)
class LoweredRepeat:
    """Repeats a call."""

    call: LoweredCall
    law: Law


@dataclass(frozen=True, slots=True)
class LoweredBlock:
    """`some` (no law) or `each`: draws objects for the variable `local` and prints the body for each."""

    local: int
    body: tuple[LoweredItem, ...]
    weights: Law
    law: Law | None = None
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class LoweredIf:
    """Prints one of two bodies as the predicate of draw `slot` says."""

    slot: int
    term: LoweredTerm
    then: tuple[LoweredItem, ...]
    otherwise: tuple[LoweredItem, ...]


LoweredItem: TypeAlias = (
    "LoweredTerminal | LoweredPrint | LoweredCall | LoweredRepeat | LoweredBlock | LoweredIf"
)


@dataclass(frozen=True, slots=True)
class LoweredProduction:
    """A production's items with its draws and the number of its local variables (attributes first)."""

    items: tuple[LoweredItem, ...]
    draws: tuple[Draw, ...]
    locals: int
    calls: int


@dataclass(slots=True)
class _Scope:
    """Names in view while a production is read; blocks copy `names`, all share the counters."""

    names: dict[str, int]
    draws: list[Draw] = field(default_factory=list)
    locals: int = 0
    calls: int = 0


def lower_production(parameters: tuple[str, ...], items: tuple[Item, ...]) -> LoweredProduction:
    """Resolve the names of a checked production."""
    scope = _Scope({name: number for number, name in enumerate(parameters)}, locals=len(parameters))
    lowered = _lower(items, scope, scope.names)
    return LoweredProduction(lowered, tuple(scope.draws), scope.locals, scope.calls)


def lower_task(task: TaskSyntax, items: tuple[Item, ...]) -> LoweredProduction:
    """Resolve the names of one form of a checked task; its loop variable is local 0."""
    return lower_production((task.variable,), (Let(task.draws, items),))


def lowered_walk(items: tuple[LoweredItem, ...]) -> Iterator[LoweredItem]:
    """Yield all items, outer before inner; the call of a repetition follows the repetition."""
    for item in items:
        yield item
        match item:
            case LoweredBlock():
                yield from lowered_walk(item.body)
            case LoweredIf():
                yield from lowered_walk(item.then)
                yield from lowered_walk(item.otherwise)
            case LoweredRepeat():
                yield item.call
            case _:
                pass


def _lower(items: tuple[Item, ...], scope: _Scope, names: dict[str, int]) -> tuple[LoweredItem, ...]:
    lowered: list[LoweredItem] = []
    for item in items:
        if isinstance(item, Let):
            lowered.extend(_lower(item.body, scope, _with_draws(item, scope, names)))
        else:
            lowered.append(_lower_item(item, scope, names))
    return tuple(lowered)


def _lower_item(item: Item, scope: _Scope, names: dict[str, int]) -> LoweredItem:
    match item:
        case Terminal():
            return LoweredTerminal(item.text)
        case Print():
            return LoweredPrint(_term(item.term, names))
        case Call():
            return _call(item, scope, names)
        case Repeat():
            return LoweredRepeat(_call(item.call, scope, names), item.law)
        case Some() | Each():
            return _block(item, scope, names)
        case If():
            return LoweredIf(
                names[item.predicate],
                _term(item.term, names),
                _lower(item.then, scope, names),
                _lower(item.otherwise, scope, names),
            )
        case Let():
            raise AssertionError("`let` is lowered with the items around it")


def _block(item: Some | Each, scope: _Scope, names: dict[str, int]) -> LoweredBlock:
    local = scope.locals
    scope.locals += 1
    body = _lower(item.body, scope, names | {item.variable: local})
    if isinstance(item, Some):
        return LoweredBlock(local, body, item.weights)
    return LoweredBlock(local, body, item.weights, item.law, item.distinct)


def _with_draws(let: Let, scope: _Scope, names: dict[str, int]) -> dict[str, int]:
    bound = {draw.name: len(scope.draws) + number for number, draw in enumerate(let.draws)}
    scope.draws.extend(let.draws)
    return names | bound


def _call(item: Call, scope: _Scope, names: dict[str, int]) -> LoweredCall:
    number = scope.calls
    scope.calls += 1
    return LoweredCall(item.rule, tuple(_term(term, names) for term in item.arguments), number)


def _term(term: Term, names: dict[str, int]) -> LoweredTerm:
    return LoweredTerm(names[term.variable], tuple(names[name] for name in term.functions))
