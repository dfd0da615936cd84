"""Muon for the matrices inside blocks, AdamW for the rest, over stacks of R models at once.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") replaces a matrix's
averaged gradient by the nearest orthogonal matrix. All matrices of one shape, of all layers and replicas,
go through the Newton-Schulz iteration as one batch.

One setting serves several widths: an orthogonal step of size √max(1, out/in) changes a layer's output
by an amount that depends on its shape only, so Muon's rate stays as it is; AdamW's stays for embedding and
gains, whose inputs do not grow with the width, and falls as 1/width for the head, which sums over the width
(Yang et al. 2022, arXiv 2203.03466). The given rates are those at width 64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from emergelab.model.transformer.parameters import MATRICES, Parameters
from emergelab.train.spec import TrainSpec

REFERENCE_WIDTH = 64
_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_TINY = 1e-7
_ADAM_EPSILON = 1e-8


@dataclass(frozen=True, slots=True)
class Moments:
    """What the optimiser remembers: Muon's averages by name, AdamW's two as flat vectors."""

    momentum: Parameters
    first: Float[Tensor, " n"]
    second: Float[Tensor, " n"]


def fresh_moments(parameters: Parameters) -> Moments:
    """Return the moments before the first step: zeros."""
    flat = torch.zeros_like(_flatten(_others(parameters)))
    return Moments(
        {name: torch.zeros_like(parameters[name]) for name in MATRICES}, flat, torch.zeros_like(flat)
    )


def update(
    spec: TrainSpec,
    rates: tuple[float, int],
    values: tuple[Parameters, Parameters],
    moments: Moments,
    dtype: torch.dtype,
) -> tuple[Parameters, Moments]:
    """Return new parameters and moments. Nothing is changed in place.

    `values` are parameters and gradients. `rates` is the learning rates' factor and the number of this step,
    the first being 1; `dtype` is that of the Newton-Schulz iteration.
    """
    matrices, momentum = _muon(spec, rates[0], (*values, moments.momentum), dtype)
    others, first, second = _adam(spec, rates, values, (moments.first, moments.second))
    merged = matrices | others
    return {name: merged[name] for name in values[0]}, Moments(momentum, first, second)


def _muon(
    spec: TrainSpec, factor: float, state: tuple[Parameters, Parameters, Parameters], dtype: torch.dtype
) -> tuple[Parameters, Parameters]:
    parameters, gradients, old = state
    momentum = {name: torch.lerp(gradients[name], old[name], spec.momentum) for name in MATRICES}
    ahead = {name: torch.lerp(gradients[name], momentum[name], spec.momentum) for name in MATRICES}
    rate = factor * spec.matrix_learning_rate
    keep = 1 - rate * spec.weight_decay
    new: Parameters = {}
    for name, direction in orthogonalise(ahead, dtype).items():
        rows, columns = direction.shape[-2:]
        scale = rate * math.sqrt(max(1.0, rows / columns))
        new[name] = torch.sub(
            parameters[name] * keep if keep != 1 else parameters[name], direction, alpha=scale
        )
    return new, momentum


def orthogonalise(matrices: Parameters, dtype: torch.dtype) -> Parameters:
    """Return the nearly orthogonal matrices of stacks [..., out, in], equal shapes batched together."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name, stack in matrices.items():
        rows, columns = stack.shape[-2:]
        groups.setdefault((min(rows, columns), max(rows, columns)), []).append(name)
    result: Parameters = {}
    for shape, names in groups.items():
        batch = torch.cat([_lying(matrices[name]).reshape(-1, *shape) for name in names])
        parts = newton_schulz(batch.to(dtype)).float()
        counts = [matrices[name].numel() // math.prod(shape) for name in names]
        for name, part in zip(names, parts.split(counts), strict=True):
            stack = matrices[name]
            result[name] = _lying(part.view(_lying(stack).shape), like=stack)
    return result


def _lying(stack: Tensor, like: Tensor | None = None) -> Tensor:
    """Transpose the matrices if those of `like` have more rows than columns."""
    rows, columns = (stack if like is None else like).shape[-2:]
    return stack.mT if rows > columns else stack


def newton_schulz(batch: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Return matrices with the same singular vectors and singular values near 1, for rows ≤ columns.

    Five steps of X ← aX + (bA + cA²)X with A = XXᵀ, whose coefficients are those of Jordan et al.
    """
    a, b, c = _COEFFICIENTS
    x = batch / torch.linalg.matrix_norm(batch, keepdim=True).clamp_(min=_TINY)
    for _ in range(_ITERATIONS):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x


def _adam(
    spec: TrainSpec,
    rates: tuple[float, int],
    values: tuple[Parameters, Parameters],
    moments: tuple[Tensor, Tensor],
) -> tuple[Parameters, Tensor, Tensor]:
    factor, step = rates
    others = _others(values[0])
    parameter, gradient = (_flatten(_others(value)) for value in values)
    (beta, gamma), rate = spec.betas, factor * spec.other_learning_rate
    first = torch.lerp(gradient, moments[0], beta)
    second = torch.lerp(gradient.square(), moments[1], gamma)
    root = (second / (1 - gamma**step)).sqrt_().add_(_ADAM_EPSILON)
    head = values[0]["head"]
    scale = torch.full_like(parameter, rate / (1 - beta**step))
    scale[-head.numel() :] *= REFERENCE_WIDTH / head.shape[-1]  # the head is the last, see `_others`
    new = torch.addcmul(parameter, scale, first / root, value=-1)
    parts = new.split([tensor.numel() for tensor in others.values()])
    shaped = {name: part.view(others[name].shape) for name, part in zip(others, parts, strict=True)}
    return shaped, first, second


def _others(parameters: Parameters) -> Parameters:
    """Return the parameters outside Muon, the head last."""
    names = [name for name in parameters if name not in {*MATRICES, "head"}]
    return {name: parameters[name] for name in (*names, "head")}


def _flatten(parameters: Parameters) -> Float[Tensor, " n"]:
    return torch.cat([tensor.reshape(-1) for tensor in parameters.values()])
