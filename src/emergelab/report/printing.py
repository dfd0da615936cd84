"""What printing the steps gains: the theory's number, the ideal predictor's and the model's, each apart."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from emergelab.report.information import Information
from emergelab.report.labels import rank_variants
from emergelab.report.over import without_setting
from emergelab.report.series import MODELS, TRAINED, Prepared, at_the_end

PREDICTED = "predicted"
SAVED_TOGETHER = "nats saved on final answers"
RIGHT_TOGETHER = "fewer wrong final answers"
GAINS: Mapping[str, tuple[str, str]] = {
    SAVED_TOGETHER: ("nats_gain", "beyond_nats"),
    RIGHT_TOGETHER: ("errors_gain", "beyond_errors"),
}
"""By measure, the columns of a gain and of what a model gains beyond the ideal predictor."""
PREDICTED_NAME = "predicted by the theory, D silent \N{MINUS SIGN} D printed"
IDEAL_NAME = "gain of the ideal predictor"
MODEL_NAME = "gain of the model"
EXACT = "exact"
ORIGINS: Mapping[str, str] = {
    "right_after_right": "right, steps right",
    "right_after_wrong": "right after a wrong step",
    "wrong_after_right": "wrong, steps right",
    "wrong_after_wrong": "wrong after a wrong step",
}
"""By column of the table of decodings, what the page calls where a final answer came from."""
_PANEL = ("task", "split", "panel", "panel_rank")
_SERIES = ("series", "series_rank", "base", "size", "variant", "variant_rank")
_COLUMNS = (
    *("task", "split", "series", "params", "train_tokens", "seed", "answers", "prompts", "measure"),
    *("value", "lo", "hi", "method", "ideal_value", "beyond", "beyond_lo", "beyond_hi"),
)
_MOST_ROWS = 12  # bars of a panel
_ALIKE = 1e-9  # nats


def first_gains(prepared: Prepared) -> pl.DataFrame:
    """Return the gains on first answers after the last training token, teacher-forced, of models and the ideal one."""
    if prepared.printed.is_empty():
        return pl.DataFrame()
    rows = at_the_end(prepared.printed.filter(pl.col("decoding") == "teacher_forced"))
    return rows.filter(MODELS | (pl.col("predictor") == "ideal"))


def gains_apart(prepared: Prepared) -> Information:
    """Three gains of printed steps on the first answers of a prompt together, in nats and in wrong final answers.

    Along a number that the study varies, if what the theory predicts varies with it; else along the number of
    answers. The predicted gain is about whole answers, printed steps and separators included; the others are about
    final answers.
    """
    rows = first_gains(prepared)
    setting = None if rows.is_empty() else setting_of(rows, prepared)
    parts = [] if rows.is_empty() else [*_measured(rows), _predictions(rows, prepared)]
    frame = pl.concat(parts, how="diagonal_relaxed") if parts else pl.DataFrame()
    if setting is not None:
        frame = _along(frame.filter(pl.col("answers") == pl.col("answers").max().over("panel")), setting)
    frame = frame if frame.is_empty() else _linked(frame)
    order = ("panel_rank", "series_rank", "seed", "setting_value", "answers")
    along = ("setting", "setting_value") if setting is not None else ()
    return Information(
        name="gains-apart",
        title="What printing the steps gains: three numbers apart",
        short="Three gains",
        frame=frame.sort([name for name in order if name in frame.columns], maintain_order=True),
        columns=(*_COLUMNS[:3], *along, *_COLUMNS[3:]),
        absent="no task was scored both silently and with its steps printed" if frame.is_empty() else None,
    )


def own_steps(prepared: Prepared) -> Information:
    """Where final answers of free generation come from, at the most examples, after the last training token."""
    frame = pl.DataFrame() if prepared.own_steps.is_empty() else _origins(last_decodings(prepared))
    return Information(
        name="own-steps",
        title="When the model reads the steps that it wrote itself",
        short="Own steps",
        frame=frame,
        columns=("task", "split", "series", "train_tokens", "seed", "shots", "n", "origin", "value", "lo", "hi",
                 "forced", "method"),
        facet=None,
        absent="no form with printed steps was scored in free generation" if frame.is_empty() else None,
    )  # fmt: skip


def last_decodings(prepared: Prepared) -> pl.DataFrame:
    """Return what the models wrote freely behind fresh arguments, at the end, at the most examples."""
    if prepared.own_steps.is_empty():
        return pl.DataFrame()
    rows = at_the_end(prepared.own_steps.filter(TRAINED & (pl.col("argument") == "fresh")))
    return rows.filter(pl.col("shots") == pl.col("shots").max().over("panel"))


def setting_of(rows: pl.DataFrame, prepared: Prepared) -> str | None:
    """Return the first number that the study varies and that the predicted gain varies with, if there is one."""
    for name, values in prepared.settings.items():
        if all(isinstance(value, float) for value in values) and _moves(rows, name):
            return name
    return None


def _moves(rows: pl.DataFrame, setting: str) -> bool:
    named = rows.join(without_setting(rows["variant"], setting), on="variant", how="inner")
    reaches = named.group_by("panel", "others").agg(
        most=pl.col("D_steps_nats").max() - pl.col("D_steps_nats").min(),
        also=pl.col("D_direct_nats").max() - pl.col("D_direct_nats").min(),
    )
    return bool(reaches.select((pl.max_horizontal("most", "also") > _ALIKE).any()).item())


def _measured(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the gains of models and of the ideal predictor; models have that of the ideal one beside them."""
    largest = rows.filter(MODELS)["size"].unique(maintain_order=True)
    name = pl.when(MODELS).then(_told("series", largest)).otherwise(pl.lit(IDEAL_NAME))
    base = pl.when(MODELS).then(_told("base", largest)).otherwise(pl.lit(IDEAL_NAME))
    named = rows.with_columns(series=name, base=base, size=base)
    return [
        named.filter(pl.col(gain).is_not_null()).select(
            *(
                *_PANEL,
                *_SERIES,
                "mark",
                "line",
                "lines",
                "seed",
                "params",
                "corpus",
                "train_tokens",
                "answers",
            ),
            prompts="n",
            measure=pl.lit(measure),
            value=gain,
            lo=f"{gain}_lo",
            hi=f"{gain}_hi",
            method=f"{gain}_method",
            ideal_value=f"ideal_{gain}",
            beyond=beyond,
            beyond_lo=f"{beyond}_lo",
            beyond_hi=f"{beyond}_hi",
        )
        for measure, (gain, beyond) in GAINS.items()
    ]


