"""Performance curves where text-pieces need unequal numbers of skills.

A piece needs k skills with probability w_k, drawn independently by μ1, and X is the number of those that lie in a set
of measure α: a mixture of binomials with mean k̄α. With C nats for each failing piece, H(θ)/θ in `theorem` and ln(1/θ)
in `sharper`, Chernoff's bound gives β = inf over s > 0 of (ln E exp(sX) + C) / (s k̄α), for one k KL(βα ‖ α) = C/k.
The exact curve is that of `curves` with this X: β = min over t of (θt + E max(X - t, 0)) / (k̄αθ).

Where the pieces that need most skills fail, more than a share θ of the edges does: the mean failure is up to θκ/k̄
with κ the mean of the θ largest k. That is what `markov` divides by α here, and the other curves speak for β < κ/(k̄α).
"""

# ruff: noqa: RUF002, RUF003 - α is the letter of the theory

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy import special

from emergelab.theory.curve_checks import (
    CurveError,
    Values,
    counts_of,
    ratio_of,
    require_failure_below_one,
    share_of,
)
from emergelab.theory.curves import (
    Curve,
    FiniteGraph,
    Needed,
    Points,
    as_points,
    entropy,
    exact_failure,
    exact_share,
    increasing_root,
    require_known_limit,
)

_SUM_TOLERANCE = 1e-9
_ROUNDING = 1e-9
_LEAST_SHARE, _GRID = 1e-9, 400  # where a finite graph's share is looked for, of its largest
_STEEPEST = 1000.0  # exp(-1000) is nothing beside 1


