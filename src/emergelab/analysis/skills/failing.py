"""When a system fails on a text-piece: decided by the losses where they measure the answers, else by right and wrong.

A piece *fails* when its cloze loss, the probability that is not given to the right answers of its cloze questions, is
at least one half (Arora and Goyal 2023, arXiv 2307.15936). A piece that does not fail is right more often than not, so
that failure is the conservative side of success.
"""

from __future__ import annotations

import polars as pl

from emergelab.outcomes.coherence import losses_fit

CLOZE = "cloze loss >= 1/2"
WRONG = "wrong answer"
LIMIT = 0.5
"""The cloze loss at which a piece fails."""


def with_failures(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `fails` (null: unknown) and `fails_by`, the rule, one for each system, to `OUTCOMES`.

    The rule is `CLOZE` for systems with cloze losses, unless right and wrong answers contradict these; else `WRONG`.
    """
    rule = (
        pl.when(pl.col("system").is_in(_read_by_losses(frame))).then(pl.lit(CLOZE)).otherwise(pl.lit(WRONG))
    )
    by_loss = pl.col("cloze_loss").fill_nan(None) >= LIMIT
    failed = pl.when(pl.col("fails_by") == CLOZE).then(by_loss).otherwise(~pl.col("correct"))
    return frame.with_columns(rule.alias("fails_by")).with_columns(failed.alias("fails"))


def _read_by_losses(frame: pl.DataFrame) -> list[str]:
    measured = frame.lazy().filter(pl.col("cloze_loss").is_not_nan()).select(pl.col("system").unique())
    return sorted(losses_fit(frame).intersection(measured.collect()["system"]))
