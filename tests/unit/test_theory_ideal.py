"""The forward filter against sums over all documents, against a slow reader, and against sampled frequencies."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from scipy import stats

from emergelab.corpus.documents import Corpus
from emergelab.errors import GrammarError
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import END_TOKEN, START_TOKEN, Language
from emergelab.grammar.sites import LawName
from emergelab.grammar.syntax import GrammarSyntax
from emergelab.rng import stream
from emergelab.theory.ideal import Ideal
from emergelab.theory.refusals import ExactnessError
from emergelab.theory.statements import enumerate_statements
from slow_documents import documents_of
from slow_reader import law_of, next_token_law
from small_languages import SMALL, language_of, small_language
from strategies import valid_grammars

_LENGTH = 7


def ideal_of(language: Language, law: LawName = "full") -> Ideal:
    try:
        return Ideal(enumerate_statements(language, law))
    except ExactnessError:
        pytest.skip("its rows are no function of their object")


def sampled(language: Language, law: LawName, documents: int, context: int):
    corpus = Corpus(language, stream(1, "ideal"), context=context, law=law)
    return corpus.tokens(np.arange(documents, dtype=np.int64))


def all_prefixes(ideal: Ideal) -> tuple[dict[tuple[int, ...], float], float]:
    """Return the probability of every beginning of a document, by listing documents, and that of all not listed."""
    texts = {text: token for token, text in enumerate(ideal.statements.language.vocabulary.texts)}
    documents, unknown = documents_of(ideal.statements, _LENGTH)
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for words, probability in documents.items():
        tokens = tuple(texts[word] for word in words)
        for length in range(1, len(tokens) + 1):
            found[tokens[:length]] += probability
    return found, unknown


def assert_sums_of_documents(ideal: Ideal, most: int = 400) -> None:
    prefixes, unknown = all_prefixes(ideal)
    longest = sorted(prefix for prefix in prefixes if len(prefix) < _LENGTH and prefix[-1] != END_TOKEN)
    if len(longest) > most:
        chosen = stream(2, "prefixes").generator().choice(len(longest), most, replace=False)
        longest = [longest[number] for number in chosen]
    exact = not ideal.statements.remainders
    for prefix in longest:
        document = np.array([prefix], dtype=np.uint16)
        law = np.exp(ideal.log_probabilities(document)[0, -1].astype(np.float64))
        assert law.sum() == pytest.approx(1.0, abs=1e-6)
        whole = ideal.filtered(document, np.array([len(prefix)], dtype=np.int32))
        joint = -np.log(prefixes[prefix])  # of what was enumerated
        assert joint >= whole.lo.sum() - 1e-10
        assert whole.hi.sum() >= -np.log(prefixes[prefix] + unknown) - 1e-10
        if exact:
            assert whole.nats.sum() == pytest.approx(joint, abs=1e-10)
            theirs = [prefixes.get((*prefix, token), 0.0) / prefixes[prefix] for token in range(len(law))]
            np.testing.assert_allclose(law, theirs, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_it_is_the_sum_over_all_documents(name: str):
    assert_sums_of_documents(ideal_of(small_language(name)))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "recursion" else name for name in SMALL]
)
def test_long_documents_read_backwards_object_by_object(name: str):
    ideal = ideal_of(small_language(name))
    law = law_of(ideal.statements)
    tokens, lengths = sampled(ideal.statements.language, "full", 6, 18)
    spent = ideal.filtered(tokens, lengths)
    near = 1e-3 if ideal.statements.remainders else 1e-9
    for document, length in enumerate(lengths.tolist()):
        words = tokens[document, :length].tolist()
        place = length // 2
        theirs = next_token_law(law, words[1:place], ideal.vocabulary_size)
        assert -np.log(theirs[words[place]]) == pytest.approx(spent.nats[document, place], abs=near)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(grammar=valid_grammars(max_objects=3))
def test_random_grammars(grammar: GrammarSyntax):
    try:
        language = draw_language(grammar, stream(0, "world"))
        ideal = Ideal(enumerate_statements(language, "train", most_bodies=300))
        tokens, lengths = sampled(language, "train", 20, 12)
    except GrammarError:
        assume(condition=False)
        return
    spent = ideal.filtered(tokens, lengths)
    assert (spent.lo <= spent.nats + 1e-9).all()
    assert (spent.nats <= spent.hi + 1e-9).all()
    if not ideal.statements.remainders:
        assert np.isfinite(spent.nats).all()
        np.testing.assert_allclose(spent.lo, spent.hi, atol=1e-12)
    law = np.exp(ideal.log_probabilities(tokens).astype(np.float64))
    np.testing.assert_allclose(law.sum(axis=2), 1.0, atol=1e-5)


def test_frequencies_of_sampled_documents():
    language = small_language("held out")
    ideal = ideal_of(language, "train")
    tokens, lengths = sampled(language, "train", 20_000, 4)
    law = np.exp(ideal.log_probabilities(tokens).astype(np.float64))
    place = 2
    there = lengths > place + 1
    prefixes = {tuple(row) for row in tokens[there, : place + 1].tolist()}
    for prefix in sorted(prefixes)[:5]:
        same = there & (tokens[:, : place + 1] == prefix).all(axis=1)
        expected = law[np.flatnonzero(same)[0], place] * same.sum()
        counts = np.bincount(tokens[same, place + 1], minlength=len(expected))
        enough = expected > 5
        assert counts[expected == 0].sum() == 0
        if enough.sum() > 1:
            rest = counts[enough].sum() / expected[enough].sum()
            assert stats.chisquare(counts[enough], expected[enough] * rest).pvalue > 1e-4


@pytest.mark.parametrize("law", ["full", "train"])
def test_no_predictor_does_better_on_average(law: LawName):
    """Source coding (Gibbs): the mean of ln M / Q is positive; Q is M of another world."""
    text = SMALL["stop"]
    own, other = ideal_of(language_of(text, 0), law), ideal_of(language_of(text, 1), law)
    tokens, lengths = sampled(own.statements.language, law, 2_000, 12)
    mine, theirs = own.filtered(tokens, lengths).nats.sum(axis=1), other.filtered(tokens, lengths).nats
    gap = np.minimum(theirs, 50).sum(axis=1) - mine
    assert gap.mean() > 3 * gap.std() / np.sqrt(len(gap))


def test_the_law_of_one_known_loop():
    """A single permutation with one loop: a new argument costs ln O and its answer nothing but the end of loops."""
    language = language_of(
        "world { objects 4 family f 1 permutation } rule Document = each x ~ objects, all { let a ~ f { x a(x) } }"
    )
    ideal = ideal_of(language)
    table = language.tables[0]
    first = language.vocabulary.first_object
    row = [START_TOKEN]
    for x in (2, 0, 3, 1):
        row += [first + x, first + int(table[x])]
    spent = ideal.filtered(np.array([[*row, END_TOKEN]], dtype=np.uint16), np.array([10], dtype=np.int32))
    expected = [0, np.log(4), 0, np.log(3), 0, np.log(2), 0, 0, 0, 0]
    np.testing.assert_allclose(spent.nats[0], expected, atol=1e-12)


def test_what_cannot_be_costs_infinity_and_then_nothing_is_known():
    ideal = ideal_of(small_language("stop"))
    size = ideal.vocabulary_size
    document = np.array([[START_TOKEN, END_TOKEN, END_TOKEN]], dtype=np.uint16)
    law = np.exp(ideal.log_probabilities(document).astype(np.float64))[0]
    assert law[0, END_TOKEN] == 0
    np.testing.assert_allclose(law[1], 1 / size, rtol=1e-6)
    assert np.isinf(ideal.filtered(document, np.array([2], dtype=np.int32)).nats[0, 1])


def test_a_remainder_past_all_numbers_certifies_nothing():
    """A remainder of which nothing is known weighs more with every token: after 2,000 of them past all floats."""
    language = language_of("""world { objects 4 family f 3 permutations predicate p 2 density 0.5 }
        rule Document = Statement* stop 0.001
        rule Statement = each x ~ objects, stop 0.1 { Value(x) ";" }
        rule Value(x) = 0.6: let a ~ f { x a(x) }
                      | 0.4: let a ~ f, t ~ p { if t(x) { "u" } else { "v" } Value(a(x)) }""")
    ideal = Ideal(enumerate_statements(language, "full", most_bodies=50))
    tokens, lengths = sampled(language, "full", 3, 2_000)
    spent = ideal.filtered(tokens, lengths)
    assert (spent.lo >= 0).all()
    assert (spent.lo <= spent.nats).all()
    assert (spent.nats <= spent.hi).all()
    assert np.isinf(spent.hi).any()


def test_memory_grows_with_the_readings(monkeypatch: pytest.MonkeyPatch):
    import emergelab.theory.ideal as module  # noqa: PLC0415

    language = small_language("stop")
    tokens, lengths = sampled(language, "full", 50, 40)
    roomy = ideal_of(language).filtered(tokens, lengths)
    monkeypatch.setattr(module, "_PLACES", 1)
    np.testing.assert_array_equal(ideal_of(language).filtered(tokens, lengths).nats, roomy.nats)
