"""The view of a run in a notebook: what its one place shows after each event."""

from pathlib import Path

import pytest

from emergelab.pipeline import events
from emergelab.pipeline.notebook import Notebook
from emergelab.pipeline.step import Step

STEP = Step(name="train <b>", kind="train", function="module:function", version=1, spec={})


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shown() -> list[str]:
    return []


@pytest.fixture
def view(clock: Clock, shown: list[str]) -> Notebook:
    return Notebook(shown.append, clock)


def test_a_tick_moves_the_bar(view: Notebook, shown: list[str]):
    view.report(events.Ticked(3, 12, 0.25, 60.0))
    assert '<progress value="0.2500" max="1"' in shown[-1]
    assert "25%, 3 of 12 steps" in shown[-1]


def test_ticks_come_no_faster_than_twice_a_second(view: Notebook, clock: Clock, shown: list[str]):
    for tenth in range(11):
        clock.now = tenth / 10
        view.report(events.Ticked(0, 1, 0.0, None))
    assert len(shown) == 3


def test_what_is_said_stays_above_the_bar_and_is_no_markup(view: Notebook, shown: list[str]):
    view.report(events.Noted(STEP, "a < b"))
    view.report(events.Ticked(0, 1, 0.0, None))
    assert shown[-1].index("a &lt; b") < shown[-1].index("<progress")


def test_finished_steps_are_the_bars_business(view: Notebook, shown: list[str]):
    view.report(events.Finished(STEP, 0, 1.0))
    assert shown == []


def test_the_end_takes_the_bar_away(view: Notebook, shown: list[str]):
    view.report(events.Ticked(1, 1, 1.0, 0.0))
    view.report(events.Ended(1, 1, 2.0, interrupted=False, failed=0, root=Path()))
    assert "<progress" not in shown[-1]
    assert "1 of 1 step finished, 2 s." in shown[-1]
