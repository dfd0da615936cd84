"""From scored items to scores, and from the scores of single runs to curves over seeds."""

from __future__ import annotations

import numpy as np
import polars as pl

from emergelab.analysis import estimate, intervals
from emergelab.analysis.groups import (
    CURVE,
    GROUP,
    LOSS,
    SCALE,
    above_zero,
    by_cell,
    conform,
    credits_of,
    limits,
    numbers,
    with_shots,
)
from emergelab.analysis.seeds import pooled_scores
from emergelab.scores.tables import CURVES, SCORES

# One row for each cell: what was trained, and the loss it came to. Predictors without training have nulls.
CELLS = pl.Schema({name: SCORES[name] for name in ("cell", *SCALE, "flops", "seed", *LOSS)})


def scores_from_items(items: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """Summarise `ITEMS` into `SCORES`, one row for each group, sorted by its names.

    Accuracy is the share of whole answers that are right, with Wilson's interval; nats are the mean over
    prompts; step accuracy is the mean over prompts of the share of printed steps that are right, with
    Wilson's interval at the effective number of prompts. Items without a verdict (null) are not counted:
    a group of none has n = 0 and nulls. `cells` has the columns `CELLS`; a cell of the items that it does
    not describe, or describes twice, raises ValueError, as does a prompt that is scored twice.
    """
    scored = pl.concat([_summary(part) for part in by_cell(with_shots(items))]).sort(GROUP)
    scored = scored.with_columns(*_accuracy(scored), *_nats(scored), *_step_accuracy(scored))
    return conform(_described(scored, cells), SCORES)


def curves_from_scores(scores: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Return `CURVES`: the scores of every seed, and from five seeds on a row for all of them.

    `items` are those that the scores came from. Pooled rows are those of `seeds.pooled_scores`. Rows of a
    predictor without a seed, such as an ideal one, stand once, with `seeds` 0.
    """
    single = scores.with_columns(seeds=pl.col("seed").is_not_null().cast(pl.Int32))
    frame = pl.concat([conform(single, CURVES), pooled_scores(scores, items)])
    return frame.sort([*CURVE, "seeds", "seed"], nulls_last=True)


def _summary(items: pl.DataFrame) -> pl.DataFrame:
    sums = items.filter(pl.col("step") == 0).group_by(GROUP, maintain_order=True).agg(*_sums())
    if not sums.filter(pl.col("prompts") < pl.col("answers")).is_empty():
        raise ValueError("A prompt must be scored once in every group. Got two sets of prompts of one name.")
    steps = credits_of(items, (*GROUP, "prompt")).group_by(GROUP, maintain_order=True).agg(*_step_sums())
    return sums.join(steps, on=GROUP, how="left", maintain_order="left", validate="1:1")


def _sums() -> list[pl.Expr]:
    nats = pl.col("nats").cast(pl.Float64)
    return [
        pl.len().alias("answers"),
        pl.col("prompt").n_unique().alias("prompts"),
        pl.col("correct").count().alias("n"),
        pl.col("correct").mean().alias("accuracy"),
        pl.col("chance").cast(pl.Float64).mean(),
        nats.mean(),
        nats.std(ddof=1).alias("nats_deviation"),
        nats.skew(bias=True).alias("nats_skewness"),
        nats.count().alias("nats_n"),
    ]


def _step_sums() -> list[pl.Expr]:
    return [
        pl.col("credit").mean().alias("step_accuracy"),
        pl.col("credit").var(ddof=0).alias("credit_spread"),
        pl.col("credit").count().alias("credit_n"),
        pl.col("printed").max(),
    ]


def _accuracy(sums: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    interval = intervals.wilson(*numbers(sums, "accuracy", "n"))
    method = pl.when(pl.col("n") > 0).then(pl.lit(estimate.WILSON)).otherwise(pl.lit(estimate.NO_VALUES))
    return [*limits("accuracy", interval), method.alias("accuracy_method")]


def _nats(sums: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    interval = intervals.skewed_mean(*numbers(sums, "nats", "nats_deviation", "nats_skewness", "nats_n"))
    method = (
        pl.when(pl.col("nats_n") == 0)
        .then(pl.lit(estimate.NO_VALUES))
        .when(pl.col("nats").is_infinite())
        .then(pl.lit(estimate.INFINITE))
        .when(pl.col("nats_n") == 1)
        .then(pl.lit(estimate.ONE_VALUE))
        .otherwise(pl.lit(estimate.SKEWED_T))
    )
    return [*limits("nats", above_zero(interval)), method.alias("nats_method")]


def _step_accuracy(sums: pl.DataFrame) -> list[pl.Series]:
    share, spread, n, printed = numbers(sums, "step_accuracy", "credit_spread", "credit_n", "printed")
    with np.errstate(invalid="ignore", divide="ignore"):
        trials = intervals.effective_trials(share, spread / n, (n, n * printed))
    return limits("step_accuracy", intervals.wilson(share, trials))


def _described(scored: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    unknown = scored.join(cells, on="cell", how="anti")["cell"].unique().sort().to_list()
    if unknown or cells["cell"].is_duplicated().any():
        raise ValueError(f"Every cell of the items must be described, once. Not described: {unknown}.")
    return scored.join(cells, on="cell", how="left", maintain_order="left")
