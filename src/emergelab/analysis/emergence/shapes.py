"""Shapes that a curve over a scale may have, smooth and broken, as vectors over its points.

What is smooth? A curve of diminishing returns: a line, a power law with an offset, a line that levels off. And any
rise that takes its time: no `span` of positions holds four fifths of all its change within the measured points. What
is broken rises faster than that, at the limit in one step, on a level or on a slope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64
from scipy.special import expit

from emergelab.analysis.emergence.curves import Points

MOST = 0.8  # of the change, which a broken curve makes within the span

_DIMINISHING = {"power law", "levelling line"}
_PLACES, _WIDTHS, _RATES = 61, 19, 24
_FINE = 401
_HALVINGS = 12

Basis = Float64[np.ndarray, "shapes points"]
Drawn = Callable[[np.ndarray], np.ndarray]

_BENT: dict[str, Drawn] = {
    "sigmoid": expit,
    "levelling line": lambda z: -np.logaddexp(0.0, -z),
    "rising line": lambda z: np.logaddexp(0.0, z),
}


@dataclass(frozen=True)
class Family:
    """Curves a + b h with b >= 0, h one of `shapes`, or a + c u + b h where `sloped`.

    `sizes` counts the parameters of each, the variance among them.
    """

    names: tuple[str, ...]
    shapes: Basis
    sizes: Float64[np.ndarray, " shapes"]
    sloped: bool = False


@dataclass(frozen=True)
class Shapes:
    """Families that are smooth, broken, and a pure step between neighbouring points."""

    smooth: list[Family]
    broken: list[Family]
    step: Family


def shapes_over(u: Points, span: float) -> Shapes:
    """Return the shapes over ascending positions; no `span` of them holds most of a smooth curve's change."""
    return _shapes_over(tuple(u.tolist()), span)


@lru_cache(maxsize=4)  # the curves of a study are over few scales
def _shapes_over(positions: tuple[float, ...], span: float) -> Shapes:
    u = np.array(positions)
    reach = float(u[-1] - u[0])
    fine = np.linspace(u[0], u[-1], _FINE)
    # A line may fall, so that a curve that does is no jump for want of one.
    smooth = [_family("line", 3.0, np.zeros((1, u.size)), sloped=True)]
    broken: list[Family] = []
    for name, size, shapes in [*_powers(u, reach), *_bent(u, span)]:
        measured = shapes(u)
        none = np.zeros(len(measured), dtype=np.bool_)
        sudden = none if name in _DIMINISHING else _sudden(shapes(fine), span / reach)
        for families, chosen in ((smooth, ~sudden), (broken, sudden)):
            if chosen.any():
                families.append(_family(name, size, measured[chosen]))
    steps = (np.arange(u.size) > np.arange(u.size - 1)[:, None]).astype(np.float64)
    step = _family("step", 4.0, steps)
    return Shapes(smooth, [*broken, step, _family("step on a slope", 5.0, steps, sloped=True)], step)


def _family(name: str, size: float, shapes: Basis, *, sloped: bool = False) -> Family:
    return Family((name,) * len(shapes), shapes, np.full(len(shapes), size), sloped)


def _powers(u: Points, reach: float) -> Iterator[tuple[str, float, Drawn]]:
    """Yield name and number of parameters of a kind, and its shapes as a function of positions."""
    rates = np.geomspace(0.1, 20, _RATES)[:, None] / reach
    yield "power law", 4.0, lambda x: -np.exp(-rates * (x - u[0]))
    yield "growing power", 4.0, lambda x: np.exp(rates * (x - u[-1]))


def _bent(u: Points, span: float) -> Iterator[tuple[str, float, Drawn]]:
    """Yield the same of shapes with a place and a width, the widths at the limit of smooth among them."""
    reach, finest = float(u[-1] - u[0]), float(np.diff(u).min())
    places = np.linspace(u[0], u[-1], _PLACES)
    place, width = np.meshgrid(places, np.geomspace(finest / 8, reach, _WIDTHS))
    for name, form in _BENT.items():
        limits = np.empty(0) if name in _DIMINISHING else _limits(form, u, places, span)
        at = np.append(place, places[: limits.size])[:, None]
        wide = np.append(width, limits)[:, None]
        yield name, 5.0, lambda x, form=form, at=at, wide=wide: form((x - at) / wide)


def _limits(form: Drawn, u: Points, places: np.ndarray, span: float) -> np.ndarray:
    """Return for each place the least width that is smooth, by bisection."""
    fine, share = np.linspace(u[0], u[-1], _FINE), span / float(u[-1] - u[0])
    low = np.full(places.size, float(np.diff(u).min()) / 8)
    high = np.full(places.size, 4 * float(u[-1] - u[0]))
    for _ in range(_HALVINGS):
        middle = np.sqrt(low * high)
        sudden = _sudden(form((fine - places[:, None]) / middle[:, None]), share)
        low, high = np.where(sudden, middle, low), np.where(sudden, high, middle)
    return high


def _sudden(values: Float64[np.ndarray, "shapes fine"], span: float) -> Bool[np.ndarray, " shapes"]:
    """Return which shapes make most of their change within a span, given as a share of the range."""
    change = values - values[:, :1]
    done = change / change[:, -1:]
    cells = min(max(round(span * (_FINE - 1)), 1), _FINE - 1)
    return (done[:, cells:] - done[:, :-cells]).max(axis=1) > MOST
