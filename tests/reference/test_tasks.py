"""Tasks by brute force: rows read off the syntax, and chance by weighing every world there is.

The guesser of the reference is exact: it enumerates all tables that the functions could have, keeps those
that print what stands before a token, and names the likeliest token behind it.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from emergelab.corpus.chance import Chances, ShownRows, chances_of
from emergelab.corpus.prompts import make_prompts
from emergelab.grammar.bodies import printable, row_tables, stand_ins
from emergelab.grammar.checks import check
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import Language
from emergelab.grammar.syntax import (
    Call,
    Draw,
    Each,
    Family,
    FunctionKind,
    GrammarSyntax,
    If,
    Item,
    Law,
    Let,
    Print,
    Production,
    Rule,
    Scope,
    Some,
    TaskSyntax,
    Term,
    Terminal,
    World,
    walk,
)
from emergelab.grammar.tasks import Task, ground_task
from emergelab.rng import stream
from emergelab.scores.prompts import PromptSet
from slow_sampler import readings
from small_languages import language_of
from strategies import valid_grammars

# Types are checked on a random entry of each tuple, also while a strategy builds syntax.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

Tables = dict[str, tuple[int, ...]]


def printed(items: tuple[Item, ...], x: int, tables: Tables) -> list[str]:
    """Return the tokens of a row, read off its syntax."""
    tokens: list[str] = []
    for item in items:
        match item:
            case Terminal():
                tokens.append(item.text)
            case Print():
                tokens.append(f"o{value(item.term, x, tables) + 1}")
            case If():
                holds = tables[item.predicate][value(item.term, x, tables)]
                tokens += printed(item.then if holds else item.otherwise, x, tables)
            case _:
                raise AssertionError(item)
    return tokens


def value(term: Term, x: int, tables: Tables) -> int:
    for name in term.functions:
        x = tables[name][x]
    return x


# --- Chance ----------------------------------------------------------------------------------------------

OBJECTS = 3
ROWS = 3
WORLD = """
world {{ objects 3 family f 9 permutations family m 9 maps predicate p 9 density {density} }}
rule Document = let q ~ p, a ~ f, b ~ m {{ some x ~ objects {{ a(x) b(x) if q(x) {{ "yes" "no" "none" "!" ";" }} }} }}
"""
EXACT = {
    "permutation": 'let a ~ f each x { x a(x) ";" }',
    "map": 'let a ~ m each x { x a(x) ";" }',
    "inverse": 'let a ~ f each x { a(x) x ";" }',
    "verdict": 'let q ~ p each x { x if q(x) { "yes" } else { "no" } ";" }',
    "verdict or nothing": 'let q ~ p each x { x if q(x) { "yes" } ";" }',
    "two words": 'let q ~ p each x { x if q(x) { "yes" "!" } else { "no" } ";" }',
    "verdict on a hidden object": 'let q ~ p, a ~ f each x { x if q(a(x)) { "yes" } else { "no" } ";" }',
    "classes": 'let q ~ p, r ~ p each x { x if q(x) { if r(x) { "yes" } else { "no" } } else { "none" } ";" }',
    "object or word": 'let q ~ p, a ~ f each x { x if q(x) { a(x) } else { "none" } ";" }',
    "map or word": 'let q ~ p, a ~ m each x { x if q(x) { a(x) } else { "none" } ";" }',
    "object that asks for itself": 'let q ~ p, a ~ f each x { x if q(a(x)) { a(x) } else { "none" } ";" }',
    "one of two permutations": 'let q ~ p, a ~ f, b ~ f each x { x if q(x) { a(x) } else { b(x) } ";" }',
    "permutation or map": 'let q ~ p, a ~ f, b ~ m each x { x if q(x) { a(x) } else { b(x) } ";" }',
    "told which": 'let q ~ p, a ~ f, b ~ f each x { x if q(x) { "yes" a(x) } else { "no" b(x) } ";" }',
    "composed": 'let a ~ f, b ~ f each x { x b(a(x)) ";" }',
    "steps": 'let a ~ f, b ~ f each x { x a(x) b(a(x)) ";" }',
    "steps through a map": 'let a ~ m, b ~ f each x { x a(x) b(a(x)) ";" }',
    "steps or word": 'let q ~ p, a ~ f, b ~ f each x { x if q(x) { a(x) b(a(x)) } else { "none" } ";" }',
    "verdict behind": 'let q ~ p, a ~ f each x { x a(x) if q(a(x)) { "yes" } else { "no" } ";" }',
    "verdict on a map's value": 'let q ~ p, a ~ m each x { x a(x) if q(a(x)) { "yes" } else { "no" } ";" }',
}


def all_tables(family: Family) -> Iterator[tuple[tuple[int, ...], float]]:
    """Yield every table that a function of a family can have, with its probability."""
    if family.kind == "predicate":
        density = family.density or 0.5
        for table in itertools.product((0, 1), repeat=OBJECTS):
            yield table, density ** sum(table) * (1 - density) ** (OBJECTS - sum(table))
        return
    if family.kind == "permutation":
        tables = list(itertools.permutations(range(OBJECTS)))
    else:
        tables = list(itertools.product(range(OBJECTS), repeat=OBJECTS))
    yield from ((table, 1 / len(tables)) for table in tables)


def truths(task: Task) -> tuple[list[tuple[tuple[int, ...], ...]], np.ndarray]:
    """Return the tables of all draws in every world, and the probabilities of the worlds."""
    worlds = list(itertools.product(*(all_tables(family) for family in task.families)))
    weights = np.array([np.prod([weight for _, weight in world]) for world in worlds])
    return [tuple(table for table, _ in world) for world in worlds], weights


class Exact:
    """The laws of the next token behind everything that can be read, each world's rows written out."""

    def __init__(self, items: tuple[Item, ...], task: Task) -> None:
        self.laws: dict[tuple[str, ...], dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.rows: list[list[list[str]]] = []
        self.tables, weights = truths(task)
        self.arguments = list(itertools.product(range(OBJECTS), repeat=ROWS))
        for tables, weight in zip(self.tables, weights, strict=True):
            named = dict(zip((draw.name for draw in task.draws), tables, strict=True))
            rows = [printed(items, x, named) for x in range(OBJECTS)]
            for arguments in self.arguments:
                read = [rows[x] for x in arguments]
                self.rows.append(read)
                text = tuple(token for row in read for token in row)
                for place, token in enumerate(text):
                    self.laws[text[:place]][token] += float(weight)

    @cache  # noqa: B019 - as long as the test
    def best(self, before: tuple[str, ...]) -> float:
        law = self.laws[before]
        return max(law.values()) / sum(law.values())

    @cache  # noqa: B019
    def whole(self, before: tuple[str, ...]) -> float:
        """Return the chance of guessing a row to its end, ties broken for the best."""
        if before[-1] == ";":
            return 1.0
        law, best = self.laws[before], self.best(before)
        likeliest = [token for token, weight in law.items() if weight / sum(law.values()) > best - 1e-9]
        return best * max(self.whole((*before, token)) for token in likeliest)


def chances(exact: Exact, language: Language) -> tuple[Task, Chances, np.ndarray]:
    task = ground_task(language, "asked")
    form = task.forms["direct"]
    tables = np.array(exact.tables, dtype=np.uint16).repeat(len(exact.arguments), axis=0)
    variable = np.tile(np.array(exact.arguments), (len(exact.tables), 1))
    rows = task.print_rows(form, tables, variable)
    return task, chances_of(task, form, ShownRows(rows, tables, variable)), rows.case


ASKED = [
    (name, density)
    for name in EXACT
    for density in ((0.5, 0.2, 0.9) if "q ~ p" in EXACT[name] else (0.5,))
    if density == 0.5 or "map" not in name  # whose worlds are many
]


@pytest.mark.parametrize(("name", "density"), ASKED)
def test_chance_is_that_of_a_guesser_who_weighs_all_worlds(name: str, density: float) -> None:
    language = language_of(WORLD.format(density=density) + f"task asked = {EXACT[name]}")
    syntax = language.syntax.task("asked")
    assert syntax is not None
    exact = Exact(syntax.direct, ground_task(language, "asked"))
    task, found, cases = chances(exact, language)
    steps = task.forms["direct"].steps
    expected = Chances(np.empty_like(found.whole), np.full_like(found.steps, np.nan))
    for prompt, rows in enumerate(exact.rows):
        before: tuple[str, ...] = ()
        for shot, row in enumerate(rows):
            expected.whole[prompt, shot] = exact.whole((*before, row[0]))
            best = [exact.best((*before, *row[:column])) for column in range(1, len(row))]
            columns = steps[cases[prompt, shot]]
            expected.steps[prompt, shot, : len(columns)] = [best[column - 1] for column in columns]
            others = [chance for column, chance in enumerate(best, 1) if column not in columns]
            assert min(others, default=1) > 1 - 1e-9  # all that is no step is known beforehand
            before = (*before, *row)
    np.testing.assert_allclose(found.steps, expected.steps)
    if "map" not in name:  # whether a map's value is known already differs from world to world
        np.testing.assert_allclose(found.whole, expected.whole)


# --- Random tasks ----------------------------------------------------------------------------------------


@st.composite
def asked_grammars(draw: DrawFn) -> GrammarSyntax:
    """Draw a grammar of one loop whose body is a task, with tokens, terms and `if`, nested too."""
    kinds: SearchStrategy[FunctionKind] = st.sampled_from(["permutation", "map"])
    scopes: SearchStrategy[Scope] = st.sampled_from(["corpus", "document"])
    families = (
        Family(
            name="f", count=2, kind=draw(kinds), scope=draw(scopes), power=draw(st.sampled_from([0.0, 1.0]))
        ),
        Family(name="g", count=1, kind=draw(kinds), scope=draw(scopes)),
        Family(name="p", count=2, kind="predicate", scope=draw(scopes), density=0.5),
    )
    names = (Draw("a", "f"), Draw("b", "g"), Draw("q", "p"), Draw("r", "p"))
    terms = st.builds(Term, st.just("x"), st.lists(st.sampled_from(["a", "b"]), max_size=2).map(tuple))
    flat = st.builds(Terminal, st.sampled_from(["s", "t"])) | st.builds(Print, terms)
    body = st.lists(
        st.recursive(
            flat,
            lambda inner: st.builds(
                If,
                st.sampled_from(["q", "r"]),
                terms,
                st.lists(inner, min_size=1, max_size=2).map(tuple),
                st.lists(inner, max_size=2).map(tuple),
            ),
            max_leaves=3,
        ),
        min_size=1,
        max_size=3,
    ).map(tuple)
    row = (Print(Term("x")), *draw(body), Terminal(";"))
    used = {name for item in walk(row) for name in named(item)}
    draws = tuple(one for one in names if one.name in used)
    loop = Each("x", Law("stop", (0.25,)), row)
    document = (Let(draws, (loop,)),) if draws else (loop,)
    world = World(objects=draw(st.integers(2, 3)), families=families)
    kept = tuple(one for one in world.families if one.name in {each.family for each in draws})
    return GrammarSyntax(
        name="asked",
        world=replace(world, families=kept),
        rules=(Rule(name="Document", productions=(Production(probability=1.0, items=document),)),),
        tasks=(TaskSyntax(name="asked", draws=draws, variable="x", direct=row),),
    )


def named(item: Item) -> tuple[str, ...]:
    match item:
        case Print():
            return item.term.functions
        case If():
            return (item.predicate, *item.term.functions)
        case _:
            return ()


@settings(max_examples=25)
@given(asked_grammars(), st.integers(0, 100))
def test_every_prompt_is_the_beginning_of_a_document_that_loops_its_row(
    grammar: GrammarSyntax, key: int
) -> None:
    assume(not check(grammar))
    language = draw_language(grammar, stream(key, "world"))
    (prompts,) = make_prompts(language, "asked", shots=2, prompts=2, stream=stream(key, "prompts"))
    assert prompts.split == "seen"
    texts = language.vocabulary.texts
    for prompt, tokens in enumerate(prompts.tokens):
        text = [texts[token] for token in tokens[: prompts.stop[prompt, -1]]]
        assert next(readings(language, text, len(text), "full"), None) is not None
        check_places(language, prompts, prompt)


def check_places(language: Language, prompts: PromptSet, prompt: int) -> None:
    """Rows follow one another, each from its argument to the separator, its steps in between."""
    end = language.vocabulary.terminal(";")
    begin = 1
    for argument, stop, steps, chance, step_chance in zip(
        prompts.argument[prompt],
        prompts.stop[prompt],
        prompts.steps[prompt],
        prompts.chance[prompt],
        prompts.step_chance[prompt],
        strict=True,
    ):
        assert argument == begin
        assert prompts.tokens[prompt, argument] >= language.vocabulary.first_object
        assert prompts.tokens[prompt, stop - 1] == end
        places = steps[steps >= 0].tolist()
        assert places == sorted(set(places))
        assert argument < places[0]
        assert places[-1] < stop
        assert ((steps >= 0) == ~np.isnan(step_chance)).all()
        assert 0 < chance <= 1
        assert (step_chance[: len(places)] > 0).all()
        begin = stop
    assert (prompts.tokens[prompt, begin:] == 1).all()


@settings(max_examples=25)
@given(asked_grammars(), st.integers(0, 100))
def test_rows_are_read_off_the_syntax(grammar: GrammarSyntax, key: int) -> None:
    assume(not check(grammar))
    language = draw_language(grammar, stream(key, "world"))
    task = ground_task(language, "asked")
    instances = np.arange(len(task.functions))
    tables = task.tables(language, instances, stream(key, "tables"))
    every = np.tile(np.arange(language.objects), (len(instances), 1))
    tokens = task.print_rows(task.forms["direct"], tables, every).tokens
    for instance in instances:
        named_tables = {
            draw.name: tuple(tables[instance, place].tolist()) for place, draw in enumerate(task.draws)
        }
        for x in range(language.objects):
            row = [language.vocabulary.texts[token] for token in tokens[instance, :, x] if token]
            assert row == printed(grammar.tasks[0].direct, x, named_tables)


# --- Bodies of loops --------------------------------------------------------------------------------------

Columns = tuple[tuple[int, ...], ...]  # the tokens of the row of each object


class SlowBodies:
    """What loops print, as sets of rows: written down naively and repeated until nothing is new."""

    def __init__(self, language: Language) -> None:
        self.language = language
        tables = stand_ins(language)
        self.shape = tables.shape[1:]
        shift = np.arange(self.shape[0])[:, None] * self.shape[1]
        self.tables = [(table + shift).ravel().tolist() for table in tables.astype(int)]
        self.every = tuple(range(self.shape[0] * self.shape[1]))
        tasks = language.syntax.tasks
        self.width = max((len(form) for one in tasks for form in (one.direct, one.steps or ())), default=0)
        self.known: dict[tuple[str, tuple[tuple[int, ...], ...]], set[Columns]] = {}

    def all(self) -> set[bytes]:
        before, bodies = -1, set[Columns]()
        while before < len(bodies) + sum(len(found) + 1 for found in self.known.values()):
            before = len(bodies) + sum(len(found) + 1 for found in self.known.values())
            for rule in self.language.syntax.rules:
                for production in rule.productions:
                    bodies |= self.loops(production.items, {})
            for (name, attributes), found in list(self.known.items()):
                rule = self.language.syntax.rule(name)
                assert rule is not None
                values = dict(zip(rule.parameters, attributes, strict=True))
                for production in rule.productions:
                    found.update(self.derive(production.items, values, {}))
        first = self.language.vocabulary.first_object
        return {self.digest(body) for body in bodies if all(row and row[0] >= first for row in body)}

    def digest(self, body: Columns) -> bytes:
        rows = np.zeros((len(body), self.width), dtype=np.uint16)
        for row, tokens in zip(rows, body, strict=True):
            row[: len(tokens)] = tokens
        return row_tables(rows.reshape(*self.shape, self.width).transpose(2, 0, 1)[None])[0]

    def loops(self, items: tuple[Item, ...], functions: dict[str, int]) -> set[Columns]:
        found: set[Columns] = set()
        for item in items:
            match item:
                case Let():
                    for drawn in self.draws(item):
                        found |= self.loops(item.body, functions | drawn)
                case If():
                    found |= self.loops((*item.then, *item.otherwise), functions)
                case Each():
                    found |= self.derive(item.body, {item.variable: self.every}, functions)
                    found |= self.loops(item.body, functions)
                case Some():
                    found |= self.loops(item.body, functions)
                case _:
                    pass
        return found

    def draws(self, let: Let) -> Iterator[dict[str, int]]:
        ranges = [self.language.functions(one.family) for one in let.draws]
        for chosen in itertools.product(*ranges):
            yield dict(zip((one.name for one in let.draws), chosen, strict=True))

    def derive(
        self, items: tuple[Item, ...], values: dict[str, tuple[int, ...]], functions: dict[str, int]
    ) -> set[Columns]:
        bodies: set[Columns] = {((),) * len(self.every)}
        for item in items:
            parts = self.item(item, values, functions)
            bodies = {
                joined
                for body in bodies
                for part in parts
                if max(map(len, joined := tuple(map(tuple.__add__, body, part)))) <= self.width
            }
        return bodies

    def item(self, item: Item, values: dict[str, tuple[int, ...]], functions: dict[str, int]) -> set[Columns]:
        vocabulary = self.language.vocabulary
        match item:
            case Terminal():
                return {((vocabulary.terminal(item.text),),) * len(self.every)}
            case Print() if item.term.variable in values:
                shown = self.values(item.term, values, functions)
                return {tuple((vocabulary.first_object + x % self.shape[1],) for x in shown)}
            case Let():
                found: set[Columns] = set()
                return found.union(
                    *(self.derive(item.body, values, functions | drawn) for drawn in self.draws(item))
                )
            case Call() if all(term.variable in values for term in item.arguments):
                attributes = tuple(self.values(term, values, functions) for term in item.arguments)
                return self.known.setdefault((item.rule, attributes), set())
            case If() if item.term.variable in values:
                table = self.tables[functions[item.predicate]]
                holds = [table[x] % self.shape[1] for x in self.values(item.term, values, functions)]
                return {
                    tuple(
                        one if yes else other for yes, one, other in zip(holds, then, otherwise, strict=True)
                    )
                    for then in self.derive(item.then, values, functions)
                    for otherwise in self.derive(item.otherwise, values, functions)
                }
            case _:
                return set()

    def values(
        self, term: Term, values: dict[str, tuple[int, ...]], functions: dict[str, int]
    ) -> tuple[int, ...]:
        found = values[term.variable]
        for name in term.functions:
            found = tuple(self.tables[functions[name]][x] for x in found)
        return found


CHAINS = """
world { objects 3 family f 2 permutations predicate p 2 density 0.5 }
rule Document = each x ~ objects, stop 0.2 { x Spoken(x) ";" }
rule Spoken(x) = 0.4: let a ~ f { a(x) } | 0.3: let a ~ f { a(x) Spoken(a(x)) } | 0.1: Silent(x)
               | 0.2: let q ~ p { if q(x) { "yes" } else { "no" "no" } Silent(x) }
rule Silent(x) = 0.5: let a ~ f { Silent(a(x)) } | 0.5: x
task chain = let a ~ f, b ~ f each x { x b(a(x)) ";" } steps { x a(x) b(a(x)) ";" }
"""


def test_bodies_of_rules_that_call_themselves() -> None:
    found = 0
    for key in range(4):
        language = language_of(CHAINS, key)
        expected = SlowBodies(language).all()
        assert printable(language, "full") == expected
        found += len(expected)
    assert found > 30


@settings(max_examples=30)
@given(valid_grammars(max_objects=3), st.integers(0, 100))
def test_bodies_are_what_all_derivations_print(grammar: GrammarSyntax, key: int) -> None:
    # Copies for functions of the document make the naive way too slow: here all are of the corpus.
    world = grammar.world
    families = tuple(replace(one, scope="corpus", count=min(one.count, 2)) for one in world.families)
    known = replace(grammar, world=replace(world, families=families), hold_outs=())
    known = replace(known, tasks=tuple(replace(one, splits=("seen",)) for one in known.tasks))
    language = draw_language(known, stream(key, "world"))
    assert printable(language, "full") == SlowBodies(language).all()
