"""A run killed at random points ends, when it is given again, with the bytes of an undisturbed run."""

import os
from pathlib import Path

import pytest

from emergelab.rng import stream
from faults.trouble import (
    SUMMARY,
    Point,
    Trial,
    artifacts,
    contents,
    kept,
    require_tidy,
    require_whole,
)
from study_runs import Answer

# `make faults` asks for many; the sample of every test run is small.
POINTS = int(os.environ.get("FAULT_POINTS", "1"))
LONGEST_DELAY = 2.0

# The sample shares one process, so that the undisturbed run is made once; the many are spread.
pytestmark = [] if "FAULT_POINTS" in os.environ else pytest.mark.xdist_group("faults")


def drawn(number: int, operations: dict[str, int]) -> Point:
    """Return a random point of the run: half of them in the driver, half at once, half a while later."""
    generator = stream(0, "faults", number).generator()
    role = ("driver", "worker")[number % 2]
    delay = float(generator.uniform(0, LONGEST_DELAY)) if generator.random() < 0.5 else 0.0
    return Point(role, int(generator.integers(operations[role])), delay)


def unharmed(answer: Answer, codes: set[int]) -> None:
    assert "Traceback" not in answer.errors, answer.errors
    assert answer.code in codes, answer


@pytest.mark.parametrize("number", range(POINTS))
def test_a_kill_at_any_point(number: int, undisturbed: tuple[Trial, dict[str, int]], tmp_path: Path):
    good, operations = undisturbed
    point = drawn(number, operations)
    trial = Trial(good.study, tmp_path / "run", workers=1 + number // 2 % 2)
    if number % 3 == 2:
        # A run that was asked to stop has saved the state of its training: the kill finds it going on.
        early = drawn(number + 10_000, operations)
        unharmed(trial.go(Point("driver", early.at // 3, early.delay, "SIGTERM")), {0, 130})
    first = trial.go(point)
    killed = first.code == -9
    unharmed(first, {-9} if killed and point.role == "driver" else {0})
    require_whole(trial.run)
    before = artifacts(trial.store)
    second = trial.go()
    unharmed(second, {0})
    kept(before, trial.store)
    require_tidy(trial.run)
    assert contents(trial.run) == contents(good.run)
    what = "driver killed" if killed else "worker killed, its step went on" if trial.hits else "over before"
    SUMMARY.append(f"{what}: {'; '.join(trial.hits)}; {len(before)} files were finished")