def _told(name: str, sizes: pl.Series) -> pl.Expr:
    """Say in a legend that a model's line is its gain."""
    return pl.format(f"{MODEL_NAME}{{}}", pl.lit("") if sizes.len() == 1 else pl.format(", {}", name))


def _predictions(rows: pl.DataFrame, prepared: Prepared) -> pl.DataFrame:
    """Return the predicted gain, which is the same for all numbers of answers; nothing where there is none."""
    known = rows.filter(pl.col("predicted_nats").is_not_null()).unique(
        ["panel", "variant", "answers"], keep="first", maintain_order=True
    )
    return known.select(
        *_PANEL,
        *(pl.lit(PREDICTED_NAME).alias(name) for name in ("series", "base", "size", "line")),
        *("variant", "variant_rank", "answers"),
        series_rank=pl.lit(len(prepared.series)).cast(rows.schema["series_rank"]),
        mark=pl.lit(PREDICTED),
        lines=pl.lit(1, dtype=pl.UInt32),
        measure=pl.lit(SAVED_TOGETHER),
        value="predicted_nats",
        method=pl.lit(EXACT),
    )


def _along(frame: pl.DataFrame, setting: str) -> pl.DataFrame:
    """Give rows the value of a setting; a series is what differs in nothing else."""
    named = frame.join(
        without_setting(frame["variant"], setting), on="variant", how="inner", maintain_order="left"
    )
    ranks = rank_variants(named["others"]).rename({"variant": "others", "variant_rank": "others_rank"})
    series = pl.concat_str(["base", "others"], separator=", ", ignore_nulls=True)
    seed = pl.format("{}, seed {}", "series", pl.col("seed"))
    return (
        named.join(ranks, on="others", how="left", nulls_equal=True, maintain_order="left")
        .with_columns(setting=pl.lit(setting), series=series)
        .with_columns(
            series_rank=pl.col("series_rank").min().over("series").rank("dense"),
            line=pl.when(pl.col("seed").is_null()).then(pl.col("series")).otherwise(seed),
            variant="others",
            variant_rank="others_rank",
        )
        .with_columns(lines=pl.col("line").n_unique().over("series"))
    )


def _linked(frame: pl.DataFrame) -> pl.DataFrame:
    """Mark the rows of the largest model, whose distance from the ideal predictor is drawn."""
    last = pl.col("series_rank").filter(MODELS).max()
    told = pl.col("value").is_not_null() & pl.col("ideal_value").is_not_null()
    end = pl.col("answers") == pl.col("answers").max().over("panel")
    return frame.with_columns(linked=MODELS & told & end & (pl.col("series_rank") == last))


def _origins(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the share of each origin as rows; of several seeds that are not pooled the mean, without an interval."""
    rows = _fitting(rows)
    told = rows.with_columns(right_after_right=pl.col("free") - pl.col("right_after_wrong"))
    keys = (*_PANEL, "series", "series_rank", "train_tokens", "shots")
    parts = [
        told.group_by(keys, maintain_order=True).agg(
            pl.col("n").sum(),
            pl.col("forced").mean(),
            origin=pl.lit(name),
            origin_rank=pl.lit(place),
            value=pl.col(column).mean(),
            **_interval(column, told),
            seed=pl.when(pl.len() == 1).then(pl.col("seed").first()),
            method=pl.when(pl.len() == 1)
            .then(pl.col("shares_method").first())
            .otherwise(pl.lit("mean of the seeds")),
        )
        for place, (column, name) in enumerate(ORIGINS.items())
    ]
    return pl.concat(parts).sort("panel_rank", "series_rank", "origin_rank", maintain_order=True)


def _interval(column: str, rows: pl.DataFrame) -> dict[str, pl.Expr]:
    ends = {end: f"{column}_{end}" for end in ("lo", "hi")}
    missing = pl.lit(None, dtype=pl.Float64)
    return {
        end: pl.when(pl.len() == 1).then(pl.col(name).first()) if name in rows.columns else missing
        for end, name in ends.items()
    }


def _fitting(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep the largest size where there are more series than bars that a reader can take in."""
    if rows["series"].n_unique() <= _MOST_ROWS:
        return rows
    largest = rows.filter(pl.col("params") == pl.col("params").max())
    kept = largest["series"].unique(maintain_order=True).head(_MOST_ROWS)
    return largest.filter(pl.col("series").is_in(kept.implode()))
