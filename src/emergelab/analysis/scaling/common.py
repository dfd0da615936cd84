"""The common curve: what all losses of a training corpus share, as a scaling law with weakly informative priors.

The common value of a point is the geometric mean of its losses. It is followed by

    L = E + A/N^a + B N^c/D^b                              (c = 0 is the law of Hoffmann et al. 2022)

c is there since ladders that train every size at the same multiples of its size lose as much by fewer tokens per
parameter at each of them; its prior is centred at 0. The priors' centres are near the published law: E half the loss,
a and b one third. They decide little where the runs say something, and keep E and the exponents from running away
where not.
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
from emergelab.analysis.scaling.robust import Loss, Parameters, Problem, minimise
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
_KEPT = 2


@dataclass(frozen=True)
class CommonCurve:
    """The curve of one training corpus: its parameters, those of resampled runs, and the noise in log L."""

    positions: Positions
    parameters: Float64[np.ndarray, " parameters"]
    draws: Float64[np.ndarray, "samples parameters"]
    noise: float

    def at(self, params: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log L at new points, and its standard deviation over the resampled runs."""
        there = log_curve(Positions.about(params, tokens, self.positions.centre))
        told, _ = there(np.vstack([self.parameters, self.draws]), np.zeros(1, dtype=np.int64))
        return told[0], np.sqrt(np.mean((told[1:] - told[0]) ** 2, axis=0))


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
    positions = Positions.of(ladder.params, ladder.tokens)
    begin = starts(float(np.median(values)), BENT)
    noise = _START_NOISE
    ends = begin
    for _ in range(_ROUNDS):
        found, objectives = minimise(
            _problem(positions, values, np.ones((len(ends), values.size)), noise), ends
        )
        ends = found[np.argsort(objectives, kind="stable")[: _KEPT + 1]]
        told, _ = log_curve(positions)(ends[:1], np.zeros(1, dtype=np.int64))
        noise = max(_NORMAL * float(np.median(np.abs(told[0] - values))), _LEAST_NOISE)
    draws = _draws(ladder, positions, values, noise, ends[0], samples, stream)
    return CommonCurve(positions, ends[0], draws, noise)


def _draws(  # noqa: PLR0913, PLR0917
    ladder: Ladder,
    positions: Positions,
    values: np.ndarray,
    noise: float,
    best: np.ndarray,
    samples: int,
    stream: Stream,
) -> Parameters:
    weights = resampled_weights(ladder.run, samples, stream)
    problem = _problem(positions, values, weights, noise)
    return minimise(problem, np.tile(best, (samples, 1)), steps=60)[0]


def _problem(positions: Positions, values: np.ndarray, weights: np.ndarray, noise: float) -> Problem:
    centre, precision = np.zeros(BENT), np.zeros(BENT)
    for at, mean in _CENTRE.items():
        centre[at], precision[at] = mean, _DEVIATION[at] ** -2
    for at, little in _VAGUE.items():
        precision[at] = little
    centre[E_AT] += float(np.median(values))
    return Problem(
        log_curve(positions),
        np.broadcast_to(values, weights.shape),
        weights,
        Loss(_TURN, noise),
        LOW,
        HIGH,
        np.broadcast_to(centre, (len(weights), BENT)),
        np.broadcast_to(precision, (len(weights), BENT)),
    )
