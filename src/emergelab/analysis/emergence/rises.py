"""The rise of single runs: a logistic in the position on the scale, with all that is uncertain about it integrated.

A run's curve is a + (b - a) F((u - m) / w), F logistic, u the position. Given the place m, the width w and the
variance by which points scatter about such a curve beyond their prompts, the plateaus a and b are those of a
linear model. Place, width and scatter are summed over a grid: nothing is set to its best value, so that few
points give wide intervals. Where w is small against the distance of two points, every m between them fits as
well.

What holds of all runs follows from the single ones: their places are drawn from a normal law about a common
one, with a deviation that is integrated, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import expit, logit

from emergelab.analysis.emergence.curves import Curve, Points
from emergelab.rng import Stream

FEWEST_POINTS = 3

_DRAWS, _TRIED = 4000, 8
_FAR = 14.0  # log-likelihood below the best from which on a part of the grid is left out
_PLACES, _WIDTHS = (49, 61), (15, 21)  # of the grid over everything, and of that over what matters
_SCATTER = (0.0, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1)  # variances, in squared ranges
_SURE = 1e-4  # prior deviation of a plateau that the caller gives, in ranges
_FEWEST = 0.025  # of draws, below which they are not what the points say
_SLACK = 0.1  # by which plateaus of shares may leave [0, 1], for no curve is quite a logistic
_BINS, _DEVIATIONS = 401, 25  # of the law of all runs: places, and deviations between runs

Nodes = Float64[np.ndarray, " nodes"]
Draws = Float64[np.ndarray, " draws"]


@dataclass(frozen=True)
class Plateaus:
    """What is known of where a curve starts and where it ends, such as chance and 1; None leaves it to the data."""

    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Rise:
    """Draws from what is known of one run's rise: place, width (in positions), both plateaus; of the curve upward.

    There are no draws where no rising curve fits.
    """

    place: Draws
    width: Draws
    start: Draws
    end: Draws

    def crossing(self, level: float | None) -> Draws:
        """Return where each curve crosses the level, or half of its rise; -inf or inf where it lies above or below."""
        if level is None:
            return self.place
        share = np.clip((level - self.start) / (self.end - self.start), 0.0, 1.0)
        return self.place + self.width * logit(share)


@dataclass(frozen=True)
class _Grid:
    """Axes of the grid: places, widths, and variances of the scatter."""

    places: Float64[np.ndarray, " places"]
    widths: Float64[np.ndarray, " widths"]
    scatter: Float64[np.ndarray, " variances"]

    def shape(self) -> tuple[int, int, int]:
        return self.places.size, self.widths.size, self.scatter.size

    def nodes(self) -> tuple[Nodes, Nodes, Nodes]:
        mesh = np.meshgrid(self.places, self.widths, self.scatter, indexing="ij")
        place, width, scatter = (axis.ravel() for axis in mesh)
        return place, width, scatter


@dataclass(frozen=True)
class _Run:
    """One run's means at its points, their variances over prompts, and mean and deviation of each plateau's prior."""

    u: Points
    means: Points
    errors: Points
    plateaus: Float64[np.ndarray, "2 2"]
    shares: bool


@dataclass(frozen=True)
class _Fit:
    """At each node its log-weight, and mean and Cholesky factor of the normal law of both plateaus."""

    weight: Nodes
    plateaus: Float64[np.ndarray, "nodes 2"]
    factor: Float64[np.ndarray, "nodes 2 2"]


@dataclass(frozen=True)
class _Sums:
    """Sums over points of products, each divided by the noise: at every place and width for every variance."""

    weights: Float64[np.ndarray, "points variances"]

    def of(self, a: Float64[np.ndarray, "shapes points"], b: Float64[np.ndarray, "shapes points"]) -> Nodes:
        return ((a * b) @ self.weights).ravel()


@dataclass(frozen=True)
class _Normal:
    """At each node a normal law of two numbers by the entries of its precision."""

    first: Nodes
    both: Nodes
    second: Nodes

    @property
    def determinant(self) -> Nodes:
        return self.first * self.second - self.both**2

    def solved(self, pulls: Float64[np.ndarray, "nodes 2"]) -> Float64[np.ndarray, "nodes 2"]:
        """Return the precision's inverse times a vector."""
        one, two = pulls.T
        answer = [self.second * one - self.both * two, self.first * two - self.both * one]
        return np.stack(answer, axis=1) / self.determinant[:, None]

    def factor(self) -> Float64[np.ndarray, "nodes 2 2"]:
        """Return the lower Cholesky factor of the variance."""
        corner = np.sqrt(self.second / self.determinant)
        across = -self.both / (self.determinant * corner)
        rows = [[corner, np.zeros_like(corner)], [across, 1 / np.sqrt(self.second)]]
        return np.moveaxis(np.array(rows), -1, 0)


