"""Performance curves against tables worked out apart, linear programs, and what must hold between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import linprog

from emergelab.errors import UserError
from emergelab.theory.curves import (
    Curve,
    FiniteGraph,
    TupleKind,
    Tuples,
    divergence,
    entropy,
    failure,
    largest_theta,
    share,
)
from emergelab.theory.mixtures import SkillCounts, mixed_failure, mixed_share
from emergelab.theory.needs import Wish, need, theta_needed
from emergelab.theory.scaling import PUBLISHED

_RATIOS = (1.5, 2, 3, 4, 8)
# Smallest shares, theorem and exact, by θ and k for the ratios above; None: there is none.
_SHARES = {
    (0.05, 8): ((None, 0.463, 0.236, 0.143, 0.045), (0.619, 0.348, 0.141, 0.075, 0.019)),
    (0.05, 16): ((0.614, 0.346, 0.147, 0.083, 0.024), (0.507, 0.234, 0.080, 0.040, 0.009)),
    (0.1, 4): ((None, None, 0.303, 0.197, 0.069), (0.667, 0.410, 0.186, 0.093, 0.033)),
    (0.1, 8): ((None, 0.433, 0.208, 0.123, 0.038), (0.597, 0.286, 0.103, 0.055, 0.017)),
    (0.1, 16): ((0.582, 0.310, 0.126, 0.070, 0.020), (0.440, 0.177, 0.056, 0.034, 0.008)),
}

_shares = st.floats(0.005, 0.5)
_alphas = st.floats(0.01, 0.95)
_counts = st.integers(1, 60)


def _exact_by_program(theta: float, alpha: float, law: dict[int, float]) -> float:
    """Let an adversary choose, by linear programming, which pieces fail among those with x skills in the set."""
    x = np.arange(max(law) + 1)
    p = sum(weight * stats.binom.pmf(x, k, alpha) for k, weight in law.items())
    found = linprog(-p * x, A_ub=[p], b_ub=[theta], bounds=[(0, 1)] * len(x))
    return -found.fun / (alpha * sum(k * weight for k, weight in law.items()))


@pytest.mark.parametrize(
    ("theta", "known"),
    [(0.1, (0.3067, 0.2719, 0.2300, 0.5)), (0.05, (0.1649, 0.1490, 0.1323, 0.25))],
)
def test_failure_of_the_worst_fifth(theta: float, known: tuple[float, ...]):
    found = [float(failure(curve, theta, 0.2, 8)) for curve in Curve]
    assert found == pytest.approx(known, abs=5e-5)


def test_exact_failure_by_theta():
    assert failure(Curve.exact, [0.05, 0.1, 0.2], 0.2, 8) == pytest.approx([0.1323, 0.2300, 0.4175], abs=5e-5)


@pytest.mark.parametrize(("theta", "k"), _SHARES)
def test_tables_of_smallest_shares(theta: float, k: int):
    theorem, exact = _SHARES[theta, k]
    found = share(Curve.theorem, theta, _RATIOS, k)
    known = np.array([math.nan if value is None else value for value in theorem])
    np.testing.assert_allclose(found, known, atol=5.001e-4)
    np.testing.assert_allclose(share(Curve.exact, theta, _RATIOS, k), exact, atol=5.001e-4)


def test_smallest_shares_of_the_sharper_curve():
    assert float(share(Curve.sharper, 0.1, 2, 8)) == pytest.approx(0.373, abs=5e-4)
    assert float(share(Curve.sharper, 0.05, 1.5, 8)) == pytest.approx(0.662, abs=5e-4)
    assert share(Curve.markov, 0.1, [2.0, 4.0], 8).tolist() == [0.5, 0.25]


@settings(max_examples=25)
@given(theta=_shares, alpha=_alphas, k=st.integers(1, 12))
def test_exact_curve_is_what_an_adversary_reaches(theta: float, alpha: float, k: int):
    assert float(failure(Curve.exact, theta, alpha, k)) == pytest.approx(
        _exact_by_program(theta, alpha, {k: 1.0}), rel=1e-6
    )


def test_exact_curve_from_all_pieces_one_by_one():
    """Ten skills, pieces of three: every piece is as likely as another, the worst set is the first two skills."""
    pieces = [sum(skill < 2 for skill in piece) for piece in product(range(10), repeat=3)]
    worst = sorted(pieces, reverse=True)[:70]
    assert float(failure(Curve.exact, 0.07, 0.2, 3)) == pytest.approx(sum(worst) / (1000 * 3 * 0.2))


@settings(max_examples=25)
@given(theta=_shares, alpha=_alphas, k=_counts)
def test_sharper_curves_lie_below(theta: float, alpha: float, k: int):
    theorem, sharper, exact, markov = (float(failure(curve, theta, alpha, k)) for curve in Curve)
    assert theta * (1 - 1e-12) <= exact <= markov * (1 + 1e-12)
    if not math.isnan(theorem):
        assert sharper <= theorem * (1 + 1e-9)
    if not math.isnan(sharper):
        assert exact <= sharper * (1 + 1e-9)


@settings(max_examples=25)
@given(theta=_shares, alphas=st.tuples(_alphas, _alphas).map(sorted), k=_counts, curve=st.sampled_from(Curve))
def test_failure_falls_with_the_share(theta: float, alphas: list[float], k: int, curve: Curve):
    few, many = failure(curve, theta, alphas, k).tolist()
    assert math.isnan(few) or math.isnan(many) or many <= few * (1 + 1e-9)


@settings(max_examples=25)
@given(theta=_shares, room=st.floats(0.02, 0.98), k=_counts, curve=st.sampled_from(Curve))
def test_share_and_failure_are_inverse(theta: float, room: float, k: int, curve: Curve):
    beta = 1 + room * (1 / theta - 1)
    alpha = float(share(curve, theta, beta, k))
    if math.isnan(alpha):
        most = 1 / beta
        required = (float(entropy(theta)) / theta if curve is Curve.theorem else -math.log(theta)) / k
        assert float(divergence(1.0, most)) <= required * (1 + 1e-12)
    elif alpha < 0.999_999:
        assert float(failure(curve, theta, alpha, k)) == pytest.approx(beta * theta, rel=1e-6)


@settings(max_examples=25)
@given(rate=st.floats(0.05, 0.9), alpha=_alphas, k=_counts, curve=st.sampled_from(Curve))
def test_largest_theta_reaches_the_rate(rate: float, alpha: float, k: int, curve: Curve):
    theta = float(largest_theta(curve, rate, alpha, k))
    found = float(failure(curve, theta, alpha, k))
    if not math.isnan(found):
        assert found == pytest.approx(rate, rel=1e-6)
    else:
        assert theta == pytest.approx(rate * alpha)


def test_a_grid_at_once_is_the_points_one_by_one():
    theta, alpha = np.array([[0.05], [0.2]]), np.array([0.1, 0.3, 0.6])
    for curve in Curve:
        whole = failure(curve, theta, alpha, 8)
        single = [[float(failure(curve, t, a, 8)) for a in alpha] for t in theta[:, 0]]
        np.testing.assert_allclose(whole, single, rtol=1e-12)


def test_many_skills_for_each_piece():
    """The law of large numbers: with a million skills for each piece no skills are worse than the others."""
    assert float(failure(Curve.exact, 0.1, 0.2, 1e6)) == pytest.approx(0.1, rel=0.01)
    mean, sd = 200_000.0, math.sqrt(160_000.0)
    normal = mean + sd * stats.norm.pdf(stats.norm.isf(0.1)) / 0.1
    assert float(failure(Curve.exact, 0.1, 0.2, 1e6)) / 0.1 == pytest.approx(normal / mean, rel=1e-5)


def test_finite_graphs_need_more():
    """The bound's own inequality, turned into an equality, for 100 skills and 4000 pieces."""
    graph = FiniteGraph(skills=100, pieces=4000, confidence=0.99)
    found = float(failure(Curve.theorem, 0.1, 0.2, 8, graph))
    reached = float(divergence(found / 0.1 * 0.2, 0.2))
    added = 100 / 4000 * float(entropy(0.2)) + math.log(100) / 4000
    assert reached == pytest.approx((float(entropy(0.1)) + added) / 0.8)
    assert found > float(failure(Curve.theorem, 0.1, 0.2, 8))
    unlike = FiniteGraph(skills=100, pieces=4000, confidence=0.99, alike=False)
    assert float(failure(Curve.theorem, 0.1, 0.2, 8, unlike)) > found
    alpha = float(share(Curve.theorem, 0.1, found / 0.1, 8, graph))
    assert alpha == pytest.approx(0.2)
    huge = FiniteGraph(skills=100, pieces=10**12)
    assert float(failure(Curve.theorem, 0.1, 0.2, 8, huge)) == pytest.approx(0.30672, abs=1e-5)


