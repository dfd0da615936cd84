"""The training specification and its learning-rate schedule, without torch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import model_validator

from emergelab.spec import Spec

Precision = Literal["auto", "float32", "bfloat16"]
Compile = Literal["auto", "yes", "no"]


class TrainSpec(Spec):
    """How one model is trained, and at which token counts it is read.

    The learning rates rise for `warmup_steps`, stay, and fall linearly to zero over the last `decay_share` of
    the run (warm-up, stable, decay: Hu et al. 2024, arXiv 2404.06395). The last of `milestones`, in counted
    target tokens, is the decayed end; the earlier ones are read from the stable trunk and so belong to one
    and the same run.

    Matrices inside blocks take Muon with `matrix_learning_rate`, `momentum` and `weight_decay`; embedding,
    norm gains and head take AdamW's rule with `other_learning_rate`, `betas` and no decay. See `optimiser`
    for how they follow the width. No gradients are clipped: Muon's step does not depend on their length and
    Adam's hardly does.

    `auto` precision is bfloat16 matrix products where the processor has them, else float32. `auto` compiles
    on a GPU and not on a CPU, see `loop`.
    """

    batch: int = 64
    milestones: tuple[int, ...]
    matrix_learning_rate: float = 0.02
    other_learning_rate: float = 2e-3
    warmup_steps: int = 100
    decay_share: float = 0.2
    weight_decay: float = 0.0
    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.95)
    precision: Precision = "auto"
    compile: Compile = "auto"

    @model_validator(mode="after")
    def _check(self) -> TrainSpec:
        _require(self.batch >= 1, f"batch = {self.batch}", "A batch has at least one document", "64")
        _require(
            self.warmup_steps >= 0, f"warmup_steps = {self.warmup_steps}", "It cannot be negative", "100"
        )
        for name in ("matrix_learning_rate", "other_learning_rate"):
            value = getattr(self, name)
            _require(value > 0, f"{name} = {value}", "A learning rate must be above 0", "0.02 or 0.002")
        _require(
            0 < self.decay_share <= 1, f"decay_share = {self.decay_share}", "It must be in (0, 1]", "0.2"
        )
        _require(self.weight_decay >= 0, f"weight_decay = {self.weight_decay}", "It cannot be negative", "0")
        for value in (self.momentum, *self.betas):
            _require(0 <= value < 1, f"momentum or beta {value}", "It must be in [0, 1)", "0.95")
        self._check_milestones()
        return self

    def _check_milestones(self) -> None:
        marks = self.milestones
        _require(len(marks) > 0, "no milestones", "A run is read at one token count at least", "1000000")
        rising = all(a < b for a, b in zip((0, *marks), marks, strict=False))
        _require(rising, f"milestones = {list(marks)}", "They are token counts above 0 that rise", "1e6, 2e6")
        trunk = int(marks[-1] * (1 - self.decay_share))
        late = [mark for mark in marks[:-1] if mark > trunk]
        _require(
            not late,
            f"milestones {late} before the last, {marks[-1]}",
            f"With decay_share = {self.decay_share} the learning rate falls from {trunk} tokens on, "
            "and a model read there would be neither trunk nor end",
            f"{trunk} at most, or a smaller decay_share",
        )


def _require(holds: bool, value: str, rule: str, remedy: str) -> None:  # noqa: FBT001
    if not holds:
        message = f"Got {value}. {rule}. Use {remedy}."
        raise ValueError(message)


def milestone_steps(spec: TrainSpec, tokens_per_step: float) -> tuple[int, ...]:
    """Return after how many steps each milestone is reached; the last is the length of the run."""
    return tuple(max(1, math.ceil(mark / tokens_per_step)) for mark in spec.milestones)


def learning_rate_factor(spec: TrainSpec, step: int, steps: int) -> float:
    """Return the share of the full learning rates that step `step` of `steps` takes; the first step is 0.

    min(1, (step + 1)/warm-up, (steps - step)/decay), where the decay has ⌈decay_share · steps⌉ steps.
    """
    decay = math.ceil(spec.decay_share * steps)
    warm = (step + 1) / spec.warmup_steps if spec.warmup_steps else 1.0
    return min(1.0, warm, (steps - step) / decay)
