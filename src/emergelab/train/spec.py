"""The training specification and its learning-rate schedule, without torch."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from emergelab.spec import Spec, Whole

Precision = Literal["auto", "float32", "bfloat16"]
Compile = Literal["auto", "yes", "no"]


def _as_tuple(value: object) -> object:
    """Read a list as it stands in JSON and TOML."""
    return tuple(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


Beta: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class TrainSettings(Spec):
    """How models are trained, whatever their sizes and however long.

    The learning rates rise for `warmup_steps`, stay, and fall linearly to zero over the last `decay_share` of
    the run (warm-up, stable, decay: Hu et al. 2024, arXiv 2404.06395).

    Matrices inside blocks take Muon with `matrix_learning_rate`, `momentum` and `weight_decay`; embedding,
    norm gains and head take AdamW's rule with `other_learning_rate`, `betas` and no decay. See `optimiser`
    for how they follow the width. No gradients are clipped: Muon's step does not depend on their length and
    Adam's hardly does.

    `auto` precision is bfloat16 matrix products where the processor has them, else float32. `auto` compiles
    on a GPU and not on a CPU, see `loop`.
    """

    batch: Whole = Field(default=64, ge=1, le=65_536)
    matrix_learning_rate: float = Field(default=0.005, gt=0)
    other_learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: Whole = Field(default=100, ge=0, le=10**9)
    decay_share: float = Field(default=0.2, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: Beta = 0.95
    betas: Annotated[tuple[Beta, Beta], BeforeValidator(_as_tuple)] = (0.9, 0.95)
    precision: Precision = "auto"
    compile: Compile = "auto"


class TrainSpec(TrainSettings):
    """How one model is trained, and at which token counts it is read.

    The last of `milestones`, in counted target tokens, is the decayed end; the earlier ones are read from the
    stable trunk and so belong to one and the same run.
    """

    milestones: Annotated[tuple[int, ...], BeforeValidator(_as_tuple)]

    @model_validator(mode="after")
    def _check(self) -> TrainSpec:
        self._check_milestones()
        return self

    def _check_milestones(self) -> None:
        marks = self.milestones
        _require(len(marks) > 0, "no milestones", "A run is read at one token count at least", "1000000")
        rising = all(a < b for a, b in zip((0, *marks), marks, strict=False))
        _require(rising, f"milestones = {list(marks)}", "They are token counts above 0 that rise", "1e6, 2e6")
        trunk = math.floor(round(marks[-1] * (1 - self.decay_share), 6))
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
