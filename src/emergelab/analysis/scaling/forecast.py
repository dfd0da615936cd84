"""Forecasts of losses and accuracies of larger models, all metrics of a table together.

Two steps. The losses of a training corpus share a common curve over parameters and tokens, fitted by a law (`common`);
the noise of single corpora is gone from it. Then every metric is tied to the common loss (`links`): a loss by its
logarithm as a nearly straight parabola; a share (accuracy) by the mean of such a parabola and a sigmoid with a chance
floor, and of a second sigmoid in the task's own bits per byte where the table has them.

The spread of a forecast is made of the metric's noise about its link, of the link's own uncertainty, of the common
curve's over resampled runs (E's included) and a doubt in the law that grows with what is extrapolated, times the link's
slope, and for shares of what the two links differ by. `calibration` says how many spreads an interval needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from emergelab.analysis.scaling.common import CommonCurve, common_values, fit_common, losslike
from emergelab.analysis.scaling.ladder import Ladder, Sort, Target
from emergelab.analysis.scaling.links import Parabolas, Scale, Sigmoids
from emergelab.rng import Stream

RECENCY = 0.4
SAMPLES = 200
_BITS = "_bpb"
_LEAST_NOISE = {"loss": 1e-3, "log-likelihood": 1e-3, "share": 2e-3}
_DOUBT = 0.1  # of how far the common curve falls below all fitted points: no law is quite right beyond them
_SHRINK = 4.0  # points' worth of the other metrics' noise in a metric's own


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
    """Fit the ladder and return forecasts at the targets; each training corpus by itself."""
    found = Forecasts.empty(len(ladder.metrics), target.params.size)
    for group, name in enumerate(ladder.groups):
        asked = target.group == group
        if asked.any():
            part = ladder.at(ladder.group == group)
            wanted = Target(target.group[asked], target.params[asked], target.tokens[asked])
            one = _forecast_group(part, wanted, stream.child(name), samples)
            found.working[:, asked], found.spread[:, asked] = one.working, one.spread
    return found


def _forecast_group(ladder: Ladder, target: Target, stream: Stream, samples: int) -> Forecasts:
    rows = intermediates(ladder)
    common = common_values(ladder, rows)
    known = ~np.isnan(common)
    ladder, common = ladder.at(known), common[known]
    curve = fit_common(ladder, common, samples, stream)
    return _linked(ladder, common, curve, target)


def _linked(ladder: Ladder, common: np.ndarray, curve: CommonCurve, target: Target) -> Forecasts:
    there, deviation = curve.at(target.params, target.tokens)
    best = float(curve.at(ladder.params, ladder.tokens)[0].min())
    deviation = np.hypot(deviation, _DOUBT * np.maximum(best - there, 0.0))
    values = working(ladder)
    found = Forecasts.empty(len(values), there.size)
    # Metrics measured at the same points share a design; most tables have one such set.
    for points, rows in _by_points(values):
        part = ladder.at(points)
        scale = Scale.of(common[points], part.compute, RECENCY)
        _link_rows(part, rows, (scale, common[points]), (there, deviation), found)
    return found


def _by_points(values: np.ndarray) -> list[tuple[np.ndarray, list[int]]]:
    """Return sets of points and the metrics measured at just these, where they are enough for a link."""
    sets: dict[bytes, list[int]] = {}
    for row, here in enumerate(~np.isnan(values)):
        if np.count_nonzero(here) >= _FEWEST:
            sets.setdefault(here.tobytes(), []).append(row)
    return [(np.frombuffer(points, dtype=np.bool_), rows) for points, rows in sets.items()]


_FEWEST = 4


def _link_rows(
    ladder: Ladder,
    rows: list[int],
    source: tuple[Scale, np.ndarray],
    reached: tuple[np.ndarray, np.ndarray],
    found: Forecasts,
) -> None:
    """Fill in the forecasts of some metrics, all measured at the points of `ladder`."""
    scale, common = source
    there, deviation = reached
    z, z_there = scale.z(common), scale.z(there)
    y = working(ladder)[rows]
    parabolas = Parabolas.fit(z, y, scale.weights)
    noise = _shrunk_noise(ladder, rows, parabolas.noise)
    carried = parabolas.slope(z_there) * deviation / scale.spread
    found.working[rows] = parabolas.at(z_there)
    found.spread[rows] = np.sqrt(np.outer(noise**2, 1 + parabolas.leverage(z_there)) + carried**2)
    shares = [at for at, row in enumerate(rows) if ladder.metrics[row].sort == "share"]
    if shares:
        chosen = [rows[at] for at in shares]
        sigmoids = Sigmoids.fit(z, y[shares], scale.weights, noise[shares], np.full(len(shares), np.nan))
        members = [np.clip(found.working[chosen], 0, 1), sigmoids.at(z_there)]
        own = _through_bits(ladder, chosen, noise[shares], found)
        found.working[chosen] = _mean_of_members(members, own)
        found.spread[chosen] = np.hypot(found.spread[chosen], np.abs(members[0] - members[1]) / 2)


def _shrunk_noise(ladder: Ladder, rows: list[int], noise: np.ndarray) -> np.ndarray:
    """Return each metric's noise, drawn towards that of its kind: a few points tell little of it."""
    kinds = np.array([ladder.metrics[row].kind for row in rows])
    least = np.array([_LEAST_NOISE[ladder.metrics[row].sort] for row in rows])
    typical = np.array([np.median(noise[kinds == kind]) for kind in kinds])
    n = ladder.params.size
    return np.maximum(np.sqrt((n * noise**2 + _SHRINK * typical**2) / (n + _SHRINK)), least)


def _mean_of_members(members: list[np.ndarray], own: np.ndarray) -> np.ndarray:
    both = np.mean(members, axis=0)
    return np.where(np.isnan(own), both, (len(members) * both + own) / (len(members) + 1))


def _through_bits(ladder: Ladder, rows: list[int], noise: np.ndarray, found: Forecasts) -> np.ndarray:
    """Return the shares by a sigmoid in the task's own bits per byte; NaN where there are none."""
    told = np.full((len(rows), found.working.shape[1]), np.nan)
    for at, row in enumerate(rows):
        bits = bits_of(ladder, row)
        if bits is None or np.isnan(found.working[bits]).any():
            continue
        own = losslike(ladder, bits)
        if np.isnan(own).any():
            continue
        scale = Scale.of(own, ladder.compute, RECENCY)
        sigmoid = Sigmoids.fit(
            scale.z(own), ladder.values[[row]], scale.weights, noise[at : at + 1], np.full(1, np.nan)
        )
        told[at] = sigmoid.at(scale.z(found.working[bits]))[0]
    return told


def bits_of(ladder: Ladder, row: int) -> int | None:
    """Return the metric that has the bits per byte of a task's right answers, by its name; None where there is none."""
    name = ladder.metrics[row].name
    for other, metric in enumerate(ladder.metrics):
        stem = metric.name.removesuffix(_BITS)
        if metric.name.endswith(_BITS) and (name == stem or name.startswith(f"{stem}_")):
            return other
    return None
