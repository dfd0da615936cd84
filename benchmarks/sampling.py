"""Sampling documents: labelled tokens a second on one core, and ratios against two plain samplers.

The baselines make the same documents by the same law (`functions.cag`): one with arrays in NumPy, all rows of
a batch at once and without labels, one in Python from the grammar's syntax (the tests' slow twin). Every
shipped grammar is measured by itself, too, and the slowest of them named.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from emergelab.corpus.documents import Corpus
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import END_TOKEN, Language
from emergelab.grammar.library import find_grammar, load_grammar, shipped_grammars
from emergelab.kernels.sampling import sample_documents
from emergelab.rng import stream
from ratios import interleave, spread

ROOT = Path(__file__).resolve().parents[1]
BATCH = 512
CONTEXTS = (48, 256)


def main() -> dict[str, object]:
    """Return tokens a second with and without labels, and how many times as fast as the baselines that is."""
    language = language_of("functions")
    load = os.getloadavg()[0]
    return {f"context {context}": measure(language, context) for context in CONTEXTS} | {
        "grammars": grammars(),
        "load before": load,
    }


def language_of(name: str) -> Language:
    """Return the language of a shipped grammar."""
    return draw_language(load_grammar(find_grammar(name)), stream(0, "world"))


def grammars() -> dict[str, object]:
    """Return labelled tokens a second, the best of several, for every shipped grammar and context."""
    rates = {
        name: {
            f"context {context}": rate(kernel(language_of(name), context, labels=True), calls=100)["max"]
            for context in CONTEXTS
        }
        for name in shipped_grammars()
    }
    slowest = min(rates, key=lambda name: min(rates[name].values()))
    return {"labelled tokens per second": rates, "slowest": slowest, "target": 30e6}


def measure(language: Language, context: int) -> dict[str, object]:
    """Measure one context in batches large enough that the call from Python does not count."""
    labelled, tokens = kernel(language, context, labels=True), kernel(language, context, labels=False)
    arrays = NumpySampler(language, context)
    slow = twin(language, context)
    return {
        "labelled tokens per second": rate(labelled),
        "tokens per second": rate(tokens),
        "times as fast as NumPy": per_token(arrays.batch, tokens, 40),
        "times as fast as Python": per_token(slow, tokens, 40 * BATCH),
        "labels cost": per_token(labelled, tokens, 1),
    }


def kernel(language: Language, context: int, *, labels: bool) -> Callable[[], int]:
    """Return a function that samples the next batch into buffers used again and again."""
    corpus = Corpus(language, stream(0, "data"), context=context)
    program, key = corpus.program, stream(0, "data").child("documents").key_array()
    shape = (BATCH, context + 1)
    tokens, lengths = np.zeros(shape, np.uint16), np.zeros(BATCH, np.int32)
    kinds: tuple[Any, ...] = (np.uint8, np.int16, np.int16, np.uint64)
    buffers = [np.zeros(shape if labels else (0, context + 1), dtype=kind) for kind in kinds]
    numbers = np.arange(BATCH, dtype=np.int64)

    def batch() -> int:
        sample_documents(
            program.whole, program.weights, program.tables, key, numbers, tokens, lengths, *buffers, 0, 1
        )
        numbers[:] += BATCH
        return int(lengths.sum())

    return batch


class NumpySampler:
    """The grammar's documents by arrays: every row of a batch with its functions, cut to documents at the end.

    Written for `functions.cag` alone, and without labels.
    """

    def __init__(self, language: Language, context: int) -> None:
        self.length = context + 1
        self.tables = language.tables.astype(np.int64)
        self.objects, self.functions = language.objects, len(language.tables)
        self.first = language.vocabulary.first_object
        self.ends = [language.vocabulary.terminal(text) for text in ";."]
        pairs = self.tables[None, :, :].repeat(self.functions, 0)  # [a, b, x] -> b(a(x))
        composed = np.take_along_axis(pairs, self.tables[:, None, :].repeat(self.functions, 1), axis=2)
        kept = [
            [table.astype(np.uint16).tobytes() not in language.held_out for table in row] for row in composed
        ]
        self.pairs = np.argwhere(np.array(kept))
        self.generator = np.random.default_rng(0)

    def batch(self) -> int:
        """Sample a batch and return its number of tokens."""
        draw = self.generator
        # Enough statements to fill every document, whose shortest ones have three tokens.
        statements = np.minimum(draw.geometric(0.1, BATCH), self.length // 3 + 1)
        documents = np.repeat(np.arange(BATCH), statements)
        count = len(documents)
        is_loop = draw.random(count) < 0.9
        kinds = np.searchsorted([0.5, 0.8], draw.random(count), side="right")
        chosen = self.pairs[draw.integers(len(self.pairs), size=count)]
        single = draw.integers(self.functions, size=count)
        rows = np.where(is_loop, np.minimum(draw.geometric(0.08, count), self.length // 3 + 1), 1)
        # Rows before each statement of its document: what begins behind the cut is not made.
        before = np.cumsum(rows) - rows
        before -= before[np.searchsorted(documents, documents)]
        rows[3 * before > self.length] = 0
        owner = np.repeat(np.arange(count), rows)
        return self.write(documents[owner], owner, kinds, chosen, single, is_loop)

    def write(  # noqa: PLR0913, PLR0917 - the columns of one table
        self,
        documents: np.ndarray,
        owner: np.ndarray,
        kinds: np.ndarray,
        chosen: np.ndarray,
        single: np.ndarray,
        is_loop: np.ndarray,
    ) -> int:
        """Write all rows to their places in the batch."""
        kind = kinds[owner]
        x = self.generator.integers(self.objects, size=len(owner))
        inner = np.where(kind == 0, single[owner], chosen[owner, 0])
        step = self.tables[inner, x]
        answer = np.where(kind == 0, step, self.tables[chosen[owner, 1], step])
        width = np.where(kind == 2, 4, 3)
        ends = np.cumsum(width)
        first_row = np.searchsorted(documents, np.arange(BATCH))
        before = np.concatenate([[0], ends])[first_row]
        place = 1 + ends - width - before[documents]
        out = np.full((BATCH, self.length + 4), END_TOKEN, dtype=np.uint16)
        out[:, 0] = 0
        inside = place < self.length
        documents, place, width = documents[inside], place[inside], width[inside]
        out[documents, place] = self.first + x[inside]
        out[documents, place + 1] = self.first + step[inside]
        out[documents, place + width - 2] = self.first + answer[inside]
        out[documents, place + width - 1] = np.where(is_loop[owner[inside]], *self.ends)
        lengths = np.bincount(documents, weights=width, minlength=BATCH) + 2
        return int(np.minimum(lengths, self.length).sum())


def twin(language: Language, context: int) -> Callable[[], int]:
    """Return the slow twin of the tests, one document a call."""
    sys.path.insert(0, str(ROOT / "tests"))
    from slow_sampler import sample  # noqa: PLC0415

    generator = np.random.default_rng(0)
    return lambda: len(sample(language, generator, context + 1))


def rate(batch: Callable[[], int], repetitions: int = 7, calls: int = 400) -> dict[str, float]:
    """Return tokens per second of processor time, smallest, middle and largest of several measurements."""
    batch()
    return dict(spread([one_rate(batch, calls) for _ in range(repetitions)]))  # type: ignore[arg-type]


def one_rate(batch: Callable[[], int], calls: int) -> float:
    start = time.process_time()
    tokens = sum(batch() for _ in range(calls))
    return tokens / (time.process_time() - start)


def per_token(baseline: Callable[[], int], candidate: Callable[[], int], calls: int) -> dict[str, float]:
    """Return how many times as long the baseline takes for a token; it makes fewer per call of its own."""
    made = {"baseline": 0, "candidate": 0}

    def slow() -> None:
        made["baseline"] += sum(baseline() for _ in range(max(1, 400 // calls)))

    def fast() -> None:
        made["candidate"] += sum(candidate() for _ in range(400))

    measured = interleave(slow, fast, 5)
    scale = made["candidate"] / made["baseline"]
    return {name: float(value) * scale for name, value in measured["ratio"].items()}  # type: ignore[arg-type]
