"""Theory and measurement side by side: learning gaps, and what a prompt's first answers cost together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from emergelab.analysis import estimate, intervals
from emergelab.analysis.groups import SCALE, conform, limits, numbers, with_shots
from emergelab.analysis.means import mean_columns, moments
from emergelab.scores.tables import BOUNDS, SCORES

_SIZES = {name: SCORES[name] for name in (*SCALE, "seed")}
_ASKED = ("task", "form", "split")

# What the first `answers` answers of a prompt cost together, teacher-forced, fresh and repeated arguments alike: the
# mean over `n` prompts of their nats and of the number of wrong ones. For models `gap` is what they pay more than an
# ideal predictor, and `bound_errors` the bound B3 on wrong answers, (D + R_n + gap) / ln 2; null for all others.
CUMULATIVE = pl.Schema(
    {name: SCORES[name] for name in ("cell", "predictor", *_ASKED)}
    | {"answers": pl.Int16, "n": pl.Int32}
    | dict.fromkeys(("nats", "nats_lo", "nats_hi"), pl.Float64)
    | {"nats_method": pl.String}
    | dict.fromkeys(("errors", "errors_lo", "errors_hi"), pl.Float64)
    | {"errors_method": pl.String}
    | dict.fromkeys(("gap", "gap_lo", "gap_hi"), pl.Float64)
    | {"gap_method": pl.String}
    | dict.fromkeys(("bound_errors", "bound_errors_lo", "bound_errors_hi"), pl.Float64)
    | _SIZES
)

# What models pay more than an ideal predictor, in nats: per token of documents (`level` documents; role, skill and
# needed null: all tokens), or per answer of prompts (`level` prompts; those by skill are over all answers of a prompt).
# `n` counts documents or prompts, `tokens` those of the documents.
_LABELS = ("role", "skill", "needed")
GAPS = pl.Schema(
    {"cell": pl.String, "against": pl.String, "level": pl.String}
    | {"role": pl.String, "skill": pl.String, "needed": pl.Int8}
    | {name: SCORES[name] for name in _ASKED}
    | {"argument": pl.String, "shots": pl.Int16, "n": pl.Int32, "tokens": pl.Int64}
    | dict.fromkeys(("nats", "ideal_nats", "gap", "gap_lo", "gap_hi"), pl.Float64)
    | {"gap_method": pl.String}
    | _SIZES
)


@dataclass(frozen=True)
class Confronted:
    """What models are held against: by cell of a model the cell of its ideal predictor, and the `BOUNDS` of its law."""

    against: Mapping[str, str]
    bounds: pl.DataFrame


def cumulative(items: pl.DataFrame, cells: pl.DataFrame, theory: Confronted | None = None) -> pl.DataFrame:
    """Add up the answers of every prompt from its first on; return `CUMULATIVE`.

    Nats have Hall's interval, see `estimate.mean`; counts of wrong answers, which are skewed too, the same.
    Infinite nats have no interval, and intervals end at 0 and at the number of answers. `items` are those of models
    and of the ideal predictors that `theory` names.
    """
    prompt = ["cell", "predictor", *_ASKED, "prompt"]
    sums = (
        _answers(items)
        .sort(*prompt, "shots")
        .with_columns(
            pl.col("nats").cum_sum().over(prompt),
            errors=(~pl.col("correct")).cast(pl.Float64).cum_sum().over(prompt),
        )
    )
    groups = _means(sums, ("cell", "predictor", *_ASKED, "answers"), ("nats", "errors")).with_columns(
        pl.col("nats_lo", "errors_lo").clip(lower_bound=0.0), pl.min_horizontal("errors_hi", "answers")
    )
    groups = _bounded(groups, sums, cells, theory or Confronted({}, BOUNDS.to_frame()))
    return conform(_sized(groups, cells), CUMULATIVE)


def _bounded(
    groups: pl.DataFrame, sums: pl.DataFrame, cells: pl.DataFrame, theory: Confronted
) -> pl.DataFrame:
    """Add what models pay more than their ideal predictors, and the bound B3 on wrong answers."""
    group = ["cell", "predictor", *_ASKED, "answers"]
    gaps = _means(_paired(sums, sums, theory.against), group, ("gap",)).drop("n")
    asked = [*_ASKED, "answers"]
    allowed = theory.bounds.select("variant", *asked, "bound_nats")
    variants = cells.select("cell", "variant")
    found = (
        gaps.join(variants, on="cell", how="left", maintain_order="left")
        .join(allowed, on=["variant", *asked], how="left", nulls_equal=True, maintain_order="left")
        .drop("variant")
        .with_columns(
            ((pl.col("bound_nats") + pl.col(f"gap{end}")) / math.log(2)).alias(f"bound_errors{end}")
            for end in ("", "_lo", "_hi")
        )
    )
    return groups.join(found, on=group, how="left", maintain_order="left")


def prompt_gaps(
    items: pl.DataFrame,
    ideal: pl.DataFrame,
    against: Mapping[str, str],
    prompts: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return what models pay more than ideal predictors for answers of the same prompts, as rows of `GAPS`.

    `items` are those of models, `ideal` those of ideal predictors; `against` names for each cell of a model the
    cell whose items are its ideal ones. Differences are paired prompt by prompt. With `prompts`, which has the
    columns of `PROMPTS` and the `ideal_cell`, there are rows by function, too: means over all answers of the prompts
    that draw it; a prompt that draws several counts for each of them.
    """
    pairs = _paired(_answers(items), _answers(ideal), against)
    groups = [_gap_means(pairs, ("argument", "shots"))]
    if prompts is not None:
        groups.append(_gap_means(_by_function(pairs, prompts), ("skill",)))
    return pl.concat(groups, how="diagonal").with_columns(level=pl.lit("prompts"))


