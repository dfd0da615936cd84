"""Execution engines: who makes the artifacts. Worker processes, or this very process for debugging."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, Protocol, cast

from emergelab.pipeline.execute import Interruption, execute
from emergelab.pipeline.messages import Died, Measured, Message, Note, Progress, Task, decode

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
_READ_BYTES = 1 << 16
_SECONDS_TO_LEAVE = 5.0
_SECONDS_BETWEEN_LOOKS = 0.005


class Engine(Protocol):
    """Makes artifacts in numbered slots, one at a time in each."""

    @property
    def slots(self) -> int:
        """Return how many artifacts are made at once."""
        ...

    def start(self, slot: int, task: Task) -> None:
        """Begin `task` in the free `slot`."""
        ...

    def wait(self, seconds: float) -> Sequence[tuple[int, Message]]:
        """Return what has been said, waiting up to `seconds` for the first message."""
        ...

    def interrupt(self) -> None:
        """Ask all that is being made to stop where it can go on later."""
        ...

    def kill(self) -> None:
        """End all that is being made, now."""
        ...

    def close(self) -> None:
        """Let go of everything. No process is left behind."""
        ...


class Inline:
    """One slot in this process: slow to interrupt, but a debugger works."""

    slots = 1

    def __init__(self) -> None:
        self._said: list[tuple[int, Message]] = []

    def start(self, slot: int, task: Task) -> None:
        """Make the artifact of `task` before returning."""

        def send(message: Message) -> None:
            self._said.append((slot, message))

        # What the step prints is for the one who debugs it: no log.
        send(execute(task, send, Interruption(), lambda _: contextlib.nullcontext()))

    def wait(self, seconds: float) -> Sequence[tuple[int, Message]]:  # noqa: ARG002 - nothing to wait for
        """Return what has been said."""
        said, self._said = self._said, []
        return said

    def interrupt(self) -> None:
        """Do nothing: between two steps there is nothing to interrupt."""

    def kill(self) -> None:
        """Do nothing: between two steps there is nothing to kill."""

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


class Processes:
    """`slots` worker processes with `threads` threads each, started when first needed and then kept."""

    def __init__(self, slots: int, threads: int = 1) -> None:
        self.slots = slots
        self._environment = worker_environment(os.environ, threads)
        self._workers: dict[int, _Worker] = {}
        self._selector = selectors.DefaultSelector()

    def start(self, slot: int, task: Task) -> None:
        """Send `task` to the worker of `slot`, starting one where there is none."""
        worker = self._workers.get(slot) or self._hire(slot)
        worker.give(task)

    def wait(self, seconds: float) -> Sequence[tuple[int, Message]]:
        """Return what workers have said, and a `Died` for each that ended with its task unfinished."""
        said: list[tuple[int, Message]] = []
        for key, _ in self._selector.select(seconds):
            said.extend(self._hear(key.data))
        for slot, worker in list(self._workers.items()):
            if worker.has_ended():
                said.extend(self._bury(slot))
        return said

    def interrupt(self) -> None:
        """Send SIGTERM to every worker that has a task."""
        for worker in self._workers.values():
            if worker.busy:
                os.kill(worker.process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill every worker and what it has started."""
        for worker in self._workers.values():
            worker.kill()

    def close(self) -> None:
        """Let idle workers leave and kill the others; wait for all of them."""
        for worker in self._workers.values():
            worker.dismiss()
        for worker in self._workers.values():
            worker.see_out()
        self._workers.clear()
        self._selector.close()

    def _hire(self, slot: int) -> _Worker:
        worker = _Worker(self._environment)
        self._workers[slot] = worker
        self._selector.register(worker.output, selectors.EVENT_READ, slot)
        return worker

    def _hear(self, slot: int) -> list[tuple[int, Message]]:
        return [(slot, message) for message in self._workers[slot].read()]

    def _bury(self, slot: int) -> list[tuple[int, Message]]:
        worker = self._workers.pop(slot)
        self._selector.unregister(worker.output)
        said = [(slot, message) for message in worker.last_words()]
        return [*said, (slot, Died(worker.end()))] if worker.busy else said


def worker_environment(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return `environment` with every library's number of threads set to `threads`."""
    return {**environment, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


class _Worker:
    """One worker process in a session of its own, so that the terminal's Ctrl-C reaches the driver alone."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # -P: a file in the working folder must not pass for a module.
        command = [sys.executable, "-P", "-m", "emergelab.pipeline.worker", str(os.getpid())]
        self.process = subprocess.Popen(  # noqa: S603 - a command of our own
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._stdin = cast("IO[bytes]", self.process.stdin)
        self._stdout = cast("IO[bytes]", self.process.stdout)
        self.output = self._stdout.fileno()
        os.set_blocking(self.output, False)
        self.busy = False
        self._unread = b""

    def give(self, task: Task) -> None:
        self.busy = True
        # A worker that is dead already is found by the next `wait`.
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(task.encode())
            self._stdin.flush()

    def read(self) -> list[Message]:
        """Return the messages that have come in whole."""
        with contextlib.suppress(BlockingIOError):
            self._unread += os.read(self.output, _READ_BYTES)
        *lines, self._unread = self._unread.split(b"\n")
        messages = [decode(line) for line in lines]
        self.busy = self.busy and not any(_is_last(message) for message in messages)
        return messages

    def last_words(self) -> list[Message]:
        """Return what a dead worker had said and nobody has read."""
        with contextlib.suppress(BlockingIOError):
            while heard := os.read(self.output, _READ_BYTES):
                self._unread += heard
        return self.read()

    def end(self) -> str:
        """Say how the process ended; end what it has started."""
        self.see_out()
        code = self.process.returncode
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def dismiss(self) -> None:
        if self.busy:
            self.kill()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    def has_ended(self) -> bool:
        """Say whether the process is over; leave it unreaped, so that nobody else gets its number."""
        if self.process.returncode is not None or not hasattr(os, "waitid"):
            return self.process.poll() is not None
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, options) is not None

    def see_out(self) -> None:
        """Wait for the process, not for long, and end what is left of its group."""
        deadline = time.monotonic() + _SECONDS_TO_LEAVE
        while not self.has_ended() and time.monotonic() < deadline:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()


def _is_last(message: Message) -> bool:
    return not isinstance(message, Progress | Note | Measured)
