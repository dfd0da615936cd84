"""The ideal predictor where documents draw functions: against sums over all tables, closed forms, frequencies."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emergelab.corpus.documents import Corpus
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import END_TOKEN, Language
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.grammar.sites import LawName
from emergelab.grammar.syntax import Family, GrammarSyntax
from emergelab.rng import stream
from emergelab.scores.predictor import Predictor
from emergelab.theory.fresh import FreshIdeal, fresh_ideal
from emergelab.theory.refusals import ExactnessError
from slow_sampler import Misfit, enumerate_documents
from small_languages import SMALL, language_of, small_language
from strategies import valid_grammars

pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

Text = tuple[str, ...]

# A world of two or three objects and one or two functions of the document each: all tables can be summed over.
WORLDS = {
    "a permutation": """world { objects 3 family d 1 permutation per document }
        rule Document = each x ~ objects, stop 0.3 { let a ~ d { x a(x) } ";" }""",
    "two maps": """world { objects 2 family d 2 maps per document }
        rule Document = Statement* stop 0.3
        rule Statement = each x ~ objects, stop 0.4 { x Value(x) ";" }
        rule Value(x) = 0.5: let a ~ d { a(x) } | 0.5: let a ~ d, b ~ d { b(a(x)) }""",
    "silent and spoken pairs": """world { objects 2 family d 2 permutations per document }
        rule Document = Statement* stop 0.4
        rule Statement = 0.7: each x ~ objects, stop 0.3 { x Value(x) ";" } | 0.3: some x ~ objects { x Value(x) "." }
        rule Value(x) = 0.5: let a ~ d { a(x) } | 0.3: let a ~ d, b ~ d { b(a(x)) }
                      | 0.2: let a ~ d, b ~ d { a(x) b(a(x)) }""",
    "a silent pair of three objects": """world { objects 3 family d 2 permutations per document }
        rule Document = each x ~ objects distinct, stop 0.2 { let a ~ d, b ~ d { x b(a(x)) } ";" } """,
    "three applied": """world { objects 2 family d 2 maps per document family e 1 permutation per document }
        rule Document = each x ~ objects, uniform 1 4 { let a ~ d, b ~ e, c ~ d { x c(b(a(x))) } }""",
    "a power of one map": """world { objects 3 family d 1 map per document }
        rule Document = each x ~ objects, all { let a ~ d { x a(a(a(x))) } }""",
    "weighted members": """world { objects 2 family d 2 permutations per document power 1 }
        rule Document = Statement* stop 0.3
        rule Statement = each x ~ objects, power 1 { let a ~ d, b ~ d { x b(a(x)) } ";" }""",
    "a predicate": """world { objects 3 family d 1 permutation per document predicate p 1 per document density 0.3 }
        rule Document = each x ~ objects, stop 0.3 {
          let a ~ d, q ~ p { x if q(a(x)) { "+" a(x) } else { "-" } } }""",
    "predicates of unknowns": """world { objects 2 family d 1 map per document predicate p 2 per document density 0.4 }
        rule Document = each x ~ objects, stop 0.3 {
          let a ~ d, q ~ p, r ~ p { x if q(a(x)) { if r(x) { "u" } else { "v" a(x) } } else { "-" } } }""",
    "with the corpus": """world { objects 3 family f 2 permutations family d 1 permutation per document }
        rule Document = Statement* stop 0.5
        rule Statement = each x ~ objects power 1, stop 0.4 { x Value(x) ";" }
        rule Value(x) = 0.4: let a ~ f { a(x) } | 0.3: let a ~ d { a(x) }
                      | 0.3: let a ~ f, b ~ d, c ~ f { c(b(a(x))) }""",
    "a topic": """world { objects 3 family d 1 permutation per document }
        rule Document = some y ~ objects power 1 { Statement(y)* stop 0.4 }
        rule Statement(y) = 0.5: let a ~ d { a(y) } "." | 0.3: each x ~ objects, stop 0.5 { x Value(x) ";" }
                          | 0.2: y "!"
        rule Value(x) = let a ~ d, b ~ d { b(a(x)) }""",
    "argument behind": """world { objects 3 family d 1 permutation per document }
        rule Document = each x ~ objects distinct power 1, stop 0.2 { let a ~ d { a(x) x } ";" }""",
    "arguments that some rows leave out": """world { objects 3 predicate p 1 per document density 0.5 }
        rule Document = each x ~ objects distinct power 2, stop 0.2 {
          some y ~ objects { let q ~ p { if q(y) { x } else { "-" } } } }""",
    "uniform arguments that some rows leave out": """world { objects 3 predicate p 1 per document density 0.5 }
        rule Document = each x ~ objects distinct, stop 0.2 {
          some y ~ objects { let q ~ p { if q(y) { x } else { "-" } } } }""",
    "loops in loops": """world { objects 2 family d 2 permutations per document }
        rule Document = each x ~ objects, stop 0.5 {
          x ":" each y ~ objects distinct, stop 0.5 { let a ~ d { y a(y) a(x) } "," } ";" }""",
    "recursion": """world { objects 2 family d 2 permutations per document }
        rule Document = each x ~ objects, stop 0.5 { x Chain(x) ";" }
        rule Chain(x) = 0.5: x | 0.5: let a ~ d { a(x) Chain(a(x)) }""",
    "repetition in a loop": """world { objects 2 family d 2 maps per document }
        rule Document = each x ~ objects, stop 0.5 { x Value(x)* uniform 1 2 ";" }
        rule Value(x) = let a ~ d { a(x) }""",
    "a draw around statements": """world { objects 2 family d 3 permutations per document }
        rule Document = let a ~ d { Line* stop 0.4 some x ~ objects { x a(x) } }
        rule Line = 0.5: let b ~ d { some x ~ objects { x b(x) "." } } | 0.5: "-" """,
}
HELD_OUT = """
    world { objects 3 family f 3 permutations family d 1 permutation per document }
    hold out 0.5 of f * f
    rule Document = each x ~ objects, stop 0.4 { x Value(x) ";" }
    rule Value(x) = 0.5: let a ~ f, b ~ d { More(a(x)) b(a(x)) } | 0.5: let a ~ f, b ~ f, c ~ d { c(x) b(a(x)) }
    rule More(y) = 0.5: let b ~ f { b(y) } | 0.5: y