def _gap_means(pairs: pl.DataFrame, by: tuple[str, ...]) -> pl.DataFrame:
    means = (pl.col(name).mean() for name in ("nats", "ideal_nats"))
    return _means(pairs, ("cell", "against", *_ASKED, *by), ("gap",), *means)


def _by_function(pairs: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """Return the means over all answers of every prompt, once for each function that it draws."""
    drawn = (
        prompts.select("ideal_cell", *_ASKED, "prompt", skill=pl.col("functions").list.unique())
        .explode("skill")
        .drop_nulls("skill")  # a task that draws nothing
    )
    whole = pairs.group_by("cell", "ideal_cell", "against", *_ASKED, "prompt", maintain_order=True).agg(
        pl.col("nats", "ideal_nats", "gap").mean()
    )
    return whole.join(drawn, on=["ideal_cell", *_ASKED, "prompt"], how="inner", maintain_order="left_right")


def _paired(items: pl.DataFrame, ideal: pl.DataFrame, against: Mapping[str, str]) -> pl.DataFrame:
    """Return answers of models, what the ideal predictor `against` pays (`ideal_nats`), and the difference (`gap`)."""
    links = pl.DataFrame(
        {"cell": list(against), "ideal_cell": list(against.values())},
        schema=dict.fromkeys(("cell", "ideal_cell"), pl.String),
    )
    pair = (*_ASKED, "prompt", "answers")
    known = ideal.select(
        pl.col("cell").alias("ideal_cell"), pl.col("predictor").alias("against"), *pair, ideal_nats="nats"
    )
    known = known.join(links.select("ideal_cell").unique(), on="ideal_cell", how="semi")
    return (
        items.join(links, on="cell", how="inner", maintain_order="left")
        .join(known, on=["ideal_cell", *pair], how="inner", maintain_order="left")
        .with_columns(gap=pl.col("nats") - pl.col("ideal_nats"))
    )


def document_gaps(documents: pl.DataFrame, ideal: pl.DataFrame, *, cell: str, against: str) -> pl.DataFrame:
    """Return what a model pays more than an ideal predictor per token of the same documents, as rows of `GAPS`.

    Both frames are sums by document and label (`evaluate.losses.DOCUMENT_LOSSES`). The interval takes documents as
    clusters, those that have a token of the kind. Raises ValueError where the two did not read the same tokens.
    """
    keys = ["document", *_LABELS]
    pairs = documents.join(ideal, on=keys, how="full", nulls_equal=True, suffix="_ideal", coalesce=True)
    if not pairs.filter(pl.col("tokens").ne_missing(pl.col("tokens_ideal"))).is_empty():
        raise ValueError(f"The documents of {cell} are not those of its ideal predictor.")
    own, best, tokens = (pl.col(name).cast(pl.Float64) for name in ("nats", "nats_ideal", "tokens"))
    gap = own - best
    sums = (
        pairs.sort(*keys, nulls_last=False)
        .group_by(*_LABELS, maintain_order=True)
        .agg(
            n=pl.len(),
            tokens=pl.col("tokens").sum(),
            nats=own.sum() / tokens.sum(),
            ideal_nats=best.sum() / tokens.sum(),
            gap=gap.sum() / tokens.sum(),
            residual=(gap - gap.sum() / tokens.sum() * tokens).pow(2).sum(),
        )
    )
    return sums.with_columns(
        *_ratio_columns(sums), cell=pl.lit(cell), against=pl.lit(against), level=pl.lit("documents")
    ).drop("residual")


def _ratio_columns(sums: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """Return the interval and its method as `estimate.ratio` does, for all labels at once."""
    n, tokens, gap, residual = numbers(sums, "n", "tokens", "gap", "residual")
    with np.errstate(invalid="ignore", divide="ignore"):
        interval = intervals.student(gap, n / (n - 1) * residual / tokens**2, n - 1)
    method = pl.when(pl.col("n") == 1).then(pl.lit(estimate.ONE_VALUE)).otherwise(pl.lit(estimate.CLUSTER_T))
    return [*limits("gap", interval), method.alias("gap_method")]


def gaps(parts: list[pl.DataFrame], cells: pl.DataFrame) -> pl.DataFrame:
    """Join the gaps of prompts and documents into `GAPS`, with what each cell is."""
    empty = GAPS.to_frame().drop(list(_SIZES))
    joined = pl.concat([empty, *parts], how="diagonal_relaxed")
    order = ["cell", "against", "level", *_LABELS, *_ASKED, "argument", "shots"]
    return conform(_sized(joined, cells).sort(order, nulls_last=False), GAPS)


def _answers(items: pl.DataFrame) -> pl.DataFrame:
    whole = with_shots(items).filter((pl.col("step") == 0) & (pl.col("decoding") == "teacher_forced"))
    return whole.with_columns(pl.col("nats").cast(pl.Float64), answers=pl.col("shots") + 1)


def _means(rows: pl.DataFrame, by: Sequence[str], names: Sequence[str], *further: pl.Expr) -> pl.DataFrame:
    """Return the means of columns over groups with their intervals, and `n`."""
    sums = (part for name in names for part in moments(name))
    groups = rows.group_by(by, maintain_order=True).agg(pl.len().alias("n"), *sums, *further)
    return groups.with_columns(part for name in names for part in mean_columns(groups, name))


def _sized(frame: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    return frame.join(cells.select("cell", *_SIZES), on="cell", how="left", maintain_order="left")
