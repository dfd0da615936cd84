"""The tables of a study's skills: links from excess to failing share, skills and pairs, shares of weak skills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from emergelab.analysis import intervals
from emergelab.analysis.groups import SCALE
from emergelab.analysis.skills.known import (
    SINGLE,
    Draws,
    PieceAnswers,
    curve_share,
    tuples_of,
)
from emergelab.scores.tables import SCORES
from emergelab.theory.curves import Curve, TupleKind, Tuples
from emergelab.theory.scaling import LINEAR_SLOPE

PERCENTILE = "percentile bootstrap of documents"
BETAS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
SINGLES = Tuples(size=SINGLE, kind=TupleKind.within)
PAIRS = {kind: Tuples(size=2, kind=kind) for kind in (TupleKind.concatenated, TupleKind.within)}


def _estimated(*names: str) -> dict[str, Any]:
    return {f"{name}{end}": pl.Float64 for name in names for end in ("", "_lo", "_hi")}


_OF_CELL = pl.Schema({name: SCORES[name] for name in (*SCALE, "seed")})
_METHOD = {"documents": pl.Int64, "method": pl.String}

# One row for each cell and link. `pieces`: all, or those whose answers are certain; `failing`: by distance from the
# ideal predictor, or by cloze loss. `beyond` is theta less the bound.
LINKS = pl.Schema(
    dict.fromkeys(("cell", "pieces", "failing", "link"), pl.String)
    | _estimated("epsilon", "theta")
    | {"bound": pl.Float64}
    | _estimated("beyond")
    | {"n": pl.Int64}
    | _METHOD
    | _OF_CELL
)

# One row for each cell and skill, or pair of skills within a piece. `lift`: its edges over those that independent
# draws would have.
SKILLS = pl.Schema(
    {
        "cell": pl.String,
        "kind": pl.String,
        "skills": pl.List(pl.String),
        "measure": pl.Float64,
        "edges": pl.Int64,
    }
    | {"lift": pl.Float64}
    | _estimated("failure", "success", "wrong")
    | _METHOD
    | _OF_CELL
)

# One row for each cell, kind of tuple and β: which share fails more often than β·θ, and what the curves allow.
WEAK = pl.Schema(
    {"cell": pl.String, "kind": pl.String, "size": pl.Int32}
    | dict.fromkeys(("beta", "theta", "failure"), pl.Float64)
    | _estimated("share")
    | dict.fromkeys(map(str, Curve), pl.Float64)
    | _METHOD
    | _OF_CELL
)


@dataclass(frozen=True)
class SkillTables:
    """The tables `LINKS`, `SKILLS` and `WEAK`."""

    links: pl.DataFrame
    skills: pl.DataFrame
    weak: pl.DataFrame


def skill_tables(answers: Mapping[str, PieceAnswers], cells: pl.DataFrame) -> SkillTables:
    """Return the tables of all cells; those whose ideal predictor is out of reach have no rows."""
    known = {cell: one for cell, one in answers.items() if one.pieces["distance"].null_count() == 0}
    parts = {
        "links": [row for cell, one in known.items() for row in _links(cell, one)],
        "skills": [row for cell, one in known.items() for row in _skills(cell, one)],
        "weak": list(_weak(known)),
    }
    schemas = {"links": LINKS, "skills": SKILLS, "weak": WEAK}
    scale = cells.select("cell", *_OF_CELL)
    return SkillTables(
        **{
            name: pl.DataFrame(rows, schema={n: t for n, t in schemas[name].items() if n not in _OF_CELL})
            .join(scale, on="cell", how="left", maintain_order="left")
            .select(list(schemas[name]))
            for name, rows in parts.items()
        }
    )


def percentile(draws: Draws) -> tuple[float, float]:
    """Return the ends of the percentile interval; NaN where a draw is missing."""
    ends = (1 - intervals.LEVEL) / 2
    lo, hi = np.quantile(draws[1:], [ends, 1 - ends])
    return float(lo), float(hi)


def _named(name: str, draws: Draws) -> dict[str, float | None]:
    lo, hi = percentile(draws)
    return {name: _known(float(draws[0])), f"{name}_lo": _known(lo), f"{name}_hi": _known(hi)}


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _method(answers: PieceAnswers) -> dict[str, Any]:
    return {"documents": answers.weights.shape[1], "method": PERCENTILE}


# Links


def linked(answers: PieceAnswers, link: str) -> tuple[Draws, Draws, Draws]:
    """Return ε, θ and the bound on θ under a link.

    `linear`: 2ε, and `pinsker`: √(2ε), of all pieces that fail by their distance; `certain`: ε/ln 2, of pieces whose
    answers are certain; `cloze`: 2ε, of all pieces that fail by their cloze loss, which nothing guarantees where
    answers are not certain.
    """
    among = answers.certain if link == "certain" else None
    epsilon = answers.epsilon(among)
    theta = answers.cloze_theta() if link == "cloze" else answers.theta(among)
    bound = {
        "pinsker": np.sqrt(2 * epsilon),
        "certain": epsilon / np.log(2),
    }.get(link, LINEAR_SLOPE * epsilon)
    return epsilon, theta, bound


def _links(cell: str, answers: PieceAnswers) -> Iterator[dict[str, Any]]:
    for link in ("linear", "pinsker", "certain", "cloze"):
        epsilon, theta, bound = linked(answers, link)
        certain = link == "certain"
        yield {
            "cell": cell,
            "pieces": "certain" if certain else "all",
            "failing": "cloze loss" if link == "cloze" else "distance",
            "link": "linear" if link == "cloze" else link,
            **_named("epsilon", epsilon),
            **_named("theta", theta),
            "bound": _known(bound[0]),
            **_named("beyond", theta - bound),
            "n": int(answers.certain.sum()) if certain else len(answers.pieces),
            **_method(answers),
        }


# Skills and pairs


def _skills(cell: str, answers: PieceAnswers) -> Iterator[dict[str, Any]]:
    law = answers.law
    edges = answers.edges.sum(axis=0)
    for number, skill in enumerate(law.skills):
        yield {
            "cell": cell,
            "kind": "single",
            "skills": [skill],
            **_edges(edges[number], edges.sum(), law.measure[number]),
            **_named("failure", answers.failure[:, number]),
            **_named("success", answers.success[:, number]),
            **_named("wrong", answers.wrong[:, number]),
            **_method(answers),
        }
    yield from _pairs(cell, answers)


def _pairs(cell: str, answers: PieceAnswers) -> Iterator[dict[str, Any]]:
    listed, kind = tuples_of(answers.law, 2), PAIRS[TupleKind.within]
    failure, _ = answers.tuple_failure(kind)
    edges = answers.tuple_edges(listed).sum(axis=0)
    for number, members in enumerate(listed.members.tolist()):
        yield {
            "cell": cell,
            "kind": "pair within a piece",
            "skills": [answers.law.skills[member] for member in members],
            **_edges(edges[number], edges.sum(), listed.measure[number]),
            **_named("failure", failure[:, number]),
            **_method(answers),
        }


def _edges(edges: float, total: float, measure: float) -> dict[str, Any]:
    lift = edges / total / measure if total else np.nan
    return {"measure": float(measure), "edges": round(edges), "lift": _known(lift)}


# Shares of weak skills


def _weak(answers: Mapping[str, PieceAnswers]) -> Iterator[dict[str, Any]]:
    kinds = {"single": SINGLES, **{str(kind): tuples for kind, tuples in PAIRS.items()}}
    for name, tuples in kinds.items():
        theta = {cell: seen_theta(one, tuples) for cell, one in answers.items()}
        for beta in BETAS:
            allowed = _allowed(answers, theta, beta, tuples)
            for cell, one in answers.items():
                yield {
                    "cell": cell,
                    "kind": name,
                    "size": tuples.size,
                    "beta": beta,
                    "theta": float(theta[cell][0]),
                    "failure": float(theta[cell][0]) * beta,
                    **_named("share", one.weak_share(tuples, theta[cell] * beta)),
                    **allowed[cell],
                    **_method(one),
                }


def _allowed(
    answers: Mapping[str, PieceAnswers], theta: Mapping[str, Draws], beta: float, tuples: Tuples
) -> dict[str, dict[str, float | None]]:
    """Return what each curve allows each cell. Those whose pieces have one law are asked together, which is faster."""
    cells: dict[int, list[str]] = {}
    for cell, one in answers.items():
        cells.setdefault(id(one.law), []).append(cell)
    found: dict[str, dict[str, float | None]] = {cell: {} for cell in answers}
    for together in cells.values():
        shares = np.array([theta[cell][0] for cell in together])
        for curve in Curve:
            values = curve_share(curve, shares, beta, answers[together[0]].law, tuples)
            for cell, value in zip(together, values.tolist(), strict=True):
                found[cell][str(curve)] = _known(value)
    return found


def seen_theta(answers: PieceAnswers, tuples: Tuples) -> Draws:
    """Return the share of failing pieces as tuples see it: concatenated pieces fail more often."""
    theta = answers.theta()
    between = (theta > 0) & (theta < 1)
    theta[between] = tuples.theta(theta[between])
    return theta
