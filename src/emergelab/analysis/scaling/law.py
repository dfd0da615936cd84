"""L(N, D) = E + A/N^a + B/D^b fitted to runs, with what is known of its constants and what the fit hangs on.

The fit is that of Hoffmann et al. 2022 (arXiv 2203.15556): Huber's loss of the residuals of log L with δ = 10^-3, from
many starts. Intervals: runs drawn again with replacement, and for E, which is known least, its profile likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64
from scipy.optimize import minimize_scalar
from scipy.special import ndtr, stdtrit

from emergelab.analysis.estimate import Estimate
from emergelab.analysis.intervals import LEVEL
from emergelab.analysis.scaling.curves import (
    E_AT,
    HIGH,
    LOW,
    PLAIN,
    Positions,
    as_law,
    laws,
    log_curve,
    starts,
)
from emergelab.analysis.scaling.robust import Loss, Parameters, Problem, minimise
from emergelab.rng import Stream
from emergelab.theory.scaling import ScalingLaw

DELTA = 1e-3  # in log L
NAMES = ("E", "A", "B", "a", "b")
BOOTSTRAP = "bootstrap over runs"
PROFILE = "profile likelihood"
FEWEST = PLAIN + 1
_SAMPLES = 1000
_KEPT = 3  # starts from which bootstrap samples go on
_PROFILE_POINTS = 80
_ALIKE = 1e-3

Points = Float64[np.ndarray, " points"]


@dataclass(frozen=True)
class Runs:
    """Measured losses in nats of runs with so many parameters and tokens; points of one run share a label."""

    params: Points
    tokens: Points
    losses: Points
    run: Int64[np.ndarray, " points"]

    def only(self, chosen: np.ndarray) -> Runs:
        """Return some of the points."""
        return Runs(self.params[chosen], self.tokens[chosen], self.losses[chosen], self.run[chosen])


@dataclass(frozen=True)
class Fit:
    """The law, its parameters as `curves` has them, the objective, and the best of the starts' ends."""

    law: ScalingLaw
    parameters: Float64[np.ndarray, " parameters"]
    objective: float
    ends: Parameters
    positions: Positions
    runs: Runs
    delta: float = DELTA

    @property
    def residuals(self) -> Points:
        """Log of fitted over measured loss."""
        told, _ = log_curve(self.positions)(self.parameters[None, :], np.zeros(1, dtype=np.int64))
        return told[0] - np.log(self.runs.losses)


def fit_law(runs: Runs, *, delta: float = DELTA) -> Fit:
    """Fit the five constants; `runs` needs six points at least, at two sizes and two numbers of tokens."""
    positions = Positions.of(runs.params, runs.tokens)
    start = starts(float(np.median(np.log(runs.losses))), PLAIN)
    problem = _problem(runs, positions, np.ones((len(start), runs.losses.size)), delta)
    found, objectives = minimise(problem, start)
    order = np.argsort(objectives, kind="stable")
    best = found[order[0]]
    ends = _distinct(found[order])
    return Fit(as_law(best, positions), best, float(objectives[order[0]]), ends, positions, runs, delta)


def _problem(runs: Runs, positions: Positions, weights: np.ndarray, delta: float) -> Problem:
    y = np.broadcast_to(np.log(runs.losses), weights.shape)
    return Problem(log_curve(positions), y, weights, Loss(delta), LOW[:PLAIN], HIGH[:PLAIN])


def _distinct(ends: Parameters) -> Float64[np.ndarray, "kept parameters"]:
    """Return the first few ends that differ from each other."""
    kept = [ends[0]]
    for end in ends[1:]:
        if len(kept) < _KEPT and min(float(np.abs(end - one).max()) for one in kept) > _ALIKE:
            kept.append(end)
    return np.stack(kept)


def refits(fit: Fit, weights: Float64[np.ndarray, "samples points"]) -> list[ScalingLaw]:
    """Return the law for other weights of the points, each refit from the best ends of `fit`."""
    return laws(_refit_parameters(fit, weights), fit.positions)


def _refit_parameters(fit: Fit, weights: np.ndarray) -> Parameters:
    samples, ends = len(weights), len(fit.ends)
    problem = _problem(fit.runs, fit.positions, np.repeat(weights, ends, axis=0), fit.delta)
    found, objectives = minimise(problem, np.tile(fit.ends, (samples, 1)))
    best = objectives.reshape(samples, ends).argmin(axis=1)
    return found.reshape(samples, ends, -1)[np.arange(samples), best]


def resampled_weights(run: np.ndarray, samples: int, stream: Stream) -> Float64[np.ndarray, "samples points"]:
    """Return how often each point is drawn when runs are drawn with replacement, all points of a run together.

    Samples with fewer than six different points are drawn again.
    """
    _, label = np.unique(run, return_inverse=True)
    number = int(label.max()) + 1
    generator = stream.generator()
    drawn: list[np.ndarray] = []
    for _ in range(100 * samples):
        counts = np.bincount(generator.integers(0, number, number), minlength=number)[label]
        if np.count_nonzero(counts) >= min(FEWEST, label.size):
            drawn.append(counts.astype(np.float64))
        if len(drawn) == samples:
            break
    return np.stack(drawn)


