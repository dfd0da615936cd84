"""How much later a tuple's curve rises than those of its parts: horizontal distances, beside the theory's slingshot.

Accuracies over training are made monotone (isotonic regression) and read the other way round: at which training a level
is reached. The distance of composite and part at the same level is the *shift*, in natural logarithms of tokens (at one
size as many as of compute) or in nats of loss; it is averaged over the levels at which both are known. Between two
checkpoints the logarithm is interpolated, and levels crossed in a gap wider than `WIDEST` are not used; `least` and
`most` are what a monotone curve allows without interpolation. The interval is a bootstrap over items, drawn once for
all checkpoints, which answered the same ones; items of composite and parts are drawn apart.

By slingshot generalisation (Arora and Goyal 2023, arXiv 2307.15936) under the linear link, a k'-tuple's curve is no
worse than the single skill's of a model with k' times the excess loss. A shift says by which k' the excess was divided
in between, by a scaling law: k' = excess(N, D_part) / excess(N, D_composite). The theory's is the number of parts; it
is a bound on the worst case, so that a smaller one does not speak against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float64

from emergelab.analysis import estimate, intervals
from emergelab.analysis.estimate import Estimate
from emergelab.analysis.skills.order import missing_parts
from emergelab.analysis.skills.panels import LOSS, TOKENS, Panel, Panels, Points, System, on_axis
from emergelab.rng import Stream
from emergelab.theory.scaling import PUBLISHED, ScalingLaw

WIDEST = float(np.log(3.0))
"""The widest gap between checkpoints, in natural logarithms of tokens, within which a crossing is interpolated."""
WIDEST_SHARE = 0.2
"""The same on the axis of loss, in shares of the measured range."""
LEVELS = np.round(np.arange(0.05, 0.96, 0.05), 2)
HALF = 0.5
DRAWS = 400
METHOD = "isotonic curves, bootstrap over items"
LAW = "besiroglu"

LATEST, MEAN = "latest part", "mean of parts"
NO_LEVELS = "none: no level that both cross between checkpoints close enough"
TOO_FEW = "none: fewer than 3 checkpoints in common"

_FEWEST = 3
_LOST = 0.05  # of draws that may miss a level
_LARGEST = 4_000_000  # numbers of an isotonic fit held at once

Curves = Float64[np.ndarray, "draws points"]

SHIFTS = pl.Schema(
    {
        "system": pl.String,
        "composite": pl.String,
        "k": pl.Int32,
        "axis": pl.String,
        "axis_of": pl.String,
        "against": pl.String,
        "parts": pl.List(pl.String),
        "levels": pl.Int32,
        "level_lo": pl.Float64,
        "level_hi": pl.Float64,
    }
    | dict.fromkeys(
        ("shift", "shift_lo", "shift_hi", "least", "most", "at_least", "factor", "factor_lo", "factor_hi"),
        pl.Float64,
    )
    | {"law": pl.String}
    | dict.fromkeys(
        ("k_implied", "k_implied_lo", "k_implied_hi", "theory_factor", "theory_optimal"), pl.Float64
    )
    | {"items": pl.Int32, "method": pl.String}
)
"""A row for each composite with all parts measured, of each system, along tokens and loss, against two sorts of part.