@pytest.mark.parametrize("curve", [Curve.sharper, Curve.exact])
def test_curves_of_infinite_graphs_say_nothing_of_finite_ones(curve: Curve):
    with pytest.raises(UserError, match="infinitely many pieces"):
        failure(curve, 0.1, 0.2, 8, FiniteGraph(skills=100, pieces=400))


def test_tuples_of_two_kinds():
    joined, inside = (Tuples(size=3, kind=kind) for kind in TupleKind)
    assert float(joined.theta(0.1)) == pytest.approx(1 - 0.9**3)
    assert float(joined.k(8)) == 8
    assert (float(inside.theta(0.1)), float(inside.k(8))) == (0.1, 2)
    assert float(joined.single_theta(joined.theta(0.1))) == pytest.approx(0.1)
    with pytest.raises(UserError, match="no more skills than the piece"):
        inside.k(2)


def test_tuples_fail_no_more_than_the_smaller_models_skills():
    """Slingshot: at a third of θ, triples of joined pieces do as well as single skills did."""
    for size in (2, 4, 8):
        tuples = Tuples(size=size, kind=TupleKind.concatenated)
        larger = failure(Curve.exact, tuples.theta(0.1 / size), [0.05, 0.2, 0.5], tuples.k(8))
        assert (larger <= failure(Curve.exact, 0.1, [0.05, 0.2, 0.5], 8)).all()


