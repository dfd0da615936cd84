"""Laws of composition against closed forms and Fréchet's bounds; proper scores against brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brute
from scipy.special import expit, logit

from emergelab.analysis.estimate import ratio
from emergelab.analysis.skills import laws
from emergelab.analysis.skills.laws import LAWS, Known
from emergelab.analysis.skills.proper import Ensemble, Scored, brier, log_score, mean_over, ratio_over
from emergelab.analysis.skills.resampling import spread, weighted_sums
from emergelab.rng import stream

BY_NAME = {law.name: law for law in LAWS}


def known(singles: Any) -> Known:
    singles = np.atleast_2d(np.asarray(singles, dtype=np.float64))
    return Known(
        singles=singles, failure=1 - singles.mean(axis=1), size=np.full(len(singles), float(singles.shape[1]))
    )


def test_closed_forms() -> None:
    pair = np.array([[0.9, 0.6]])
    assert laws.product(pair)[0] == pytest.approx(0.54)
    assert laws.minimum(pair)[0] == pytest.approx(0.6)
    assert laws.union_bound(pair)[0] == pytest.approx(0.5)
    assert laws.union_bound(np.array([[0.4, 0.3]]))[0] == 0
    assert laws.concatenated(np.array([0.1]), np.array([3.0]))[0] == pytest.approx(0.729)
    assert laws.between(pair, 0.0)[0] == pytest.approx(0.54)
    assert laws.between(pair, 1.0)[0] == pytest.approx(0.6)
    assert laws.between(pair, 0.5)[0] == pytest.approx(np.sqrt(0.54 * 0.6))
    assert laws.power(pair, 2.0)[0] == pytest.approx(0.54**2)
    assert laws.factor(pair, 0.5)[0] == pytest.approx(0.27)
    assert laws.shifted(pair, -1.0)[0] == pytest.approx(expit(logit(0.54) - 1))


def test_a_part_of_rate_one_changes_no_law_of_rates() -> None:
    pair, triple = np.array([[0.7, 0.4]]), np.array([[0.7, 0.4, 1.0]])
    for law in (laws.product, laws.minimum, laws.union_bound):
        assert law(pair) == pytest.approx(law(triple))


def test_rates_of_zero_and_one_stay_what_they_are() -> None:
    ends = np.array([[0.0, 0.5], [1.0, 1.0], [0.0, 0.0]])
    for name, number in (("between", 0.5), ("power", 2.0), ("shifted", 3.0)):
        assert BY_NAME[name].predict(known(ends), number) == pytest.approx([0.0, 1.0, 0.0])


@given(st.integers(2, 4).flatmap(lambda k: st.lists(st.floats(0, 1), min_size=2**k, max_size=2**k)))
def test_every_joint_law_lies_between_union_bound_and_minimum(weights: list[float]) -> None:
    """Any distribution of which parts succeed together: Fréchet 1951."""
    atoms = np.array(weights) + 1e-9
    atoms /= atoms.sum()
    size = int(np.log2(len(atoms)))
    bits = (np.arange(len(atoms))[:, None] >> np.arange(size)) & 1
    singles = (atoms @ bits)[None]
    joint = atoms[-1]
    assert laws.union_bound(singles)[0] <= joint + 1e-9
    assert joint <= laws.minimum(singles)[0] + 1e-9
    for law in (laws.product, lambda rates: laws.between(rates, 0.3)):
        assert laws.union_bound(singles)[0] - 1e-9 <= law(singles)[0] <= laws.minimum(singles)[0] + 1e-9


def test_equal_skills_make_the_product_and_the_concatenated_tuple_the_same() -> None:
    singles = np.full((1, 3), 0.8)
    assert laws.concatenated(1 - singles.mean(axis=1), np.array([3.0])) == pytest.approx(
        laws.product(singles)
    )


@pytest.mark.parametrize(
    ("name", "number"), [("between", 0.3), ("power", 2.0), ("factor", 0.7), ("shifted", -1.2)]
)
def test_fits_find_the_number_that_made_the_rates(name: str, number: float) -> None:
    singles = np.random.default_rng(0).uniform(0.2, 0.95, (40, 2))
    observed = BY_NAME[name].predict(known(singles), number)
    found = laws.fit(BY_NAME[name], known(singles), observed, np.ones(40))
    assert found == pytest.approx(number, abs=1e-3)


def test_out_of_sample_numbers_come_from_the_other_folds() -> None:
    generator = np.random.default_rng(1)
    singles, observed = generator.uniform(0.3, 1, (12, 2)), generator.random(12)
    folds = np.repeat([5, 7, 9], 4)
    law = BY_NAME["power"]
    predicted, numbers = laws.out_of_sample(law, known(singles), observed, folds, np.ones(12))
    for fold in np.unique(folds):
        others = folds != fold

        def loss(g: np.ndarray, others: np.ndarray = others) -> float:
            return float(
                np.sum((np.prod(singles[others], axis=1) ** float(np.ravel(g)[0]) - observed[others]) ** 2)
            )

        best = brute(loss, [(0.05, 10.0)], Ns=20_001, finish=None)
        assert numbers[~others] == pytest.approx(float(best), abs=2e-3)
        assert predicted[~others] == pytest.approx(np.prod(singles[~others], axis=1) ** numbers[~others])


def test_a_fold_alone_has_no_number() -> None:
    predicted, _ = laws.out_of_sample(
        BY_NAME["factor"], known([[0.5, 0.5], [0.6, 0.6]]), np.array([0.2, 0.3]), np.zeros(2), np.ones(2)
    )
    assert np.isnan(predicted).all()


def test_scores_of_rates_are_means_over_answers() -> None:
    answers = np.array([1, 0, 0, 1, 1], dtype=float)
    predicted, share = np.array([0.7]), np.array([answers.mean()])
    assert brier(predicted, share)[0] == pytest.approx(np.mean((0.7 - answers) ** 2))
    nats = -np.log(np.where(answers == 1, 0.7, 0.3)).mean()
    assert log_score(predicted, share, np.array([100.0]))[0] == pytest.approx(nats)


def test_a_certain_prediction_costs_no_more_than_half_an_answer_tells() -> None:
    found = log_score(np.array([0.0]), np.array([1.0]), np.array([9.0]))[0]
    assert found == pytest.approx(np.log(20))


@given(st.floats(0.01, 0.99))
def test_nobody_gains_by_saying_anything_but_the_truth(truth: float) -> None:
    said = np.linspace(0.001, 0.999, 999)
    for scores in (brier(said, np.full(999, truth)), log_score(said, np.full(999, truth), np.full(999, 1e9))):
        assert said[np.argmin(scores)] == pytest.approx(truth, abs=1e-3)


def test_crps_is_the_mean_distance_less_half_the_one_between_draws() -> None:
    generator = np.random.default_rng(2)
    draws = np.sort(generator.random((4, 30)), axis=1)
    observed = np.array([[0.2, -0.5], [0.9, 1.5], [0.0, 1.0], [0.5, draws[3, 7]]])
    found = Ensemble(draws).crps(observed)
    between = np.abs(draws[:, :, None] - draws[:, None]).sum(axis=(1, 2)) / (2 * 30 * 29)
    away = np.abs(draws[:, None, :] - observed[:, :, None]).mean(axis=2)
    assert found == pytest.approx(away - between[:, None])


def test_without_draws_a_ratio_is_that_of_independent_clusters() -> None:
    generator = np.random.default_rng(3)
    composite = np.repeat(np.arange(6), 3)
    above, below = generator.random(18), generator.uniform(1, 2, 18)
    found = ratio_over(Scored(above), Scored(below), composite).estimate()
    sums = [np.bincount(composite, weights=values) for values in (above, below)]
    expected = ratio(*sums)
    assert (found.value, found.lo, found.hi) == pytest.approx((expected.value, expected.lo, expected.hi))


@pytest.mark.parametrize(("apart", "own", "common"), [(1.0, 0.5, 2.0), (2.0, 0.5, 0.0), (0.5, 1.0, 0.5)])
def test_the_error_of_a_mean_holds_composites_their_items_and_what_they_share(
    apart: float, own: float, common: float
) -> None:
    """Var = (apart² + own²) / G + common², whatever of it lies between the composites at hand."""
    generator = np.random.default_rng(4)
    squares = []
    for _ in range(300):
        noise = generator.normal(0, own, (8, 200)) + generator.normal(0, common, 200)
        value = generator.normal(0, apart, 8) + generator.normal(0, own, 8) + generator.normal(0, common)
        squares.append(mean_over(Scored(value, noise), np.arange(8)).error ** 2)
    assert np.mean(squares) == pytest.approx((apart**2 + own**2) / 8 + common**2, rel=0.08)


def test_one_composite_varies_with_its_items_only() -> None:
    draws = np.random.default_rng(5).normal(0.3, 0.1, (2, 500))
    found = mean_over(Scored(np.array([0.3, 0.3]), draws), np.zeros(2, dtype=int))
    assert found.error == pytest.approx(draws.mean(axis=0).std(ddof=1))
    assert mean_over(Scored(np.array([0.3])), np.zeros(1, dtype=int)).estimate().lo is None


def test_weights_are_the_inputs_own_wherever_they_are_asked() -> None:
    group, cluster = np.array([0, 0, 1, 1]), np.array([3, 9000, 3, 9000])
    values = np.array([1.0, 2.0, 1.0, 2.0])
    sums = weighted_sums((group, cluster), {"x": values}, (2, 2000), stream(0, "test"))["x"]
    assert sums[0] == pytest.approx(sums[1])
    apart = weighted_sums(
        (np.array([0]), np.array([3])), {"x": np.array([1.0])}, (1, 2000), stream(0, "test")
    )["x"]
    late = sums[0] - apart[0]  # twice the weight of the other input
    assert late.min() > 0
    assert abs(np.corrcoef(late, apart[0])[0, 1]) < 0.08


def test_drawn_shares_vary_as_the_bayesian_bootstrap_says() -> None:
    """A share p of n items has variance p(1-p)/(n+1) under Dirichlet weights (Rubin 1981)."""
    right = (np.arange(60) < 18).astype(float)
    place = np.zeros(60, dtype=int), np.arange(60)
    sums = weighted_sums(place, {"right": right, "all": np.ones(60)}, (1, 4000), stream(1, "test"))
    shares = sums["right"][0] / sums["all"][0]
    assert shares.mean() == pytest.approx(0.3, abs=0.005)
    assert shares.var() == pytest.approx(0.3 * 0.7 / 61, rel=0.1)
    assert spread(shares) == pytest.approx(shares.std(ddof=1))
