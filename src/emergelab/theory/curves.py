"""Performance curves: what a share θ of failing text-pieces says of single skills.

Text-pieces need k skills each, drawn independently by a measure μ1. A share θ of the pieces fails, whichever they
are, and a failing piece is charged to all its skills. The failure of a skill is the number of its failing edges
over the number of edges that it has in expectation. Four curves bound the failure βθ of the worst α-share of skills,
for every failing set of measure θ at once (KL and H: binary divergence and entropy, in nats):

    theorem   KL(βα ‖ α) > H(θ) / (kθ)        union bound and Chernoff; Arora and Goyal 2023 (arXiv 2307.15936)
    sharper   KL(βα ‖ α) > ln(1/θ) / k        infinitely many pieces
    exact     β = E[X; X in its top θ] / (kαθ), X ~ Binomial(k, α)       infinitely many pieces, tight
    markov    α = 1/β                         mean failure is θ

All but 1 - α of the skills (in μ1-measure; by count where all skills are alike) fail at most βθ. The first
two speak for 1 < β < 1/α only: where they say nothing the result is NaN, and `markov` holds. A graph of N1
skills and N2 pieces adds (N1/N2)·H(α) + ln(1/δ)/N2 to H(θ) in `theorem`, which then holds with probability 1 - δ.
Shares and rates are fractions; all functions broadcast and return float64.
"""

# ruff: noqa: RUF002, RUF003 - α is the letter of the theory

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float64
from scipy import special
from scipy.optimize import elementwise

from emergelab.theory.curve_checks import (
    CurveError,
    Values,
    counts_of,
    ratio_of,
    require_failure_below_one,
    share_of,
)

_STEPS = 100
_CLOSE = 1e-13  # relative, of the exact curve's roots
_ROOM = 1e-12  # for rounding, at the ends of a bracket

Points = Float64[np.ndarray, "*points"]
Counts = Float64[np.ndarray, "*counts_and_points"]


class Curve(StrEnum):
    """The curves by name, the loosest that uses k first; `markov` needs no k at all."""

    theorem = "theorem"
    sharper = "sharper"
    exact = "exact"
    markov = "markov"


class TupleKind(StrEnum):
    """What a tuple is: one skill from each of several pieces joined to one, or several skills of one piece."""

    concatenated = "concatenated"
    within = "within"


@dataclass(frozen=True, kw_only=True)
class FiniteGraph:
    """A graph of so many skills and pieces, and the probability with which `theorem` shall hold.

    `alike` tells that μ1 is the same for all skills, so that sets of measure α are as few as exp(N1·H(α)); else there
    may be 2^N1 of them.
    """

    skills: int
    pieces: int
    confidence: float = 0.95
    alike: bool = True

    def __post_init__(self) -> None:
        counts_of("skills", self.skills)
        counts_of("pieces", self.pieces)
        share_of("confidence", self.confidence)

    def added(self, alpha: Points) -> Points:
        """Return the nats that are added to H(θ): (N1/N2)·H(α) + ln(1/δ)/N2."""
        sets = entropy(alpha) if self.alike else np.full_like(alpha, np.log(2.0))
        return (self.skills * sets - np.log1p(-self.confidence)) / self.pieces


