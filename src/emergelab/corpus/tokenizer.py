"""A grammar's words as a tokenizer in the files that Hugging Face's libraries read."""

from __future__ import annotations

import json
from collections.abc import Mapping

from emergelab.errors import GrammarError
from emergelab.grammar.language import END_TOKEN, START_TOKEN, Vocabulary
from emergelab.spec import Json

TOKENIZER_NAME = "tokenizer.json"


def tokenizer_files(vocabulary: Vocabulary, context: int) -> dict[str, str]:
    """Return name → text of the files of a tokenizer whose words are the grammar's tokens.

    Text is words with spaces between them. The start token is put in front of it; the end token is a word like
    any other and serves as padding, too. A word that the grammar does not have raises an error when it is read,
    since no model has a token for it. `context` is how many tokens a model reads. Raises GrammarError for
    terminals in which the tokenizer would find the start or the end.
    """
    _require_plain(vocabulary)
    return {
        TOKENIZER_NAME: _text(_tokenizer(vocabulary)),
        "tokenizer_config.json": _text(_configuration(vocabulary, context)),
    }


def document_text(words: tuple[str, ...], tokens: list[int]) -> str:
    """Return a document as text, without the start token, which the tokenizer puts in front."""
    return " ".join(words[token] for token in tokens if token != START_TOKEN)


def _require_plain(vocabulary: Vocabulary) -> None:
    """Refuse words with start or end in them: special tokens are found inside of words, too."""
    specials = [vocabulary.texts[token] for token in (START_TOKEN, END_TOKEN)]
    for terminal in vocabulary.terminals:
        for special in specials:
            if special in terminal:
                raise GrammarError(
                    f"The token {terminal!r} has {special} in it. A tokenizer finds {special} inside of words, too. "
                    "Write the token without it."
                )


def _tokenizer(vocabulary: Vocabulary) -> Mapping[str, Json]:
    words = vocabulary.texts
    start = words[START_TOKEN]
    begin: Json = {"SpecialToken": {"id": start, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(words, token) for token in (START_TOKEN, END_TOKEN)],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, first],
            "pair": [begin, first, second],
            "special_tokens": {start: {"id": start, "ids": [START_TOKEN], "tokens": [start]}},
        },
        "decoder": None,
        # No word stands for unknown ones, so that the library raises an error: words have no spaces.
        "model": {
            "type": "WordLevel",
            "vocab": {word: token for token, word in enumerate(words)},
            "unk_token": "no word",
        },
    }


def _special(words: tuple[str, ...], token: int) -> Json:
    return {
        "id": token,
        "content": words[token],
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _configuration(vocabulary: Vocabulary, context: int) -> Mapping[str, Json]:
    start, end = (vocabulary.texts[token] for token in (START_TOKEN, END_TOKEN))
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": start,
        "eos_token": end,
        "pad_token": end,
        "padding_side": "right",
        "model_max_length": context,
        # A space in front of a full stop parts two words and has to stay.
        "clean_up_tokenization_spaces": False,
    }


def _text(value: Mapping[str, Json]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
