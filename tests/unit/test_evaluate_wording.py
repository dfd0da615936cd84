"""Words for a grammar's tokens, against what tokenizers make of whole prompts."""

import numpy as np
import pytest

from emergelab.corpus.prompts import make_prompts
from emergelab.errors import UserError
from emergelab.evaluate.wording import NO_TOKEN, Lexicon
from emergelab.grammar.language import Language
from emergelab.rng import stream
from small_languages import language_of
from tiny_models import WORDS, byte_level_tokenizer, word_level_tokenizer

GRAMMAR = """
world {{ objects {objects} family f 2 permutations }}
rule Document = each x ~ objects, stop 0.2 {{ let a ~ f {{ x a(x) }} "{mark}" }}
task single = let a ~ f each x {{ x a(x) "{mark}" }}
"""


def language(objects: int = 6, mark: str = ";") -> Language:
    return language_of(GRAMMAR.format(objects=objects, mark=mark))


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon(byte_level_tokenizer(), "tiny")


def test_words_without_a_meaning_come_first(lexicon: Lexicon):
    best, _, known, rest = lexicon.tiers
    assert {"dax", "wug", "zop", "fep", "kiki"} <= set(best)
    assert {"cat", "dog"} <= set(known)
    assert not {"cat", "dog", "house"} & set(best)
    assert lexicon.size == len(best) + len(known) + len(rest) + len(lexicon.tiers[1])
    drawn = lexicon.wording(language().vocabulary, stream(0))
    assert set(drawn.texts[3:]) <= set(best)


def test_every_prompt_reads_as_its_words(lexicon: Lexicon):
    grammar, tokenizer = language(), byte_level_tokenizer()
    (prompts,) = make_prompts(grammar, "single", shots=4, prompts=20, stream=stream(0))
    wording = lexicon.wording(grammar.vocabulary, stream(5))
    lexicon.require_as_read(wording, prompts.tokens)
    for row in prompts.tokens:
        text = "".join(f" {wording.texts[token]}" for token in row[1:])
        assert tokenizer(text)["input_ids"] == wording.numbers[row[1:]].tolist()


def test_words_are_different_and_follow_the_stream(lexicon: Lexicon):
    vocabulary = language(10).vocabulary
    one, same, other = (lexicon.wording(vocabulary, stream(0, n)) for n in (1, 1, 2))
    assert one.texts == same.texts != other.texts
    numbers = one.numbers[2:]
    assert len(set(numbers.tolist())) == len(numbers)
    assert one.texts[2] == ";"


def test_all_words_serve_where_many_are_needed(lexicon: Lexicon):
    wording = lexicon.wording(language(lexicon.size).vocabulary, stream(0))
    assert set(wording.texts[3:]) >= {"cat", "dog", "house"}


def test_too_few_words_are_counted(lexicon: Lexicon):
    with pytest.raises(UserError, match=rf"has {lexicon.size} words .* {lexicon.size + 1} objects"):
        lexicon.wording(language(lexicon.size + 1).vocabulary, stream(0))


def test_a_terminal_of_several_tokens_becomes_the_nearest_word(lexicon: Lexicon):
    wording = lexicon.wording(language(mark="blicket").vocabulary, stream(0))
    assert wording.texts[2] == "blick"
    assert "blick" not in wording.texts[3:]


@pytest.mark.parametrize("bos", [False, True])
def test_the_front_of_a_text(bos: bool):  # noqa: FBT001 - a parameter of the test
    tokenizer = byte_level_tokenizer(bos=bos)
    wording = Lexicon(tokenizer, "tiny").wording(language().vocabulary, stream(0))
    assert wording.prefix == ((tokenizer.bos_token_id,) if bos else ())
    # One token is start and end of a document here: it cannot stand for both.
    start, end = (tokenizer.bos_token_id, NO_TOKEN) if bos else (NO_TOKEN, tokenizer.eos_token_id)
    assert wording.numbers[:2].tolist() == [start, end]


def test_the_grammars_own_names():
    grammar = language()
    wording = Lexicon(word_level_tokenizer(grammar.vocabulary), "own").wording(grammar.vocabulary, stream(0))
    assert wording.own
    assert wording.texts == grammar.vocabulary.texts
    np.testing.assert_array_equal(wording.numbers, np.arange(len(grammar.vocabulary)))
    assert wording.prefix == (0,)


def test_names_of_another_world_are_no_words():
    lexicon = Lexicon(word_level_tokenizer(language(4).vocabulary), "own")
    with pytest.raises(UserError, match="has 0 words"):
        lexicon.wording(language(5).vocabulary, stream(0))


def test_a_tokenizer_that_joins_words_is_refused(lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch):
    grammar = language()
    (prompts,) = make_prompts(grammar, "single", shots=1, prompts=2, stream=stream(0))
    wording = lexicon.wording(grammar.vocabulary, stream(0))
    monkeypatch.setattr(lexicon, "_lead", "x")
    with pytest.raises(UserError, match="other tokens"):
        lexicon.require_as_read(wording, prompts.tokens)


def test_the_tokenizer_learnt_its_words():
    tokenizer = byte_level_tokenizer()
    assert all(len(tokenizer(f" {word}")["input_ids"]) == 1 for word in WORDS)
