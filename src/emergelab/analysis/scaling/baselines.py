"""What a forecast has to beat: the last value, a power law or a logistic curve in compute, plain fits of the law.

Each takes a metric of one training corpus by itself, fits all of its points alike, and takes the deviation of its
residuals for the spread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from emergelab.analysis.scaling.common import common_values, losslike
from emergelab.analysis.scaling.curves import Positions, log_curve
from emergelab.analysis.scaling.forecast import Forecasts, intermediates, working
from emergelab.analysis.scaling.ladder import Ladder, Target
from emergelab.analysis.scaling.law import FEWEST, Runs, fit_law
from emergelab.analysis.scaling.links import Scale, Sigmoids
from emergelab.analysis.scaling.shares import bits_of

Told = tuple[np.ndarray, np.ndarray]  # values at the points fitted, and at the targets
Laws = dict[bytes, Told]  # laws fitted before, by the values that they were fitted to
Baseline = Callable[[Ladder, int, Target, Laws], Told]

_LEAST_SPREAD = 1e-4
_UNKNOWN_NOISE = 0.02  # of a share, where a sigmoid is fitted before its noise is known


def last_value(ladder: Ladder, row: int, target: Target, _laws: Laws) -> Told:
    """Return the value of the run with the most compute, at all points."""
    value = working(ladder)[row, int(ladder.compute.argmax())]
    return np.full(ladder.params.size, value), np.full(target.params.size, value)


def power_of_compute(ladder: Ladder, row: int, target: Target, _laws: Laws) -> Told:
    """Return a power law in compute: of a loss, or of the share that is wrong."""
    slope, level = np.polyfit(np.log(ladder.compute), losslike(ladder, row), 1)
    fitted, there = (level + slope * np.log(points.compute) for points in (ladder, target))
    if ladder.metrics[row].sort == "share":
        return 1 - np.exp(fitted), 1 - np.exp(there)
    return fitted, there


def logistic_in_compute(ladder: Ladder, row: int, target: Target, _laws: Laws) -> Told:
    """Return a share as a logistic curve in log compute above a chance floor; of a loss nothing (NaN)."""
    if ladder.metrics[row].sort != "share":
        return np.full(ladder.params.size, np.nan), np.full(target.params.size, np.nan)
    return _sigmoid(ladder, row, -np.log(ladder.compute), -np.log(target.compute))


def plain_law(ladder: Ladder, row: int, target: Target, laws: Laws) -> Told:
    """Return the plain law by Huber's loss; a share by a sigmoid in what it says of the task's bits per byte.

    Without bits per byte the sigmoid is one in the geometric mean of the losses.
    """
    if ladder.metrics[row].sort != "share":
        return _law(ladder, losslike(ladder, row), target, laws)
    bits = bits_of(ladder, row)
    logs = common_values(ladder, intermediates(ladder)) if bits is None else losslike(ladder, bits)
    _, there = _law(ladder, logs, target, laws)
    return _sigmoid(ladder, row, logs, there)


BASELINES: Mapping[str, Baseline] = {
    "last value": last_value,
    "power law in compute": power_of_compute,
    "logistic in log compute": logistic_in_compute,
    "plain law (Huber)": plain_law,
}


def baseline(name: str, ladder: Ladder, target: Target) -> Forecasts:
    """Return one baseline's forecasts of all metrics on all training corpora."""
    found = Forecasts.empty(len(ladder.metrics), target.params.size)
    for group in range(len(ladder.groups)):
        asked = np.flatnonzero(target.group == group)
        part = ladder.at(ladder.group == group)
        wanted = Target(target.group[asked], target.params[asked], target.tokens[asked])
        laws: Laws = {}
        for row in range(len(ladder.metrics)):
            known = part.at(~np.isnan(part.values[row]))
            if known.params.size < FEWEST or not asked.size:
                continue
            fitted, there = BASELINES[name](known, row, wanted, laws)
            spread = float(np.sqrt(np.mean((fitted - working(known)[row]) ** 2)))
            found.working[row, asked] = there
            found.spread[row, asked] = max(spread, _LEAST_SPREAD)
    return found


def _law(ladder: Ladder, logs: np.ndarray, target: Target, laws: Laws) -> Told:
    if logs.tobytes() in laws:
        return laws[logs.tobytes()]
    fit = fit_law(Runs(ladder.params, ladder.tokens, np.exp(logs), ladder.run))
    there = log_curve(Positions.about(target.params, target.tokens, fit.positions.centre))
    told, _ = there(fit.parameters[None, :], np.zeros(1, dtype=np.int64))
    laws[logs.tobytes()] = logs + fit.residuals, told[0]
    return laws[logs.tobytes()]


def _sigmoid(ladder: Ladder, row: int, here: np.ndarray, there: np.ndarray) -> Told:
    scale = Scale.of(here, ladder.compute, 0.0)
    values = ladder.values[[row]]
    sigmoid = Sigmoids.fit(
        scale.z(here), values, scale.weights, np.full(1, _UNKNOWN_NOISE), np.full(1, np.nan)
    )
    return sigmoid.at(scale.z(here))[0], sigmoid.at(scale.z(there))[0]
