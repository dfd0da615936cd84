"""Metrics in a tracker's own files, read back by the tracker's own readers, against the run's tables."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest

from emergelab.pipeline import events
from emergelab.pipeline.events import Silent
from emergelab.pipeline.graph import State
from emergelab.recipes.running import prepare_request
from emergelab.recipes.trackers import Tracker
from emergelab.recipes.tracking import tracked
from emergelab.recipes.tracking_process import flattened
from study_runs import Answer, command, process, write_study

pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("tensorboard", reason="tensorboard is not installed")

STUDY = """
grammar = "tiny.cag"
key = 1
model = { width = 16, layers = [1, 2], heads = 2, context = 24 }
train = { tokens = [1e3, 2e3], batch = 8, warmup_steps = 2, precision = "float32", compile = "no" }
evaluate = { tasks = ["pair"], shots = 2, prompts = 20, loss_documents = 16 }
"""
RUNS = ["layers=1,width=16,seed=0", "layers=2,width=16,seed=0"]

# One process runs all of these, so that the study is trained once.
pytestmark = pytest.mark.xdist_group("tracking")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return tag → (step, value), in the order written."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    tags = cast("list[str]", found.Tags()["scalars"])
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in tags}


def run_it(folder: Path, *trackers: str) -> Answer:
    words = [word for tracker in trackers for word in ("--track", tracker)]
    answer = command("run", folder / "tiny.toml", "--out", folder / "run", "--workers", "2", *words)
    assert answer.code == 0, answer
    return answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a study with TensorBoard from the beginning on."""
    folder = tmp_path_factory.mktemp("tracked")
    write_study(folder, STUDY)
    answer = run_it(folder, "tensorboard")
    assert "note" not in answer.errors
    return folder


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(next((folder / "run/store").glob("tables-*")) / f"{name}.parquet")


def log_of(folder: Path, run: str) -> pl.DataFrame:
    for path in (folder / "run/store").glob("train-*/log.parquet"):
        if json.loads((path.parent / "manifest.json").read_text())["spec"]["model"]["layers"] == int(run[7]):
            return pl.read_parquet(path)
    raise AssertionError(run)


@pytest.mark.parametrize("run", RUNS)
def test_tensorboard_has_every_step_of_the_log_once(folder: Path, run: str):
    found, log = scalars(folder / "run/tracking/tensorboard" / run), log_of(folder, run)
    for tag in ("loss", "learning_rate", "tokens"):
        steps, values = zip(*found[f"train/{tag}"], strict=True)
        assert list(steps) == log["step"].to_list()
        assert values == pytest.approx(log[tag].to_list(), rel=1e-6)
    assert all(value > 0 for _, value in found["train/tokens_per_second"])