@dataclass(frozen=True, kw_only=True)
class Tuples:
    """Tuples of `size` skills of a named kind; curves of tuples are curves of single skills at another θ or k."""

    size: int
    kind: TupleKind

    def __post_init__(self) -> None:
        counts_of("tuples", self.size)

    def theta(self, theta: Values) -> Points:
        """Return the share of failing pieces that tuples see: one of `size` joined pieces fails with 1 - (1-θ)^size."""
        shares = share_of("theta", theta)
        joined = self.kind is TupleKind.concatenated
        return np.asarray(-np.expm1(self.size * np.log1p(-shares))) if joined else shares

    def single_theta(self, theta: Values) -> Points:
        """Return the share of failing single pieces at which tuples see `theta`."""
        shares = share_of("theta", theta)
        joined = self.kind is TupleKind.concatenated
        return np.asarray(-np.expm1(np.log1p(-shares) / self.size)) if joined else shares

    def graph(self, graph: FiniteGraph) -> FiniteGraph:
        """Return a finite graph's tuples and what they stand in: `size` pieces joined, each once, or the pieces.

        Raises `CurveError` where the pieces do not make up one joined piece.
        """
        joined = self.kind is TupleKind.concatenated
        pieces = graph.pieces // self.size if joined else graph.pieces
        if not pieces:
            raise CurveError(
                f"The graph has {graph.pieces} pieces and tuples are {self.size}. As many pieces are joined to one. "
                "Take smaller tuples, or more pieces."
            )
        return replace(graph, skills=graph.skills**self.size, pieces=pieces)

    def theta_in_graph(self, theta: Values) -> Points:
        """Return the largest share of failing pieces that tuples see when a share θ of a finite graph's pieces fails.

        Pieces are joined before an adversary chooses, who may let no two fail that are joined: `size` times θ. Raises
        `CurveError` where that is 1 or more.
        """
        shares = share_of("theta", theta)
        if self.kind is TupleKind.within:
            return shares
        most = self.size * shares
        if (most >= 1).any():
            raise CurveError(
                f"theta is {float(np.max(shares)):g} and tuples are {self.size}. In a finite graph all joined pieces "
                f"may then fail. Give a theta below {1 / self.size:g}, or smaller tuples."
            )
        return np.asarray(most)

    def k(self, k: Values) -> Points:
        """Return how many tuples a piece holds (Hoeffding's disjoint ones). Raises `CurveError` where it is none."""
        counts = counts_of("k", k)
        if self.kind is TupleKind.concatenated:
            return counts
        if (counts < self.size).any():
            raise CurveError(
                f"k is {counts.min():g} and tuples are {self.size}. A tuple within one piece has no more skills than "
                "the piece. Take smaller tuples, or the kind `concatenated`."
            )
        return np.asarray(np.floor(counts / self.size))


def failure(
    curve: Curve, theta: Values, alpha: Values, k: Values, graph: FiniteGraph | None = None
) -> Points:
    """Return the failure βθ that no more than the worst `alpha` of skills exceed, NaN where a curve says nothing.

    `graph` is for `theorem` and `markov`; the others raise `CurveError` with it, as an adversary may exceed them.
    """
    require_known_limit(curve, graph)
    shape, (theta, alpha, k) = as_points(
        share_of("theta", theta), share_of("alpha", alpha), counts_of("k", k)
    )
    return _failure(curve, theta, alpha, k, graph).reshape(shape)


def share(curve: Curve, theta: Values, beta: Values, k: Values, graph: FiniteGraph | None = None) -> Points:
    """Return the smallest share α of skills such that all others fail at most `beta`·θ, NaN where there is none.

    There is one under `theorem` and `sharper` iff ln β exceeds their right side at α = 1/β.
    """
    require_known_limit(curve, graph)
    shape, (theta, beta, k) = as_points(share_of("theta", theta), ratio_of(beta), counts_of("k", k))
    require_failure_below_one(theta, beta)
    return _share(curve, theta, beta, k, graph).reshape(shape)


def largest_theta(
    curve: Curve, rate: Values, alpha: Values, k: Values, graph: FiniteGraph | None = None
) -> Points:
    """Return the largest share θ of failing pieces at which the curve keeps all but `alpha` of skills at `rate`.

    Where `theorem` or `sharper` say nothing, `markov` counts. `rate` is a failure rate, βθ.
    """
    require_known_limit(curve, graph)
    shape, (rate, alpha, k) = as_points(
        share_of("failure", rate), share_of("alpha", alpha), counts_of("k", k)
    )
    return _largest_theta(curve, rate, alpha, k, graph).reshape(shape)


def entropy(share: Values) -> Points:
    """Return the binary entropy in nats."""
    share = np.asarray(share, dtype=np.float64)
    return np.asarray(special.entr(share) + special.entr(1 - share))


def divergence(first: Values, second: Values) -> Points:
    """Return the binary Kullback-Leibler divergence KL(first ‖ second) in nats."""
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return np.asarray(special.rel_entr(first, second) + special.rel_entr(1 - first, 1 - second))


def as_points(*values: Values) -> tuple[tuple[int, ...], tuple[Points, ...]]:
    """Return the shape that values broadcast to, and copies of them as points in a row."""
    arrays = np.broadcast_arrays(*values)
    return arrays[0].shape, tuple(np.array(array, dtype=np.float64).ravel() for array in arrays)


