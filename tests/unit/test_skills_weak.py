"""Shares of weak skills: against enumeration, integration by SciPy, and simulated truth."""

from __future__ import annotations

from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from emergelab.analysis import estimate
from emergelab.analysis.estimate import Estimate
from emergelab.analysis.skills import weak
from emergelab.analysis.skills.competence import competence
from emergelab.analysis.skills.pieces import pieces_of
from emergelab.analysis.skills.weak import CORRECTED, RAW, WeakShare, weak_share, weak_shares
from emergelab.rng import stream
from outcome_rows import outcomes, row_of


def _ends(found: Estimate) -> tuple[float, float, float]:
    """Return the value and the interval of an estimate that has one."""
    assert found.value is not None
    assert found.lo is not None
    assert found.hi is not None
    return found.value, found.lo, found.hi


def _raw(found: WeakShare) -> float:
    assert found.raw.value is not None
    return found.raw.value


def _posterior(failed: np.ndarray, asked: np.ndarray, threshold: float) -> float:
    """Return the mean share above the threshold by SciPy's adaptive integration over mean and spread."""

    def weight(mean: float, spread: float) -> np.ndarray:
        a, b = mean / spread**2, (1 - mean) / spread**2
        likely = np.prod(stats.betabinom.pmf(failed, asked, a, b))
        above = stats.beta.sf(threshold, a + failed, b + asked - failed).mean()
        return likely * np.array([1.0, above])

    lows = (weak.MEANS[0], weak.SPREADS[0])
    highs = (weak.MEANS[-1], weak.SPREADS[-1])
    parts = [
        integrate.dblquad(
            lambda s, m, i=i: weight(m, s)[i], lows[0], highs[0], lows[1], highs[1], epsrel=1e-4
        )[0]
        for i in range(2)
    ]
    return parts[1] / parts[0]


@pytest.mark.parametrize(
    ("failed", "asked"),
    [
        ([0, 1, 5, 7, 2], [10, 8, 9, 7, 12]),
        pytest.param([0, 0], [2, 3], marks=pytest.mark.slow),
        pytest.param([1, 2, 0], [4, 4, 4], marks=pytest.mark.slow),
    ],
)
def test_the_mean_is_that_of_the_hierarchical_model(failed: list[int], asked: list[int]):
    counts, pieces = np.array(failed), np.array(asked)
    found = weak_share(counts / pieces, pieces.astype(float), [0.3])[0]
    assert found.corrected.value == pytest.approx(_posterior(counts, pieces, 0.3), abs=0.01)


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5), min_size=1, max_size=3),
)
def test_the_number_of_weak_ones_is_a_mixture_of_sums_of_trials(shares: list[list[float]]):
    above = np.array(shares)
    weights = np.full(len(shares), 1 / len(shares))
    known = np.zeros(6)
    for outcome in product((0, 1), repeat=5):
        chance = np.where(np.array(outcome) == 1, above, 1 - above).prod(axis=1)
        known[sum(outcome)] += weights @ chance
    np.testing.assert_allclose(weak.number_above(above, weights), known, atol=1e-12)


def test_many_units_are_nearly_normal(monkeypatch: pytest.MonkeyPatch):
    above = stream(0, "above").generator().random((3, 300))
    weights = np.array([0.5, 0.3, 0.2])
    exact = weak.number_above(above, weights)
    monkeypatch.setattr(weak, "MOST_EXACT", 10)
    np.testing.assert_allclose(np.cumsum(weak.number_above(above, weights)), np.cumsum(exact), atol=2e-3)


def test_without_noise_the_correction_is_nothing():
    failure = np.linspace(0.05, 0.95, 19)
    found = weak_share(failure, np.full(19, 1e6), [0.52])[0]
    assert found.raw.value == pytest.approx(9 / 19)
    assert (found.corrected.value, found.corrected.lo, found.corrected.hi) == pytest.approx((9 / 19,) * 3)
    assert (found.raw.method, found.corrected.method, found.corrected.n) == (RAW, CORRECTED, 19)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=1, max_size=12))
def test_shares_are_shares_and_fall_with_the_threshold(drawn: list[tuple[int, int]]):
    asked = np.array([float(max(pair)) for pair in drawn])
    failure = np.array([float(min(pair)) for pair in drawn]) / asked
    found = weak_share(failure, asked, [0.0, 0.3, 0.6, 1.0])
    ends = [_ends(one.corrected) for one in found]
    values = [value for value, _, _ in ends]
    assert values == sorted(values, reverse=True)
    assert all(0 <= lo <= value <= hi <= 1 for value, lo, hi in ends)
    assert values[-1] == pytest.approx(0)


def test_alike_skills_with_few_pieces_are_not_half_weak():
    generator = stream(3, "alike").generator()
    asked = np.full(60, 8.0)
    failure = generator.binomial(8, 0.3, 60) / asked
    found = weak_share(failure, asked, [0.45])[0]
    assert _raw(found) > 0.1  # P(X >= 4) = .19 though none is
    assert _ends(found.corrected)[0] < 0.5 * _raw(found)


def test_missing_failures_are_left_out():
    found = weak_share(np.array([np.nan, 0.9]), np.array([5.0, 1e6]), [0.5])[0]
    assert (found.raw.value, found.raw.n) == (1.0, 1)
    nothing = weak_share(np.array([np.nan]), np.array([np.nan]), [0.5])[0]
    assert (nothing.raw.value, nothing.corrected.value, nothing.raw.method) == (
        None,
        None,
        estimate.NO_VALUES,
    )


def test_shares_of_cells_are_those_of_their_skills():
    answers = [
        ("s", "1", skill, skill, str(i), i < right)
        for skill, right in (("f", 30), ("g", 5), ("h", 0))
        for i in range(40)
    ]
    found = competence(pieces_of(outcomes(answers)), "skill")
    limits = pl.DataFrame(
        {"system": "s", "checkpoint": "1", "limit": ["half", "most"], "threshold": [0.5, 0.95]}
    )
    shares = weak_shares(found, limits)
    half, most = (row_of(shares, limit=name) for name in ("half", "most"))
    assert (half["raw"], half["n"]) == (pytest.approx(2 / 3), 3)
    assert most["raw"] == pytest.approx(1 / 3)
    direct = weak_share(found["failure"].to_numpy(), found["failure_trials"].to_numpy(), [0.5])[0]
    assert half["corrected"] == pytest.approx(direct.corrected.value)


@pytest.mark.parametrize(
    ("a", "b", "units", "pieces", "threshold"),
    [(2.0, 6.0, 30, 8, 0.5), (0.3, 0.5, 40, 10, 0.5), (5.0, 20.0, 60, 5, 0.4), (30.0, 70.0, 30, 10, 0.4)],
)
def test_intervals_cover_the_true_share(a: float, b: float, units: int, pieces: int, threshold: float):
    generator = stream(7, "coverage", units, pieces).generator()
    covered: list[bool] = []
    errors: list[tuple[float, float]] = []
    for _ in range(60):
        failure = generator.beta(a, b, units)
        asked = np.maximum(1, generator.poisson(pieces, units))
        found = weak_share(generator.binomial(asked, failure) / asked, asked.astype(float), [threshold])[0]
        true = float(np.mean(failure > threshold))
        value, lo, hi = _ends(found.corrected)
        covered.append(lo - 1e-9 <= true <= hi + 1e-9)
        errors.append((_raw(found) - true, value - true))
    assert np.mean(covered) >= 0.88  # three standard errors below .95
    raw, corrected = np.sqrt(np.mean(np.square(np.array(errors)), axis=0))
    assert corrected < raw
