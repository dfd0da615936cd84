"""Whether a fitted law hangs on a handful of its points.

Every point is left out once. For each of E, a and b the few points that moved it most in one direction are then left
out together, and so are those with the largest residuals. (Which few points move an estimate most: Broderick,
Giordano and Meager 2020, arXiv 2011.14999.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emergelab.analysis.scaling.law import FEWEST, Fit, LawEstimate, refits

MOST_POINTS = 5
_PARAMETERS = ("E", "a", "b")
_TENTH = 0.1
_SHARE = 5  # at most one point in five is left out


@dataclass(frozen=True)
class Influence:
    """What leaving out `points` (indices) makes of one constant, and its interval with all of them."""

    parameter: str
    value: float
    without: float
    lo: float
    hi: float
    points: tuple[int, ...]

    @property
    def decisive(self) -> bool:
        """Whether the few points change the constant by a tenth or more.

        Its interval is no measure of that: resampling draws outliers again and again, and is the wider for them.
        """
        return abs(self.without - self.value) > _TENTH * abs(self.value)


def influences(estimate: LawEstimate) -> list[Influence]:
    """Return the largest change of E, a and b that leaving out a handful of points can make, as far as is found."""
    fit = estimate.fit
    n = fit.runs.losses.size
    few = min(MOST_POINTS, n // _SHARE, n - FEWEST)
    if few < 1:
        return []
    alone = refits(fit, np.ones((n, n)) - np.eye(n))
    return [_largest(estimate, name, [getattr(law, name) for law in alone], few) for name in _PARAMETERS]


def _largest(estimate: LawEstimate, name: str, alone: list[float], few: int) -> Influence:
    fit = estimate.fit
    sets = _suspects(fit, np.array(alone), few)
    weights = np.ones((len(sets), len(alone)))
    for row, points in enumerate(sets):
        weights[row, points] = 0.0
    whole = float(getattr(fit.law, name))
    without = np.array([getattr(law, name) for law in refits(fit, weights)])
    most = int(np.abs(without - whole).argmax())
    known = estimate.constants[name]
    lo, hi = (whole if limit is None else limit for limit in (known.lo, known.hi))
    return Influence(name, whole, float(without[most]), lo, hi, tuple(sorted(int(p) for p in sets[most])))


def _suspects(fit: Fit, alone: np.ndarray, few: int) -> list[np.ndarray]:
    """Return the sets that may matter: those that raise, those that lower, those far from the curve."""
    order = np.argsort(alone, kind="stable")
    far = np.argsort(-np.abs(fit.residuals), kind="stable")
    return [order[:few], order[-few:], far[:few]]
