"""Runs that are killed, interrupted, doubled or short of disk end with the bytes of an undisturbed run.

The expected bytes come from hashlib alone. Each driver is a process of its own, as is each worker; a lock
file tells which worker is at work.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emergelab.pipeline.store import Store
from pipeline_toys import links, toy

TESTS = Path(__file__).parents[1]
LINKS, ROUNDS = 2, 6
CHAIN = ("chain", LINKS, ROUNDS)
MIDDLE = "1 3"
PATIENCE = 30.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def lines(trace: Path) -> list[str]:
    return trace.read_text(encoding="utf-8").splitlines() if trace.exists() else []


@contextmanager
def driver(
    store: Store, trace: Path, *arguments: str | int, halt: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Start a driver; it is dead when the body has ended. The chain halts at a moment till `open_gate`."""
    command = [sys.executable, str(TESTS / "pipeline_toys.py"), str(store.root), *map(str, arguments)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS),
        "TOY_TRACE": str(trace),
        "TOY_MOMENT": halt,
        "TOY_GATE": str(trace.with_name("gate")),
    }
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def open_gate(trace: Path) -> None:
    trace.with_name("gate").touch()


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def expected() -> str:
    """Return what the chain yields: the toy's rule, written again without a pipeline."""
    value = ""
    for link in range(LINKS):
        value = f"{link}{value}"
        for round_ in range(ROUNDS):
            value = hashlib.sha256(f"{round_} {value}".encode()).hexdigest()
    return value


def finish(store: Store, trace: Path) -> None:
    """Give the same command (again) and compare the result with the undisturbed one."""
    with driver(store, trace, 1, *CHAIN) as process:
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
    check(store)


def check(store: Store) -> None:
    last = links(LINKS, ROUNDS)
    assert (store.open(last) / "value.txt").read_text() == expected()
    assert list((store.root / ".work").iterdir()) == []
    assert list((store.root / ".locks").iterdir()) == []


def worker_of(store: Store) -> int:
    """Return the process that holds a lock now."""
    [lock] = (store.root / ".locks").glob("*-*")
    found = re.match(r"process (\d+) ", lock.read_text())
    assert found is not None
    return int(found[1])


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()


ALL_ROUNDS = [f"{link} {round_}" for link in range(LINKS) for round_ in range(ROUNDS)]


def test_an_undisturbed_run(store: Store, trace: Path):
    finish(store, trace)
    assert lines(trace) == ALL_ROUNDS


@pytest.mark.parametrize(("moment", "twice"), [("computed", [MIDDLE]), ("saved", [])])
def test_a_killed_worker(store: Store, trace: Path, moment: str, twice: list[str]):
    with driver(store, trace, 1, *CHAIN, halt=f"{moment} {MIDDLE}") as process:
        wait_until(trace.with_name("reached").exists)
        os.kill(worker_of(store), signal.SIGKILL)
        open_gate(trace)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "its worker was ended by SIGKILL" in errors
    check(store)
    # It went on from its scratch: only a round that was not saved is done again.
    assert sorted(lines(trace)) == sorted(ALL_ROUNDS + twice)


@pytest.mark.parametrize(("moment", "twice"), [("computed", [MIDDLE]), ("saved", [])])
def test_a_killed_driver(store: Store, trace: Path, moment: str, twice: list[str]):
    with driver(store, trace, 1, *CHAIN, halt=f"{moment} {MIDDLE}") as process:
        wait_until(trace.with_name("reached").exists)
        worker = worker_of(store)
        process.kill()
        process.wait()
        wait_until(lambda: not is_alive(worker))
    finish(store, trace)
    assert sorted(lines(trace)) == sorted(ALL_ROUNDS + twice)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on(store: Store, trace: Path, number: signal.Signals):
    with driver(store, trace, 1, *CHAIN, halt=f"saved {MIDDLE}") as process:
        wait_until(trace.with_name("reached").exists)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Interrupted: 1 of 2 steps are finished and kept" in errors
    assert "The same command goes on from here." in errors
    assert store.damage(links(1, ROUNDS)) is None
    finish(store, trace)
    assert lines(trace) == ALL_ROUNDS


def test_a_second_interrupt_does_not_wait(store: Store, trace: Path):
    with driver(store, trace, 1, "stuck") as process:
        wait_until(lambda: lines(trace))
        worker = worker_of(store)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "Stopping" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=5)
    assert process.returncode == 130
    assert not is_alive(worker)


def test_a_step_that_reports_nothing_is_ended_at_once(store: Store, trace: Path):
    with driver(store, trace, 1, "deaf") as process:
        wait_until(lambda: lines(trace))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=5)
    assert process.returncode == 130
    assert not store.path(toy("deaf")).exists()


def test_a_step_that_swallows_the_interruption_is_not_finished(store: Store, trace: Path):
    with driver(store, trace, 1, "swallow") as process:
        wait_until(lambda: list(store.root.glob(".work/*/scratch/begun")))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert not store.path(toy("swallow")).exists()


def test_two_drivers_share_the_work(store: Store, trace: Path):
    with driver(store, trace, 2, *CHAIN, halt=f"saved {MIDDLE}") as first:
        wait_until(trace.with_name("reached").exists)
        with driver(store, trace, 2, *CHAIN) as second:
            assert second.stderr is not None
            wait_until(lambda: "waiting" in second.stderr.readline())
            open_gate(trace)
            errors = [process.communicate(timeout=PATIENCE)[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], errors
    assert "(by another run)" in errors[1]
    assert lines(trace) == ALL_ROUNDS
    check(store)


def test_a_full_disk(store: Store, trace: Path):
    """Runs on a disk of one megabyte, in a mount namespace that goes away with its process."""
    store.root.mkdir()
    mount: list[str] = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0" && exec "$@"']
    if (
        shutil.which("unshare") is None
        or subprocess.run([*mount, store.root, "true"], check=False).returncode
    ):
        pytest.skip("a small disk cannot be mounted here (it takes root and unshare)")
    program = [sys.executable, str(TESTS / "pipeline_toys.py"), str(store.root)]
    script = '"$@" 1 fill 4000000; echo "ended $?"; ls "$0"; "$@" 1 fill 1000; echo "ended $?"; ls "$0"'
    command = [*mount, str(store.root), "sh", "-c", script, str(store.root), *program]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "TOY_TRACE": str(trace)}
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    kept = toy("total", value=1)
    small = toy("fill", kept, bytes=1000)
    message, *after = result.stdout.splitlines()
    assert message.startswith("No space is left on the disk: "), result
    assert after == ["ended 2", "logs", kept.key, "ended 0", "logs", *sorted([kept.key, small.key])]
    assert lines(trace) == ["1"]
