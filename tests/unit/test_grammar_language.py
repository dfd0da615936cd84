"""Worlds, vocabularies and productions with their names resolved."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emergelab.errors import GrammarError
from emergelab.grammar.language import draw_tables, family_weights, vocabulary_of
from emergelab.grammar.lowering import LoweredBlock, LoweredCall, lower_production, lowered_walk
from emergelab.grammar.syntax import Family, GrammarSyntax, Let, Terminal, World, walk
from emergelab.rng import stream
from small_languages import SMALL, language_of, small_language
from strategies import valid_grammars

# Types are checked on a random entry of each tuple, also while a strategy builds syntax.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")


def world(*families: Family, objects: int = 5) -> GrammarSyntax:
    return GrammarSyntax(name="world", world=World(objects=objects, families=families), rules=())


def family(name: str, count: int, kind: str, **more: object) -> Family:
    return Family(name=name, count=count, kind=kind, **more)  # type: ignore[arg-type]


def test_tables_are_of_their_kind() -> None:
    families = (
        family("f", 9, "permutation"),
        family("g", 9, "map"),
        family("p", 9, "predicate", density=0.5),
    )
    tables = draw_tables(world(*families), stream(0))
    assert tables.shape == (27, 5)
    assert (np.sort(tables[:9], axis=1) == np.arange(5)).all()
    assert tables[9:18].max() < 5
    assert any(len(set(table)) < 5 for table in tables[9:18].tolist())
    assert set(tables[18:].ravel().tolist()) == {0, 1}


def test_tables_are_uniform_and_predicates_have_their_density() -> None:
    families = (
        family("f", 6000, "permutation"),
        family("g", 6000, "map"),
        family("p", 6000, "predicate", density=0.2),
    )
    tables = draw_tables(world(*families, objects=3), stream(1))
    orders = [tuple(table) for table in tables[:6000].tolist()]
    counts = [orders.count(order) for order in itertools.permutations(range(3))]
    assert stats.chisquare(counts).pvalue > 1e-4
    maps = tables[6000:12000].astype(int) @ np.array([9, 3, 1])
    assert stats.chisquare(np.bincount(maps, minlength=27)).pvalue > 1e-4
    assert stats.binomtest(int(tables[12000:].sum()), 18000, 0.2).pvalue > 1e-4


def test_a_family_that_grows_keeps_its_functions_and_those_of_others() -> None:
    small = draw_tables(world(family("f", 3, "map"), family("g", 2, "map")), stream(0))
    large = draw_tables(world(family("g", 2, "map"), family("f", 7, "map")), stream(0))
    np.testing.assert_array_equal(small[:3], large[2:5])
    np.testing.assert_array_equal(small[3:], large[:2])


def test_functions_of_a_document_are_no_part_of_the_world() -> None:
    tables = draw_tables(world(family("f", 2, "permutation", scope="document")), stream(0))
    assert not tables.any()


def test_worlds_differ_by_key() -> None:
    syntax = world(family("f", 2, "permutation"), objects=12)
    assert not np.array_equal(draw_tables(syntax, stream(0)), draw_tables(syntax, stream(1)))


@given(st.integers(1, 50), st.floats(0, 16))
def test_weights_fall_with_the_power_of_the_number(count: int, power: float) -> None:
    weights = family_weights(family("f", count, "map", power=power))
    assert weights.sum() == pytest.approx(1.0)
    for j in range(count):
        assert weights[j] / weights[0] == pytest.approx((j + 1) ** -power)


def test_the_vocabulary_numbers_terminals_in_the_order_of_the_text() -> None:
    vocabulary = language_of(
        """world { objects 2 }
        rule Document = "b" Line "a"
        rule Line = 0.5: some x ~ objects { x "c" } | 0.5: "b" """
    ).vocabulary
    assert vocabulary.texts == ("<start>", "<end>", "b", "a", "c", "o1", "o2")
    assert len(vocabulary) == 7
    assert vocabulary.first_object == vocabulary.texts.index("o1")
    assert [vocabulary.terminal(text) for text in "bac"] == [2, 3, 4]
    with pytest.raises(ValueError, match="x not in tuple"):
        vocabulary.terminal("x")


def test_more_tokens_than_can_be_numbered_are_refused() -> None:
    with pytest.raises(GrammarError, match="Use fewer objects"):
        vocabulary_of(world(objects=65_534))
    assert len(vocabulary_of(world(objects=65_533))) == 65_535


def test_functions_are_numbered_family_after_family() -> None:
    language = small_language("weighted families")
    assert list(language.functions("f")) == [0, 1, 2]
    assert list(language.functions("g")) == [3, 4]
    assert language.function_names() == ["f1", "f2", "f3", "g1", "g2"]
    for unknown in (language.functions, language.family):
        with pytest.raises(KeyError):
            unknown("h")


@given(valid_grammars(with_tasks=False))
def test_a_lowered_production_keeps_all_but_the_lets(syntax: GrammarSyntax) -> None:
    for rule in syntax.rules:
        for production in rule.productions:
            lowered = lower_production(rule.parameters, production.items)
            written = list(walk(production.items))
            kept = list(lowered_walk(lowered.items))
            lets = [item for item in written if isinstance(item, Let)]
            assert lowered.draws == tuple(draw for let in lets for draw in let.draws)
            # A repetition is followed by its call, which the syntax holds inside.
            calls = [item.number for item in kept if isinstance(item, LoweredCall)]
            assert calls == list(range(lowered.calls))
            blocks = [item.local for item in kept if isinstance(item, LoweredBlock)]
            assert sorted(blocks) == list(range(len(rule.parameters), lowered.locals))
            texts = [item.text for item in written if isinstance(item, Terminal)]
            assert [item.text for item in kept if hasattr(item, "text")] == texts


def test_sibling_lets_may_use_one_name_for_two_functions() -> None:
    language = language_of(
        """world { objects 4 family f 2 permutations family g 2 maps }
        rule Document = some x ~ objects { let a ~ f { a(x) } let a ~ g { a(x) } }"""
    )
    (production,) = language.syntax.rules[0].productions
    lowered = lower_production((), production.items)
    slots = [item.term.slots for item in lowered_walk(lowered.items) if hasattr(item, "term")]
    assert [draw.family for draw in lowered.draws] == ["f", "g"]
    assert slots == [(0,), (1,)]


def test_languages_with_one_key_are_equal() -> None:
    for name in ("stop", "held out"):
        one, two = small_language(name), language_of(SMALL[name])
        np.testing.assert_array_equal(one.tables, two.tables)
        assert replace(one, tables=two.tables).held_out == two.held_out
