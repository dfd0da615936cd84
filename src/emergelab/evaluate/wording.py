"""A grammar in the words of somebody else's model: which of the model's tokens stands for which of the grammar's.

One token of the grammar is one token of the model, so that an answer has as many tokens, and an example as
many places, as for a model that was trained on the grammar. Objects get words without a meaning, terminals
are written as they are. How the model's tokenizer reads words in running text decides, not its list of tokens.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64, UInt16

from emergelab.errors import UserError
from emergelab.grammar.language import END_TOKEN, START_TOKEN, Vocabulary
from emergelab.rng import Stream

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_TOKEN = -1

_SPACES = "\u0120\u2581"  # how byte-level and SentencePiece vocabularies write the space before a word
_SYLLABLE = "(?:[bcdfghjklmnprtvwyz]|[bcfgp]l|[bcdfgpt]r|s[cklmnptw]|[cst]h)[aeiou]"
_CODA = "(?:[bdfgklmnprtvxz]|ck|[lmnr][bdgkmnpt])"
_PRONOUNCEABLE = re.compile(f"(?:{_SYLLABLE}){{1,3}}{_CODA}?")
_INFLECTED = re.compile(r".*(ed|er|es|en|ing|ly|al|ion)")
_LETTERS = re.compile(r"[a-z]{2,8}")
_FEWEST_LETTERS, _SHORT, _LONG = 3, 5, 8
_MOST_TRIED = 200


@dataclass(frozen=True, kw_only=True)
class Wording:
    """One way of writing a grammar's V tokens in a model's words.

    `numbers` are the model's tokens, `NO_TOKEN` where it has none (the end of a document, perhaps the start);
    `texts` how they are written; `prefix` the tokens that the tokenizer puts in front of every text, in place
    of the start token. `own` tells that the tokenizer knows the grammar's tokens by their own names.
    """

    texts: tuple[str, ...]
    numbers: Int64[np.ndarray, " vocabulary"]
    prefix: tuple[int, ...]
    own: bool


class Lexicon:
    """The words of a tokenizer that can stand for objects: those that are one token in running text.

    `tiers` are its words from the best to the last resort: short ones without a meaning (pronounceable, not
    among the common English words that come with emergelab), longer ones, words with a meaning, other letters.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self._tokenizer = tokenizer
        self._name = name
        self._special = set(tokenizer.all_special_ids)
        # A tokenizer may want a space before the first word, too, or may not.
        by_lead = [(lead, self._whole(_spoken(tokenizer), lead)) for lead in ("", " ")]
        self._lead, self._numbers = max(by_lead, key=lambda pair: len(pair[1]))
        self.tiers = _tiers(self._numbers)

    @property
    def size(self) -> int:
        """How many words can stand for objects."""
        return sum(map(len, self.tiers))

    def owns(self, vocabulary: Vocabulary) -> bool:
        """Tell whether the tokenizer knows the grammar's tokens by their own names: o1, o2, ..., ";"."""
        known = self._tokenizer.get_vocab()
        names = vocabulary.texts[END_TOKEN + 1 :]
        return all(name in known for name in names) and len(self._whole(names, self._lead)) == len(names)

    def wording(self, vocabulary: Vocabulary, stream: Stream) -> Wording:
        """Return the grammar's own names where the tokenizer knows them, else words drawn from `stream`.

        Raises UserError where there are too few words.
        """
        return self._own(vocabulary) if self.owns(vocabulary) else self._drawn(vocabulary, stream)

    def require_as_read(self, wording: Wording, tokens: UInt16[np.ndarray, "prompts length"]) -> None:
        """Refuse prompts that the tokenizer, given their text, would read as other tokens.

        The text are the words between start and end, with spaces between them. Raises UserError.
        """
        rows = [row[1:][row[1:] != END_TOKEN] for row in tokens]
        texts = [self._lead + " ".join(wording.texts[token] for token in row) for row in rows]
        for row, text, found in zip(rows, texts, self._encode(texts), strict=True):
            if found != wording.numbers[row].tolist():
                raise UserError(
                    f"The tokenizer of {self._name} reads {text[:80]!r} as other tokens than its words are "
                    "alone. A prompt must be the same tokens in running text. Evaluate a model whose tokenizer "
                    "keeps words apart at spaces."
                )

    def _own(self, vocabulary: Vocabulary) -> Wording:
        known = self._tokenizer.get_vocab()
        numbers = [known.get(text, NO_TOKEN) for text in vocabulary.texts]
        start = numbers[START_TOKEN]
        prefix = self._prefix(vocabulary.texts[-1]) if start == NO_TOKEN else (start,)
        numbers[START_TOKEN] = prefix[-1] if prefix else NO_TOKEN
        return Wording(texts=vocabulary.texts, numbers=np.array(numbers), prefix=prefix, own=True)

    def _drawn(self, vocabulary: Vocabulary, stream: Stream) -> Wording:
        self._require_enough(vocabulary)
        terminals = self._terminals(vocabulary.terminals)
        taken = set(terminals.values())
        words = (word for word in self._shuffled(stream) if self._numbers[word] not in taken)
        objects = list(islice(words, vocabulary.objects))
        if len(objects) < vocabulary.objects:
            raise self._too_few(vocabulary)
        prefix = self._prefix(objects[0])
        written = [*terminals, *objects]
        spoken = [*terminals.values(), *(self._numbers[word] for word in objects)]
        start, end = self._frame(prefix)
        return Wording(
            texts=("", "", *written), numbers=np.array([start, end, *spoken]), prefix=prefix, own=False
        )

    def _frame(self, prefix: tuple[int, ...]) -> tuple[int, int]:
        """Return the model's tokens for the start and the end of a document. One token cannot be both."""
        start = prefix[-1] if prefix else NO_TOKEN
        end: Any = self._tokenizer.eos_token_id
        return start, end if isinstance(end, int) and end != start else NO_TOKEN

    def _shuffled(self, stream: Stream) -> Iterable[str]:
        for number, tier in enumerate(self.tiers):
            yield from (tier[i] for i in stream.child(number).generator().permutation(len(tier)))

    def _require_enough(self, vocabulary: Vocabulary) -> None:
        if self.size < vocabulary.objects:
            raise self._too_few(vocabulary)

    def _too_few(self, vocabulary: Vocabulary) -> UserError:
        return UserError(
            f"The tokenizer of {self._name} has {self.size} words that can stand for objects, and the grammar has "
            f"{vocabulary.objects} objects. Each needs a word of its own that is a single token in running text. "
            "Use a grammar with fewer objects, or a model with a larger vocabulary."
        )

    def _terminals(self, terminals: Sequence[str]) -> dict[str, int]:
        """Return for every terminal, in order, how it is written and its token: itself or what is nearest."""
        found: dict[str, int] = {}
        for terminal in terminals:
            numbers = self._whole([terminal], self._lead)
            number = numbers.get(terminal)
            if number is None or number in found.values() or terminal in found:
                text, number = self._nearest(terminal, found)
                found[text] = number
            else:
                found[terminal] = number
        return found

    def _nearest(self, terminal: str, found: dict[str, int]) -> tuple[str, int]:
        spoken = sorted({_plain(text) for text in self._tokenizer.get_vocab()} - {""})
        near = difflib.get_close_matches(terminal, spoken, n=_MOST_TRIED, cutoff=0.0)
        for text, number in self._whole(near, self._lead).items():
            if number not in found.values() and text not in found:
                return text, number
        raise UserError(
            f"The tokenizer of {self._name} has no single token near the grammar's {terminal!r}. Each of the "
            "grammar's tokens must be one of the model's. Write the grammar with a simpler sign."
        )

    def _whole(self, words: Sequence[str], lead: str) -> dict[str, int]:
        """Return those words that are one and the same token at the front of a text and within it."""
        texts = [f"{lead}{word} {word}" for word in words]
        numbers = zip(words, self._encode(texts), strict=True)
        whole = {word: read[0] for word, read in numbers if len(read) == 2 and read[0] == read[1]}  # noqa: PLR2004 - twice
        unknown: Any = self._tokenizer.unk_token_id
        return {word: n for word, n in whole.items() if n != unknown and n not in self._special}

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts; none for a text with words that the tokenizer refuses to read."""
        if not texts:
            return []
        try:
            return self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]  # pyright: ignore[reportReturnType]
        except Exception:  # noqa: BLE001 - the library raises nothing more special for an unknown word
            return [[]] if len(texts) == 1 else [self._encode([text])[0] for text in texts]

    def _prefix(self, word: str) -> tuple[int, ...]:
        """Return what the tokenizer puts in front of a text; what it puts behind is left out, for a prompt goes on."""
        text = self._lead + word
        plain = self._encode([text])[0]
        whole: list[int] = self._tokenizer(text)["input_ids"]  # pyright: ignore[reportAssignmentType]
        for front in range(len(whole) - len(plain) + 1):
            if whole[front : front + len(plain)] == plain:
                return tuple(whole[:front])
        raise UserError(
            f"The tokenizer of {self._name} reads a text otherwise where it adds its own tokens to it. "
            "They must stand in front of it or behind. Evaluate another model."
        )


def _spoken(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the words of small letters in a tokenizer's list, sorted."""
    words = {_plain(text) for text in tokenizer.get_vocab()}
    return sorted(word for word in words if _LETTERS.fullmatch(word))


def _plain(text: str) -> str:
    return text.lstrip(_SPACES)


def _tiers(words: Iterable[str]) -> list[list[str]]:
    """Part words by how well they stand for an object, best first; each part sorted."""
    tiers: list[list[str]] = [[], [], [], []]
    for word in sorted(words):
        tiers[_tier(word)].append(word)
    return tiers


def _tier(word: str) -> int:
    spoken = _PRONOUNCEABLE.fullmatch(word) and _FEWEST_LETTERS <= len(word) <= _LONG
    if not spoken:
        return 3
    if word in _common_words() or _INFLECTED.fullmatch(word):
        return 2
    return 0 if len(word) <= _SHORT else 1


@cache
def _common_words() -> frozenset[str]:
    text = (resources.files("emergelab.evaluate") / "common_words.txt").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(chain.from_iterable(line.split() for line in lines))