"""
LENGTHS = {
    "a permutation": 8,
    "a predicate": 5,
    "silent and spoken pairs": 4,
    "with the corpus": 4,
    "a topic": 4,
}
LONGER = {
    "a predicate": 7,
    "a power of one map": 7,
    "two maps": 7,
    "silent and spoken pairs": 7,
    "a silent pair of three objects": 8,
    "three applied": 7,
    "weighted members": 8,
    "with the corpus": 6,
    "a topic": 7,
    "loops in loops": 9,
    "recursion": 7,
}


def shipped(name: str) -> Language:
    return draw_language(load_grammar(find_grammar(name)), stream(0, "world"))


@cache
def world(name: str) -> Language:
    return language_of(WORLDS[name])


def tables(family: Family, objects: int) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yield every table of a function of a family with its probability."""
    if family.kind == "permutation":
        for table in itertools.permutations(range(objects)):
            yield 1 / math.factorial(objects), table
    elif family.kind == "map":
        for table in itertools.product(range(objects), repeat=objects):
            yield objects**-objects, table
    else:
        density = family.density or 0.0
        for table in itertools.product((0, 1), repeat=objects):
            yield math.prod(density if holds else 1 - density for holds in table), table


def summed_over_tables(language: Language, length: int) -> dict[Text, float]:
    """Return the probability of every document: over all tables that it may draw, documents of that world."""
    syntax = language.syntax
    families = syntax.world.families
    corpus = tuple(replace(family, scope="corpus") for family in families)
    places = [
        (number, family)
        for family in families
        if family.scope == "document"
        for number in language.functions(family.name)
    ]
    found: dict[Text, float] = defaultdict(float)
    for drawn in itertools.product(*(tables(family, language.objects) for _, family in places)):
        whole = language.tables.copy()
        for (number, _), (_, table) in zip(places, drawn, strict=True):
            whole[number] = table
        known = replace(syntax, world=replace(syntax.world, families=corpus))
        fixed = Language(known, whole, language.vocabulary)
        weight = math.prod(probability for probability, _ in drawn)
        for text, probability in enumerate_documents(fixed, length).items():
            found[text] += weight * probability
    return found


