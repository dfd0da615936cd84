"""The theorem on tuples as a bound: what it permits composites to fail, by how much their skills fail alone.

θ is the mean failure of the skills that were asked alone. A k-tuple is either *concatenated*, k pieces of one skill
joined to one: it sees θ' = 1 - (1-θ)^k. Or it is *within* one piece, which is to fail as a piece of one skill does:
θ' = θ. From θ' follows for every α that the worst α-share of tuples fails no more than the curves say, whichever
pieces fail (Arora and Goyal 2023; `theory.curves`, at one skill to a piece, where the exact curve is Markov's, θ'/α).

Both take for granted that a tuple fails on average no more than θ', which composing may break: the bound is broken
where composites fail clearly more.
"""

# ruff: noqa: RUF002 - letters of the theory

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from emergelab.analysis.estimate import Estimate
from emergelab.analysis.skills.cases import Cases, Rated
from emergelab.analysis.skills.parts import as_table
from emergelab.analysis.skills.proper import Scored, mean_over
from emergelab.outcomes.schema import CELL, SCALE
from emergelab.theory.curves import Curve, TupleKind, failure

HOLDS, BROKEN, UNDECIDED, SILENT = "holds", "broken", "undecided", "permits all to fail"
WORST = (0.1, 0.25, 0.5)
"""Shares of the worst tuples that are looked at."""
_ALL = 0.99
_TINY = 1e-9  # curves are of shares between 0 and 1

BOUNDS = pl.Schema(
    dict.fromkeys(CELL, pl.String)
    | {"params": pl.Int64, "train_tokens": pl.Int64, "flops": pl.Float64, "loss": pl.Float64}
    | {"k": pl.UInt32, "kind": pl.String, "composites": pl.UInt32, "skills": pl.UInt32}
    | dict.fromkeys(("theta", "permitted", "failure", "failure_lo", "failure_hi"), pl.Float64)
    | {"alpha": pl.Float64, "worst": pl.Float64, "theorem": pl.Float64, "exact": pl.Float64}
    | {"verdict": pl.String}
)  # fmt: skip
"""One row for each cell, k, kind and share of worst tuples.

`theta` is the mean failure of single skills, `permitted` that of tuples, `failure` the composites' own; `worst` is the
mean failure of the worst `alpha` of composites, beside what `theorem` and `exact` permit (null: nothing below 1).
`verdict` is on the mean: broken where its interval lies above `permitted`, holding where it lies below; θ's own
uncertainty counts. Student's interval is over composites and the items that they share.
"""


def tuple_bounds(rated: Rated) -> pl.DataFrame:
    """Return `BOUNDS` of all complete composites; an answer that is not right in them fails."""
    cases, drawn = rated.cases, rated.drawn
    if not cases.group.size:
        return pl.DataFrame(schema=BOUNDS)
    failing = _Failing(
        1 - cases.observed,
        1 - drawn[cases.group],
        cases.known(cases.rates).failure,
        cases.known(drawn).failure,
    )
    rows = [row for names, here in _groups(cases) for row in _rows(cases, failing, names, here)]
    frame = as_table(rows, BOUNDS)
    permitted = np.clip(frame["permitted"].to_numpy(), _TINY, 1 - _TINY)
    curves = [
        pl.Series(curve.value, failure(curve, permitted, frame["alpha"].to_numpy(), 1))
        for curve in (Curve.theorem, Curve.exact)
    ]
    return as_table(frame.with_columns(curves), BOUNDS)


@dataclass(frozen=True)
class _Failing:
    """Failures of composites, and θ of their cells: as they are, and drawn again."""

    value: np.ndarray
    drawn: np.ndarray
    theta: np.ndarray
    theta_drawn: np.ndarray


def _groups(cases: Cases) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    columns = [*CELL, *SCALE, "k"]
    numbered = cases.frame.select(*columns).with_row_index("row")
    for part in numbered.partition_by([*CELL, "k"], maintain_order=True):
        yield {name: part[name][0] for name in columns}, part["row"].to_numpy().astype(np.int64)


def _rows(
    cases: Cases, failing: _Failing, names: dict[str, Any], here: np.ndarray
) -> Iterator[dict[str, Any]]:
    theta = float(failing.theta[here[0]])
    skills = int((cases.cell_singles[cases.cell[here[0]]] >= 0).sum())
    mean = mean_over(Scored(failing.value[here], failing.drawn[here]), cases.composite[here]).estimate()
    for kind in TupleKind:
        permitted = float(_permitted(np.array([theta]), cases.size[here[:1]], kind)[0])
        excess = _excess(cases, failing, here, kind)
        told = (
            names
            | {"kind": kind.value, "composites": here.size, "skills": skills, "theta": theta}
            | {"permitted": permitted}
            | {"verdict": SILENT if permitted > _ALL else _verdict(excess.lo, excess.hi)}
            | {"failure": mean.value, "failure_lo": mean.lo, "failure_hi": mean.hi}
        )
        for alpha in WORST:
            yield told | {"alpha": alpha, "worst": _worst(failing.value[here], alpha)}


def _permitted(theta: np.ndarray, size: np.ndarray, kind: TupleKind) -> np.ndarray:
    """Return the failure of tuples that θ permits; `theory.curves.Tuples` has it for one size at a time."""
    return 1 - (1 - theta) ** size if kind is TupleKind.concatenated else theta


def _excess(cases: Cases, failing: _Failing, here: np.ndarray, kind: TupleKind) -> Estimate:
    """Return the estimate of composites' failure less what is permitted: the singles' θ is uncertain, too."""
    size = cases.size[here]
    value = failing.value[here] - _permitted(failing.theta[here], size, kind)
    draws = failing.drawn[here] - _permitted(failing.theta_drawn[here], size[:, None], kind)
    return mean_over(Scored(value, draws), cases.composite[here]).estimate()


def _verdict(lo: float | None, hi: float | None) -> str:
    if lo is None or hi is None:
        return UNDECIDED
    if lo > 0:
        return BROKEN
    return HOLDS if hi <= 0 else UNDECIDED


def _worst(failing: np.ndarray, alpha: float) -> float:
    """Return the mean failure of the worst α of composites; one on the border counts in part."""
    ordered = np.sort(failing)[::-1]
    weight = np.clip(alpha * ordered.size - np.arange(ordered.size), 0.0, 1.0)
    return float(ordered @ weight / weight.sum())
