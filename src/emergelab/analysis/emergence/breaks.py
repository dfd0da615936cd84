"""Is a curve smooth, or does it break? By likelihood, with the search for the break counted in.

The best smooth and the best broken shape (see `shapes`) are fitted to the means over runs by weighted least
squares; the variance of a mean is that over prompts and runs, times a common factor of at least 1 that each fit
sets for itself. The statistic is the gain in log-likelihood. Where the break would be is unknown, and under a
smooth truth there is none, so that no table has the statistic's law: it is simulated from the best smooth fit,
each time with the whole search again (Davies 1987, Biometrika 74:33, on parameters that exist only under the
alternative). The same is done with the roles exchanged, from the best pure step: only a step that is rejected
makes "no jump".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from emergelab.analysis.emergence.curves import Curve, Points
from emergelab.analysis.emergence.shapes import Family, Shapes, shapes_over
from emergelab.rng import Stream

Verdict = Literal["jump", "no jump", "undecided"]

METHOD = "likelihood ratio, parametric bootstrap"
FEWEST_POINTS = 6
SIMULATIONS = 999
_LEVEL = 0.05
_NOTHING = 1e-9

Draws = Float64[np.ndarray, "draws points"]


@dataclass(frozen=True)
class Break:
    """Whether a curve jumps, and what speaks for it.

    `p_smooth` is the probability of so much gain by a break if the best smooth curve is true, `p_step` that of so
    much gain by smoothness if the best step is true. AICc (None where there are too few points for it) is lower for
    what is to be preferred. `between` are the neighbouring x with the best step between them. `span` is in positions.
    """

    verdict: Verdict
    reason: str
    p_smooth: float | None
    p_step: float | None
    aicc_smooth: float | None
    aicc_broken: float | None
    smooth: str
    broken: str
    between: tuple[float, float] | None
    span: float
    points: int
    n: int
    method: str = METHOD


@dataclass(frozen=True)
class _Whitened:
    """A family made ready: unit vectors of its shapes at right angles to a level (and slope), in units of the noise."""

    family: Family
    base: Float64[np.ndarray, "columns points"]
    units: Float64[np.ndarray, "shapes points"]

    def residuals(self, values: Draws) -> Float64[np.ndarray, "draws shapes"]:
        """Return the residual sum of squares of every shape."""
        return np.maximum(
            self._left(values)[:, None] - np.square(np.maximum(values @ self.units.T, 0.0)), 0.0
        )

    def least(self, values: Draws) -> Float64[np.ndarray, " draws"]:
        """Return the least residual sum of squares: what the best shape takes away is the most."""
        most = np.maximum((values @ self.units.T).max(axis=1), 0.0)
        return np.maximum(self._left(values) - np.square(most), 0.0)

    def _left(self, values: Draws) -> Float64[np.ndarray, " draws"]:
        return np.square(values).sum(axis=1) - np.square(values @ self.base.T).sum(axis=1)

    def fitted(self, values: Points, shape: int) -> Points:
        unit = self.units[shape]
        return self.base.T @ (self.base @ values) + unit * max(float(unit @ values), 0.0)


def find_break(
    curve: Curve, random: Stream, *, span: float | None = None, simulations: int = SIMULATIONS
) -> Break:
    """Compare smooth and broken shapes of a curve.

    A curve is smooth if four fifths of its change need at least `span` (natural logarithms of x; nats of loss),
    by default half of the measured range, or if its returns only diminish. The verdict is "jump" if p_smooth <
    .05 and the broken shape has the lower AICc, "no jump" if p_smooth >= .05 and p_step < .05, else, and below
    six points, "undecided".
    Raises ValueError if the span is not positive.

    Simulated with 1 to 3 seeds on 8 and 12 points and 200 or 300 prompts: smooth curves, the steepest that counts as
    one among them, were called jumps in none or one of 40, and jumps were found in 36 to 40 of 40. Measured by
    tests/simulated_curves.py, asked again by tests/reference/test_emergence_coverage.py.
    """
    u = curve.scale.positions()
    span = float(u[-1] - u[0]) / 2 if span is None else span
    if span <= 0:
        raise ValueError(f"The span of a smooth rise must be positive. Got {span}.")
    if u.size < FEWEST_POINTS:
        return _too_few(curve, span)
    noise = np.sqrt(_variances(curve))
    ready = _ready(shapes_over(u, span), u, noise)
    values = curve.upward().means() / noise
    tested = (("smooth", ready[0], ready[1]), ("step", ready[2], ready[0]))
    p_smooth, p_step = (
        _p(values, null, other, random.child("break", name).generator(), simulations)
        for name, null, other in tested
    )
    smooth, broken, step = (_aicc(values, families) for families in ready)
    verdict, reason = _verdict(p_smooth, p_step, smooth[0], broken[0])
    return Break(
        verdict=verdict,
        reason=reason,
        p_smooth=p_smooth,
        p_step=p_step,
        aicc_smooth=_finite(smooth[0]),
        aicc_broken=_finite(broken[0]),
        smooth=smooth[1],
        broken=broken[1],
        between=_between(curve, step[2]),
        span=span,
        points=u.size,
        n=curve.n,
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _too_few(curve: Curve, span: float) -> Break:
    reason = f"fewer than {FEWEST_POINTS} points"
    points = curve.scale.x.size
    return Break(
        "undecided", reason, None, None, None, None, "", "", None, span, points, curve.n, "none: " + reason
    )


def _between(curve: Curve, step: int) -> tuple[float, float]:
    lo, hi = sorted(curve.scale.x[step : step + 2].tolist())
    return lo, hi


def _verdict(p_smooth: float, p_step: float, smooth: float, broken: float) -> tuple[Verdict, str]:
    if p_smooth < _LEVEL and broken < smooth:
        return "jump", "no smooth curve fits as well"
    if p_smooth < _LEVEL:
        return "undecided", "no smooth curve fits well, nor does a break pay for its parameters"
    if p_step < _LEVEL:
        return "no jump", "a smooth curve fits, a step does not"
    return "undecided", "a smooth curve fits, and so does a step"


def _variances(curve: Curve) -> Points:
    """Return the variances of the means over prompts and runs; runs vary as much at every point."""
    counts = curve.counts()
    own = np.maximum(np.nanmean(curve.errors, axis=1) - curve.shared, 0.0)
    squares = np.nansum(np.square(curve.runs - curve.means()[:, None]), axis=1)
    freedom = float((counts - 1).sum())
    between = float((squares - (counts - 1) * own).sum()) / freedom if freedom else 0.0
    return curve.mean_variances() + max(between, 0.0) / counts


def _ready(
    shapes: Shapes, u: Points, noise: Points
) -> tuple[list[_Whitened], list[_Whitened], list[_Whitened]]:
    smooth, broken, step = (
        [_whitened(family, u, noise) for family in families]
        for families in (shapes.smooth, shapes.broken, [shapes.step])
    )
    return smooth, broken, step


def _whitened(family: Family, u: Points, noise: Points) -> _Whitened:
    columns = [np.ones_like(u), u - u.mean()] if family.sloped else [np.ones_like(u)]
    base = np.linalg.qr((np.stack(columns) / noise).T)[0].T
    rest = family.shapes / noise
    rest = rest - (rest @ base.T) @ base
    size = np.linalg.norm(rest, axis=1, keepdims=True)
    # A shape that the level (and slope) already has adds nothing.
    return _Whitened(family, base, np.where(size > _NOTHING, rest / np.maximum(size, _NOTHING), 0.0))


def _likelihoods(residuals: np.ndarray, points: int) -> np.ndarray:
    """Return log-likelihoods, the factor of the variance at its best of at least 1."""
    factor = np.maximum(residuals / points, 1.0)
    return -0.5 * (points * np.log(factor) + residuals / factor)


def _best(values: Draws, families: list[_Whitened]) -> np.ndarray:
    least = np.min([family.least(values) for family in families], axis=0)
    return _likelihoods(least, values.shape[1])


def _p(
    values: Points,
    null: list[_Whitened],
    other: list[_Whitened],
    generator: np.random.Generator,
    simulations: int,
) -> float:
    """Return how often a truth from `null`, the best of it, gives as much gain by `other` as was seen."""
    fits = [(family, family.residuals(values[None])[0]) for family in null]
    family, residuals = min(fits, key=lambda fit: fit[1].min())
    shape = int(residuals.argmin())
    freedom = max(values.size - int(family.family.sizes[shape]) + 1, 1)
    factor = max(float(residuals[shape]) / freedom, 1.0)
    drawn = generator.standard_normal((simulations, values.size)) * np.sqrt(factor)
    drawn += family.fitted(values, shape)
    gains = _best(drawn, other) - _best(drawn, null)
    seen = float((_best(values[None], other) - _best(values[None], null))[0])
    return (1 + int(np.count_nonzero(gains >= seen - 1e-9))) / (1 + simulations)


def _aicc(values: Points, families: list[_Whitened]) -> tuple[float, str, int]:
    """Return the lowest AICc (Hurvich and Tsai 1989), with the name and the number of its shape."""
    found = []
    for ready in families:
        sizes = ready.family.sizes
        likelihoods = _likelihoods(ready.residuals(values[None])[0], values.size)
        left = values.size - sizes - 1
        with np.errstate(divide="ignore"):
            criteria = (
                2 * sizes - 2 * likelihoods + np.where(left > 0, 2 * sizes * (sizes + 1) / left, np.inf)
            )
        best = int(criteria.argmin())
        found.append((float(criteria[best]), ready.family.names[best], best))
    return min(found)