def prefixes(documents: dict[Text, float]) -> dict[Text, float]:
    found: dict[Text, float] = defaultdict(float)
    for text, probability in documents.items():
        for end in range(1, len(text) + 1):
            found[text[:end]] += probability
    return found


def encoded(language: Language, texts: list[Text], length: int) -> tuple[np.ndarray, np.ndarray]:
    numbers = {text: number for number, text in enumerate(language.vocabulary.texts)}
    tokens = np.full((len(texts), length), END_TOKEN, dtype=np.uint16)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = [numbers[one] for one in text]
    return tokens, np.array([len(text) for text in texts], dtype=np.int32)


def few(documents: dict[Text, float], most: int) -> list[Text]:
    """Return at most so many of the documents, unlikely ones among them."""
    return list(documents)[:: max(1, math.ceil(len(documents) / most))]


def assert_agrees(
    language: Language, documents: dict[Text, float], length: int, law: LawName = "train"
) -> None:
    """Compare nats and laws with the probabilities of all documents."""
    assert sum(documents.values()) == pytest.approx(1)
    expected = prefixes(documents)
    ideal = fresh_ideal(language, law, most_hypotheses=10**6)
    texts = few(documents, 150)
    tokens, lengths = encoded(language, texts, length)
    read = ideal.filtered(tokens, lengths)
    exact = np.zeros(tokens.shape)
    for row, text in enumerate(texts):
        for t in range(1, len(text)):
            exact[row, t] = -math.log(expected[text[: t + 1]] / expected[text[:t]])
    for nats in (read.nats, read.lo, read.hi):
        np.testing.assert_allclose(nats, exact, atol=1e-10)
    assert_laws_agree(language, expected, few(documents, 20), length, ideal)


def assert_laws_agree(
    language: Language, expected: dict[Text, float], texts: list[Text], length: int, ideal: FreshIdeal
) -> None:
    tokens, lengths = encoded(language, texts, length)
    laws = np.exp(ideal.log_probabilities(tokens).astype(np.float64))
    for row, text in enumerate(texts):
        for t in range(lengths[row] - 1):
            exact = [
                expected.get((*text[: t + 1], token), 0.0) / expected[text[: t + 1]]
                for token in language.vocabulary.texts
            ]
            np.testing.assert_allclose(laws[row, t], exact, atol=1e-6)


@pytest.mark.parametrize("name", WORLDS)
def test_sums_over_all_tables_of_the_document(name: str) -> None:
    length = LENGTHS.get(name, 5)
    assert_agrees(world(name), summed_over_tables(world(name), length), length)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONGER)
def test_sums_over_all_tables_of_longer_documents(name: str) -> None:
    assert_agrees(world(name), summed_over_tables(world(name), LONGER[name]), LONGER[name])


@pytest.mark.parametrize("law", ["full", "train"])
def test_sums_over_what_a_hold_out_leaves(law: LawName) -> None:
    language = language_of(HELD_OUT)
    assert language.held_out
    assert_agrees(language, enumerate_documents(language, 5, law), 5, law)


@pytest.mark.parametrize("name", SMALL)
def test_sums_over_all_derivations(name: str) -> None:
    """Functions of the corpus and every construct of the notation, by enumeration of the sampler's slow twin."""
    assert_agrees(small_language(name), enumerate_documents(small_language(name), 4), 4)