`shift` is positive where the composite is later; `at_least` is what is sure of it at the level one half, also where
the tuple never gets there. `factor` is exp(shift), of tokens and so of compute at this size; null for loss.
`k_implied` is by `law`, at the system's size; `theory_factor` the factor of tokens at this size that divides the excess
by the number of parts (null: none does), `theory_optimal` the factor of compute from optimum to optimum.
"""


@dataclass(frozen=True)
class Shifts:
    """Rows `SHIFTS`, and by system, axis and sort of part the mean over composites."""

    rows: pl.DataFrame
    means: Mapping[tuple[str, str, str], Estimate]


@dataclass(frozen=True)
class Crossings:
    """Where curves reach levels: positions before which and behind which it is, and between them by interpolation.

    [draws, levels]; -inf before the first point, inf behind the last one.
    """

    lo: np.ndarray
    middle: np.ndarray
    hi: np.ndarray

    @staticmethod
    def latest(parts: list[Crossings]) -> Crossings:
        """Return where the last of several curves reaches each level."""
        return Crossings(*(np.max([getattr(part, end) for part in parts], axis=0) for end in _ENDS))

    @staticmethod
    def mean(parts: list[Crossings]) -> Crossings:
        """Return the mean of where several curves reach each level; NaN where one is not known."""
        found = []
        for end in _ENDS:
            places = np.stack([getattr(part, end) for part in parts])
            known = np.isfinite(places).all(axis=0)
            found.append(np.where(known, np.where(np.isfinite(places), places, 0.0).mean(axis=0), np.nan))
        return Crossings(*found)

    def known(self, widest: float) -> np.ndarray:
        """Return which levels the first curve crosses in a gap that is not too wide."""
        with np.errstate(invalid="ignore"):
            gaps = self.hi[0] - self.lo[0]
        return np.isfinite(gaps) & (gaps <= widest)


_ENDS = ("lo", "middle", "hi")


def isotonic(curves: Curves) -> Curves:
    """Return the least-squares non-decreasing curve of each row.

    By the min-max formula (Barlow et al. 1972): the largest over starts j <= i of the least mean of points j to l >= i.
    """
    points = curves.shape[1]
    chunk = max(1, _LARGEST // max(points * points, 1))
    return np.concatenate([_isotonic(curves[at : at + chunk]) for at in range(0, len(curves), chunk)])


def _isotonic(curves: Curves) -> Curves:
    points = curves.shape[1]
    sums = np.concatenate([np.zeros((len(curves), 1)), np.cumsum(curves, axis=1)], axis=1)
    first, last = np.arange(points)[:, None], np.arange(points)[None, :]
    lengths = np.where(last >= first, last - first + 1, 1)
    means = np.where(last >= first, (sums[:, None, 1:] - sums[:, :-1, None]) / lengths, np.inf)
    least = np.minimum.accumulate(means[:, :, ::-1], axis=2)[:, :, ::-1]
    return np.where(last >= first, least, -np.inf).max(axis=1)


def crossings(u: Points, curves: Curves, levels: np.ndarray) -> Crossings:
    """Return where non-decreasing curves over ascending positions reach levels."""
    below = (curves[:, None, :] < levels[None, :, None] - _TINY).sum(axis=2)  # points before each level
    inner = np.clip(below, 1, u.size - 1)
    row = np.arange(len(curves))[:, None]
    left, right = curves[row, inner - 1], curves[row, inner]
    share = (levels - left) / np.where(right > left, right - left, 1.0)
    middle = u[inner - 1] + np.clip(share, 0.0, 1.0) * (u[inner] - u[inner - 1])
    before, behind = below == 0, below == u.size
    return Crossings(
        np.where(before, -np.inf, np.where(behind, u[-1], u[inner - 1])),
        np.where(before, -np.inf, np.where(behind, np.inf, middle)),
        np.where(before, u[0], np.where(behind, np.inf, u[inner])),
    )


_TINY = 1e-12


def shifts(given: Panels, root: Stream, *, law: str = LAW, draws: int = DRAWS) -> Shifts:
    """Return the shifts of all composites with all parts measured; `law` is a name of `theory.scaling.PUBLISHED`."""
    asked = _Asked(law, PUBLISHED[law], draws)
    rows = [
        row
        for system in given.systems
        for panel in system.tasks
        if panel.k > 1 and not missing_parts(system, panel)
        for axis in (TOKENS, LOSS)
        for row in _rows(system, panel, axis, (root.child("shifts", system.name, panel.name, axis), asked))
    ]
    frame = pl.DataFrame(rows, schema=SHIFTS)
    return Shifts(frame, means_of(frame))


def means_of(rows: pl.DataFrame) -> dict[tuple[str, str, str], Estimate]:
    """Return the mean shift over composites, by system, axis and sort of part; `n` counts composites.

    Composites that share a part are taken for independent, so that intervals flatter.
    """
    found: dict[tuple[str, str, str], Estimate] = {}
    for (system, axis, against), part in rows.group_by("system", "axis", "against", maintain_order=True):
        values = part["shift"].drop_nulls().to_numpy()
        found[str(system), str(axis), str(against)] = estimate.paired_difference(
            values, np.zeros_like(values)
        )
    return found


@dataclass(frozen=True)
class _Asked:
    name: str
    law: ScalingLaw
    draws: int


@dataclass(frozen=True)
class _Shift:
    """A shift in positions at some levels: of the curves as they are in the first row, of draws below it."""

    composite: np.ndarray
    part: np.ndarray
    levels: np.ndarray
    bounds: tuple[float, float]

    @property
    def values(self) -> np.ndarray:
        return (self.composite - self.part).mean(axis=1)


def _rows(system: System, panel: Panel, axis: str, how: tuple[Stream, _Asked]) -> list[dict[str, object]]:
    stream, asked = how
    parts = [system.parts[skill] for skill in dict.fromkeys(panel.skills)]
    x, axis_of = on_axis(panel, system, axis, [task for part in parts for task in part.tasks])
    common = [
        np.isfinite(place) and place > 0 and all(name in part.checkpoints for part in parts)
        for name, place in zip(panel.checkpoints, x, strict=True)
    ]
    known = np.array(common, dtype=np.bool_)
    names = _names(system, panel, axis, axis_of, parts)
    if np.unique(x[known]).size < _FEWEST:
        return [names | {"against": against, "method": TOO_FEW} for against in (LATEST, MEAN)]
    u = np.log(x[known]) if axis == TOKENS else -x[known]
    kept = [name for name, there in zip(panel.checkpoints, common, strict=True) if there]
    own, *others = (
        _crossings_of(
            one.at(np.isin(one.checkpoints, kept)), u, stream.child(one.kind, one.name), asked.draws
        )
        for one in (panel, *parts)
    )
    widest = WIDEST if axis == TOKENS else WIDEST_SHARE * float(np.ptp(u))
    joined = {LATEST: Crossings.latest(others), MEAN: Crossings.mean(others)}
    return [
        names
        | {"against": against, "at_least": at_least(own, part)}
        | _told(_shift(own, part, (widest, u)), (system, panel, axis), asked)
        for against, part in joined.items()
    ]


def _names(system: System, panel: Panel, axis: str, axis_of: str, parts: list[Panel]) -> dict[str, object]:
    return {
        "system": system.name,
        "composite": panel.name,
        "k": panel.k,
        "axis": "tokens" if axis == TOKENS else "loss",
        "axis_of": axis_of,
        "parts": [part.name for part in parts],
        "items": panel.right.shape[1],
    }


def _crossings_of(panel: Panel, u: Points, stream: Stream, draws: int) -> Crossings:
    """Return the crossings of a panel's accuracy: as it is, and of items drawn with replacement."""
    known = ~np.isnan(panel.right)
    items = panel.right.shape[1]
    drawn = stream.generator().multinomial(items, np.full(items, 1 / items), size=draws)
    weights = np.concatenate([np.ones((1, items)), drawn.astype(np.float64)])
    with np.errstate(invalid="ignore", divide="ignore"):
        curves = (weights @ np.where(known, panel.right, 0.0).T) / (weights @ known.astype(np.float64).T)
    places, merged = _merged(u, curves)
    return crossings(places, isotonic(np.nan_to_num(merged)), LEVELS)


