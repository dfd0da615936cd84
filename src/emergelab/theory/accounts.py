"""What the ideal predictor pays for prompts, term by term: the identity B4 of `theory.bounds`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from emergelab.scores.prompts import PromptSet
from emergelab.theory.bounds import TaskDescription
from emergelab.theory.ideal import Ideal


@dataclass(frozen=True, eq=False)
class PromptAccount:
    """The terms of B4 for the first n rows of each prompt, in column n - 1: answers = cost + arguments + posterior.

    `cost` is D + R_n. NaN, but for `answers`, where no derivation prints the prompt as one loop.
    """

    answers: Float64[np.ndarray, "prompts rows"]
    cost: Float64[np.ndarray, "prompts rows"]
    arguments: Float64[np.ndarray, "prompts rows"]
    posterior: Float64[np.ndarray, "prompts rows"]


def account_of(ideal: Ideal, described: TaskDescription, prompts: PromptSet) -> PromptAccount:
    """Work out the terms of B4 for all beginnings of each prompt."""
    everyone = np.arange(len(prompts.tokens))[:, None]
    last = prompts.stop - 1
    read = ideal.filtered(prompts.tokens, prompts.stop[:, -1], described.watched()[prompts.instance])
    arguments = np.cumsum(read.nats[everyone, prompts.argument], axis=1)
    # Left out, not subtracted: an argument that cannot come costs infinity.
    without = read.nats.copy()
    without[everyone, prompts.argument] = 0.0
    answers = np.cumsum(without, axis=1)[everyone, last]
    rows = prompts.stop.shape[1]
    cost = np.stack([described.cost(n)[prompts.instance] for n in range(1, rows + 1)], axis=1)
    path = described.path_nats(prompts.instance, prompts.tokens[everyone, prompts.argument])
    with np.errstate(divide="ignore"):
        posterior = np.log(read.watched[everyone, last])
    hidden = ~np.isfinite(cost)
    with np.errstate(invalid="ignore"):  # infinity less infinity, where there is no derivation
        own = path - cost
        return PromptAccount(
            answers=answers,
            cost=np.where(hidden, np.nan, cost),
            arguments=np.where(hidden, np.nan, own - arguments),
            posterior=np.where(hidden, np.nan, posterior),
        )
