"""Numbers that a step tells on its way: from its function through a worker to whoever follows the run."""

import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from emergelab.pipeline import events
from emergelab.pipeline.graph import State
from emergelab.pipeline.messages import Measured, decode, encode
from emergelab.pipeline.runner import run
from emergelab.pipeline.step import StepContext
from emergelab.pipeline.store import Store
from emergelab.pipeline.terminal import Terminal
from pipeline_toys import toy


class Record:
    """A reporter that keeps what was measured."""

    def __init__(self) -> None:
        self.measured: list[events.Measured] = []

    def report(self, event: events.Event) -> None:
        if isinstance(event, events.Measured):
            self.measured.append(event)


@given(st.integers(0, 2**53), st.dictionaries(st.text(), st.floats()))
def test_a_message_survives_its_line(done: int, values: dict[str, float]):
    line = encode(Measured(done, values))
    assert line.count(b"\n") == 1
    message = decode(line)
    assert isinstance(message, Measured)
    assert message.done == done
    assert message.values.keys() == values.keys()
    for name, value in values.items():
        read = message.values[name]
        assert read == value or (math.isnan(read) and math.isnan(value))


@pytest.mark.parametrize("workers", [0, 1])
def test_measured_numbers_reach_the_reporter_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    step, record = toy("measure", rounds=300), Record()
    run([step], Store(tmp_path / "store"), workers=workers, reporter=record)
    assert [(event.done, dict(event.values)) for event in record.measured] == [
        (done, {"loss": 1 / done, "tokens": 10.0 * done}) for done in range(1, 301)
    ]
    assert all(event.step == step for event in record.measured)


def test_measured_numbers_are_no_part_of_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    step, store = toy("measure", rounds=3), Store(tmp_path / "store")
    run([step], store, workers=1, reporter=Record())
    folder = store.open(step)
    assert json.loads((folder / "manifest.json").read_text())["files"].keys() == {"value.txt"}


def test_a_context_of_nobody_takes_numbers(tmp_path: Path):
    StepContext(tmp_path).measured(1, {"loss": 1.0})


def test_the_terminal_shows_the_first_number():
    stream, step = io.StringIO(), toy("total", value=1)
    terminal = Terminal(Console(file=stream, width=100, force_terminal=True))
    for event in (
        events.Planned(((step, State.TO_DO),), 1),
        events.Started(step, 0),
        events.Measured(step, 0, 5, {"loss": 1.23456, "tokens": 7.0}),
        events.Ticked(0, 1, 0.1, None),
    ):
        terminal.report(event)
    assert ", loss 1.235" in stream.getvalue()
    assert "tokens" not in stream.getvalue()
