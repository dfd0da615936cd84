"""Beyond parrots: how often a combination of skills can have stood in a corpus, against how often a model shows it.

A sentence shows a given skill with probability p_s and is about a given topic with probability p_t. If skills and
topic occur independently, a corpus of L sentences holds each combination of k skills and a topic in expectation

    p_s^k · p_t · L                                                                        times,

so no more than that share of all combinations, or 1, occurs in it at all (Yu et al. 2023, arXiv 2310.17567; Arora and
Goyal 2023, arXiv 2307.15936). A model that succeeds on a larger share of combinations drawn at random has
made some that it never read. The assumptions: independence; that a success shows all k skills and the topic; that the
combinations were drawn at random from all; that p_s, p_t and L are no smaller than given. If skills occur together
`lift` times as often as independence says, the share is `lift` times as large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import special

from emergelab.analysis.intervals import LEVEL
from emergelab.errors import UserError

# Measured by the authors of Skill-Mix on a corpus of web text, for skills and topics of their lists.
SKILL_SHARE, TOPIC_SHARE, SENTENCES = 0.0144, 0.0022, 5e10
GENERATIONS = 100  # of each model and k on the leaderboard
_PERCENT = 100.0


@dataclass(frozen=True, kw_only=True)
class TextCorpus:
    """A corpus of `sentences` in which a skill occurs with probability `skill` and a topic with `topic`.

    `lift` says how many times as often as independence says k skills and a topic occur together.
    """

    skill: float = SKILL_SHARE
    topic: float = TOPIC_SHARE
    sentences: float = SENTENCES
    lift: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("skill", self.skill), ("topic", self.topic)):
            _require_share(f"The share of sentences with a {name}", value)
        for name, value in (("number of sentences", self.sentences), ("lift", self.lift)):
            if not (math.isfinite(value) and value > 0):
                raise UserError(
                    f"The {name} is {value:g}. It must be finite and above 0. Give 5e10 and 1, for example."
                )

    def expected(self, k: int) -> float:
        """Return how often a combination of k skills and a topic occurs in expectation; above 1 it bounds nothing."""
        return self.skill**k * self.topic * self.sentences * self.lift


def lower_limit(successes: float, trials: int) -> float:
    """Return the exact lower limit of a share (Clopper and Pearson 1934), the lower end of a 95 % interval."""
    if successes <= 0:
        return 0.0
    return float(special.betaincinv(successes, trials - successes + 1, (1 - LEVEL) / 2))


def judged(board: pl.DataFrame, corpus: TextCorpus, generations: int = GENERATIONS) -> pl.DataFrame:
    """Return, for each model and k of a leaderboard with a rate, its exact limits beside the corpus's share.

    `board` has model, k and `full_marks`, a share of `generations`. `novel` says whether the lower limit lies above the
    share; `lift_needed` how much more often than by independence skills would have to occur together to explain it.
    """
    rows = board.drop_nulls("full_marks")
    _require_rates(rows, generations)
    successes = (rows["full_marks"] * generations).round().to_numpy()
    lo = np.array([lower_limit(count, generations) for count in successes])
    hi = np.array([1 - lower_limit(generations - count, generations) for count in successes])
    independent = np.array([TextCorpus.expected(corpus, k) for k in rows["k"].to_list()])
    bound = np.minimum(independent, 1.0)
    return rows.select("model", "k", pl.col("full_marks").alias("rate")).with_columns(
        n=pl.lit(generations),
        lo=pl.Series(lo),
        hi=pl.Series(hi),
        method=pl.lit("clopper-pearson"),
        expected=pl.Series(independent),
        bound=pl.Series(bound),
        novel=pl.Series(lo > bound),
        lift_needed=pl.Series(corpus.lift * lo / independent),
    )


def _require_rates(rows: pl.DataFrame, generations: int) -> None:
    if generations < 1:
        raise UserError(
            f"The number of generations is {generations}. Rates are shares of 1 or more. Give 100."
        )
    for rate in rows["full_marks"].to_list():
        if not 0 <= rate <= 1:
            raise UserError(
                f"A rate is {rate:g}. Rates are shares from 0 to 1. Divide percentages by {_PERCENT:g}."
            )


def _require_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        remedy = (
            f"{value:g} % is {value / _PERCENT:g}."
            if 1 < value <= _PERCENT
            else "Give a fraction such as 0.01."
        )
        raise UserError(f"{name} is {value:g}. It must lie between 0 and 1, both excluded. {remedy}")
