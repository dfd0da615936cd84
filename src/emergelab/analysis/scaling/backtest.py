"""How good forecasts are: fit the small runs of a ladder, forecast the large ones, compare.

Errors are relative for losses (100 times the difference of logarithms, near enough per cent) and in points for shares.
The score is the continuous ranked probability score of a normal forecast (Gneiting and Raftery 2007), in the same unit:
smaller is better, and of a forecast without spread it is the absolute error. The interval score of the same paper
adds to an interval's width 2/(1 - .9) times what lies outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from emergelab.analysis.scaling.baselines import BASELINES, baseline
from emergelab.analysis.scaling.calibration import COVERAGE, calibrate
from emergelab.analysis.scaling.forecast import Forecasts, forecast, working
from emergelab.analysis.scaling.ladder import Ladder, Target
from emergelab.analysis.scaling.scatter import Scatter, scatter
from emergelab.rng import Stream

POOLED = "emergelab"
_NORMAL_90 = 1.6448536269514722
_HUNDRED = 100.0
# How many times the most compute fitted a scored run took.
BANDS = {
    "up to 1": (0.0, 1.0),
    "1 to 3": (1.0, 3.0),
    "3 to 10": (3.0, 10.0),
    "above 10": (10.0, np.inf),
}
UP_TO_TEN, ALL_LARGER = "1 to 10", "above 1"
_SUMS = {UP_TO_TEN: (1.0, 10.0), ALL_LARGER: (1.0, np.inf)}


@dataclass(frozen=True)
class Outcome:
    """Scores of one method on one kind of metric in one band; `n` forecasts of `metrics` and `runs`.

    `error`, `bias`, `half_width`, `crps` and `interval_score` are per cent for losses, points for shares; `coverage`
    is the share of values inside the 90 % interval.
    """

    split: str
    method: str
    kind: str
    sort: str
    band: str
    n: int
    metrics: int
    runs: int
    error: float
    bias: float
    coverage: float
    half_width: float
    crps: float
    interval_score: float


@dataclass(frozen=True)
class Scored:
    """Every forecast of a back-test beside what came: by method, in working units, with half widths of intervals.

    `scatter` is how far single fitted runs lie from their links, which no forecast can be nearer than.
    """

    name: str
    fitted: Ladder
    large: Ladder
    methods: dict[str, tuple[Forecasts, np.ndarray]]  # forecasts, and spreads to either side by metric
    scatter: list[Scatter]

    @property
    def times(self) -> np.ndarray:
        """How many times the most compute fitted on its corpus each scored run took."""
        groups = range(len(self.fitted.groups))
        most = [self.fitted.compute[self.fitted.group == group].max(initial=0.0) for group in groups]
        return self.large.compute / np.array(most)[self.large.group]


def back_test(name: str, fitted: Ladder, large: Ladder, stream: Stream) -> Scored:
    """Forecast the large runs from the fitted ones, by the pooled method and by every baseline."""
    target = Target.of(large)
    widths = calibrate(fitted, stream.child("widths"))
    own = np.array([widths.of(metric.kind) for metric in fitted.metrics])
    normal = np.full(len(fitted.metrics), _NORMAL_90)
    methods = {POOLED: (forecast(fitted, target, stream.child("forecast")), own)}
    methods |= {one: (baseline(one, fitted, target), normal) for one in BASELINES}
    return Scored(name, fitted, large, methods, scatter(fitted))


def outcomes(scored: Scored) -> Iterator[Outcome]:
    """Yield the scores of every method, kind and band that has runs."""
    kinds = np.array([metric.kind for metric in scored.large.metrics])
    sorts = {metric.kind: metric.sort for metric in scored.large.metrics}
    for method, (found, widths) in scored.methods.items():
        for kind in dict.fromkeys(kinds.tolist()):
            rows = np.flatnonzero(kinds == kind)
            for band, (low, high) in (BANDS | _SUMS).items():
                runs = np.flatnonzero((scored.times > low) & (scored.times <= high))
                one = _outcome(scored, (found, widths), rows, runs)
                if one is not None:
                    yield Outcome(scored.name, method, kind, sorts[kind], band, *one)


def _outcome(
    scored: Scored, method: tuple[Forecasts, np.ndarray], rows: np.ndarray, runs: np.ndarray
) -> tuple[int, int, int, float, float, float, float, float, float] | None:
    found, widths = method
    cells = np.ix_(rows, runs)
    off = _HUNDRED * (found.working - working(scored.large))[cells]
    half = _HUNDRED * (widths[:, None] * found.spread)[cells]
    there = ~np.isnan(off)
    if not there.any():
        return None
    n, metrics, models = int(there.sum()), int(there.any(axis=1).sum()), int(there.any(axis=0).sum())
    off, half = off[there], half[there]
    inside = np.abs(off) <= half
    outside = np.maximum(np.abs(off) - half, 0.0)
    return (
        n, metrics, models,
        float(np.abs(off).mean()), float(off.mean()), float(inside.mean()), float(half.mean()),
        float(crps(off, half / _NORMAL_90).mean()),
        float((2 * half + 2 / (1 - COVERAGE) * outside).mean()),
    )  # fmt: skip


def crps(off: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return the continuous ranked probability score of normal forecasts that are `off` by so much.

    Closed form of Gneiting et al. 2005 (Mon. Weather Rev. 133:1098).
    """
    z = off / deviation
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return deviation * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
