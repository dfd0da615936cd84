"""Estimates against SciPy, and what they say where there is nothing to say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from emergelab.analysis import estimate, intervals
from emergelab.rng import stream

COUNTS = [(0, 1), (1, 1), (0, 30), (3, 30), (30, 30), (137, 512), (511, 512), (5, 100_000)]


@pytest.mark.parametrize(("successes", "n"), COUNTS)
def test_wilson_is_scipys(successes: int, n: int):
    found = estimate.proportion(successes, n)
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert (found.lo, found.hi) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (found.value, found.n, found.method) == (successes / n, n, "wilson")


@given(st.integers(1, 2000), st.data())
def test_shares_lie_in_their_intervals_and_these_in_0_to_1(n: int, data: st.DataObject):
    found = estimate.proportion(data.draw(st.integers(0, n)), n)
    assert 0 <= found.lo <= found.value <= found.hi <= 1
    assert found.lo < found.hi


@given(st.integers(1, 500), st.integers(0, 500), st.integers(0, 500))
def test_gains_lie_in_their_intervals_and_these_in_minus_1_to_1(n: int, gained: int, lost: int):
    gained, lost = min(gained, n), min(lost, n - min(gained, n))
    found = estimate.paired_share_gain(gained, lost, n)
    assert -1 <= found.lo <= found.value <= found.hi <= 1
    mirrored = estimate.paired_share_gain(lost, gained, n)
    assert (mirrored.lo, mirrored.hi) == pytest.approx((-found.hi, -found.lo), abs=1e-12)


@pytest.mark.parametrize("count", [2, 5, 100])
@pytest.mark.parametrize("skew", [-1, 1])
def test_the_skewed_mean_solves_halls_equation(count: int, skew: int):
    """The limits are where the transformed statistic meets Student's quantile."""
    values = skew * stream(0, "values", count).generator().exponential(size=count)
    found = estimate.mean(values)
    skewness = stats.skew(values)

    def transformed(mean: float) -> float:
        w = (values.mean() - mean) / values.std(ddof=1)
        return w + skewness * w**2 / 3 + skewness**2 * w**3 / 27 + skewness / (6 * count)

    quantile = stats.t.ppf(0.975, count - 1) / np.sqrt(count)
    lo = optimize.brentq(lambda mean: transformed(mean) - quantile, -1e4, 1e4)
    hi = optimize.brentq(lambda mean: transformed(mean) + quantile, -1e4, 1e4)
    assert (found.lo, found.hi) == pytest.approx((lo, hi), rel=1e-6)
    assert found.lo < found.value < found.hi


def test_the_skewed_mean_of_symmetric_values_is_students():
    values = np.array([-3.0, -1.0, -0.5, 0.5, 1.0, 3.0])
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    found = estimate.mean(values)
    assert (found.lo, found.hi) == pytest.approx((expected.low, expected.high))


def test_a_vanishing_skewness_changes_nothing():
    mean, deviation, n = np.array([1.0]), np.array([0.5]), np.array([50])
    symmetric = intervals.skewed_mean(mean, deviation, np.array([0.0]), n)
    for skewness in (1e-9, 1e-6, 1.1e-6, 1e-5):
        nearly = intervals.skewed_mean(mean, deviation, np.array([skewness]), n)
        np.testing.assert_allclose(nearly, symmetric, rtol=1e-5)


def test_the_skewed_mean_follows_the_bootstrap_t_which_knows_no_formula():
    """Studentised resampling corrects the same skewness, by brute force."""
    generator = stream(0, "bootstrap-t").generator()
    values = generator.exponential(size=200)
    drawn = generator.choice(values, size=(20_000, 200))
    t = (drawn.mean(1) - values.mean()) / drawn.std(1, ddof=1)
    upper, lower = np.quantile(t, [0.025, 0.975])
    found = estimate.mean(values)
    width = found.hi - found.lo
    assert found.lo == pytest.approx(values.mean() - lower * values.std(ddof=1), abs=0.04 * width)
    assert found.hi == pytest.approx(values.mean() - upper * values.std(ddof=1), abs=0.04 * width)


