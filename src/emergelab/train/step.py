"""One training step as a pure function of state and batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, Int64, UInt16
from torch import Tensor
from torch.nn import functional

from emergelab.model.spec import ModelSpec
from emergelab.model.transformer.network import Network, Rows, logits, logits_of_rows, network
from emergelab.model.transformer.parameters import Parameters, initialise
from emergelab.rng import Stream
from emergelab.train.optimiser import Moments, fresh_moments, update
from emergelab.train.spec import TrainSpec, learning_rate_factor

Losses = Callable[[Parameters, "Batch"], Float[Tensor, " R"]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents for R models. Target t of a document is its token t + 1."""

    tokens: Int64[Tensor, "R B length"]
    counted: Bool[Tensor, "R B targets"]


@dataclass(frozen=True, slots=True)
class State:
    """R models under training after `step` steps."""

    parameters: Parameters
    moments: Moments
    step: int


@dataclass(frozen=True, slots=True)
class Rule:
    """How a step is taken: length of the run, compute dtype, and the loss, perhaps compiled."""

    train: TrainSpec
    steps: int
    dtype: torch.dtype
    losses: Losses


def fresh_state(spec: ModelSpec, streams: Sequence[Stream], device: torch.device | str = "cpu") -> State:
    """Return untrained models, one for each stream."""
    parameters = initialise(spec, streams, device)
    return State(parameters, fresh_moments(parameters), 0)


def make_batch(
    documents: Sequence[tuple[UInt16[np.ndarray, "B length"], Int32[np.ndarray, " B"]]],
    device: torch.device | str = "cpu",
) -> Batch:
    """Return the batch of one (tokens, lengths) pair for each model. Target t counts iff t + 1 < length."""
    tokens = torch.from_numpy(np.stack([pair[0] for pair in documents]).astype(np.int64))
    lengths = torch.from_numpy(np.stack([pair[1] for pair in documents]))
    counted = torch.arange(1, tokens.shape[-1]) < lengths[..., None]
    return Batch(tokens.to(device), counted.to(device))


def loss_function(spec: ModelSpec, dtype: torch.dtype) -> Losses:
    """Return the function (parameters, batch) → every model's mean loss over its counted targets, in nats."""

    def losses(parameters: Parameters, batch: Batch) -> Float[Tensor, " R"]:
        net = network(spec, parameters, dtype)
        return _unpadded_loss(net, batch) if _may_vary_in_shape(batch) else _losses(net, batch)

    return losses


def _losses(net: Network, batch: Batch) -> Float[Tensor, " R"]:
    scores, targets = logits(net, batch.tokens[..., :-1]), batch.tokens[..., 1:]
    nats = functional.cross_entropy(scores.flatten(0, 2), targets.flatten(), reduction="none")
    counted = batch.counted.flatten(1).to(nats.dtype)
    return (nats.view(counted.shape) * counted).sum(1) / counted.sum(1)


def _may_vary_in_shape(batch: Batch) -> bool:
    """Say whether padding can be left out: not where models share a shape or a compiler wants one."""
    return len(batch.tokens) == 1 and batch.tokens.device.type == "cpu" and not torch.compiler.is_compiling()


def _unpadded_loss(net: Network, batch: Batch) -> Float[Tensor, " 1"]:
    rows = Rows.of(batch.counted.flatten())
    targets = batch.tokens[0, :, 1:].flatten()[rows.places[: rows.count]]
    return functional.cross_entropy(logits_of_rows(net, batch.tokens[..., :-1], rows), targets)[None]


def step(rule: Rule, state: State, batch: Batch) -> tuple[State, Float[Tensor, " R"]]:
    """Return the state after one more step, and every model's loss on the batch before it.

    Models do not influence each other: their losses are added, and no parameter is shared.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in state.parameters.items()}
    losses = rule.losses(leaves, batch)
    gradients = dict(zip(leaves, torch.autograd.grad(losses.sum(), tuple(leaves.values())), strict=True))
    rates = learning_rate_factor(rule.train, state.step, rule.steps), state.step + 1
    with torch.no_grad():
        parameters, moments = update(
            rule.train, rates, (state.parameters, gradients), state.moments, rule.dtype
        )
    return State(parameters, moments, state.step + 1), losses.detach()
