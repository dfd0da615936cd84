"""Corpora: documents are functions of their number, cuts are prefixes, labels fit the text."""

from __future__ import annotations

import dataclasses
import tracemalloc
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from emergelab.corpus.documents import ROLES, Corpus, Documents, skills_of
from emergelab.errors import GrammarError, StudyError
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import END_TOKEN, START_TOKEN, Language
from emergelab.grammar.syntax import GrammarSyntax
from emergelab.rng import stream
from slow_sampler import readings
from small_languages import SMALL, language_of, small_language
from strategies import valid_grammars

# beartype, which checks signatures here, looks at random items of lists.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

DATA = stream(11, "data")
MANY = np.arange(300, dtype=np.int64)
FIELDS = [field.name for field in dataclasses.fields(Documents) if field.name != "lengths"]


def corpus_of(language: Language, context: int, documents: int | None = None) -> Corpus:
    return Corpus(language, DATA, context=context, documents=documents)


@cache
def sampled(name: str, context: int) -> Documents:
    return corpus_of(small_language(name), context).sample(MANY)


@pytest.mark.parametrize("context", [1, 2, 3, 5, 9, 17])
@pytest.mark.parametrize("name", SMALL)
def test_a_cut_document_is_the_beginning_of_the_whole_one(name: str, context: int) -> None:
    short, long = sampled(name, context), sampled(name, 60)
    np.testing.assert_array_equal(short.lengths, np.minimum(long.lengths, context + 1))
    inside = np.arange(context + 1) < short.lengths[:, None]
    for field in FIELDS:
        first, second = getattr(short, field), getattr(long, field)[:, : context + 1]
        np.testing.assert_array_equal(first[inside], second[inside], err_msg=field)


@pytest.mark.parametrize("name", SMALL)
def test_a_document_begins_once_and_ends_where_it_is_not_cut(name: str) -> None:
    documents = sampled(name, 17)
    places = np.arange(18)
    assert (documents.tokens[:, 0] == START_TOKEN).all()
    assert not (documents.tokens[:, 1:] == START_TOKEN).any()
    ends = documents.tokens == END_TOKEN
    uncut = ends.any(axis=1)
    np.testing.assert_array_equal(ends[uncut], places >= documents.lengths[uncut, None] - 1)
    assert (documents.lengths[~uncut] == 18).all()
    assert uncut.any()


@pytest.mark.parametrize("name", SMALL)
def test_a_document_depends_on_its_number_alone(name: str) -> None:
    corpus = corpus_of(small_language(name), 17)
    numbers = np.array([250, 3, 3, 2**40, 17], dtype=np.int64)
    mixed, single = corpus.sample(numbers), corpus.sample(numbers[3:4])
    for field in (*FIELDS, "lengths"):
        np.testing.assert_array_equal(
            getattr(mixed, field)[[0, 1, 2, 4]], getattr(sampled(name, 17), field)[[250, 3, 3, 17]]
        )
        np.testing.assert_array_equal(getattr(mixed, field)[3:4], getattr(single, field))


@pytest.mark.parametrize("name", SMALL)
def test_labels_change_no_token(name: str) -> None:
    tokens, lengths = corpus_of(small_language(name), 17).tokens(MANY)
    np.testing.assert_array_equal(tokens, sampled(name, 17).tokens)
    np.testing.assert_array_equal(lengths, sampled(name, 17).lengths)


def test_streams_have_documents_of_their_own() -> None:
    language = small_language("stop")
    one = Corpus(language, stream(1), context=40).tokens(MANY)[0]
    assert not np.array_equal(one, Corpus(language, stream(2), context=40).tokens(MANY)[0])


# What is deep, long or large

DEEP = """world { objects 4 family f 3 permutations }
rule Document = each x ~ objects, stop 0.5 { x Chain(x) ";" }
rule Chain(x) = 0.995: let a ~ f { Chain(a(x)) } | 0.005: x"""
SPELLED = DEEP.replace("{ Chain(a(x)) }", "{ a(x) Chain(a(x)) }")
NESTED = """world { objects 3 }
rule Document = Tree
rule Tree = 0.97: some x ~ objects { x Tree } | 0.03: "." """
BRANCHED = """world { objects 3 predicate p 2 density 0.5 }
rule Document = each x ~ objects, stop 0.5 { x Item* stop 0.005 ";" }
rule Item = let q ~ p { some y ~ objects { if q(y) { "+" } else { "-" } } }"""


@pytest.mark.parametrize(
    "text", [DEEP, SPELLED, NESTED, BRANCHED], ids=["deep", "spelled", "nested", "branched"]
)
def test_deep_documents_take_the_memory_that_they_need(text: str) -> None:
    language = language_of(text)
    short, long = (corpus_of(language, context).sample(MANY) for context in (30, 90))
    inside = np.arange(31) < short.lengths[:, None]
    np.testing.assert_array_equal(short.lengths, np.minimum(long.lengths, 31))
    np.testing.assert_array_equal(short.tokens[inside], long.tokens[:, :31][inside])


