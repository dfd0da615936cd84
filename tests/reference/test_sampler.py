"""The sampler against its slow twin: probabilities of documents exactly, labels token by token."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from emergelab.corpus.documents import ROLES, Corpus, Documents, skills_of
from emergelab.grammar.language import Language
from emergelab.rng import stream
from slow_sampler import enumerate_documents, readings
from small_languages import SMALL, small_language

LENGTH = 9
DOCUMENTS = 20_000


def corpus_of(language: Language, length: int, law: str = "train") -> Corpus:
    return Corpus(language, stream(7, "data"), context=length - 1, law=law)


def texts(language: Language, sampled: Documents, i: int) -> list[str]:
    names = language.vocabulary.texts
    return [names[token] for token in sampled.tokens[i, : sampled.lengths[i]]]


def assert_frequencies(counts: dict[tuple[str, ...], int], expected: dict[tuple[str, ...], float]) -> None:
    """Compare by chi-square, with rare documents joined; nothing impossible may occur."""
    assert counts.keys() <= expected.keys()
    total = sum(counts.values())
    pairs = [(counts.get(text, 0), total * mass) for text, mass in expected.items()]
    common = [pair for pair in pairs if pair[1] >= 5]
    rare = [pair for pair in pairs if pair[1] < 5]
    if rare:
        common.append((sum(pair[0] for pair in rare), sum(pair[1] for pair in rare)))
    seen, wanted = np.array(common).T
    statistic = np.sum((seen - wanted) ** 2 / np.maximum(wanted, 1e-12))
    assert stats.chi2.sf(statistic, len(common) - 1) > 1e-4


@pytest.mark.parametrize(("name", "law"), [*((name, "train") for name in SMALL), ("held out", "full")])
def test_documents_have_the_probabilities_of_the_grammar(name: str, law: str) -> None:
    language = small_language(name)
    expected = enumerate_documents(language, LENGTH, law)
    assert sum(expected.values()) == pytest.approx(1.0, abs=1e-9)
    sampled = corpus_of(language, LENGTH, law).sample(np.arange(DOCUMENTS, dtype=np.int64))
    counts: dict[tuple[str, ...], int] = {}
    for i in range(DOCUMENTS):
        text = tuple(texts(language, sampled, i))
        counts[text] = counts.get(text, 0) + 1
    assert_frequencies(counts, expected)


@pytest.mark.parametrize("name", SMALL)
def test_labels_are_those_of_a_derivation_of_the_document(name: str) -> None:
    language = small_language(name)
    sampled = corpus_of(language, 12).sample(np.arange(25, dtype=np.int64))
    for i in range(25):
        text = texts(language, sampled, i)
        labels = [
            (
                ROLES[sampled.roles[i, at]],
                int(sampled.statements[i, at]),
                int(sampled.rows[i, at]),
                skills_of(int(sampled.skills[i, at])),
            )
            for at in range(len(text))
        ]
        found = [
            [(token.role, token.statement, token.row, token.skills) for token in reading]
            for reading in first_until(language, text, labels)
        ]
        assert labels in found, (text, labels, found[:3])


def first_until(language: Language, text: list[str], labels: list[object]):
    for reading in readings(language, text, 12, most=20_000):
        yield reading
        if labels == [(token.role, token.statement, token.row, token.skills) for token in reading]:
            return
