"""Hypothesis strategies for grammars.

`written_grammars()` draws whatever the notation can say, sensible or not: for the parser and for checks that
must never break. `valid_grammars()` draws grammars that `check` accepts, small enough to sample from and to
enumerate: for whatever works on grammars. Both shrink to the smallest grammar.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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

WORDS = frozenset(
    "world objects family predicate permutation permutations map maps power density per document hold out of held "
    "rule task let some each if else stop all uniform distinct steps splits seen".split()
)

# --- Whatever the notation can say -----------------------------------------------------------------------

names = st.from_regex(r"[a-z][A-Za-z0-9_]{0,5}", fullmatch=True).filter(lambda name: name not in WORDS)
rule_names = st.from_regex(r"[A-Z][A-Za-z0-9_]{0,5}", fullmatch=True)
numbers = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)
counts = st.integers(-(2**53) + 1, 2**53 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
terms = st.builds(Term, names, st.lists(names, max_size=4).map(tuple))
draws = st.builds(Draw, names, names)
power_laws = st.builds(Law, st.just("power"), st.tuples(numbers))
loop_laws = st.one_of(
    st.builds(Law, st.just("stop"), st.tuples(numbers)),
    power_laws,
    st.just(Law("all")),
    st.builds(Law, st.just("uniform"), st.tuples(numbers, numbers)),
)
weights = st.just(UNIFORM_OBJECTS) | power_laws
calls = st.builds(Call, rule_names, st.lists(terms, max_size=3).map(tuple))
flat_items: SearchStrategy[Item] = st.one_of(
    st.builds(Terminal, texts), st.builds(Print, terms), calls, st.builds(Repeat, calls, loop_laws)
)


def _bodies(inner: SearchStrategy[Item]) -> SearchStrategy[Item]:
    body = st.lists(inner, max_size=4).map(tuple)
    some_draws = st.lists(draws, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Let, some_draws, body),
        st.builds(Some, names, body, weights),
        st.builds(Each, names, loop_laws, body, distinct=st.booleans(), weights=weights),
        st.builds(If, names, terms, body, body),
    )


items: SearchStrategy[Item] = st.recursive(flat_items, _bodies, max_leaves=8)
rows = st.lists(items, max_size=4).map(tuple)
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
worlds = st.builds(World, objects=counts, families=st.lists(families, max_size=4).map(tuple))
productions = st.builds(Production, probability=numbers, items=rows)
rules = st.builds(
    Rule,
    name=rule_names,
    parameters=st.lists(names, max_size=3).map(tuple),
    productions=st.lists(productions, min_size=1, max_size=3).map(tuple),
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
        rules=st.lists(rules, max_size=4).map(tuple),
        hold_outs=st.lists(hold_outs, max_size=2).map(tuple),
        tasks=st.lists(tasks, max_size=2).map(tuple),
    )


# --- Grammars that make sense ----------------------------------------------------------------------------

SEPARATORS = (";", ".", ",")


@dataclass(frozen=True)
class _Scope:
    """The names that a body may use, and how deep it may still nest."""

    world: World
    objects: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    predicates: tuple[str, ...] = ()
    values: int = 0  # rules Value0, Value1, ... up to here may be called
    depth: int = 2

    def fresh(self, prefix: str) -> str:
        taken = len(self.objects) + len(self.functions) + len(self.predicates)
        return f"{prefix}{taken}"


@st.composite
def valid_grammars(draw: DrawFn, *, max_objects: int = 6, with_tasks: bool = True) -> GrammarSyntax:
    """Draw a grammar that `check` accepts, of 2 to `max_objects` objects and a few rules.

    Rules call only rules before them, or themselves with a probability that keeps documents finite.
    """
    world = draw(_valid_worlds(max_objects))
    value_count = draw(st.integers(0, 2))
    values = [draw(_value_rules(world, number)) for number in range(value_count)]
    statement = Rule(name="Statement", productions=draw(_weighted(_statements(world, value_count))))
    repeat = Repeat(Call("Statement"), draw(_repeat_laws()))
    document = Rule(name="Document", productions=(Production(probability=1.0, items=(repeat,)),))
    grammar = _pruned(GrammarSyntax(name="drawn", world=world, rules=(document, statement, *values)))
    return draw(_with_tasks(grammar)) if with_tasks else grammar


@st.composite
def _valid_worlds(draw: DrawFn, max_objects: int) -> World:
    objects = draw(st.integers(2, max_objects))
    powers = st.sampled_from([0.0, 1.0, 0.5])
    functions = st.builds(
        Family,
        name=st.just(""),
        count=st.integers(2, 4),
        kind=st.sampled_from(["permutation", "map"]),
        scope=scopes,
        power=powers,
    )
    predicates = st.builds(
        Family,
        name=st.just(""),
        count=st.integers(1, 3),
        kind=st.just("predicate"),
        scope=scopes,
        power=powers,
        density=st.sampled_from([0.5, 0.25]),
    )
    drawn = [*draw(st.lists(functions, min_size=1, max_size=3)), *draw(st.lists(predicates, max_size=1))]
    named = (replace(family, name=f"family{number}") for number, family in enumerate(drawn))
    return World(objects=objects, families=tuple(named))


@st.composite
def _weighted(draw: DrawFn, bodies: SearchStrategy[tuple[Item, ...]]) -> tuple[Production, ...]:
    drawn = draw(st.lists(st.tuples(st.integers(1, 9), bodies), min_size=1, max_size=3))
    total = sum(weight for weight, _ in drawn)
    return tuple(Production(probability=weight / total, items=body) for weight, body in drawn)


def _repeat_laws() -> SearchStrategy[Law]:
    return st.sampled_from([Law("stop", (0.5,)), Law("power", (2.0,)), Law("uniform", (1.0, 3.0))])


def _valid_loop_laws() -> SearchStrategy[Law]:
    return st.sampled_from(
        [Law("stop", (0.25,)), Law("power", (1.0,)), Law("all"), Law("uniform", (1.0, 2.0))]
    )


def _valid_weights() -> SearchStrategy[Law]:
    return st.sampled_from([UNIFORM_OBJECTS, Law("power", (1.0,))])


@st.composite
def _statements(draw: DrawFn, world: World, values: int) -> tuple[Item, ...]:
    scope = _Scope(world, values=values)
    variable = "x"
    inner = replace(scope, objects=(variable,))
    body = (Print(Term(variable)), *draw(_valid_bodies(inner)), Terminal(draw(st.sampled_from(SEPARATORS))))
    if draw(st.booleans()):
        return (Some(variable, body, draw(_valid_weights())),)
    law = draw(_valid_loop_laws())
    bent = UNIFORM_OBJECTS if law.name == "all" else draw(_valid_weights())
    return (Each(variable, law, body, distinct=draw(st.booleans()), weights=bent),)


@st.composite
def _value_rules(draw: DrawFn, world: World, number: int) -> Rule:
    scope = _Scope(world, objects=("x",), values=number)
    bodies = _valid_bodies(scope).map(lambda body: (*body, Print(Term("x"))))
    productions = draw(_weighted(bodies))
    name = f"Value{number}"
    if draw(st.booleans()):
        family = draw(st.sampled_from([one for one in world.families if one.kind != "predicate"]))
        again = Call(name, (Term("x", ("again",)),))
        recursion = Production(probability=0.5, items=(Let((Draw("again", family.name),), (again,)),))
        productions = (recursion, *(replace(one, probability=one.probability / 2) for one in productions))
    return Rule(name=name, parameters=("x",), productions=productions)


@st.composite
def _valid_bodies(draw: DrawFn, scope: _Scope) -> tuple[Item, ...]:
    drawn = draw(st.lists(_valid_items(scope), min_size=1, max_size=2))
    return tuple(drawn)


def _valid_items(scope: _Scope) -> SearchStrategy[Item]:
    options: list[SearchStrategy[Item]] = [st.builds(Print, _valid_terms(scope))]
    options.append(st.builds(Terminal, st.sampled_from(["a", "b"])))
    if scope.values:
        rule = st.integers(0, scope.values - 1).map(lambda number: f"Value{number}")
        options.append(st.builds(Call, rule, st.tuples(_valid_terms(scope))))
    if scope.depth:
        options += [_valid_lets(scope), _valid_somes(scope)]
    return st.one_of(options)


def _valid_terms(scope: _Scope) -> SearchStrategy[Term]:
    variables = st.sampled_from(scope.objects)
    if not scope.functions:
        return st.builds(Term, variables)
    return st.builds(Term, variables, st.lists(st.sampled_from(scope.functions), max_size=2).map(tuple))


@st.composite
def _valid_lets(draw: DrawFn, scope: _Scope) -> Item:
    family = draw(st.sampled_from(scope.world.families))
    inner = replace(scope, depth=scope.depth - 1)
    if family.kind == "predicate":
        name = scope.fresh("p")
        inner = replace(inner, predicates=(*scope.predicates, name))
        then, otherwise = draw(_valid_bodies(inner)), draw(_valid_bodies(inner))
        return Let((Draw(name, family.name),), (If(name, draw(_valid_terms(inner)), then, otherwise),))
    name = scope.fresh("f")
    inner = replace(inner, functions=(*scope.functions, name))
    first = Print(Term(draw(st.sampled_from(scope.objects)), (name,)))
    return Let((Draw(name, family.name),), (first, *draw(_valid_bodies(inner))))


@st.composite
def _valid_somes(draw: DrawFn, scope: _Scope) -> Item:
    name = scope.fresh("y")
    inner = replace(scope, objects=(*scope.objects, name), depth=scope.depth - 1)
    body = (Print(Term(name)), *draw(_valid_bodies(inner)))
    if draw(st.booleans()):
        return Some(name, body, draw(_valid_weights()))
    return Each(name, draw(_valid_loop_laws()), body)


def _pruned(grammar: GrammarSyntax) -> GrammarSyntax:
    """Leave out the rules and families that nothing uses."""
    reached = reachable_rules(grammar)
    kept = tuple(rule for rule in grammar.rules if rule.name in reached)
    lets = [item for rule in kept for item in rule_items(rule) if isinstance(item, Let)]
    drawn = {one.family for let in lets for one in let.draws}
    used = tuple(family for family in grammar.world.families if family.name in drawn)
    return replace(grammar, world=replace(grammar.world, families=used), rules=kept)


@st.composite
def _with_tasks(draw: DrawFn, grammar: GrammarSyntax) -> GrammarSyntax:
    """Add a task of one function, one of two with steps, and a hold-out, as far as the grammar has them."""
    usable = [family for family in grammar.world.families if family.kind != "predicate"]
    if not usable:
        return grammar
    end = Terminal(draw(st.sampled_from(_separators(grammar))))
    first, second = draw(st.sampled_from(usable)), draw(st.sampled_from(usable))
    argument, step, last = Print(Term("x")), Print(Term("x", ("a",))), Print(Term("x", ("a", "b")))
    single = TaskSyntax(
        name="single", draws=(Draw("a", first.name),), variable="x", direct=(argument, step, end)
    )
    held = (first.name, second.name)
    can_hold = {first.scope, second.scope} == {"corpus"} and held in applied_pairs(grammar)
    pair = TaskSyntax(
        name="pair",
        draws=(Draw("a", first.name), Draw("b", second.name)),
        variable="x",
        direct=(argument, last, end),
        steps=(argument, step, last, end),
        splits=("seen", "held_out") if can_hold else ("seen",),
    )
    kept = (HoldOut(share=0.25, families=held),) if can_hold else ()
    return replace(grammar, tasks=(single, pair), hold_outs=kept)


def _separators(grammar: GrammarSyntax) -> list[str]:
    texts = {item.text for rule in grammar.rules for item in rule_items(rule) if isinstance(item, Terminal)}
    return sorted(texts & set(SEPARATORS))
