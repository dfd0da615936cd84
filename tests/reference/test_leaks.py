"""No document shows a held-out composition, whichever printed object it is a function of.

Read off the tokens alone, without the package's own idea of what a document shows: every two objects of a
row, the earlier one as argument, collected over the rows of a loop. With twelve objects and six different
arguments a table that was not printed agrees by chance once in 12^6 tries.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from emergelab.corpus.documents import Corpus
from emergelab.corpus.prompts import make_prompts
from emergelab.errors import UserError
from emergelab.grammar.holdout import prove_no_overlap
from emergelab.grammar.language import Language
from emergelab.rng import stream
from small_languages import language_of

WORLD = """
world { objects 12 family f 6 permutations family d 3 permutations per document }
hold out 0.25 of f * f
"""
PAIR = "rule Pair(y) = let a ~ f, b ~ f { b(a(y)) }\n"
LOOP = "rule Document = let e ~ d { each x ~ objects, stop 0.04 { %s } }\n"
GRAMMARS = {
    "the plain variable": LOOP % 'x Pair(x) e(x) ";"' + PAIR,
    "the variable under a function": LOOP % 'let c ~ f { c(x) Pair(c(x)) e(x) ";" }' + PAIR,
    "a function of the document": LOOP % 'e(x) Pair(e(x)) ";"' + PAIR,
    "a step left out": LOOP % 'let a ~ f, b ~ f, c ~ f { x a(x) c(b(a(x))) e(x) ";" }',
    "an argument that the rule called prints": LOOP % 'let c ~ f { x Fact(c(x)) e(x) ";" }'
    + "rule Fact(y) = let a ~ f, b ~ f { y b(a(y)) }\n",
    "two functions drawn in two rules": LOOP % 'let c ~ f { c(x) Half(c(x)) e(x) ";" }'
    + "rule Half(y) = let a ~ f { Other(a(y)) }\nrule Other(z) = let b ~ f { b(z) }\n",
}


def relations(language: Language, documents: int) -> list[dict[int, int]]:
    """Return argument → value of every two objects of a row, for the rows of each loop."""
    corpus = Corpus(language, stream(0, "documents"), context=80)
    sample = corpus.sample(np.arange(documents))
    first = language.vocabulary.first_object
    found: dict[tuple[int, int, int], dict[int, int]] = defaultdict(dict)
    for i in range(documents):
        rows: dict[int, list[int]] = defaultdict(list)
        for token, row in zip(sample.tokens[i].tolist(), sample.rows[i].tolist(), strict=True):
            if token >= first and row >= 0:
                rows[row].append(token - first)
        for row in rows.values():
            for (n, argument), (m, value) in itertools.combinations(enumerate(row), 2):
                found[i, n, m][argument] = value
    return list(found.values())


def showing(language: Language, held_out: frozenset[bytes]) -> int:
    tables = [np.frombuffer(table, dtype=np.uint16) for table in held_out]
    return sum(
        len(relation) >= 6 and any(all(table[x] == y for x, y in relation.items()) for table in tables)
        for relation in relations(language, 800)
    )


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_no_document_shows_what_is_held_out(grammar: str) -> None:
    language = language_of(WORLD + GRAMMARS[grammar], 5)
    assert language.held_out
    assert prove_no_overlap(language).overlap == 0
    assert showing(language, language.held_out) == 0


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_it_would_be_seen_if_it_were_shown(grammar: str) -> None:
    language = language_of(WORLD + GRAMMARS[grammar], 5)
    assert showing(replace(language, held_out=frozenset()), language.held_out) > 0


def test_held_out_prompts_are_refused_where_training_prints_their_rows() -> None:
    # With three objects, inverses of functions are compositions: `c(x) b(x)` shows b of the inverse of c.
    text = """
    world { objects 3 family f 3 permutations }
    hold out 0.5 of f * f
    rule Document = 0.5: each x ~ objects, stop 0.1 { let b ~ f, c ~ f { c(x) b(x) ";" } }
                  | 0.5: each x ~ objects, stop 0.1 { let b ~ f, c ~ f { x b(c(x)) ";" } }
    task pair = let a ~ f, b ~ f each x { x b(a(x)) ";" } splits held out
    """
    with pytest.raises(UserError, match=r"holds out .* rows that training prints"):
        make_prompts(language_of(text, 0), "pair", shots=2, prompts=4, stream=stream(0, "prompts"))