def _merged(u: Points, curves: Curves) -> tuple[Points, Curves]:
    """Sort by position; points at the same one are averaged."""
    places, at = np.unique(u, return_inverse=True)
    belongs = (at[:, None] == np.arange(places.size)).astype(np.float64)
    return places, (curves @ belongs) / belongs.sum(axis=0)


def _shift(own: Crossings, part: Crossings, scale: tuple[float, Points]) -> _Shift | None:
    """Return the shift over the levels that both curves cross where it is known, in nearly all draws."""
    widest, u = scale
    lost = ~np.isfinite(own.middle) | ~np.isfinite(part.middle)
    chosen = own.known(widest) & part.known(widest) & (lost.mean(axis=0) <= _LOST)
    if not chosen.any():
        return None
    low, high = float(u.min()), float(u.max())
    composite, single = (
        np.clip(np.nan_to_num(one.middle[:, chosen], nan=low, neginf=low, posinf=high), low, high)
        for one in (own, part)
    )
    least = float((own.lo[0] - part.hi[0])[chosen].mean())
    most = float((own.hi[0] - part.lo[0])[chosen].mean())
    return _Shift(composite, single, LEVELS[chosen], (least, most))


def at_least(own: Crossings, part: Crossings) -> float | None:
    """Return by how much a tuple is later than its part at the level `HALF`; None where nothing says that it is.

    The 2.5 % quantile over draws of the distance from the first point behind the part's crossing to the last one before
    the tuple's, so that nothing is interpolated, and a tuple that never gets there counts, too.
    """
    with np.errstate(invalid="ignore"):
        distance = (own.lo - part.hi)[1:, int(np.argmin(np.abs(LEVELS - HALF)))]
    known = np.nan_to_num(distance, nan=-np.inf, posinf=-np.inf)
    lowest = float(np.quantile(known, (1 - intervals.LEVEL) / 2, method="lower"))
    return lowest if lowest > 0 else None


