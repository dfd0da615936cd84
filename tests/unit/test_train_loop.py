"""Runs end to end: killed and resumed to the bit, damaged files, milestones, the log, the predictor."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from emergelab.errors import ArtifactError, DamagedArtifactError
from emergelab.evaluate.trained import TrainedPredictor
from emergelab.model.spec import ModelSpec
from emergelab.model.transformer.parameters import initialise
from emergelab.rng import stream
from emergelab.scores.predictor import BranchingPredictor
from emergelab.train import loop
from emergelab.train.checkpoint import read_checkpoint
from emergelab.train.loop import DivergenceError, Run, train
from emergelab.train.spec import TrainSpec
from emergelab.train.step import Rule, fresh_state, loss_function, make_batch, step

MODEL = ModelSpec(vocabulary=7, width=16, heads=2, layers=2, context=12)
TRAIN = TrainSpec(batch=4, milestones=(100, 300, 600), warmup_steps=3, precision="float32")
PER_STEP = 30.0
STEPS = 20


def data(index: int):
    generator = stream(1, "data", index).generator()
    lengths = generator.integers(6, 14, size=TRAIN.batch).astype(np.int32)
    return generator.integers(0, 7, size=(TRAIN.batch, 13)).astype(np.uint16), lengths


def make_run(folder: Path, **changes: object):
    values = {"model": MODEL, "train": TRAIN, "data": data, "initialisation": stream(0)}
    return Run(**(values | {"tokens_per_step": PER_STEP, "directory": folder} | changes))


def results(folder: Path):
    names = [*(f"tokens-{mark}.safetensors" for mark in TRAIN.milestones), "log.parquet"]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("whole")
    train(make_run(folder))
    assert sorted(path.name for path in folder.iterdir()) == sorted(results(folder))
    return results(folder)


class Stop(BaseException):
    """What ends a run from outside."""


def stop_at(*places: int):
    left = list(places)

    def report(done: int, _steps: int) -> None:
        if left and done == left[0]:
            left.pop(0)
            raise Stop

    return report


@settings(
    max_examples=8, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, STEPS), max_size=3, unique=True).map(sorted))
def test_a_run_interrupted_anywhere_leaves_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, expected: dict[str, str], places: list[int]
):
    folder = tmp_path_factory.mktemp("parts")
    report = stop_at(*places)
    for _ in places:
        with pytest.raises(Stop):
            train(make_run(folder), report)
    train(make_run(folder), report)
    assert results(folder) == expected


def test_an_interrupt_inside_a_step_leaves_the_same_bits(
    tmp_path: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    calls = []
    real = loop.step

    def interrupted(*arguments: object) -> object:
        result = real(*arguments)
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(loop, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(make_run(tmp_path))
    train(make_run(tmp_path))
    assert len(calls) == STEPS + 1
    assert results(tmp_path) == expected


CHILD = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from test_train_loop import make_run, train
def report(done, steps: int):
    print(done, flush=True)
    time.sleep(0.05)
train(make_run(Path(sys.argv[1]), save_every=0.0), report)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_killed_process_is_resumed_to_the_same_bits(tmp_path: Path, expected: dict[str, str], number: int):
    here = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert child.stdout is not None
    with child.stdout as lines:
        for line in lines:
            if int(line) == 7:
                child.send_signal(number)
                break
    status = child.wait(30)
    assert status == (-9 if number == signal.SIGKILL else 128 + 15)
    assert not (tmp_path / "log.parquet").exists()
    seen = []
    train(make_run(tmp_path), lambda done, _steps: seen.append(done))
    assert 7 <= seen[0] <= 10
    assert results(tmp_path) == expected


@settings(
    max_examples=10, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.floats(0, 0.999), st.sampled_from(["cut", "changed"]))
def test_a_damaged_state_is_not_trusted(
    tmp_path_factory: pytest.TempPathFactory, expected: dict[str, str], share: float, damage: str
):
    folder = tmp_path_factory.mktemp("damaged")
    with pytest.raises(Stop):
        train(make_run(folder, save_every=0.0), stop_at(12))
    latest = folder / "resume.safetensors"
    content = bytearray(latest.read_bytes())
    place = int(share * len(content))
    content[place] ^= 0xFF
    latest.write_bytes(content[:place] if damage == "cut" else content)
    seen = []
    train(make_run(folder), lambda done, _steps: seen.append(done))
    assert 1 < seen[0] <= 13
    assert results(folder) == expected


def test_unfinished_work_lies_in_scratch_and_results_in_the_directory(
    tmp_path: Path, expected: dict[str, str]
):
    first, second, scratch = tmp_path / "first", tmp_path / "second", tmp_path / "scratch"
    with pytest.raises(Stop):
        train(make_run(first, scratch=scratch), stop_at(15))
    assert not list(first.iterdir())
    train(make_run(second, scratch=scratch))
    assert results(second) == expected
    assert not (scratch / "resume.safetensors").exists()


def test_the_state_of_another_run_is_refused(tmp_path: Path):
    with pytest.raises(Stop):
        train(make_run(tmp_path), stop_at(5))
    with pytest.raises(ArtifactError, match="another specification or initialisation"):
        train(make_run(tmp_path, initialisation=stream(1)))


def test_the_log_counts_targets_and_gives_losses_of_the_models_before_each_step(
    tmp_path: Path, expected: dict[str, str]
):
    train(make_run(tmp_path))
    log = pl.read_parquet(tmp_path / "log.parquet")
    lengths = np.array([data(index)[1] for index in range(STEPS)])
    assert dict(log.schema) == dict(loop.LOG)
    assert log["step"].to_list() == list(range(1, STEPS + 1))
    assert log["tokens"].to_list() == (lengths - 1).sum(1).cumsum().tolist()
    # At the start: the mean over counted targets of the initial model, from the predictor.
    words, lengths = data(0)
    predictor = TrainedPredictor("start", MODEL, initialise(MODEL, [stream(0)]))
    law = predictor.log_probabilities(words[:, :-1])
    nats = -np.take_along_axis(law, words[:, 1:, None].astype(int), 2)[..., 0]
    counted = np.arange(1, 13) < lengths[:, None]
    assert log["loss"][0] == pytest.approx(nats[counted].mean(), rel=1e-5)


def test_milestones_are_models_of_one_run(tmp_path: Path):
    train(make_run(tmp_path))
    log = pl.read_parquet(tmp_path / "log.parquet")
    for mark, reached in zip(TRAIN.milestones, (4, 10, 20), strict=True):
        checkpoint = read_checkpoint(tmp_path / f"tokens-{mark}.safetensors")
        assert (checkpoint.spec, checkpoint.step) == (MODEL, reached)
        assert checkpoint.tokens == log["tokens"][reached - 1]
    # The trunk of a longer run is the same: earlier milestones do not depend on the last one.
    longer = TRAIN.model_copy(update={"milestones": (100, 300, 900)})
    train(make_run(tmp_path / "longer", train=longer))
    for mark in (100, 300):
        short, long = (
            load_file(folder / f"tokens-{mark}.safetensors") for folder in (tmp_path, tmp_path / "longer")
        )
        assert all(torch.equal(short[name], long[name]) for name in short)


def test_replicas_train_like_separate_models():
    rule = Rule(TRAIN, STEPS, torch.float32, loss_function(MODEL, torch.float32))
    streams = [stream(0), stream(1)]
    together = fresh_state(MODEL, streams)
    apart = [fresh_state(MODEL, [one]) for one in streams]
    for index in range(3):
        documents = [data(index), data(index + 100)]
        together, _ = step(rule, together, make_batch(documents))
        apart = [
            step(rule, state, make_batch([pair]))[0] for state, pair in zip(apart, documents, strict=True)
        ]
    for r, state in enumerate(apart):
        for name, tensor in state.parameters.items():
            torch.testing.assert_close(together.parameters[name][r], tensor[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("counted", [1, 5, 63, 64, 65, 127, 128, 144])
def test_leaving_out_padding_changes_neither_loss_nor_gradient(counted: int):
    # Two replicas with the same documents take the way with padding, one alone that without.
    tokens = stream(2).generator().integers(0, 7, size=(12, 13)).astype(np.uint16)
    rest = np.clip(counted - 12 * np.arange(12), 0, 12)  # counted targets, document by document
    pair = (tokens, (rest + 1).astype(np.int32))
    losses = loss_function(MODEL, torch.float64)
    values = {name: value.double() for name, value in initialise(MODEL, [stream(0)]).items()}

    def loss_and_gradients(replicas: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        leaves = {
            name: value.expand(replicas, *value.shape[1:]).clone().requires_grad_()
            for name, value in values.items()
        }
        loss = losses(leaves, make_batch([pair] * replicas))
        return loss[0], [gradient[0] for gradient in torch.autograd.grad(loss.sum(), tuple(leaves.values()))]

    (loss, gradients), (expected, kept) = loss_and_gradients(1), loss_and_gradients(2)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for left_out, other in zip(gradients, kept, strict=True):
        torch.testing.assert_close(left_out, other, rtol=1e-9, atol=1e-12)


def test_training_lowers_the_loss_of_a_repeated_document():
    rule = Rule(TRAIN, STEPS, torch.float32, loss_function(MODEL, torch.float32))
    state, losses = fresh_state(MODEL, [stream(0)]), []
    for _ in range(STEPS):
        state, loss = step(rule, state, make_batch([data(0)]))
        losses.append(float(loss))
    assert losses[0] == pytest.approx(np.log(7), abs=0.3)
    assert losses[-1] < 0.7 * losses[0]


def test_a_loss_that_is_no_number_is_a_mistake_of_the_rates(tmp_path: Path):
    wild = TRAIN.model_copy(update={"other_learning_rate": 1e30})
    with pytest.raises(DivergenceError, match="other_learning_rate"):
        train(make_run(tmp_path, train=wild))


def test_a_finished_run_is_left_alone(tmp_path: Path, expected: dict[str, str]):
    train(make_run(tmp_path))
    train(make_run(tmp_path), stop_at(1))
    assert results(tmp_path) == expected


def test_a_changed_model_file_is_damaged(tmp_path: Path):
    train(make_run(tmp_path))
    path = tmp_path / "tokens-600.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedArtifactError, match="digest"):
        TrainedPredictor.load(path)
    with pytest.raises(ArtifactError, match="There is no file"):
        TrainedPredictor.load(tmp_path / "absent.safetensors")


def test_no_compiler_is_one_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(loop.shutil, "which", lambda _name: None)
    spec = TRAIN.model_copy(update={"compile": "yes"})
    loop.make_rule(MODEL, spec, PER_STEP, torch.device("cpu"))
    assert [record.message for record in caplog.records] == [
        "There is no C++ compiler: training runs uncompiled, with the same result."
    ]


def test_the_predictor_gives_laws_and_branches(tmp_path: Path):
    predictor = TrainedPredictor("small", MODEL, initialise(MODEL, [stream(0)]))
    assert isinstance(predictor, BranchingPredictor)
    words = data(0)[0][:, :10]
    law = predictor.log_probabilities(words)
    np.testing.assert_allclose(np.exp(law.astype(np.float64)).sum(2), 1, rtol=1e-5)
    stops = np.array([[1, 5], [2, 10], [3, 3], [4, 1]], dtype=np.int32)
    added = np.array(data(1)[0][:, :4].reshape(4, 2, 2))
    seen = predictor.branches(words).log_probabilities(stops, added)
    for b in range(4):
        for s in range(2):
            full = np.concatenate([words[b, : stops[b, s]], added[b, s]])[None]
            np.testing.assert_allclose(seen[b, s], predictor.log_probabilities(full)[0, -1], atol=1e-5)
    with pytest.raises(ValueError, match="built for 12 tokens"):
        predictor.log_probabilities(np.zeros((1, 13), np.uint16))


def test_batches_of_prompts_do_not_change_the_law(monkeypatch: pytest.MonkeyPatch):
    predictor = TrainedPredictor("small", MODEL, initialise(MODEL, [stream(0)]))
    words = np.concatenate([data(index)[0][:, :12] for index in range(3)])
    whole = predictor.log_probabilities(words)
    monkeypatch.setattr("emergelab.evaluate.trained._TOKENS_AT_ONCE", 60)
    np.testing.assert_allclose(predictor.log_probabilities(words), whole, atol=1e-6)
