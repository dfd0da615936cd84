"""The loop around `step.step`: data in, models at their milestones and a log out, resumable at any point."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeAlias

import numpy as np
import polars as pl
import torch
from jaxtyping import Float32, Int32, UInt16
from torch import Tensor

from emergelab.errors import UserError
from emergelab.model.spec import ModelSpec
from emergelab.model.transformer.parameters import MATRICES, shapes
from emergelab.rng import Stream
from emergelab.spec import canonical_json
from emergelab.train.checkpoint import (
    Checkpoint,
    milestone_path,
    read_resume,
    remove_resume,
    write_checkpoint,
    write_resume,
)
from emergelab.train.metrics import Meter, Send
from emergelab.train.optimiser import Moments
from emergelab.train.spec import TrainSpec, learning_rate_factor, milestone_steps
from emergelab.train.step import Losses, Rule, State, fresh_state, loss_function, make_batch, step

Documents: TypeAlias = tuple[UInt16[np.ndarray, "B length"], Int32[np.ndarray, " B"]]
Data: TypeAlias = Callable[[int], Documents]

LOG = pl.Schema({"step": pl.Int32, "tokens": pl.Int64, "loss": pl.Float32, "learning_rate": pl.Float64})
"""The log: steps from 1, counted target tokens up to and with the step, its loss in nats, Muon's rate."""

LOG_NAME = "log.parquet"

_LOGGER = logging.getLogger(__name__)


class DivergenceError(UserError):
    """The loss of a run is no longer a number."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is trained, on what, from where and how it is kept.

    `data` is a pure function step → (tokens, lengths) of one batch, steps from 0. `tokens_per_step` is the
    expected number of its counted targets, by which milestones become steps: the same ones for every seed.
    """

    model: ModelSpec
    train: TrainSpec
    data: Data
    initialisation: Stream
    tokens_per_step: float
    directory: Path
    scratch: Path | None = None  # where unfinished work lies; None: in `directory`
    device: str = "auto"
    save_every: float = 20.0  # seconds

    @property
    def workplace(self) -> Path:
        """Return the folder of unfinished work, which a run that goes on must find again."""
        return self.scratch or self.directory

    def identity(self) -> str:
        """Return what must be the same for a run to go on."""
        return canonical_json(
            {
                "model": canonical_json(self.model),
                "train": canonical_json(self.train),
                "initialisation": list(self.initialisation.words),
                "tokens_per_step": self.tokens_per_step,
            }
        )


@dataclass(frozen=True, slots=True)
class History:
    """Loss and counted targets of every step; those from the state's step on are still to come."""

    losses: Float32[Tensor, " steps"]
    counts: Int32[Tensor, " steps"]

    def read(
        self, first: int, last: int
    ) -> tuple[Float32[np.ndarray, " steps"], Int32[np.ndarray, " steps"]]:
        """Return losses and counts of the steps behind `first` up to and with `last`."""
        return self.losses[first:last].cpu().numpy(), self.counts[first:last].cpu().numpy()


def train(
    run: Run,
    progress: Callable[[int, int], None] = lambda _done, _steps: None,
    measured: Send = lambda _done, _values: None,
) -> None:
    """Train one model; leave `tokens-<milestone>.safetensors` and `log.parquet` in the run's directory.

    Going on after a kill gives on a CPU the same bits as a run without one. `progress` is called with the
    steps done and all steps, `measured` with steps done and the values that `metrics.Meter` names; a run that
    goes on tells those of the steps before again. SIGTERM, KeyboardInterrupt and whatever else asks to end save
    the state first. Raises DivergenceError when the loss is no number and ArtifactError when the directory
    belongs to another run.
    """
    for folder in (run.directory, run.workplace):
        folder.mkdir(parents=True, exist_ok=True)
    if not all((run.directory / name).exists() for name in _results(run)):
        device = choose_device(run.device)
        rule = make_rule(run.model, run.train, run.tokens_per_step, device)
        with _terminated_as_exit():
            _advance(run, rule, device, (progress, measured))
        _deliver(run)
    remove_resume(run.workplace)


def make_rule(model: ModelSpec, spec: TrainSpec, tokens_per_step: float, device: torch.device) -> Rule:
    """Return how steps are taken on a device: precision and compilation chosen where the spec says `auto`."""
    dtype = choose_dtype(spec, device)
    losses = _perhaps_compiled(loss_function(model, dtype), spec, device)
    return Rule(spec, milestone_steps(spec, tokens_per_step)[-1], dtype, losses)


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is the GPU if there is one, else the CPU."""
    return (
        torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)
    )


def choose_dtype(spec: TrainSpec, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products; `auto` is bfloat16 where the processor multiplies it natively.

    Emulated, it would be slower. Residual stream, softmax, loss and optimiser are float32 in any case.
    """
    if spec.precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[spec.precision]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return torch.bfloat16 if native else torch.float32


