"""Free generation against teacher forcing: final answers behind printed steps, which a model may get wrong itself."""

from __future__ import annotations

from typing import Any

import polars as pl

from emergelab.analysis import estimate, intervals
from emergelab.analysis.groups import SCALE, by_cell, conform, limits, numbers, with_shots
from emergelab.analysis.seeds import (
    POOLED_MEAN,
    POOLED_SHARE,
    beside_seeds,
    crossed,
    crossed_gains,
    crossed_shares,
    over_seeds,
)
from emergelab.scores.tables import CURVES, SCORES

ORIGINS = ("wrong_after_wrong", "wrong_after_right", "right_after_wrong")
"""Where a final answer of free generation may come from, but for right answers behind right steps."""
_GROUP = ("cell", "predictor", "task", "split", "argument", "shots")
_SHARES = ("forced", "free", *ORIGINS)
_SIZES = {name: CURVES[name] for name in (*SCALE, "seed", "seeds")}


def _estimate(name: str) -> dict[str, Any]:
    return dict.fromkeys((name, f"{name}_lo", f"{name}_hi"), pl.Float64)


# Of `n` prompts that ask for printed steps, the share whose final answer is right behind the true steps (`forced`) and
# behind those that the predictor wrote itself (`free`), and free minus forced. The shares of free generation in which
# the final answer is wrong behind a wrong step, wrong behind right ones, and right behind a wrong one.
DECODINGS = pl.Schema(
    {name: SCORES[name] for name in _GROUP}
    | {"n": pl.Int32}
    | _estimate("forced") | _estimate("free")
    | _estimate("difference") | {"difference_method": pl.String}
    | {part: kind for origin in ORIGINS for part, kind in _estimate(origin).items()}
    | {"shares_method": pl.String}
    | _SIZES
)  # fmt: skip


def decodings(items: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """Hold free generation against teacher forcing on the same prompts, in the printed form; return `DECODINGS`.

    A printed step is every step of an answer but the last, which is the final answer; it is wrong if one of several
    is. There is a row for each cell, with intervals over prompts, and from five seeds on one for all of them (cell and
    seed null), with intervals over seeds and prompts. `cells` have the columns `aggregate.CELLS`. Answers without a
    verdict in one of the decodings are left out, and so are forms without printed steps.
    """
    pairs = pl.concat([_pairs(part) for part in by_cell(with_shots(items))])
    single = _estimated(pairs)
    frame = beside_seeds(single, over_seeds(pairs, cells, _GROUP, _pooled), cells)
    return conform(frame.sort([*_GROUP, *SCALE], nulls_last=True), DECODINGS)


def _pairs(items: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each answer in both decodings, with what came of it as 1.0 or 0.0."""
    keys = [*_GROUP, "prompt"]
    ends = _ends(items.filter((pl.col("form") == "steps") & (pl.col("step") > 0)), keys)
    forced = ends.filter(pl.col("decoding") == "teacher_forced").select(*keys, forced="final")
    free = ends.filter(pl.col("decoding") == "free").select(*keys, free="final", stepped="stepped")
    both = forced.join(free, on=keys, how="inner", maintain_order="left", validate="1:1").drop_nulls()
    final, stepped = pl.col("free"), pl.col("stepped")
    outcomes = {
        "forced": pl.col("forced"),
        "free": final,
        "wrong_after_wrong": ~final & ~stepped,
        "wrong_after_right": ~final & stepped,
        "right_after_wrong": final & ~stepped,
    }
    return both.select(*keys, **{name: value.cast(pl.Float64) for name, value in outcomes.items()})


def _ends(steps: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return by decoding whether the last step is right and all before it are; nothing where there is one only."""
    groups = steps.sort(*keys, "decoding", "step").group_by(*keys, "decoding", maintain_order=True)
    correct = pl.col("correct")
    ends = groups.agg(
        final=correct.last(),
        stepped=correct.head(pl.len() - 1).all(ignore_nulls=False),
        printed=pl.len(),
    )
    return ends.filter(pl.col("printed") > 1)


def _estimated(pairs: pl.DataFrame) -> pl.DataFrame:
    gained, lost = ((pl.col(a) > pl.col(b)).sum() for a, b in (("free", "forced"), ("forced", "free")))
    sums = pairs.group_by(_GROUP, maintain_order=True).agg(
        pl.len().alias("n"), *(pl.col(name).mean() for name in _SHARES), gained=gained, lost=lost
    )
    more, less, n = numbers(sums, "gained", "lost", "n")
    shares = [part for name in _SHARES for part in limits(name, intervals.wilson(numbers(sums, name)[0], n))]
    return sums.with_columns(
        *shares,
        pl.Series("difference", (more - less) / n),
        *limits("difference", intervals.paired_shares(more, less, n)),
        difference_method=pl.lit(estimate.PAIRED_SHARES),
        shares_method=pl.lit(estimate.WILSON),
    )


def _pooled(answers: pl.DataFrame) -> list[pl.DataFrame]:
    difference = crossed_gains(answers.with_columns(value=pl.col("free") - pl.col("forced")))
    shares = {name: crossed_shares(answers.with_columns(value=pl.col(name))) for name in _SHARES}
    counts = crossed(answers.with_columns(value=pl.col("free"))).select("group", "n", "seeds")
    return [
        counts.with_columns(difference_method=pl.lit(POOLED_MEAN), shares_method=pl.lit(POOLED_SHARE)),
        *(
            pooled.select("group", pl.col("value").alias(name), *_ends_of(name))
            for name, pooled in {"difference": difference, **shares}.items()
        ),
    ]


def _ends_of(name: str) -> list[pl.Expr]:
    return [pl.col(end).alias(f"{name}_{end}") for end in ("lo", "hi")]
