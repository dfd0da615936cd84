"""Order and shift of composites and parts: against SciPy, closed forms, and systems whose shift is known."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import isotonic_regression

from emergelab.analysis.skills.emerging import emerging
from emergelab.analysis.skills.order import AFTER, BEFORE, ORDER, UNDECIDED, Order, order, sign_test
from emergelab.analysis.skills.panels import panels
from emergelab.analysis.skills.shifts import (
    LATEST,
    MEAN,
    NO_LEVELS,
    TOO_FEW,
    Crossings,
    compute_factor,
    crossings,
    implied_tuples,
    isotonic,
    shifts,
    token_factor,
)
from emergelab.rng import stream
from emergelab.theory.scaling import PUBLISHED
from outcome_rows import row_of
from training_courses import Course, flat, rising, trained

ROOT = stream(0, "skills")
TWENTY = np.geomspace(1e9, 1e12, 20).round().tolist()
LAWS = list(PUBLISHED.values())


def courses(later: float, *, second: float = 0.2) -> dict[str, Course]:
    """Return two skills and their composite: f rises at 3e10 tokens, g earlier, the composite `later` times f's."""
    return {
        "f": Course(("f",), rising(3e10, top=1.0)),
        "g": Course(("g",), rising(second * 3e10, top=1.0)),
        "fg": Course(("f", "g"), rising(later * 3e10, top=1.0)),
    }


def order_of(frame: pl.DataFrame) -> Order:
    given = panels(frame)
    return order(given, emerging(given, ROOT, simulations=19))


# Order


@pytest.mark.parametrize(("later", "told"), [(8.0, AFTER), (1.0, UNDECIDED), (1 / 8, BEFORE)])
def test_composites_are_after_or_before_where_intervals_do_not_overlap(later: float, told: str):
    row = row_of(order_of(trained(courses(later), TWENTY)).rows, axis="tokens")
    assert row["order"] == told
    assert (row["parts"], row["latest"]) == (["f", "g"], "f")
    assert row["part_threshold_lo"] <= 3e10 <= row["part_threshold_hi"]
    assert row["composite_threshold_lo"] <= later * 3e10 <= row["composite_threshold_hi"]


def test_a_composite_that_is_never_acquired_is_after_parts_that_are():
    never = courses(1.0) | {"fg": Course(("f", "g"), flat(0.05))}
    row = row_of(order_of(trained(never, TWENTY)).rows, axis="tokens")
    assert row["order"] == AFTER
    assert row["composite_threshold_hi"] is None


def test_along_loss_less_is_later():
    frame = trained(courses(8.0), TWENTY)
    own = frame.with_columns(loss=6 - pl.col("train_tokens").cast(pl.Float64).log10() / 4)
    row = row_of(order_of(own).rows, axis="loss")
    assert row["order"] == AFTER
    assert row["composite_threshold"] < row["part_threshold"]


def test_composites_with_a_part_that_was_never_alone_are_named():
    found = order_of(trained({name: one for name, one in courses(2.0).items() if name != "g"}, TWENTY))
    assert found.rows.is_empty()
    assert found.unmeasured == {"g": ("fg of s",)}
    assert found.tests["tokens"].p is None


def test_the_sign_test_gives_each_composite_one_vote():
    votes = [
        ("a", AFTER),
        ("a", AFTER),
        ("b", AFTER),
        ("c", AFTER),
        ("c", BEFORE),
        ("d", UNDECIDED),
        ("e", BEFORE),
    ]
    empty = dict.fromkeys(ORDER)
    rows = pl.DataFrame([empty | {"composite": name, "order": told} for name, told in votes], schema=ORDER)
    found = sign_test(rows)
    assert (found.after, found.before) == (2, 1)
    assert (found.pairs_after, found.pairs_before, found.pairs_undecided) == (4, 2, 1)
    assert found.p == pytest.approx(1.0)  # 2 of 3: min(1, 2 (C(3, 2) + 1) / 8)
    five = pl.DataFrame([empty | {"composite": name, "order": AFTER} for name in "abcde"], schema=ORDER)
    assert sign_test(five).p == pytest.approx(2 / 32)


# Isotonic curves and where they cross


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.floats(0, 1)))
def test_isotonic_curves_are_scipys(values: np.ndarray):
    expected = [isotonic_regression(row).x for row in values]
    np.testing.assert_allclose(isotonic(values), expected, atol=1e-12)


def test_crossings_of_a_line_are_interpolated_between_neighbours():
    u = np.array([0.0, 1.0, 3.0])
    found = crossings(u, np.array([[0.2, 0.4, 0.8]]), np.array([0.1, 0.2, 0.3, 0.5, 0.8, 0.9]))
    np.testing.assert_allclose(found.lo[0], [-np.inf, -np.inf, 0, 1, 1, 3])
    np.testing.assert_allclose(found.middle[0], [-np.inf, -np.inf, 0.5, 1.5, 3, np.inf])
    np.testing.assert_allclose(found.hi[0], [0, 0, 1, 3, 3, np.inf])


