"""The runner: order, exactly once, worker processes, failures. What ran is read from a trace of the steps."""

import io
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emergelab.errors import UserError
from emergelab.pipeline import events
from emergelab.pipeline.engines import THREAD_VARIABLES
from emergelab.pipeline.files import StorageError
from emergelab.pipeline.graph import State, ordered
from emergelab.pipeline.progress import Plain
from emergelab.pipeline.runner import plan, run
from emergelab.pipeline.step import Step, StepFailedError
from emergelab.pipeline.stops import counted_stops
from emergelab.pipeline.store import Store
from pipeline_toys import links, toy

Shape = list[tuple[float, set[int]]]


class Record:
    """A reporter that keeps everything."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []

    def report(self, event: events.Event) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let workers find the toys, and give the file in which toys say that they ran."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("TOY_TRACE", str(tmp_path / "trace"))
    return tmp_path / "trace"


def ran(trace: Path) -> list[str]:
    return trace.read_text(encoding="utf-8").splitlines() if trace.exists() else []


def value(store: Store, step: Step) -> int:
    return int((store.open(step) / "value.txt").read_text())


def add(number: int, *inputs: Step, cost: float = 1.0) -> Step:
    return toy("total", *inputs, cost=cost, value=number)


def flip(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def graphs() -> st.SearchStrategy[Shape]:
    """Shapes of graphs: for each step its cost and which of the steps before it are its inputs."""
    costs = st.sampled_from([0.0, 1.0, 5.0])
    return st.lists(st.tuples(costs, st.sets(st.integers(0, 6), max_size=3)), min_size=1, max_size=7)


def build(shape: Shape) -> list[Step]:
    """Make steps of that shape; their values are distinct powers of two."""
    steps: list[Step] = []
    for place, (cost, sources) in enumerate(shape):
        inputs = [steps[source] for source in sorted(sources) if source < place]
        steps.append(add(2**place, *inputs, cost=cost))
    return steps


def needed(targets: list[Step]) -> set[Step]:
    return set(targets).union(*(needed(list(step.inputs.values())) for step in targets))


def brute_value(step: Step) -> int:
    return step.spec["value"] + sum(brute_value(source) for source in step.inputs.values())


@settings(max_examples=15)
@given(graphs(), st.sets(st.integers(0, 6), max_size=3))
def test_random_graphs_run_inputs_first_and_each_step_once(shape: Shape, chosen: set[int]):
    steps = build(shape)
    targets = [steps[-1], *(steps[place] for place in chosen if place < len(steps))]
    with TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_TRACE", f"{root}/trace")
        store = Store(Path(root) / "store")
        run(targets, store, workers=0, reporter=Record())
        order = [int(line) for line in ran(Path(root) / "trace")]
        assert Counter(order) == Counter(step.spec["value"] for step in needed(targets))
        for step in needed(targets):
            for source in step.inputs.values():
                assert order.index(source.spec["value"]) < order.index(step.spec["value"])
        assert all(value(store, step) == brute_value(step) for step in targets)


@given(graphs())
def test_order_takes_the_chain_of_greatest_cost_first(shape: Shape):
    steps = build(shape)

    def chain(step: Step) -> float:
        users = [user for user in steps if step in user.inputs.values()]
        return step.cost + max((chain(user) for user in users), default=0.0)

    order = ordered(reversed(steps))
    assert sorted(order, key=chain, reverse=True) == order
    places = {step: place for place, step in enumerate(order)}
    assert all(places[source] < places[step] for step in order for source in step.inputs.values())


def test_longest_first_then_by_critical_path(store: Store, trace: Path):
    short, long = add(1, cost=1.0), add(2, cost=5.0)
    head = add(3, cost=2.0)
    tail = add(4, head, cost=9.0)
    run([short, long, tail], store, workers=0, reporter=Record())
    assert ran(trace) == ["3", "4", "2", "1"]


def test_finished_steps_are_skipped(store: Store, trace: Path):
    last = add(2, add(1))
    first_time = run([last], store, workers=0, reporter=Record())
    record = Record()
    again = run([last], store, workers=0, reporter=record)
    assert ran(trace) == ["1", "2"]
    assert first_time.made == again.kept == tuple(ordered([last]))
    assert again.made == ()
    assert len(record.of(events.Skipped)) == 2


def test_a_missing_artifact_that_nothing_needs_is_not_made(store: Store, trace: Path):
    first = add(1)
    last = add(2, first)
    run([last], store, workers=0, reporter=Record())
    store.set_aside(first)
    assert plan([last], store) == [(first, State.UNNEEDED), (last, State.FINISHED)]
    run([last], store, workers=0, reporter=Record())
    assert ran(trace) == ["1", "2"]


def test_a_damaged_artifact_is_named_set_aside_and_remade(store: Store, trace: Path):
    first, other = add(1), add(8)
    last = add(2, first)
    run([last, other], store, workers=0, reporter=Record())
    flip(store.path(first) / "value.txt")
    before = {path: path.stat().st_mtime_ns for path in store.root.glob("toy-*") if path.name != first.key}
    assert dict(plan([last, other], store))[first] is State.DAMAGED
    record = Record()
    run([last, other], store, workers=0, reporter=record)
    [damaged] = record.of(events.Damaged)
    assert f"{store.path(first)}/value.txt is damaged" in damaged.problem
    assert damaged.moved_to == store.root / f"{first.key}.damaged"
    assert ran(trace)[3:] == ["1"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert value(store, last) == 3
    assert dict(plan([last, other], store)) == dict.fromkeys((first, last, other), State.FINISHED)


def test_a_dry_run_changes_nothing(store: Store):
    last = add(2, add(1))
    assert [state for _, state in plan([last], store)] == [State.TO_DO, State.TO_DO]
    assert not store.root.exists()


def test_workers_make_a_diamond(store: Store, trace: Path):
    top = add(1)
    record = Record()
    bottom = add(8, add(2, top), add(4, top))
    run([bottom], store, workers=2, reporter=record)
    assert value(store, bottom) == 8 + 2 + 4 + 1 + 1
    assert sorted(ran(trace)) == ["1", "2", "4", "8"]
    assert [event.text for event in record.of(events.Noted)] == ["adding numbers"]
    assert {event.slot for event in record.of(events.Started)} == {0, 1}


def test_prints_do_not_reach_the_protocol(store: Store):
    step = toy("noisy")
    run([step], store, workers=1, reporter=Record())
    assert value(store, step) == 1
    log = store.log(step).read_text()
    assert {"from a child", "to stderr", '{"type": "Done", "made": true}'} <= set(log.splitlines())


@pytest.mark.parametrize("threads", [1, 3])
def test_workers_have_their_threads(store: Store, threads: int):
    step = toy("environment")
    run([step], store, workers=1, threads=threads, reporter=Record())
    seen = json.loads((store.open(step) / "environment.json").read_text())
    assert {name: seen[name] for name in THREAD_VARIABLES} == dict.fromkeys(THREAD_VARIABLES, str(threads))


def test_a_killed_worker_is_replaced_once(store: Store):
    record = Record()
    step = toy("die", deaths=1)
    run([step], store, workers=1, reporter=record)
    assert value(store, step) == 1
    assert [event.reason for event in record.of(events.Retried)] == ["was ended by SIGKILL"]


def test_a_step_that_dies_twice_fails_and_the_rest_is_finished(store: Store):
    doomed = toy("die", deaths=9, cost=9.0)
    others = [add(1), add(2)]
    with pytest.raises(StepFailedError, match="was ended by SIGKILL"):
        run([add(4, doomed), doomed, *others], store, workers=1, reporter=Record())
    assert [store.finished(step) for step in (doomed, *others)] == [False, True, True]


def test_a_fault_shows_and_keeps_its_traceback(store: Store):
    bad = toy("fault", cost=9.0)
    good = add(1)
    record = Record()
    with pytest.raises(StepFailedError, match="ZeroDivisionError: an odd fault") as caught:
        run([add(2, bad), good], store, workers=1, reporter=record)
    log = store.log(bad)
    assert str(log) in str(caught.value)
    assert not isinstance(caught.value, UserError)
    [failed] = record.of(events.Failed)
    assert "raise ZeroDivisionError" in failed.traceback
    assert log.read_text() == "a word before the fall\n" + failed.traceback
    assert store.finished(good)


def test_a_mistake_passes_through_word_for_word(store: Store):
    with pytest.raises(UserError) as caught:
        run([toy("mistake", cost=9.0), add(1)], store, workers=0, reporter=Record())
    assert str(caught.value) == "The value is 3. It must be 4. Use 4."
    assert store.finished(add(1))


def test_a_full_disk_ends_the_run_and_keeps_what_is_finished(store: Store, trace: Path):
    first = add(1, cost=20.0)
    with pytest.raises(UserError, match=r"No space is left on the disk: .* give the same command again"):
        run([first, toy("full", cost=9.0), add(2)], store, workers=0, reporter=Record())
    assert store.damage(first) is None
    assert ran(trace) == ["1"]


def test_a_store_that_is_a_file(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is not a folder"):
        run([add(1)], Store(tmp_path / "file"), workers=1, reporter=Record())


def test_the_working_folder_passes_for_no_module(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("json.py").write_text("raise SystemExit('the wrong module')")
    run([add(1)], store, workers=1, reporter=Record())
    assert value(store, add(1)) == 1


def test_the_environment_of_the_driver_is_left_alone(store: Store):
    before = dict(os.environ)
    run([add(1)], store, workers=1, reporter=Record())
    assert dict(os.environ) == before


def test_a_run_is_told_in_plain_lines(store: Store):
    stream = io.StringIO()
    run([links(2, 1)], store, workers=0, reporter=Plain(stream))
    first, *_, last = stream.getvalue().splitlines()
    assert first == "2 steps to do; 1 worker"
    assert last.startswith("2 of 2 steps finished, ")


@pytest.mark.parametrize(("workers", "threads"), [(-1, 1), (1, 0)])
def test_impossible_numbers_of_workers_are_refused(store: Store, workers: int, threads: int):
    with pytest.raises(ValueError, match="at least 0 workers of at least 1 thread"):
        run([add(1)], store, workers=workers, threads=threads, reporter=Record())


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with counted_stops() as stops:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
        assert stops.count == 1
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_a_killed_worker_had_started_ends_with_it(store: Store, trace: Path):
    with pytest.raises(StepFailedError):
        run([toy("parent")], store, workers=1, reporter=Record())
    children = [int(child) for child in ran(trace)]
    assert len(children) == 2
    for _ in range(500):
        if not any(is_running(child) for child in children):
            return
        time.sleep(0.01)
    pytest.fail("a child goes on")


def is_running(process: int) -> bool:
    """Say whether the process is at work; one that has ended is a zombie until its new parent looks."""
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()
