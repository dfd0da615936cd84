"""Observed failures against the theory: brute force on tiny graphs, independent draws and adversaries on large ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emergelab.analysis.skills.observed import (
    CellGraph,
    Verdict,
    Weighting,
    cell_graph,
    observed,
    possible,
    theory_lines,
    worst,
)
from emergelab.analysis.skills.pieces import pieces_of
from emergelab.rng import stream
from emergelab.theory.curves import Curve, FiniteGraph
from emergelab.theory.graphs import SkillGraph, attack, fail, hardnesses
from emergelab.theory.mixtures import SkillCounts, mixed_failure
from outcome_rows import Answer, outcomes, row_of
from slow_graphs import draw

ANSWERS: list[Answer] = [
    ("s", "1", "t", "f", "x", True),
    ("s", "1", "t", "f", "y", False),
    ("s", "1", "t", "f", "z", False),
    ("s", "1", "u", "f+g", "x", False),
    ("s", "1", "v", "g+g+h", "x", True),
    ("s", "1", "v", "g+g+h", "y", False),
]


def _graph(answers: Sequence[Answer], weighting: Weighting = "items") -> CellGraph:
    pieces = pieces_of(outcomes(answers))
    return cell_graph(pieces.frame, pieces.tuples, weighting)


def test_a_graph_by_items_counts_pieces_and_edges():
    graph = _graph(ANSWERS)
    assert list(graph.skills) == ["f", "g", "h"]
    np.testing.assert_allclose(graph.measure, np.array([4, 5, 2]) / 11)
    np.testing.assert_allclose(graph.rates, [3 / 4, 3 / 5, 1 / 2])
    assert graph.theta == pytest.approx(4 / 6)
    assert graph.counts.counts == (1, 2, 3)
    np.testing.assert_allclose(graph.counts.weights, [3 / 6, 1 / 6, 2 / 6])
    assert (graph.pieces, graph.effective, graph.tasks) == (6, 6, 3)


def test_a_graph_by_tasks_gives_each_the_same():
    graph = _graph(ANSWERS, "tasks")
    assert graph.theta == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    np.testing.assert_allclose(graph.counts.weights, [1 / 3] * 3)
    np.testing.assert_allclose(graph.measure, np.array([2, 3, 1]) / 6)
    assert graph.effective == int(1 / (3 / 9**2 + 1 / 3**2 + 2 / 6**2))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.data())
def test_the_worst_share_is_the_largest_of_all_sets(rates: list[float], data: st.DataObject):
    drawn = data.draw(st.lists(st.integers(1, 9), min_size=len(rates), max_size=len(rates)))
    measure = np.array(drawn) / sum(drawn)
    batch = np.array([rates])
    size = data.draw(st.integers(1, len(rates)))
    chosen = np.argsort(-batch[0], kind="stable")[:size]
    alpha = measure[chosen].sum()
    found = worst(batch, batch, measure, np.array([alpha]))[0, 0]
    assert found == pytest.approx((measure * batch[0])[chosen].sum() / alpha)
    for other in combinations(range(len(rates)), size):
        places = list(other)
        if measure[places].sum() <= alpha:
            assert (measure * batch[0])[places].sum() <= found * alpha + 1e-12


def test_shares_may_end_within_a_skill():
    rates, measure = np.array([[0.8, 0.2]]), np.array([0.5, 0.5])
    assert worst(rates, rates, measure, np.array([0.75]))[0, 0] == pytest.approx(
        (0.5 * 0.8 + 0.25 * 0.2) / 0.75
    )
    # Chosen by others, measured by these.
    assert worst(rates, -rates, measure, np.array([0.5]))[0, 0] == pytest.approx(0.2)


def test_possible_is_the_worst_of_all_failing_sets():
    tuples = ["f", "f+g", "g+g", "h+f", "h", "g+h+h", "f", "g"]
    answers = [("s", "1", f"t{i}", skills, "x", i > 2) for i, skills in enumerate(tuples)]
    graph = _graph(answers)
    order = np.argsort(-graph.rates, kind="stable")
    needs = np.array([[skills.split("+").count(skill) for skill in graph.skills] for skills in tuples])
    known = []
    for size in (1, 2, 3):
        chosen = needs[:, order[:size]].sum(axis=1)
        known.append(max(chosen[list(failing)].sum() for failing in combinations(range(8), 3)) / chosen.sum())
    np.testing.assert_allclose(possible(graph, order), known)


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from(["f", "g", "f+g", "g+h", "f+f+h"]), st.booleans()), min_size=2, max_size=40
    )
)
def test_what_was_observed_was_possible_and_below_markov(drawn: list[tuple[str, bool]]):
    answers = [("s", "1", skills, skills, str(i), right) for i, (skills, right) in enumerate(drawn)]
    curve, against = observed(pieces_of(outcomes(answers)), stream(0, "test"))
    assert against.height == 1
    for row in curve.to_dicts():
        assert row["failure"] <= row["possible"] + 1e-9
        assert row["possible"] <= row["markov"] + 1e-9
        if row["lo"] is not None:
            assert 0 <= row["lo"] <= row["failure"] <= row["hi"] <= 1


def test_curves_are_those_of_the_theory():
    pieces = pieces_of(outcomes(ANSWERS))
    graph = _graph(ANSWERS)
    curve, _ = observed(pieces, stream(0, "test"))
    finite = FiniteGraph(skills=3, pieces=6, alike=False)
    for name, within in (("theorem", finite), ("exact", None), ("markov", None)):
        for found in (curve, theory_lines(pieces)):
            known = mixed_failure(Curve(name), graph.theta, found["alpha"].to_numpy(), graph.counts, within)
            np.testing.assert_allclose(found[name].cast(pl.Float64).fill_null(np.nan).to_numpy(), known)


@pytest.mark.parametrize("right", [True, False])
def test_where_all_or_nothing_fails_there_are_no_curves(*, right: bool):
    answers = [("s", "1", "t", skill, piece, right) for skill in "fg" for piece in "xy"]
    pieces = pieces_of(outcomes([(s, c, t + k, k, p, r) for s, c, t, k, p, r in answers]))
    curve, against = observed(pieces, stream(0, "test"))
    assert curve.is_empty()
    assert theory_lines(pieces).is_empty()
    assert against["exact_verdict"].to_list() == ["curve says nothing"]
    assert against["theta"].to_list() == [1 - right]


def test_unknown_answers_do_not_count():
    known, _ = observed(pieces_of(outcomes(ANSWERS)), stream(0, "test"))
    more = [*ANSWERS, ("s", "1", "w", "k", "x", None)]
    found, against = observed(pieces_of(outcomes(more)), stream(0, "test"))
    np.testing.assert_allclose(found["failure"].to_numpy(), known["failure"].to_numpy())
    assert against["skills"].to_list() == [3]


def _drawn(graph: SkillGraph, failing: np.ndarray) -> pl.DataFrame:
    _, skills = draw(graph.program, graph.pieces)
    answers = [
        ("s", "1", "t", "+".join(f"k{skill}" for skill in piece), str(i), not failing[i])
        for i, piece in enumerate(skills)
    ]
    return outcomes(answers)


COUNTS = SkillCounts((2, 4), (0.5, 0.5))


def _independent() -> SkillGraph:
    return SkillGraph(stream=stream(5, "graph"), skills=20, pieces=3000, counts=COUNTS)


def _needs(graph: SkillGraph) -> np.ndarray:
    _, skills = draw(graph.program, graph.pieces)
    return np.array([np.bincount(piece, minlength=graph.skills) for piece in skills])


def test_an_adversary_reaches_the_exact_curve_and_not_more():
    graph, theta, alpha = _independent(), 0.15, 0.2
    priorities, skills = draw(graph.program, graph.pieces)
    hurt = _needs(graph)[:, :4].sum(axis=1)
    worst_first = np.lexsort((-np.array(priorities), -hurt))
    failing = np.isin(np.arange(graph.pieces), worst_first[: int(theta * graph.pieces)])
    pieces = pieces_of(_drawn(graph, failing))
    curve, against = observed(pieces, stream(0, "test"))
    there = curve.sort((pl.col("alpha") - alpha).abs()).row(0, named=True)
    known = mixed_failure(Curve.exact, theta, there["alpha"], COUNTS)
    assert there["failure"] == pytest.approx(float(known), abs=0.015)
    assert there["failure"] == pytest.approx(there["possible"])
    # The same as the simulation of the theory, but for edges counted in place of expected.
    simulated = attack(graph, theta, np.arange(20) < 4)
    mean = simulated.failing[:4].sum() / simulated.edges[:4].sum()
    assert there["failure"] == pytest.approx(mean, abs=0.005)
    assert against["theorem_verdict"].to_list() == ["below"]
    counts = cell_graph(pieces.frame, pieces.tuples, "items").counts
    finite = FiniteGraph(skills=20, pieces=3000, alike=False)  # sets of a measure are not of a size
    known = mixed_failure(Curve.theorem, theta, there["alpha"], counts, finite)
    assert there["theorem"] == pytest.approx(float(known), rel=1e-6)
    assert abs(against["exact_margin"][0]) < 0.015
    assert len(skills) == graph.pieces


@pytest.mark.parametrize("loading", [0.0, 0.5])
def test_failing_sets_that_nobody_chose_stay_below(loading: float):
    graph, theta = _independent(), 0.15
    hardness = hardnesses(graph, stream(1, "hardness"))
    priorities, _ = draw(graph.program, graph.pieces)
    score = (_needs(graph) @ hardness) * np.sqrt(loading) + 3 * (np.array(priorities) - 0.5)
    failing = score >= np.quantile(score, 1 - theta)
    curve, against = observed(pieces_of(_drawn(graph, failing)), stream(0, "test"))
    assert (curve["failure"] < curve["exact"]).all()
    assert against["exact_verdict"].to_list() == ["below"]
    assert fail(graph, theta, hardness, loading).worst(0.2)[1] < float(
        mixed_failure(Curve.exact, theta, 0.2, COUNTS)
    )


def test_designed_tasks_may_lie_above():
    # A skill in a tenth of the pieces, which it shares with no other, and all of these fail.
    answers = [("s", "1", "t", "bad+bad", str(i), False) for i in range(60)]
    answers += [("s", "1", "u", f"k{i % 9}", str(i), True) for i in range(540)]
    curve, against = observed(pieces_of(outcomes(answers)), stream(0, "test"))
    row = against.row(0, named=True)
    assert row["exact_verdict"] == "above"
    assert row["exact_margin"] < 0 < row["possible_excess"]
    assert curve["failure"][0] == 1


def test_noise_alone_makes_skills_seem_worse_than_they_are():
    generator = stream(2, "alike").generator()
    found: list[tuple[float, float, float]] = []
    for trial in range(24):
        right = generator.random((20, 10)) >= 0.4
        answers = [
            ("s", "1", f"t{t}", f"k{t}", str(i), bool(right[t, i])) for t in range(20) for i in range(10)
        ]
        curve, _ = observed(pieces_of(outcomes(answers)), stream(trial, "test"))
        row = curve.row(1, named=True)
        found.append((row["failure"], row["halves"], row["halves_hi"] - row["halves_lo"]))
    raw, halves, width = np.array(found).T
    assert raw.mean() > 0.55
    assert halves.mean() == pytest.approx(0.4, abs=0.06)
    # The interval is as wide as the estimate varies from one set of pieces to another.
    assert width.mean() == pytest.approx(2 * 1.96 * halves.std(ddof=1), rel=0.2)


@pytest.mark.parametrize("weighting", ["items", "tasks"])
def test_theta_has_an_interval_over_items(weighting: Weighting):
    answers = [("s", "1", "t", "f", str(i), i < 70) for i in range(100)]
    _, against = observed(pieces_of(outcomes(answers)), stream(0, "test"), weighting)
    row = row_of(against, weighting=weighting)
    assert row["theta"] == pytest.approx(0.3)
    assert (row["theta_lo"], row["theta_hi"]) == pytest.approx((0.219, 0.396), abs=0.003)  # Wilson's


def test_cells_are_judged_one_by_one():
    other = [(s, "2", t, k, p, not r) for s, _, t, k, p, r in ANSWERS]
    both, sides = observed(pieces_of(outcomes([*ANSWERS, *other])), stream(0, "test"))
    alone, side = observed(pieces_of(outcomes(ANSWERS)), stream(0, "test"))
    assert both.filter(pl.col("checkpoint") == "1").equals(alone)
    assert sides.filter(pl.col("checkpoint") == "1").equals(side)
    assert set(sides["exact_verdict"]) <= set(get_args(Verdict))
