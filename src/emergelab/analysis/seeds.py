"""Scores over several runs that differ in nothing but their seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from emergelab.analysis import estimate, intervals
from emergelab.analysis.groups import (
    LOSS,
    NAMES,
    SCALE,
    above_zero,
    conform,
    credits_of,
    limits,
    numbers,
    with_shots,
)
from emergelab.scores.tables import CURVES

FEWEST_SEEDS = 5  # below it an interval over seeds would rest on nothing
POOLED_SHARE = "wilson_t over seeds and prompts"
POOLED_MEAN = "student_t over seeds and prompts"
POOLED_LOSS = "student_t over seeds and documents"
_NO_ENDS = "none: a seed without an interval"


def pooled_scores(scores: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Return one `CURVES` row with seed null for every group of at least five seeds, in no order.

    A value is the mean of the seeds' own values, one vote each: it estimates what a new run would score
    on new prompts on average; the loss likewise, on new documents (see `pooled_loss`); flops are a mean.
    Runs may answer the same prompts, so that prompts vary across, not within, the seeds, and the variance
    has a part of each (a crossed two-way layout; clusters both ways as in Cameron, Gelbach and Miller
    2011, J. Bus. Econ. Stat. 29:238). Quantiles are Student's with seeds - 1 degrees of freedom; shares
    have Wilson's form at the number of trials of that variance. Raises ValueError on two cells of one
    scale and seed.

    In simulations with 5 and 10 seeds this covers where the alternatives do not: resampling the seeds
    covers .75 to .88, and resampling the prompts within them as well up to 1.00 where the seeds agree.
    """
    scales = [_pooled(runs, items) for runs in repeated_runs(scores)]
    return pl.concat([CURVES.to_frame(), *scales])


def crossed_shares(answers: pl.DataFrame) -> pl.DataFrame:
    """Pool right-or-wrong `value`s (1.0 or 0.0) as `crossed` does; add `lo`, `hi` and `method` as for accuracy."""
    pooled = crossed(answers)
    interval = _share_interval(*numbers(pooled, "value", "variance", "seeds", "prompts", "n"))
    return _with_interval(pooled, interval, POOLED_SHARE)


def crossed_gains(answers: pl.DataFrame, *, most: float = 1.0) -> pl.DataFrame:
    """Pool gains and losses (whole `value`s from -`most` to `most`) as `crossed` does; add `lo`, `hi`, `method`.

    The interval is Student's, cut at `most`.

    The variance is at least that of one prompt gained and one lost, added as for a single run (see
    `intervals.paired_shares`): that nothing varied this time does not say that nothing can.
    """
    pooled = crossed(answers)
    value, variance, seeds, prompts = numbers(pooled, "value", "variance", "seeds", "prompts")
    lo, hi = intervals.student(value, np.maximum(variance, 2 / np.square(prompts + 2)), seeds - 1)
    return _with_interval(pooled, (np.clip(lo, -most, most), np.clip(hi, -most, most)), POOLED_MEAN)


def _with_interval(pooled: pl.DataFrame, interval: intervals.Interval, method: str) -> pl.DataFrame:
    lo, hi = (
        pl.Series(name, ends, nan_to_null=True) for name, ends in zip(("lo", "hi"), interval, strict=True)
    )
    return pooled.with_columns(lo, hi, method=pl.lit(method))