def _told(shift: _Shift | None, which: tuple[System, Panel, str], asked: _Asked) -> dict[str, object]:
    if shift is None:
        return {"method": NO_LEVELS}
    system, panel, axis = which
    value, lo, hi = _ends(shift.values)
    told: dict[str, object] = {
        "levels": shift.levels.size,
        "level_lo": float(shift.levels[0]),
        "level_hi": float(shift.levels[-1]),
        "shift": value,
        "shift_lo": lo,
        "shift_hi": hi,
        "least": shift.bounds[0],
        "most": shift.bounds[1],
        "method": METHOD,
    }
    if axis == LOSS:
        return told
    told |= {"factor": np.exp(value), "factor_lo": np.exp(lo), "factor_hi": np.exp(hi)}
    return told | _theory(shift, (system.params, len(dict.fromkeys(panel.skills))), asked)


def _theory(shift: _Shift, model: tuple[float, int], asked: _Asked) -> dict[str, object]:
    params, parts = model
    if not np.isfinite(params):
        return {}
    implied = implied_tuples(asked.law, params, (np.exp(shift.part), np.exp(shift.composite)))
    value, lo, hi = _ends(implied)
    start = float(np.exp(shift.part[0].mean()))
    return {
        "law": asked.name,
        "k_implied": value,
        "k_implied_lo": lo,
        "k_implied_hi": hi,
        "theory_factor": token_factor(asked.law, (params, start), parts),
        "theory_optimal": compute_factor(asked.law, parts),
    }


def implied_tuples(law: ScalingLaw, params: float, tokens: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the k' by which a law divides the excess from one token count to another, the geometric mean over levels.

    `tokens` are [draws, levels] of parts and of composites.
    """
    before, after = (np.asarray(law.excess(params, one.ravel())).reshape(one.shape) for one in tokens)
    return np.exp((np.log(before) - np.log(after)).mean(axis=1))


def token_factor(law: ScalingLaw, point: tuple[float, float], parts: int) -> float | None:
    """Return the factor of tokens at one size that divides the excess by `parts`; None where none does."""
    params, tokens = point
    wanted = float(law.excess(params, tokens)) / parts - law.A * params**-law.a
    if wanted <= 0:
        return None
    return float((law.B / wanted) ** (1 / law.b) / tokens)


def compute_factor(law: ScalingLaw, parts: int) -> float:
    """Return the factor of compute that divides the excess by `parts` from optimum to optimum: k'^((a + b) / ab)."""
    return float(parts ** ((law.a + law.b) / (law.a * law.b)))


def _ends(values: np.ndarray) -> tuple[float, float, float]:
    """Return a value and its interval: the first of the values, and the percentiles of the others."""
    tail = (1 - intervals.LEVEL) / 2
    lo, hi = np.quantile(values[1:], [tail, 1 - tail])
    return float(values[0]), float(lo), float(hi)
