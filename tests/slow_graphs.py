"""Skill graphs the slow way: NumPy's own Philox, one piece after the other, sets and lists."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def halves(key: np.ndarray, index: int) -> Iterator[int]:
    """Give the 32-bit numbers of lane 0 of example `index`."""
    philox = np.random.Philox(key=key, counter=np.array([0, index, 0, 0], dtype=np.uint64))
    while True:
        word = int(philox.random_raw())
        yield word & 0xFFFFFFFF
        yield word >> 32


def unit(bits: Iterator[int]) -> float:
    high, low = next(bits) << 21, next(bits) >> 11
    return ((high | low) + 1) / 2**53


def below(bits: Iterator[int], bound: int) -> int:
    while True:
        product = next(bits) * bound
        if (product & 0xFFFFFFFF) >= (1 << 32) % bound:
            return product >> 32


def aliased(bits: Iterator[int], cut: np.ndarray, alias: np.ndarray) -> int:
    index = below(bits, len(cut))
    return index if unit(bits) <= cut[index] else int(alias[index])


def draw(program, pieces: int) -> tuple[list[float], list[list[int]]]:  # noqa: ANN001 - of the kernels
    """Return the priorities and the skills of the first pieces."""
    priorities: list[float] = []
    skills: list[list[int]] = []
    for piece in range(pieces):
        bits = halves(program.key, piece)
        priorities.append(unit(bits))
        size = 0 if len(program.sizes) == 1 else aliased(bits, program.size_cut, program.size_alias)
        draws = range(int(program.sizes[size]))
        if len(program.skill_cut):
            skills.append([aliased(bits, program.skill_cut, program.skill_alias) for _ in draws])
        else:
            skills.append([below(bits, program.skills) for _ in draws])
    return priorities, skills


def peel(pieces: list[list[int]], skills: int) -> list[int]:
    """Return the round in which each skill is learnt: read everything again in every round."""
    rounds = [0] * skills
    for turn in range(1, skills + 2):
        unknown = [{skill for skill in piece if not rounds[skill]} for piece in pieces]
        taught = {skill for rest in unknown if len(rest) == 1 for skill in rest}
        if not taught:
            break
        for skill in taught:
            rounds[skill] = turn
    return rounds