def _pooled(runs: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Pool the runs of one scale."""
    ours = items.filter(pl.col("cell").is_in(runs["cell"].implode()))
    named = with_shots(ours).join(
        runs.select("cell", "seed"), on="cell", how="inner", maintain_order="left", validate="m:1"
    )
    # Numbers in place of a dozen names: what follows groups by them again and again.
    pooled = named.select(NAMES).unique(maintain_order=True).with_row_index("group")
    answers = named.join(pooled, on=NAMES, how="inner", maintain_order="left", validate="m:1").drop(NAMES)
    for part in (_chance(answers), *_measures(answers)):
        pooled = pooled.join(part, on="group", how="left", maintain_order="left", validate="1:1")
    of_all = runs.select(SCALE).unique(maintain_order=True).hstack(_description(runs))
    pooled = pooled.filter(pl.col("seeds") >= FEWEST_SEEDS).join(of_all, how="cross")
    seedless = pl.lit(None, dtype=pl.Int32).alias("seed")
    return conform(pooled.with_columns(seedless, *_limits(pooled), *_methods()), CURVES)


def over_seeds(
    answers: pl.DataFrame,
    cells: pl.DataFrame,
    keys: Sequence[str],
    measures: Callable[[pl.DataFrame], list[pl.DataFrame]],
) -> pl.DataFrame:
    """Return a row with `keys` but the cell, and the scale, for every group of at least five seeds; nothing else.

    `answers` have cell, prompt and the keys; `measures` gets them with the number of their group (`group`) and their
    seed, and returns parts with one row for each group. `cells` have the columns `aggregate.CELLS`.
    """
    scales = repeated_runs(cells.filter(pl.col("cell").is_in(answers["cell"].unique().implode())))
    if not scales or answers.is_empty():
        return pl.DataFrame()
    runs = pl.concat(scales).select("cell", *SCALE, "seed")
    named = answers.join(runs, on="cell", how="inner", maintain_order="left")
    groups = [name for name in (*keys, *SCALE) if name != "cell"]
    frame = named.select(groups).unique(maintain_order=True).with_row_index("group")
    grouped = named.join(frame, on=groups, how="inner", nulls_equal=True, maintain_order="left")
    for part in measures(grouped):
        frame = frame.join(part, on="group", how="left", maintain_order="left", validate="1:1")
    return frame


def beside_seeds(single: pl.DataFrame, pooled: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """Return rows for single cells, with what each is, and those of `over_seeds`, whose cell and seed are null."""
    seeds = pl.col("seed").is_not_null().cast(pl.Int32).alias("seeds")
    described = cells.select("cell", *SCALE, "seed", seeds)
    sized = single.join(described, on="cell", how="left", maintain_order="left")
    return pl.concat([sized, pooled], how="diagonal_relaxed")


def repeated_runs(scores: pl.DataFrame) -> list[pl.DataFrame]:
    """Return, scale by scale, the cells that differ from at least four others in their seed alone.

    `scores` may be the scores or the cells. Raises ValueError on two cells of one scale and seed.
    """
    runs = (
        scores.select("cell", *SCALE, "flops", "seed", *LOSS)
        .unique(maintain_order=True)
        .filter(pl.col("seed").is_not_null())
    )
    twice = runs.filter(pl.struct(*SCALE, "seed").is_duplicated())["cell"].sort().to_list()
    if twice:
        raise ValueError(f"Cells of one scale must differ in their seed. These do not: {twice}.")
    repeated = runs.filter(pl.len().over(SCALE) >= FEWEST_SEEDS)
    return repeated.sort("cell").partition_by(SCALE, maintain_order=True)


def _chance(answers: pl.DataFrame) -> pl.DataFrame:
    chance = pl.col("chance").cast(pl.Float64).mean()
    by_seed = answers.filter(pl.col("step") == 0).group_by("group", "seed", maintain_order=True).agg(chance)
    return by_seed.group_by("group", maintain_order=True).agg(pl.col("chance").mean())


def _description(runs: pl.DataFrame) -> pl.DataFrame:
    """Return one row: mean flops and the pooled loss of the runs."""
    loss = pooled_loss(*numbers(runs, "loss", "loss_hi"))
    values = {"loss": loss.value, "loss_lo": loss.lo, "loss_hi": loss.hi}
    return pl.DataFrame(
        {"flops": [runs["flops"].mean()], **{name: [value] for name, value in values.items()}},
        schema={"flops": pl.Float64} | dict.fromkeys(values, pl.Float64),
    ).with_columns(loss_method=pl.lit(loss.method))


def pooled_loss(losses: np.ndarray, ends: np.ndarray) -> estimate.Estimate:
    """Return the mean loss of several seeds with an interval for a new seed and new documents.

    `ends` are the upper ends of the seeds' own 95 % intervals. All seeds read the same documents, so how these
    fell is in every seed's loss and not in the differences between them. The variance is that of the seeds'
    mean plus the mean of their variances over documents; that is the most that documents can add, as if the
    seeds' errors on them were the same. Quantiles are Student's with seeds - 1 degrees of freedom.
    """
    known = ~np.isnan(losses)
    losses, ends = losses[known], ends[known]
    if losses.size == 0:
        return estimate.Estimate(None, None, None, 0, estimate.NO_VALUES)
    value = float(losses.mean())
    if losses.size == 1 or np.isnan(ends).any():
        return estimate.Estimate(value, None, None, losses.size, _NO_ENDS)
    over_documents = np.square((ends - losses) / intervals.normal_quantile()).mean()
    variance = losses.var(ddof=1) / losses.size + over_documents
    lo, hi = intervals.student(*(np.array([x]) for x in (value, variance, losses.size - 1)))
    return estimate.Estimate(value, max(float(lo[0]), 0.0), float(hi[0]), losses.size, POOLED_LOSS)


def _measures(answers: pl.DataFrame) -> list[pl.DataFrame]:
    whole = answers.filter(pl.col("step") == 0)
    steps = credits_of(answers, ("group", "seed", "prompt"))
    correct = crossed(whole.with_columns(value=pl.col("correct").cast(pl.Float64)))
    nats = crossed(whole.with_columns(value=pl.col("nats").cast(pl.Float64)))
    step = crossed(steps.rename({"credit": "value"}))
    printed = steps.group_by("group", maintain_order=True).agg(step_n=pl.col("printed").sum())
    return [
        correct.rename({"value": "accuracy"}),
        nats.select("group", nats="value", nats_variance="variance", nats_seeds="seeds"),
        step.select(
            "group",
            step_accuracy="value",
            step_variance="variance",
            step_seeds="seeds",
            step_prompts="prompts",
        ),
        printed,
    ]


def crossed(answers: pl.DataFrame) -> pl.DataFrame:
    """Return by `group` the mean over seeds of the mean `value`, its `variance`, and the counts.

    `answers` has the columns group (any label), seed, prompt and value; null values are left out. The
    result has group, value, variance, n (answers), seeds and prompts.

    The seeds' means vary with the seeds and with single answers; what a prompt does to all seeds alike is
    not in it. That is how far the deviations of one prompt add up over the seeds, less what they would
    add up to if independent; the factor S / (S - 1) makes it unbiased.
    """
    present = answers.filter(pl.col("value").is_not_null()).select("group", "seed", "prompt", "value")
    by_seed = present.group_by("group", "seed", maintain_order=True).agg(
        mean=pl.col("value").mean(), n=pl.len()
    )
    means = by_seed.group_by("group", maintain_order=True).agg(
        value=pl.col("mean").mean(), n=pl.col("n").sum(), seeds=pl.len(), between=pl.col("mean").var(ddof=1)
    )
    shared = _shared_by_prompt(
        present.join(by_seed, on=["group", "seed"], how="inner", maintain_order="left", validate="m:1")
    )
    frame = means.join(shared, on="group", how="inner", maintain_order="left", validate="1:1")
    seeds, prompts = pl.col("seeds"), pl.col("prompts")
    common = pl.col("excess").clip(0.0) / seeds**2 * (prompts / (prompts - 1)) * (seeds / (seeds - 1))
    return frame.with_columns(variance=pl.col("between") / seeds + common).drop("between", "excess")


def _shared_by_prompt(present: pl.DataFrame) -> pl.DataFrame:
    deviation = (pl.col("value") - pl.col("mean")) / pl.col("n")
    by_prompt = (
        present.select("group", "prompt", deviation=deviation)
        .group_by("group", "prompt", maintain_order=True)
        .agg(together=pl.col("deviation").sum() ** 2, alone=(pl.col("deviation") ** 2).sum())
    )
    excess = (pl.col("together") - pl.col("alone")).sum()
    return by_prompt.group_by("group", maintain_order=True).agg(prompts=pl.len(), excess=excess)


def _limits(pooled: pl.DataFrame) -> list[pl.Series]:
    nats, variance, seeds = numbers(pooled, "nats", "nats_variance", "nats_seeds")
    share = numbers(pooled, "accuracy", "variance", "seeds", "prompts", "n")
    steps = numbers(pooled, "step_accuracy", "step_variance", "step_seeds", "step_prompts", "step_n")
    return [
        *limits("accuracy", _share_interval(*share)),
        *limits("step_accuracy", _share_interval(*steps)),
        *limits("nats", above_zero(intervals.student(nats, variance, seeds - 1))),
    ]


def _share_interval(
    share: np.ndarray, variance: np.ndarray, seeds: np.ndarray, prompts: np.ndarray, most: np.ndarray
) -> intervals.Interval:
    trials = intervals.effective_trials(share, variance, (prompts, most))
    return intervals.wilson(share, trials, intervals.student_quantile(seeds - 1))


def _methods() -> list[pl.Expr]:
    nats = (
        pl.when(pl.col("nats").is_null())
        .then(pl.lit(estimate.NO_VALUES))
        .when(pl.col("nats").is_infinite())
        .then(pl.lit(estimate.INFINITE))
        .when(pl.col("nats_variance").is_nan())
        .then(pl.lit(estimate.ONE_VALUE))
        .otherwise(pl.lit(POOLED_MEAN))
    )
    return [pl.lit(POOLED_SHARE).alias("accuracy_method"), nats.alias("nats_method")]
