"""Whether the assumptions of the theory of skills hold in models whose skills are known, each by a test of its own.

What a test asks becomes a list of numbers, one for each model, or pair of models, and skill, ratio or level: what was
observed less what the theory allows. Either the largest of them decides, with an interval that holds for all at once,
or their mean, with an interval over seeds and documents. Documents are drawn again with replacement, the same for all
models, which read the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Float64

from emergelab.analysis import intervals
from emergelab.analysis.hypotheses.verdicts import Measured, nothing
from emergelab.analysis.skills.known import Draws, PieceAnswers, curve_share
from emergelab.analysis.skills.studied import SINGLES, linked, seen_theta
from emergelab.theory.curves import Curve, Tuples

Aspect = Literal[
    "linear", "pinsker", "certain", "cloze", "slope", "guarantee", "conservative",
    "theorem", "sharper", "exact", "markov", "slingshot",
]  # fmt: skip
Over = Literal["largest", "mean"]

BAND = "bootstrap of documents, of the largest of"
OVER_SEEDS = "student_t over seeds, and bootstrap of documents"
OVER_DOCUMENTS = "bootstrap of documents, of these runs: one seed"
NO_IDEAL = "the ideal predictor is out of reach"
NO_CLAIM = "the theory claims nothing of any of these models"
NO_PAIR = "no model's excess is small enough beside another one's"
FEW_POINTS = "fewer than three models of any run fail on less than half of the pieces"
_HALF = 0.5
_FEWEST_POINTS = 3


@dataclass(frozen=True)
class SkillEvidence:
    """What models make of pieces, by cell, and what the cells are: columns of `CELLS`."""

    answers: Mapping[str, PieceAnswers]
    cells: pl.DataFrame


@dataclass(frozen=True, kw_only=True)
class SkillQuestion:
    """Which assumption is asked of which cells; `beta` are ratios of failures to θ, `levels` failures."""

    aspect: Aspect
    cells: Sequence[str]
    tuples: Tuples = SINGLES
    beta: Sequence[float] = ()
    levels: Sequence[float] = ()
    over: Over = "largest"


@dataclass(frozen=True)
class _Statistic:
    """One number with its bootstrap draws, of the model and the seed that it is about."""

    model: str
    seed: int
    draws: Draws


def assumption(evidence: SkillEvidence, question: SkillQuestion) -> Measured:
    """Return what was observed less what the theory allows, as the question wants it summed up."""
    answers = {cell: evidence.answers[cell] for cell in question.cells}
    if any(one.pieces["distance"].null_count() for one in answers.values()):
        return nothing(NO_IDEAL, "documents")
    found = [
        one
        for one in _ASPECTS[question.aspect](_Asked(answers, evidence.cells, question))
        if not np.isnan(one.draws[0])
    ]
    if not found:
        why = {"slingshot": NO_PAIR, "slope": FEW_POINTS}.get(question.aspect, NO_CLAIM)
        return nothing(why, "documents")
    return largest(found) if question.over == "largest" else mean(found)


@dataclass(frozen=True)
class _Asked:
    answers: Mapping[str, PieceAnswers]
    cells: pl.DataFrame
    question: SkillQuestion

    def statistic(self, cell: str, draws: Draws) -> _Statistic:
        """Name what a number is of: the size and variant that seeds repeat, whatever its training tokens."""
        row = self.cells.row(by_predicate=pl.col("cell") == cell, named=True)
        names = ("layers", "width", "unique_documents", "variant")
        return _Statistic(str([row[name] for name in names]), int(row["seed"]), draws)

    def runs(self) -> Iterator[list[str]]:
        """Yield the cells of each run."""
        cells = self.cells.filter(pl.col("cell").is_in(list(self.answers)))
        for part in cells.partition_by(
            "layers", "width", "unique_documents", "variant", "seed", maintain_order=True
        ):
            yield part["cell"].to_list()

    def comparable(self) -> Iterator[list[str]]:
        """Yield the cells of each seed and variant, which read the same documents of one law."""
        cells = self.cells.filter(pl.col("cell").is_in(list(self.answers)))
        for part in cells.partition_by("variant", "seed", maintain_order=True):
            yield part["cell"].to_list()


# What is asked


def _link(asked: _Asked) -> Iterator[_Statistic]:
    for cell, answers in asked.answers.items():
        _, theta, bound = linked(answers, asked.question.aspect)
        yield asked.statistic(cell, theta - bound)


def _slope(asked: _Asked) -> Iterator[_Statistic]:
    """Yield by run the slope of ln θ over ln ε, where less than half of the pieces fail."""
    for cells in asked.runs():
        epsilon = np.stack([asked.answers[cell].epsilon() for cell in cells])
        theta = np.stack([asked.answers[cell].theta() for cell in cells])
        small = (theta[:, 0] < _HALF) & (theta > 0).all(axis=1) & (epsilon > 0).all(axis=1)
        if small.sum() >= _FEWEST_POINTS:
            yield asked.statistic(cells[0], _slopes(np.log(epsilon[small]), np.log(theta[small])))


def _slopes(x: Float64[np.ndarray, "points draws"], y: Float64[np.ndarray, "points draws"]) -> Draws:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return (x * y).sum(axis=0) / (x * x).sum(axis=0)


def _guarantee(asked: _Asked) -> Iterator[_Statistic]:
    """Yield by skill what it lacks: a piece that does not fail gives its right answers one half at least."""
    for cell, answers in asked.answers.items():
        least = (1 - answers.failure) / 2
        for missing in (least - answers.success).T:
            yield asked.statistic(cell, missing)


def _conservative(asked: _Asked) -> Iterator[_Statistic]:
    """Yield by skill by how much wrong answers exceed what charging all skills of failing pieces says."""
    for cell, answers in asked.answers.items():
        for more in (answers.wrong - answers.failure).T:
            yield asked.statistic(cell, more)


def _curve(asked: _Asked) -> Iterator[_Statistic]:
    question = asked.question
    for cell, answers in asked.answers.items():
        theta = seen_theta(answers, question.tuples)
        for beta in question.beta:
            allowed = curve_share(Curve(question.aspect), theta, beta, answers.law, question.tuples)
            yield asked.statistic(cell, answers.weak_share(question.tuples, theta * beta) - allowed)


def _slingshot(asked: _Asked) -> Iterator[_Statistic]:
    """Yield how much weaker tuples are where the excess is smaller by their size than single skills where it is not."""
    tuples, levels = asked.question.tuples, asked.question.levels
    for cells in asked.comparable():
        for weaker, stronger in slingshots(
            {cell: float(asked.answers[cell].epsilon()[0]) for cell in cells}, tuples.size
        ):
            single, joined = asked.answers[weaker], asked.answers[stronger]
            for level in levels:
                more = joined.weak_share(tuples, level) - single.weak_share(SINGLES, level)
                yield asked.statistic(weaker, more)


def slingshots(epsilon: Mapping[str, float], size: int) -> list[tuple[str, str]]:
    """Return for each cell the one of most excess among those with a `size`-th of its excess, or less."""
    pairs: list[tuple[str, str]] = []
    for cell, excess in epsilon.items():
        smaller = [other for other, value in epsilon.items() if value <= excess / size]
        if smaller and excess > 0:
            pairs.append((cell, max(smaller, key=lambda other: epsilon[other])))
    return pairs


_ASPECTS: Mapping[str, Callable[[_Asked], Iterator[_Statistic]]] = {
    **dict.fromkeys(("linear", "pinsker", "certain", "cloze"), _link),
    "slope": _slope,
    "guarantee": _guarantee,
    "conservative": _conservative,
    **dict.fromkeys(map(str, Curve), _curve),
    "slingshot": _slingshot,
}


# What decides


def largest(found: Sequence[_Statistic]) -> Measured:
    """Return the largest of all numbers with an interval; a draw in which a number is not defined says nothing of it.

    The upper end is what the largest number of a draw exceeds in 2.5 % of the draws. A draw finds a larger one than
    there is, so that this end errs upwards, and it stays where numbers can lie. The same bias would make a lower end
    too high where many numbers are near the largest. That end is the largest lower one of a studentised band, as many
    standard errors wide as the largest deviation over all numbers is in 95 % of the draws: it holds for all at once.
    """
    draws = np.stack([one.draws for one in found], axis=1)
    values, again = draws[0], draws[1:]
    deviations = np.where(np.isnan(again), 0.0, again - values)
    errors = np.sqrt(np.mean(deviations**2, axis=0))
    scaled = np.where(errors > 0, deviations / np.where(errors > 0, errors, 1.0), 0.0)
    reach = float(np.quantile(np.abs(scaled).max(axis=1), intervals.LEVEL))
    highest = float(np.quantile((values + deviations).max(axis=1), (1 + intervals.LEVEL) / 2))
    return Measured(
        effect=float(values.max()),
        lo=float((values - reach * errors).max()),
        hi=max(highest, float(values.max())),
        n=len(found),
        of_what="comparisons",
        seeds=len({one.seed for one in found}),
        method=f"{BAND} {len(found)} comparisons",
    )


def mean(found: Sequence[_Statistic]) -> Measured:
    """Return the mean of all numbers: first of each seed of a model, then over these.

    The variance between the seeds of a model is pooled over the models, with Student's quantile; that over documents
    is added with the normal one. The squares of both margins add up.
    """
    models = sorted({one.model for one in found})
    by_seed = {
        model: [
            np.mean([one.draws for one in found if (one.model, one.seed) == (model, seed)], axis=0)
            for seed in sorted({one.seed for one in found if one.model == model})
        ]
        for model in models
    }
    whole = np.mean([np.mean(seeds, axis=0) for seeds in by_seed.values()], axis=0)
    documents = float(np.nanvar(whole[1:]))
    freedom = sum(len(seeds) - 1 for seeds in by_seed.values())
    margin = intervals.normal_quantile() ** 2 * documents
    if freedom:
        squares = sum(float(np.var([one[0] for one in seeds]) * len(seeds)) for seeds in by_seed.values())
        per_model = sum(1 / len(seeds) for seeds in by_seed.values()) / len(models) ** 2
        quantile = float(intervals.student_quantile(np.array([freedom]))[0])
        margin += quantile**2 * squares / freedom * per_model
    value, half = float(whole[0]), float(np.sqrt(margin))
    return Measured(
        effect=value,
        lo=value - half,
        hi=value + half,
        n=len(found),
        of_what="comparisons",
        seeds=len({one.seed for one in found}),
        method=OVER_SEEDS if freedom else OVER_DOCUMENTS,
    )
