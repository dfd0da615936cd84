"""Simulated skill graphs: how near failing sets of several kinds come to the performance curves.

Pieces draw their skills by μ1. A failing set of measure θ is made of the pieces of highest score: `loading` of the
score's variance is the hardness of their skills, the rest their own chance. Loading 0 is a random failing set, in
between hard skills make pieces fail together, and an adversary who is after some skills gives these hardness 1 and the
others 0. Nothing but counts by skill is kept; the edges are drawn anew in each pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float64, Int64

from emergelab.grammar.language import power_law
from emergelab.kernels import graphs as kernels
from emergelab.kernels.aliases import walker_tables
from emergelab.rng import Stream
from emergelab.theory.curve_checks import CurveError, counts_of, share_of
from emergelab.theory.mixtures import SkillCounts

_BINS = 1 << 16
_UNIFORM_VARIANCE = 1 / 12
_ATTACKS = 40

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class SkillGraph:
    """A graph of `pieces` that need `counts` skills each, drawn by μ1, which falls as rank^-`power`."""

    stream: Stream
    skills: int
    pieces: int
    counts: SkillCounts
    power: float = 0.0

    def __post_init__(self) -> None:
        counts_of("skills", self.skills)
        counts_of("pieces", self.pieces)
        if not (math.isfinite(self.power) and self.power >= 0):
            raise CurveError(
                f"The power of the skills' law is {self.power:g}. Skill j is drawn as j^-power; it must be 0 or more. "
                "Give 0 for skills all alike, or 1 for Zipf's law."
            )

    @cached_property
    def measure(self) -> Float64[np.ndarray, " skills"]:
        """μ1 by skill."""
        return power_law(self.skills, self.power)

    @cached_property
    def expected_edges(self) -> Float64[np.ndarray, " skills"]:
        """The mean number of edges by skill, over graphs."""
        return self.pieces * self.counts.mean * self.measure

    @cached_property
    def program(self) -> kernels.GraphProgram:
        """The graph's law as the kernels read it."""
        sizes = np.array(self.counts.counts, dtype=np.int32)
        nothing = np.zeros(0), np.zeros(0, dtype=np.int32)
        skill = walker_tables(self.measure) if self.power else nothing
        size = walker_tables(np.array(self.counts.weights))
        return kernels.GraphProgram(self.stream.key_array(), sizes, *size, self.skills, *skill)

    def spans(self, parts: int) -> list[tuple[int, int]]:
        """Return parts of the pieces, each from its first to behind its last."""
        ends = np.linspace(0, self.pieces, min(parts, self.pieces) + 1, dtype=np.int64)
        return list(pairwise(ends.tolist()))


@dataclass(frozen=True, kw_only=True)
class Failures:
    """Edges and failing edges by skill, int64[skills], and how many pieces fail."""

    graph: SkillGraph
    edges: Int64[np.ndarray, " skills"]
    failing: Int64[np.ndarray, " skills"]
    failed: int

    @property
    def rates(self) -> Float64[np.ndarray, " skills"]:
        """Failing edges over expected ones, by skill: what the curves bound."""
        return self.failing / self.graph.expected_edges

    def worst(self, alpha: float) -> tuple[float, float]:
        """Return the failure that the worst `alpha` of skills, in μ1-measure, exceed, and their mean failure."""
        share_of("alpha", alpha)
        order = np.argsort(-self.rates, kind="stable")
        measure, rates = self.graph.measure[order], self.rates[order]
        reached = np.cumsum(measure)
        taken = np.clip(alpha - (reached - measure), 0.0, measure)
        behind = min(int(np.searchsorted(reached, alpha * (1 - 1e-12), side="left")), len(rates) - 1)
        return float(rates[behind]), float(taken @ rates / alpha)


def hardnesses(graph: SkillGraph, stream: Stream) -> Float64[np.ndarray, " skills"]:
    """Return how hard each skill is, normally distributed with variance 1."""
    return stream.generator().standard_normal(graph.skills)


def fail(
    graph: SkillGraph,
    theta: float,
    hardness: Float64[np.ndarray, " skills"],
    loading: float,
    *,
    threads: int = 1,
) -> Failures:
    """Let ⌊θ·pieces⌋ pieces of highest score fail; `loading` of the score's variance is hardness (0 to 1)."""
    share_of("theta", theta)
    spread = _spread(graph, hardness, loading)
    return _failures(graph, theta, hardness if loading else np.zeros(graph.skills), spread, threads)


def attack(
    graph: SkillGraph, theta: float, target: Bool[np.ndarray, " skills"], *, threads: int = 1
) -> Failures:
    """Let the ⌊θ·pieces⌋ pieces fail that have most of the skills in `target`, ties at random."""
    share_of("theta", theta)
    return _failures(graph, theta, target.astype(np.float64), 1.0, threads)


