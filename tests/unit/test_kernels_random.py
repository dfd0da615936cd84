"""Random numbers against NumPy's Philox, exact tables, and uniformity."""

# ruff: noqa: ANN001 - Numba infers types

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emergelab.kernels import random as kernels
from emergelab.kernels.aliases import walker_tables
from emergelab.kernels.compiling import entry
from emergelab.rng import stream

KEY = stream(3, "test").key_array()
words = st.integers(0, 2**64 - 1)


@entry
def draw_below(key, index, bound, out):
    state = np.zeros(kernels.STATE_WORDS, np.uint64)
    kernels.start(state, key, index, 0)
    for i in range(out.shape[0]):
        out[i] = kernels.below(state, bound)


@entry
def draw_many_below(key, index, bound, out):
    state = np.zeros(kernels.STATE_WORDS, np.uint64)
    kernels.start(state, key, index, 0)
    kernels.fill_below(state, bound, out, out.shape[0])


@entry
def draw_units(key, index, out):
    state = np.zeros(kernels.STATE_WORDS, np.uint64)
    kernels.start(state, key, index, 0)
    for i in range(out.shape[0]):
        out[i] = kernels.unit(state)


@entry
def draw_aliased(key, cut, alias, out):
    state = np.zeros(kernels.STATE_WORDS, np.uint64)
    kernels.start(state, key, 0, 0)
    for i in range(out.shape[0]):
        out[i] = kernels.aliased(state, cut, alias, 0, 0, cut.shape[0])


@given(st.tuples(words, words), st.integers(0, 2**62), st.integers(0, 3))
def test_bits_are_those_of_numpys_philox(key: tuple[int, int], index: int, lane: int) -> None:
    words_of_key = np.array(key, dtype=np.uint64)
    out = np.zeros(70, dtype=np.uint32)
    kernels.fill_bits(words_of_key, index, lane, out)
    philox = np.random.Philox(key=words_of_key, counter=np.array([0, index, lane, 0], dtype=np.uint64))
    expected = philox.random_raw(35)
    np.testing.assert_array_equal(out[0::2], expected & 0xFFFFFFFF)
    np.testing.assert_array_equal(out[1::2], expected >> 32)


@pytest.mark.parametrize("bound", [2, 3, 7, 12, 1000, 65_535])
@pytest.mark.parametrize("draw", [draw_below, draw_many_below])
def test_whole_numbers_are_uniform(draw, bound: int) -> None:
    out = np.full(200_000, -1, dtype=np.int32)
    draw(KEY, 5, bound, out)
    assert out.min() >= 0
    assert out.max() < bound
    counts = np.bincount(out * np.int64(min(bound, 50)) // bound, minlength=min(bound, 50))
    cells = np.bincount(np.arange(bound) * min(bound, 50) // bound, minlength=min(bound, 50))
    assert stats.chisquare(counts, 200_000 * cells / bound).pvalue > 1e-4


@pytest.mark.parametrize("draw", [draw_below, draw_many_below])
def test_below_1_there_is_only_0(draw) -> None:
    out = np.full(100, -1, dtype=np.int32)
    draw(KEY, 5, 1, out)
    assert not out.any()


def test_whole_numbers_below_two_to_the_32_are_the_bits_themselves() -> None:
    numbers, bits = np.zeros(50, dtype=np.int64), np.zeros(50, dtype=np.uint32)
    draw_below(KEY, 1, 1 << 32, numbers)
    kernels.fill_bits(KEY, 1, 0, bits)
    np.testing.assert_array_equal(numbers, bits)


def test_a_rejected_number_is_drawn_again() -> None:
    # Of 2^32 values 2^32 mod n are rejected for the bound n: just under half of them for 2^31 + 1.
    bound = (1 << 31) + 1
    numbers, bits = np.zeros(1000, dtype=np.int64), np.zeros(4000, dtype=np.uint32)
    draw_below(KEY, 2, bound, numbers)
    kernels.fill_bits(KEY, 2, 0, bits)
    products = [int(bit) * bound for bit in bits]
    kept = [product >> 32 for product in products if product & 0xFFFFFFFF >= (1 << 32) % bound]
    np.testing.assert_array_equal(numbers, kept[:1000])


@pytest.mark.parametrize("bound", [12, 40_000, 65_535])
def test_many_whole_numbers_reject_what_would_bend_them(bound: int) -> None:
    # Of 2^16 values 2^16 mod n are rejected: 25,536 for the bound 40,000. 16 bits make a number, low ones first.
    numbers, bits = np.zeros(1000, dtype=np.int32), np.zeros(4000, dtype=np.uint32)
    draw_many_below(KEY, 2, bound, numbers)
    kernels.fill_bits(KEY, 2, 0, bits)
    products = [int(half) * bound for half in bits.view(np.uint16)]
    kept = [product >> 16 for product in products if product & 0xFFFF >= (1 << 16) % bound]
    np.testing.assert_array_equal(numbers, kept[:1000])


def test_units_are_uniform_above_0_and_up_to_1() -> None:
    out = np.zeros(100_000)
    draw_units(KEY, 9, out)
    assert out.min() > 0
    assert out.max() <= 1
    assert stats.kstest(out, "uniform").pvalue > 1e-4
    np.testing.assert_array_equal(out * 2.0**53, np.round(out * 2.0**53))


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=200))
def test_walkers_tables_imply_the_weights(weights: list[float]) -> None:
    cut, alias = walker_tables(np.array(weights))
    n = len(weights)
    assert cut.min() >= 0
    implied = cut / n
    np.add.at(implied, alias, (1 - cut) / n)
    np.testing.assert_allclose(implied, np.array(weights) / sum(weights), atol=1e-12, rtol=0)


def test_walkers_tables_are_drawn_from_by_weight() -> None:
    weights = np.array([1.0, 5.0, 0.25, 2.0, 2.0])
    cut, alias = walker_tables(weights)
    out = np.zeros(100_000, dtype=np.int64)
    draw_aliased(KEY, cut, alias, out)
    counts = np.bincount(out, minlength=5)
    assert stats.chisquare(counts, 100_000 * weights / weights.sum()).pvalue > 1e-4


def test_permuted_is_a_bijection() -> None:
    for size in range(1, 301):
        images = [kernels.permuted(i, size, KEY) for i in range(size)]
        assert sorted(images) == list(range(size))


def test_permuted_depends_on_both_words_of_the_key() -> None:
    keys = [np.array(words_of_key, dtype=np.uint64) for words_of_key in ((1, 2), (1, 3), (4, 2))]
    orders = {tuple(kernels.permuted(i, 100, key) for i in range(100)) for key in keys}
    assert len(orders) == 3


def test_permuted_sends_every_number_everywhere() -> None:
    images = np.array(
        [[kernels.permuted(i, 6, stream(k).key_array()) for i in range(6)] for k in range(3000)]
    )
    for column in images.T:
        assert stats.chisquare(np.bincount(column, minlength=6)).pvalue > 1e-4
