"""The common curve: what all losses of a training corpus share, as a scaling law with weakly informative priors.

The common value of a point is the geometric mean of its losses. It is followed by

    L = E + A/N^a + B N^c/D^b                              (c = 0 is the law of Hoffmann et al. 2022)

c is there since ladders that train every size at the same multiples of its size lose as much by fewer tokens per
parameter at each of them; its prior is centred at 0. The priors' centres are near the published law: E half the loss,
a and b one third. They decide little where the runs say something, and keep E and the exponents from running away
where not.

No two sizes are trained quite alike (depth, width, learning rate): all runs of one size share an error of log L with a
deviation of one per cent, beside the noise of each run. The fit weighs sizes and runs by it (generalised least
squares), a size that was not fitted brings an error of its own, and one that was keeps what was seen of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from emergelab.analysis.scaling.curves import (
    A_AT,
    B_AT,
    BEND_AT,
    BENT,
    E_AT,
    HIGH,
    LOG_A_AT,
    LOG_B_AT,
    LOW,
    Positions,
    log_curve,
    starts,
)
from emergelab.analysis.scaling.ladder import Ladder
from emergelab.analysis.scaling.law import resampled_weights
from emergelab.analysis.scaling.robust import Jacobian, Loss, Model, Parameters, Problem, Values, minimise
from emergelab.rng import Stream

# Centres and deviations of the priors; E's is that of ln of its share of the loss.
_CENTRE = {E_AT: -0.6, LOG_A_AT: float(np.log(0.33)), LOG_B_AT: float(np.log(0.33)), BEND_AT: 0.0}
_DEVIATION = {E_AT: 0.6, LOG_A_AT: 0.4, LOG_B_AT: 0.4, BEND_AT: 0.3}
_VAGUE = {A_AT: 1e-4, B_AT: 1e-4}  # precisions
_TURN = 1.5  # deviations; beyond, a residual counts linearly
_ROUNDS = 4
_LEAST_NOISE = 5e-4
_NORMAL = 1.4826  # deviation over the median absolute one
_START_NOISE = 0.01
_KEPT = 3
_OF_SIZES = 0.01
_SAME_SIZE = 0.01  # relative


@dataclass(frozen=True)
class Sizes:
    """The sizes among some points, `params`, and which point has which: `member` is 1 there, else 0."""

    params: Float64[np.ndarray, " sizes"]
    member: Float64[np.ndarray, "points sizes"]

    @staticmethod
    def of(params: np.ndarray) -> Sizes:
        """Return the sizes of points with so many parameters."""
        sizes, which = np.unique(params, return_inverse=True)
        return Sizes(sizes, np.eye(sizes.size)[which])

    def shrunk(self, values: np.ndarray, share: Float64[np.ndarray, " sizes"]) -> np.ndarray:
        """Return, for each size, a share of the mean over its points; points are the last axis of `values`."""
        return values @ self.member * (share / self.member.sum(axis=0))

    def whitened(self, values: np.ndarray, noise: float) -> np.ndarray:
        """Return values whose errors, of sizes and of runs with deviation `noise`, are independent and as large."""
        keep = noise / np.sqrt(noise**2 + self.member.sum(axis=0) * _OF_SIZES**2)
        return values - self.shrunk(values, 1 - keep) @ self.member.T

    def offsets(self, residuals: np.ndarray, noise: float) -> np.ndarray:
        """Return the expected error of each size, given what is measured above the curve."""
        count = self.member.sum(axis=0)
        return self.shrunk(residuals, count * _OF_SIZES**2 / (noise**2 + count * _OF_SIZES**2))

    def find(self, params: np.ndarray) -> Float64[np.ndarray, "points sizes"]:
        """Return 1 where a point has a size that is known here, else 0."""
        return (np.abs(np.log(params[:, None] / self.params)) < _SAME_SIZE).astype(np.float64)


@dataclass(frozen=True)
class CommonCurve:
    """The curve of one training corpus: the fit, then those to resampled runs; the error of each size in each fit."""

    positions: Positions
    parameters: Float64[np.ndarray, "fits parameters"]
    offsets: Float64[np.ndarray, "fits sizes"]
    sizes: Sizes

    def at(self, params: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log L at new points, and its standard deviation over the resampled runs and over sizes."""
        there = log_curve(Positions.about(params, tokens, self.positions.centre))
        told, _ = there(self.parameters, np.zeros(1, dtype=np.int64))
        known = self.sizes.find(params)
        told = told + self.offsets @ known.T
        variance = np.mean((told[1:] - told[0]) ** 2, axis=0)
        return told[0], np.sqrt(variance + _OF_SIZES**2 * (known.sum(axis=1) == 0))


