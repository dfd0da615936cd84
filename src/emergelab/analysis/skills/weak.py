"""The share of weak skills, as observed and with the noise of few pieces taken out.

Skills that fail more than a threshold are weak. Measured on few pieces, strong ones seem weak by chance and weak ones
strong, so that the observed share is off, mostly upwards. The correction takes the skills' true failures for draws
from a beta law whose mean and spread are unknown: its marginal likelihood is the beta-binomial's, and the share is
that of the skills at hand, not of others that the law might give. With a flat law of the mean and of (a + b)^(-1/2)
for the beta law's a and b (Gelman et al., Bayesian Data Analysis, section 5.3) the number of weak skills has a known
distribution: for each a and b it is a sum of independent trials. Its mean and central 95 % are returned, exactly but
for the grid of a and b.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64
from scipy import special

from emergelab.analysis.estimate import NO_VALUES, Estimate
from emergelab.analysis.intervals import LEVEL
from emergelab.outcomes.schema import CELL, SCALE

RAW = "none: noise of few pieces included"
CORRECTED = "beta-binomial marginal likelihood"
MEANS = special.expit(np.linspace(-7.0, 7.0, 29))
SPREADS = np.linspace(0.02, 3.7, 24)
"""The grid of beta laws: their means, and (a + b)^(-1/2)."""
_NEGLIGIBLE = 1e-4
_ROUNDING = 1e-12
MOST_EXACT = 400
"""Units up to which the number of weak ones is computed exactly; of more it is nearly normal."""

Units = Float64[np.ndarray, " units"]
Laws = Float64[np.ndarray, " laws"]


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """Failing pieces of those asked, and how many units have these."""

    failed: Units
    asked: Units
    times: Int64[np.ndarray, " units"]


@dataclass(frozen=True, kw_only=True)
class _BetaLaws:
    """Laws that a unit's failure may come from, and how likely each is; these sum to 1."""

    a: Laws
    b: Laws
    weights: Laws


@dataclass(frozen=True, kw_only=True)
class WeakShare:
    """The share of skills whose failure exceeds `threshold`: as observed, and corrected for noise."""

    threshold: float
    raw: Estimate
    corrected: Estimate


def weak_share(failure: Units, trials: Units, thresholds: Sequence[float]) -> list[WeakShare]:
    """Return the share of skills with a failure above each threshold.

    `trials` are as many independent pieces as would measure each failure as well; skills with NaN or without trials are
    left out. Both may be fractions.
    """
    known = ~np.isnan(failure) & (trials > 0)
    failure, trials = failure[known], trials[known]
    if failure.size == 0:
        nothing = Estimate(None, None, None, 0, NO_VALUES)
        return [WeakShare(threshold=threshold, raw=nothing, corrected=nothing) for threshold in thresholds]
    counts = _counts(failure, trials)
    laws = _laws(counts)
    return [
        WeakShare(
            threshold=threshold,
            raw=Estimate(float((failure > threshold).mean()), None, None, failure.size, RAW),
            corrected=_corrected(counts, laws, threshold),
        )
        for threshold in thresholds
    ]


def weak_shares(found: pl.DataFrame, thresholds: pl.DataFrame) -> pl.DataFrame:
    """Return weak shares by cell for a table of `competence`; `thresholds` has `CELL`, `limit` (its name), threshold.

    Columns: `CELL`, `SCALE`, limit, threshold, raw, corrected with `_lo` and `_hi`, n (skills or tuples), method.
    """
    parts = found.partition_by(CELL, as_dict=True)
    rows: list[dict[str, object]] = []
    for cell, asked in thresholds.partition_by(CELL, as_dict=True, maintain_order=True).items():
        if cell in parts:
            rows += _rows(parts[cell], asked)
    kinds = {name: found.schema[name] for name in (*CELL, *SCALE)}
    numbers = dict.fromkeys(("threshold", "raw", "corrected", "corrected_lo", "corrected_hi"), pl.Float64)
    schema = kinds | {"limit": pl.String} | numbers | {"n": pl.Int64, "method": pl.String}
    return pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema)


