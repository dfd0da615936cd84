"""Prompts of a small world and predictors for them that are easy to see through."""

import zlib
from dataclasses import dataclass

import numpy as np

from emergelab.rng import stream
from emergelab.scores.prompts import PromptSet

START, SEPARATOR, FIRST_OBJECT = 0, 1, 2


def prompt_set(
    objects: int = 4, prompts: int = 6, rows: int = 3, printed: int = 1, key: int = 0
) -> PromptSet:
    """Return prompts of `x f1(x) ... fk(x) ;` with k = `printed` permutations."""
    generator = stream(key, "toy", objects, prompts, rows, printed).generator()
    shape = (prompts, rows)
    argument = generator.integers(objects, size=shape)
    chain = [argument]
    for _ in range(printed):
        chain.append(generator.permutation(objects)[chain[-1]])
    body = np.stack(chain, axis=2) + FIRST_OBJECT
    row = np.concatenate([body, np.full((*shape, 1), SEPARATOR)], axis=2)
    width = printed + 2
    row = row.reshape(prompts, rows * width)
    tokens = np.concatenate([np.full((prompts, 1), START), row], axis=1).astype(np.uint16)
    places = np.broadcast_to(1 + width * np.arange(rows), shape).astype(np.int32)
    steps = (places[..., None] + 1 + np.arange(printed)).astype(np.int32)
    return PromptSet(
        task="toy",
        form="direct" if printed == 1 else "steps",
        split="seen",
        tokens=tokens,
        argument=places,
        stop=(places + width).astype(np.int32),
        steps=steps,
        fresh=np.array([[x not in xs[:s] for s, x in enumerate(xs)] for xs in argument], bool).reshape(shape),
        chance=np.full(shape, 1 / objects**printed),
        step_chance=np.full((*shape, printed), 1 / objects),
        instance=np.zeros(prompts, dtype=np.int32),
    )


def vocabulary_of(prompts: PromptSet):
    return int(prompts.tokens.max()) + 1


@dataclass
class Uniform:
    vocabulary_size: int
    name: str = "uniform"

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        shape = (*tokens.shape, self.vocabulary_size)
        return np.full(shape, -np.log(self.vocabulary_size), dtype=np.float32)


@dataclass
class Oracle:
    """Knows the prompts by heart: the true next token has almost all of the probability."""

    prompts: PromptSet
    doubt: float = 1e-6
    name: str = "oracle"

    @property
    def vocabulary_size(self):
        return vocabulary_of(self.prompts)

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        known = {tuple(row[: k + 1]): row[k + 1] for row in self.prompts.tokens for k in range(len(row) - 1)}
        law = np.full((*tokens.shape, self.vocabulary_size), self.doubt / (self.vocabulary_size - 1))
        for p, row in enumerate(tokens):
            for t in range(len(row)):
                law[p, t, known.get(tuple(row[: t + 1]), START)] = 1 - self.doubt
        return np.log(law).astype(np.float32)


@dataclass
class Copier:
    """Repeats what followed the last occurrence of the token in hand; knows nothing of a new one."""

    vocabulary_size: int
    name: str = "copier"

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        law = np.full((*tokens.shape, self.vocabulary_size), 1 / self.vocabulary_size)
        for p, row in enumerate(tokens):
            for t, token in enumerate(row):
                before = [k for k in range(t) if row[k] == token]
                if before:
                    law[p, t] = 0.1 / (self.vocabulary_size - 1)
                    law[p, t, row[before[-1] + 1]] = 0.9
        return np.log(law).astype(np.float32)


@dataclass
class Erratic:
    """An arbitrary law of the whole prefix, and nothing but the prefix."""

    vocabulary_size: int
    name: str = "erratic"

    def next_token(self, prefix: np.ndarray) -> np.ndarray:
        key = zlib.crc32(np.ascontiguousarray(prefix, dtype="<u2").tobytes())
        logits = stream(key, "erratic").generator().normal(size=self.vocabulary_size)
        return (logits - np.log(np.exp(logits).sum())).astype(np.float32)

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        return np.array([[self.next_token(row[: t + 1]) for t in range(len(row))] for row in tokens])


@dataclass
class BranchingErratic(Erratic):
    """The same law, offered as branches of prompts that are read once; counts the readings."""

    readings: int = 0

    def branches(self, tokens: np.ndarray):
        self.readings += 1
        return ErraticBranches(self, tokens)


@dataclass
class ErraticBranches:
    predictor: Erratic
    tokens: np.ndarray

    def log_probabilities(self, stops: np.ndarray, continuations: np.ndarray) -> np.ndarray:
        law = np.empty((*stops.shape, self.predictor.vocabulary_size), dtype=np.float32)
        for p, b in np.ndindex(*stops.shape):
            prefix = np.concatenate([self.tokens[p, : stops[p, b]], continuations[p, b]])
            law[p, b] = self.predictor.next_token(prefix)
        return law