def fit_rises(curve: Curve, random: Stream, plateaus: Plateaus | None = None) -> list[Rise]:
    """Return draws from the posterior law of the rise of every run that has at least three points.

    Priors: place uniform from one measured range below the points to one above them; logarithm of the width
    uniform, from a twentieth of the smallest distance of two points to twice the range; plateaus normal about
    the middle of what they may be with a deviation of the range, for shares from -.1 to 1.1 unless the points say
    otherwise, and start below end.
    """
    upward = curve.upward()
    prior = _prior(curve, plateaus or Plateaus())
    found: list[Rise] = []
    for seed in range(curve.runs.shape[1]):
        there = upward.present()[:, seed]
        if there.sum() >= FEWEST_POINTS:
            u, means = upward.scale.positions()[there], upward.runs[there, seed]
            run = _Run(u, means, upward.run_variances()[there, seed], prior, curve.shares)
            found.append(_rise(run, random.child("run", seed).generator()))
    return found


def _prior(curve: Curve, plateaus: Plateaus) -> Float64[np.ndarray, "2 2"]:
    means = curve.means()
    low, high = (0.0, 1.0) if curve.shares else (float(means.min()), float(means.max()))
    loose, sign = (high - low) or 1.0, 1.0 if curve.rising else -1.0
    return np.array(
        [
            (sign * (low + high) / 2, loose) if end is None else (sign * end, _SURE * loose)
            for end in (plateaus.start, plateaus.end)
        ]
    )


def _rise(run: _Run, generator: np.random.Generator) -> Rise:
    rough = _everything(run)
    grid = _narrowed(rough, _fitted(run, rough).weight)
    return _drawn(run, grid, _fitted(run, grid), generator)


def _everything(run: _Run) -> _Grid:
    u = run.u
    reach, finest = u[-1] - u[0], float(np.diff(u).min())
    return _Grid(
        np.linspace(u[0] - reach, u[-1] + reach, _PLACES[0]),
        np.geomspace(finest / 20, 2 * reach, _WIDTHS[0]),
        np.array(_SCATTER) * max(float(np.ptp(run.means)) ** 2, float(run.errors.max())),
    )


def _narrowed(grid: _Grid, weight: Nodes) -> _Grid:
    likely = (weight > weight.max() - _FAR).reshape(grid.shape())
    first, last = _around(likely.any(axis=(1, 2)))
    narrow, wide = _around(likely.any(axis=(0, 2)))
    return _Grid(
        np.linspace(grid.places[first], grid.places[last], _PLACES[1]),
        np.geomspace(grid.widths[narrow], grid.widths[wide], _WIDTHS[1]),
        grid.scatter[likely.any(axis=(0, 1))],
    )


def _around(likely: np.ndarray) -> tuple[int, int]:
    """Return the first and the last that is likely, and one more on either side."""
    (where,) = np.nonzero(likely)
    return max(int(where[0]) - 1, 0), min(int(where[-1]) + 1, likely.size - 1)