def _rows(part: pl.DataFrame, asked: pl.DataFrame) -> list[dict[str, object]]:
    failure, trials = (part[name].fill_null(np.nan).to_numpy() for name in ("failure", "failure_trials"))
    shares = weak_share(failure, trials, asked["threshold"].to_list())
    place = part.row(0, named=True)
    return [
        {**place, **named, **_row(share)}
        for named, share in zip(asked.iter_rows(named=True), shares, strict=True)
    ]


def _row(share: WeakShare) -> dict[str, object]:
    corrected = share.corrected
    return {
        "raw": share.raw.value,
        "corrected": corrected.value,
        "corrected_lo": corrected.lo,
        "corrected_hi": corrected.hi,
        "n": corrected.n,
        "method": corrected.method,
    }


def _counts(failure: Units, trials: Units) -> _Counts:
    counts, times = np.unique(np.stack([failure * trials, trials]), axis=1, return_counts=True)
    return _Counts(failed=counts[0], asked=counts[1], times=times)


def _corrected(counts: _Counts, laws: _BetaLaws, threshold: float) -> Estimate:
    units = int(counts.times.sum())
    a, b = laws.a[:, None] + counts.failed, laws.b[:, None] + counts.asked - counts.failed
    above = np.repeat(special.betaincc(a, b, np.clip(threshold, 0.0, 1.0)), counts.times, axis=1)
    value = min(float(laws.weights @ above.mean(axis=1)), 1.0)
    reached = np.cumsum(number_above(above, laws.weights))
    ends = (1 - LEVEL) / 2 + _ROUNDING, (1 + LEVEL) / 2 - _ROUNDING
    low, high = (float(np.searchsorted(reached, end)) / units for end in ends)
    return Estimate(value, min(low, value), max(high, value), units, CORRECTED)


def _laws(counts: _Counts) -> _BetaLaws:
    """Return the beta laws that the counts leave likely."""
    mean, spread = (grid.ravel() for grid in np.meshgrid(MEANS, SPREADS, indexing="ij"))
    a, b = mean / spread**2, (1 - mean) / spread**2
    likely = special.betaln(a[:, None] + counts.failed, b[:, None] + counts.asked - counts.failed)
    # The grid is even in the mean's logit.
    logs = (likely - special.betaln(a, b)[:, None]) @ counts.times + np.log(mean * (1 - mean))
    weights = np.exp(logs - logs.max())
    kept = weights > _NEGLIGIBLE
    return _BetaLaws(a=a[kept], b=b[kept], weights=weights[kept] / weights[kept].sum())


def number_above(above: Float64[np.ndarray, "laws units"], weights: Laws) -> Float64[np.ndarray, " numbers"]:
    """Return the distribution of how many units lie above the threshold, 0 to all of them."""
    laws, units = above.shape
    if units > MOST_EXACT:
        return _nearly_normal(above, weights)
    number = np.zeros((laws, units + 1))
    number[:, 0] = 1.0
    for unit in range(units):
        share = above[:, unit, None]
        number[:, 1 : unit + 2] = number[:, 1 : unit + 2] * (1 - share) + number[:, : unit + 1] * share
        number[:, 0] *= 1 - share[:, 0]
    return weights @ number


def _nearly_normal(
    above: Float64[np.ndarray, "laws units"], weights: Laws
) -> Float64[np.ndarray, " numbers"]:
    mean = above.sum(axis=1)[:, None]
    deviation = np.sqrt(np.maximum((above * (1 - above)).sum(axis=1), 1e-9))[:, None]
    ends = np.arange(above.shape[1] + 1) + 0.5
    below = weights @ special.ndtr((ends - mean) / deviation)
    below[-1] = 1.0
    return np.diff(below, prepend=0.0)