def common_values(ladder: Ladder, rows: list[int]) -> Float64[np.ndarray, " points"]:
    """Return the mean logarithm of the metrics `rows` at every point; NaN where one of the metrics used is missing.

    Shares enter as the share that is wrong, log-likelihoods with their sign changed. Metrics that are not known at
    every point stay out, unless none is.
    """
    logs = np.stack([losslike(ladder, row) for row in rows])
    whole = ~np.isnan(logs).any(axis=1)
    return logs[whole if whole.any() else slice(None)].mean(axis=0)


def losslike(ladder: Ladder, row: int) -> Float64[np.ndarray, " points"]:
    """Return the logarithm of a metric as something that is above 0 and falls."""
    values = ladder.values[row]
    sort = ladder.metrics[row].sort
    if sort == "share":
        return np.log(np.maximum(1 - values, _LEAST_WRONG))
    return np.log(-values if sort == "log-likelihood" else values)


_LEAST_WRONG = 1e-3


def fit_common(ladder: Ladder, values: np.ndarray, samples: int, stream: Stream) -> CommonCurve:
    """Fit the curve to the points of one training corpus, and to `samples` sets of runs drawn with replacement."""
    positions, sizes = Positions.of(ladder.params, ladder.tokens), Sizes.of(ladder.params)
    ends = starts(float(np.median(values)), BENT)
    noise = _START_NOISE
    for _ in range(_ROUNDS):
        alike = np.ones((len(ends), values.size))
        found, objectives = minimise(_problem((positions, sizes), values, alike, noise), ends)
        ends = found[np.argsort(objectives, kind="stable")[:_KEPT]]
        left = sizes.whitened(values - _curve_at(positions, ends[:1])[0], noise)
        noise = max(_NORMAL * float(np.median(np.abs(left))), _LEAST_NOISE)
    weights = resampled_weights(ladder.run, samples, stream)
    problem = _problem((positions, sizes), values, weights, noise)
    draws, _ = minimise(problem, np.tile(ends[0], (samples, 1)), steps=60)
    parameters = np.vstack([ends[:1], draws])
    above = values - _curve_at(positions, parameters)
    return CommonCurve(positions, parameters, sizes.offsets(above, noise), sizes)


def _curve_at(positions: Positions, parameters: Parameters) -> Values:
    told, _ = log_curve(positions)(parameters, np.zeros(1, dtype=np.int64))
    return told


def _whitened_curve(positions: Positions, sizes: Sizes, noise: float) -> Model:
    curve = log_curve(positions)

    def model(parameters: Parameters, rows: np.ndarray) -> tuple[Values, Jacobian]:
        told, jacobian = curve(parameters, rows)
        slopes = sizes.whitened(np.swapaxes(jacobian, 1, 2), noise)
        return sizes.whitened(told, noise), np.swapaxes(slopes, 1, 2)

    return model


def _problem(
    places: tuple[Positions, Sizes], values: np.ndarray, weights: np.ndarray, noise: float
) -> Problem:
    """Return the fits of one curve to the same values with other weights."""
    positions, sizes = places
    centre, precision = np.zeros(BENT), np.zeros(BENT)
    for at, mean in _CENTRE.items():
        centre[at], precision[at] = mean, _DEVIATION[at] ** -2
    for at, little in _VAGUE.items():
        precision[at] = little
    centre[E_AT] += float(np.median(values))
    return Problem(
        _whitened_curve(positions, sizes, noise),
        np.broadcast_to(sizes.whitened(values, noise), weights.shape),
        weights,
        Loss(_TURN, noise),
        LOW,
        HIGH,
        np.broadcast_to(centre, (len(weights), BENT)),
        np.broadcast_to(precision, (len(weights), BENT)),
    )