def _fitted(run: _Run, grid: _Grid) -> _Fit:
    """Integrate the plateaus out at every node: a linear model with a normal prior."""
    mean, deviation = run.plateaus.T
    place, width = (axis.ravel()[:, None] for axis in np.meshgrid(grid.places, grid.widths, indexing="ij"))
    end = expit((run.u - place) / width)
    start = 1 - end
    rest = run.means - start * mean[0] - end * mean[1]
    noise = run.errors + grid.scatter[:, None]
    sums = _Sums((1 / noise).T)
    normal = _Normal(
        sums.of(start, start) + deviation[0] ** -2,
        sums.of(start, end),
        sums.of(end, end) + deviation[1] ** -2,
    )
    pulls = np.stack([sums.of(start, rest), sums.of(end, rest)], axis=1)
    shift = normal.solved(pulls)
    squares = sums.of(rest, rest) - (pulls * shift).sum(axis=1)
    logs = np.tile(np.log(noise).sum(axis=1), len(end))
    return _Fit(-0.5 * (squares + logs + np.log(normal.determinant)), mean + shift, normal.factor())


def _drawn(run: _Run, grid: _Grid, fit: _Fit, generator: np.random.Generator) -> Rise:
    place, width, _ = grid.nodes()
    law = np.exp(fit.weight - fit.weight.max())
    node = generator.choice(law.size, size=_TRIED * _DRAWS, p=law / law.sum())
    one, two = generator.standard_normal((node.size, 2)).T
    factor = fit.factor[node]  # lower triangles
    ends = fit.plateaus[node]
    ends[:, 0] += factor[:, 0, 0] * one
    ends[:, 1] += factor[:, 1, 0] * one + factor[:, 1, 1] * two
    within = generator.random((node.size, 2))
    steps = np.diff(grid.places[:2]), np.diff(np.log(grid.widths[:2]))
    kept = np.flatnonzero(_possible(run, ends))[:_DRAWS]
    at, aside = node[kept], within[kept] - 0.5
    return Rise(
        place[at] + aside[:, 0] * steps[0],
        width[at] * np.exp(aside[:, 1] * steps[1]),
        ends[kept, 0],
        ends[kept, 1],
    )


def _possible(run: _Run, ends: Float64[np.ndarray, "draws 2"]) -> np.ndarray:
    """Return which plateaus rise, and lie where they may if that can be had; none if nearly all fall."""
    rises = ends[:, 0] < ends[:, 1]
    if rises.mean() < _FEWEST:
        return np.zeros_like(rises)
    free = run.plateaus[:, 1] > _SURE
    inside = ((ends >= -_SLACK) & (ends <= 1 + _SLACK)) | ~free if run.shares else np.True_
    both = rises & np.all(inside, axis=-1)
    return both if both.mean() >= _FEWEST else rises


def law_of_all(draws: list[np.ndarray], reach: float) -> tuple[Points, Points]:
    """Return the posterior law of the mean that runs scatter about: places, and the probability of each.

    `draws` are those of each run from its own posterior law under a flat prior; infinite ones are taken to lie at the
    farthest finite place. Runs are drawn from a normal law about the mean; its deviation has a half-Cauchy prior with
    a scale of a tenth of `reach`. With one run there is nothing to tell its deviation by, and the law is its own.
    """
    ends = np.concatenate([values[np.isfinite(values)] for values in draws])
    pad = 0.0 if len(draws) == 1 else max(float(np.ptp(ends)), reach / 4)
    edges = np.linspace(float(ends.min()) - pad, float(ends.max()) + pad, _BINS + 1)
    places = (edges[1:] + edges[:-1]) / 2
    held = [np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].astype(float) for values in draws]
    if len(draws) == 1:
        return places, held[0] / held[0].sum()
    step = float(places[1] - places[0])
    deviations = np.geomspace(2 * step, max(reach, 4 * step), _DEVIATIONS)
    prior = deviations / (1 + np.square(deviations / (reach / 10)))  # even in logarithms: times the deviation
    square = np.square(places[:, None] - places[None, :])
    law = np.zeros(_BINS)
    for deviation, weight in zip(deviations, prior, strict=True):
        kernel = np.exp(-0.5 * square / deviation**2) / deviation
        law += weight * np.prod([kernel @ (one / one.sum()) for one in held], axis=0)
    return places, law / law.sum()