@dataclass(frozen=True)
class LawEstimate:
    """A fitted law and what is known of its constants: by name in `constants`, E by two methods."""

    fit: Fit
    constants: dict[str, Estimate]
    bootstrap_of_E: Estimate  # noqa: N815 - E is the constant's name
    draws: list[ScalingLaw]  # the refits of the bootstrap


def estimate_law(runs: Runs, stream: Stream, *, samples: int = _SAMPLES, delta: float = DELTA) -> LawEstimate:
    """Fit the law, with 95 % intervals of all five constants."""
    fit = fit_law(runs, delta=delta)
    draws = refits(fit, resampled_weights(runs.run, samples, stream))
    number = int(np.unique(runs.run).size)
    constants = {name: _percentiles(fit.law, draws, name, number) for name in NAMES}
    lo, hi = profile_of_E(fit)
    profile = Estimate(fit.law.E, lo, hi, number, PROFILE)
    return LawEstimate(fit, constants | {"E": profile}, constants["E"], draws)


def _percentiles(law: ScalingLaw, draws: list[ScalingLaw], name: str, n: int) -> Estimate:
    value = float(getattr(law, name))
    values = np.array([getattr(draw, name) for draw in draws])
    lo, hi = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, min(float(lo), value), max(float(hi), value), n, BOOTSTRAP)


def profile_of_E(fit: Fit) -> tuple[float, float]:  # noqa: N802
    """Return the 95 % interval of E by profile likelihood.

    The likelihood is the one that Huber's loss stands for: normal in the middle, exponential tails, its width fitted
    at each E. E belongs to the interval if n ln(1 + t²/(n - 5)) is more than twice the fall of the log-likelihood, t
    being Student's quantile: exact for normal residuals of a linear model.
    """
    n = fit.runs.losses.size
    floors, objectives = profile(fit)
    most = _log_likelihood(min(fit.objective, float(objectives.min())), n, fit.delta)
    fall = 2 * (most - np.array([_log_likelihood(float(one), n, fit.delta) for one in objectives]))
    freedom = max(n - PLAIN, 1)
    allowed = n * np.log1p(stdtrit(freedom, (1 + LEVEL) / 2) ** 2 / freedom)
    inside = np.flatnonzero(fall <= allowed)
    if not inside.size:
        return fit.law.E, fit.law.E
    lo = 0.0 if inside[0] == 0 else _crossing(floors, fall - allowed, int(inside[0]) - 1)
    last = int(inside[-1])
    hi = float(floors[-1]) if last == floors.size - 1 else _crossing(floors, fall - allowed, last)
    return min(lo, fit.law.E), max(hi, fit.law.E)


def _crossing(x: np.ndarray, y: np.ndarray, at: int) -> float:
    """Return where the line from point `at` to the next is zero."""
    return float(x[at] + (x[at + 1] - x[at]) * y[at] / (y[at] - y[at + 1]))


def profile(fit: Fit) -> tuple[Points, Points]:
    """Return values of E, from almost none to the least loss, and the least objective at each."""
    lowest = float(fit.runs.losses.min())
    near = np.linspace(0.5, 1.5, _PROFILE_POINTS // 2) * fit.law.E
    floors = np.unique(np.concatenate([np.linspace(1e-6, 0.9999, _PROFILE_POINTS) * lowest, near]))
    floors = floors[(floors > 0) & (floors < lowest)]
    grid = np.concatenate([starts(float(np.log(fit.runs.losses).mean()), PLAIN)[::3], fit.ends])
    begin = np.tile(grid, (floors.size, 1))
    begin[:, E_AT] = np.repeat(np.log(floors), len(grid))
    whole = _problem(fit.runs, fit.positions, np.ones((len(begin), fit.runs.losses.size)), fit.delta)

    def held(parameters: Parameters, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        told, jacobian = whole.model(parameters, rows)
        jacobian[..., E_AT] = 0.0
        return told, jacobian

    _, objectives = minimise(replace(whole, model=held), begin, steps=100)
    return floors, objectives.reshape(floors.size, len(grid)).min(axis=1)


def _log_likelihood(objective: float, n: int, delta: float) -> float:
    """Return the log-likelihood of n residuals whose Huber losses sum to `objective`, at the best width."""

    def negative(log_width: float) -> float:
        width = float(np.exp(log_width))
        k = delta / width
        mass = np.sqrt(2 * np.pi) * (2 * ndtr(k) - 1) + 2 / k * np.exp(-k * k / 2)
        return objective / width**2 + n * (log_width + float(np.log(mass)))

    # Between what normal residuals and what exponential ones would have.
    normal = 0.5 * np.log(2 * max(objective, 1e-18) / n)
    tails = np.log(np.sqrt(max(objective, 1e-18) / n))
    found = minimize_scalar(
        negative, bounds=(min(normal, tails) - 4, max(normal, tails) + 4), method="bounded"
    )
    return -float(found.fun)