@settings(max_examples=12)
@given(valid_grammars(max_objects=3, with_tasks=False), st.integers(3, 5))
def test_agrees_with_enumeration_of_drawn_grammars(grammar: GrammarSyntax, length: int) -> None:
    language = draw_language(grammar, stream(0, "world"))
    try:
        documents = enumerate_documents(language, length, most=1500)
    except (TimeoutError, Misfit):  # rules within rules without end
        assume(False)  # noqa: FBT003 - Hypothesis's way to say so
    assert_agrees(language, documents, length)


# --- Closed forms -------------------------------------------------------------------------------------------

ALL_ROWS = """world {{ objects 12 family d 1 {kind} per document family e 1 {kind} per document }}
    rule Document = each x ~ objects, all {{ let a ~ d, b ~ e {{ {row} ";" }} }}"""


def row_nats(text: str, documents: int = 4, rows: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return the nats and tokens of the first rows of sampled documents, by row and column."""
    language = language_of(text)
    width = {"x b(a(x))": 3, "x a(x) b(a(x))": 4}[
        text.rsplit("{ ", maxsplit=1)[-1].split(' ";"', maxsplit=1)[0]
    ]
    corpus = Corpus(language, stream(5, "data"), context=rows * width)
    tokens, lengths = corpus.tokens(np.arange(documents))
    nats = fresh_ideal(language, "train").filtered(tokens, lengths).nats
    shape = (documents, rows, width)
    return nats[:, 1:].reshape(shape), tokens[:, 1:].reshape(shape)


@pytest.mark.parametrize("row", ["x b(a(x))", "x a(x) b(a(x))"])
def test_permutations_cost_the_objects_that_are_left(row: str) -> None:
    """A composition of two random permutations is one: the k-th answer is one of 12 - k + 1."""
    nats, _ = row_nats(ALL_ROWS.format(kind="permutation", row=row))
    left = np.log(12.0 - np.arange(12))
    expected = np.tile(left[:, None], nats.shape[2])
    expected[:, -1] = 0
    np.testing.assert_allclose(nats, np.broadcast_to(expected, nats.shape), atol=1e-12)


def test_printed_maps_cost_an_object_each_or_nothing() -> None:
    """A map is uniform at every new argument: only a step that has been seen tells the answer behind it."""
    nats, tokens = row_nats(ALL_ROWS.format(kind="map", row="x a(x) b(a(x))"))
    np.testing.assert_allclose(nats[:, :, 1], math.log(12), atol=1e-12)
    for document, costs in zip(tokens.tolist(), nats, strict=True):
        steps = [step for _, step, _, _ in document]
        known = [step in steps[:row] for row, step in enumerate(steps)]
        np.testing.assert_allclose(costs[:, 2], np.where(known, 0, math.log(12)), atol=1e-12)


def test_silent_maps_cost_by_the_chance_to_meet_again() -> None:
    """The second answer of b(a(x)) is the first one with probability 1/O + (1 - 1/O)/O, by either map."""
    nats, tokens = row_nats(ALL_ROWS.format(kind="map", row="x b(a(x))"), 40, rows=2)
    same = tokens[:, 0, 1] == tokens[:, 1, 1]
    assert same.any()
    again = 1 / 12 + 11 / 144
    expected = np.where(same, again, (1 - again) / 11)
    np.testing.assert_allclose(nats[:, 1, 1], -np.log(expected), atol=1e-12)


def test_what_a_silent_composition_has_told() -> None:
    """Behind rows of b(a(x)), a is still anything, and b is all the more known for it."""
    language = language_of("""
        world { objects 9 family d 1 permutation per document family e 1 permutation per document }
        rule Document = each x ~ objects, all { let a ~ d, b ~ e { x b(a(x)) } }
                        each x ~ objects, all { let a ~ d, b ~ e { x a(x) b(a(x)) } }""")
    tokens, lengths = Corpus(language, stream(5, "data"), context=9 * 5).tokens(np.arange(3))
    nats = fresh_ideal(language, "train").filtered(tokens, lengths).nats[:, 19:].reshape(3, 9, 3)
    left = np.log(9.0 - np.arange(9))
    np.testing.assert_allclose(
        nats, np.broadcast_to(np.stack([left, left, 0 * left], axis=1), nats.shape), atol=1e-12
    )


def test_predicates_cost_their_densities_once() -> None:
    language = language_of("""world { objects 7 predicate p 1 per document density 0.3 }
        rule Document = each x ~ objects, uniform 9 9 { let q ~ p { x if q(x) { "+" } else { "-" } } }""")
    tokens, lengths = Corpus(language, stream(5, "data"), context=18).tokens(np.arange(20))
    nats = fresh_ideal(language, "train").filtered(tokens, lengths).nats[:, 1:19].reshape(20, 9, 2)
    rows = tokens[:, 1:19].reshape(20, 9, 2)
    new = np.array([[x not in xs[:n] for n, x in enumerate(xs)] for xs in rows[:, :, 0].tolist()])
    cost = np.where(rows[:, :, 1] == language.vocabulary.terminal("+"), -math.log(0.3), -math.log(0.7))
    np.testing.assert_allclose(nats[:, :, 1], np.where(new, cost, 0), atol=1e-12)


# --- Frequencies --------------------------------------------------------------------------------------------


SAMPLED = {
    "scopes": (19, 20),
    """world { objects 3 family d 2 permutations per document predicate p 1 per document density 0.3 }
       rule Document  = Statement* stop 0.2
       rule Statement = each x ~ objects power 1, stop 0.2 { x Value(x) ";" }
       rule Value(x)  = 0.3: let a ~ d { a(x) } | 0.4: let a ~ d, b ~ d { b(a(x)) }
                      | 0.3: let a ~ d, q ~ p { if q(a(x)) { "+" } else { "-" } }""": (9, 20),
}


@cache
def calibrated(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return laws float64[tokens, vocabulary], nats and tokens of sampled documents, cut at a context."""
    context, documents = SAMPLED[name]
    language = shipped(name) if name.isalpha() else language_of(name)
    tokens, lengths = Corpus(language, stream(9, "data"), context=context).tokens(np.arange(documents))
    ideal = fresh_ideal(language, "train", most_hypotheses=40)
    laws = np.exp(ideal.log_probabilities(tokens[:, :-1]).astype(np.float64))
    nats = ideal.filtered(tokens, lengths).nats[:, 1:]
    inside = np.arange(1, tokens.shape[1]) < lengths[:, None]
    return laws[inside], nats[inside], tokens[:, 1:][inside].astype(np.int64)


@pytest.mark.parametrize("name", SAMPLED, ids=["scopes", "a small world"])
def test_sampled_documents_have_these_frequencies(name: str) -> None:
    """Tokens less their probabilities are martingale differences, of the variance that the probabilities say."""
    laws, _, tokens = calibrated(name)
    seen = np.zeros(laws.shape)
    seen[np.arange(len(tokens)), tokens] = 1
    for low, high in itertools.pairwise([0, 0.02, 0.06, 0.07, 0.09, 0.15, 0.3, 0.7, 0.95, 1.01]):
        among = (laws > low) & (laws <= high)
        excess = ((seen - laws) * among).sum(axis=1)
        mean = (laws * among).sum(axis=1)
        variance = (laws * among).sum(axis=1) - mean**2
        if variance.sum() > 5:
            assert abs(excess.sum()) / math.sqrt(variance.sum()) < 4.5, (low, high)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLED, ids=["scopes", "a small world"])