def require_known_limit(curve: Curve, graph: FiniteGraph | None) -> None:
    """Raise `CurveError` for a curve of infinitely many pieces beside a finite graph."""
    if graph is not None and curve in {Curve.sharper, Curve.exact}:
        raise CurveError(
            f"The curve is `{curve}`, which holds for infinitely many pieces: in a finite graph an adversary may "
            "exceed it. Take `theorem`, or leave out the numbers of skills and pieces."
        )


def _failure(curve: Curve, theta: Points, alpha: Points, k: Points, graph: FiniteGraph | None) -> Points:
    match curve:
        case Curve.exact:
            return exact_failure(theta, alpha, Needed.alike(k))
        case Curve.markov:
            return np.minimum(theta / alpha, 1.0)
        case _:
            rate = theta / alpha * _divergent(alpha, _required(curve, theta, alpha, k, graph))
            return np.where(rate < 1, rate, np.nan)


def _share(curve: Curve, theta: Points, beta: Points, k: Points, graph: FiniteGraph | None) -> Points:
    match curve:
        case Curve.exact:
            return exact_share(theta, beta, Needed.alike(k), 1 / beta)
        case Curve.markov:
            return 1 / beta
        case _:
            return _bounded_share(curve, theta, beta, k, graph)


def _largest_theta(curve: Curve, rate: Points, alpha: Points, k: Points, graph: FiniteGraph | None) -> Points:
    if curve is Curve.markov:
        return rate * alpha

    def excess(theta: Points, rate: Points, alpha: Points, k: Points) -> Points:
        return np.fmin(_failure(curve, theta, alpha, k, graph), theta / alpha) - rate

    # The worst skills fail no less than the mean, θ, and by Markov no more than θ/α; both may be reached.
    low, high = rate * alpha * (1 - _ROOM), np.minimum(rate * (1 + _ROOM), 1 - _ROOM)
    return increasing_root(excess, (low, high), (rate, alpha, k))


def _required(curve: Curve, theta: Points, alpha: Points, k: Points, graph: FiniteGraph | None) -> Points:
    """Return the right side of `theorem` or `sharper`, nats."""
    if curve is Curve.sharper:
        return -np.log(theta) / k
    added = 0.0 if graph is None else graph.added(alpha)
    return (entropy(theta) + added) / (k * theta)


def _divergent(alpha: Points, nats: Points) -> Points:
    """Return the p in (α, 1) with KL(p ‖ α) = `nats`, NaN where the divergence never reaches it."""

    def excess(p: Points, alpha: Points, nats: Points) -> Points:
        return divergence(p, alpha) - nats

    found = increasing_root(excess, (alpha, np.ones_like(alpha)), (alpha, nats))
    return np.where(nats < -np.log(alpha), found, np.nan)


def _bounded_share(curve: Curve, theta: Points, beta: Points, k: Points, graph: FiniteGraph | None) -> Points:
    """Solve for α. The divergence less what is required is convex in α and negative at 0: one root at most."""

    def excess(alpha: Points, theta: Points, beta: Points, k: Points) -> Points:
        reached = divergence(np.minimum(beta * alpha, 1.0), alpha)
        return reached - _required(curve, theta, alpha, k, graph)

    most = 1 / beta
    solvable = excess(most, theta, beta, k) > 0
    found = increasing_root(excess, (np.full_like(beta, np.finfo(np.float64).tiny), most), (theta, beta, k))
    return np.where(solvable, found, np.nan)


