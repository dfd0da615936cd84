"""Bipartite graphs of skills and text-pieces, drawn piece by piece and never kept as a whole.

Piece i draws from lane 0 of example i: first a priority, uniform on (0, 1], then its number of edges, then its
skills one by one with replacement. So any pass over the pieces meets the same graph again, whatever part of it a
thread reads, and a graph takes no more memory than its skills.

A failing set is the pieces of highest score: the sum of `hardness` over a piece's skills plus `spread` times its
priority. A histogram over scores finds the lowest bin that fails; of that bin as many pieces fail as a quota says.
"""

# Numba infers the types of kernels.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportReturnType=false

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt64

from emergelab.kernels.compiling import entry, kernel
from emergelab.kernels.random import STATE_WORDS, aliased, below, start, unit


class GraphProgram(NamedTuple):
    """The law of a piece's edges: Walker's tables of the number of edges and of the skill; no cuts: all alike."""

    key: UInt64[np.ndarray, " 2"]
    sizes: Int32[np.ndarray, " sizes"]
    size_cut: Float64[np.ndarray, " sizes"]
    size_alias: Int32[np.ndarray, " sizes"]
    skills: int
    skill_cut: Float64[np.ndarray, " cuts"]
    skill_alias: Int32[np.ndarray, " cuts"]


class Scores(NamedTuple):
    """How pieces are scored, and the ends of the histogram."""

    hardness: Float64[np.ndarray, " skills"]
    spread: float
    low: float
    high: float


@kernel
def _begin(state, key, piece, sizes, size_cut, size_alias):
    """Begin a piece; return its priority and its number of edges."""
    start(state, key, piece, 0)
    priority = unit(state)
    if sizes.shape[0] == 1:
        return priority, sizes[0]
    return priority, sizes[aliased(state, size_cut, size_alias, 0, 0, sizes.shape[0])]


@kernel
def _skill(state, skills, skill_cut, skill_alias):
    if skill_cut.shape[0] == 0:
        return below(state, skills)
    return aliased(state, skill_cut, skill_alias, 0, 0, skills)


@kernel
def _bin(score, low, high, bins):
    place = np.int64((score - low) / (high - low) * bins)
    return min(max(place, 0), bins - 1)


@entry
def count_scores(program, scores, first, last, bins):
    """Add the scores of pieces `first` to `last` - 1 to a histogram, int64[bins], and how many there are to none."""
    key, sizes, size_cut, size_alias, skills, skill_cut, skill_alias = program
    hardness, spread, low, high = scores
    state = np.zeros(STATE_WORDS, np.uint64)
    for piece in range(first, last):
        priority, count = _begin(state, key, piece, sizes, size_cut, size_alias)
        score = spread * priority
        for _ in range(count):
            score += hardness[_skill(state, skills, skill_cut, skill_alias)]
        bins[_bin(score, low, high, bins.shape[0])] += 1


@entry
def count_failures(program, scores, first, last, cut, edges, failing):
    """Count all edges and those of failing pieces by skill, int64[skills] each; `cut` is (bins, lowest bin, quota)."""
    key, sizes, size_cut, size_alias, skills, skill_cut, skill_alias = program
    hardness, spread, low, high = scores
    bins, lowest, quota = cut
    state = np.zeros(STATE_WORDS, np.uint64)
    drawn = np.zeros(sizes.max(), np.int64)
    for piece in range(first, last):
        priority, count = _begin(state, key, piece, sizes, size_cut, size_alias)
        score = spread * priority
        for edge in range(count):
            drawn[edge] = _skill(state, skills, skill_cut, skill_alias)
            score += hardness[drawn[edge]]
        place = _bin(score, low, high, bins)
        fails = place > lowest or (place == lowest and quota > 0)
        if place == lowest:
            quota -= 1
        for edge in range(count):
            edges[drawn[edge]] += 1
            failing[drawn[edge]] += fails


@entry
def list_edges(program, first, last, piece_first, skill):
    """Write the edges of pieces `first` to `last` - 1: piece i has skill[piece_first[i] : piece_first[i + 1]].

    With an empty `skill`, int32, writes the numbers of edges to piece_first[1:] in their place.
    """
    key, sizes, size_cut, size_alias, skills, skill_cut, skill_alias = program
    state = np.zeros(STATE_WORDS, np.uint64)
    for piece in range(first, last):
        _, count = _begin(state, key, piece, sizes, size_cut, size_alias)
        if skill.shape[0] == 0:
            piece_first[piece + 1] = count
            continue
        for edge in range(count):
            skill[piece_first[piece] + edge] = _skill(state, skills, skill_cut, skill_alias)


@entry
def peel(
    piece_first: Int64[np.ndarray, " pieces_and_one"],
    skill: Int32[np.ndarray, " edges"],
    rounds: Int32[np.ndarray, " skills"],
) -> None:
    """Learn skills from pieces all whose other skills are known, round by round, until no piece teaches any more.

    Writes to `rounds` the round in which each skill is learnt, from 1; 0: never. A skill that a piece has twice
    counts once.
    """
    skills, pieces = rounds.shape[0], piece_first.shape[0] - 1
    unknown = np.zeros(pieces, np.int32)
    left = np.zeros(
        pieces, np.int64
    )  # the sum of a piece's unknown skills: the one that is left, where one is
    first = np.zeros(skills + 1, np.int64)
    for piece in range(pieces):
        for edge in range(piece_first[piece], piece_first[piece + 1]):
            if _is_new(piece_first[piece], edge, skill):
                unknown[piece] += 1
                left[piece] += skill[edge]
                first[skill[edge] + 1] += 1
    for one in range(skills):
        first[one + 1] += first[one]
    place = first.copy()
    piece_of = np.zeros(first[skills], np.int32)
    for piece in range(pieces):
        for edge in range(piece_first[piece], piece_first[piece + 1]):
            if _is_new(piece_first[piece], edge, skill):
                piece_of[place[skill[edge]]] = piece
                place[skill[edge]] += 1
    queue = np.zeros(skills, np.int64)
    learnt = 0
    for piece in range(pieces):
        if unknown[piece] == 1 and rounds[left[piece]] == 0:
            rounds[left[piece]] = 1
            queue[learnt] = left[piece]
            learnt += 1
    read = 0
    while read < learnt:
        last = learnt  # of this round
        for turn in range(read, last):
            one = queue[turn]
            for edge in range(first[one], first[one + 1]):
                piece = piece_of[edge]
                unknown[piece] -= 1
                left[piece] -= one
        for turn in range(read, last):
            one = queue[turn]
            for edge in range(first[one], first[one + 1]):
                piece = piece_of[edge]
                if unknown[piece] == 1 and rounds[left[piece]] == 0:
                    rounds[left[piece]] = rounds[one] + 1
                    queue[learnt] = left[piece]
                    learnt += 1
        read = last


@kernel
def _is_new(begin, edge, skill):
    for earlier in range(begin, edge):  # noqa: SIM110 - Numba knows no generators
        if skill[earlier] == skill[edge]:
            return False
    return True
