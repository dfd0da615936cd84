"""Which single skill gates a composite: the one whose failure explains the composite's, item by item or over training.

*Items*: where a part was asked on the same input, the share of the composite's failures that would not be if the part
never failed (the attributable share, standardised over cells). *Curves*: over checkpoints and systems, the composite's
rate c is fitted as f · s^g, s being one single's rate; each checkpoint is predicted from all others. A composite
follows the single that predicts it better than every other single does, and better than a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64

from emergelab.analysis import intervals
from emergelab.analysis.skills.cases import Cases, Rated
from emergelab.analysis.skills.parts import Parts, as_table
from emergelab.analysis.skills.proper import Mean, Scored, mean_over
from emergelab.analysis.skills.resampling import draws_for, weighted_sums
from emergelab.rng import Stream

ALL = "all"
UNDECIDED, NEITHER = "undecided", "no single"
BOTH, CURVES, ITEMS, DISAGREE = "curves and items", "curves", "items", "curves, but not items"
FEWEST_CHECKPOINTS = 5
_MOST = 0.5  # of a composite's failures
_SIGNIFICANT = 0.05
_DRAWS = 50
_ENUMERATED, _FLIPS = 12, 20_000
_POWERS = np.geomspace(1 / 8, 8, 25)
_FEW_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
_MOST_PARTS = 3  # of which all powers are tried together

GATES = pl.Schema(
    {
        "group": pl.String,
        "system": pl.String,
        "composite": pl.String,
        "position": pl.UInt32,
        "skill": pl.String,
        "checkpoints": pl.UInt32,
        "mean": pl.Float64,
        "lost": pl.Float64,
        "lost_lo": pl.Float64,
        "lost_hi": pl.Float64,
        "failures": pl.Float64,
        "error": pl.Float64,
        "power": pl.Float64,
        "factor": pl.Float64,
        "behind": pl.Float64,
        "behind_lo": pl.Float64,
        "behind_hi": pl.Float64,
        "joint_power": pl.Float64,
        "joint_power_least": pl.Float64,
        "joint_power_most": pl.Float64,
    }
)
"""One row for each part of each complete composite, over all systems (`group` all) and for each.

`mean` is the single's rate. `lost` is the attributable share of the composite's `failures` on matched items, null where
the part was not asked on the same input. `error` is the root of the mean square of the composite's rates less those
predicted from this single at checkpoints left out, with `power` g and `factor` f of the fit to all; `behind` the mean
square less the best other single's (below 0: this one predicts better). `joint_power` is g in a fit of all parts
together, and its least and most when one checkpoint is left out."""

VERDICTS = pl.Schema(
    {
        "group": pl.String,
        "system": pl.String,
        "composite": pl.String,
        "k": pl.UInt32,
        "checkpoints": pl.UInt32,
        "constant_error": pl.Float64,
        "joint_error": pl.Float64,
        "follows": pl.String,
        "follows_reason": pl.String,
        "loses_by": pl.String,
        "gate": pl.String,
        "by": pl.String,
    }
)
"""What follows for each composite: which single its curve `follows`, by which its items are lost (`loses_by`), and the
`gate`: what the two say, where they do not disagree. They do where a curve is followed, but the part's failures explain
less than half of the composite's. `constant_error` and `joint_error` are errors as in `GATES`, of a constant and of
all parts together."""


@dataclass(frozen=True)
class Gates:
    """Parts of composites, and verdicts on composites."""

    parts: pl.DataFrame
    verdicts: pl.DataFrame


def find_gates(rated: Rated) -> Gates:
    """Return the gates of all composites whose parts were all asked."""
    cases, source = rated.cases, rated.source
    if not cases.group.size:
        return Gates(pl.DataFrame(schema=GATES), pl.DataFrame(schema=VERDICTS))
    drawn = rated.drawn[:, :_DRAWS]
    lost = _lost(rated.parts, source.child("inputs"))
    rows: list[dict[str, Any]] = []
    verdicts: list[dict[str, Any]] = []
    for names, here in _groups(cases):
        skills = cases.frame["skills"][int(here[0])].to_list()
        fitted = _curves(cases, drawn, here, len(skills))
        attributed = [lost.get((names["unit"], names["system"], position)) for position in range(len(skills))]
        told = {name: value for name, value in names.items() if name != "unit"}
        rows += [
            told
            | {"position": position, "skill": skill, "checkpoints": here.size}
            | _part_row(cases, here, position, fitted)
            | (attributed[position] or {})
            for position, skill in enumerate(skills)
        ]
        verdicts.append(
            told | {"k": len(skills), "checkpoints": here.size} | _verdict(skills, fitted, attributed, source)
        )
    return Gates(as_table(rows, GATES), as_table(verdicts, VERDICTS))


def _groups(cases: Cases) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Return names and places of the cases of each composite, of all systems and of each."""
    frame = cases.frame.select("unit", "name", "system").with_row_index("row")
    for kind, keys in ((ALL, ["unit"]), ("system", ["unit", "system"])):
        for part in frame.partition_by(keys, maintain_order=True):
            first = part.row(0, named=True)
            names = {"group": kind, "system": None if kind == ALL else first["system"]}
            yield names | {"unit": first["unit"], "composite": first["name"]}, part["row"].to_numpy()