@pytest.mark.parametrize("law", [{4: 0.5, 12: 0.5}, {1: 0.2, 3: 0.3, 9: 0.5}, {8: 1.0}])
@pytest.mark.parametrize("theta", [0.05, 0.3])
def test_unequal_pieces_against_a_linear_program(law: dict[int, float], theta: float):
    counts = SkillCounts(tuple(law), tuple(law.values()))
    for alpha in (0.05, 0.2, 0.6):
        known = _exact_by_program(theta, alpha, law)
        assert float(mixed_failure(Curve.exact, theta, alpha, counts)) == pytest.approx(known, rel=1e-7)


@settings(max_examples=25)
@given(theta=_shares, alpha=st.floats(0.01, 0.6), weight=st.floats(0.05, 0.95))
def test_order_of_the_curves_of_unequal_pieces(theta: float, alpha: float, weight: float):
    counts = SkillCounts((3, 11), (weight, 1 - weight))
    theorem, sharper, exact, markov = (float(mixed_failure(curve, theta, alpha, counts)) for curve in Curve)
    assert exact <= markov * (1 + 1e-9)
    assert math.isnan(theorem) or exact <= sharper * (1 + 1e-9) <= theorem * (1 + 1e-9)


@pytest.mark.parametrize("curve", [Curve.theorem, Curve.sharper, Curve.exact])
def test_pieces_all_alike_are_a_mixture_of_one(curve: Curve):
    alone = SkillCounts((8,), (1.0,))
    alpha = np.array([0.05, 0.2, 0.5])
    np.testing.assert_allclose(
        mixed_failure(curve, 0.1, alpha, alone), failure(curve, 0.1, alpha, 8), rtol=1e-9
    )
    beta = np.array([1.5, 2.0, 3.0])
    np.testing.assert_allclose(mixed_share(curve, 0.1, beta, alone), share(curve, 0.1, beta, 8), rtol=1e-7)


@pytest.mark.parametrize("curve", list(Curve))
def test_shares_of_unequal_pieces_lead_back(curve: Curve):
    counts = SkillCounts((4, 12), (0.5, 0.5))
    alpha = mixed_share(curve, 0.1, [2.5, 4.0], counts)
    np.testing.assert_allclose(mixed_failure(curve, 0.1, alpha, counts), [0.25, 0.4], rtol=1e-6)
    # The longest tenth of these pieces has 15 % of all edges: no set of skills is surer than that.
    assert np.isnan(mixed_share(curve, 0.1, 1.4, counts))


def test_what_a_competence_takes():
    wish = Wish(competence=0.8, share=0.9, k=8, tuples=Tuples(size=2, kind=TupleKind.concatenated))
    theta = theta_needed(wish)
    assert float(failure(Curve.exact, 1 - (1 - theta) ** 2, 0.1, 8)) == pytest.approx(0.2)
    law = PUBLISHED["hoffmann"]
    linear = need(wish, "linear", law)
    assert linear.excess == pytest.approx(theta / 2)
    assert linear.params is not None
    assert linear.tokens is not None
    assert float(law.excess(linear.params, linear.tokens)) == pytest.approx(linear.excess)
    assert linear.compute == pytest.approx(6 * linear.params * linear.tokens)
    assert need(wish, "pinsker").excess == pytest.approx(theta**2 / 2)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (lambda: failure(Curve.exact, 10, 0.2, 8), "theta is 10.*10 % is 0.1"),
        (lambda: failure(Curve.exact, 0.1, 0, 8), "alpha is 0.*between 0 and 1"),
        (lambda: failure(Curve.exact, 0.1, math.nan, 8), "alpha is nan"),
        (lambda: failure(Curve.exact, 0.1, 0.2, 0), "k is 0.*1 or more"),
        (lambda: failure(Curve.exact, 0.1, 0.2, 2.5), "k is 2.5.*whole number"),
        (lambda: share(Curve.exact, 0.1, 1, 8), "beta is 1.*above 1"),
        (lambda: share(Curve.exact, 0.3, 4, 8), "beta times theta is 1.2.*below 3.33333"),
        (lambda: Wish(competence=80, share=0.9, k=8), "competence is 80.*80 % is 0.8"),
        (lambda: SkillCounts((2, 3), (0.5, 0.6)), "sum to 1.1"),
        (lambda: SkillCounts((2, 3), (1.0, 0.0)), "above 0"),
        (lambda: FiniteGraph(skills=10, pieces=10, confidence=95), "confidence is 95.*0.95"),
    ],
)
def test_refusals_say_value_rule_and_remedy(question: Callable[[], object], said: str):
    with pytest.raises(UserError, match=f"(?s){said}"):
        question()


