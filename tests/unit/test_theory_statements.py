"""Enumerated statements against slow twins: all documents, all derivations, and counts known in closed form."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from emergelab.errors import GrammarError
from emergelab.grammar.bodies import row_tables
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import Language
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.grammar.sites import LawName
from emergelab.grammar.syntax import GrammarSyntax
from emergelab.rng import stream
from emergelab.theory.refusals import DocumentFunctionsError, EnumerationError, ExactnessError
from emergelab.theory.statements import (
    ANY_OBJECT,
    Statements,
    enumerate_statements,
    needs_document_functions,
)
from slow_derivations import chains_of, derivations
from slow_documents import documents_of
from slow_sampler import Misfit, SlowSampler, Trail
from small_languages import SMALL, language_of, small_language
from strategies import valid_grammars

LENGTH = 7
REFUSED = {"nested loops", "some in loop", "fresh permutations", "fresh maps", "fresh predicates"}
ENDLESS = {"recursion"}


@cache
def shipped(name: str, **parameters: float) -> Language:
    grammar = load_grammar(find_grammar(name), parameters)
    return draw_language(grammar, stream(1, "world"))


def enumerated_documents(
    language: Language, length: int, law: str, most: int
) -> tuple[dict[tuple[str, ...], float], float] | None:
    """Return all documents with their probabilities, and that of derivations too deep to be looked at.

    None where there are more than `most` derivations.
    """
    found: dict[tuple[str, ...], float] = {}
    answers: list[int] | None = []
    missed = 0.0
    for _ in range(most):
        trail = Trail(answers)
        try:
            text = tuple(token.text for token in SlowSampler(language, trail.choose, length, law).document())
            found[text] = found.get(text, 0.0) + trail.probability
        except Misfit:
            missed += trail.probability
        answers = trail.next()
        if answers is None:
            return found, missed
    return None


def assert_same_documents(
    statements: Statements, enumerated: tuple[dict[tuple[str, ...], float], float] | None, length: int
) -> None:
    assert enumerated is not None
    expected, missed = enumerated
    found, unknown = documents_of(statements, length)
    assert missed > 0 or found.keys() <= expected.keys()
    assert sum(found.values()) + unknown == pytest.approx(1.0, abs=1e-11)
    for text in found.keys() | expected.keys():
        own, probability = found.get(text, 0.0), expected.get(text, 0.0)
        assert probability - unknown - 1e-12 <= own <= probability + missed + 1e-12


@pytest.mark.parametrize(
    ("name", "law"), [*((name, "train") for name in SMALL if name not in REFUSED), ("held out", "full")]
)
def test_documents_have_the_probabilities_that_the_sampler_gives_them(name: str, law: LawName) -> None:
    language = small_language(name)
    statements = enumerate_statements(language, law, most_bodies=200)
    assert_same_documents(statements, enumerated_documents(language, LENGTH, law, 100_000), LENGTH)
    total = np.zeros(len(statements.initial))
    for remainder in statements.remainders:
        total[remainder.state] += remainder.probability
    for state in range(len(total)):
        part = slice(statements.start_first[state], statements.start_first[state + 1])
        total[state] += math.fsum(statements.start_probability[part])
    assert total == pytest.approx(1.0, abs=1e-12)
    assert statements.transition.sum(axis=1) == pytest.approx(1.0, abs=1e-12)
    assert bool(statements.remainders) == (name in ENDLESS | {"repeat power"})


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("scope", 1),
        ("scope", 3),
        ("two repeats", 1),
        ("scopes in turn", 1),
        ("nested ifs", 3),
        ("recursion", 1),
        ("recursion", 3),
        ("repeat in loop", 3),
    ],
)
def test_what_is_cut_off_is_bounded_in_every_document(name: str, most: int) -> None:
    language = small_language(name)
    statements = enumerate_statements(language, "train", most_bodies=most)
    assert statements.remainders
    assert_same_documents(statements, enumerated_documents(language, 5, "train", 100_000), 5)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(grammar=valid_grammars(max_objects=3, with_tasks=False))
def test_documents_of_random_grammars_have_the_probabilities_that_the_sampler_gives_them(
    grammar: GrammarSyntax,
) -> None:
    families = tuple(replace(family, scope="corpus") for family in grammar.world.families)
    grammar = replace(grammar, world=replace(grammar.world, families=families))
    try:
        language = draw_language(grammar, stream(3, "world"))
        statements = enumerate_statements(language, "train", most_bodies=200)
    except GrammarError:  # a hold-out that leaves nothing, or out of reach
        assume(condition=False)
        return
    expected = enumerated_documents(language, 4, "train", 500)
    assume(expected is not None)
    assert_same_documents(statements, expected, 4)


# What is a chain of segments is told by the twin; scopes apart it has one state for each repeated rule.
STATEMENTS = """
    rule Statement = 0.3: each x ~ objects, stop 0.1 { x Value(x) ";" }
                   | 0.2: some x ~ objects power 1 { x Value(x) "." }
                   | 0.1: "all" each x ~ objects, all { Value(x) } "done"
                   | 0.1: let a ~ f { each x ~ objects, stop 0.1 { x a(x) } "/" each y ~ objects, stop 0.5 { a(y) y } }
                   | 0.1: some z ~ objects { z Value(z) each x ~ objects power 2, uniform 1 3 { z x Value(x) } }
                   | 0.2: let t ~ p { some z ~ objects {
                            if t(z) { "yes" each x ~ objects distinct, stop 0.5 { x z } } else { "no" Value(z) } } }
    rule Value(x) = 0.5: let a ~ f { a(x) }
                  | 0.3: let a ~ f, b ~ f { b(a(x)) }
                  | 0.2: let t ~ p, b ~ f { if t(x) { Value(b(x)) } else { "no" if t(b(x)) { b(x) } } }
