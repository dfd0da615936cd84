"""Answers of the performance curves as rows of data: one question in, one dictionary out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from emergelab.errors import UserError
from emergelab.theory.curves import Curve, FiniteGraph, TupleKind, Tuples, failure, share
from emergelab.theory.mixtures import SkillCounts, mixed_failure, mixed_share
from emergelab.theory.needs import Wish, need
from emergelab.theory.scaling import LINEAR_SLOPE, LINKS, PUBLISHED

_SINGLE = 1


@dataclass(frozen=True, kw_only=True)
class CurveQuestion:
    """One point of the curves: a share θ of failing pieces, the skills of a piece, and either `alpha` or `beta`.

    `graph` is None for infinitely many pieces.
    """

    theta: float
    counts: SkillCounts
    alpha: float | None = None
    beta: float | None = None
    tuples: Tuples
    graph: FiniteGraph | None = None

    def __post_init__(self) -> None:
        if (self.alpha is None) == (self.beta is None):
            raise UserError(
                f"alpha is {_said(self.alpha)} and beta is {_said(self.beta)}. One of them is asked for and the other "
                "given. Give --alpha for the failure of the worst share, or --beta for the smallest share."
            )


def read_counts(text: str) -> SkillCounts:
    """Read the number of skills of a piece, `8`, or shares of several, `4:0.5,12:0.5`."""
    try:
        pairs = [part.split(":") for part in text.split(",")]
        if pairs == [[text]]:
            return SkillCounts((int(text),), (1.0,))
        return SkillCounts(tuple(int(k) for k, _ in pairs), tuple(float(weight) for _, weight in pairs))
    except ValueError as error:
        raise UserError(
            f"k is {text!r}. It is a whole number, 1 or more, or several with the shares of pieces that need so many. "
            "Write 8, or 4:0.5,12:0.5."
        ) from error


def read_tuples(size: int, kind: str) -> Tuples:
    """Return tuples of `size` skills; raises `CurveError` where it is below 1."""
    return Tuples(size=size, kind=TupleKind(kind))


def read_graph(
    skills: int | None, pieces: int | None, confidence: float, *, alike: bool
) -> FiniteGraph | None:
    """Return the finite graph of so many skills and pieces, None where neither is given."""
    if skills is None and pieces is None:
        return None
    if skills is None or pieces is None:
        raise UserError(
            f"skills is {_said(skills)} and pieces is {_said(pieces)}. A finite graph has both. Give --skills and "
            "--pieces, or neither for infinitely many pieces."
        )
    return FiniteGraph(skills=skills, pieces=pieces, confidence=confidence, alike=alike)


def answer(question: CurveQuestion) -> dict[str, Any]:
    """Return the question and what each curve says, None where a curve says nothing.

    With a finite graph `theorem` and `markov` are about it, the others are None, and `infinite` holds all four as they
    are for infinitely many pieces. `theta_of_tuples` is what β multiplies; a graph has its own, of its joined pieces.
    """
    graph = question.graph
    found: dict[str, Any] = {
        "asked": "failure" if question.beta is None else "alpha",
        "theta": question.theta,
        "theta_of_tuples": float(question.tuples.theta(question.theta)),
        "k": _shown_counts(question.counts),
        "alpha": question.alpha,
        "beta": question.beta,
        "tuples": question.tuples.size,
        "kind": str(question.tuples.kind) if question.tuples.size > _SINGLE else None,
        "graph": None if graph is None else _shown_graph(graph, question),
    }
    if graph is None:
        return found | _all_curves(question, None)
    limits = dict.fromkeys((Curve.sharper, Curve.exact))
    finite = {curve.value: _point(curve, question, graph) for curve in Curve if curve not in limits}
    return (
        found
        | {curve.value: finite.get(curve.value) for curve in Curve}
        | {"infinite": _all_curves(question, None)}
    )


def needs(wish: Wish, law: str | None, slope: float = LINEAR_SLOPE) -> dict[str, Any]:
    """Return what fulfils a wish under both links, and by which law of `PUBLISHED`."""
    if law is not None and law not in PUBLISHED:
        raise UserError(f"The law is {law!r}. It is one of {', '.join(PUBLISHED)}. Take one of these.")
    if not (math.isfinite(slope) and slope > 0):
        raise UserError(
            f"slope is {slope:g}. It is the failing pieces per nat of excess and must be above 0. Give 2."
        )
    constants = None if law is None else PUBLISHED[law]
    return {
        "competence": wish.competence,
        "share": wish.share,
        "k": wish.k,
        "tuples": wish.tuples.size,
        "kind": str(wish.tuples.kind) if wish.tuples.size > _SINGLE else None,
        "curve": str(wish.curve),
        "law": law,
        "slope": slope,
        "needs": [asdict(need(wish, link, constants, slope)) for link in LINKS],
    }


def _all_curves(question: CurveQuestion, graph: FiniteGraph | None) -> dict[str, float | None]:
    return {curve.value: _point(curve, question, graph) for curve in Curve}


def _point(curve: Curve, question: CurveQuestion, graph: FiniteGraph | None) -> float | None:
    tuples, theta = question.tuples, question.theta
    seen = float(tuples.theta(theta) if graph is None else tuples.theta_in_graph(theta))
    among = None if graph is None else tuples.graph(graph)
    counts = _tuples_in(question)
    single = counts.counts[0] if len(counts.counts) == 1 else None
    if question.alpha is not None:
        if single is not None:
            return _known(failure(curve, seen, question.alpha, single, among))
        return _known(mixed_failure(curve, seen, question.alpha, counts, among))
    assert question.beta is not None  # noqa: S101 - one of the two is given
    if single is not None:
        return _known(share(curve, seen, question.beta, single, among))
    return _known(mixed_share(curve, seen, question.beta, counts, among))


def _tuples_in(question: CurveQuestion) -> SkillCounts:
    counts, tuples = question.counts, question.tuples
    return counts if tuples.kind is TupleKind.concatenated else counts.within_tuples(tuples.size)


def _shown_graph(graph: FiniteGraph, question: CurveQuestion) -> dict[str, Any]:
    among = question.tuples.graph(graph)
    theta = float(question.tuples.theta_in_graph(question.theta))
    return asdict(graph) | {"tuples": among.skills, "joined_pieces": among.pieces, "theta_of_tuples": theta}


def _known(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)


def _shown_counts(counts: SkillCounts) -> int | dict[str, float]:
    if len(counts.counts) == 1:
        return counts.counts[0]
    return {str(k): weight for k, weight in zip(counts.counts, counts.weights, strict=True)}


def _said(value: float | None) -> str:
    return "not given" if value is None else f"{value:g}"
