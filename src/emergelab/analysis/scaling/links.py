"""From a loss to what a task's metric does: a parabola that is kept nearly straight, and a sigmoid above chance.

Both take positions z on the loss: the points' log losses, centred and scaled, with signs changed so that more is
better. Points of more compute count more, since what is asked lies beyond them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import expit, logit

from emergelab.analysis.scaling.ladder import Metric
from emergelab.analysis.scaling.robust import Loss, Problem, minimise

Points = Float64[np.ndarray, " points"]
Curves = Float64[np.ndarray, "curves points"]

_STRAIGHT = 1.0  # weight against curvature, in units of the points' spread
_FLOORS = (0.0, 0.2, 0.25, 1 / 3, 0.5)
_SLOPE, _SLOPE_DEVIATION, _PLACE_DEVIATION = 1.0, 2.0, 5.0
_STEEPEST = 12.0
_SQUARES = 1e9  # of deviations: no residual counts linearly
_LEAST_NOISE = 2e-3
_LOWEST = 3  # points whose mean stands for an unknown floor
_SMALLEST = {"loss": 1e-3, "log-likelihood": 1e-3, "share": 2e-3}  # noise of a metric
_SHRINK = 4.0  # points' worth of the other metrics' noise in a metric's own


@dataclass(frozen=True)
class Scale:
    """How log losses become positions z: their weighted mean and deviation, and the points' weights (mean 1)."""

    middle: float
    spread: float
    weights: Points

    @staticmethod
    def of(log_losses: Points, compute: Points, recency: float) -> Scale:
        """Return the scale of some points, weighted by compute to the power `recency`."""
        weights = (compute / compute.max()) ** recency
        weights = weights / weights.mean()
        middle = float(np.average(log_losses, weights=weights))
        spread = float(np.sqrt(np.average((log_losses - middle) ** 2, weights=weights)))
        return Scale(middle, max(spread, 1e-9), weights)

    def z(self, log_losses: np.ndarray) -> np.ndarray:
        """Return positions: larger is better."""
        return -(log_losses - self.middle) / self.spread


@dataclass(frozen=True)
class Parabolas:
    """Metrics as parabolas of z with a small second coefficient: least squares, the curvature shrunk.

    `noise` is the weighted deviation of the residuals of each metric.
    """

    coefficients: Float64[np.ndarray, "curves three"]
    inverse: Float64[np.ndarray, "three three"]
    weights: Points
    design: Float64[np.ndarray, "points three"]
    noise: Float64[np.ndarray, " curves"]

    @staticmethod
    def fit(z: Points, y: Curves, weights: Points) -> Parabolas:
        """Fit every row of `y`, which knows every point."""
        design = _powers(z)
        matrix = (design.T * weights) @ design + np.diag([0.0, 0.0, _STRAIGHT]) * weights.sum()
        inverse = np.linalg.inv(matrix)
        coefficients = ((design.T * weights) @ y.T).T @ inverse
        squares = (weights * (y - coefficients @ design.T) ** 2).sum(axis=1) / weights.sum()
        freedom = max(z.size - 2, 1) / z.size
        return Parabolas(coefficients, inverse, weights, design, np.sqrt(squares / freedom))

    def at(self, z: np.ndarray) -> np.ndarray:
        """Return every metric at new positions."""
        return self.coefficients @ _powers(z).T

    def slope(self, z: np.ndarray) -> np.ndarray:
        """Return the derivatives by z."""
        return self.coefficients[:, 1:2] + 2 * self.coefficients[:, 2:3] * z

    def leverage(self, z: np.ndarray) -> np.ndarray:
        """Return the variance of the fit at new positions, in units of the noise's."""
        hat = _powers(z) @ self.inverse @ (self.design.T * self.weights)
        return (hat**2).sum(axis=1)


def _powers(z: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(z), z, z**2], axis=1)


@dataclass(frozen=True)
class Sigmoids:
    """Shares as f + (1 - f) F(place + slope z), F logistic; one fit for each chance floor f, weighed by likelihood."""

    floors: Float64[np.ndarray, "floors curves"]
    place: Float64[np.ndarray, "floors curves"]
    slope: Float64[np.ndarray, "floors curves"]
    weight: Float64[np.ndarray, "floors curves"]

    @staticmethod
    def fit(z: Points, y: Curves, weights: Points, noise: np.ndarray, chance: np.ndarray) -> Sigmoids:
        """Fit every row of `y` with its `noise`; `chance` is the known floor of a row or NaN.

        Where chance is not known, usual ones (0, 1/5, 1/4, 1/3, 1/2) and what the worst points reach are tried.
        """
        floors = _floors(y, chance)
        number, curves = floors.shape
        rows = np.tile(y, (number, 1))
        floor = floors.ravel()[:, None]
        precise = 1 / np.maximum(np.tile(noise, number), _LEAST_NOISE) ** 2

        def model(p: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            part = expit(p[:, :1] + p[:, 1:] * z)
            rise = (1 - floor[at]) * part * (1 - part)
            return floor[at] + (1 - floor[at]) * part, np.stack([rise, rise * z], axis=-1)

        prior = (
            np.tile([0.0, _SLOPE], (len(rows), 1)),
            np.tile([_PLACE_DEVIATION**-2, _SLOPE_DEVIATION**-2], (len(rows), 1)),
        )
        problem = Problem(
            model, rows, precise[:, None] * weights, Loss(_SQUARES),
            np.array([-12.0, 0.0]), np.array([12.0, _STEEPEST]), *prior,
        )  # fmt: skip
        above = (np.average(rows, axis=1, weights=weights) - floor[:, 0]) / (1 - floor[:, 0])
        begin = np.stack([logit(np.clip(above, 0.02, 0.95)), np.full(len(rows), _SLOPE)], axis=1)
        found, objective = minimise(problem, begin, steps=80)
        place, slope, cost = (one.reshape(number, curves) for one in (found[:, 0], found[:, 1], objective))
        likelihood = np.exp(cost.min(axis=0) - cost)
        return Sigmoids(floors, place, slope, likelihood / likelihood.sum(axis=0))

    def at(self, z: np.ndarray) -> np.ndarray:
        """Return every share at new positions, the mean over floors."""
        part = expit(self.place[..., None] + self.slope[..., None] * z)
        floors = self.floors[..., None]
        return (self.weight[..., None] * (floors + (1 - floors) * part)).sum(axis=0)


def _floors(y: Curves, chance: np.ndarray) -> Float64[np.ndarray, "floors curves"]:
    worst = np.maximum(np.sort(y, axis=1)[:, :_LOWEST].mean(axis=1) - 0.01, 0.0)
    usual = np.minimum(np.array(_FLOORS)[:, None], y.mean(axis=1))
    tried = np.vstack([usual, worst])
    return np.minimum(np.where(np.isnan(chance), tried, chance), 0.99)


def shrunk_noise(
    metrics: Sequence[Metric], noise: Float64[np.ndarray, " curves"], points: int
) -> Float64[np.ndarray, " curves"]:
    """Return each metric's noise, drawn towards that of its kind: a few points tell little of it."""
    kinds = np.array([metric.kind for metric in metrics])
    least = np.array([_SMALLEST[metric.sort] for metric in metrics])
    typical = np.array([np.median(noise[kinds == kind]) for kind in kinds])
    return np.maximum(np.sqrt((points * noise**2 + _SHRINK * typical**2) / (points + _SHRINK)), least)