@dataclass(frozen=True)
class _Fit:
    """A model of a composite's curve: squares at checkpoints left out [cells, 1 + draws], powers and factor."""

    squares: Float64[np.ndarray, "cells drawn"]
    powers: Float64[np.ndarray, " parts"]
    factor: float
    left_out: Float64[np.ndarray, "cells parts"]

    @property
    def error(self) -> float:
        return float(np.sqrt(self.squares[:, 0].mean()))


@dataclass(frozen=True)
class _Curves:
    constant: _Fit
    singles: tuple[_Fit, ...]
    joint: _Fit | None
    blocks: np.ndarray


def _curves(cases: Cases, drawn: np.ndarray, here: np.ndarray, size: int) -> _Curves | None:
    """Fit constant, singles and all parts together; None with too few checkpoints for it."""
    if here.size < FEWEST_CHECKPOINTS:
        return None
    groups = cases.group[here]
    observed = np.concatenate([cases.rates[groups, None], drawn[groups]], axis=1)
    parts = cases.parts[here, :size]
    alone = np.concatenate([cases.rates[parts][..., None], drawn[parts]], axis=2)
    none = np.zeros((1, size))
    singles = tuple(
        _fitted(observed, alone, np.outer(_POWERS, np.eye(size)[position])) for position in range(size)
    )
    joint = None
    if 1 < size <= _MOST_PARTS:
        every = np.array(list(product(_FEW_POWERS, repeat=size)))
        # Its spread is told by what is left out, not by draws.
        joint = _fitted(observed[:, :1], alone[..., :1], every)
    return _Curves(_fitted(observed, alone, none), singles, joint, _blocks(cases, here))


def _fitted(observed: np.ndarray, alone: np.ndarray, powers: np.ndarray) -> _Fit:
    """Fit f · Π s^g for each of some powers, f in [0, 1] by least squares; leave out one cell after the other.

    `observed` is [cells, draws], `alone` [cells, parts, draws], `powers` [choices, parts].
    """
    cells, drawn = observed.shape
    best = np.full((cells, drawn), np.inf)
    squares, chosen = np.zeros((cells, drawn)), np.zeros(cells, dtype=np.int64)
    whole, pick, factor = np.inf, 0, 0.0
    for choice, power in enumerate(powers):
        shape = np.prod(alone ** power[:, None], axis=1)
        both, own = shape * observed, shape * shape
        loss, found = _least(both.sum(axis=0), own.sum(axis=0))
        if loss[0] < whole:
            whole, pick, factor = float(loss[0]), choice, float(found[0])
        left, ratio = _least(both.sum(axis=0) - both, own.sum(axis=0) - own)
        better = left < best
        best = np.where(better, left, best)
        squares = np.where(better, (ratio * shape - observed) ** 2, squares)
        chosen = np.where(better[:, 0], choice, chosen)
    return _Fit(squares, powers[pick], factor, powers[chosen])


