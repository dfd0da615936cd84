"""Learning as decoding: skills are learnt as erasures are, from texts in which one skill alone is still unknown.

There are R texts for each skill, a text has Poisson(c) skills that nobody knew at first, and a text with one unknown
skill teaches it. The share q of unknown skills then falls round by round to the largest solution of

    q = exp(-cR exp(-cq))

(density evolution; Liao et al. 2024, arXiv 2404.07009; Nayak and Varshney 2024, arXiv 2410.01243). With
R(q) = -ln(q) exp(cq) / c the solutions are a curve, which rises from R(1) = 0 as q falls and, iff c > e, turns round
where -q ln q = 1/c: there q jumps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32
from scipy import special, stats

from emergelab.kernels import graphs as kernels
from emergelab.kernels.aliases import walker_tables
from emergelab.rng import Stream
from emergelab.theory.curve_checks import CurveError, counts_of

_ROUNDS = 100_000
_STILL = 1e-15
_TAIL = 1e-12  # of the Poisson law, left out
_MOST_EDGES = 500_000_000


@dataclass(frozen=True, kw_only=True)
class Jump:
    """Where learning jumps: at `texts` for each skill the unknown share falls from `before` to `after`."""

    texts: float
    before: float
    after: float


def unknown_share(texts: float, skills_per_text: float) -> float:
    """Return q, the share of skills still unknown in the end, in an infinite graph."""
    shares = unknown_by_round(texts, skills_per_text, _ROUNDS)
    return float(shares[-1])


def unknown_by_round(
    texts: float, skills_per_text: float, rounds: int
) -> Float64[np.ndarray, " rounds_and_one"]:
    """Return the share unknown after 0, 1, ... rounds in an infinite graph, up to where it no longer falls."""
    _require_positive("texts per skill", texts)
    _require_positive("skills per text", skills_per_text)
    shares = [1.0]
    for _ in range(rounds):
        shares.append(math.exp(-skills_per_text * texts * math.exp(-skills_per_text * shares[-1])))
        if shares[-2] - shares[-1] <= _STILL * shares[-1]:
            break
    return np.array(shares)


def texts_for(unknown: float, skills_per_text: float) -> float:
    """Return R(q), the texts for each skill at which the share `unknown` is a solution."""
    return -math.log(unknown) * math.exp(skills_per_text * unknown) / skills_per_text


def jump(skills_per_text: float) -> Jump | None:
    """Return where learning jumps, None where it is continuous: iff c ≤ e."""
    _require_positive("skills per text", skills_per_text)
    if skills_per_text <= math.e:
        return None
    # -q ln q = 1/c by Lambert's W; its principal branch is the solution above 1/e, met first as texts grow.
    before = math.exp(special.lambertw(-1 / skills_per_text, 0).real)
    texts = texts_for(before, skills_per_text)
    return Jump(texts=texts, before=before, after=_below_the_turn(texts, skills_per_text))


def _below_the_turn(texts: float, skills_per_text: float) -> float:
    """Return the smallest solution, from below: what is known spreads no further back than that."""
    share = 0.0
    for _ in range(_ROUNDS):
        new = math.exp(-skills_per_text * texts * math.exp(-skills_per_text * share))
        if new - share <= _STILL:
            return new
        share = new
    return share


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """A finite graph's peeling: the round in which each skill was learnt, from 1; 0: never."""

    rounds: Int32[np.ndarray, " skills"]

    @property
    def unknown(self) -> float:
        """The share of skills that was never learnt."""
        return float((self.rounds == 0).mean())

    def unknown_by_round(self) -> Float64[np.ndarray, " rounds_and_one"]:
        """Return the share unknown after 0, 1, ... rounds."""
        learnt = np.bincount(self.rounds[self.rounds > 0], minlength=1)
        return 1 - np.cumsum(learnt) / len(self.rounds)


def decode(stream: Stream, skills: int, texts: float, skills_per_text: float) -> Decoding:
    """Draw `texts` texts for each of `skills` skills and peel. Edges are kept here: 20 bytes for each or so.

    Raises `CurveError` for graphs of more than half a billion edges.
    """
    counts_of("skills", skills)
    _require_positive("texts per skill", texts)
    _require_positive("skills per text", skills_per_text)
    pieces = round(texts * skills)
    if pieces * skills_per_text > _MOST_EDGES:
        raise CurveError(
            f"The graph has {pieces * skills_per_text:.3g} edges. Peeling keeps them all, {_MOST_EDGES:,} at most. "
            "Take fewer skills: the share learnt hardly depends on their number."
        )
    program = _program(stream, skills, skills_per_text)
    first = np.zeros(pieces + 1, dtype=np.int64)
    kernels.list_edges(program, 0, pieces, first, np.zeros(0, dtype=np.int32))
    np.cumsum(first, out=first)
    skill = np.zeros(max(int(first[-1]), 1), dtype=np.int32)
    kernels.list_edges(program, 0, pieces, first, skill)
    rounds = np.zeros(skills, dtype=np.int32)
    kernels.peel(first, skill, rounds)
    return Decoding(rounds=rounds)


def _program(stream: Stream, skills: int, skills_per_text: float) -> kernels.GraphProgram:
    sizes = np.arange(int(stats.poisson.isf(_TAIL, skills_per_text)) + 1, dtype=np.int32)
    tables = walker_tables(stats.poisson.pmf(sizes, skills_per_text))
    nothing = np.zeros(0), np.zeros(0, dtype=np.int32)
    return kernels.GraphProgram(stream.key_array(), sizes, *tables, skills, *nothing)


def _require_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise CurveError(f"{name} is {value:g}. It must be finite and above 0. Give a number such as 3.")
