"""The protocols that every predictor obeys: trained model, ideal predictor and baseline alike."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32, UInt16


@runtime_checkable
class Predictor(Protocol):
    """Gives the law of the next token after every prefix. Log-probabilities are in nats."""

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """The number V of tokens that it knows."""
        ...

    def log_probabilities(
        self, tokens: UInt16[np.ndarray, "prompts length"]
    ) -> Float32[np.ndarray, "prompts length vocabulary"]:
        """Return ln P(token at t+1 | tokens up to and with t) at every position t."""
        ...


@runtime_checkable
class Branches(Protocol):
    """Prefixes already read, ready to be continued in several ways without being read again."""

    def log_probabilities(
        self,
        stops: Int32[np.ndarray, "prompts branches"],
        continuations: UInt16[np.ndarray, "prompts branches added"],
    ) -> Float32[np.ndarray, "prompts branches vocabulary"]:
        """Return ln P(next token | the first `stops` tokens of the prompt, then the continuation)."""
        ...


@runtime_checkable
class BranchingPredictor(Protocol):
    """A predictor that generates from many prefixes of one prompt with a key-value cache."""

    def branches(self, tokens: UInt16[np.ndarray, "prompts length"]) -> Branches:
        """Read the prompts once and return their prefixes."""
        ...