def greedy_attack(graph: SkillGraph, theta: float, alpha: float, *, threads: int = 1) -> Failures:
    """Look for the skills, a share `alpha`, that an adversary hurts most, and hurt them.

    From any set on, the pieces that have most of its skills fail, then the skills that failed most are the next set,
    until their mean failure rises no more. In an infinite graph the first set is as good as any.
    """
    count = max(1, round(alpha * graph.skills))
    target = np.zeros(graph.skills, dtype=np.bool_)
    target[graph.stream.child("target").generator().choice(graph.skills, count, replace=False)] = True
    best = attack(graph, theta, target, threads=threads)
    for _ in range(_ATTACKS):
        worst = np.argsort(-best.rates, kind="stable")[:count]
        target = np.isin(np.arange(graph.skills), worst)
        found = attack(graph, theta, target, threads=threads)
        if found.worst(alpha)[1] <= best.worst(alpha)[1]:
            break
        best = found
    return best


def random_target(graph: SkillGraph, alpha: float, stream: Stream) -> Bool[np.ndarray, " skills"]:
    """Return skills drawn at random until their measure is as near to `alpha` as it comes; one at least."""
    order = stream.generator().permutation(graph.skills)
    measure = np.cumsum(graph.measure[order])
    target = np.zeros(graph.skills, dtype=np.bool_)
    target[order[: int(np.abs(measure - alpha).argmin()) + 1]] = True
    return target


def _spread(graph: SkillGraph, hardness: Float64[np.ndarray, " skills"], loading: float) -> float:
    """Return the weight of chance with which `loading` of the score's variance is that of the skills."""
    if not 0 <= loading <= 1:
        raise CurveError(
            f"The loading is {loading:g}. It is the share of a piece's failing that its skills decide, from 0 to 1. "
            "Give 0 for a random failing set."
        )
    if loading == 0:
        return 1.0
    mean = graph.measure @ hardness
    variance = graph.counts.mean * float(graph.measure @ (hardness - mean) ** 2)
    return math.sqrt(variance * (1 - loading) / loading / _UNIFORM_VARIANCE)


def _failures(
    graph: SkillGraph, theta: float, hardness: Float64[np.ndarray, " skills"], spread: float, threads: int
) -> Failures:
    most = max(graph.counts.counts)
    low, high = most * min(0.0, float(hardness.min())), most * max(0.0, float(hardness.max())) + spread
    scores = kernels.Scores(hardness, spread, low, high)
    parts = graph.spans(threads)
    bins = _in_threads(parts, lambda part, _: _histogram(graph, scores, part), threads)
    failed = math.floor(theta * graph.pieces + 1e-9)
    lowest, quotas = _cut(np.stack(bins), failed)
    counted = _in_threads(
        parts, lambda part, place: _count(graph, scores, part, (_BINS, lowest, quotas[place])), threads
    )
    edges, failing = np.array(counted).sum(axis=0)
    return Failures(graph=graph, edges=edges, failing=failing, failed=failed)


def _histogram(
    graph: SkillGraph, scores: kernels.Scores, part: tuple[int, int]
) -> Int64[np.ndarray, " bins"]:
    bins = np.zeros(_BINS, dtype=np.int64)
    kernels.count_scores(graph.program, scores, *part, bins)
    return bins


def _count(
    graph: SkillGraph, scores: kernels.Scores, part: tuple[int, int], cut: tuple[int, int, int]
) -> tuple[Int64[np.ndarray, " skills"], Int64[np.ndarray, " skills"]]:
    edges, failing = np.zeros(graph.skills, dtype=np.int64), np.zeros(graph.skills, dtype=np.int64)
    kernels.count_failures(graph.program, scores, *part, cut, edges, failing)
    return edges, failing


def _cut(bins: Int64[np.ndarray, "parts bins"], failed: int) -> tuple[int, list[int]]:
    """Return the lowest bin that fails, and how many of its pieces each part lets fail."""
    above = np.cumsum(bins.sum(axis=0)[::-1])[::-1]
    lowest = int(np.flatnonzero(above >= failed)[-1])
    quota = failed - (int(above[lowest + 1]) if lowest + 1 < len(above) else 0)
    ends = np.minimum(np.cumsum(bins[:, lowest]), quota)
    return lowest, np.diff(ends, prepend=0).tolist()


def _in_threads(
    parts: list[tuple[int, int]], work: Callable[[tuple[int, int], int], Result], threads: int
) -> list[Result]:
    """Do each part's work in so many threads; kernels hold no lock of the interpreter."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts, range(len(parts))))
