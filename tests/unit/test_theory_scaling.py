"""Scaling laws: published constants, optimum by brute force, inverses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from emergelab.theory.scaling import (
    LINKS,
    PUBLISHED,
    ScalingLaw,
    allowed_excess,
    compute_of,
    failing_share,
    slingshot,
)

laws = st.builds(
    ScalingLaw,
    E=st.floats(0.5, 3),
    A=st.floats(10, 2000),
    B=st.floats(10, 5000),
    a=st.floats(0.15, 0.8),
    b=st.floats(0.15, 0.8),
)
budgets = st.floats(16, 26).map(lambda power: 10.0**power)


@pytest.mark.parametrize(("name", "both", "optimum"), [("hoffmann", 2.02, 1.42), ("besiroglu", 2.27, 1.51)])
def test_published_laws_divide_the_excess_as_the_literature_says(name: str, both: float, optimum: float):
    law = PUBLISHED[name]
    steps = {step.name: step for step in slingshot(law, *law.optimum(5.76e23), 10)}
    assert steps["params and tokens"].divided_by == pytest.approx(both, abs=0.005)
    assert steps["compute, optimum to optimum"].divided_by == pytest.approx(optimum, abs=0.005)


@given(laws, budgets)
def test_the_optimum_is_that_of_a_search(law: ScalingLaw, compute: float):
    params, tokens = law.optimum(compute)
    assert compute_of(params, tokens) == pytest.approx(compute)
    found = minimize_scalar(
        lambda log_n: law.loss(np.exp(log_n), compute / 6 / np.exp(log_n)),
        bounds=(np.log(params) - 3, np.log(params) + 3),
        method="bounded",
    )
    assert law.loss(params, tokens) <= found.fun * (1 + 1e-12)


@given(laws, budgets)
def test_compute_for_an_excess_turns_the_optimum_round(law: ScalingLaw, compute: float):
    assert law.compute_for(float(law.excess(*law.optimum(compute)))) == pytest.approx(compute, rel=1e-8)


@given(st.sampled_from(LINKS), st.floats(1e-6, 0.4))
def test_links_turn_round(link: str, failing: float):
    assert failing_share(allowed_excess(failing, link), link) == pytest.approx(failing)  # pyright: ignore[reportArgumentType]


def test_pinsker_is_twice_the_bound_on_total_variation():
    """Two Bernoulli laws: their total variation is at most √(KL/2), which half of θ bounds."""
    p, q = 0.3, 0.42
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert 2 * abs(p - q) <= failing_share(divergence, "pinsker")
    assert failing_share(9.0, "pinsker") == 1
