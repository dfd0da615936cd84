"""Spearman's rank correlation is SciPy's, and its interval covers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emergelab.analysis import ranks

NUMBERS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=5, max_size=20)


@given(NUMBERS)
def test_the_value_is_scipys_with_ties(pairs: list[tuple[int, int]]):
    first, second = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    found = ranks.spearman(first, second)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert (found.value, found.method) == (None, ranks.ALL_EQUAL)
        return
    assert found.value == pytest.approx(stats.spearmanr(first, second)[0], abs=1e-12)
    assert found.n == len(pairs)


def test_infinite_values_rank_highest():
    found = ranks.spearman(np.arange(6.0), np.array([1, 0, 2, 3, math.inf, math.inf]))
    assert found.value == pytest.approx(stats.spearmanr(range(6), [1, 0, 2, 3, 9, 9])[0])


def test_too_few_pairs_have_no_value_and_perfect_agreement_no_interval():
    few = ranks.spearman(np.arange(4.0), np.arange(4.0))
    assert (few.value, few.lo, few.hi, few.method) == (None, None, None, ranks.TOO_FEW)
    for sign in (1.0, -1.0):
        found = ranks.spearman(np.arange(5.0), sign * np.arange(5.0))
        assert (found.value, found.lo, found.hi, found.method) == (sign, None, None, ranks.ALL_AGREE)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_the_interval_covers_in_normal_samples(correlation: float):
    # Spearman's correlation of a normal pair is (6/pi) arcsin(r/2).
    truth, rng = 6 / math.pi * math.asin(correlation / 2), np.random.default_rng(3)
    covered = 0
    for _ in range(1_000):
        first = rng.standard_normal(30)
        second = correlation * first + math.sqrt(1 - correlation**2) * rng.standard_normal(30)
        found = ranks.spearman(first, second)
        assert found.lo is not None
        assert found.hi is not None
        covered += found.lo < truth < found.hi
    assert 0.93 <= covered / 1_000 <= 0.975