"""
RECURSIVE = f"""world {{ objects 3 family f 2 permutations power 1 predicate p 2 density 0.5 }}
    rule Document = Statement* stop 0.25
    {STATEMENTS}"""
HELD_OUT = f"""world {{ objects 4 family f 3 permutations power 1 predicate p 1 density 0.5 }}
    hold out 0.3 of f * f
    rule Document = Statement* stop 0.25
    {STATEMENTS.replace("Value(b(x))", "b(x)")}"""


@pytest.mark.parametrize("law", ["full", "train"])
def test_statements_are_those_of_all_derivations(law: LawName) -> None:
    language = language_of(HELD_OUT)
    statements = enumerate_statements(language, law)
    assert len(statements.initial) == 1
    expected, missed = derivations(language, "Statement", law)
    assert missed == 0
    found = chains_of(statements, 0)
    assert found.keys() == expected.keys()
    for chain, probability in expected.items():
        assert found[chain] == pytest.approx(probability, abs=1e-12)


def test_recursive_statements_are_those_of_all_derivations() -> None:
    language = language_of(RECURSIVE)
    found = chains_of(enumerate_statements(language, "full"), 0)
    expected, missed = derivations(language, "Statement", "full", least=2e-5)
    assert 0 < missed < 0.05
    for chain, probability in expected.items():
        assert probability - 1e-12 <= found[chain] <= probability + missed
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)
    assert sum(expected.values()) == pytest.approx(1 - missed, abs=1e-12)


def test_statements_share_the_object_of_their_document() -> None:
    language = shipped("topic")
    statements = enumerate_statements(language, "full")
    assert len(statements.initial) == language.objects
    assert statements.initial == pytest.approx(1 / language.objects, abs=1e-15)
    assert statements.transition[:, :-1] == pytest.approx(0.9 * np.eye(language.objects), abs=1e-15)
    for state in range(language.objects):
        loops = {chain: p for chain, p in chains_of(statements, state).items() if chain[0][0] is not None}
        assert sum(loops.values()) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("law", ["full", "train"])
def test_bodies_of_functions_are_its_row_tables(law: LawName) -> None:
    language = shipped("functions")
    statements = enumerate_statements(language, law)
    tables = [tuple(row.tolist()) for row in language.tables]
    every = range(language.objects)
    composed = {
        (first, second): tuple(tables[second][tables[first][x]] for x in every)
        for first, second in itertools.product(range(12), repeat=2)
    }
    kept = {
        pair: table
        for pair, table in composed.items()
        if law == "full" or np.array(table, dtype=np.uint16).tobytes() not in language.held_out
    }
    expected: Counter[tuple[object, ...]] = Counter()
    for table in tables:
        expected[tuple((x, table[x]) for x in every)] += 0.5 / 12
    for (first, _), table in kept.items():
        expected[tuple((x, table[x]) for x in every)] += 0.3 / len(kept)
        expected[tuple((x, tables[first][x], table[x]) for x in every)] += 0.2 / len(kept)
    assert len(statements.body_loop) == 2 * len(expected)
    first_object = language.vocabulary.first_object
    shares = {0.9: ";", 0.1: "."}
    found = {
        (statements.loops[statements.body_loop[body]].law is None, rows(statements, int(body))): probability
        for body, probability in zip(statements.start_body, statements.start_probability, strict=True)
    }
    for (share, end), (content, probability) in itertools.product(shares.items(), expected.items()):
        token = language.vocabulary.terminal(end)
        printed = frozenset((*(x + first_object for x in row), token) for row in content)
        assert found[end == ".", printed] == pytest.approx(share * probability, abs=1e-14)


def rows(statements: Statements, body: int) -> frozenset[tuple[int, ...]]:
    part = range(statements.body_first[body], statements.body_first[body + 1])
    bounds = (slice(statements.row_first[row], statements.row_first[row + 1]) for row in part)
    return frozenset(tuple(statements.tokens[bound].tolist()) for bound in bounds)


def test_description_length_of_a_single_function() -> None:
    language = shipped("functions")
    statements = enumerate_statements(language, "full")
    first = language.vocabulary.first_object
    every = np.arange(language.objects)
    row = np.stack([
        every + first,
        language.tables[3] + first,
        np.full(language.objects, language.vocabulary.terminal(";")),
    ]).astype(np.uint16)  # fmt: skip
    (table,) = row_tables(row[None, :, None])
    bodies = [body for body, own in enumerate(statements.body_table) if own == table]
    probability = sum(
        float(statements.start_probability[statements.start_body == body][0]) for body in bodies
    )
    assert -math.log(probability) == pytest.approx(-math.log(0.9 * 0.5 / 12), abs=1e-12)


def test_silent_recursion_is_enumerated_to_the_end() -> None:
    language = shipped("recursion")
    statements = enumerate_statements(language, "full", most_bodies=500)
    tables = [tuple(row.tolist()) for row in language.tables]
    every = range(language.objects)
    law: Counter[tuple[int, ...]] = Counter({tuple(every): 1.0})
    silent: Counter[tuple[int, ...]] = Counter()
    for _ in range(120):
        following: Counter[tuple[int, ...]] = Counter()
        for table, probability in law.items():
            for function in tables:
                following[tuple(function[table[x]] for x in every)] += probability / 4
        for table, probability in following.items():
            silent[table] += probability / 2
        law = Counter({table: probability / 2 for table, probability in following.items()})
    first, end = language.vocabulary.first_object, language.vocabulary.terminal(";")
    found = {rows(statements, body): p for body, p in enumerate_starts(statements)}
    for table, probability in silent.items():
        spoken = tables.count(table) / 4 / 2
        content = frozenset((x + first, table[x] + first, end) for x in every)
        assert found[content] == pytest.approx(0.5 * probability + 0.5 * spoken, abs=1e-14)
    # What is left speaks: none of it could be taken for a silent row.
    assert statements.remainders
    assert all(one.pattern[:4] == (ANY_OBJECT,) * 4 for one in statements.remainders)


def enumerate_starts(statements: Statements) -> list[tuple[int, float]]:
    return list(zip(statements.start_body.tolist(), statements.start_probability.tolist(), strict=True))


@pytest.mark.parametrize("most", [1, 20, 150])
def test_remainders_hold_all_that_was_not_enumerated(most: int) -> None:
    language = shipped("recursion")
    few = enumerate_statements(language, "full", most_bodies=most)
    many = enumerate_statements(language, "full", most_bodies=600)
    assert len(few.start_body) == most
    kept = {rows(few, body): probability for body, probability in enumerate_starts(few)}
    left: Counter[tuple[int, ...]] = Counter()
    patterns = {remainder.pattern: remainder.probability for remainder in few.remainders}
    first = language.vocabulary.first_object
    for body, probability in enumerate_starts(many):
        content = rows(many, body)
        if content in kept:
            assert kept[content] <= probability + 1e-14
            continue
        fitting = [
            pattern
            for pattern in patterns
            if all(len(row) >= len(pattern) and fits(row, pattern, first) for row in content)
        ]
        assert fitting
        left[max(fitting, key=len)] += probability
    assert sum(patterns.values()) + sum(kept.values()) == pytest.approx(1.0, abs=1e-13)
    assert sum(left.values()) <= sum(patterns.values())


def fits(row: tuple[int, ...], pattern: tuple[int, ...], first_object: int) -> bool:
    pairs = zip(row, pattern, strict=False)
    return all(token >= first_object if wanted == ANY_OBJECT else token == wanted for token, wanted in pairs)


def test_refusals_say_why() -> None:
    for name in ("nested loops", "some in loop"):
        with pytest.raises(ExactnessError, match="stands in the body of a loop"):
            enumerate_statements(small_language(name), "full")
    for name in ("fresh permutations", "fresh maps", "fresh predicates"):
        assert needs_document_functions(small_language(name))
        with pytest.raises(DocumentFunctionsError, match=r"draws functions of [fp] anew"):
            enumerate_statements(small_language(name), "full")
    hidden = language_of(
        """world { objects 4 family f 2 maps }
        rule Document = each x ~ objects distinct power 1, stop 0.5 { let a ~ f { a(x) ";" } }""",
        key=3,
    )
    assert any(len(set(table.tolist())) < 4 for table in hidden.tables)
    with pytest.raises(ExactnessError, match="Several objects print the same row"):
        enumerate_statements(hidden, "full")


def test_functions_of_documents_matter_only_where_they_are_drawn() -> None:
    assert needs_document_functions(shipped("scopes"))
    unused = shipped("scopes", **{"fresh.share": 0.0})
    assert not needs_document_functions(unused)
    assert len(enumerate_statements(unused, "full").body_loop) == 1


WIDE = """world { objects 6 family f 40 maps power 1 family g 30 maps }
    rule Document = Line* stop 0.1
    rule Line = 0.4: each x ~ objects, stop 0.1 { x ";" }
              | 0.6: each x ~ objects, stop 0.1 { x let a ~ f, b ~ f, c ~ g { c(b(a(x))) } "." }"""


def test_what_does_not_fit_is_refused_with_the_mass_that_would() -> None:
    language = language_of(WIDE)
    most = 6 * 40_000
    with pytest.raises(EnumerationError, match=r"Line alone prints in 48,001 ways") as refusal:
        enumerate_statements(language, "full", most_tokens=most)
    weights = 1 / np.arange(1, 41)
    weights /= weights.sum()
    joint = 0.6 * np.multiply.outer(np.multiply.outer(weights, weights), np.full(30, 1 / 30)).ravel()
    room = most // (6 * 6)  # rows of four tokens at least, and two columns of the call
    expected = np.sort(np.append(joint, 0.4))[-room:].sum()
    assert refusal.value.mass == pytest.approx(expected, abs=0.05)
    assert 0.4 < refusal.value.mass < 1


def test_enumerations_that_no_memory_holds_are_refused_at_once() -> None:
    language = language_of("""world { objects 2 family f 500 maps }
        rule Document = each x ~ objects, stop 0.1 { x let a ~ f, b ~ f, c ~ f, d ~ f { d(c(b(a(x)))) } }""")
    with pytest.raises(EnumerationError, match="62,500,000,000 ways") as refusal:
        enumerate_statements(language, "full", most_tokens=400_000)
    assert 0 < refusal.value.mass < 1e-5


def test_documents_of_too_many_states_are_refused() -> None:
    language = language_of("""world { objects 3 }
        rule Document = Line* uniform 1 5000
        rule Line = 0.5: "+" | 0.5: "-" """)
    with pytest.raises(EnumerationError, match="more than 2,000 states"):
        enumerate_statements(language, "full")
