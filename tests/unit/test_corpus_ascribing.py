"""Objects ascribed to functions: by trying every way of ascribing them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from emergelab.corpus.ascribing import Ascriptions

FUNCTIONS = [
    ((1.0, True),),
    ((1.0, False),),
    ((0.5, True), (0.5, True)),
    ((0.3, True), (0.7, False)),
    ((0.2, True), (0.3, True), (0.5, True)),
    ((0.2, True), (0.3, True), (0.1, False), (0.4, False)),
]


def joint(functions: tuple[tuple[float, bool], ...], objects: int, values: tuple[int, ...]) -> float:
    """Return the probability that these values are printed for as many different arguments."""
    total = 0.0
    for taken in itertools.product(range(len(functions)), repeat=len(values)):
        weight = math.prod(functions[number][0] for number in taken)
        for number, (_, is_permutation) in enumerate(functions):
            own = [value for value, by in zip(values, taken, strict=True) if by == number]
            if not is_permutation:
                weight /= objects ** len(own)
            elif len(set(own)) < len(own):
                weight = 0.0
            else:
                weight /= math.perm(objects, len(own))
        total += weight
    return total


@pytest.mark.parametrize("functions", FUNCTIONS)
@pytest.mark.parametrize("values", [(), (0,), (0, 1), (0, 0), (0, 1, 2, 3), (0, 0, 1, 2), (0, 0, 1, 1)])
def test_the_next_object_is_as_likely_as_all_ascriptions_make_it(
    functions: tuple[tuple[float, bool], ...], values: tuple[int, ...]
) -> None:
    objects = 5
    so_far = joint(functions, objects, values)
    if so_far == 0:
        pytest.skip("cannot be printed")
    times = [values.count(value) for value in range(objects)]
    numbers = np.array([[times.count(count) for count in range(1, 6)]] * objects)
    found = Ascriptions(functions, objects).probabilities(numbers, np.array(times))
    expected = [joint(functions, objects, (*values, value)) / so_far for value in range(objects)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.sum() == pytest.approx(1)


def test_weights_need_not_sum_to_one_and_long_prompts_do_not_overflow() -> None:
    halves = Ascriptions(((0.25, True), (0.25, True)), 1000)
    numbers = np.zeros((1, 300), dtype=np.int64)
    numbers[0, 0] = 300
    (found,) = halves.probabilities(numbers, np.array([0]))
    # Each of the two has printed about 150 of the 300 objects.
    assert found == pytest.approx(1 / 850, rel=0.01)
