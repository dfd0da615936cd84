"""The model's specification: sizes, parameter counts and training cost, without torch."""

from __future__ import annotations

import math

from pydantic import model_validator

from emergelab.spec import Spec

_HIDDEN_MULTIPLE = 8
_VOCABULARIES = range(2, (1 << 16) + 1)  # tokens are uint16 everywhere


class ModelSpec(Spec):
    """A decoder-only transformer of the Llama shape: RMSNorm, rotary positions, SwiGLU, no biases.

    `hidden` is the width of the feed-forward layer; None stands for 8/3 of `width`, rounded up to a
    multiple of 8, which gives a block the 12·width² matrix entries of the classic transformer. Reading a
    token and predicting it are different directions in small models (a token that is never followed by
    itself should not resemble itself), so embedding and head are two matrices, never tied.
    """

    vocabulary: int
    width: int = 64
    heads: int = 4
    layers: int = 4
    context: int = 48
    hidden: int | None = None
    rotary_base: float = 10_000.0
    norm_epsilon: float = 1e-6

    @model_validator(mode="after")
    def _check(self) -> ModelSpec:
        for name in ("width", "heads", "layers", "context", "hidden"):
            _require_positive(name, getattr(self, name))
        if self.vocabulary not in _VOCABULARIES:
            message = (
                f"Got vocabulary = {self.vocabulary}. A vocabulary has 2 to 65536 tokens. "
                "Use a grammar with that many."
            )
            raise ValueError(message)
        self._check_heads()
        self._check_numbers()
        return self

    def _check_heads(self) -> None:
        if self.width % self.heads:
            message = (
                f"Got width = {self.width} and heads = {self.heads}. "
                "The width must be a multiple of the heads. "
                f"Use width = {self.heads * max(2, round(self.width / self.heads))}, or other heads."
            )
            raise ValueError(message)
        if self.head_width % 2:
            message = (
                f"Got width = {self.width} and heads = {self.heads}: {self.head_width} per head. "
                "Rotary positions turn pairs, so the width per head must be even. "
                f"Use width = {self.heads * (self.head_width + 1)}."
            )
            raise ValueError(message)

    def _check_numbers(self) -> None:
        if self.rotary_base <= 1:
            message = f"Got rotary_base = {self.rotary_base}. It must be above 1. Use 10000, the usual value."
            raise ValueError(message)
        if self.norm_epsilon <= 0:
            message = f"Got norm_epsilon = {self.norm_epsilon}. It must be above 0. Use 1e-6."
            raise ValueError(message)

    @property
    def head_width(self) -> int:
        """The number of dimensions of one attention head."""
        return self.width // self.heads

    @property
    def hidden_width(self) -> int:
        """`hidden`, or what it stands for when it is None."""
        if self.hidden is not None:
            return self.hidden
        return math.ceil(8 * self.width / (3 * _HIDDEN_MULTIPLE)) * _HIDDEN_MULTIPLE

    def block_parameters(self) -> int:
        """Return the parameters of one block: four attention and three feed-forward matrices, two norms."""
        return 4 * self.width**2 + 3 * self.width * self.hidden_width + 2 * self.width

    def non_embedding_parameters(self) -> int:
        """Return the parameters that multiply activations: all but the embedding table.

        The head counts, since every token passes through it.
        """
        return self.layers * self.block_parameters() + self.width + self.vocabulary * self.width

    def parameters(self) -> int:
        """Return the number of all parameters."""
        return self.non_embedding_parameters() + self.vocabulary * self.width

    def training_flops(self, tokens: int) -> int:
        """Return the floating-point operations of training on `tokens` tokens at full context.

        With N = `non_embedding_parameters()`, L layers, width d and context T:

            tokens · (6 N + 6 L d (T + 1))

        A parameter costs a multiplication and an addition forward and twice that backward. A token attends
        to (T + 1)/2 positions on average, each of which costs 2d operations for its score and 2d for its
        value, three times with the backward pass (Kaplan et al. 2020, appendix B, with causal attention).
        """
        attention = 6 * self.layers * self.width * (self.context + 1)
        return tokens * (6 * self.non_embedding_parameters() + attention)


def _require_positive(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        message = f"Got {name} = {value}. It must be at least 1. Use a whole number such as 4."
        raise ValueError(message)
