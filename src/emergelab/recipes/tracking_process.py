"""The process that tells a tracker: reads JSON lines on stdin, says on stdout what went wrong, ends with its input.

Trackers are those of Hugging Face's accelerate. Each training run has a thread of its own, since MLflow knows one
run a thread, and a file that says how far the tracker has been told:

    <run>/tracking/state/<tracker>/<training>.json
    <run>/tracking/tensorboard/<name>/              event files
    <run>/tracking/mlflow.db or mlruns/             where MLFLOW_TRACKING_URI names no other place
    <run>/tracking/wandb/
"""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from emergelab.pipeline.files import write_text
from emergelab.spec import canonical_json

_TRAINING = ("loss", "learning_rate", "tokens", "tokens_per_second")


class Sink(Protocol):
    """What accelerate calls a tracker: one run of it."""

    @property
    def tracker(self) -> Any:
        """The library's own object."""
        ...

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Take numbers that belong to a step."""
        ...

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Take the run's settings."""
        ...

    def finish(self) -> None:
        """End the run."""
        ...


@dataclass
class _State:
    """How far a tracker has been told about a run: `name` and `id` that it has there, last step, cells."""

    path: Path
    name: str
    id: str | None = None
    step: int = 0
    cells: list[str] = field(default_factory=list[str])

    @classmethod
    def read(cls, path: Path, name: str) -> _State:
        try:
            return cls(path, **json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls(path, name)

    def write(self) -> None:
        values = {"name": self.name, "id": self.id, "step": self.step, "cells": list(self.cells)}
        write_text(self.path, canonical_json(values))


class _Run(threading.Thread):
    """Tells the tracker about one training run, in the order in which it is told itself."""

    def __init__(self, place: _Place, about: Mapping[str, Any]) -> None:
        super().__init__(name=about["name"])
        self._place, self._about = place, about
        self._state = _State.read(place.state(about["run"]), about["name"])
        self._sink: Sink | None = None
        self.inbox: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()

    def run(self) -> None:
        """Serve until the inbox ends, or until the tracker fails."""
        try:
            while (message := self.inbox.get()) is not None:
                self._take(message)
            if self._sink is not None:
                self._sink.finish()
        except Exception as error:  # noqa: BLE001 - whatever a tracker raises must not end the others
            traceback.print_exc()
            self._place.complain(error)

    def _take(self, message: Mapping[str, Any]) -> None:
        if "step" in message:
            self._tell_step(message["step"], message["values"])
        elif message["kind"] == "train":
            self._catch_up(Path(message["artifact"]))
        elif message["key"] not in self._state.cells:
            self._tell_cell(message["key"], Path(message["artifact"]))

    def _tell_step(self, step: int, values: Mapping[str, float]) -> None:
        if step <= self._state.step:
            return
        sink = self._opened()
        # Written down first: a kill in between loses one point and doubles none.
        self._state.step = step
        self._state.write()
        self._log(sink, {f"train/{name}": values[name] for name in _TRAINING if name in values}, step)

    def _catch_up(self, artifact: Path) -> None:
        """Tell from a finished training's log what the tracker has not been told."""
        import polars as pl  # noqa: PLC0415 - slow to import

        from emergelab.train.metrics import recorded_points  # noqa: PLC0415
        from emergelab.train.spec import TrainSpec  # noqa: PLC0415

        log = pl.read_parquet(artifact / "log.parquet")
        if log.height <= self._state.step:
            return
        spec = TrainSpec.model_validate_json(json.dumps(self._about["spec"]["train"]))
        for step, values in recorded_points(spec, log["loss"].to_numpy(), log["tokens"].to_numpy()).items():
            self._tell_step(step, values)

    def _tell_cell(self, key: str, artifact: Path) -> None:
        record = json.loads((artifact / "cell.json").read_text(encoding="utf-8"))
        step = record["documents_read"] // self._about["spec"]["train"]["batch"]
        values = {"evaluation/loss": record["loss"], **headlines(artifact / "items.parquet")}
        sink = self._opened()
        self._state.cells.append(key)
        self._state.write()
        self._log(sink, values, step)

    def _log(self, sink: Sink, values: Mapping[str, float], step: int) -> None:
        if self._place.tracker == "wandb":
            # Scores come after the training's last step, and wandb takes rising steps only.
            sink.log({**values, "step": step})
        else:
            sink.log(values, step=step)

    def _opened(self) -> Sink:
        if self._sink is None:
            self._sink = self._place.open(self._state, self._about)
            self._state.write()
        return self._sink


def headlines(items: Path) -> dict[str, float]:
    """Return accuracy and nats by task, form and split: fresh arguments, teacher-forced, with all examples."""
    import polars as pl  # noqa: PLC0415 - slow to import

    group = ("task", "form", "split")
    asked = (pl.col("decoding") == "teacher_forced") & (pl.col("argument") == "fresh") & (pl.col("step") == 0)
    answers = pl.read_parquet(items).filter(asked)
    last = answers.filter(pl.col("shot") == pl.col("shot").max().over(group))
    means = last.group_by(group).agg(pl.col("correct").mean(), pl.col("nats").mean()).sort(group)
    found: dict[str, float] = {}
    for task, form, split, correct, nats in means.iter_rows():
        found |= {f"accuracy/{task}.{form}.{split}": correct, f"nats/{task}.{form}.{split}": nats}
    return found


@dataclass
class _Place:
    """Where the tracker's files lie, and how its runs are opened."""

    tracker: str
    folder: Path
    project: str
    complained: bool = False
    prepared: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    opening: threading.Lock = field(default_factory=threading.Lock)

    def state(self, run: str) -> Path:
        """Return the file that says how far the tracker was told about a run."""
        return self.folder / "state" / self.tracker / f"{run}.json"

    def complain(self, error: Exception) -> None:
        """Say once that the tracker fails."""
        with self.lock:
            if not self.complained:
                self.complained = True
                summary = str(error).strip().partition("\n")[0][:300] or type(error).__name__
                text = (
                    f"{self.tracker} fails and is not told everything: {summary.rstrip('.')}. The run goes on. "
                    f"Give the same command again to tell it the rest. More is in {self.folder / self.tracker}.log."
                )
                _say({"problem": text})

    def open(self, state: _State, about: Mapping[str, Any]) -> Sink:
        """Open a run of the tracker, a new one or that of an earlier command."""
        fresh = state.id is None
        parameters = flattened(about["spec"])
        with self.opening:  # the libraries' own beginnings are not made for several threads
            self._prepare()
            sink: Sink = getattr(self, f"_open_{self.tracker}")(state, parameters)
        if fresh and self.tracker == "mlflow":
            sink.store_init_configuration(parameters)
        return sink

    def _prepare(self) -> None:
        """Say where files go, unless the user has said so, and that this process does no training."""
        if self.prepared:
            return
        from accelerate.state import PartialState  # noqa: PLC0415 - loads torch

        PartialState(cpu=True)
        # One run's number would make one run of all.
        os.environ.pop("MLFLOW_RUN_ID", None)
        if "MLFLOW_TRACKING_URI" not in os.environ:
            if importlib.util.find_spec("sqlalchemy"):
                os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{self.folder / 'mlflow.db'}"
            else:
                os.environ["MLFLOW_TRACKING_URI"] = (self.folder / "mlruns").as_uri()
                os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        self.prepared = True

    def _open_tensorboard(self, state: _State, parameters: Mapping[str, Any]) -> Sink:
        from accelerate.tracking import TensorBoardTracker  # noqa: PLC0415 - loads torch
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # noqa: PLC0415

        root, taken, count = self.folder / "tensorboard", state.name, 1
        while state.id is None and (root / state.name).exists():  # of other settings in this folder
            count += 1
            state.name = f"{taken} ({count})"
        sink = TensorBoardTracker(state.name, str(root))
        sink.start()
        if state.id is None:
            state.id = state.name
            # Into the run's own file: the library's way makes a second run out of the settings.
            cast("Any", sink.writer).file_writer.add_summary(hparams_pb(parameters))
        return cast("Sink", sink)

    def _open_mlflow(self, state: _State, parameters: Mapping[str, Any]) -> Sink:
        from accelerate.tracking import MLflowTracker  # noqa: PLC0415 - loads torch

        del parameters
        sink = MLflowTracker(experiment_name=self.project, run_id=state.id, run_name=state.name)
        sink.start()
        state.id = sink.tracker.info.run_id
        return cast("Sink", sink)

    def _open_wandb(self, state: _State, parameters: Mapping[str, Any]) -> Sink:
        from accelerate.tracking import WandBTracker  # noqa: PLC0415 - loads torch

        sink = WandBTracker(
            self.project,
            name=state.name,
            id=state.id,
            resume="allow",
            reinit="create_new",
            dir=str(self.folder),
            config=dict(parameters),
        )
        sink.start()
        state.id = sink.tracker.id
        sink.tracker.define_metric("*", step_metric="step")
        return cast("Sink", sink)


def flattened(spec: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Return a run's specification as settings with dotted names; lists and nothing as text."""
    flat: dict[str, bool | int | float | str] = {}
    for name, value in spec.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            flat[prefix + name] = (
                value if isinstance(value, bool | int | float | str) else canonical_json(value)
            )
    return flat


def _say(message: Mapping[str, str]) -> None:
    os.write(_PROTOCOL, json.dumps(message).encode() + b"\n")


_PROTOCOL = 3


def main() -> None:
    """Serve until stdin ends."""
    tracker, folder, project = sys.argv[1:4]
    # What libraries print goes to the log.
    os.dup2(1, _PROTOCOL)
    os.dup2(2, 1)
    place = _Place(tracker, Path(folder), project)
    _serve(place)


def _serve(place: _Place) -> None:
    known: dict[str, Mapping[str, Any]] = {}
    left: dict[str, set[str]] = {}
    runs: dict[str, _Run] = {}
    for line in sys.stdin:
        message = json.loads(line)
        if "runs" in message:
            known = {about["run"]: about for about in message["runs"]}
            left = {key: {key, *about["cells"]} for key, about in known.items()}
            continue
        key = message["run"]
        if key not in runs:
            runs[key] = _Run(place, known[key])
            runs[key].start()
        runs[key].inbox.put(message)
        if "artifact" in message:
            left[key].discard(message["key"])
            if not left[key]:
                runs[key].inbox.put(None)
    for run in runs.values():
        run.inbox.put(None)
    for run in runs.values():
        run.join()


if __name__ == "__main__":
    main()
