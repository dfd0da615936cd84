"""What performance curves ask of their numbers; each refusal says value, rule and remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

from emergelab.errors import UserError

_PERCENT = 100.0

Values: TypeAlias = int | float | np.number | Sequence[int | float] | np.ndarray
"""One number or several, of any shape."""


class CurveError(UserError):
    """A share, a ratio or a number of skills for which performance curves are not defined."""


def share_of(name: str, value: Values) -> Float64[np.ndarray, "*points"]:
    """Return shares as float64. Raises `CurveError` unless all lie in (0, 1)."""
    values = np.asarray(value, dtype=np.float64)
    wrong = ~((values > 0) & (values < 1))
    if wrong.any():
        found = float(values[wrong].flat[0])
        raise CurveError(
            f"{name} is {found:g}. It is a share and must lie between 0 and 1, both excluded. {_remedy(found)}"
        )
    return values


def ratio_of(value: Values) -> Float64[np.ndarray, "*points"]:
    """Return β as float64. Raises `CurveError` unless all are above 1 and finite."""
    values = np.asarray(value, dtype=np.float64)
    wrong = ~((values > 1) & np.isfinite(values))
    if wrong.any():
        raise CurveError(
            f"beta is {values[wrong].flat[0]:g}. It says how many times the mean failure the failure of weak skills "
            "is at most, and must be above 1 and finite. Give a ratio such as 2."
        )
    return values


def counts_of(name: str, value: Values) -> Float64[np.ndarray, "*points"]:
    """Return whole numbers as float64. Raises `CurveError` unless all are 1 or more."""
    values = np.asarray(value, dtype=np.float64)
    wrong = ~((values >= 1) & np.isfinite(values) & (values == np.floor(values)))
    if wrong.any():
        raise CurveError(
            f"{name} is {values[wrong].flat[0]:g}. It is a count and must be a whole number, 1 or more. "
            "Give a whole number such as 8."
        )
    return values


def require_failure_below_one(
    theta: Float64[np.ndarray, "*points"], beta: Float64[np.ndarray, "*others"]
) -> None:
    """Raise `CurveError` where β times θ is 1 or more: a failure rate that nothing exceeds."""
    product = np.asarray(beta * theta)
    wrong = product >= 1
    if wrong.any():
        low = float(np.broadcast_to(theta, product.shape)[wrong].flat[0])
        raise CurveError(
            f"beta times theta is {product[wrong].flat[0]:g}. It is a failure rate and must be below 1. "
            f"At theta {low:g} give a beta below {1 / low:g}."
        )


def _remedy(found: float) -> str:
    if 1 < found <= _PERCENT:
        return f"{found:g} % is {found / _PERCENT:g}."
    return "Give a fraction such as 0.1."
