"""Courses of systems over training: known thresholds, verdicts, panels; against brute force and simulations."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from emergelab.analysis.emergence.curves import Scale
from emergelab.analysis.estimate import Estimate
from emergelab.analysis.skills import emerging as module
from emergelab.analysis.skills.emerging import (
    ALWAYS,
    AT_ONCE,
    EMERGING,
    NEVER,
    NOT_REACHED,
    SHORT,
    SILENT,
    UNKNOWN,
    WITHIN,
    Emerging,
    across_systems,
    crossed,
    emerging,
)
from emergelab.analysis.skills.panels import (
    LOSS,
    OWN_LOSS,
    STAND_IN,
    TOKENS,
    Panels,
    on_axis,
    panels,
    stand_in_loss,
)
from emergelab.rng import stream
from outcome_rows import outcomes, row_of
from training_courses import Course, flat, rising, trained

ROOT = stream(0, "skills")
TWELVE = np.geomspace(1e9, 1e12, 12).round().tolist()


def found_of(frame: pl.DataFrame, **told: int) -> Emerging:
    return emerging(panels(frame), ROOT, **({"simulations": 59, "workers": 1} | told))


def accuracy_of(found: Emerging, name: str, axis: str = "tokens") -> dict[str, object]:
    return row_of(found.found, kind="task", name=name, axis=axis, metric="accuracy")


# Panels


def test_a_panel_has_the_items_of_all_its_checkpoints():
    frame = trained({"t": Course(("f",), flat(0.5))}, [1e9, 2e9, 3e9], items=30)
    missing = (pl.col("checkpoint") == "at 1") & pl.col("piece").is_in(["t 3", "t 7"])
    (system,) = panels(frame.filter(~missing)).systems
    (panel,) = system.tasks
    assert len(panel.pieces) == panel.right.shape[1] == 28
    assert {"t 3", "t 7"}.isdisjoint(panel.pieces)
    told = frame.filter((pl.col("checkpoint") == "at 2") & (pl.col("piece") == panel.pieces[5]))
    assert panel.right[2, 5] == told["correct"].cast(pl.Float64)[0]
    assert panel.nats[2, 5] == told["nats"][0]


def test_a_checkpoint_with_few_items_is_left_out_and_named():
    frame = trained({"t": Course(("f",), flat(0.5))}, [1e9, 2e9, 3e9], items=30)
    few = frame.filter((pl.col("checkpoint") != "at 0") | pl.col("piece").is_in(["t 1", "t 2"]))
    given = panels(few)
    assert given.systems[0].tasks[0].checkpoints == ("at 1", "at 2")
    assert "t of s" in given.notes[0]


def test_repeated_samples_are_averaged():
    answers = [("s", "1", "t", "f", piece, right) for piece in "xy" for right in (True, False, True, True)]
    (system,) = panels(outcomes(answers)).systems
    np.testing.assert_allclose(system.tasks[0].right, [[0.75, 0.75]])


def test_floors_are_chance_or_the_most_frequent_target():
    answers = [("s", "1", task, "f", str(item), True) for task in "abc" for item in range(10)]
    targets = [*("s" * 6 + "uvwx"), *"0123456789", *("s" * 6 + "uvwx")]
    chance = [None] * 10 + [0.25] * 10 + [0.7] * 10
    (system,) = panels(outcomes(answers, target=targets, chance=chance)).systems
    floors = {panel.name: panel.floor for panel in system.tasks}
    assert floors == {"a": 0.6, "b": 0.25, "c": 0.7}


def test_panels_of_k_have_the_tasks_of_every_checkpoint():
    courses = {"a": Course(("f",), flat(0.2)), "b": Course(("g",), flat(0.6)), "c": Course(("g",), flat(0.6))}
    frame = trained(courses, [1e9, 2e9], items=20)
    (system,) = panels(frame.filter((pl.col("task") != "c") | (pl.col("checkpoint") == "at 1"))).systems
    (single,) = system.numbers
    assert single.tasks == ("a", "b")
    by_hand = frame.filter(pl.col("task") != "c").group_by("train_tokens").agg(pl.col("correct").mean())
    np.testing.assert_allclose(single.accuracy, by_hand.sort("train_tokens")["correct"])
    assert {panel.name: panel.tasks for panel in system.skills} == {"f": ("a",), "g": ("b", "c")}
    assert system.parts["g"].checkpoints == ("at 1",)


def test_the_stand_in_is_the_mean_of_other_tasks_nats_per_token():
    courses = {
        "a": Course(("f",), rising(1e10), tokens=2),
        "b": Course(("g",), rising(3e10)),
        "ab": Course(("f", "g"), rising(1e11)),
    }
    frame = trained(courses, [1e9, 1e10, 1e11], items=20)
    (system,) = panels(frame).systems
    per_token = (
        frame.with_columns(per=pl.col("nats") / pl.col("answer_tokens"))
        .group_by("task", "train_tokens")
        .agg(pl.col("per").mean())
        .sort("train_tokens")
    )
    a, b = (per_token.filter(pl.col("task") == task)["per"].to_numpy() for task in "ab")
    told, made_of = stand_in_loss(system)
    assert set(made_of) == {"a", "b"}
    np.testing.assert_allclose(list(told.values()), (a + b) / 2)
    first, _, _ = (next(p for p in system.tasks if p.name == name) for name in ("a", "b", "ab"))
    x, axis_of = on_axis(first, system, LOSS)
    assert axis_of == STAND_IN
    np.testing.assert_allclose(x, b)


def test_a_loss_of_the_systems_own_is_taken_where_there_is_one():
    frame = trained({"t": Course(("f",), flat(0.5))}, [1e9, 2e9], items=10)
    own = frame.with_columns(loss=pl.when(pl.col("train_tokens") < 1.5e9).then(3.0).otherwise(2.5))
    (system,) = panels(own).systems
    x, axis_of = on_axis(system.tasks[0], system, LOSS)
    assert (x.tolist(), axis_of) == ([3.0, 2.5], OWN_LOSS)


def test_no_tokens_have_no_place_on_a_logarithmic_axis():
    (system,) = panels(trained({"t": Course(("f",), flat(0.5))}, [0, 2e9], items=10)).systems
    x, _ = on_axis(system.tasks[0], system, TOKENS)
    np.testing.assert_array_equal(x, [np.nan, 2e9])


def test_items_with_infinite_nats_leave_the_curve_in_nats_alone():
    frame = trained({"t": Course(("f",), rising(3e10))}, TWELVE, items=40)
    odd = (pl.col("piece") == "t 5") & (pl.col("checkpoint") == "at 2")
    broken = frame.with_columns(nats=pl.when(odd).then(np.inf).otherwise("nats"))
    found = found_of(broken)
    n = {
        row["metric"]: row["n"]
        for row in found.found.filter(pl.col("axis") == "tokens").iter_rows(named=True)
    }
    assert n["accuracy"] == 12 * 40
    assert n["nats"] == 12 * 39
    assert any("infinite" in note for note in found.notes)


# Courses


def test_a_known_threshold_is_found_along_tokens_compute_and_loss():
    courses = {"t": Course(("f",), rising(3e10, top=1.0)), "u": Course(("g",), rising(1e11, top=1.0))}
    frame = trained(courses, TWELVE, params=2e9)
    loss = 6 - pl.col("train_tokens").cast(pl.Float64).log10() / 4
    found = found_of(frame.with_columns(loss=loss))
    for name, at in (("t", 3e10), ("u", 1e11)):
        tokens, compute, nats = (accuracy_of(found, name, axis) for axis in ("tokens", "compute", "loss"))
        assert tokens["threshold_lo"] <= at <= tokens["threshold_hi"]
        assert tokens["crossed"] == WITHIN
        assert compute["threshold"] == pytest.approx(6 * 2e9 * tokens["threshold"])
        assert compute["sharpness"] == tokens["sharpness"]
        assert nats["threshold_lo"] <= 6 - np.log10(at) / 4 <= nats["threshold_hi"]
        assert nats["axis_of"] == OWN_LOSS


def test_levels_are_half_way_from_the_floor_to_certainty():
    frame = trained({"t": Course(("f",), rising(3e10, bottom=0.2))}, TWELVE).with_columns(chance=pl.lit(0.2))
    found = found_of(frame)
    levels = {
        row["metric"]: row["level"] for row in found.found.filter(pl.col("axis") == "tokens").to_dicts()
    }
    assert levels["accuracy"] == levels["probability"] == pytest.approx(0.6)
    assert levels["nats"] == pytest.approx(-np.log(0.2) / 2)


def of_five_tokens() -> dict[str, Course]:
    """Return a task whose five tokens get likelier in a line: exact match rises at once, nats do not."""
    line = np.log(np.array([1e9, 1e12]))
    token = lambda u: 0.2 + 0.78 * (u - line[0]) / (line[1] - line[0])  # noqa: E731
    return {"t": Course(("f",), lambda u: token(u) ** 5, tokens=5)}


def test_an_artefact_of_the_metric_is_called_one_only_by_losses_that_fit():
    frame = trained(of_five_tokens(), TWELVE, items=300)
    assert accuracy_of(found_of(frame), "t")["verdict"] == "artefact of the metric"
    foreign = frame.with_columns(nats=pl.col("nats") + 9)
    found = found_of(foreign)
    assert accuracy_of(found, "t")["verdict"] == SILENT
    assert "losses do not measure" in str(accuracy_of(found, "t")["verdict_reason"])
    nats = row_of(found.found, kind="task", axis="tokens", metric="nats")
    assert nats["relative"]
    assert nats["level"] is None


def test_courses_that_do_not_change_are_never_or_always_above_their_level():
    courses = {"low": Course(("f",), flat(0.02)), "high": Course(("g",), flat(0.97))}
    found = found_of(trained(courses, TWELVE))
    low, high = (accuracy_of(found, name) for name in ("low", "high"))
    assert (low["verdict"], low["crossed"]) == (NEVER, NOT_REACHED)
    assert low["threshold_stated"] == "above 1e+12"
    assert (high["verdict"], high["crossed"]) == (ALWAYS, AT_ONCE)
    assert high["threshold_stated"] == "below 1e+09"


def test_a_checkpoint_without_training_is_where_the_curve_starts_and_named():
    checkpoints = [0.0, *TWELVE]
    frame = trained({"t": Course(("f",), rising(1e8))}, checkpoints)
    found = found_of(frame)
    row = accuracy_of(found, "t")
    assert row["untrained"] == 0
    assert row["measured_lo"] == 1e9
    assert row["points"] == 12
    assert "without training" in str(row["verdict_reason"])
    assert any("no place on a logarithmic axis (s)" in note for note in found.notes)
    assert found.points.filter(pl.col("train_tokens") == 0).height > 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_with_few_checkpoints_nothing_is_asked_and_that_is_said(count: int):
    found = found_of(trained({"t": Course(("f",), flat(0.5))}, TWELVE[:count], items=20))
    assert found.found.is_empty()
    assert found.found.schema == EMERGING
    assert any("fewer than 4" in note for note in found.notes)
    assert found.points.filter(pl.col("metric") == "accuracy")["n"].to_list() == [20] * (3 * count)


def test_five_checkpoints_have_a_threshold_and_no_verdict():
    found = found_of(
        trained({"t": Course(("f",), rising(3e10))}, np.geomspace(1e9, 1e12, 5).round().tolist())
    )
    row = accuracy_of(found, "t")
    assert row["verdict"] == SHORT
    assert row["threshold_lo"] <= 3e10 <= row["threshold_hi"]


def test_neither_threads_nor_other_tasks_change_a_number():
    courses = {"t": Course(("f",), rising(3e10)), "u": Course(("g",), rising(1e11))}
    frame = trained(courses, TWELVE, items=60)
    one, three = found_of(frame), found_of(frame, workers=3)
    assert_frame_equal(one.found, three.found)
    alone = found_of(frame.filter(pl.col("task") == "t"))
    for metric in ("accuracy", "nats"):
        rows = (
            row_of(found.found, kind="task", name="t", axis="tokens", metric=metric) for found in (one, alone)
        )
        first, second = rows
        assert first == second


def test_a_skill_of_one_task_is_that_task():
    found = found_of(trained({"t": Course(("f",), rising(3e10))}, TWELVE, items=60)).found
    task, skill = (found.filter(pl.col("kind") == kind).drop("kind", "name") for kind in ("task", "skill"))
    assert_frame_equal(task, skill)
    assert found.filter(pl.col("kind") == "skill")["name"].unique().to_list() == ["f"]


def test_checkpoints_at_one_place_are_several_runs_there():
    frame = trained({"t": Course(("f",), rising(3e10))}, [*TWELVE, 1e12], items=60)
    row = accuracy_of(found_of(frame), "t")
    assert (row["points"], row["seeds"]) == (12, 2)


def test_without_right_and_wrong_nothing_is_decided():
    frame = trained({"t": Course(("f",), rising(3e10))}, TWELVE, items=60)
    found = found_of(frame.with_columns(correct=pl.lit(None, pl.Boolean))).found
    assert set(found["metric"]) == {"nats", "probability"}
    assert found["verdict"].unique().to_list() == ["undecided"]


def test_another_score_takes_the_place_of_missing_nats():
    frame = trained({"t": Course(("f",), rising(3e10))}, TWELVE, items=60)
    scored = frame.with_columns(score=(-pl.col("nats")).exp(), nats=pl.lit(None, pl.Float64))
    found = found_of(scored).found.filter(pl.col("axis") == "tokens")
    assert set(found["metric"]) == {"accuracy", "score"}
    row = row_of(found, kind="task", metric="score")
    assert row["threshold_lo"] <= 3e10 <= row["threshold_hi"]


def test_cloze_losses_alone_are_a_score():
    frame = trained({"t": Course(("f",), rising(3e10))}, TWELVE, items=60)
    alone = frame.with_columns(
        cloze_loss=1 - (-pl.col("nats")).exp(),
        nats=pl.lit(None, pl.Float64),
        correct=pl.lit(None, pl.Boolean),
    )
    found = found_of(alone).found.filter(pl.col("axis") == "tokens")
    assert set(found["metric"]) == {"score"}
    row = row_of(found, kind="task", metric="score")
    assert row["threshold_lo"] <= 3e10 <= row["threshold_hi"]


@pytest.mark.parametrize(
    ("lo", "hi", "told"),
    [
        (8.0, None, NOT_REACHED),
        (None, 1.0, AT_ONCE),
        (1.0, 2.0, AT_ONCE),
        (1.0, 2.1, WITHIN),
        (2.0, 8.0, WITHIN),
        (2.0, None, UNKNOWN),
        (None, None, UNKNOWN),
    ],
)
def test_where_a_threshold_lies_among_the_points(lo: float | None, hi: float | None, told: str):
    tokens = Scale(np.array([1.0, 2.0, 4.0, 8.0]), "tokens")
    assert crossed(tokens, Estimate(None, lo, hi, 1, "")) == told
    losses = dataclasses.replace(tokens, x=10 - np.log2(np.array([1.0, 2.0, 4.0, 8.0])), axis="loss")
    ends = [None if end is None else 10 - float(np.log2(end)) for end in (hi, lo)]
    assert crossed(losses, Estimate(None, ends[0], ends[1], 1, "")) == told


def test_changes_are_those_of_a_chi_square_test():
    frame = trained({"t": Course(("f",), flat(0.5))}, TWELVE, items=200)
    (system,) = panels(frame).systems
    asked = module._course(system, system.tasks[0], "tokens", ROOT, 9)
    assert asked is not None
    called = [
        module.changes(dataclasses.replace(asked.curves["accuracy"], runs=row[:, None]))
        for row in 0.5 + np.sqrt(0.25 / 202) * stream(1, "flat").generator().normal(size=(400, 12))
    ]
    assert 0.02 < np.mean(called) < 0.09


# Over sizes


def sizes(params: list[float]) -> Panels:
    frames = [
        trained(
            {"t": Course(("f",), rising(1e9 * (1e9 / size)))}, [1e8, 1e9], system=f"s{size:g}", params=size
        )
        for size in params
    ]
    return panels(pl.concat(frames))


def test_over_sizes_the_last_checkpoints_make_a_curve():
    found = across_systems(sizes([1e8, 3e8, 1e9, 3e9, 1e10]), ROOT, simulations=49).found
    row = row_of(found, axis="parameters", metric="accuracy")
    assert row["threshold_lo"] <= 1e9 <= row["threshold_hi"]
    assert (row["system"], row["points"]) == ("all systems", 5)


def test_too_few_sizes_are_said():
    found = across_systems(sizes([1e8, 1e9]), ROOT)
    assert found.found.is_empty()
    assert "here are 2" in found.notes[0]


def test_a_loss_of_zero_has_no_place_on_the_axis():
    frame = trained({"t": Course(("f",), rising(3e10))}, TWELVE, items=20)
    last = pl.when(pl.col("train_tokens") == 10**12).then(0.0).otherwise(13 - pl.col("train_tokens").log10())
    assert accuracy_of(found_of(frame.with_columns(loss=last)), "t", "loss")["points"] == 11
