"""Hypothesis strategies for grammars.

`written_grammars()` draws whatever the notation can say, sensible or not: for the parser and for checks that
must never break. `valid_grammars()` draws grammars that `check` accepts, small enough to sample from and to
enumerate: for whatever works on grammars. Both shrink to the smallest grammar.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from emergelab.grammar.checks_names import reachable_rules, rule_items
from emergelab.grammar.checks_tasks import applied_pairs
from emergelab.grammar.syntax import (
    UNIFORM_OBJECTS,
    Call,
    Draw,
    Each,
    Family,
    GrammarSyntax,
    HoldOut,
    If,
    Item,
    Law,
    Let,
    Print,
    Production,
    Repeat,
    Rule,
    Some,
    TaskSyntax,
    Term,
    Terminal,
    World,
)

T = TypeVar("T")

# --- Whatever the notation can say -----------------------------------------------------------------------

names = st.sampled_from(["x", "y", "a", "b", "stopped", "x_1", "aB"])
rule_names = st.sampled_from(["Document", "A", "B", "A_1"])
numbers = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)
counts = st.integers(-(2**53) + 1, 2**53 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
terms = st.builds(Term, names, st.lists(names, max_size=3).map(tuple))
draws = st.builds(Draw, names, names)
power_laws = st.builds(Law, st.just("power"), st.tuples(numbers))
loop_laws = st.one_of(
    st.builds(Law, st.just("stop"), st.tuples(numbers)),
    power_laws,
    st.just(Law("all")),
    st.builds(Law, st.just("uniform"), st.tuples(numbers, numbers)),
)
weights = st.just(UNIFORM_OBJECTS) | power_laws
calls = st.builds(Call, rule_names, st.lists(terms, max_size=2).map(tuple))
flat_items: SearchStrategy[Item] = st.one_of(
    st.builds(Terminal, texts), st.builds(Print, terms), calls, st.builds(Repeat, calls, loop_laws)
)


def _bodies(inner: SearchStrategy[Item]) -> SearchStrategy[Item]:
    body = st.lists(inner, max_size=2).map(tuple)
    some_draws = st.lists(draws, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Let, some_draws, body),
        st.builds(Some, names, body, weights),
        st.builds(Each, names, loop_laws, body, distinct=st.booleans(), weights=weights),
        st.builds(If, names, terms, body, body),
    )


items: SearchStrategy[Item] = st.recursive(flat_items, _bodies, max_leaves=4)
rows = st.lists(items, max_size=3).map(tuple)
scopes = st.sampled_from(["corpus", "document"])
families = st.builds(
    Family,
    name=names,
    count=counts,
    kind=st.sampled_from(["permutation", "map"]),
    scope=scopes,
    power=numbers,
) | st.builds(
    Family,
    name=names,
    count=counts,
    kind=st.just("predicate"),
    scope=scopes,
    power=numbers,
    density=st.none() | numbers,
)
worlds = st.builds(World, objects=counts, families=st.lists(families, max_size=3).map(tuple))
productions = st.builds(Production, probability=numbers, items=rows)
rules = st.builds(
    Rule,
    name=rule_names,
    parameters=st.lists(names, max_size=3).map(tuple),
    productions=st.lists(productions, min_size=1, max_size=2).map(tuple),
)
splits = st.lists(st.sampled_from(["seen", "held_out"]), min_size=1, max_size=2).map(tuple)
tasks = st.builds(
    TaskSyntax,
    name=names,
    draws=st.lists(draws, max_size=3).map(tuple),
    variable=names,
    direct=rows,
    steps=st.none() | rows,
    splits=splits,
)
hold_outs = st.builds(HoldOut, share=numbers, families=st.lists(names, min_size=1, max_size=3).map(tuple))


def written_grammars() -> SearchStrategy[GrammarSyntax]:
    """Draw any grammar that the notation can say; its names and numbers need not make sense."""
    return st.builds(
        GrammarSyntax,
        name=st.just("drawn"),
        world=worlds,
        rules=st.lists(rules, max_size=2).map(tuple),
        hold_outs=st.lists(hold_outs, max_size=2).map(tuple),
        tasks=st.lists(tasks, max_size=2).map(tuple),
    )


# --- Grammars that make sense ----------------------------------------------------------------------------

SEPARATORS = (";", ".", ",")
LOOP_LAWS = (Law("stop", (0.25,)), Law("power", (1.0,)), Law("all"), Law("uniform", (1.0, 2.0)))
REPEAT_LAWS = (Law("stop", (0.5,)), Law("power", (2.0,)), Law("uniform", (1.0, 3.0)))
WEIGHTS = (UNIFORM_OBJECTS, Law("power", (1.0,)))


@st.composite
def valid_grammars(draw: DrawFn, *, max_objects: int = 6, with_tasks: bool = True) -> GrammarSyntax:
    """Draw a grammar that `check` accepts, of 2 to `max_objects` objects and a few rules.

    Rules call only rules before them, or themselves with a probability that keeps documents finite. Families
    of either scope, predicates, weights, every law and every kind of item occur.
    """
    before = random.getstate()
    maker = _Maker(draw)
    world = maker.world(max_objects)
    values = [maker.value_rule(world, number) for number in range(maker.number(0, 2))]
    scope = _Scope(world, values=len(values))
    statement = Rule(name="Statement", productions=maker.weighted(lambda: maker.statement(scope)))
    repeat = Repeat(Call("Statement"), maker.choice(REPEAT_LAWS))
    document = Rule(name="Document", productions=(Production(probability=1.0, items=(repeat,)),))
    grammar = _pruned(GrammarSyntax(name="drawn", world=world, rules=(document, statement, *values)))
    grammar = maker.with_tasks(grammar) if with_tasks else grammar
    random.setstate(before)  # beartype has looked at random items of lists, which strategies may not
    return grammar


@dataclass(frozen=True)
class _Scope:
    """The names that a body may use, and how deep it may still nest."""

    world: World
    objects: tuple[str, ...] = ("x",)
    functions: tuple[str, ...] = ()
    predicates: tuple[str, ...] = ()
    values: int = 0  # the rules Value0, Value1, ... before this one may be called
    depth: int = 2

    def fresh(self, prefix: str) -> str:
        return f"{prefix}{len(self.objects) + len(self.functions) + len(self.predicates)}"

    def inside(self, **changes: tuple[str, ...]) -> _Scope:
        return replace(self, depth=self.depth - 1, **changes)


@functools.cache
def _integers(low: int, high: int) -> SearchStrategy[int]:
    """Strategies are slow to make: the few that are needed are made once."""
    return st.integers(low, high)


class _Maker:
    """Makes the parts of a grammar from the integers that Hypothesis draws."""

    def __init__(self, draw: DrawFn) -> None:
        self.draw = draw

    def number(self, low: int, high: int) -> int:
        return self.draw(_integers(low, high))

    def flag(self) -> bool:
        return self.number(0, 1) == 1

    def choice(self, options: Sequence[T]) -> T:
        return options[self.number(0, len(options) - 1)]

    def world(self, max_objects: int) -> World:
        objects = self.number(2, max_objects)
        functions = [self.functions(f"family{number}") for number in range(self.number(1, 3))]
        predicates = [self.predicates(f"asked{number}") for number in range(self.number(0, 1))]
        return World(objects=objects, families=(*functions, *predicates))

    def functions(self, name: str) -> Family:
        return Family(
            name=name,
            count=self.number(2, 4),
            kind=self.choice(("permutation", "map")),
            scope=self.choice(("corpus", "document")),
            power=self.choice((0.0, 1.0, 0.5)),
        )

    def predicates(self, name: str) -> Family:
        density = self.choice((0.5, 0.25))
        return replace(self.functions(name), kind="predicate", density=density)

    def weighted(self, body: Callable[[], tuple[Item, ...]]) -> tuple[Production, ...]:
        drawn = [(self.number(1, 9), body()) for _ in range(self.number(1, 3))]
        total = sum(weight for weight, _ in drawn)
        return tuple(Production(probability=weight / total, items=items) for weight, items in drawn)

    def statement(self, scope: _Scope) -> tuple[Item, ...]:
        body = (Print(Term("x")), *self.body(scope), Terminal(self.choice(SEPARATORS)))
        return (Some("x", body, self.choice(WEIGHTS)),) if self.flag() else (self.loop("x", body),)

    def loop(self, variable: str, body: tuple[Item, ...]) -> Each:
        law = self.choice(LOOP_LAWS)
        weights = UNIFORM_OBJECTS if law.name == "all" else self.choice(WEIGHTS)
        return Each(variable, law, body, distinct=self.flag(), weights=weights)

    def value_rule(self, world: World, number: int) -> Rule:
        scope = _Scope(world, values=number)
        name = f"Value{number}"
        productions = self.weighted(lambda: (*self.body(scope), Print(Term("x"))))
        if self.flag():
            family = self.choice([one for one in world.families if one.kind != "predicate"])
            again = Let((Draw("again", family.name),), (Call(name, (Term("x", ("again",)),)),))
            halved = (replace(one, probability=one.probability / 2) for one in productions)
            productions = (Production(probability=0.5, items=(again,)), *halved)
        return Rule(name=name, parameters=("x",), productions=productions)

    def body(self, scope: _Scope) -> tuple[Item, ...]:
        return tuple(self.item(scope) for _ in range(self.number(1, 2)))

    def item(self, scope: _Scope) -> Item:
        makers = [self.printed, self.terminal]
        makers += [self.call] if scope.values else []
        makers += [self.let, self.some, self.each] if scope.depth else []
        return self.choice(makers)(scope)

    def term(self, scope: _Scope) -> Term:
        most = 2 if scope.functions else 0
        functions = tuple(self.choice(scope.functions) for _ in range(self.number(0, most)))
        return Term(self.choice(scope.objects), functions)

    def printed(self, scope: _Scope) -> Item:
        return Print(self.term(scope))

    def terminal(self, _scope: _Scope) -> Item:
        return Terminal(self.choice(("a", "b")))

    def call(self, scope: _Scope) -> Item:
        return Call(f"Value{self.number(0, scope.values - 1)}", (self.term(scope),))

    def let(self, scope: _Scope) -> Item:
        family = self.choice(scope.world.families)
        if family.kind == "predicate":
            name = scope.fresh("p")
            inner = scope.inside(predicates=(*scope.predicates, name))
            branches = If(name, self.term(inner), self.body(inner), self.body(inner))
            return Let((Draw(name, family.name),), (branches,))
        name = scope.fresh("f")
        inner = scope.inside(functions=(*scope.functions, name))
        used = Print(Term(self.choice(scope.objects), (name,)))
        return Let((Draw(name, family.name),), (used, *self.body(inner)))

    def some(self, scope: _Scope) -> Item:
        name, body = self.bound(scope)
        return Some(name, body, self.choice(WEIGHTS))

    def each(self, scope: _Scope) -> Item:
        return self.loop(*self.bound(scope))

    def bound(self, scope: _Scope) -> tuple[str, tuple[Item, ...]]:
        name = scope.fresh("y")
        return name, (Print(Term(name)), *self.body(scope.inside(objects=(*scope.objects, name))))

    def with_tasks(self, grammar: GrammarSyntax) -> GrammarSyntax:
        """Add a task of one function, one of two with steps, and a hold-out, as far as there are any."""
        families = grammar.world.families
        usable = [one for one in families if one.kind != "predicate" and one.scope == "corpus"]
        if not usable:
            return grammar
        end = Terminal(self.choice(_separators(grammar)))
        first, second = self.choice(usable), self.choice(usable)
        argument, step, last = Print(Term("x")), Print(Term("x", ("a",))), Print(Term("x", ("a", "b")))
        draws = (Draw("a", first.name), Draw("b", second.name))
        composed = (first.name, second.name)
        held = composed in applied_pairs(grammar)
        tasks = (
            TaskSyntax(name="single", draws=draws[:1], variable="x", direct=(argument, step, end)),
            TaskSyntax(
                name="pair",
                draws=draws,
                variable="x",
                direct=(argument, last, end),
                steps=(argument, step, last, end),
                splits=("seen", "held_out") if held else ("seen",),
            ),
        )
        return replace(
            grammar, tasks=tasks, hold_outs=(HoldOut(share=0.25, families=composed),) if held else ()
        )


def _pruned(grammar: GrammarSyntax) -> GrammarSyntax:
    """Leave out the rules and families that nothing uses."""
    reached = reachable_rules(grammar)
    kept = tuple(rule for rule in grammar.rules if rule.name in reached)
    lets = [item for rule in kept for item in rule_items(rule) if isinstance(item, Let)]
    drawn = {one.family for let in lets for one in let.draws}
    used = tuple(family for family in grammar.world.families if family.name in drawn)
    return replace(grammar, world=replace(grammar.world, families=used), rules=kept)


def _separators(grammar: GrammarSyntax) -> list[str]:
    texts = {item.text for rule in grammar.rules for item in rule_items(rule) if isinstance(item, Terminal)}
    return sorted(texts & set(SEPARATORS))
