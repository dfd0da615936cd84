"""Whether a system's losses are of the answers that it gave."""

from __future__ import annotations

from statistics import NormalDist

import polars as pl
from scipy.special import stdtrit

SMALLEST_RATIO = 0.1
"""Mean probability over accuracy below which losses cannot be of the answers."""

_CONFIDENCE = 0.95
_ITEM = ("system", "task", "piece")


def coherence(frame: pl.DataFrame) -> pl.DataFrame:
    """Compare the mean probability of right answers with the share that came out right, for each system.

    A calibrated model is right about as often as its probabilities say, and one that takes its likeliest answer is
    right at least as often. But where the probability's upper limit is below a tenth of the accuracy's lower one, the
    losses are of something else: answers tokenised otherwise or scored without the prompt, or choices between options.

    Takes `OUTCOMES`; returns system, answers (right or wrong known and nats finite), accuracy, probability (mean of
    exp(-nats)), its 95 % limits lo and hi, and fits, null without such answers. Items are drawn, together with all
    answers to them: limits are Student's for a ratio of sums, 0 and 1 with a single item; the accuracy's lower one is
    Wilson's with as many trials as items, which is cautious.
    """
    known = pl.col("correct").is_not_null() & pl.col("nats").is_finite().fill_null(value=False)
    items = (
        frame.lazy()
        .filter(known)
        .group_by(_ITEM)
        .agg(
            answers=pl.len(),
            right=pl.col("correct").sum().cast(pl.Float64),
            mass=(-pl.col("nats")).exp().sum(),
        )
    )
    found = items.group_by("system").agg(
        pl.len().alias("items"),
        pl.col("answers").sum().cast(pl.Int64),
        _mean("right").alias("accuracy"),
        _mean("mass").alias("probability"),
        _error("mass").alias("error"),
    )
    systems = frame.lazy().select("system").unique().join(found, on="system", how="left")
    return _with_limits(systems.sort("system").collect())


def losses_fit(frame: pl.DataFrame) -> frozenset[str]:
    """Return the systems whose losses nothing speaks against, see `coherence`."""
    found = coherence(frame)
    return frozenset(found.filter(pl.col("fits").fill_null(value=True))["system"])


def _mean(total: str) -> pl.Expr:
    return pl.col(total).sum() / pl.col("answers").sum()


def _error(total: str) -> pl.Expr:
    """Return the standard error of a ratio of sums over items, Cochran 1977, section 6.3."""
    residual = pl.col(total) - _mean(total) * pl.col("answers")
    spread = residual.pow(2).sum() * pl.len() / (pl.len() - 1)
    return spread.sqrt() / pl.col("answers").sum()


def _with_limits(found: pl.DataFrame) -> pl.DataFrame:
    freedom = found["items"].fill_null(0).to_numpy() - 1.0
    wide = pl.Series(stdtrit(freedom, 0.5 + _CONFIDENCE / 2)).fill_nan(float("inf"))
    half = pl.col("error") * pl.lit(wide)
    low = (pl.col("probability") - half).fill_nan(0).clip(0, 1)
    high = (pl.col("probability") + half).fill_nan(1).clip(0, 1)
    return found.select(
        "system",
        pl.col("answers").fill_null(0),
        "accuracy",
        "probability",
        lo=low,
        hi=high,
        fits=high >= SMALLEST_RATIO * _wilson_lower(pl.col("accuracy"), pl.col("items")),
    )


def _wilson_lower(share: pl.Expr, trials: pl.Expr) -> pl.Expr:
    square = NormalDist().inv_cdf(0.5 + _CONFIDENCE / 2) ** 2
    root = (square * (share * (1 - share) / trials + square / (4 * trials * trials))).sqrt()
    return (share + square / (2 * trials) - root) / (1 + square / trials)
