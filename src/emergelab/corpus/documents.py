"""Corpora: streams or finite sets of documents, each a pure function of its number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int16, Int32, Int64, UInt8, UInt16, UInt64

from emergelab.corpus.compiling import Program, compile_sites
from emergelab.errors import GrammarError, StudyError
from emergelab.grammar.language import Language
from emergelab.grammar.sites import LawName, explore
from emergelab.kernels import sampling
from emergelab.kernels.random import permuted
from emergelab.rng import Stream

ROLES = ("start", "argument", "intermediate", "answer", "separator", "other")
NO_ROW = sampling.NO_ROW
_MOST_MEMORY = 256
_MOST_CONTEXT = 32_766


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents cut at a length, padded with end tokens, with the labels of every token.

    `lengths` counts the tokens of each document with its start and, where it is not cut off, its end.
    `skills` packs the numbers of the functions that a token needs, see `skills_of`.
    """

    tokens: UInt16[np.ndarray, "documents length"]
    lengths: Int32[np.ndarray, " documents"]
    roles: UInt8[np.ndarray, "documents length"]
    statements: Int16[np.ndarray, "documents length"]
    rows: Int16[np.ndarray, "documents length"]
    skills: UInt64[np.ndarray, "documents length"]


def skills_of(packed: int) -> tuple[int, ...]:
    """Return the numbers of the functions packed in a token's label, in the order of application.

    A label holds up to four; a token that needs more ends in -1.
    """
    fields = [(packed >> (16 * field)) & 0xFFFF for field in range(sampling.SKILL_FIELDS)]
    return tuple(-1 if field == sampling.MORE_SKILLS else field - 1 for field in fields if field)


class Corpus:
    """All documents of a language under a law: an endless stream, or its first `documents`.

    Document i depends on the stream and i alone. `context` is the number of positions that a model reads, so
    documents are cut at `context` + 1 tokens, the last of which is only ever predicted. Raises StudyError for
    a context that labels cannot number, and GrammarError, on sampling, for a document that is too deep.
    """

    def __init__(
        self,
        language: Language,
        stream: Stream,
        *,
        context: int,
        law: LawName = "train",
        documents: int | None = None,
    ) -> None:
        if not 1 <= context <= _MOST_CONTEXT:
            raise StudyError(
                f"The context is {context:,}. Documents are cut at 1 to {_MOST_CONTEXT:,} positions. "
                "Use a context of 256, for example."
            )
        self.language = language
        self.law: LawName = law
        self.context = context
        self.documents = documents
        self._key = stream.child("documents").key_array()
        self._order = stream.child("order")

    @cached_property
    def program(self) -> Program:
        """The sampler's program."""
        return compile_sites(explore(self.language, self.law))

    def sample(self, numbers: Int64[np.ndarray, " documents"]) -> Documents:
        """Return the documents with these numbers, with all labels."""
        shape = (len(numbers), self.context + 1)
        labels = (
            np.zeros(shape, dtype=np.uint8),
            np.zeros(shape, dtype=np.int16),
            np.zeros(shape, dtype=np.int16),
            np.zeros(shape, dtype=np.uint64),
        )
        tokens, lengths = self._run(numbers, labels)
        return Documents(tokens, lengths, *labels)

    def tokens(
        self, numbers: Int64[np.ndarray, " documents"]
    ) -> tuple[UInt16[np.ndarray, "documents length"], Int32[np.ndarray, " documents"]]:
        """Return tokens and lengths of the documents with these numbers: what training needs, faster."""
        none = (0, self.context + 1)
        labels = (
            np.zeros(none, dtype=np.uint8),
            np.zeros(none, dtype=np.int16),
            np.zeros(none, dtype=np.int16),
            np.zeros(none, dtype=np.uint64),
        )
        return self._run(numbers, labels)

    def numbers(self, step: int, batch: int) -> Int64[np.ndarray, " batch"]:
        """Return the numbers of the documents of a training step.

        An endless corpus goes straight on. A finite one is read again and again, each epoch in an order of
        its own, none of which is ever held in memory.
        """
        places = np.arange(step * batch, (step + 1) * batch, dtype=np.int64)
        if self.documents is None:
            return places
        epochs, within = np.divmod(places, self.documents)
        keys = {epoch: self._order.child(epoch).key_array() for epoch in np.unique(epochs).tolist()}
        numbers = [
            permuted(place, self.documents, keys[epoch])
            for epoch, place in zip(epochs.tolist(), within.tolist(), strict=True)
        ]
        return np.array(numbers, dtype=np.int64)

    def batch(
        self, step: int, batch: int
    ) -> tuple[UInt16[np.ndarray, "batch length"], Int32[np.ndarray, " batch"]]:
        """Return tokens and lengths of a training step's documents."""
        return self.tokens(self.numbers(step, batch))

    def mean_targets(self, sample: int = 4096) -> float:
        """Return the mean number of predicted tokens in a document, over its first `sample` documents."""
        _, lengths = self.tokens(np.arange(min(sample, self.documents or sample), dtype=np.int64))
        return float(np.mean(lengths - 1))

    def _run(
        self,
        numbers: Int64[np.ndarray, " documents"],
        labels: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray]:
        tokens = np.zeros((len(numbers), self.context + 1), dtype=np.uint16)
        lengths = np.zeros(len(numbers), dtype=np.int32)
        program = self.program
        done, memory = 0, 1
        while done < len(numbers):
            if memory > _MOST_MEMORY:
                raise GrammarError(
                    f"Document {numbers[done]} nests too deeply to be sampled: tens of thousands of rules within "
                    "rules, or thousands of loops within loops. Give the recursion of the grammar a lower "
                    "probability."
                )
            done = sampling.sample_documents(
                program.whole, program.weights, program.tables, self._key, numbers,
                tokens, lengths, *labels, done, memory,
            )  # fmt: skip
            memory *= 4
        return tokens, lengths
