"""Theory and measurement side by side: learning gaps, and what a prompt's first answers cost together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from emergelab.analysis import estimate, intervals
from emergelab.analysis.groups import SCALE, conform, limits, numbers, with_shots
from emergelab.scores.tables import SCORES

_SIZES = {name: SCORES[name] for name in (*SCALE, "seed")}
_ASKED = ("task", "form", "split")
_PAIR = (*_ASKED, "prompt", "shots")

# What the first `answers` answers of a prompt cost together, teacher-forced, fresh and repeated arguments alike: the
# mean over `n` prompts of their nats and of the number of wrong ones.
CUMULATIVE = pl.Schema(
    {name: SCORES[name] for name in ("cell", "predictor", *_ASKED)}
    | {"answers": pl.Int16, "n": pl.Int32}
    | dict.fromkeys(("nats", "nats_lo", "nats_hi"), pl.Float64)
    | {"nats_method": pl.String}
    | dict.fromkeys(("errors", "errors_lo", "errors_hi"), pl.Float64)
    | {"errors_method": pl.String}
    | _SIZES
)

# What models pay more than an ideal predictor, in nats: per token of documents (`level` documents; role null: all
# tokens), or per answer of prompts (`level` prompts). `n` counts documents or prompts, `tokens` those of the documents.
GAPS = pl.Schema(
    {"cell": pl.String, "against": pl.String, "level": pl.String, "role": pl.String}
    | {name: SCORES[name] for name in _ASKED}
    | {"argument": pl.String, "shots": pl.Int16, "n": pl.Int32, "tokens": pl.Int64}
    | dict.fromkeys(("nats", "ideal_nats", "gap", "gap_lo", "gap_hi"), pl.Float64)
    | {"gap_method": pl.String}
    | _SIZES
)


def cumulative(items: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """Add up the answers of every prompt from its first on; return `CUMULATIVE`.

    Nats have Hall's interval, see `estimate.mean`; counts of wrong answers, which are skewed too, the same.
    Infinite nats have no interval.
    """
    prompt = ["cell", "predictor", *_ASKED, "prompt"]
    sums = (
        _answers(items)
        .sort(*prompt, "shots")
        .with_columns(
            pl.col("nats").cum_sum().over(prompt),
            errors=(~pl.col("correct")).cast(pl.Float64).cum_sum().over(prompt),
            answers=pl.col("shots") + 1,
        )
    )
    groups = sums.group_by("cell", "predictor", *_ASKED, "answers", maintain_order=True).agg(
        pl.len().alias("n"), *(part for name in ("nats", "errors") for part in _moments(name))
    )
    columns = [part for name in ("nats", "errors") for part in _mean_columns(groups, name)]
    return conform(_sized(groups.with_columns(columns), cells), CUMULATIVE)


def prompt_gaps(items: pl.DataFrame, ideal: pl.DataFrame, against: Mapping[str, str]) -> pl.DataFrame:
    """Return what models pay more than ideal predictors for answers of the same prompts, as rows of `GAPS`.

    `items` are those of models, `ideal` those of ideal predictors; `against` names for each cell of a model the
    cell whose items are its ideal ones. Differences are paired prompt by prompt.
    """
    links = pl.DataFrame(
        {"cell": list(against), "ideal_cell": list(against.values())},
        schema=dict.fromkeys(("cell", "ideal_cell"), pl.String),
    )
    known = _answers(ideal).select(pl.col("cell").alias("ideal_cell"), "predictor", *_PAIR, ideal_nats="nats")
    pairs = (
        _answers(items)
        .drop("predictor")
        .join(links, on="cell", how="inner")
        .join(known, on=["ideal_cell", *_PAIR], how="inner", maintain_order="left")
        .with_columns(gap=pl.col("nats") - pl.col("ideal_nats"))
    )
    groups = pairs.group_by("cell", "predictor", *_ASKED, "argument", "shots", maintain_order=True).agg(
        pl.len().alias("n"), pl.col("nats").mean(), pl.col("ideal_nats").mean(), *_moments("gap")
    )
    return groups.with_columns(
        *_mean_columns(groups, "gap"), pl.col("predictor").alias("against"), level=pl.lit("prompts")
    )


def document_gaps(documents: pl.DataFrame, ideal: pl.DataFrame, *, cell: str, against: str) -> pl.DataFrame:
    """Return what a model pays more than an ideal predictor per token of the same documents, as rows of `GAPS`.

    Both frames are sums by document and role (role null: all tokens). The interval takes documents as clusters.
    Raises ValueError where the two did not read the same tokens.
    """
    keys = ["document", "role"]
    pairs = documents.join(ideal, on=keys, how="full", nulls_equal=True, suffix="_ideal", coalesce=True)
    if not pairs.filter(pl.col("tokens").ne_missing(pl.col("tokens_ideal"))).is_empty():
        raise ValueError(f"The documents of {cell} are not those of its ideal predictor.")
    parts = pairs.sort(*keys, nulls_last=False).group_by("role", maintain_order=True)
    rows = [{"role": role, "cell": cell, "against": against} | _document_gap(part) for (role,), part in parts]
    return pl.DataFrame(rows, schema=_DOCUMENT_GAPS)


_DOCUMENT_GAPS = {
    name: kind for name, kind in GAPS.items() if name not in {*_ASKED, "argument", "shots", *_SIZES}
}


def _document_gap(part: pl.DataFrame) -> dict[str, object]:
    tokens, own, ideal = (part[name].cast(pl.Float64).to_numpy() for name in ("tokens", "nats", "nats_ideal"))
    gap = estimate.ratio(own - ideal, tokens)
    return {
        "level": "documents",
        "n": gap.n,
        "tokens": int(tokens.sum()),
        "nats": estimate.ratio(own, tokens).value,
        "ideal_nats": estimate.ratio(ideal, tokens).value,
        "gap": gap.value,
        "gap_lo": gap.lo,
        "gap_hi": gap.hi,
        "gap_method": gap.method,
    }


def gaps(parts: list[pl.DataFrame], cells: pl.DataFrame) -> pl.DataFrame:
    """Join the gaps of prompts and documents into `GAPS`, with what each cell is."""
    empty = GAPS.to_frame().drop(list(_SIZES))
    joined = pl.concat([empty, *parts], how="diagonal_relaxed")
    order = ["cell", "against", "level", "role", *_ASKED, "argument", "shots"]
    return conform(_sized(joined, cells).sort(order, nulls_last=False), GAPS)


def _answers(items: pl.DataFrame) -> pl.DataFrame:
    whole = with_shots(items).filter((pl.col("step") == 0) & (pl.col("decoding") == "teacher_forced"))
    return whole.with_columns(pl.col("nats").cast(pl.Float64))


def _moments(name: str) -> list[pl.Expr]:
    values = pl.col(name)
    return [
        values.mean().alias(name),
        values.std(ddof=1).alias(f"{name}_deviation"),
        values.skew(bias=True).alias(f"{name}_skewness"),
    ]


def _mean_columns(groups: pl.DataFrame, name: str) -> list[pl.Series | pl.Expr]:
    """Return a mean's interval and method, and the mean itself: null where it is infinite or nothing."""
    found = numbers(groups, name, f"{name}_deviation", f"{name}_skewness", "n")
    with np.errstate(invalid="ignore"):
        interval = intervals.skewed_mean(*found)
    infinite = pl.col(name).is_infinite() | pl.col(name).is_nan()
    method = (
        pl.when(infinite)
        .then(pl.lit(estimate.INFINITE))
        .when(pl.col("n") == 1)
        .then(pl.lit(estimate.ONE_VALUE))
        .otherwise(pl.lit(estimate.SKEWED_T))
    )
    value = pl.when(~infinite).then(pl.col(name)).alias(name)
    return [value, *limits(name, interval), method.alias(f"{name}_method")]


def _sized(frame: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    return frame.join(cells.select("cell", *_SIZES), on="cell", how="left", maintain_order="left")
