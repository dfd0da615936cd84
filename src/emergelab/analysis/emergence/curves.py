"""Measured curves over a scale: means of runs with their errors, whatever the metric.

A curve has points (values of the scale) and at each the means of one or more runs. Three sources of chance are kept
apart: prompts, each run's own; prompts that all runs answer alike; and runs, which differ by their seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Integer

from emergelab.analysis.emergence.names import Axis

Points = Float64[np.ndarray, " points"]
Runs = Float64[np.ndarray, "points seeds"]

# Errors below this share of a curve's range are taken for it: no measurement is without error.
_FINEST = 1e-3


@dataclass(frozen=True)
class Scale:
    """The values at which a curve was measured, in any order, each positive and each once.

    Parameters, tokens and compute (FLOP) are read in their logarithms; loss (nats per token) as it is, and less is
    better: a point's loss is then the mean over its runs, whose own error is not carried on.
    """

    x: Points
    axis: Axis = "parameters"

    def __post_init__(self) -> None:
        """Refuse values that have no place on the axis."""
        if self.x.size == 0 or not np.isfinite(self.x).all() or (self.x <= 0).any():
            raise ValueError(f"A scale needs positive finite values. Got {self.x.tolist()}.")
        if np.unique(self.x).size < self.x.size:
            raise ValueError(f"A scale has each of its values once. Got {np.sort(self.x).tolist()}.")

    def positions(self) -> Points:
        """Return ln x, or -x for loss: more is better."""
        return -self.x if self.axis == "loss" else np.log(self.x)

    def at(self, position: float) -> float:
        """Return the x of a position; that of a measured point exactly."""
        measured = self.x[self.positions() == position]
        if measured.size:
            return float(measured[0])
        return -position if self.axis == "loss" else float(np.exp(position))


@dataclass(frozen=True)
class Curve:
    """Means of runs over a scale, worst scale first.

    `runs` are means over prompts (NaN: no such run), `errors` their variances over prompts, and `shared` that part
    of them which a prompt gives to all runs alike. `shares` tells that the values are shares of right answers;
    `rising`, whether more is better. `n` counts answers.
    """

    scale: Scale
    runs: Runs
    errors: Runs
    shared: Points
    shares: bool
    rising: bool
    n: int

    def means(self) -> Points:
        """Return the mean over runs at each point, one vote each."""
        return np.nanmean(self.runs, axis=1)

    def counts(self) -> Integer[np.ndarray, " points"]:
        """Return how many runs there are at each point."""
        return self.present().sum(axis=1)

    def present(self) -> Bool[np.ndarray, "points seeds"]:
        """Return which runs there are."""
        return ~np.isnan(self.runs)

    def run_variances(self) -> Runs:
        """Return the variances that prompts give to each run's mean; no measurement is without error."""
        return np.maximum(self.errors, (_FINEST * self.spread()) ** 2)

    def mean_variances(self) -> Points:
        """Return the variances that prompts give to the mean over runs."""
        own = np.maximum(np.nanmean(self.errors, axis=1) - self.shared, 0.0)
        return np.maximum(self.shared + own / self.counts(), (_FINEST * self.spread()) ** 2)

    def spread(self) -> float:
        """Return the range that values may have: 1 for shares, else what was measured."""
        means = self.means()
        return 1.0 if self.shares else float(np.ptp(means)) or 1.0

    def upward(self) -> Curve:
        """Return the curve with more being better."""
        return self if self.rising else replace(self, runs=-self.runs, rising=True)


def shares(
    scale: Scale, right: Integer[np.ndarray, "points seeds"], n: Integer[np.ndarray, "points seeds"]
) -> Curve:
    """Return the curve of `right` answers of `n`; n = 0 marks a run that is missing.

    Whether runs answered the same prompts is not known, so that prompts are taken to give all runs the same
    error, which can only widen intervals. `of_answers` knows better. Raises ValueError on impossible counts and on a
    point without runs.
    """
    if (right < 0).any() or (right > n).any():
        raise ValueError("There must be 0 to n right answers.")
    with np.errstate(invalid="ignore", divide="ignore"):
        runs = np.where(n > 0, right / n, np.nan)
    errors = _share_errors(runs, n.astype(np.float64))
    return _curve(scale, (runs, errors), np.nanmax(errors, axis=1, initial=0.0), (True, True), int(n.sum()))