def test_a_deep_chain_applies_every_function_once() -> None:
    # The answer of row x is the same composition for all rows of a loop: equal arguments, equal answers.
    language = language_of(DEEP)
    documents = corpus_of(language, 30).sample(MANY)
    for tokens, length in zip(documents.tokens, documents.lengths, strict=True):
        rows = tokens[1 : 1 + (length - 1) // 3 * 3].reshape(-1, 3)
        assert (
            len({tuple(row) for row in rows})
            == len({row[0] for row in rows})
            == len({row[1] for row in rows})
        )


def test_what_is_too_deep_is_refused_in_words() -> None:
    language = language_of(NESTED.replace("0.97", "0.9999999").replace("0.03", "0.0000001"))
    # Every level prints, so a short context is filled before memory is.
    assert (corpus_of(language, 20).tokens(MANY)[1] == 21).all()
    silent = language_of(
        """world { objects 2 family f 2 permutations }
        rule Document = some x ~ objects { Chain(x) }
        rule Chain(x) = 0.9999999: let a ~ f { Chain(a(x)) } | 0.0000001: x"""
    )
    with pytest.raises(GrammarError, match="lower"):
        corpus_of(silent, 20).tokens(MANY[:2])


def test_heavy_weights_do_not_hinder_drawing_without_replacement() -> None:
    language = language_of(
        """world { objects 12 family f 2 permutations }
        rule Document = each x ~ objects distinct power 16, uniform 12 99 { let a ~ f { x a(x) } }"""
    )
    tokens, lengths = corpus_of(language, 40).tokens(MANY)
    assert (lengths == 26).all()
    first = language.vocabulary.first_object
    np.testing.assert_array_equal(
        np.sort(tokens[:, 1:25:2], axis=1), np.tile(first + np.arange(12), (300, 1))
    )


def test_heavy_laws_fill_the_context() -> None:
    language = language_of(
        """world { objects 3 family f 2 permutations }
        rule Document = each x ~ objects, power 0.001 { let a ~ f { x a(x) } ";" }"""
    )
    _, lengths = corpus_of(language, 40).tokens(MANY)
    # P(N >= 14) = 14^-0.001 = .9974
    assert (lengths == 41).mean() > 0.98


def test_many_ways_to_draw_need_no_table() -> None:
    language = language_of(
        """world { objects 4 family f 3000 permutations }
        rule Document = some x ~ objects { let a ~ f, b ~ f, c ~ f { x c(b(a(x))) } }"""
    )
    assert (corpus_of(language, 5).tokens(MANY)[1] == 4).all()


def test_tokens_that_need_many_functions_tell_three_and_more() -> None:
    language = language_of(
        """world { objects 4 family f 6 permutations }
        rule Document = some x ~ objects {
          let a ~ f, b ~ f, c ~ f, d ~ f, e ~ f { x e(d(c(b(a(x))))) d(c(b(a(x)))) } }"""
    )
    documents = corpus_of(language, 5).sample(MANY)
    long, short = (skills_of(int(packed)) for packed in documents.skills[0, 2:4])
    assert len(long) == 4
    assert long[3] == -1
    assert len(short) == 1


def test_more_functions_than_labels_can_tell_are_refused() -> None:
    tables = np.zeros((66_000, 3), dtype=np.uint16)
    language = dataclasses.replace(small_language("stop"), tables=tables)
    with pytest.raises(GrammarError, match="66,000 functions"):
        corpus_of(language, 5).tokens(MANY)


@pytest.mark.parametrize("context", [0, -1, 40_000])
def test_a_context_that_labels_cannot_number_is_refused(context: int) -> None:
    with pytest.raises(StudyError, match=r"The context is"):
        corpus_of(small_language("stop"), context)


# Batches


def test_an_endless_corpus_goes_straight_on() -> None:
    corpus = corpus_of(small_language("stop"), 10)
    numbers = np.concatenate([corpus.numbers(step, 7) for step in range(5)])
    np.testing.assert_array_equal(numbers, np.arange(35))


def test_a_finite_corpus_reads_each_document_once_an_epoch_in_new_orders() -> None:
    corpus = corpus_of(small_language("stop"), 10, documents=30)
    numbers = np.concatenate([corpus.numbers(step, 10) for step in range(9)]).reshape(3, 30)
    np.testing.assert_array_equal(np.sort(numbers, axis=1), np.tile(np.arange(30), (3, 1)))
    assert len({tuple(epoch) for epoch in numbers}) == 3


def test_mean_targets_counts_predicted_tokens() -> None:
    corpus = corpus_of(small_language("stop"), 10, documents=300)
    assert corpus.mean_targets() == pytest.approx(sampled("stop", 10).lengths.mean() - 1)


# Any grammar


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(valid_grammars(max_objects=4, with_tasks=False), st.integers(0, 3))
def test_any_grammar_can_be_sampled_and_read_again(syntax: GrammarSyntax, key: int) -> None:
    language = draw_language(syntax, stream(key, "world"))
    documents = corpus_of(language, 7).sample(MANY[:2])
    names = language.vocabulary.texts
    for i in range(2):
        length = int(documents.lengths[i])
        text = [names[token] for token in documents.tokens[i, :length]]
        labels = [
            (
                ROLES[documents.roles[i, at]],
                documents.statements[i, at],
                documents.rows[i, at],
                skills_of(int(documents.skills[i, at])),
            )
            for at in range(length)
        ]
        try:
            found = any(
                labels == [(token.role, token.statement, token.row, token.skills) for token in reading]
                for reading in readings(language, text, 8, most=300)
            )
        except TimeoutError:
            assume(False)  # noqa: FBT003 - too many derivations to try
        else:
            assert found, (text, labels)


def test_memory_does_not_grow_with_the_length_of_the_corpus() -> None:
    def peak(documents: int, step: int) -> int:
        corpus = Corpus(language_of(FUNCTIONS), stream(0), context=24, documents=documents)
        corpus.batch(0, 64)  # compiled, and the program made
        tracemalloc.start()
        try:
            corpus.batch(step, 64)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(10**12, 10**10) < 2 * peak(10**3, 3)


FUNCTIONS = """
world { objects 6 family f 3 permutations }
rule Document = each x ~ objects, stop 0.05 { let a ~ f { x a(x) ";" } }
"""