@dataclass(frozen=True)
class SkillCounts:
    """How many skills pieces need: `counts` with their probabilities. Raises `CurveError` where they are none."""

    counts: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        counts_of("k", self.counts)
        total = sum(self.weights)
        if len(self.counts) != len(self.weights) or min(self.weights, default=0.0) <= 0:
            raise CurveError(
                f"The shares of pieces by their number of skills are {_listed(self.weights)}. Each k has one, above 0. "
                "Leave out what never occurs."
            )
        if abs(total - 1) > _SUM_TOLERANCE:
            raise CurveError(
                f"The shares of pieces by their number of skills sum to {total:g}. They must sum to 1. "
                f"Divide each by {total:g}."
            )

    @property
    def mean(self) -> float:
        """The mean number of skills."""
        return float(np.dot(self.counts, self.weights))

    def within_tuples(self, size: int) -> SkillCounts:
        """Return how many tuples of `size` skills lie within one piece. Raises `CurveError` where it is none."""
        if min(self.counts) < size:
            raise CurveError(
                f"k is {min(self.counts)} in some pieces and tuples are {size}. A tuple within one piece has no more "
                "skills than the piece. Take smaller tuples, or the kind `concatenated`."
            )
        fewer = [count // size for count in self.counts]
        weights = {
            count: sum(w for other, w in zip(fewer, self.weights, strict=True) if other == count)
            for count in fewer
        }
        return SkillCounts(tuple(weights), tuple(weights.values()))


def mixed_failure(
    curve: Curve, theta: Values, alpha: Values, counts: SkillCounts, graph: FiniteGraph | None = None
) -> Points:
    """Return the failure βθ that no more than the worst `alpha` of skills exceed, as `curves.failure` does."""
    require_known_limit(curve, graph)
    shape, (theta, alpha) = as_points(share_of("theta", theta), share_of("alpha", alpha))
    return _failure(curve, theta, alpha, counts, graph).reshape(shape)


def mixed_share(
    curve: Curve, theta: Values, beta: Values, counts: SkillCounts, graph: FiniteGraph | None = None
) -> Points:
    """Return the smallest share α of skills such that all others fail at most `beta`·θ, as `curves.share` does."""
    require_known_limit(curve, graph)
    shape, (theta, beta) = as_points(share_of("theta", theta), ratio_of(beta))
    require_failure_below_one(theta, beta)
    return _share(curve, theta, beta, counts, graph).reshape(shape)


def _failure(
    curve: Curve, theta: Points, alpha: Points, counts: SkillCounts, graph: FiniteGraph | None
) -> Points:
    match curve:
        case Curve.exact:
            return exact_failure(theta, alpha, _needed(theta.size, counts))
        case Curve.markov:
            return np.minimum(theta / alpha * _longest(theta, counts), 1.0)
        case _:
            rate = theta * _ratio(alpha, _nats_per_piece(curve, theta, alpha, graph), counts)
            useful = rate < np.minimum(1.0, theta / alpha * _longest(theta, counts) * (1 - _ROUNDING))
            return np.where(useful, rate, np.nan)


def _share(
    curve: Curve, theta: Points, beta: Points, counts: SkillCounts, graph: FiniteGraph | None
) -> Points:
    most = _longest(theta, counts) / beta
    if curve is Curve.markov:
        return np.where(most < 1, most, np.nan)
    most = np.minimum(most, 1 - _ROUNDING)
    if curve is Curve.exact:
        needed = _needed(theta.size, counts)
        asked = beta * theta * (1 + _ROUNDING)  # the curve may meet Markov's
        solvable = exact_failure(theta, most, needed) <= asked
        return np.where(solvable, exact_share(theta, beta, needed, most), np.nan)

    def excess(alpha: Points, theta: Points, beta: Points) -> Points:
        return beta - _ratio(alpha, _nats_per_piece(curve, theta, alpha, graph), counts)

    if graph is not None:
        return _first_root(excess, most, (theta, beta), _ROUNDING * beta)
    # Thinning a piece's skills leaves the divergence of laws as it is: β falls with α, and there is one root at most.
    solvable = excess(most, theta, beta) >= _ROUNDING * beta
    found = increasing_root(excess, (np.full_like(beta, np.finfo(np.float64).tiny), most), (theta, beta))
    return np.where(solvable, found, np.nan)


def _first_root(
    function: Callable[..., Points], most: Points, arguments: tuple[Points, ...], room: Points
) -> Points:
    """Return the first place up to `most` where a function turns positive, on a grid and refined; NaN: none.

    The sets of skills that a finite graph adds are most in the middle: the function need not rise all the way.
    """
    grid = np.geomspace(_LEAST_SHARE, 1.0, _GRID)[:, None] * most
    values = function(grid, *(np.broadcast_to(one, grid.shape) for one in arguments))
    above = np.nan_to_num(values, nan=-1.0) > room
    first = above.argmax(axis=0)
    column = np.arange(most.size)
    ends = grid[np.maximum(first - 1, 0), column], grid[first, column]
    return np.where(above.any(axis=0), increasing_root(function, ends, arguments), np.nan)


def _nats_per_piece(curve: Curve, theta: Points, alpha: Points, graph: FiniteGraph | None) -> Points:
    if curve is Curve.sharper:
        return -np.log(theta)
    added = 0.0 if graph is None else graph.added(alpha)
    return (entropy(theta) + added) / theta


def _ratio(alpha: Points, nats: Points, counts: SkillCounts) -> Points:
    """Return β with the best s, which solves sΛ′(s) - Λ(s) = C for Λ(s) = ln E exp(sX)."""

    def excess(slope: Points, alpha: Points, nats: Points) -> Points:
        value, derivative = _cumulants(slope, alpha, counts)
        return slope * derivative - value - nats

    ends = np.full_like(alpha, np.finfo(np.float64).tiny), np.full_like(alpha, _STEEPEST)
    most = max(counts.counts)
    never = nats >= -np.log(counts.weights[counts.counts.index(most)]) - most * np.log(alpha)
    slope = np.where(never, _STEEPEST, increasing_root(excess, ends, (alpha, nats)))
    _, derivative = _cumulants(slope, alpha, counts)
    return derivative / (counts.mean * alpha)


def _cumulants(slope: Points, alpha: Points, counts: SkillCounts) -> tuple[Points, Points]:
    """Return ln E exp(sX) and its derivative in s."""
    k = _column(counts.counts, alpha.ndim)
    one = np.logaddexp(np.log1p(-alpha), np.log(alpha) + slope)
    terms = np.log(_column(counts.weights, alpha.ndim)) + k * one
    value: Points = np.asarray(special.logsumexp(terms, axis=0))
    tilted = np.exp(np.log(alpha) + slope - one)
    return value, (np.exp(terms - value) * k).sum(axis=0) * tilted


def _needed(points: int, counts: SkillCounts) -> Needed:
    k = np.broadcast_to(_column(counts.counts, 1), (len(counts.counts), points))
    return Needed(k, np.array(counts.weights))


def _longest(theta: Points, counts: SkillCounts) -> Points:
    """Return κ/k̄: by how much more than θ of the edges the θ pieces that need most skills have."""
    k, weights = (_column(values, theta.ndim) for values in (counts.counts, counts.weights))
    cuts = [cut + (np.maximum(k - cut, 0.0) * weights).sum(axis=0) / theta for cut in (0, *counts.counts)]
    return np.min(cuts, axis=0) / counts.mean


def _column(values: Sequence[float], dimensions: int) -> Float64[np.ndarray, "counts ..."]:
    return np.array(values, dtype=np.float64).reshape(-1, *(1,) * dimensions)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "none"
