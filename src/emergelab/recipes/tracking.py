"""Handing metrics to an experiment tracker while a study runs, and catching up on what it missed.

A tracker lives in a process of its own (`tracking_process`), told by JSON lines. So nothing that its libraries
print, load or wait for touches the run, and a tracker that fails costs the metrics alone. What it has been told is
written down in the run's folder: the same command tells it the rest and nothing twice.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from emergelab.pipeline import events
from emergelab.pipeline.events import Event, Reporter
from emergelab.pipeline.files import storage_errors
from emergelab.pipeline.step import Step
from emergelab.recipes.grid import Grid
from emergelab.recipes.run_folder import RunFolder
from emergelab.recipes.trackers import Tracker
from emergelab.spec import Json

_SECONDS_TO_FINISH = 30.0
_SECONDS_BETWEEN_LOOKS = 0.02
_READ_BYTES = 1 << 16
# A run must not wait minutes for a server that is away, nor take a GPU for its metrics.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "WANDB_SILENT": "true",
}
_FIXED = {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}


def tracked(reporter: Reporter, trackers: Sequence[Tracker], grid: Grid, folder: RunFolder) -> Reporter:
    """Return a reporter that shows a run as `reporter` does and tells it to the trackers, too."""
    for tracker in dict.fromkeys(trackers):
        reporter = _Tracked(reporter, tracker, grid, folder)
    return reporter


class _Tracked:
    """Tells a run's numbers to one tracker."""

    def __init__(self, reporter: Reporter, tracker: Tracker, grid: Grid, folder: RunFolder) -> None:
        self._reporter, self._tracker = reporter, tracker
        self._grid, self._folder = grid, folder
        self._runs = dict(_runs(grid))
        self._process: _Process | None = None

    def report(self, event: Event) -> None:
        """Tell the tracker what concerns it, and show `event`."""
        if isinstance(event, events.Ended):
            self._end()
        else:
            self._hear()
        self._reporter.report(event)
        match event:
            case events.Planned():
                self._begin()
            case events.Measured(step, _, done, values):
                self._send(step, {"step": done, "values": dict(values)})
            case events.Finished(step) | events.Skipped(step):
                self._send(step, {"artifact": str(self._folder.store.path(step))})
            case _:
                pass

    def _begin(self) -> None:
        missing = [name for name in ("accelerate", self._tracker) if importlib.util.find_spec(name) is None]
        if missing:
            self._note(
                f"Nothing is sent to {self._tracker}, for {' and '.join(missing)} cannot be imported; the run goes on. "
                f"Install: pip install 'emergelab[trackers]' {self._tracker}"
            )
            return
        self._process = _Process(self._tracker, self._folder, self._grid.name)
        self._process.tell({"runs": list(self._runs.values())})

    def _send(self, step: Step, told: Mapping[str, Json]) -> None:
        """Tell what was found out about a run or one of its cells."""
        training = step.inputs.get("train", step)
        if self._process is not None and training.key in self._runs:
            self._process.tell({"run": training.key, "kind": step.kind, "key": step.key, **told})

    def _hear(self) -> None:
        for problem in self._process.problems() if self._process else ():
            self._note(problem)

    def _end(self) -> None:
        if self._process is None:
            return
        finished = self._process.finish(_SECONDS_TO_FINISH)
        self._hear()
        self._process.close()
        self._process = None
        if not finished:
            self._note(
                f"{self._tracker} took longer than {_SECONDS_TO_FINISH:.0f} s to take the last metrics and was left "
                "alone. Give the same command again: it is told the rest."
            )

    def _note(self, text: str) -> None:
        self._reporter.report(events.Noted(self._grid.tables, text))


def _runs(grid: Grid) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yield for each training run its key and what a tracker needs to know of it beforehand."""
    cells: dict[str, list[Json]] = {}
    for step in grid.tables.inputs.values():
        if step.kind == "cell":
            cells.setdefault(step.inputs["train"].key, []).append(step.key)
    for name, step in grid.tables.inputs.items():
        if step.kind == "train":
            yield (
                step.key,
                {
                    "run": step.key,
                    "name": name.removeprefix("run "),
                    "spec": step.spec,
                    "cells": cells.get(step.key, []),
                },
            )


class _Process:
    """The tracker's process. Telling it never waits for the tracker, and never fails."""

    def __init__(self, tracker: Tracker, folder: RunFolder, project: str) -> None:
        place = folder.path / "tracking"
        with storage_errors(place):
            place.mkdir(parents=True, exist_ok=True)
            log = (place / f"{tracker}.log").open("ab")
        module = "emergelab.recipes.tracking_process"
        with log:
            self._process = subprocess.Popen(  # noqa: S603 - a command of our own
                [sys.executable, "-P", "-m", module, str(tracker), str(place.absolute()), project],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**_SETTINGS, **os.environ, **_FIXED},
                start_new_session=True,
            )
        self._log = Path(log.name)
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        self._output = self._stdout.fileno()
        os.set_blocking(self._output, False)
        self._unread = b""
        self._lost = False

    def tell(self, message: Mapping[str, Json]) -> None:
        """Send one line. A process that is gone is noticed by `problems`."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._stdin.write(json.dumps(message).encode() + b"\n")
            self._stdin.flush()

    def problems(self) -> list[str]:
        """Return what has gone wrong since the last time."""
        with contextlib.suppress(BlockingIOError):
            while heard := os.read(self._output, _READ_BYTES):
                self._unread += heard
        *lines, self._unread = self._unread.split(b"\n")
        found = [str(json.loads(line)["problem"]) for line in lines]
        if self._process.poll() not in {None, 0} and not self._lost:
            self._lost = True
            found.append(
                f"The tracker's process ended; the run goes on without it. What it said is in {self._log}."
            )
        return found

    def finish(self, seconds: float) -> bool:
        """Let the tracker take what it was told. Return False where it was still at it after so many seconds."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        deadline = time.monotonic() + seconds
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                self._lost = True
                return False
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return True

    def close(self) -> None:
        """Let go of a process that has finished."""
        self._stdout.close()
