"""Where a curve crosses a level and how sharply it rises, with intervals.

Two intervals, each under its own assumption. The *bracket* speaks of the runs at hand and assumes that their
mean never falls: each measured point is tested against the level, from the lowest scale upwards until one may
lie above it, and from the highest downwards until one may lie below. In this order every test can be at 2.5 %:
to be wrong at all, a side must be wrong at the first point where it can be. Between two points nothing is
claimed. The *curve* speaks of new runs and assumes a logistic rise in each (see `rises`). What is reported is
the hull of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from emergelab.analysis import intervals
from emergelab.analysis.emergence.curves import Curve, Points, Scale
from emergelab.analysis.emergence.rises import FEWEST_POINTS, Plateaus, Rise, fit_rises, law_of_all
from emergelab.analysis.estimate import Estimate
from emergelab.rng import Stream

BRACKET = "monotone bracket"
LOGISTIC = "logistic rise"
HULL = "monotone bracket and logistic rise"
OF_THESE = ", of these runs"
ONE_RUN = ", of these runs: one at each point"
NO_RISE = "none: no rise"
TOO_FEW = f"none: fewer than {FEWEST_POINTS} points"

_TENTH = 2 * float(np.log(9.0))  # a logistic rises from 10 to 90 % in this many widths


@dataclass(frozen=True)
class Threshold:
    """Where a curve crosses a level, in units of its scale: the hull of both intervals, and each of them.

    `level` is None for half way between the plateaus. An end that lies outside what was measured is None, and
    so is such a value; `stated` says in words what is known, such as "above 6e+06".
    """

    level: float | None
    hull: Estimate
    bracket: Estimate
    curve: Estimate
    stated: str


def threshold(
    curve: Curve, random: Stream, *, level: float | None = None, plateaus: Plateaus | None = None
) -> Threshold:
    """Return where runs cross `level`, by default half way between their plateaus, on (geometric) average over runs.

    With one run at each point nothing tells how others would go, and the method says whose threshold it is.
    Where the curve does not reach its upper plateau, name a level: half way to what nobody has seen is hardly
    known. Below three points nothing is known.

    Simulated with 2 to 5 seeds on 4, 8 and 12 points (logistic and Gompertz rises and jumps, runs alike or with
    places that differ by .5 to .7 in ln x) the hull held the truth in 48 of 50 curves or more, and mostly in all:
    it has the whole gap between two points. With one run at each point it did in all of 50 where runs
    are alike, but in 58 to 98 % where they differ. Measured by tests/simulated_curves.py, asked again by
    tests/reference/test_emergence_coverage.py.
    """
    return threshold_of(curve, fit_rises(curve, random, plateaus), level=level)


def threshold_of(curve: Curve, rises: list[Rise], *, level: float | None = None) -> Threshold:
    """Return the threshold from the rises that `fit_rises` found on the same curve."""
    risen = [rise for rise in rises if rise.place.size]
    if not risen:
        reason = NO_RISE if rises else TOO_FEW
        missing = Estimate(None, None, None, curve.n, reason)
        return Threshold(level, missing, missing, missing, "not known" + reason.removeprefix("none"))
    sign = 1.0 if curve.rising else -1.0
    wanted = None if level is None else sign * level
    # A run that does not rise crosses nowhere that is measured.
    draws = [rise.crossing(wanted) if rise.place.size else np.array([np.inf]) for rise in rises]
    lo, value, hi = _quantiles(draws, curve.scale)
    left, right = _bracket(curve.upward(), _middle(risen) if wanted is None else wanted)
    hull = (min(lo, left), value, max(hi, right))
    whose = _whose(curve)
    return Threshold(
        level,
        _estimate(curve, hull, HULL + whose),
        _estimate(curve, (left, value, right), BRACKET + OF_THESE),
        _estimate(curve, (lo, value, hi), LOGISTIC + whose),
        _stated(curve.scale, (hull[0], hull[2])),
    )


def sharpness(curve: Curve, random: Stream, *, plateaus: Plateaus | None = None) -> Estimate:
    """Return how wide a run's rise is, from 10 to 90 % of it, in natural logarithms of x (of loss: in nats).

    The (geometric) average over runs. The lower end is 0 where the rise may fit between two points: it may then
    be a jump.
    """
    return sharpness_of(curve, fit_rises(curve, random, plateaus))


def sharpness_of(curve: Curve, rises: list[Rise]) -> Estimate:
    """Return the sharpness from the rises that `fit_rises` found on the same curve."""
    logs = [np.log(_TENTH * rise.width) for rise in rises if rise.place.size]
    if not logs:
        return Estimate(None, None, None, curve.n, NO_RISE if rises else TOO_FEW)
    lo, value, hi = np.exp(_law_quantiles(*law_of_all(logs, float(np.log(40.0)))))
    finest = float(np.diff(curve.scale.positions()).min())
    return Estimate(value, 0.0 if lo < finest else lo, hi, curve.n, LOGISTIC + _whose(curve))


def _quantiles(draws: list[np.ndarray], scale: Scale) -> tuple[float, float, float]:
    u = scale.positions()
    reach = float(u[-1] - u[0])
    within = [np.clip(one, u[0] - reach, u[-1] + reach) for one in draws]
    lo, value, hi = _law_quantiles(*law_of_all(within, reach))
    return float(lo), float(value), float(hi)


def _law_quantiles(places: Points, law: Points) -> Float64[np.ndarray, " 3"]:
    """Return the ends and the middle of a law over places."""
    wanted = [(1 - intervals.LEVEL) / 2, 0.5, (1 + intervals.LEVEL) / 2]
    return places[np.searchsorted(np.cumsum(law), wanted).clip(0, places.size - 1)]


def _middle(rises: list[Rise]) -> float:
    return float(np.mean([np.median(rise.start + rise.end) / 2 for rise in rises]))


def _bracket(curve: Curve, level: float) -> tuple[float, float]:
    """Return the positions between which a curve that never falls crosses the level."""
    u, means = curve.scale.positions(), curve.means()
    error = intervals.normal_quantile() * np.sqrt(curve.mean_variances())
    below = np.cumprod(means + error < level)
    above = np.cumprod((means - error > level)[::-1])
    left = u[below.sum() - 1] if below.any() else -np.inf
    right = u[u.size - above.sum()] if above.any() else np.inf
    return float(left), float(right)


def _whose(curve: Curve) -> str:
    return "" if curve.counts().max() > 1 else ONE_RUN


def _estimate(curve: Curve, ends: tuple[float, float, float], method: str) -> Estimate:
    """Return positions as an estimate in x; what lies outside the measured points is not known."""
    u = curve.scale.positions()
    left, middle, right = ends
    lo = None if left < u[0] else curve.scale.at(min(left, float(u[-1])))
    hi = None if right > u[-1] else curve.scale.at(max(right, float(u[0])))
    value = curve.scale.at(middle) if u[0] <= middle <= u[-1] else None
    if curve.scale.axis == "loss":
        lo, hi = hi, lo
    return Estimate(value, lo, hi, curve.n, method)


def _stated(scale: Scale, ends: tuple[float, float]) -> str:
    """Say in words of x between which numbers a threshold lies."""
    u = scale.positions()
    first, last = (f"{scale.at(float(end)):.4g}" for end in (u[0], u[-1]))
    more, less = ("below", "above") if scale.axis == "loss" else ("above", "below")
    lo, hi = (f"{scale.at(end):.4g}" if u[0] <= end <= u[-1] else None for end in ends)
    if ends[0] >= u[-1]:
        return f"{more} {last}"
    if ends[1] <= u[0]:
        return f"{less} {first}"
    if lo is None and hi is None:
        return "not known"
    if hi is None:
        return f"{more} {lo}"
    if lo is None:
        return f"{less} {hi}"
    return f"between {hi} and {lo}" if scale.axis == "loss" else f"between {lo} and {hi}"
