"""Points of a run: each step in one of them, the same ones however the run is interrupted, and from its log."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emergelab.model.spec import ModelSpec
from emergelab.rng import stream
from emergelab.train.loop import Run, train
from emergelab.train.metrics import POINTS, Meter, recorded_points, stretches
from emergelab.train.spec import TrainSpec

MODEL = ModelSpec(vocabulary=7, width=16, heads=2, layers=1, context=12)
TRAIN = TrainSpec(batch=4, milestones=(300, 600), warmup_steps=3, precision="float32", compile="no")
STEPS = 20
Points = list[tuple[int, Mapping[str, float]]]


def data(index: int):
    generator = stream(1, "data", index).generator()
    lengths = generator.integers(6, 14, size=TRAIN.batch).astype(np.int32)
    return generator.integers(0, 7, size=(TRAIN.batch, 13)).astype(np.uint16), lengths


def make_run(folder: Path) -> Run:
    return Run(
        model=MODEL, train=TRAIN, data=data, initialisation=stream(0), tokens_per_step=30, directory=folder
    )


def timeless(points: Points) -> Points:
    """Leave out what a clock measured."""
    return [
        (step, {name: value for name, value in values.items() if name != "tokens_per_second"})
        for step, values in points
    ]


@given(st.integers(1, 10**6))
def test_stretches_part_the_steps(steps: int):
    parts = list(stretches(steps))
    assert parts[0][0] == 0
    assert parts[-1][1] == steps
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    assert len({last - first for first, last in parts[:-1]}) <= 1
    assert len(parts) <= POINTS
    assert steps <= POINTS or len(parts) > POINTS / 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Points, pl.DataFrame]:
    folder, points = tmp_path_factory.mktemp("whole"), []
    train(make_run(folder), measured=lambda step, values: points.append((step, values)))
    return points, pl.read_parquet(folder / "log.parquet")


def test_a_short_run_tells_every_step_of_its_log(whole: tuple[Points, pl.DataFrame]):
    points, log = whole
    assert [step for step, _ in points] == list(range(1, STEPS + 1)) == log["step"].to_list()
    for name in ("loss", "learning_rate"):
        np.testing.assert_allclose([values[name] for _, values in points], log[name].to_numpy(), rtol=1e-6)
    assert [values["tokens"] for _, values in points] == log["tokens"].to_list()
    assert all(values["tokens_per_second"] > 0 for _, values in points)


class Stop(BaseException):
    """What ends a run from outside."""


def test_a_run_that_goes_on_tells_the_same_points(tmp_path: Path, whole: tuple[Points, pl.DataFrame]):
    told: Points = []

    def stop_at_seven(done: int, _steps: int) -> None:
        if done == 7:
            raise Stop

    def keep(step: int, values: Mapping[str, float]) -> None:
        told.append((step, values))

    with pytest.raises(Stop):
        train(make_run(tmp_path), stop_at_seven, keep)
    assert timeless(told) == timeless(whole[0][:7])
    told.clear()
    train(make_run(tmp_path), measured=keep)
    assert timeless(told) == timeless(whole[0])
    assert not any("tokens_per_second" in values for _, values in told[:7])
    assert all("tokens_per_second" in values for _, values in told[7:])


def test_the_log_tells_the_same_points(whole: tuple[Points, pl.DataFrame]):
    points, log = whole
    recorded = recorded_points(TRAIN, log["loss"].to_numpy(), log["tokens"].to_numpy())
    assert list(recorded.items()) == timeless(points)


def test_a_point_is_the_mean_of_its_stretch_at_the_speed_of_the_clock():
    steps = 3 * POINTS
    losses = np.arange(steps, dtype=np.float32)
    counts = np.full(steps, 10, dtype=np.int32)
    times = iter(np.arange(0.0, steps, 2.0))
    points: dict[int, Mapping[str, float]] = {}
    meter = Meter(
        TRAIN, steps, lambda a, b: (losses[a:b], counts[a:b]), points.__setitem__, clock=lambda: next(times)
    )
    meter.recall(4)  # in the middle of the second stretch
    for step in range(5, steps + 1):
        meter.passed(step)
    assert list(points) == list(range(3, steps + 1, 3))
    assert [values["loss"] for values in points.values()] == [3.0 * i + 1 for i in range(POINTS)]
    assert [values["tokens"] for values in points.values()] == [30.0 * (i + 1) for i in range(POINTS)]
    speeds = [values.get("tokens_per_second") for values in points.values()]
    assert speeds == [None, None] + [15.0] * (POINTS - 2)
