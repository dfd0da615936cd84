"""Any causal language model of Hugging Face's transformers as a predictor of a grammar's tokens."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64, UInt16
from torch import Tensor

from emergelab.evaluate.wording import NO_TOKEN, Wording
from emergelab.grammar.language import END_TOKEN, START_TOKEN
from emergelab.scores.predictor import Branches

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

_TOKENS_AT_ONCE = 1 << 12  # bounds the key-value cache
_LOGITS_AT_ONCE = {"cpu": 1 << 26, "cuda": 1 << 28}


class CausalPredictor:
    """Obeys `Predictor` and `BranchingPredictor`. Its vocabulary is the grammar's and one more: anything else.

    Token V stands for all of the model's tokens that are none of the grammar's; its log-probability is that of
    the likeliest of them. So a token is strictly likelier than all others here if and only if it is so in the
    model's whole vocabulary, and nats are those of the whole vocabulary, however large it is: the law's
    probabilities come to at most 1. In free generation the model reads on from the token that it
    really wrote. Tokens that the model lacks have probability 0. Where its tokenizer puts nothing in
    front of a text the law behind the start token is uniform: the model has read nothing. Prompts begin with
    the start token; the model needs no padding token of its own.
    """

    def __init__(self, name: str, model: PreTrainedModel, wording: Wording) -> None:
        self._name = name
        self._model = model
        self._wording = wording
        self._numbers = torch.from_numpy(wording.numbers).to(model.device)
        self._known = self._numbers[self._numbers != NO_TOKEN]

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        return self._name

    @property
    def vocabulary_size(self) -> int:
        """The number of the grammar's tokens and one more."""
        return len(self._numbers) + 1

    @torch.inference_mode()
    def log_probabilities(
        self, tokens: UInt16[np.ndarray, "prompts length"]
    ) -> Float32[np.ndarray, "prompts length vocabulary"]:
        """Return ln P(token at t+1 | tokens up to and with t) at every position t."""
        return np.concatenate([self._read(part, keep=False).law.numpy() for part in self._parts(tokens)])

    @torch.inference_mode()
    def branches(self, tokens: UInt16[np.ndarray, "prompts length"]) -> Branches:
        """Read the prompts once and return their prefixes, with a key-value cache if it can be cut short."""
        return _CausalBranches(self, [self._read(part, keep=True) for part in self._parts(tokens)])

    def spell(self, tokens: UInt16[np.ndarray, "prompts length"]) -> Int64[np.ndarray, "prompts spelled"]:
        """Return prompts in the model's tokens. Raises ValueError for what the model has no token for.

        End tokens behind a prompt's last row, where no answer is read, may become any token.
        """
        if (tokens[:, :1] != START_TOKEN).any():
            raise ValueError("A prompt must begin with the start token.")
        spelled = self.numbers(tokens[:, 1:])
        spelled[(spelled == NO_TOKEN) & (tokens[:, 1:] == END_TOKEN)] = int(self._known[0])
        if (spelled == NO_TOKEN).any():
            raise ValueError("A prompt must consist of tokens that the model knows.")
        prefix = np.array(self._wording.prefix, dtype=np.int64)
        return np.concatenate([np.tile(prefix, (len(tokens), 1)), spelled], axis=1)

    def numbers(self, tokens: np.ndarray) -> np.ndarray:
        """Return the model's tokens for the grammar's; `NO_TOKEN` for anything else."""
        return np.append(self._wording.numbers, NO_TOKEN)[tokens]

    @property
    def shift(self) -> int:
        """How many tokens the model reads more than the grammar has; -1 where it has no start token."""
        return len(self._wording.prefix) - 1

    def run(self, ids: Tensor, cache: Cache | None = None, *, keep: bool = False) -> Any:
        """Return the model's output on `ids`, int64[prompts, n], which stand behind what `cache` holds."""
        before = cache.get_seq_length() if cache is not None else 0
        mask = torch.ones((len(ids), before + ids.shape[1]), dtype=torch.int64, device=ids.device)
        return self._model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=keep)

    def law(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the law of the next token and, for anything else, the model's token that leads it.

        Both are on the CPU: float32[..., V + 1] and int64[...]. `logits` may be overwritten.
        """
        logits = logits.float()
        total = logits.logsumexp(-1, keepdim=True)
        law = logits.new_full((*logits.shape[:-1], self.vocabulary_size), -torch.inf)
        present = torch.nonzero(self._numbers != NO_TOKEN)[:, 0]
        law[..., present] = logits[..., self._known] - total
        logits[..., self._known] = -torch.inf
        best, other = logits.max(-1)
        law[..., -1] = best - total[..., 0]
        return law.cpu(), other.cpu()

    def tensor(self, array: np.ndarray) -> Tensor:
        """Return whole numbers as a tensor where the model is."""
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)).to(self._model.device)

    def _read(self, tokens: np.ndarray, *, keep: bool) -> _Reading:
        spelled = self.spell(tokens)
        law = torch.full((*tokens.shape, self.vocabulary_size), -np.log(self.vocabulary_size))
        other = torch.zeros(tokens.shape, dtype=torch.int64)
        if not spelled.size:
            return _Reading(spelled, law, other, None)
        output = self.run(self.tensor(spelled), keep=keep)
        first = max(0, -self.shift)
        law[:, first:], other[:, first:] = self.law(output.logits[:, max(0, self.shift) :])
        return _Reading(spelled, law, other, _shortenable(output.past_key_values) if keep else None)

    def _parts(self, tokens: np.ndarray) -> list[np.ndarray]:
        length = max(1, tokens.shape[1] + self.shift)
        logits = _LOGITS_AT_ONCE.get(self._model.device.type, _LOGITS_AT_ONCE["cpu"])
        vocabulary = int(self._model.get_output_embeddings().weight.shape[0])  # pyright: ignore[reportOptionalMemberAccess]
        size = max(1, min(_TOKENS_AT_ONCE // length, logits // (length * vocabulary)))
        return [tokens[start : start + size] for start in range(0, max(1, len(tokens)), size)]


@dataclass(frozen=True)
class _Reading:
    """Some prompts, read: the model's tokens, the laws behind the grammar's, and a cache that can be cut short."""

    spelled: Int64[np.ndarray, "prompts spelled"]
    law: Tensor
    other: Tensor
    cache: Cache | None


class _CausalBranches:
    """Prompts in parts, each with its key-value cache, and what the model wrote last that is no grammar's token.

    A continuation that holds anything else must be the last one asked for and one token more: only then is it
    known which of the model's tokens was meant.
    """

    def __init__(self, predictor: CausalPredictor, readings: list[_Reading]) -> None:
        self._predictor = predictor
        self._readings = readings
        self._stops: np.ndarray | None = None
        self._asked: np.ndarray | None = None
        self._spelled: np.ndarray | None = None
        self._other: np.ndarray | None = None

    @torch.inference_mode()
    def log_probabilities(
        self,
        stops: Int32[np.ndarray, "prompts branches"],
        continuations: UInt16[np.ndarray, "prompts branches added"],
    ) -> Float32[np.ndarray, "prompts branches vocabulary"]:
        """Return ln P(next token | the first `stops` tokens of the prompt, then the continuation)."""
        if stops.min(initial=1) < 1:
            raise ValueError("A prefix has at least one token, the start token.")
        spelled = self._spell(stops, continuations)
        laws: list[Tensor] = []
        others: list[Tensor] = []
        first = 0
        for reading in self._readings:
            part = slice(first, first + len(reading.spelled))
            law, other = self._part(reading, stops[part], spelled[part])
            laws.append(law)
            others.append(other)
            first = part.stop
        self._stops, self._asked, self._spelled = stops, continuations, spelled
        self._other = torch.cat(others).numpy()
        return torch.cat(laws).numpy()

    def _spell(self, stops: np.ndarray, continuations: np.ndarray) -> np.ndarray:
        spelled = self._predictor.numbers(continuations)
        if not (spelled == NO_TOKEN).any():
            return spelled
        if not self._follows(stops, continuations):
            raise ValueError("A continuation with an unknown token must go on from the one asked for last.")
        assert self._spelled is not None  # noqa: S101 - `_follows` has seen it
        assert self._other is not None  # noqa: S101
        last = np.where(spelled[..., -1] == NO_TOKEN, self._other, spelled[..., -1])
        return np.concatenate([self._spelled, last[..., None]], axis=2)

    def _follows(self, stops: np.ndarray, continuations: np.ndarray) -> bool:
        if self._stops is None or self._asked is None:
            return False
        return np.array_equal(stops, self._stops) and np.array_equal(continuations[..., :-1], self._asked)

    def _part(self, reading: _Reading, stops: np.ndarray, spelled: np.ndarray) -> tuple[Tensor, Tensor]:
        if not spelled.shape[2]:
            prompts, last = np.arange(len(stops))[:, None], stops - 1
            return reading.law[prompts, last], reading.other[prompts, last]
        law = torch.empty((*stops.shape, self._predictor.vocabulary_size))
        other = torch.zeros(stops.shape, dtype=torch.int64)
        for branch in range(stops.shape[1]):
            for stop in np.unique(stops[:, branch]):
                rows = np.nonzero(stops[:, branch] == stop)[0]
                logits = self._continue(reading, rows, int(stop), spelled[rows, branch])
                law[rows, branch], other[rows, branch] = self._predictor.law(logits)
        return law, other

    def _continue(self, reading: _Reading, rows: np.ndarray, stop: int, added: np.ndarray) -> Tensor:
        """Return the logits behind the prompts' first `stop` tokens and `added`."""
        predictor = self._predictor
        stop += predictor.shift
        if reading.cache is None or not stop:
            ids = np.concatenate([reading.spelled[rows, :stop], added], axis=1)
            return predictor.run(predictor.tensor(ids)).logits[:, -1]
        cache = copy.deepcopy(reading.cache)
        cache.crop(stop - cache.get_seq_length())
        if len(rows) < len(reading.spelled):
            cache.batch_select_indices(predictor.tensor(rows))
        return predictor.run(predictor.tensor(added), cache, keep=True).logits[:, -1]


def _shortenable(cache: Any) -> Cache | None:
    """Return a cache whose every layer keeps all keys and values, one place a token; None for any other.

    Sliding windows and recurrent states cannot be taken back to an earlier place.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer  # noqa: PLC0415 - an optional library

    whole = isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)
    return cache if whole else None
