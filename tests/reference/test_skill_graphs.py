"""Simulated skill graphs and peeling, against slow twins and against the curves that they confirm."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from emergelab.errors import UserError
from emergelab.kernels import graphs as kernels
from emergelab.rng import Stream, stream
from emergelab.theory.curves import Curve, FiniteGraph, failure
from emergelab.theory.decoding import decode, jump, texts_for, unknown_by_round, unknown_share
from emergelab.theory.graphs import SkillGraph, attack, fail, greedy_attack, hardnesses, random_target
from emergelab.theory.mixtures import SkillCounts, mixed_failure
from slow_graphs import draw, peel

EIGHT = SkillCounts((8,), (1.0,))
MIXED = SkillCounts((2, 7), (0.25, 0.75))


def _graph(
    skills: int, pieces: int, counts: SkillCounts = EIGHT, power: float = 0.0, key: int = 0
) -> SkillGraph:
    return SkillGraph(
        stream=stream(key, "skill graph"), skills=skills, pieces=pieces, counts=counts, power=power
    )


@pytest.mark.parametrize("counts", [EIGHT, MIXED])
@pytest.mark.parametrize("power", [0.0, 1.0])
def test_failures_are_those_of_a_slow_twin(counts: SkillCounts, power: float):
    graph = _graph(11, 200, counts, power)
    hardness = hardnesses(graph, stream(1, "hardness"))
    found = fail(graph, 0.15, hardness, 0.4)
    mean = graph.measure @ hardness
    variance = counts.mean * (graph.measure @ (hardness - mean) ** 2)
    spread = math.sqrt(12 * variance * 0.6 / 0.4)
    priorities, pieces = draw(graph.program, 200)
    scores = [sum(hardness[piece]) + spread * own for piece, own in zip(pieces, priorities, strict=True)]
    worst = np.argsort(scores)[-30:]
    edges, failing = (
        np.bincount(np.concatenate([pieces[i] for i in which]), minlength=11) for which in (range(200), worst)
    )
    assert found.failed == 30
    np.testing.assert_array_equal(found.edges, edges)
    np.testing.assert_array_equal(found.failing, failing)


def test_attack_is_that_of_a_slow_twin():
    graph = _graph(10, 300)
    target = np.arange(10) < 2
    found = attack(graph, 0.1, target)
    priorities, pieces = draw(graph.program, 300)
    order = sorted(range(300), key=lambda i: (sum(target[pieces[i]]), priorities[i]))[-30:]
    np.testing.assert_array_equal(
        found.failing, np.bincount(np.concatenate([pieces[i] for i in order]), minlength=10)
    )


def test_threads_change_nothing():
    graph = _graph(50, 3000, MIXED, 0.5)
    hardness = hardnesses(graph, stream(1, "hardness"))
    one, three = (fail(graph, 0.2, hardness, 0.5, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one.edges, three.edges)
    np.testing.assert_array_equal(one.failing, three.failing)
    assert one.edges.sum() == sum(map(len, draw(graph.program, 3000)[1]))


@pytest.mark.parametrize("alpha", [0.2, 0.5])
def test_attacked_skills_meet_the_exact_curve(alpha: float):
    """At 200,000 pieces the curve holds to three digits, whichever skills are attacked."""
    graph = _graph(1000, 200_000)
    target = random_target(graph, alpha, stream(1, "target"))
    found = attack(graph, 0.1, target)
    exact = float(failure(Curve.exact, 0.1, alpha, 8))
    assert found.rates[target].mean() == pytest.approx(exact, abs=5e-4)
    assert found.worst(alpha)[0] <= found.worst(alpha)[1]


def test_attacked_skills_of_a_power_law_and_of_unequal_pieces():
    zipf = _graph(1000, 100_000, power=1.0)
    target = random_target(zipf, 0.2, stream(1, "target"))
    share = float(zipf.measure[target].sum())
    reached = float((zipf.measure * attack(zipf, 0.1, target).rates)[target].sum()) / share
    assert reached == pytest.approx(float(failure(Curve.exact, 0.1, share, 8)), abs=2e-3)
    mixed = _graph(1000, 100_000, MIXED)
    target = random_target(mixed, 0.2, stream(1, "target"))
    found = attack(mixed, 0.1, target).rates[target].mean()
    assert found == pytest.approx(float(mixed_failure(Curve.exact, 0.1, 0.2, MIXED)), abs=2e-3)


def test_small_graphs_exceed_the_exact_curve_and_not_the_theorem():
    """100 skills and 400 pieces: an adversary who may choose the skills does better than in an infinite graph."""
    exact = float(failure(Curve.exact, 0.1, 0.2, 8))
    finite = float(failure(Curve.theorem, 0.1, 0.2, 8, FiniteGraph(skills=100, pieces=400)))
    reached = [greedy_attack(_graph(100, 400, key=key), 0.1, 0.2).worst(0.2)[1] for key in range(4)]
    assert exact == pytest.approx(0.230, abs=5e-4)
    assert all(exact + 0.01 < rate < finite for rate in reached)
    assert np.mean(reached) == pytest.approx(0.272, abs=0.015)


def test_random_failures_leave_no_skill_behind():
    graph = _graph(100, 100_000)
    found = fail(graph, 0.1, np.zeros(100), 0.0)
    sd = math.sqrt(0.1 * 0.9 / 8000)
    assert np.abs(found.rates - 0.1).max() < 5 * sd + 5 * 0.1 / math.sqrt(8000)
    hard = [
        fail(graph, 0.1, hardnesses(graph, stream(3, "hardness")), loading).worst(0.2)[1]
        for loading in (0.0, 0.2, 0.9)
    ]
    assert hard == sorted(hard)
    assert hard[-1] < float(failure(Curve.exact, 0.1, 0.2, 8))


def test_worst_share_takes_part_of_a_skill():
    graph = _graph(4, 1000)
    found = fail(graph, 0.1, np.array([1.0, 0.0, 0.0, 0.0]), 1.0)
    rates = np.sort(found.rates)[::-1]
    assert found.worst(0.25) == pytest.approx((rates[0], rates[0]))
    assert found.worst(0.3) == pytest.approx((rates[1], (0.25 * rates[0] + 0.05 * rates[1]) / 0.3))


@pytest.mark.parametrize("texts", [0.4, 1.0, 2.0])
def test_peeling_is_that_of_a_slow_twin(texts: float):
    for key in range(20):
        found = decode(stream(key, "texts"), 40, texts, 2.5)
        first, skill = _listed(stream(key, "texts"), 40, texts, 2.5)
        pieces = [skill[a:b].tolist() for a, b in pairwise(first)]
        assert found.rounds.tolist() == peel(pieces, 40)


def _listed(source: Stream, skills: int, texts: float, mean: float) -> tuple[np.ndarray, np.ndarray]:
    from emergelab.theory.decoding import _program  # noqa: PLC0415  # pyright: ignore[reportPrivateUsage]

    program, pieces = _program(source, skills, mean), round(texts * skills)
    sizes = np.array([len(piece) for piece in draw(program, pieces)[1]])
    first = np.concatenate([[0], np.cumsum(sizes)])
    skill = np.zeros(max(first[-1], 1), dtype=np.int32)
    kernels.list_edges(program, 0, pieces, first, skill)
    assert skill[: first[-1]].tolist() == [one for piece in draw(program, pieces)[1] for one in piece]
    return first, skill


def test_a_skill_twice_in_a_text_counts_once():
    rounds = np.zeros(3, dtype=np.int32)
    kernels.peel(np.array([0, 2, 4]), np.array([1, 1, 1, 2], dtype=np.int32), rounds)
    assert rounds.tolist() == [0, 1, 2]


# The texts are those of mpmath with fifty digits.
@pytest.mark.parametrize(("mean", "texts"), [(3.0, 1.037885697), (4.0, 1.46635032499), (5.0, 2.45653088924)])
def test_thresholds_of_learning(mean: float, texts: float):
    found = jump(mean)
    assert found is not None
    assert found.texts == pytest.approx(texts, rel=1e-9)
    assert -found.before * math.log(found.before) == pytest.approx(1 / mean)
    assert texts_for(found.after, mean) == pytest.approx(found.texts)
    assert unknown_share(found.texts * 0.999, mean) > found.before
    assert unknown_share(found.texts * 1.001, mean) < found.after


def test_learning_jumps_only_with_more_than_e_skills_per_text():
    assert jump(math.e) is None
    nearly = jump(math.e + 1e-3)
    assert nearly is not None
    assert nearly.texts == pytest.approx(1, abs=1e-3)
    assert nearly.before == pytest.approx(1 / math.e, abs=0.02)


@pytest.mark.parametrize(("mean", "texts"), [(2.0, 1.0), (3.0, 1.0), (3.0, 1.2), (4.0, 2.0)])
def test_large_graphs_follow_density_evolution(mean: float, texts: float):
    found = [decode(stream(key, "texts"), 60_000, texts, mean) for key in range(4)]
    shares = np.mean([one.unknown_by_round()[:6] for one in found], axis=0)
    np.testing.assert_allclose(shares, unknown_by_round(texts, mean, 12)[:6], atol=0.02)
    assert found[0].unknown == pytest.approx(unknown_share(texts, mean), abs=0.02)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (lambda: jump(-1.0), "skills per text is -1"),
        (lambda: unknown_share(math.inf, 3.0), "texts per skill is inf"),
        (lambda: decode(stream(0, "texts"), 10**9, 1.0, 3.0), "3e.09 edges.*fewer skills"),
        (lambda: _graph(10, 10, power=-1.0), "power of the skills' law is -1"),
        (lambda: fail(_graph(10, 10), 0.1, np.zeros(10), 2.0), "loading is 2"),
        (lambda: fail(_graph(10, 10), 10.0, np.zeros(10), 0.5), "theta is 10.*0.1"),
    ],
)
def test_refusals(question: Callable[[], object], said: str):
    with pytest.raises(UserError, match=f"(?s){said}"):
        question()
