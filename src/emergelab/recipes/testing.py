"""The verdicts of a study's hypotheses, from its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from emergelab.analysis.hypotheses import courses, differences, excesses, orders, skills
from emergelab.analysis.hypotheses.differences import Side, Tables
from emergelab.analysis.hypotheses.measures import Question, ideal_cells
from emergelab.analysis.hypotheses.verdicts import Finding, judged
from emergelab.rng import Stream, stream
from emergelab.scores.tables import VERDICTS
from emergelab.theory.curves import TupleKind, Tuples

Asked = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What verdicts rest on: answers with their bounds, prompts, and what models make of text-pieces, if anything."""

    tables: Tables
    prompts: pl.DataFrame
    skills: skills.SkillEvidence

    def cells(self, asked: Asked) -> list[str]:
        """Return the cells that are asked: those of models, or the ideal predictors of their variants."""
        if asked["predictor"] == "models":
            return list(asked["cells"])
        return sorted(set(ideal_cells(asked["cells"], self.tables.cells, "ideal").values()))


def verdicts(hypotheses: Sequence[Asked], evidence: Evidence) -> pl.DataFrame:
    """Return `VERDICTS`, a row for each hypothesis in the order of the study.

    `hypotheses` are as `recipes.hypotheses.resolve` leaves them, with `fixed`: when each was fixed, in words.
    """
    rows = [_row(asked, _TESTS[asked["kind"]](evidence, asked, _random(asked))) for asked in hypotheses]
    return pl.DataFrame(rows, schema=VERDICTS)


def _random(asked: Asked) -> Stream:
    """Return the stream of a hypothesis: its draws are its own, whatever else the study asks."""
    return stream(0, "hypotheses", asked["digest"])


def _row(asked: Asked, found: Finding) -> dict[str, object]:
    named = {name: asked[name] for name in ("name", "claim", "kind", "test", "unit", "fixed")}
    columns = ("effect", "lo", "hi", "limit", "side", "n", "of_what", "seeds", "method", "verdict", "reason")
    return named | {name: getattr(found, name) for name in columns}


def _difference(evidence: Evidence, asked: Asked, random: Stream) -> Finding:
    del random
    sides = [
        Side(
            weight=side["weight"],
            cells=tuple(side["cells"]),
            questions=_questions(side),
            minus=side["minus"],
        )
        for side in asked["sides"]
    ]
    measured = differences.difference(evidence.tables, asked["measure"], sides)
    return judged(measured, asked["limit"], asked["side"])


def _bound(evidence: Evidence, asked: Asked, random: Stream) -> Finding:
    del random
    measured = excesses.largest_excess(
        evidence.tables, asked["measure"], _questions(asked), evidence.cells(asked)
    )
    return judged(measured, asked["limit"], asked["side"])


def _rank(evidence: Evidence, asked: Asked, random: Stream) -> Finding:
    del random
    measured = orders.rank_correlation(
        evidence.tables,
        asked["measure"],
        (_questions(asked), evidence.cells(asked)),
        evidence.prompts if asked["unit_of_rank"] == "choices" else None,
    )
    return judged(measured, asked["limit"], asked["side"])


def _threshold(evidence: Evidence, asked: Asked, random: Stream) -> Finding:
    crossing = courses.Crossing(metric=asked["measure"], level=asked["level"])
    course = _course(asked["course"], asked["axis"])
    if asked["later_than"] is not None:
        other = _course(asked["later_than"], asked["axis"])
        return courses.later_than(evidence.tables, (course, other), crossing, random)
    if asked["limit"] is not None:
        held = (asked["limit"], asked["side"])
        return courses.threshold_against(evidence.tables, course, crossing, held, random)
    return courses.threshold_within(evidence.tables, course, crossing, random)


def _jump(evidence: Evidence, asked: Asked, random: Stream) -> Finding:
    course = _course(asked["course"], asked["axis"])
    return courses.jump(evidence.tables, course, asked["expected"], random)


def _skills(evidence: Evidence, asked: Asked, random: Stream) -> Finding:
    del random  # documents are drawn again as they are for the tables
    question = skills.SkillQuestion(
        aspect=asked["aspect"],
        cells=tuple(asked["cells"]),
        tuples=Tuples(size=asked["size"], kind=TupleKind(asked["tuples"])),
        beta=tuple(asked["beta"]),
        levels=tuple(asked["levels"]),
        over=asked["over"],
    )
    return judged(skills.assumption(evidence.skills, question), asked["limit"], asked["side"])


def _questions(asked: Asked) -> tuple[Question, ...]:
    return tuple(Question(**question) for question in asked["questions"])


def _course(asked: Asked, axis: Any) -> courses.Course:
    return courses.Course(question=Question(**asked["question"]), axis=axis, cells=tuple(asked["cells"]))


_TESTS: Mapping[str, Callable[[Evidence, Asked, Stream], Finding]] = {
    "difference": _difference,
    "bound": _bound,
    "rank": _rank,
    "threshold": _threshold,
    "jump": _jump,
    "skills": _skills,
}
