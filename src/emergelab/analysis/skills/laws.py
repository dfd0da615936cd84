"""Laws of composition: the success rate of a tuple of skills, predicted from the success rates of its skills alone.

    product          Π s                       parts succeed independently of each other
    minimum          min s                     the weakest part decides; no tuple can do better (Fréchet's upper bound)
    union bound      max(0, 1 - Σ (1 - s))     failures never coincide; no tuple can do worse (Fréchet's lower bound)
    concatenated     (1 - θ)^k                 k pieces joined, each failing as the mean skill does, Arora, Goyal 2023
    within           1 - θ                     a piece of k skills fails as one of a single skill does, the same source

and four with one number that other tuples, checkpoints or systems have to tell:

    between          minimum^w · product^(1-w)          w in [0, 1]
    power            product^g                          g = 2 where parts are twice as hard in company
    factor           f · product                        composing itself succeeds with probability f
    shifted          logit⁻¹(logit(product) + a)        the same, on the logistic scale

The bounds hold for any dependence if parts do in company what they do alone, and every part is needed (Fréchet 1951).
Rates are fractions. Short tuples are filled up with parts of rate 1, which no law but those of θ looks at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

Rates = Float64[np.ndarray, "*cases"]
PartRates = Float64[np.ndarray, "*cases parts"]

_GRID = 41
_CLOSE = 1e-4  # of a fitted number: far less than its uncertainty
_EDGE = 1e-9  # rates of 0 and 1 have no logit


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a law may know of tuples: their singles' success rates [..., parts], filled up with 1, and θ and k.

    `failure` is θ, the mean failure of all skills asked alone in the same cell; `size` is k.
    """

    singles: PartRates
    failure: Rates
    size: Rates


def product(singles: PartRates) -> Rates:
    """Return the success rate of parts that succeed independently."""
    return np.prod(singles, axis=-1)


def minimum(singles: PartRates) -> Rates:
    """Return the success rate of the weakest part, which no tuple exceeds: Fréchet's upper bound."""
    return np.min(singles, axis=-1)


def union_bound(singles: PartRates) -> Rates:
    """Return the success rate where failures never coincide, the least there can be: Fréchet's lower bound."""
    return np.maximum(0.0, 1.0 - np.sum(1.0 - singles, axis=-1))


def concatenated(failure: Rates, size: Rates) -> Rates:
    """Return the success rate of `size` joined pieces of which each fails with probability `failure`."""
    return (1.0 - failure) ** size


def between(singles: PartRates, weight: float) -> Rates:
    """Return the geometric mean of minimum and product in which the minimum has this weight."""
    low, high = product(singles), minimum(singles)
    # No power of 0 / 0: where a part never succeeds, nothing does.
    ratio = np.divide(low, high, out=np.zeros_like(low), where=high > 0)
    return np.where(high > 0, high * ratio ** (1.0 - weight), 0.0)


def power(singles: PartRates, exponent: float) -> Rates:
    """Return the product to a power above 0."""
    return product(singles) ** exponent


def factor(singles: PartRates, share: float) -> Rates:
    """Return a share of the product."""
    return share * product(singles)


def shifted(singles: PartRates, shift: float) -> Rates:
    """Return the product moved on the logistic scale; rates of 0 and 1 stay."""
    found = product(singles)
    inside = (found > _EDGE) & (found < 1 - _EDGE)
    return np.where(inside, expit(logit(np.clip(found, _EDGE, 1 - _EDGE)) + shift), found)


@dataclass(frozen=True)
class Law:
    """A law by name; one with a `range` has a number to fit, which `predict` takes."""

    name: str
    predict: Callable[[Known, float], Rates]
    range: tuple[float, float] | None = None
    bound: bool = False


LAWS = (
    Law("product", lambda known, _: product(known.singles)),
    Law("minimum", lambda known, _: minimum(known.singles), bound=True),
    Law("union bound", lambda known, _: union_bound(known.singles), bound=True),
    Law("concatenated", lambda known, _: concatenated(known.failure, known.size)),
    Law("within", lambda known, _: 1.0 - known.failure),
    Law("between", lambda known, weight: between(known.singles, weight), (0.0, 1.0)),
    Law("power", lambda known, exponent: power(known.singles, exponent), (0.05, 10.0)),
    Law("factor", lambda known, share: factor(known.singles, share), (0.0, 1.0)),
    Law("shifted", lambda known, shift: shifted(known.singles, shift), (-8.0, 8.0)),
)
"""All laws of rates, those without a number first."""


def fit(law: Law, known: Known, observed: Rates, weights: Rates) -> float:
    """Return the number of a law for which the weighted squares of observed less predicted rates are least.

    NaN for a law without one and where no case has a weight. Squares of rates are least for the same number as the
    mean Brier score of all items is. There may be several minima: a grid comes first.
    """
    return float(_fits(law, known, observed, weights[None])[0])


def _fits(
    law: Law, known: Known, observed: Rates, weights: Float64[np.ndarray, "fits cases"]
) -> Float64[np.ndarray, " fits"]:
    if law.range is None or not observed.size:
        return np.full(len(weights), np.nan)

    def squares(number: float) -> Rates:
        return (law.predict(known, number) - observed) ** 2

    grid = np.linspace(*law.range, _GRID)
    losses = weights @ np.stack([squares(float(number)) for number in grid], axis=1)
    found = np.full(len(weights), np.nan)
    for row in np.flatnonzero(weights.sum(axis=1) > 0):
        least = int(np.argmin(losses[row]))
        around = float(grid[max(0, least - 1)]), float(grid[min(_GRID - 1, least + 1)])
        kept = weights[row]
        near = minimize_scalar(
            lambda number, kept=kept: float(kept @ squares(number)),
            bounds=around,
            method="bounded",
            options={"xatol": _CLOSE},
        )
        # At an end of the range the search inside it never arrives.
        found[row] = near.x if near.fun < losses[row, least] else grid[least]  # pyright: ignore[reportAttributeAccessIssue]
    return found


def out_of_sample(
    law: Law, known: Known, observed: Rates, folds: np.ndarray, weights: Rates
) -> tuple[Rates, Rates]:
    """Return predictions of each case by the other folds' cases alone, and the numbers that made them.

    A law without a number needs no others. NaN where there is no other fold.
    """
    if law.range is None:
        return law.predict(known, float("nan")), np.full(observed.shape, np.nan)
    names, place = np.unique(folds, return_inverse=True)
    others = np.arange(len(names))[:, None] != place
    numbers = _fits(law, known, observed, others * weights)[place]
    return with_numbers(law, known, numbers), numbers


def with_numbers(law: Law, known: Known, numbers: Float64[np.ndarray, " cases"]) -> Rates:
    """Return a law's predictions, each case (first axis) with its number; NaN where that is."""
    if law.range is None:
        return law.predict(known, float("nan"))
    found = np.full(known.failure.shape, np.nan)
    for number in np.unique(numbers[~np.isnan(numbers)]):
        here = numbers == number
        found[here] = law.predict(_only(known, here), float(number))
    return found


def _only(known: Known, kept: np.ndarray) -> Known:
    return Known(singles=known.singles[kept], failure=known.failure[kept], size=known.size[kept])
