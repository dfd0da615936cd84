"""Whether a fitted law hangs on a handful of its points.

Every point is left out once. For each of E, a and b the few points that moved it most in one direction are then left
out together, and so are those with the largest residuals. (Which few points move an estimate most: Broderick,
Giordano and Meager 2020, arXiv 2011.14999.) Points that lie far from the curve together hide each other, since they
draw it to them: so the few points at each end of the ladder are left out, too, and those that are worst fitted by the
others, found by fitting halves of the points and dropping the worst until they stay the same (least trimmed
squares; Rousseeuw and Van Driessen 2006, Data Min. Knowl. Disc. 12:29).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from emergelab.analysis.scaling.law import FEWEST, Fit, LawEstimate, refits
from emergelab.rng import stream
from emergelab.theory.scaling import ScalingLaw

MOST_POINTS = 5
_PARAMETERS = ("E", "a", "b")
_TENTH = 0.1
_SHARE = 5  # at most one point in five is left out
_HALVES = 24
_TRIMS = 6


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
    common = [*_ends(fit, few), *_trimmed(fit, few)]
    return [_largest(estimate, name, alone, (few, common)) for name in _PARAMETERS]


def _largest(
    estimate: LawEstimate, name: str, alone: list[ScalingLaw], sets: tuple[int, list[np.ndarray]]
) -> Influence:
    fit, (few, common) = estimate.fit, sets
    order = np.argsort([getattr(law, name) for law in alone], kind="stable")
    suspects = [order[:few], order[-few:], *common]
    without = np.array([getattr(law, name) for law in refits(fit, _weights(suspects, len(alone)))])
    whole = float(getattr(fit.law, name))
    most = int(np.abs(without - whole).argmax())
    known = estimate.constants[name]
    lo, hi = (whole if limit is None else limit for limit in (known.lo, known.hi))
    return Influence(name, whole, float(without[most]), lo, hi, tuple(sorted(int(p) for p in suspects[most])))


def _weights(sets: list[np.ndarray], points: int) -> Float64[np.ndarray, "sets points"]:
    """Return weights that leave out each set in turn."""
    weights = np.ones((len(sets), points))
    for row, left_out in enumerate(sets):
        weights[row, left_out] = 0.0
    return weights


def _ends(fit: Fit, few: int) -> list[np.ndarray]:
    """Return the points at the ends of parameters, tokens, their ratio and loss, and those far from the curve."""
    runs = fit.runs
    by = (runs.params, runs.tokens, runs.tokens / runs.params, runs.losses)
    orders = [np.argsort(values, kind="stable") for values in by]
    far = np.argsort(-np.abs(fit.residuals), kind="stable")[:few]
    return [far] + [part for order in orders for part in (order[:few], order[-few:])]


def _trimmed(fit: Fit, few: int) -> list[np.ndarray]:
    """Return sets that are worst fitted by all other points, from halves of the points on."""
    runs, n = fit.runs, fit.runs.losses.size
    generator = stream(0, "halves").generator()
    halves = [generator.permutation(n)[: n // 2] for _ in range(_HALVES)]
    sets = [half for half in halves if _both_vary(fit, half)]
    for _ in range(_TRIMS):
        laws = refits(fit, _weights(sets, n))
        off = np.abs([np.log(law.loss(runs.params, runs.tokens)) - np.log(runs.losses) for law in laws])
        found = np.unique(np.sort(np.argsort(-off, axis=1, kind="stable")[:, :few], axis=1), axis=0)
        sets = list(found)
    return sets


def _both_vary(fit: Fit, left_out: np.ndarray) -> bool:
    kept = np.setdiff1d(np.arange(fit.runs.losses.size), left_out)
    sizes, tokens = (np.unique(values[kept]).size for values in (fit.runs.params, fit.runs.tokens))
    return kept.size >= FEWEST and min(sizes, tokens) > 1
