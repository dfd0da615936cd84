"""Forecasts of courses over training: closed forms, coverage on simulated futures, and when nothing is said."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from emergelab.analysis.skills import ahead as module
from emergelab.analysis.skills.ahead import AHEAD, CHECKS, ENOUGH, FACTORS, HELD, LAST, POWER, ahead
from emergelab.analysis.skills.panels import panels
from emergelab.rng import stream
from outcome_rows import row_of, rows_of
from training_courses import Course, flat, rising, trained

SIXTEEN = np.geomspace(1e9, 1e12, 16).round().tolist()


def of_error(power: float) -> Course:
    """Return a skill whose error is a power law in tokens, .8 at 1e9."""
    return Course(("f",), lambda u: 1 - 0.8 * np.exp(-power * (u - np.log(1e9))))


def many(count: int, power: float = 0.25) -> dict[str, Course]:
    return {
        f"t{place}": Course((f"f{place}",), of_error(power * (0.7 + 0.6 * place / count)).rate)
        for place in range(count)
    }


def test_power_laws_of_the_error_are_carried_on():
    found = ahead(panels(trained(many(8), SIXTEEN, items=2000)))
    rows = rows_of(found.rows, kind="skill", metric="accuracy", factor=4.0)
    assert {row["method"] for row in rows} == {POWER}
    for row in rows:
        place = int(row["name"].removeprefix("f"))
        truth = float(of_error(0.25 * (0.7 + 0.6 * place / 8)).rate(np.log(np.array([4e12])))[0])
        assert row["value"] == pytest.approx(truth, abs=0.03)
        assert row["lo"] <= truth <= row["hi"]
        assert row["train_tokens"] == 4e12
        assert row["flops"] == 6 * 1e9 * 4e12


def test_courses_that_do_not_change_stay_where_they_are():
    courses = {f"t{place}": Course((f"f{place}",), flat(0.1 + 0.1 * place)) for place in range(8)}
    found = ahead(panels(trained(courses, SIXTEEN, items=1000)))
    for row in rows_of(found.rows, kind="skill", metric="accuracy"):
        assert row["known"]
        assert row["value"] == pytest.approx(row["now"], abs=0.05)
        assert row["lo"] <= 0.1 + 0.1 * int(row["name"].removeprefix("f")) <= row["hi"]


def test_forecasts_hold_the_future_as_often_as_they_say():
    """Courses drift at random in the logit; the first twelve checkpoints are known, the rest is the future."""
    inside: list[bool] = []
    for seed in range(2):
        generator = stream(seed, "drift").generator()
        tokens = np.geomspace(1e9, 1e9 * 2**15, 16).round()
        logits = generator.normal(size=(25, 1)) + np.cumsum(0.25 * generator.normal(size=(25, 16)), axis=1)
        u_known = np.log(tokens)
        courses = {
            f"t{place}": Course((f"f{place}",), lambda u, at=u_known, row=row: expit(np.interp(u, at, row)))
            for place, row in enumerate(logits)
        }
        whole = trained(courses, tokens.tolist(), items=500, seed=seed)
        past = whole.filter(pl.col("train_tokens") <= tokens[11])
        later = whole.group_by("task", "train_tokens").agg(pl.col("correct").mean())
        came = {(task, round(at)): share for task, at, share in later.iter_rows()}
        for row in rows_of(ahead(panels(past)).rows, kind="skill", metric="accuracy", known=True):
            if row["factor"] <= 4:
                share = came[
                    "t" + row["name"].removeprefix("f"), round(tokens[11 + int(np.log2(row["factor"]))])
                ]
                inside.append(row["lo"] <= share <= row["hi"])
    assert len(inside) == 100
    assert 0.8 <= np.mean(inside) <= 0.99


def test_a_past_that_breaks_its_forecasts_forbids_more():
    """Accuracy stands still for long, then all skills rise at once, twice."""
    steps = lambda u: 0.05 + 0.4 * (u > np.log(3e10)) + 0.5 * (u > np.log(5e11))  # noqa: E731
    courses = {f"t{place}": Course((f"f{place}",), steps) for place in range(10)}
    found = ahead(panels(trained(courses, SIXTEEN, items=500)))
    check = row_of(found.checks, metric="accuracy", factor=4.0, kind="all")
    assert check["held"] < HELD
    for row in rows_of(found.rows, metric="accuracy", factor=4.0):
        assert not row["known"]
        assert row["value"] is None
        assert "held only" in row["reason"]


def test_nothing_is_said_farther_ahead_than_the_past_reaches():
    near = np.linspace(1e12, 2e12, 12).round().tolist()
    found = ahead(panels(trained(many(4), near, items=100)))
    ten = rows_of(found.rows, factor=10.0)
    assert not any(row["known"] for row in ten)
    assert {row["reason"] for row in ten} == {"no forecast of its past reaches as far"}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_checkpoints_have_no_forecast(count: int):
    found = ahead(panels(trained(many(3), SIXTEEN[:count], items=50)))
    assert found.rows.schema == AHEAD
    assert found.checks.schema == CHECKS
    assert not found.rows["known"].any()
    assert found.checks["n"].max() < ENOUGH


def test_no_training_at_all_is_no_course():
    assert ahead(panels(trained(many(3), [0], items=50))).rows.is_empty()


def test_the_checkpoint_before_training_is_not_forecast_from():
    courses = many(4)
    whole = trained(courses, [0, *SIXTEEN], items=200)
    without = whole.filter(pl.col("train_tokens") > 0)
    one, other = (ahead(panels(frame)).rows for frame in (whole, without))
    assert one.equals(other)


def test_of_checkpoints_at_one_place_the_last_is_taken():
    courses = many(4)
    whole = trained(courses, [*SIXTEEN[:8], SIXTEEN[7], *SIXTEEN[8:]], items=200)
    without = whole.filter(pl.col("checkpoint") != "at 7")
    one, other = (ahead(panels(frame)).rows.filter(pl.col("metric") == "nats") for frame in (whole, without))
    assert one.equals(other)
    assert ahead(panels(whole.with_columns(train_tokens=pl.lit(10**10, pl.Int64)))).rows["known"].sum() == 0


def test_a_back_test_learns_from_the_past_alone():
    """What comes behind a checkpoint changes nothing that was forecast at it, nor the rule."""
    generator = stream(3, "past").generator()
    frame = trained(many(6), SIXTEEN, items=200)
    (system,) = panels(frame).systems
    series = module._series(system, "accuracy")
    assert series is not None
    told = {cut: module._forecasts(series, cut, series.tokens[cut:]) for cut in module._cuts(series)}
    changed = module._Series(series.system, series.metric, series.panels, series.tokens, series.values.copy())
    changed.values[:, 10:] = generator.random(changed.values[:, 10:].shape)
    again = {cut: module._forecasts(changed, cut, changed.tokens[cut:]) for cut in module._cuts(changed)}
    assert module._rule(series, told, until=10) == module._rule(changed, again, until=10)
    np.testing.assert_array_equal(told[9].values[POWER], again[9].values[POWER])


def test_the_last_value_is_kept_unless_another_is_clearly_better():
    courses = {f"t{place}": Course((f"f{place}",), flat(0.5)) for place in range(6)}
    (system,) = panels(trained(courses, SIXTEEN, items=3000)).systems
    series = module._series(system, "nats")
    assert series is not None
    told = {cut: module._forecasts(series, cut, series.tokens[cut:]) for cut in module._cuts(series)}
    rule = module._rule(series, told, until=16)
    assert rule is not None
    assert rule.method == LAST


def test_many_checkpoints_are_tried_at_some():
    (system,) = panels(
        trained({"t": Course(("f",), rising(1e10))}, np.geomspace(1e9, 1e12, 60).round().tolist(), items=20)
    ).systems
    series = module._series(system, "accuracy")
    assert series is not None
    cuts = module._cuts(series)
    assert len(cuts) <= 12
    assert cuts == sorted(set(cuts))
    assert (cuts[0], cuts[-1]) == (4, 59)


def test_every_factor_has_a_row_and_a_check():
    found = ahead(panels(trained(many(3), SIXTEEN, items=50)))
    for kind in ("all", "k", "skill"):
        checks = found.checks.filter((pl.col("metric") == "nats") & (pl.col("kind") == kind))
        assert sorted(checks["factor"]) == list(FACTORS)
    assert found.rows.group_by("kind", "name", "metric").len()["len"].unique().to_list() == [len(FACTORS)]


def test_a_curve_that_the_first_checkpoints_bend_is_moved_to_the_last_values():
    """Accuracy leaps once, early, and stays: no method may carry the leap on from elsewhere than the level reached."""
    leap = {
        f"t{place}": Course((f"f{place}",), lambda u: 0.05 + 0.5 * (u > np.log(1.2e9))) for place in range(3)
    }
    (system,) = panels(trained(leap, SIXTEEN, items=4000)).systems
    series = module._series(system, "accuracy")
    assert series is not None
    told = module._forecasts(series, 16, series.tokens[-1:])
    for values in told.values.values():
        np.testing.assert_allclose(values[:, 0], 0.55, atol=0.02)
