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
    """The terms of B4 for each prompt, in nats: answers = cost + arguments + posterior.

    `cost` is D + R_n. NaN, but for `answers`, where no derivation prints the prompt as one loop.
    """

    answers: Float64[np.ndarray, " prompts"]
    cost: Float64[np.ndarray, " prompts"]
    arguments: Float64[np.ndarray, " prompts"]
    posterior: Float64[np.ndarray, " prompts"]


def account_of(ideal: Ideal, described: TaskDescription, prompts: PromptSet, rows: int) -> PromptAccount:
    """Work out the terms of B4 for the first `rows` rows of each prompt.

    Where loops differ in the law of their objects, only those count that draw as the prompts do.
    """
    everyone = np.arange(len(prompts.tokens))
    last = prompts.stop[:, rows - 1] - 1
    tokens = prompts.tokens[:, : int(last.max(initial=0)) + 1]
    read = ideal.filtered(tokens, (last + 1).astype(np.int32), described.bodies[prompts.instance])
    places = prompts.argument[:, :rows]
    arguments = read.nats[everyone[:, None], places].sum(axis=1)
    answers = np.cumsum(read.nats, axis=1)[everyone, last] - arguments
    cost = described.cost(rows)[prompts.instance]
    printed = prompts.tokens[everyone[:, None], places]
    own = described.argument_nats(prompts.instance, printed)
    with np.errstate(divide="ignore"):
        posterior = np.log(read.watched[everyone, last])
    hidden = ~np.isfinite(cost)
    return PromptAccount(
        answers=answers,
        cost=np.where(hidden, np.nan, cost),
        arguments=np.where(hidden, np.nan, own - arguments),
        posterior=np.where(hidden, np.nan, posterior),
    )
