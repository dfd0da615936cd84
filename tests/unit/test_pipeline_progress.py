"""The forecast by hand-made clocks, and what people read while a run goes on."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from emergelab.pipeline import events
from emergelab.pipeline.forecast import Forecast
from emergelab.pipeline.graph import State
from emergelab.pipeline.progress import Plain, reporter_for
from emergelab.pipeline.step import Step
from emergelab.pipeline.terminal import Terminal
from emergelab.pipeline.wording import duration, overall, remaining, sentence
from pipeline_toys import toy


def step(value: int, *inputs: Step, cost: float, kind: str = "toy") -> Step:
    sources = {str(place): source for place, source in enumerate(inputs)}
    spec = {"value": value}
    return Step(name=f"s{value}", kind=kind, function="a:b", version=1, spec=spec, inputs=sources, cost=cost)


def test_nothing_measured_nothing_promised():
    one = step(1, cost=10.0)
    forecast = Forecast([one], [one], slots=1)
    forecast.start(one, 0.0)
    assert forecast.seconds_left(5.0) is None


def test_time_left_by_the_speed_of_what_has_run():
    steps = [step(value, cost=10.0) for value in range(4)]
    forecast = Forecast(steps, steps, slots=1)
    forecast.start(steps[0], 0.0)
    forecast.finish(steps[0], 30.0)
    # Three times slower than thought: three more steps of 30 s.
    assert forecast.seconds_left(30.0) == pytest.approx(90.0)
    assert forecast.share() == pytest.approx(0.25)


def test_workers_share_but_a_chain_does_not_get_shorter():
    first = step(1, cost=10.0)
    second = step(2, first, cost=10.0)
    third = step(3, second, cost=10.0)
    others = [step(value, cost=10.0) for value in (4, 5)]
    steps = [first, second, third, *others]
    forecast = Forecast(steps, steps, slots=4)
    forecast.start(first, 0.0)
    forecast.finish(first, 10.0)
    assert forecast.seconds_left(10.0) == pytest.approx(20.0)
    assert Forecast([*others, first], others, slots=2).share() == pytest.approx(1 / 3)


def test_each_kind_has_its_speed():
    train, table = step(1, cost=10.0, kind="train"), step(2, cost=10.0, kind="table")
    next_train, next_table = step(3, cost=10.0, kind="train"), step(4, cost=10.0, kind="table")
    steps = [train, table, next_train, next_table]
    forecast = Forecast(steps, steps, slots=1)
    for one, begin, end in ((train, 0.0, 40.0), (table, 40.0, 45.0)):
        forecast.start(one, begin)
        forecast.finish(one, end)
    assert forecast.seconds_left(45.0) == pytest.approx(45.0)


def test_a_step_that_goes_on_is_measured_from_where_it_went_on():
    one = step(1, cost=100.0)
    forecast = Forecast([one], [one], slots=1)
    forecast.start(one, 0.0)
    forecast.progress(one, 0.6, 2.0)
    forecast.progress(one, 0.8, 42.0)
    assert forecast.seconds_left(42.0) == pytest.approx(40.0)
    assert forecast.share() == pytest.approx(0.8)


def test_one_finished_by_another_run_counts_as_done_without_a_speed():
    steps = [step(value, cost=10.0) for value in range(2)]
    forecast = Forecast(steps, steps, slots=1)
    forecast.start(steps[0], 0.0)
    forecast.found(steps[0])
    assert forecast.share() == pytest.approx(0.5)
    assert forecast.seconds_left(1.0) is None


@pytest.mark.parametrize(
    ("seconds", "exact", "coarse"),
    [
        (0.42, "0.4 s", "about 5 s"),
        (38.4, "38 s", "about 40 s"),
        (59.7, "1 min 00 s", "about 60 s"),
        (250.0, "4 min 10 s", "about 4 min"),
        (3599.6, "1 h 00 min", "about 60 min"),
        (7500.0, "2 h 05 min", "about 2.1 h"),
    ],
)
def test_durations_in_words(seconds: float, exact: str, coarse: str):
    assert duration(seconds) == exact
    assert remaining(seconds) == coarse


ONE = step(1, cost=1.0)
ROOT = Path("/store")
TOLD = [
    (events.Planned(((ONE, State.TO_DO), (ONE, State.FINISHED)), 2), "1 step to do, 1 finished before"),
    (events.Finished(ONE, 0, 2.0), "finished  s1 (2 s)"),
    (events.Skipped(ONE, by_other=True), "s1 (by another run)"),
    (
        events.Damaged(ONE, "It is damaged.", ROOT / "x.damaged"),
        "It is set aside as x.damaged and made anew.",
    ),
    (events.Waiting(ONE, 0, "process 7"), "s1: being made by process 7"),
    (events.Missed(ONE, ("a.bin",), "last"), "s1: --keep last has dropped a.bin, which is needed now"),
    (events.Retried(ONE, 0, "was ended by SIGKILL"), "was ended by SIGKILL; it goes on"),
    (events.Failed(ONE, 0, "m", "traceback\n", ROOT / "log", mistake=False), "traceback\nfailed  s1"),
    (events.Failed(ONE, 0, "why", None, ROOT / "log", mistake=False), "failed  s1: why"),
    (events.Stopped(ONE, 0), "stopped  s1"),
    (events.Noted(ONE, "a [bold] word"), "a [bold] word"),
    (events.Stopping(10.0), "steps have 10 s to save"),
    (events.Ended(1, 3, 2.0, interrupted=True, failed=0, root=ROOT), "Interrupted: 1 of 3 steps"),
    (events.Ended(1, 3, 2.0, interrupted=False, failed=2, root=ROOT), "2 failed"),
    (events.Ended(3, 3, 2.0, interrupted=False, failed=0, root=ROOT), "3 of 3 steps finished, 2 s."),
]
SILENT = [
    events.Skipped(ONE),
    events.Started(ONE, 0),
    events.Released(ONE, 9, "last"),
    events.Progressed(ONE, 0, 1.0, 2.0),
]


@pytest.mark.parametrize(("event", "words"), TOLD)
def test_every_event_that_matters_has_its_words(event: events.Event, words: str):
    assert words in str(sentence(event))


@pytest.mark.parametrize("event", SILENT)
def test_the_others_have_none(event: events.Event):
    assert sentence(event) is None


def test_plain_lines_are_at_least_ten_seconds_apart():
    now = [0.0]
    stream = io.StringIO()
    plain = Plain(stream, lambda: now[0])
    for second in range(41):
        now[0] = float(second)
        plain.report(events.Ticked(1, 4, 0.3, 90.0 - second))
    assert stream.getvalue().splitlines() == [
        overall(events.Ticked(1, 4, 0.3, 90.0 - second)) for second in (10, 20, 30, 40)
    ]


def test_overall_says_no_time_left_when_all_is_done():
    assert overall(events.Ticked(4, 4, 1.0, 0.0)) == "100%, 4 of 4 steps"
    assert overall(events.Ticked(1, 4, 0.25, None)) == "25%, 1 of 4 steps"


def test_the_terminal_shows_a_line_for_each_busy_worker():
    stream = io.StringIO()
    terminal = Terminal(Console(file=stream, width=100, force_terminal=True))
    odd = toy("total", name="train [red]odd[/nonsense]", value=1)
    script = [
        events.Planned(((odd, State.TO_DO),), 2),
        events.Started(ONE, 0),
        events.Started(odd, 1),
        events.Progressed(odd, 1, 1.0, 4.0),
        events.Ticked(0, 2, 0.1, 100.0),
    ]
    for event in script:
        terminal.report(event)
    shown = stream.getvalue()
    assert "25%  train [red]odd[/nonsense]" in shown
    assert "s1" in shown
    assert "10%, 0 of 2 steps, about 2 min left" in shown
    stream.truncate(0)
    for event in (events.Skipped(odd, by_other=True), events.Ticked(1, 2, 0.5, None)):
        terminal.report(event)
    assert "nonsense" not in stream.getvalue()
    terminal.report(events.Ended(2, 2, 3.0, interrupted=False, failed=0, root=ROOT))
    assert "2 of 2 steps finished, 3 s." in stream.getvalue()


@pytest.mark.parametrize("event", [event for event, _ in TOLD if not isinstance(event, events.Planned)])
def test_the_terminal_bears_every_event(event: events.Event):
    stream = io.StringIO()
    terminal = Terminal(Console(file=stream, width=60, force_terminal=True))
    terminal.report(events.Planned((), 1))
    terminal.report(event)
    terminal.report(events.Ended(0, 0, 0.0, interrupted=False, failed=0, root=ROOT))
    assert "\x1b[?25h" in stream.getvalue()


def test_a_pipe_gets_plain_lines():
    assert isinstance(reporter_for(io.StringIO()), Plain)