def test_the_latest_and_the_mean_of_parts():
    one, two = (
        crossings(np.array([0.0, 1.0]), np.array([curve]), np.array([0.5]))
        for curve in ([0, 1.0], [0.4, 0.6])
    )
    early = crossings(np.array([0.0, 1.0]), np.array([[0.9, 1.0]]), np.array([0.5]))
    assert Crossings.latest([one, early]).middle[0, 0] == one.middle[0, 0]
    assert Crossings.mean([one, two]).middle[0, 0] == pytest.approx(0.5)
    assert np.isnan(Crossings.mean([one, early]).middle[0, 0])


# Shifts


def test_a_known_shift_is_found_in_tokens_and_in_loss():
    held = 0
    for seed in range(10):
        frame = trained(courses(3.0), TWENTY, seed=seed)
        own = frame.with_columns(loss=6 - pl.col("train_tokens").cast(pl.Float64).log() / 10)
        found = shifts(panels(own), ROOT, draws=200).rows
        tokens, nats = (row_of(found, axis=axis, against=LATEST) for axis in ("tokens", "loss"))
        held += tokens["shift_lo"] <= math.log(3) <= tokens["shift_hi"]
        assert nats["shift"] == pytest.approx(math.log(3) / 10, abs=0.05)
        assert tokens["factor"] == pytest.approx(math.exp(tokens["shift"]))
        assert tokens["least"] <= tokens["shift"] <= tokens["most"]
        assert 0 < tokens["at_least"] < math.log(3) + 0.1
        assert nats["factor"] is None
    assert held >= 8  # of 10 at 95 %: fewer by chance in 1 of 90


def test_no_shift_is_told_from_none():
    row = row_of(shifts(panels(trained(courses(1.0), TWENTY)), ROOT).rows, axis="tokens", against=LATEST)
    assert row["shift_lo"] < 0 < row["shift_hi"]
    assert row["at_least"] is None


def test_the_mean_of_parts_lies_half_way_between_them():
    frame = trained(courses(3.0, second=1 / 3), TWENTY, items=1000)
    found = shifts(panels(frame), ROOT).rows
    latest, mean = (row_of(found, axis="tokens", against=against)["shift"] for against in (LATEST, MEAN))
    assert mean - latest == pytest.approx(math.log(3) / 2, abs=0.15)


def test_levels_crossed_in_a_wide_gap_say_nothing():
    gap = [1e9, 2e9, 2e12, 4e12]
    row = row_of(shifts(panels(trained(courses(2.0), gap)), ROOT).rows, axis="tokens", against=LATEST)
    assert row["shift"] is None
    assert row["method"] == NO_LEVELS


def test_a_tuple_that_never_gets_there_lags_by_what_was_measured():
    never = courses(1.0) | {"fg": Course(("f", "g"), flat(0.05))}
    row = row_of(shifts(panels(trained(never, TWENTY)), ROOT).rows, axis="tokens", against=LATEST)
    assert row["at_least"] == pytest.approx(math.log(1e12 / 3e10), abs=0.8)


@pytest.mark.parametrize("count", [1, 2])
def test_few_checkpoints_have_no_shift(count: int):
    found = shifts(panels(trained(courses(2.0), TWENTY[:count])), ROOT).rows
    assert found["method"].unique().to_list() == [TOO_FEW]
    assert found["shift"].null_count() == found.height


def test_shifts_do_not_depend_on_other_composites():
    both = courses(3.0) | {"gf": Course(("g", "f"), rising(1e11))}
    frame = trained(both, TWENTY)
    one, all_of_them = (
        row_of(shifts(panels(part), ROOT).rows, composite="fg", axis="tokens", against=LATEST)
        for part in (frame.filter(pl.col("task") != "gf"), frame)
    )
    assert one == all_of_them


# The theory beside them


@pytest.mark.parametrize("law", LAWS)
def test_the_factor_of_tokens_divides_the_excess(law):  # noqa: ANN001 - a law of the theory
    params, tokens = 1e13, 1e9
    factor = token_factor(law, (params, tokens), 2)
    assert law.excess(params, tokens) / law.excess(params, tokens * factor) == pytest.approx(2)
    seen = implied_tuples(law, params, (np.array([[tokens]]), np.array([[tokens * factor]])))
    assert seen == pytest.approx([2.0])


@pytest.mark.parametrize("law", LAWS)
def test_no_tokens_make_up_for_a_model_too_small(law):  # noqa: ANN001
    assert token_factor(law, (1e6, 1e13), 3) is None


@pytest.mark.parametrize("law", LAWS)
def test_the_factor_of_compute_is_that_of_the_optimum(law):  # noqa: ANN001
    assert law.compute_for(0.1 / 3) / law.compute_for(0.1) == pytest.approx(compute_factor(law, 3))