def test_tuples_of_a_finite_graph():
    """Pairs of 30 skills are 900; joined pieces are half as many, and twice the share of them may fail."""
    graph, alpha, k = FiniteGraph(skills=30, pieces=200_000, confidence=0.9), 0.2, 8
    joined = Tuples(size=2, kind=TupleKind.concatenated)
    theta = float(joined.theta_in_graph(0.1))
    found = float(failure(Curve.theorem, theta, alpha, k, joined.graph(graph)))
    required = float(entropy(0.2)) + (900 * float(entropy(alpha)) + math.log(10)) / 100_000
    assert theta == pytest.approx(0.2)
    assert float(divergence(found / 0.2 * alpha, alpha)) == pytest.approx(required / (k * 0.2), rel=1e-9)
    # Joined pieces that fail independently are fewer than an adversary's.
    assert found > float(failure(Curve.theorem, joined.theta(0.1), alpha, k))
    within = Tuples(size=2, kind=TupleKind.within)
    assert (within.graph(graph).skills, within.graph(graph).pieces) == (900, 200_000)
    assert float(within.theta_in_graph(0.1)) == 0.1


def test_tuples_that_a_finite_graph_cannot_have():
    with pytest.raises(UserError, match=r"Give a theta below 0\.25"):
        Tuples(size=4, kind=TupleKind.concatenated).theta_in_graph(0.3)
    with pytest.raises(UserError, match="Take smaller tuples, or more pieces"):
        Tuples(size=4, kind=TupleKind.concatenated).graph(FiniteGraph(skills=10, pieces=3))


@pytest.mark.parametrize("counts", [((8,), (1.0,)), ((2, 3, 4), (1 / 3, 1 / 3, 1 / 3)), ((1, 2), (0.5, 0.5))])
@pytest.mark.parametrize("beta", [1.5, 2.0, 4.9])
def test_the_exact_curve_speaks_wherever_markovs_does(counts: tuple[Any, Any], beta: float):
    """It is the worst case, so that it allows no more than any bound; where few pieces fail the two meet."""
    theta, law = np.geomspace(1e-6, 0.2, 500), SkillCounts(*counts)
    exact, markov = (mixed_share(curve, theta, beta, law) for curve in (Curve.exact, Curve.markov))
    assert not np.isnan(exact[~np.isnan(markov)]).any()
    assert (exact[~np.isnan(markov)] <= markov[~np.isnan(markov)] * (1 + 1e-9)).all()


@settings(max_examples=4, deadline=None)
@given(theta=_shares, beta=st.floats(1.2, 8), skills=st.integers(2, 500), pieces=st.integers(500, 10**6))
def test_smallest_shares_of_finite_mixtures(theta: float, beta: float, skills: int, pieces: int):
    """A mixture of one k is that k; and at the share found the failure is what was asked, above it no more."""
    graph = FiniteGraph(skills=skills, pieces=pieces)
    if beta * theta >= 1:
        return
    alone = float(share(Curve.theorem, theta, beta, 8, graph))
    one = float(mixed_share(Curve.theorem, theta, beta, SkillCounts((8,), (1.0,)), graph))
    assert one == pytest.approx(alone, rel=1e-6, nan_ok=True) or alone * beta == pytest.approx(1, rel=1e-6)
    mixed = SkillCounts((4, 12), (0.5, 0.5))
    found = float(mixed_share(Curve.theorem, theta, beta, mixed, graph))
    if not math.isnan(found):
        there = float(mixed_failure(Curve.theorem, theta, found, mixed, graph))
        assert there == pytest.approx(beta * theta, rel=1e-6, nan_ok=True)
        assert found >= float(mixed_share(Curve.theorem, theta, beta, mixed)) * (1 - 1e-6)
