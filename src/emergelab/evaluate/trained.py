"""A trained transformer as a predictor: NumPy in, NumPy out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int32, UInt16

from emergelab.model.spec import ModelSpec
from emergelab.model.transformer.cache import Cache, branch, read
from emergelab.model.transformer.network import Network, logits, network
from emergelab.model.transformer.parameters import Parameters
from emergelab.scores.predictor import Branches
from emergelab.train.checkpoint import read_checkpoint

_TOKENS_AT_ONCE = 1 << 14  # bounds memory; larger batches are no faster


class TrainedPredictor:
    """Obeys `Predictor` and `BranchingPredictor`, in float32 on the CPU, however it was trained.

    Uses as many threads as torch was told to. Raises ValueError for prompts beyond the context.
    """

    def __init__(self, name: str, spec: ModelSpec, parameters: Parameters) -> None:
        self._name = name
        with torch.inference_mode():
            self._network = network(spec, parameters)

    @classmethod
    def load(cls, path: Path, name: str = "model") -> TrainedPredictor:
        """Return the predictor of a stored model. Errors are those of `read_checkpoint`."""
        checkpoint = read_checkpoint(path)
        return cls(name, checkpoint.spec, checkpoint.parameters)

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        return self._name

    @property
    def vocabulary_size(self) -> int:
        """The number V of tokens that it knows."""
        return self._network.spec.vocabulary

    @torch.inference_mode()
    def log_probabilities(
        self, tokens: UInt16[np.ndarray, "prompts length"]
    ) -> Float32[np.ndarray, "prompts length vocabulary"]:
        """Return ln P(token at t+1 | tokens up to and with t) at every position t."""
        _check_length(self._network, tokens.shape[1])
        parts = [
            torch.log_softmax(logits(self._network, _integers(tokens[part])[None])[0], -1)
            for part in _batches(*tokens.shape)
        ]
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def branches(self, tokens: UInt16[np.ndarray, "prompts length"]) -> Branches:
        """Read the prompts once and return their prefixes."""
        _check_length(self._network, tokens.shape[1])
        parts = _batches(*tokens.shape)
        caches = [read(self._network, _integers(tokens[part])) for part in parts]
        return _TrainedBranches(self._network, parts, caches)


class _TrainedBranches:
    """Prompts in batches, each with its key-value cache."""

    def __init__(self, net: Network, parts: list[slice], caches: list[Cache]) -> None:
        self._network = net
        self._batches = list(zip(parts, caches, strict=True))

    @torch.inference_mode()
    def log_probabilities(
        self,
        stops: Int32[np.ndarray, "prompts branches"],
        continuations: UInt16[np.ndarray, "prompts branches added"],
    ) -> Float32[np.ndarray, "prompts branches vocabulary"]:
        """Return ln P(next token | the first `stops` tokens of the prompt, then the continuation)."""
        _check_length(self._network, int(stops.max(initial=1)) + continuations.shape[2])
        if stops.min(initial=1) < 1:
            raise ValueError("A prefix has at least one token, the start token.")
        scores = [
            branch(self._network, cache, _integers(stops[part]), _integers(continuations[part]))
            for part, cache in self._batches
        ]
        return torch.log_softmax(torch.cat(scores), -1).numpy()


def _integers(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.int64))


def _batches(prompts: int, length: int) -> list[slice]:
    size = max(1, _TOKENS_AT_ONCE // max(1, length))
    return [slice(start, start + size) for start in range(0, max(1, prompts), size)]


def _check_length(net: Network, length: int) -> None:
    if length > net.spec.context:
        message = f"The model was built for {net.spec.context} tokens. Got a prompt of {length}."
        raise ValueError(message)