def test_paired_differences_are_students_paired_test():
    generator = stream(0, "pairs").generator()
    a = generator.normal(size=40)
    b = a + generator.normal(0.3, 0.5, size=40)
    expected = stats.ttest_rel(a, b).confidence_interval()
    found = estimate.paired_difference(a, b)
    assert (found.lo, found.hi) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(np.mean(a - b))


def test_pairs_of_equal_clusters_count_as_one_each():
    generator = stream(0, "clusters").generator()
    a, b = generator.normal(size=(2, 12, 5))
    expected = stats.ttest_rel(a.mean(1), b.mean(1)).confidence_interval()
    found = estimate.paired_difference(a.ravel(), b.ravel(), np.repeat(np.arange(12), 5))
    assert (found.lo, found.hi, found.n) == pytest.approx((expected.low, expected.high, 12))


def test_a_ratio_over_clusters_varies_as_the_bootstrap_of_clusters_does():
    generator = stream(0, "ratio").generator()
    tokens = generator.integers(5, 48, size=300).astype(float)
    nats = tokens * generator.gamma(4, 0.5, size=300)
    found = estimate.ratio(nats, tokens)
    resampled = stats.bootstrap(
        (nats, tokens),
        lambda x, y, axis: x.sum(axis) / y.sum(axis),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=stream(0, "ratio", "resamples").generator(),
    )
    limits = resampled.confidence_interval
    assert (found.lo, found.hi) == pytest.approx((limits.low, limits.high), abs=0.07 * (found.hi - found.lo))
    assert found.value == pytest.approx(nats.sum() / tokens.sum())


def test_missing_is_not_zero():
    missing = estimate.Estimate(None, None, None, 0, "none: no values")
    nothing = np.array([])
    assert estimate.proportion(0, 0) == missing
    assert estimate.paired_share_gain(0, 0, 0) == missing
    assert estimate.mean(nothing) == missing
    assert estimate.mean(np.array([np.nan])) == missing
    assert estimate.ratio(nothing, nothing) == missing
    assert estimate.ratio(np.zeros(3), np.zeros(3)) == missing
    assert estimate.paired_difference(np.array([np.nan, 1]), np.array([1, np.nan])) == missing


def test_one_value_has_no_interval():
    one = estimate.Estimate(2.0, None, None, 1, "none: one value")
    assert estimate.mean(np.array([2.0, np.nan])) == one
    assert estimate.ratio(np.array([4.0]), np.array([2.0])) == one
    assert estimate.paired_difference(np.array([3.0, 5.0]), np.array([1.0, 3.0]), np.array([7, 7])) == one


def test_infinite_nats_are_infinite_on_average():
    found = estimate.mean(np.array([1.0, np.inf]))
    assert found == estimate.Estimate(np.inf, None, None, 2, "none: infinite values")


def test_constant_values_are_sure():
    found = estimate.mean(np.full(7, 1.5))
    assert (found.lo, found.value, found.hi) == (1.5, 1.5, 1.5)


def test_impossible_counts_are_faults():
    for successes, n in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="0 to n"):
            estimate.proportion(successes, n)
    with pytest.raises(ValueError, match="either side"):
        estimate.paired_difference(np.zeros(3), np.zeros(1))
    with pytest.raises(ValueError, match="cluster"):
        estimate.paired_difference(np.zeros(3), np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="among"):
        estimate.paired_share_gain(2, 2, 3)


def test_groups_at_once_equal_groups_alone():
    successes, n = np.array([0, 3, 7, 0]), np.array([5, 9, 7, 0])
    lo, hi = intervals.wilson(np.divide(successes, np.maximum(n, 1)), n)
    for k in range(3):
        alone = estimate.proportion(int(successes[k]), int(n[k]))
        assert (lo[k], hi[k]) == (alone.lo, alone.hi)
    assert np.isnan([lo[3], hi[3]]).all()


def test_trials_of_a_binomial_variance_are_its_own():
    share, n = np.array([0.2, 0.5, 1.0]), np.array([10.0, 20.0, 30.0])
    trials = intervals.effective_trials(share, share * (1 - share) / n, (n, 10 * n))
    np.testing.assert_allclose(trials, n)
    halved = intervals.effective_trials(share[:2], 2 * share[:2] * (1 - share[:2]) / n[:2], (n[:2], n[:2]))
    np.testing.assert_allclose(halved, n[:2] / 2)