def test_costs_on_average_what_it_expects(name: str) -> None:
    laws, nats, _ = calibrated(name)
    surprise = -np.log(np.where(laws > 0, laws, 1))
    entropy = (laws * surprise).sum(axis=1)
    variance = (laws * surprise**2).sum(axis=1) - entropy**2
    assert abs((nats - entropy).sum()) / math.sqrt(variance.sum()) < 4.5


# --- Limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["silent and spoken pairs", "with the corpus", "a topic", "predicates of unknowns"]
)
@pytest.mark.parametrize("most", [1, 5, 30])
def test_intervals_hold_what_a_limit_leaves_out(name: str, most: int) -> None:
    language = world(name)
    tokens, lengths = Corpus(language, stream(3, "data"), context=11).tokens(np.arange(8))
    exact = fresh_ideal(language, "train", most_hypotheses=10**6).filtered(tokens, lengths)
    few = fresh_ideal(language, "train", most_hypotheses=most).filtered(tokens, lengths)
    np.testing.assert_array_equal(exact.lo, exact.hi)
    assert few.hypotheses.max() <= most
    assert (few.lo <= exact.nats + 1e-12).all()
    assert (few.hi >= exact.nats - 1e-12).all()
    assert (few.lo <= few.nats + 1e-12).all()
    assert (few.hi >= few.nats - 1e-12).all()
    if most < exact.hypotheses.max():
        assert (few.hi > few.lo).any()


