"""The link from a loss, or from compute, to a task's share of right answers, with intervals of its constants.

    share = floor + (1 - floor) / (1 + exp(-slope (middle - x)))        x a loss
    share = floor + (1 - floor) / (1 + exp(-slope (x - middle)))        x the logarithm of compute

`floor` is chance, told or fitted; `middle` is where half of what lies above it is reached. Huber's loss of residuals in
units of their own noise, many starts, runs drawn again with replacement. (Two steps through a task's bits per
byte: Bhagia et al. 2024, arXiv 2412.04403.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import expit

from emergelab.analysis.estimate import Estimate
from emergelab.analysis.intervals import LEVEL
from emergelab.analysis.scaling.law import BOOTSTRAP, resampled_weights
from emergelab.analysis.scaling.robust import Jacobian, Loss, Model, Parameters, Problem, Values, minimise
from emergelab.rng import Stream

Points = Float64[np.ndarray, " points"]

LINK_NAMES = ("floor", "middle", "slope")
TOLD = "none: told"
LEVEL_LINK = "none: the share hardly depends on it"
_PLACE_AT, _SLOPE_AT, _FLOOR_AT = range(3)
_LOW, _HIGH = np.array([-15.0, 0.0, 0.0]), np.array([15.0, 15.0, 0.99])
_FLOORS = (0.0, 0.1, 0.2, 0.25, 1 / 3, 0.5)
_SLOPES = (0.5, 1.5, 4.0)
_TURN = 1.5  # deviations; beyond, a residual counts linearly
_LEAST_NOISE = 1e-3
_START_NOISE = 0.02
_NORMAL = 1.4826
_ROUNDS = 3
_KEPT = 4
_FLAT = 0.05  # slope of the standardised link; below it the share does not move
_SETTLED = 1e-9


@dataclass(frozen=True)
class LinkPoints:
    """Shares at places `x` of runs; `falling`: the share falls with x, as it does with a loss."""

    x: Points
    shares: Points
    run: Int64[np.ndarray, " points"]
    falling: bool

    @property
    def z(self) -> Points:
        """Places about their mean in units of their deviation, larger is better."""
        return self.sign * (self.x - self.x.mean()) / self.spread

    @property
    def sign(self) -> float:
        """-1 where the share falls with x, else 1."""
        return -1.0 if self.falling else 1.0

    @property
    def spread(self) -> float:
        """The deviation of the places."""
        return max(float(self.x.std()), 1e-12)


@dataclass(frozen=True)
class LinkFit:
    """A fitted link: parameters as (place, slope, floor) in z, and the points."""

    parameters: Float64[np.ndarray, " three"]
    points: LinkPoints

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return shares at places."""
        points = self.points
        z = points.sign * (x - points.x.mean()) / points.spread
        place, slope, floor = self.parameters
        return floor + (1 - floor) * expit(place + slope * z)


@dataclass(frozen=True)
class LinkEstimate:
    """A link and its constants by name, each with its 95 % interval; `residual` in shares."""

    fit: LinkFit
    constants: dict[str, Estimate]
    residual: float


def estimate_link(
    points: LinkPoints, chance: float | None, stream: Stream, *, samples: int = 1000
) -> LinkEstimate:
    """Fit a link; `chance` is its floor, or None where it is to be fitted."""
    best, ends, noise = _fit(points, chance)
    weights = resampled_weights(points.run, samples, stream)
    repeated = np.repeat(weights, len(ends), axis=0)
    found, objectives = minimise(
        _problem(points, chance, repeated, noise), np.tile(ends, (samples, 1)), steps=80
    )
    chosen = objectives.reshape(samples, len(ends)).argmin(axis=1)
    draws = found.reshape(samples, len(ends), -1)[np.arange(samples), chosen]
    fit = LinkFit(best, points)
    number = int(np.unique(points.run).size)
    residual = float(np.sqrt(np.mean((fit.at(points.x) - points.shares) ** 2)))
    return LinkEstimate(fit, _constants(points, best, draws, number, told=chance is not None), residual)


def _fit(points: LinkPoints, chance: float | None) -> tuple[np.ndarray, Parameters, float]:
    """Return the best parameters, a few different ends of the starts, and the noise of a share."""
    ends, noise = _starts(points, chance), _START_NOISE
    for _ in range(_ROUNDS):
        alike = np.ones((len(ends), points.x.size))
        found, objectives = minimise(_problem(points, chance, alike, noise), ends)
        order = np.argsort(objectives, kind="stable")
        ends = found[order[:_KEPT]]
        off = np.abs(LinkFit(ends[0], points).at(points.x) - points.shares)
        noise = max(_NORMAL * float(np.median(off)), _LEAST_NOISE)
    return ends[0], ends, noise


def _starts(points: LinkPoints, chance: float | None) -> Parameters:
    floors = _FLOORS if chance is None else (chance,)
    grid = [(slope, min(floor, 0.98)) for slope in _SLOPES for floor in floors]
    slope, floor = np.array(grid).T
    above = np.clip((points.shares.mean() - floor) / (1 - floor), 0.02, 0.95)
    return np.stack([np.log(above / (1 - above)), slope, floor], axis=1)


def _problem(points: LinkPoints, chance: float | None, weights: np.ndarray, noise: float) -> Problem:
    low, high = _LOW.copy(), _HIGH.copy()
    if chance is not None:
        low[_FLOOR_AT] = high[_FLOOR_AT] = chance
    return Problem(
        _curve(points.z),
        np.broadcast_to(points.shares, weights.shape),
        weights,
        Loss(_TURN, noise),
        low,
        high,
    )


def _curve(z: Points) -> Model:
    def model(parameters: Parameters, _rows: np.ndarray) -> tuple[Values, Jacobian]:
        place, slope, floor = (parameters[:, [at]] for at in range(3))
        part = expit(place + slope * z)
        rise = (1 - floor) * part * (1 - part)
        return floor + (1 - floor) * part, np.stack([rise, rise * z, 1 - part], axis=-1)

    return model


def _constants(
    points: LinkPoints, best: np.ndarray, draws: np.ndarray, number: int, *, told: bool
) -> dict[str, Estimate]:
    values = {name: float(found[0]) for name, found in _in_units(points, best[None, :]).items()}
    constants = {
        name: _percentiles(values[name], found, number) for name, found in _in_units(points, draws).items()
    }
    if told:
        constants["floor"] = Estimate(values["floor"], None, None, number, TOLD)
    if best[_SLOPE_AT] < _FLAT:
        constants["middle"] = Estimate(None, None, None, number, LEVEL_LINK)
    elif np.mean(draws[:, _SLOPE_AT] < _FLAT) > (1 - LEVEL) / 2:
        constants["middle"] = Estimate(values["middle"], None, None, number, LEVEL_LINK)
    return constants


def _percentiles(value: float, drawn: np.ndarray, number: int) -> Estimate:
    lo, hi = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, min(float(lo), value), max(float(hi), value), number, BOOTSTRAP)


def _in_units(points: LinkPoints, parameters: np.ndarray) -> dict[str, np.ndarray]:
    """Return floor, middle and slope as they are in x; without a slope the middle is far away."""
    place, slope, floor = parameters.T
    middle = points.x.mean() - points.sign * points.spread * place / np.maximum(slope, _SETTLED)
    return {"floor": floor, "middle": middle, "slope": slope / points.spread}