def increasing_root(
    function: Callable[..., Points], bracket: tuple[Points, Points], arguments: tuple[Points, ...]
) -> Points:
    """Return the roots of an increasing function, vectorised (Chandrupatla's method)."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.asarray(elementwise.find_root(function, bracket, args=arguments).x, dtype=np.float64)


@dataclass(frozen=True)
class Needed:
    """How many skills pieces need at each point: k [counts, points], with probabilities `weights` [counts].

    X is the number of a piece's skills that lie in a set of measure α: a mixture of binomials.
    """

    k: Float64[np.ndarray, "counts points"]
    weights: Float64[np.ndarray, " counts"]

    @staticmethod
    def alike(k: Points) -> Needed:
        """Return pieces that all need `k` skills."""
        return Needed(k[None, :], np.ones(1))

    @property
    def mean(self) -> Points:
        """The mean number of skills."""
        return self.weights @ self.k

    def at(self, chosen: np.ndarray) -> Needed:
        """Return some of the points."""
        return Needed(self.k[:, chosen], self.weights)

    def above(self, t: Points, alpha: Points) -> Points:
        """Return P(X > t)."""
        return self.weights @ skills_above(t, alpha, self.k)

    def slope(self, t: Points, alpha: Points) -> Points:
        """Return the derivative of E max(X - t, 0) by α: E k P(Y ≥ t), Y the number among all skills but one."""
        return self.weights @ (self.k * at_least_elsewhere(t, alpha, self.k))

    def excess(self, t: Points, alpha: Points) -> Points:
        """Return E max(X - t, 0)."""
        return np.maximum(alpha * self.slope(t, alpha) - t * self.above(t, alpha), 0.0)

    def quantile(self, theta: Points, alpha: Points) -> Points:
        """Return the least t with P(X > t) ≤ θ, by bisection."""
        high = self.k.max(axis=0)
        low = np.full_like(high, -1.0)
        for _ in range(int(np.ceil(np.log2(high.max(initial=1) + 1)))):
            middle = np.ceil((low + high) / 2)
            enough = self.above(middle, alpha) <= theta
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return high

    def quantile_near(self, guess: Points, theta: Points, alpha: Points) -> Points:
        """Return `quantile`, which takes a moment where the guess is right."""
        right = (self.above(guess, alpha) <= theta) & (self.above(guess - 1, alpha) > theta)
        found = guess.copy()
        found[~right] = self.at(~right).quantile(theta[~right], alpha[~right])
        return found


def exact_failure(theta: Points, alpha: Points, needed: Needed) -> Points:
    """Return E[X; X in its top θ] over its mean: the exact worst failure of a set of measure α."""
    cut = needed.quantile(theta, alpha)
    # Where fewer than θ of the pieces touch the worst skills at all, all of these may fail.
    return np.minimum((cut * theta + needed.excess(cut, alpha)) / (needed.mean * alpha), 1.0)


def skills_above(t: Points, alpha: Points, k: Counts) -> Counts:
    """Return P(X > t) for X ~ Binomial(k, α) and t = 0 ... k."""
    inside = t < k
    return np.where(inside, special.betainc(t + 1, np.where(inside, k - t, 1.0), alpha), 0.0)


def at_least_elsewhere(t: Points, alpha: Points, k: Counts) -> Counts:
    """Return P(Y ≥ t) for Y ~ Binomial(k - 1, α): the probability that the other skills make up for t."""
    inside = (t > 0) & (t < k)
    found = special.betainc(np.where(inside, t, 1.0), np.where(inside, k - t, 1.0), alpha)
    return np.where(inside, found, np.where(t <= 0, 1.0, 0.0))


def exact_share(theta: Points, beta: Points, needed: Needed, most: Points) -> Points:
    """Solve the exact curve for α, up to `most`, by Newton's method within a bracket.

    E[X; X in its top θ] = min over t of θt + E max(X - t, 0) (Rockafellar and Uryasev 2000), and for every t that less
    k̄αβθ is convex in α, so that its tangent at the minimising t leads on.
    """
    low = -np.expm1(np.log1p(-theta) / needed.k.max(axis=0))  # there all edges of the worst skills may fail
    high = most
    alpha, cut = np.minimum(low, high), np.ones_like(low)
    left = np.arange(alpha.size)
    for _ in range(_STEPS):
        now, some, here = alpha[left], needed.at(left), (theta[left], beta[left])
        cut[left] = np.maximum(some.quantile_near(cut[left], here[0], now), 1.0)
        value, step = _tangent(cut[left], now, here, some)
        low[left] = np.where(value > 0, now, low[left])
        high[left] = np.where(value > 0, high[left], now)
        alpha[left] = _kept_inside(now - step, low[left], high[left])
        left = left[np.abs(alpha[left] - now) > _CLOSE * now]
        if not left.size:
            break
    return alpha


def _kept_inside(value: Points, low: Points, high: Points) -> Points:
    inside: Bool[np.ndarray, "*points"] = (value >= low) & (value <= high)
    return np.where(inside, value, (low + high) / 2)


def _tangent(
    cut: Points, alpha: Points, asked: tuple[Points, Points], needed: Needed
) -> tuple[Points, Points]:
    """Return E[X; X in its top θ] - k̄αβθ and Newton's step."""
    theta, beta = asked
    allowed = needed.mean * beta * theta
    slope = needed.slope(cut, alpha)
    value = cut * (theta - needed.above(cut, alpha)) + alpha * (slope - allowed)
    with np.errstate(divide="ignore", invalid="ignore"):
        return value, value / (slope - allowed)
