"""Skills of text-pieces whose law is known: excess, failing share, failures by skill and tuple, shares of weak skills.

A piece *fails* when its distance from the ideal predictor, the mean total variation over its cloze questions, is at
least one half. Where that predictor is certain of every answer this is the cloze loss of Arora and Goyal 2023 (arXiv
2307.15936), the probability that is not given to the right answer; where it is not, their loss would charge a model
with what nobody can know. Every skill of a failing piece is charged, as often as the piece needs it, and the failure
of a skill is the charged share of its edges.

Everything is a function of sums over documents, so that an interval follows from weighing documents anew: all
functions return an array whose first row is the estimate and whose other rows are bootstrap draws of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from math import comb, factorial, prod

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64

from emergelab.errors import UserError
from emergelab.rng import Stream
from emergelab.theory.curves import Curve, TupleKind, Tuples
from emergelab.theory.mixtures import SkillCounts, mixed_share

FAILS = 0.5
"""The distance from the ideal predictor at which a piece fails."""
SINGLE = 1
_MOST_TUPLES = 100_000

Draws = Float64[np.ndarray, " draws"]
DrawsOfSkills = Float64[np.ndarray, "draws skills"]
Weights = Float64[np.ndarray, "draws documents"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PieceLaw:
    """How pieces are drawn: the skills with their share of all edges, μ1, and how many of them pieces need."""

    skills: tuple[str, ...]
    measure: Float64[np.ndarray, " skills"]
    counts: SkillCounts

    @classmethod
    def of(cls, pieces: pl.DataFrame) -> PieceLaw:
        """Measure the law on many pieces; `pieces` has a column `skills`. Raises UserError where there is none."""
        needed = Counter(pieces["skills"].list.len().to_list())
        edges = Counter(pieces["skills"].explode().drop_nulls().to_list())
        if not edges:
            raise UserError(
                "No whole statement of these documents needs a function. Skills of text-pieces are the functions of "
                "statements that the context does not cut off. Use a grammar whose statements print functions of "
                "objects, or a longer model.context."
            )
        return cls.from_record(
            {"skills": dict(sorted(edges.items())), "needed": dict(sorted(needed.items()))}
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Mapping[str, float]]) -> PieceLaw:
        """Return the law that `record` gave, or counts in its form."""
        edges, needed = record["skills"], {int(k): float(n) for k, n in record["needed"].items()}
        weights = np.array(list(edges.values()), dtype=np.float64)
        total = sum(needed.values())
        counts = SkillCounts(tuple(needed), tuple(n / total for n in needed.values()))
        return cls(skills=tuple(edges), measure=weights / weights.sum(), counts=counts)

    def record(self) -> dict[str, dict[str, float]]:
        """Return the law as data."""
        return {
            "skills": dict(zip(self.skills, self.measure.tolist(), strict=True)),
            "needed": {str(k): n for k, n in zip(self.counts.counts, self.counts.weights, strict=True)},
        }


@dataclass(frozen=True, eq=False)
class TupleSet:
    """Unordered tuples of skills, with repetition: `members` number the skills, `measure` is that of μ1^size."""

    members: Int64[np.ndarray, "tuples size"]
    measure: Float64[np.ndarray, " tuples"]


def tuples_of(law: PieceLaw, size: int) -> TupleSet:
    """Return all tuples of `size` skills. Raises UserError where they are too many to list."""
    number = comb(len(law.skills) + size - 1, size)
    if number > _MOST_TUPLES:
        raise UserError(
            f"There are {number:,} tuples of {size} of {len(law.skills)} skills. At most {_MOST_TUPLES:,} are listed. "
            "Ask for smaller tuples."
        )
    members = np.array(list(combinations_with_replacement(range(len(law.skills)), size)), dtype=np.int64)
    orders = [factorial(size) // prod(map(factorial, Counter(one).values())) for one in members.tolist()]
    return TupleSet(members, np.array(orders) * law.measure[members].prod(axis=1))


def bootstrap_weights(documents: int, draws: int, random: Stream) -> Weights:
    """Return how often each document counts: once in the first row, as drawn with replacement in the others."""
    counts = random.generator().multinomial(documents, np.full(documents, 1 / documents), size=draws)
    return np.concatenate([np.ones((1, documents)), counts.astype(np.float64)])


@dataclass(frozen=True, eq=False)
class PieceAnswers:
    """What one model makes of the pieces of documents; `pieces` has the columns of `PIECES` but `cell`.

    `weights` say how often each document counts, in the estimate and in each bootstrap draw. Pieces stand in the order
    of their documents.
    """

    pieces: pl.DataFrame
    law: PieceLaw
    weights: Weights

    # What the pieces have

    @cached_property
    def fails(self) -> Bool[np.ndarray, " pieces"]:
        """Which pieces fail."""
        return self._column("distance") >= FAILS

    @cached_property
    def edges(self) -> Float64[np.ndarray, "pieces skills"]:
        """How often each piece needs each skill."""
        numbers = {name: number for number, name in enumerate(self.law.skills)}
        edges = np.zeros((len(self.pieces), len(numbers)))
        listed = self.pieces["skills"].to_list()
        for piece, skills in enumerate(listed):
            for skill in skills:
                edges[piece, numbers[skill]] += 1
        return edges

    def _column(self, name: str) -> Float64[np.ndarray, " pieces"]:
        return self.pieces[name].cast(pl.Float64).to_numpy()

    # Shares of pieces

    def mean(
        self, values: Float64[np.ndarray, " pieces"], among: Bool[np.ndarray, " pieces"] | None = None
    ) -> Draws:
        """Return the mean over pieces, or some of them; NaN where there is none."""
        chosen = np.ones(len(values)) if among is None else among.astype(np.float64)
        sums = self._sums(np.stack([np.where(chosen > 0, values, 0.0) * chosen, chosen], axis=1))
        return _ratio(sums[:, 0], sums[:, 1])

    def theta(self, among: Bool[np.ndarray, " pieces"] | None = None) -> Draws:
        """Return θ, the share of pieces that fail."""
        return self._theta.copy() if among is None else self.mean(self.fails.astype(np.float64), among)

    @cached_property
    def _theta(self) -> Draws:
        return self.mean(self.fails.astype(np.float64))

    def epsilon(self, among: Bool[np.ndarray, " pieces"] | None = None) -> Draws:
        """Return ε, the excess cross-entropy in nats per cloze answer: a mean over pieces of their mean."""
        return self.mean(self._column("excess"), among)

    def cloze_theta(self) -> Draws:
        """Return the share of pieces whose cloze loss is one half at least, whatever can be known."""
        return self.mean((self._column("cloze_loss") >= FAILS).astype(np.float64))

    @cached_property
    def certain(self) -> Bool[np.ndarray, " pieces"]:
        """Pieces of which the ideal predictor knows every answer."""
        return self.pieces["certain"].fill_null(value=False).to_numpy()

    # By skill

    @cached_property
    def failure(self) -> DrawsOfSkills:
        """Return the share of each skill's edges that is charged with failing pieces; NaN for one without edges."""
        return self.by_skill(self.fails.astype(np.float64))

    @cached_property
    def success(self) -> DrawsOfSkills:
        """Return by skill the mean of 1 - distance: of certain answers the probability given to the right one."""
        return self.by_skill(1 - self._column("distance"))

    @cached_property
    def wrong(self) -> DrawsOfSkills:
        """Return by skill the mean share of questions whose right answer is not the likeliest token."""
        return self.by_skill(1 - self._column("right") / self._column("questions"))

    def by_skill(self, values: Float64[np.ndarray, " pieces"]) -> DrawsOfSkills:
        """Return the mean of `values` over the edges of each skill."""
        return self._over_edges(values, self.edges)

    # By tuple

    def tuple_failure(self, tuples: Tuples) -> tuple[DrawsOfSkills, Float64[np.ndarray, " tuples"]]:
        """Return failures of tuples and their measure by μ1^size; NaN for tuples that no piece shows.

        Of concatenated pieces, one skill from each, a tuple fails if any part does, and parts are independent. Within
        one piece all choices of places count.
        """
        if tuples.size == SINGLE:
            return self.failure, self.law.measure
        if tuples not in self._of_tuples:
            self._of_tuples[tuples] = self._tuple_failure(tuples)
        return self._of_tuples[tuples]

    @cached_property
    def _of_tuples(self) -> dict[Tuples, tuple[DrawsOfSkills, Float64[np.ndarray, " tuples"]]]:
        return {}

    def _tuple_failure(self, tuples: Tuples) -> tuple[DrawsOfSkills, Float64[np.ndarray, " tuples"]]:
        listed = tuples_of(self.law, tuples.size)
        if tuples.kind is TupleKind.concatenated:
            kept = np.ones((len(self.failure), len(listed.measure)))
            for place in range(tuples.size):
                kept *= 1 - self.failure[:, listed.members[:, place]]
            return 1 - kept, listed.measure
        return self._over_edges(self.fails.astype(np.float64), self.tuple_edges(listed)), listed.measure

    def tuple_edges(self, listed: TupleSet) -> Float64[np.ndarray, "pieces tuples"]:
        """Return in how many choices of places each piece shows each tuple."""
        edges = np.ones((len(self.pieces), len(listed.members)))
        for number, members in enumerate(listed.members.tolist()):
            for skill, times in Counter(members).items():
                have = self.edges[:, skill]
                for taken in range(times):
                    edges[:, number] *= np.maximum(have - taken, 0) / (taken + 1)
        return edges

    def weak_share(self, tuples: Tuples, rate: Draws | float) -> Draws:
        """Return the share, by μ1^size, of skills or tuples that fail more often than `rate`."""
        failure, measure = self.tuple_failure(tuples)
        known = ~np.isnan(failure)
        above = np.where(known, failure, 0.0) > np.reshape(rate, (-1, 1))
        return _ratio((known & above) @ measure, known @ measure)

    def mean_failure(self, tuples: Tuples) -> Draws:
        """Return the mean failure of tuples by μ1^size: what lies under the curve of weak shares."""
        failure, measure = self.tuple_failure(tuples)
        known = ~np.isnan(failure)
        return _ratio(np.where(known, failure, 0.0) @ measure, known @ measure)

    # Sums

    def _over_edges(
        self, values: Float64[np.ndarray, " pieces"], edges: Float64[np.ndarray, "pieces columns"]
    ) -> DrawsOfSkills:
        return _ratio(self._sums(edges * values[:, None]), self._sums(edges))

    def _sums(self, values: Float64[np.ndarray, "pieces columns"]) -> Float64[np.ndarray, "draws columns"]:
        present, firsts = self._documents
        documents = np.zeros((self.weights.shape[1], values.shape[1]))
        if len(present):
            documents[present] = np.add.reduceat(values, firsts, axis=0)
        return self.weights @ documents

    @cached_property
    def _documents(self) -> tuple[Int64[np.ndarray, " present"], Int64[np.ndarray, " present"]]:
        """Return the documents that have pieces, and the first piece of each; pieces are sorted by document."""
        numbers = self.pieces["document"].cast(pl.Int64).to_numpy()
        return np.unique(numbers, return_index=True)


def curve_share(curve: Curve, theta: Draws, beta: float, law: PieceLaw, tuples: Tuples) -> Draws:
    """Return the share of skills, or tuples, that a curve lets fail more often than β times `theta`; NaN: no claim.

    `theta` is the share of failing pieces as tuples see it. There is no claim where β·θ is 1 or more, no piece fails,
    or some pieces need fewer skills than a tuple within one has.
    """
    counts = law.counts
    if tuples.kind is TupleKind.within and tuples.size > SINGLE:
        if min(counts.counts) < tuples.size:
            return np.full_like(theta, np.nan)
        counts = counts.within_tuples(tuples.size)
    told = np.full_like(theta, np.nan)
    speaks = (theta > 0) & (theta * beta < 1)
    if speaks.any():
        values, where = np.unique(theta[speaks], return_inverse=True)
        told[speaks] = mixed_share(curve, values, beta, counts)[where]
    return told


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)
