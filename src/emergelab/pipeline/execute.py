"""Make one artifact here and now: lock, run the step's function, put the result into the store."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, cast

from emergelab.errors import UserError
from emergelab.pipeline.files import StorageError, full_disk_problem
from emergelab.pipeline.locks import LockedError
from emergelab.pipeline.manifest import Making
from emergelab.pipeline.messages import (
    Busy,
    Done,
    Failed,
    Interrupted,
    Measured,
    Message,
    Note,
    Progress,
    Task,
)
from emergelab.pipeline.step import StepContext, StepInterrupted
from emergelab.pipeline.store import Store
from emergelab.spec import Json

_SECONDS_BETWEEN_PROGRESS = 0.1
_ENDED_BY_REQUEST = 128 + signal.SIGTERM


class StepFunction(Protocol):
    """The shape of every step's function."""

    def __call__(
        self, spec: Mapping[str, Json], inputs: Mapping[str, Path], out: Path, context: StepContext, /
    ) -> None:
        """Fill the folder `out`."""
        ...


class Interruption:
    """A request to end, and whether the step can be trusted to notice it.

    A step notices in its next `progress`, a place that it chose. One that has not called it yet has no
    such place: the process ends at once, which harms nothing, for an artifact is whole or absent.
    """

    def __init__(self) -> None:
        self.asked = False
        self.patient = True

    def ask(self, *_: object) -> None:
        """Ask to end; the handler of SIGTERM in a worker."""
        self.asked = True
        if not self.patient:
            os._exit(_ENDED_BY_REQUEST)


def execute(
    task: Task,
    send: Callable[[Message], None],
    interruption: Interruption,
    capture: Callable[[Path], AbstractContextManager[None]],
) -> Message:
    """Make the artifact of `task` and return how that ended.

    `send` takes progress and notes; `capture(log)` is entered while the step has its lock.
    """
    store = Store(Path(task.root))
    try:
        with store.lock(task.identity), capture(store.log(task.identity)):
            return _make(store, task, _Reports(send, interruption))
    except LockedError as error:
        return Busy(str(error))
    except StepInterrupted:
        return Interrupted()
    except UserError as error:
        return Failed(str(error), mistake=True, stops_run=isinstance(error, StorageError))
    except Exception as error:  # noqa: BLE001 - whatever a step raises is reported, never lost
        return _failure(error, store.root, store.log(task.identity))
    finally:
        interruption.patient = True


def resolve(function: str) -> StepFunction:
    """Return the function written 'package.module:function'."""
    module, _, name = function.partition(":")
    return cast("StepFunction", getattr(importlib.import_module(module), name))


def _make(store: Store, task: Task, reports: _Reports) -> Message:
    if store.finished(task.identity) and not (task.again and store.dropped(task.identity)):
        return Done(made=False)
    out, scratch = store.workplace(task.identity)
    inputs = {name: store.root / key for name, key in task.inputs.items()}
    reports.interruption.patient = False
    context = StepContext(scratch, reports.progress, reports.note, reports.measured)
    begun = time.monotonic()
    resolve(task.identity.function)(task.identity.spec, inputs, out, context)
    reports.interruption.patient = True
    if reports.interrupted:
        # The function caught the interruption and returned: what it wrote is not the whole result.
        raise StepInterrupted
    store.adopt(task.identity, out, Making(task.name, round(time.monotonic() - begun, 3)))
    return Done(made=True)


def _failure(error: Exception, root: Path, log: Path) -> Failed:
    problem = full_disk_problem(error, root)
    if problem is not None:
        return Failed(problem, mistake=True, stops_run=True)
    summary = "".join(traceback.format_exception_only(error)).strip()
    text = "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
        file.write(text)
    return Failed(summary, text)


class _Reports:
    """Passes a step's reports on: progress ten times a second at most, each note once."""

    def __init__(self, send: Callable[[Message], None], interruption: Interruption) -> None:
        self.interruption = interruption
        self.interrupted = False
        self._send = send
        self._next_at = 0.0
        self._noted: set[str] = set()

    def progress(self, done: float, total: float) -> None:
        self.interruption.patient = True
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + _SECONDS_BETWEEN_PROGRESS
            self._send(Progress(float(done), float(total)))
        if self.interruption.asked:
            self.interrupted = True
            raise StepInterrupted

    def note(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._send(Note(text))

    def measured(self, done: int, values: Mapping[str, float]) -> None:
        self._send(Measured(done, {name: float(value) for name, value in values.items()}))
