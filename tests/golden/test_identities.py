"""What must not change unnoticed: stored artifacts and published numbers hang on these values.

If one of these tests fails, either undo the change that moved the value or raise the version that the value
belongs to (the fingerprint's, a step's), so that nothing old is taken for new.
"""

import numpy as np
from inline_snapshot import snapshot

from emergelab.corpus.documents import Corpus
from emergelab.corpus.prompts import make_prompts
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import Language
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.recipes.grid import build_grid
from emergelab.recipes.study import find_study, read_study
from emergelab.rng import stream
from emergelab.spec import fingerprint


def functions() -> Language:
    return draw_language(load_grammar(find_grammar("functions")), stream(0, "world"))


def text(language: Language, tokens: np.ndarray) -> str:
    return " ".join(language.vocabulary.texts[token] for token in tokens)


def test_fingerprint():
    assert fingerprint({"b": [1, 2.5, None, True], "a": "é"}) == snapshot(
        "f1-929cc39d314ab8cb209b11b9fec9ac70"
    )


def test_stream():
    assert stream(0, "data", 3).words == snapshot((11105770007518352291, 14292608397176517424))


def test_world():
    assert functions().tables[:2].tolist() == snapshot(
        [[0, 4, 2, 11, 10, 1, 7, 6, 3, 8, 9, 5], [6, 3, 0, 11, 9, 8, 1, 5, 7, 4, 2, 10]]
    )


def test_document():
    language = functions()
    corpus = Corpus(language, stream(0, "data", 0), context=24)
    assert text(language, corpus.sample(np.array([5])).tokens[0]) == snapshot(
        "<start> o2 o6 o7 ; o10 o4 o1 ; o11 o1 o9 ; o5 o2 o8 ; o10 o4 o1 ; o9 o5 o12 ;"
    )


def test_prompt():
    language = functions()
    key = stream(0, "evaluation", "prompts")
    prompts = make_prompts(language, "pair", shots=2, prompts=1, stream=key)
    found = {f"{p.form} {p.split}": text(language, p.tokens[0]) for p in prompts}
    assert found == snapshot(
        {
            "direct seen": "<start> o6 o7 ; o8 o12 ; o7 o5 ;",
            "steps seen": "<start> o6 o7 o7 ; o8 o9 o12 ; o7 o8 o5 ;",
            "direct held_out": "<start> o1 o7 ; o10 o9 ; o10 o9 ;",
            "steps held_out": "<start> o1 o1 o7 ; o10 o9 o9 ; o10 o9 o9 ;",
        }
    )


def test_steps_of_the_quickstart():
    file = find_study("quickstart")
    grid = build_grid(file, read_study(file))
    assert {grid.corpus.key, grid.tables.key} == snapshot(
        {"corpus-f1-465b18d8d64e400a5283ddf8991d0d4c", "tables-f1-b028c2cfd24892a20e79956315f99211"}
    )
