"""Statements that theory enumerates against documents that the corpus samples: how the first of them begins."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy import stats

from emergelab.corpus.documents import Corpus
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.grammar.sites import LawName
from emergelab.rng import stream
from emergelab.theory.statements import Statements, enumerate_statements

DOCUMENTS = 20_000
Row = tuple[int, ...]


def first_rows(statements: Statements) -> dict[Row, float]:
    """Return the probabilities of the first rows of documents."""
    found: dict[Row, float] = defaultdict(float)
    for state, probability in enumerate(statements.initial.tolist()):
        for start in range(statements.start_first[state], statements.start_first[state + 1]):
            body = statements.start_body[start]
            share = probability * statements.start_probability[start]
            for row in range(statements.body_first[body], statements.body_first[body + 1]):
                tokens = statements.tokens[statements.row_first[row] : statements.row_first[row + 1]]
                found[tuple(tokens.tolist())] += share * statements.row_weight[row]
    return found


def sampled_first_rows(corpus: Corpus) -> Counter[Row]:
    """Count the first rows of documents; statements without loops are one row."""
    sampled = corpus.sample(np.arange(DOCUMENTS, dtype=np.int64))
    inside = np.arange(sampled.tokens.shape[1]) < sampled.lengths[:, None]
    printed = inside & (sampled.statements == 0) & (sampled.rows <= 0) & (sampled.tokens > 1)
    return Counter(tuple(tokens[own].tolist()) for tokens, own in zip(sampled.tokens, printed, strict=True))


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("functions", "train"),
        ("functions", "full"),
        ("laws", "full"),
        ("predicates", "full"),
        ("recursion", "full"),
        ("topic", "full"),
        ("weights", "full"),
    ],
)
def test_first_rows_come_as_often_as_they_should(name: str, law: LawName) -> None:
    language = draw_language(load_grammar(find_grammar(name)), stream(1, "world"))
    statements = enumerate_statements(language, law, most_bodies=700)
    expected = first_rows(statements)
    counts = sampled_first_rows(Corpus(language, stream(5, "data"), context=24, law=law))
    unknown = sum(
        statements.initial[remainder.state] * remainder.probability for remainder in statements.remainders
    )
    assert sum(expected.values()) + unknown == pytest.approx(1.0, abs=1e-12)
    assert unknown > 0 or counts.keys() <= expected.keys()
    common = {row: DOCUMENTS * mass for row, mass in expected.items() if DOCUMENTS * mass >= 5}
    seen = np.array([*(counts[row] for row in common), DOCUMENTS - sum(counts[row] for row in common)])
    wanted = np.array([*common.values(), DOCUMENTS - sum(common.values())])
    kept = wanted > 1e-6
    assert not seen[~kept].any()
    assert stats.chisquare(seen[kept], wanted[kept]).pvalue > 1e-4