@pytest.mark.parametrize("run", RUNS)
def test_tensorboard_has_the_headlines_of_each_cell(folder: Path, run: str):
    found = scalars(folder / "run/tracking/tensorboard" / run)
    for tokens in (1000, 2000):
        cell = f"{run},tokens={tokens}"
        ((loss, documents),) = (
            table(folder, "cells").filter(cell=cell).select("loss", "documents_read").rows()
        )
        assert (documents // 8, pytest.approx(loss)) in found["evaluation/loss"]
        scores = table(folder, "scores").filter(
            cell=cell, decoding="teacher_forced", argument="fresh", shots=2
        )
        assert len(scores) == 4
        for row in scores.iter_rows(named=True):
            name = f"{row['task']}.{row['form']}.{row['split']}"
            assert (documents // 8, pytest.approx(row["accuracy"])) in found[f"accuracy/{name}"]
            assert (documents // 8, pytest.approx(row["nats"])) in found[f"nats/{name}"]


def test_tensorboard_has_one_run_for_each_training_with_its_settings(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    place = folder / "run/tracking/tensorboard"
    assert sorted(path.name for path in place.iterdir()) == RUNS
    found = EventAccumulator(str(place / RUNS[1])).Reload()
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"train.matrix_learning_rate" in content
    assert b"model.layers" in content


def test_what_was_told_is_not_told_again(folder: Path):
    place = folder / "run/tracking"
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    run_it(folder, "tensorboard")
    assert before == {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_tracker_named_later_is_told_all(folder: Path):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    for _ in range(2):
        assert "note" not in run_it(folder, "mlflow").errors
    place = folder / "run/tracking"
    uri = f"sqlite:///{place}/mlflow.db" if (place / "mlflow.db").exists() else (place / "mlruns").as_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        client = mlflow.MlflowClient(uri)
        experiment = client.get_experiment_by_name("tiny")
        runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
        assert sorted(runs) == RUNS
        for name, run in runs.items():
            log = log_of(folder, name)
            history = client.get_metric_history(run.info.run_id, "train/loss")
            told = sorted((one.step, one.value) for one in history)
            assert [step for step, _ in told] == log["step"].to_list()
            assert [value for _, value in told] == pytest.approx(log["loss"].to_list(), rel=1e-6)
            assert run.data.params["model.layers"] == name[7]
            assert run.data.params["train.batch"] == "8"
            assert run.info.status == "FINISHED"
            assert len(client.get_metric_history(run.info.run_id, "evaluation/loss")) == 2


@pytest.mark.slow
def test_a_server_that_is_away_costs_the_metrics_alone(folder: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    other = folder.parent / f"{folder.name}-away"
    other.mkdir()
    write_study(other, STUDY)
    (other / "run").symlink_to(folder / "run")
    for path in (folder / "run/tracking/state").glob("mlflow/*"):
        path.unlink()
    answer = run_it(other, "mlflow")
    assert answer.errors.count("note") == 1
    assert "mlflow fails" in answer.errors
    assert "Give the same command again" in answer.errors
    assert "Traceback" in (folder / "run/tracking/mlflow.log").read_text()


def tell(folder: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Start the tracker's process, tell it lines, and end its input."""
    words = [sys.executable, "-m", "emergelab.recipes.tracking_process", "tensorboard", str(folder), "toy"]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    answer = subprocess.run(words, input=text, capture_output=True, text=True, check=True)
    assert answer.stdout == "", answer


def steps(run: str, numbers: Iterable[int]) -> list[dict[str, Any]]:
    about = {"run": run, "name": "a run", "spec": {"train": {"batch": 8}}, "cells": ["cell-1"]}
    told = [{"run": run, "kind": "train", "key": run, "step": n, "values": {"loss": 1 / n}} for n in numbers]
    return [{"runs": [about]}, *told]


def test_steps_that_are_told_again_are_there_once_and_other_settings_are_another_run(tmp_path: Path):
    tell(tmp_path, steps("train-1", range(1, 8)))
    more, other = steps("train-1", [*range(1, 11), *range(4, 13)]), steps("train-2", range(1, 4))
    tell(tmp_path, [{"runs": more[0]["runs"] + other[0]["runs"]}, *more[1:], *other[1:]])
    first = scalars(tmp_path / "tensorboard/a run")["train/loss"]
    assert [step for step, _ in first] == list(range(1, 13))
    assert [value for _, value in first] == pytest.approx([1 / n for n in range(1, 13)])
    assert len(scalars(tmp_path / "tensorboard/a run (2)")["train/loss"]) == 3


class Record(Silent):
    """A reporter that keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def report(self, event: events.Event) -> None:
        if isinstance(event, events.Noted):
            self.notes.append(event.text)


def test_a_tracker_that_is_not_there_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    request = prepare_request(str(write_study(tmp_path, STUDY)), out=tmp_path / "run")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    record, tables = Record(), request.grid.tables
    reporter = tracked(record, [Tracker.wandb, Tracker.wandb], request.grid, request.folder)
    for event in (
        events.Planned(((tables, State.TO_DO),), 1),
        events.Measured(next(iter(tables.inputs.values())), 0, 1, {"loss": 1.0}),
        events.Ended(1, 1, 1.0, interrupted=False, failed=0, root=tmp_path),
    ):
        reporter.report(event)
    (note,) = record.notes
    assert "wandb cannot be imported" in note
    assert "pip install" in note
    assert not (tmp_path / "run").exists()


def test_a_process_that_dies_is_noticed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    request = prepare_request(str(write_study(tmp_path, STUDY)), out=tmp_path / "run")
    monkeypatch.setattr("sys.executable", "/bin/false")
    record, tables = Record(), request.grid.tables
    reporter = tracked(record, [Tracker.tensorboard], request.grid, request.folder)
    training = next(step for step in tables.inputs.values() if step.kind == "train")
    reporter.report(events.Planned(((tables, State.TO_DO),), 1))
    for number in range(2000):
        reporter.report(events.Measured(training, 0, number, {"loss": 1.0}))
    reporter.report(events.Ended(1, 1, 1.0, interrupted=False, failed=0, root=tmp_path))
    (note,) = record.notes
    assert "goes on without it" in note


def test_settings_are_flat():
    spec = {"seed": 0, "documents": None, "train": {"betas": [0.9, 0.95], "compile": "no"}, "keys": {}}
    assert flattened(spec) == {
        "seed": 0,
        "documents": "null",
        "train.betas": "[0.9,0.95]",
        "train.compile": "no",
    }


@pytest.mark.slow
def test_a_driver_killed_and_run_again_leaves_every_step_once(tmp_path: Path):
    write_study(tmp_path, STUDY.replace("[1e3, 2e3]", "[2e5, 4e5]").replace("[1, 2]", "2"))
    words = ("run", tmp_path / "tiny.toml", "--out", tmp_path / "run", "--track", "tensorboard")
    state = tmp_path / "run/tracking/state/tensorboard"
    with subprocess.Popen(
        [sys.executable, "-c", "from emergelab.cli import main; main()", *map(str, words)],
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    ) as driver:
        while driver.poll() is None and not any(state.glob("*.json")):
            pass
        driver.kill()
    assert process(*words).code == 0
    log = pl.read_parquet(next((tmp_path / "run/store").glob("train-*/log.parquet")))
    told = [step for step, _ in scalars(tmp_path / "run/tracking/tensorboard" / RUNS[1])["train/loss"]]
    assert len(told) == len(set(told))
    assert told == sorted(told)
    # The point that was being told when the process was killed may be missing, and no other.
    assert len(told) >= len(range(0, log.height, -(-log.height // 500))) - 1
    assert told[-1] == log.height