def test_more_hypotheses_leave_less_open() -> None:
    language = shipped("fresh")
    tokens, lengths = Corpus(language, stream(3, "data"), context=9).tokens(np.arange(3))
    widths = []
    for most in (3, 20, 100):
        read = fresh_ideal(language, "train", most_hypotheses=most).filtered(tokens, lengths)
        widths.append(np.minimum(read.hi, 20).sum() - read.lo.sum())
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 2 * widths[2]


@pytest.mark.slow
def test_derivations_without_end_are_cut_and_bounded() -> None:
    language = language_of("""world { objects 2 family d 1 permutation per document }
        rule Document = each x ~ objects, stop 0.3 { x Silent(x) ";" }
        rule Silent(x) = 0.6: let a ~ d { a(x) } | 0.4: let a ~ d { Silent(a(x)) }""")
    tokens, lengths = Corpus(language, stream(3, "data"), context=2).tokens(np.arange(2))
    few, many = (
        fresh_ideal(language, "train", most_hypotheses=most).filtered(tokens, lengths) for most in (1, 10)
    )
    assert (few.hi > few.lo).any()
    assert np.nanmax(many.hi - many.lo) < np.nanmax(few.hi - few.lo)
    assert (few.lo <= many.hi + 1e-12).all()
    assert (few.hi >= many.lo - 1e-12).all()


def test_what_no_document_prints_is_told() -> None:
    language = world("a permutation")
    first = language.vocabulary.first_object
    end = language.vocabulary.terminal(";")
    tokens = np.array([[0, first, first + 1, end, first, first + 2, end, first]], dtype=np.uint16)
    ideal = fresh_ideal(language, "train")
    read = ideal.filtered(tokens, np.array([8], dtype=np.int32))
    unknown = math.log(len(language.vocabulary))
    assert read.nats[0, 5] == math.inf
    np.testing.assert_allclose(read.nats[0, 6:], unknown)
    np.testing.assert_allclose(ideal.log_probabilities(tokens)[0, 5:], -unknown, rtol=1e-6)


def test_a_document_that_has_ended_goes_on_ending() -> None:
    language = world("a permutation")
    first = language.vocabulary.first_object
    end = language.vocabulary.terminal(";")
    tokens = np.array([[0, first, first + 1, end, END_TOKEN, END_TOKEN]], dtype=np.uint16)
    ideal = fresh_ideal(language, "train")
    assert (np.exp(ideal.log_probabilities(tokens)[0, 4:, END_TOKEN]) == 1).all()
    read = ideal.filtered(tokens, np.array([5], dtype=np.int32))
    assert (read.nats[0, 5:] == 0).all()


def test_it_is_a_predictor() -> None:
    ideal = fresh_ideal(world("a permutation"), "full", name="ideal of the whole grammar")
    assert isinstance(ideal, Predictor)
    assert ideal.name == "ideal of the whole grammar"
    assert ideal.vocabulary_size == len(world("a permutation").vocabulary)


def test_no_hypothesis_is_too_few() -> None:
    with pytest.raises(ExactnessError, match="0 hypotheses are to be kept"):
        fresh_ideal(world("a permutation"), "train", most_hypotheses=0)
