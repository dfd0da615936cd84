"""Forecasts of losses and accuracies of larger models, all metrics of a table together.

Two steps. The losses of a training corpus share a common curve over parameters and tokens, fitted by a law (`common`);
the noise of single corpora is gone from it. Then every metric is tied to the common loss (`links`): a loss by its
logarithm as a nearly straight parabola; a share (accuracy) as `shares` says.

The spread of a forecast is made of the metric's noise about its link, of the link's own uncertainty, of the common
curve's over resampled runs (E's included) and a doubt in the law that grows with what is extrapolated, times the link's
slope, and for shares of what the two links differ by. `calibration` says how many spreads an interval needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from emergelab.analysis.scaling.common import common_values, fit_common, losslike
from emergelab.analysis.scaling.ladder import Ladder, Sort, Target
from emergelab.analysis.scaling.links import Parabolas, Scale, shrunk_noise
from emergelab.analysis.scaling.shares import Reach, Stack, link_shares
from emergelab.rng import Stream

RECENCY = 0.4
SAMPLES = 200
_DOUBT = 0.1  # of how far the common curve falls below all fitted points: no law is quite right beyond them
_FEWEST = 4


@dataclass(frozen=True)
class Forecasts:
    """Values and spreads of metrics (rows) at targets (columns), as the metrics stand in tables.

    `working` is what the spread belongs to: the logarithm of a loss, a share itself. NaN is not known.
    """

    working: Float64[np.ndarray, "metrics targets"]
    spread: Float64[np.ndarray, "metrics targets"]

    @staticmethod
    def empty(metrics: int, targets: int) -> Forecasts:
        """Return forecasts of which nothing is known yet."""
        return Forecasts(*(np.full((metrics, targets), np.nan) for _ in range(2)))


_SORTS: tuple[Sort, ...] = ("loss", "log-likelihood", "share")


def intermediates(ladder: Ladder) -> list[int]:
    """Return the metrics that the common curve is made of.

    They are the largest kind of losses, else of log-likelihoods, else of shares. Bits per byte are left to the
    links: they belong to tasks.
    """
    for sort in _SORTS:
        kinds: dict[str, list[int]] = {}
        for row in ladder.of_sort(sort):
            kinds.setdefault(ladder.metrics[row].kind, []).append(row)
        plain = {kind: rows for kind, rows in kinds.items() if "bpb" not in kind} or kinds
        if plain:
            return max(plain.values(), key=len)
    raise ValueError("A forecast needs a metric.")


def working(ladder: Ladder) -> Float64[np.ndarray, "metrics points"]:
    """Return the values in which forecasts are made: logarithms of losses, shares as they are."""
    rows = [
        ladder.values[row] if metric.sort == "share" else losslike(ladder, row)
        for row, metric in enumerate(ladder.metrics)
    ]
    return np.stack(rows)


def forecast(ladder: Ladder, target: Target, stream: Stream, *, samples: int = SAMPLES) -> Forecasts:
    """Fit the ladder and return forecasts at the targets, each for its own training corpus."""
    groups = range(len(ladder.groups))
    reaches = [_reach(ladder, group, target, stream.child(ladder.groups[group]), samples) for group in groups]
    return linked(ladder, reaches, target.params.size)


def linked(ladder: Ladder, reaches: Sequence[Reach], targets: int) -> Forecasts:
    """Return the forecasts of all metrics where the common losses of the training corpora reach."""
    found = Forecasts.empty(len(ladder.metrics), targets)
    values = working(ladder)
    for reach in reaches:
        if reach.targets.size:
            _link_losses(ladder, values, reach, found)
    _link_shares(ladder, values, reaches, found)
    return found


def _reach(ladder: Ladder, group: int, target: Target, stream: Stream, samples: int) -> Reach:
    """Place a training corpus and its targets on its common curve."""
    points, targets = np.flatnonzero(ladder.group == group), np.flatnonzero(target.group == group)
    part = ladder.pick(points)
    common = common_values(part, intermediates(ladder))
    known = ~np.isnan(common)
    points, common, part = points[known], common[known], part.at(known)
    if not targets.size:
        return Reach(points, common, targets, np.zeros(0), np.zeros(0))
    curve = fit_common(part, common, samples, stream)
    there, deviation = curve.at(target.params[targets], target.tokens[targets])
    best = float(curve.at(part.params, part.tokens)[0].min())
    doubt = _DOUBT * np.maximum(best - there, 0.0)
    return Reach(points, common, targets, there, np.hypot(deviation, doubt))


def _link_losses(ladder: Ladder, values: np.ndarray, reach: Reach, found: Forecasts) -> None:
    """Fill in the losses and log-likelihoods of one training corpus."""
    part = ladder.pick(reach.points)
    wanted = np.array(part.of_sort("loss", "log-likelihood"), dtype=np.int64)
    # Metrics measured at the same points share a design; most tables have one such set.
    for known, rows in _by_points(values[np.ix_(wanted, reach.points)]):
        scale = Scale.of(reach.common[known], part.compute[known], RECENCY)
        chosen = wanted[rows]
        y = values[np.ix_(chosen, reach.points[known])]
        parabolas = Parabolas.fit(scale.z(reach.common[known]), y, scale.weights)
        noise = shrunk_noise([part.metrics[row] for row in chosen], parabolas.noise, y.shape[1])
        z = scale.z(reach.there)
        carried = parabolas.slope(z) * reach.deviation / scale.spread
        cells = np.ix_(chosen, reach.targets)
        found.working[cells] = parabolas.at(z)
        found.spread[cells] = np.sqrt(np.outer(noise**2, 1 + parabolas.leverage(z)) + carried**2)


def _link_shares(ladder: Ladder, values: np.ndarray, reaches: Sequence[Reach], found: Forecasts) -> None:
    """Fill in the shares, all training corpora together."""
    wanted = np.array(ladder.of_sort("share"), dtype=np.int64)
    for known, rows in _by_points(values[wanted]):
        parts = [part for part in (reach.only(known) for reach in reaches) if part.points.size >= _FEWEST]
        if parts:
            stack = Stack.of(ladder, parts, RECENCY)
            link_shares(stack, wanted[rows].tolist(), found.working, found.spread)


def _by_points(values: np.ndarray) -> list[tuple[np.ndarray, list[int]]]:
    """Return sets of points and the metrics measured at just these, where they are enough for a link."""
    sets: dict[bytes, list[int]] = {}
    for row, here in enumerate(~np.isnan(values)):
        if np.count_nonzero(here) >= _FEWEST:
            sets.setdefault(here.tobytes(), []).append(row)
    return [(np.frombuffer(points, dtype=np.bool_), rows) for points, rows in sets.items()]
