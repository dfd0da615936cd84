"""Prompts of one task: examples and queries, with the places where answers stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int32, UInt16

Form = Literal["direct", "steps"]
Split = Literal["seen", "held_out", "outside"]


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """P prompts of S rows each. Row s is the query of the prompt with s examples; it answers once.

    A prompt begins with the start token; behind its last row stand end tokens. The whole answer of a row is the
    tokens from `argument` + 1 up to `stop`; rows of one prompt may differ in length. `steps` are the places of
    the tokens in it that answer something: objects, and words where the row could have gone otherwise. The
    last one is the final answer; beyond it stands -1.
    """

    task: str
    form: Form
    split: Split
    tokens: UInt16[np.ndarray, "prompts length"]
    argument: Int32[np.ndarray, "prompts rows"]
    stop: Int32[np.ndarray, "prompts rows"]
    steps: Int32[np.ndarray, "prompts rows steps"]
    fresh: Bool[np.ndarray, "prompts rows"]  # the argument did not stand in an earlier row
    chance: Float64[np.ndarray, "prompts rows"]  # of the whole answer, see `corpus.chance`
    step_chance: Float64[np.ndarray, "prompts rows steps"]  # NaN beyond the last step
    instance: Int32[np.ndarray, " prompts"]  # which draw of the task's functions
