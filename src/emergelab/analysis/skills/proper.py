"""Proper scores of predicted success rates, and means of scores over composites with honest intervals.

A score is proper where nobody scores better in expectation than by saying what they believe (Gneiting and Raftery
2007, J. Am. Stat. Assoc. 102:359). Smaller is better for all three here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Integer
from scipy.special import ndtr, stdtr, xlogy

from emergelab.analysis import intervals
from emergelab.analysis.estimate import NO_VALUES, Estimate

CLUSTERS = "composites_and_items"
ITEMS_ONLY = "items of one composite"

Values = Float64[np.ndarray, "*cases"]


def brier(predicted: Values, right: Values) -> Values:
    """Return the mean square of prediction less outcome over right-or-wrong answers of which a share is right."""
    return predicted * predicted - 2 * predicted * right + right


def log_score(predicted: Values, right: Values, answers: Float64[np.ndarray, "*#cases"]) -> Values:
    """Return the mean nats per right-or-wrong answer.

    Rates of `answers` answers tell nothing finer than half an answer of one more: predictions are held so far away
    from 0 and 1.
    """
    edge = 0.5 / (answers + 1)
    held = np.clip(predicted, edge, 1 - edge)
    return -xlogy(right, held) - xlogy(1 - right, 1 - held)


@dataclass(frozen=True)
class Ensemble:
    """Sorted draws of rates that a law expects to see, a row for each case; a row of NaN expects nothing."""

    ordered: Float64[np.ndarray, "cases draws"]

    def crps(self, observed: Float64[np.ndarray, "cases seen"]) -> Float64[np.ndarray, "cases seen"]:
        """Return the continuous ranked probability score, unbiased in the number of draws (Ferro 2014, QJRMS 140:1917).

        It is in units of the rate: the mean distance of draws from what was observed, less half the one between draws.
        """
        cases, draws = self.ordered.shape
        ranks = 2 * np.arange(1, draws + 1) - draws - 1
        apart = self.ordered @ ranks / (draws * (draws - 1))
        sums = np.concatenate([np.zeros((cases, 1)), np.cumsum(self.ordered, axis=1)], axis=1)
        # Rows lie in [0, 1]; two apart they are one sorted array, which is searched at once.
        lift = 4.0 * np.arange(cases)[:, None]
        places = np.searchsorted((self.ordered + lift).ravel(), np.clip(observed, -1, 2) + lift)
        below = np.clip(places - draws * np.arange(cases)[:, None], 0, draws)
        left = np.take_along_axis(sums, below, axis=1)
        distance = observed * (2 * below - draws) + sums[:, -1:] - 2 * left
        return distance / draws - apart[:, None]

    def limits(self) -> tuple[Values, Values]:
        """Return the ends of the middle 95 % of draws."""
        draws = self.ordered.shape[1]
        cut = int(np.floor(0.025 * (draws - 1)))
        return self.ordered[:, cut], self.ordered[:, draws - 1 - cut]


@dataclass(frozen=True)
class Scored:
    """A score of each case, and the same in draws of the items behind it (or None: the draws do not move it)."""

    value: Float64[np.ndarray, " cases"]
    draws: Float64[np.ndarray, "cases draws"] | None = None

    def minus(self, other: Scored) -> Scored:
        """Return the difference, case by case and draw by draw."""
        if self.draws is None or other.draws is None:
            return Scored(self.value - other.value)
        return Scored(self.value - other.value, self.draws - other.draws)

    def at(self, kept: np.ndarray) -> Scored:
        """Return some of the cases; `kept` is a mask."""
        if kept.all():
            return self
        return Scored(self.value[kept], None if self.draws is None else self.draws[kept])


@dataclass(frozen=True)
class Mean:
    """A mean or ratio over composites with its standard error; `composites` of them, NaN where nothing is known."""

    value: float
    error: float
    composites: int

    def estimate(self) -> Estimate:
        """Return it with Student's interval, as many degrees of freedom as composites less one."""
        if np.isnan(self.value):
            return Estimate(None, None, None, 0, NO_VALUES)
        half = self._quantile() * self.error
        method = CLUSTERS if self.composites > 1 else ITEMS_ONLY
        if np.isnan(half):
            return Estimate(self.value, None, None, self.composites, "none: one composite")
        return Estimate(self.value, self.value - half, self.value + half, self.composites, method)

    def p(self) -> float:
        """Return the two-sided probability of a mean so far from 0 if the truth is 0; 1 where nothing differs."""
        if np.isnan(self.value) or np.isnan(self.error):
            return float("nan")
        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        distance = -abs(self.value) / self.error
        one_side = stdtr(self.composites - 1, distance) if self.composites > 1 else ndtr(distance)
        return float(2 * one_side)

    def _quantile(self) -> float:
        if self.composites > 1:
            return float(intervals.student_quantile(np.array([self.composites - 1]))[0])
        return intervals.normal_quantile()


def mean_over(scored: Scored, composite: Integer[np.ndarray, " cases"]) -> Mean:
    """Return the mean score of cases; composites are drawn, and items that composites share."""
    return ratio_over(scored, Scored(np.ones_like(scored.value)), composite)


def ratio_over(above: Scored, below: Scored, composite: Integer[np.ndarray, " cases"]) -> Mean:
    """Return sum(above) / sum(below) over cases of which neither is missing.

    Two things vary. Composites do, each with all of its cases: the linearised ratio's variance over them (Cochran 1977,
    section 6) holds this. Items do, as the draws say, and composites share some of them. What lies between
    composites holds noise of their items, too, which is taken out of the sum of both, but never more than leaves the
    variance of the draws.
    """
    known = ~(np.isnan(above.value) | np.isnan(below.value))
    above, below, composite = above.at(known), below.at(known), composite[known]
    total = float(below.value.sum())
    if not composite.size or total == 0:
        return Mean(float("nan"), float("nan"), 0)
    value = float(above.value.sum()) / total
    _, place = np.unique(composite, return_inverse=True)
    count = int(place.max()) + 1
    residual = np.bincount(place, weights=above.value - value * below.value)
    between = count / (count - 1) * float(residual @ residual) if count > 1 else 0.0
    if above.draws is None:
        return Mean(value, float(np.sqrt(between)) / total if count > 1 else float("nan"), count)
    under = below.value[:, None] if below.draws is None else below.draws
    whole, single = _items(above.draws - value * under, place)
    if count == 1:
        return Mean(value, float(np.sqrt(whole)) / total, 1)
    # So much of what lies between composites is noise of their items.
    noise = (count * single - whole) / (count - 1)
    return Mean(value, float(np.sqrt(max(whole, between + whole - noise))) / total, count)


def _items(residual: Float64[np.ndarray, "cases draws"], place: np.ndarray) -> tuple[float, float]:
    """Return the variance over draws of the residuals' sum, and the sum of that of single composites."""
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(int(place.max()) + 1))
    sums = np.add.reduceat(residual[order], starts, axis=0)
    sums -= sums.mean(axis=1, keepdims=True)
    freedom = sums.shape[1] - 1
    together = sums.sum(axis=0)
    return float(together @ together) / freedom, float(np.vdot(sums, sums)) / freedom
