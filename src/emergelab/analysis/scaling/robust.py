"""Many small nonlinear fits at once: Huber's loss on residuals, by damped Gauss-Newton steps with reweighting.

A batch has B fits of n points and P parameters each. Fits share nothing, so that starts, bootstrap samples, points of a
profile and curves are all rows of one batch. Every step lowers the objective or is not taken (Levenberg 1944;
reweighting: Huber 1964).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

Parameters = Float64[np.ndarray, "fits parameters"]
Values = Float64[np.ndarray, "fits points"]
Jacobian = Float64[np.ndarray, "fits points parameters"]
# What the model says, and its derivative by the parameters, for the rows of the batch that are asked for.
Model = Callable[[Parameters, np.ndarray], tuple[Values, Jacobian]]

_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-2, 1e-8, 1e7
_EASIER, _HARDER = 0.3, 4.0
_LONGEST_STEP = 1.0  # in any parameter
_SETTLED = 1e-11  # of the objective, relative, in one step
_TINY = 1e-300
_PATIENCE = 3


@dataclass(frozen=True)
class Loss:
    """Huber's loss of residuals over `scale`: half the square up to `delta`, linear beyond it."""

    delta: float
    scale: float = 1.0

    def of(self, residuals: np.ndarray) -> np.ndarray:
        """Return the loss of every residual."""
        size = np.abs(residuals / self.scale)
        return np.where(size < self.delta, size**2 / 2, self.delta * (size - self.delta / 2))

    def weights(self, residuals: np.ndarray) -> np.ndarray:
        """Return the weights with which squares have the loss's slope."""
        size = np.abs(residuals / self.scale)
        return np.where(size < self.delta, 1.0, self.delta / np.maximum(size, _TINY)) / self.scale**2


@dataclass(frozen=True)
class Problem:
    """B fits of `y` by `model`: the points' weights, bounds of the parameters and a normal prior on them.

    `low` and `high` are [P]; `prior_mean` and `prior_precision` [B, P], a precision of 0 says nothing.
    """

    model: Model
    y: Values
    weights: Values
    loss: Loss
    low: Float64[np.ndarray, " parameters"]
    high: Float64[np.ndarray, " parameters"]
    prior_mean: Parameters | None = None
    prior_precision: Parameters | None = None


def minimise(
    problem: Problem, start: Parameters, *, steps: int = 200
) -> tuple[Parameters, Float64[np.ndarray, " fits"]]:
    """Return the parameters of all fits from their starts, and the objectives there."""
    found = np.clip(start, problem.low, problem.high)
    rows = np.arange(len(found))
    lowest = _objective(problem, found, rows)
    damping = np.full(len(found), _DAMPING)
    settled = np.zeros(len(found), dtype=np.int64)
    for _ in range(steps):
        rows = np.flatnonzero(settled < _PATIENCE)
        if not rows.size:
            break
        tried = np.clip(
            found[rows] + _step(problem, found[rows], rows, damping[rows]), problem.low, problem.high
        )
        reached = _objective(problem, tried, rows)
        better = reached < lowest[rows]
        small = lowest[rows] - reached <= _SETTLED * np.abs(lowest[rows])
        stuck = damping[rows] >= _MOST_DAMPING
        settled[rows] = np.where(better & ~small, 0, settled[rows] + (better & small) + _PATIENCE * stuck)
        found[rows[better]], lowest[rows[better]] = tried[better], reached[better]
        factor = np.where(better, _EASIER, _HARDER)
        damping[rows] = np.clip(damping[rows] * factor, _LEAST_DAMPING, _MOST_DAMPING)
    return found, lowest


def _objective(problem: Problem, parameters: Parameters, rows: np.ndarray) -> Float64[np.ndarray, " fits"]:
    told, _ = problem.model(parameters, rows)
    losses = (problem.weights[rows] * problem.loss.of(told - problem.y[rows])).sum(axis=1)
    if problem.prior_mean is None or problem.prior_precision is None:
        return losses
    off = parameters - problem.prior_mean[rows]
    return losses + (problem.prior_precision[rows] * off**2).sum(axis=1) / 2


def _step(problem: Problem, parameters: Parameters, rows: np.ndarray, damping: np.ndarray) -> Parameters:
    told, jacobian = problem.model(parameters, rows)
    residuals = told - problem.y[rows]
    weights = problem.weights[rows] * problem.loss.weights(residuals)
    weighted = np.swapaxes(jacobian * weights[..., None], 1, 2)
    curvature = weighted @ jacobian
    slope = (weighted @ residuals[..., None])[..., 0]
    diagonal = np.arange(parameters.shape[1])
    if problem.prior_mean is not None and problem.prior_precision is not None:
        curvature[:, diagonal, diagonal] += problem.prior_precision[rows]
        slope = slope + problem.prior_precision[rows] * (parameters - problem.prior_mean[rows])
    # What lies on a bound and would leave it stays: else it drags the others along.
    held = ((parameters <= problem.low) & (slope > 0)) | ((parameters >= problem.high) & (slope < 0))
    curvature = np.where(held[:, :, None] | held[:, None, :], 0.0, curvature)
    scale = curvature[:, diagonal, diagonal]
    curvature[:, diagonal, diagonal] += damping[:, None] * scale + np.where(scale > 0, _TINY, 1.0)
    curvature[:, diagonal, diagonal] += 1e-12 * scale.max(axis=1, keepdims=True)
    step = -np.linalg.solve(curvature, np.where(held, 0.0, slope)[..., None])[..., 0]
    return np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