def _perhaps_compiled(losses: Losses, spec: TrainSpec, device: torch.device) -> Losses:
    """Compile the loss where that is asked for or pays.

    `auto` compiles on a GPU only. On a CPU with one thread, at width 64 and context 48, compiling made steps
    1.3 times as fast as the hand-written gradients of `model.transformer.cpu` and took 40 to 100 seconds: `yes`
    pays for runs above ten minutes.
    """
    if spec.compile == "no" or (spec.compile == "auto" and device.type == "cpu"):
        return losses
    if device.type == "cpu" and not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        _LOGGER.warning("There is no C++ compiler: training runs uncompiled, with the same result.")
        return losses
    return torch.compile(losses, dynamic=False)


def _advance(
    run: Run, rule: Rule, device: torch.device, tell: tuple[Callable[[int, int], None], Send]
) -> None:
    """Take the steps that are left, saving every now and then and when asked to end."""
    report, measured = tell
    state, history = _restore(run, rule, device)
    meter = Meter(run.train, rule.steps, history.read, measured)
    meter.recall(state.step)
    marks = set(milestone_steps(run.train, run.tokens_per_step))
    saved = time.monotonic()
    try:
        while state.step < rule.steps:
            state = _one_step(run, rule, state, history)
            if state.step in marks:
                _write_milestones(run, state, history)
            if time.monotonic() - saved >= run.save_every:
                _save(run, state, history)
                saved = time.monotonic()
            meter.passed(state.step)
            report(state.step, rule.steps)
    except BaseException as error:
        if not isinstance(error, Exception):  # asked to end, not failed
            _save(run, state, history)
        raise
    _write_log(run, rule, history)


def _one_step(run: Run, rule: Rule, state: State, history: History) -> State:
    """Take one step; what an interruption leaves in `history` beyond the old state is written again."""
    batch = make_batch([run.data(state.step)], history.losses.device)
    new, losses = step(rule, state, batch)
    history.losses[state.step] = losses[0]
    history.counts[state.step] = batch.counted.sum()
    return new


def _write_milestones(run: Run, state: State, history: History) -> None:
    """Write the model as it is for the milestones that this step reaches."""
    loss = float(history.losses[state.step - 1])
    if not math.isfinite(loss):
        raise DivergenceError(
            f"The loss of step {state.step} is {loss}. Training needs finite losses. "
            "Use smaller values of matrix_learning_rate and other_learning_rate, or more warmup_steps."
        )
    tokens = int(history.counts[: state.step].sum())
    checkpoint = Checkpoint(run.model, state.parameters, state.step, tokens)
    steps = milestone_steps(run.train, run.tokens_per_step)
    for milestone, reached in zip(run.train.milestones, steps, strict=True):
        if reached == state.step:
            write_checkpoint(milestone_path(run.workplace, milestone), checkpoint)


def _write_log(run: Run, rule: Rule, history: History) -> None:
    factors = [learning_rate_factor(run.train, index, rule.steps) for index in range(rule.steps)]
    log = pl.DataFrame(
        {
            "step": np.arange(1, rule.steps + 1, dtype=np.int32),
            "tokens": history.counts.cpu().numpy().cumsum(dtype=np.int64),
            "loss": history.losses.cpu().numpy(),
            "learning_rate": np.array(factors) * run.train.matrix_learning_rate,
        },
        schema=LOG,
    )
    aside = run.workplace / f"{LOG_NAME}.writing"
    log.write_parquet(aside)
    aside.replace(run.workplace / LOG_NAME)


def _results(run: Run) -> list[str]:
    """Return the names of all files that a run leaves, the log last: it is written last."""
    return [*(milestone_path(run.directory, mark).name for mark in run.train.milestones), LOG_NAME]


def _deliver(run: Run) -> None:
    """Put the results of a finished run into its directory."""
    for name in _results(run):
        if run.workplace != run.directory:
            shutil.copyfile(run.workplace / name, run.directory / name)


def _save(run: Run, state: State, history: History) -> None:
    moments = state.moments
    tensors = {f"parameter.{name}": tensor for name, tensor in state.parameters.items()}
    tensors |= {f"momentum.{name}": tensor for name, tensor in moments.momentum.items()}
    tensors |= {"first": moments.first, "second": moments.second}
    tensors |= {"losses": history.losses[: state.step], "counts": history.counts[: state.step]}
    write_resume(run.workplace, {name: tensor.cpu() for name, tensor in tensors.items()}, run.identity())


def _restore(run: Run, rule: Rule, device: torch.device) -> tuple[State, History]:
    """Return where the run stands: its saved state, or the start."""
    history = History(
        torch.zeros(rule.steps, device=device), torch.zeros(rule.steps, dtype=torch.int32, device=device)
    )
    saved = read_resume(run.workplace, run.identity())
    if saved is None:
        return fresh_state(run.model, [run.initialisation], device), history
    saved = {name: tensor.to(device) for name, tensor in saved.items()}
    done = len(saved["losses"])
    history.losses[:done], history.counts[:done] = saved["losses"], saved["counts"]
    momentum = {name: saved[f"momentum.{name}"] for name in MATRICES}
    parameters = {name: saved[f"parameter.{name}"] for name in shapes(run.model)}
    return State(parameters, Moments(momentum, saved["first"], saved["second"]), done), history


@contextlib.contextmanager
def _terminated_as_exit() -> Generator[None]:
    """Let SIGTERM raise SystemExit in the body, where nobody else handles it already."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