def _least(both: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least squares less those of observed rates alone, and the factor in [0, 1] that has them."""
    factor = np.clip(np.divide(both, own, out=np.zeros_like(own), where=own > 1e-12), 0.0, 1.0)  # noqa: PLR2004
    return factor * (factor * own - 2 * both), factor


def _blocks(cases: Cases, here: np.ndarray) -> np.ndarray:
    """Return blocks of neighbouring checkpoints of one system, of a length of about the cube root of their number.

    What a fit lacks at one checkpoint it lacks at the next one: single checkpoints are not independent (Hall, Horowitz
    and Jing 1995, Biometrika 82:561, on the length).
    """
    system = cases.system[here]
    blocks = np.zeros(here.size, dtype=np.int64)
    for number, name in enumerate(np.unique(system)):
        own = np.flatnonzero(system == name)
        length = max(1, round(own.size ** (1 / 3)))
        blocks[own] = number * here.size + np.arange(own.size) // length
    return blocks


def flipped_signs(differences: Float64[np.ndarray, " blocks"], source: Stream) -> float:
    """Return the two-sided probability of a sum so far from 0 if each difference might as well have the other sign.

    Fisher's test for pairs: exact up to twelve differences, then from random signs. A single large difference, such as
    that of a checkpoint before any learning, counts for no more than another.
    """
    count = differences.size
    if count <= _ENUMERATED:
        signs = np.array(list(product((-1.0, 1.0), repeat=count)))
    else:
        signs = source.generator().choice((-1.0, 1.0), size=(_FLIPS, count))
        signs[0] = 1.0
    sums = np.abs(signs @ differences)
    return float(np.mean(sums >= abs(differences.sum()) * (1 - 1e-12)))


def _part_row(cases: Cases, here: np.ndarray, position: int, fitted: _Curves | None) -> dict[str, Any]:
    mean = {"mean": float(cases.rates[cases.parts[here, position]].mean())}
    if fitted is None:
        return mean
    own = fitted.singles[position]
    row = mean | {"error": own.error, "power": float(own.powers[position]), "factor": own.factor}
    others = [one for place, one in enumerate(fitted.singles) if place != position]
    if others:
        behind = _difference(own, min(others, key=lambda one: one.error), fitted.blocks).estimate()
        row |= {"behind": behind.value, "behind_lo": behind.lo, "behind_hi": behind.hi}
    if fitted.joint is not None:
        left_out = fitted.joint.left_out[:, position]
        row |= {
            "joint_power": float(fitted.joint.powers[position]),
            "joint_power_least": float(left_out.min()),
            "joint_power_most": float(left_out.max()),
        }
    return row


def _difference(first: _Fit, second: _Fit, blocks: np.ndarray) -> Mean:
    apart = first.squares - second.squares
    return mean_over(Scored(apart[:, 0], apart[:, 1:]), blocks)


def _verdict(
    skills: Sequence[str],
    fitted: _Curves | None,
    lost: Sequence[dict[str, float] | None],
    source: Stream,
) -> dict[str, Any]:
    follows, reason = _follows(skills, fitted, source.child("signs"))
    loses_by = _loses_by(skills, lost)
    row = {"follows": follows, "follows_reason": reason, "loses_by": loses_by}
    if fitted is not None:
        joint = None if fitted.joint is None else fitted.joint.error
        row |= {"constant_error": fitted.constant.error, "joint_error": joint}
    gate, by = _gate(follows, loses_by, skills, lost)
    return row | {"gate": gate, "by": by}


def _follows(skills: Sequence[str], fitted: _Curves | None, source: Stream) -> tuple[str, str]:
    """Return the single that predicts better than all else does; or why there is none.

    It has to beat each rival at the usual level, which needs no correction (Berger 1982, Technometrics 24:295).
    """
    if fitted is None:
        return UNDECIDED, f"fewer than {FEWEST_CHECKPOINTS} checkpoints"
    if len(set(skills)) == 1:
        return UNDECIDED, "one skill only"
    models = {NEITHER: fitted.constant} | dict(zip(skills, fitted.singles, strict=True))
    best = min(models, key=lambda name: models[name].error)
    rivals = [name for name in models if name != best]
    tied = [
        name
        for name in rivals
        if _by_chance(models[best], models[name], fitted.blocks, source) >= _SIGNIFICANT
    ]
    if not tied:
        return best, "predicts better than all others"
    return UNDECIDED, f"{best} predicts best, not clearly better than {' and '.join(tied)}"


def _by_chance(first: _Fit, second: _Fit, blocks: np.ndarray, source: Stream) -> float:
    apart = first.squares[:, 0] - second.squares[:, 0]
    _, place = np.unique(blocks, return_inverse=True)
    return flipped_signs(np.bincount(place, weights=apart), source)


def _loses_by(skills: Sequence[str], lost: Sequence[dict[str, float] | None]) -> str:
    """Return the part whose failures explain most of the composite's, if there is one only."""
    most = [skill for skill, one in zip(skills, lost, strict=True) if one and one["lost_lo"] > _MOST]
    return most[0] if len(most) == 1 else UNDECIDED


def _gate(
    follows: str, loses_by: str, skills: Sequence[str], lost: Sequence[dict[str, float] | None]
) -> tuple[str, str | None]:
    if loses_by != UNDECIDED and follows == loses_by:
        return follows, BOTH
    if loses_by != UNDECIDED:
        return (loses_by, ITEMS) if follows == UNDECIDED else (UNDECIDED, DISAGREE)
    if follows == UNDECIDED:
        return UNDECIDED, None
    own = lost[list(skills).index(follows)] if follows in skills else None
    # Where the part was right, too, the composite mostly failed: its curve only goes along.
    if own is not None and own["lost_hi"] < _MOST:
        return UNDECIDED, DISAGREE
    return follows, CURVES


def _lost(parts: Parts, source: Stream) -> dict[tuple[int, str | None, int], dict[str, float]]:
    """Return `lost` and `failures` by composite, system (or None for all) and position."""
    rows = parts.matched.join(parts.cells.select("cell", "system"), on="cell", how="left")
    if rows.is_empty():
        return {}
    cells = rows.select("unit", "position", "cell", "system").unique(maintain_order=True)
    cells = cells.with_row_index("group")
    rows = rows.join(cells.select("unit", "position", "cell", "group"), on=["unit", "position", "cell"])
    part, right = rows["part"].to_numpy(), rows["right"].to_numpy()
    columns = {
        "all": np.ones_like(part),
        "part": part,
        "failed": 1 - right,
        "though": part * (1 - right),
    }
    group, cluster = (rows[name].to_numpy().astype(np.int64) for name in ("group", "cluster"))
    shape = cells.height, draws_for(cells.height)
    drawn = weighted_sums((group, cluster), columns, shape, source)
    whole = {
        name: np.concatenate(
            [np.bincount(group, weights=column, minlength=cells.height)[:, None], drawn[name]], axis=1
        )
        for name, column in columns.items()
    }
    found: dict[tuple[int, str | None, int], dict[str, float]] = {}
    for keys in (["unit", "position"], ["unit", "position", "system"]):
        for key, some in cells.group_by(keys, maintain_order=True):
            here = some["group"].to_numpy().astype(np.int64)
            system = str(key[2]) if len(key) > len(("unit", "position")) else None
            share = _attributable({name: values[here] for name, values in whole.items()})
            if share is not None:
                found[int(key[0]), system, int(key[1])] = share
    return found


def _attributable(sums: Mapping[str, np.ndarray]) -> dict[str, float] | None:
    """Return 1 less expected failures if the part never failed over all failures, in cells where it ever succeeded."""
    kept = sums["part"][:, 0] > 0
    if not kept.any() or sums["failed"][kept, 0].sum() == 0:
        return None
    cells = {name: values[kept] for name, values in sums.items()}
    with np.errstate(invalid="ignore", divide="ignore"):
        failing = np.nan_to_num(cells["though"] / cells["part"])
        shares = 1 - (failing * cells["all"]).sum(axis=0) / cells["failed"].sum(axis=0)
    half = intervals.normal_quantile() * float(np.nanstd(shares[1:], ddof=1))
    value = float(shares[0])
    failures = float(cells["failed"][:, 0].sum())
    return {"lost": value, "lost_lo": value - half, "lost_hi": value + half, "failures": failures}