def means(scale: Scale, runs: Runs, errors: Runs, *, rising: bool) -> Curve:
    """Return the curve of runs' means with their standard errors over prompts; NaN marks a run that is missing.

    Prompts are taken to give all runs the same error, as in `shares`; `n` counts runs. Raises ValueError on a point
    without runs and on a run without error.
    """
    if (np.isnan(errors) & ~np.isnan(runs)).any() or (errors < 0).any():
        raise ValueError("Every mean needs a standard error of at least 0.")
    squares = np.where(np.isnan(runs), np.nan, errors**2)
    n = int(np.count_nonzero(~np.isnan(runs)))
    return _curve(scale, (runs, squares), np.nanmax(squares, axis=1, initial=0.0), (False, rising), n)


def of_answers(scale: Scale, answers: Float64[np.ndarray, "points seeds prompts"], *, rising: bool) -> Curve:
    """Return the curve of single answers, prompt p of all runs being the same prompt; NaN marks a missing answer.

    Answers that are all 0 or 1 are shares. What prompts give to all runs alike is estimated from the covariance of
    the runs' answers to the same prompts. Raises ValueError on a point without runs.
    """
    counts = np.count_nonzero(~np.isnan(answers), axis=2).astype(np.float64)
    if (counts.sum(axis=1) == 0).any():
        raise ValueError("Every point needs a run with an answer.")
    filled = np.nan_to_num(answers)
    with np.errstate(invalid="ignore", divide="ignore"):
        runs = filled.sum(axis=2) / counts
        centred = np.where(np.isnan(answers), 0.0, filled - runs[:, :, None])
        squares = np.square(centred).sum(axis=2)
        errors = squares / (counts * (counts - 1))
    right_or_wrong = bool(np.isin(answers[~np.isnan(answers)], (0.0, 1.0)).all())
    if right_or_wrong:
        errors = _share_errors(runs, counts)
    elif (counts == 1).any():
        raise ValueError("A mean over prompts needs two of them at least. Got one.")
    shared = np.minimum(_shared(centred, counts), np.nanmean(errors, axis=1))
    return _curve(scale, (runs, errors), shared, (right_or_wrong, rising), int(counts.sum()))


def _share_errors(runs: Runs, n: Runs) -> Runs:
    """Return the variance of a share with one answer right and one wrong added: none right is no certainty."""
    with np.errstate(invalid="ignore"):
        smoothed = (runs * n + 1) / (n + 2)
        return np.where(n > 0, smoothed * (1 - smoothed) / (n + 2), np.nan)


def _shared(centred: Float64[np.ndarray, "points seeds prompts"], counts: Runs) -> Points:
    """Return the covariance over prompts of two runs' means, averaged over pairs of runs; 0 with one run."""
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = np.nan_to_num(centred / counts[:, :, None])
    together = np.square(deviations.sum(axis=1)).sum(axis=1)
    alone = np.square(deviations).sum(axis=(1, 2))
    runs = np.count_nonzero(counts, axis=1)
    pairs = runs * (runs - 1)
    return np.maximum(together - alone, 0.0) / np.maximum(pairs, 1)


def _curve(scale: Scale, values: tuple[Runs, Runs], shared: Points, kind: tuple[bool, bool], n: int) -> Curve:
    runs, errors = values
    if runs.shape[0] != scale.x.size:
        raise ValueError(f"Every value of the scale needs a point. Got {scale.x.size} and {runs.shape[0]}.")
    if np.isnan(runs).all(axis=1).any():
        raise ValueError("Every point needs a run with an answer.")
    if np.isinf(runs).any():
        raise ValueError("A curve needs finite values. Leave infinite nats out, or measure shares.")
    order = np.argsort(scale.positions())
    placed = replace(scale, x=scale.x[order])
    return Curve(placed, runs[order], errors[order], shared[order], *kind, n)
