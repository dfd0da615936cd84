"""What each figure shows, as a small table: computed here, drawn elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from emergelab.analysis import estimate
from emergelab.analysis.gains import paired_answers, paired_gain
from emergelab.analysis.seeds import crossed, crossed_gains, crossed_shares
from emergelab.report.labels import PANEL, SPLIT_WORDS
from emergelab.report.series import FRESH, NAMES, TRAINED, Prepared, at_most_shots
from emergelab.scores.tables import ITEMS

ACCURACY = "accuracy"
NATS = "nats per answer"
GAINED = "accuracy gained"
SAVED = "nats saved per answer"
COMBINED = "newcombe"
ESTIMATE = ("seed", "shots", "n", "measure", "value", "lo", "hi", "guess", "method")
_SERIES = (*NAMES, "variant")
_LABELS = (*PANEL, "panel", "panel_rank", *_SERIES, "mark", "line", "lines", "seed", "n", "shots")

MEANINGS: Mapping[str, str] = {
    "task": "task, as the grammar names it",
    "form": "direct: the final answer alone; steps: intermediate answers printed before it",
    "split": "seen in training, held_out of it, or outside the grammar",
    "series": "model size with what else was varied, or the predictor's name where nothing was trained",
    "setting": "what is varied along the axis",
    "setting_value": "its value",
    "params": "trained parameters",
    "train_tokens": "training tokens read so far",
    "seed": "seed of the run; empty: all seeds together",
    "shots": "examples before the query",
    "n": "scored answers",
    "measure": "what `value` is",
    "value": "the estimate",
    "lo": "lower end of the 95 % interval",
    "hi": "upper end of the 95 % interval",
    "guess": "what chance scores in the same measure; in nats minus ln of it, the least that a guess can cost",
    "method": "how the interval was computed",
    "argument": "fresh: the query's argument stood in no example; repeated: it did",
    "decoding": "teacher_forced: each token after the right ones; free: after the model's own",
    "part": "the whole answer, or one printed step of it",
    "silent": "value of the silent form",
    "printed": "value of the form with steps printed",
    "tokens": "training tokens",
    "loss": "training loss, nats per token",
    "run": "training run",
    "answers": "how many first answers of a prompt are taken together",
    "level": "documents: per token of new documents; prompts: per answer",
    "role": "role of the tokens in documents; empty: all tokens, or prompts",
    "tokens_of_role": "tokens that the gap is a mean over",
    "against": "which ideal predictor the gap is to",
    "nats": "what the model pays",
    "ideal_nats": "what the ideal predictor pays",
    "variant": "what else the study varies",
    "flops": "arithmetic of the training",
    "crossed": "level of the threshold, in the first row of its curve",
    "from": "lower end of the threshold's 95 % interval",
    "to": "its upper end",
    "at": "the threshold's estimate",
    "ideal_value": "the ideal predictor's gain on the same prompts",
    "beyond": "the model's gain less that of the ideal predictor, paired by prompt",
    "beyond_lo": "its interval's lower end",
    "beyond_hi": "its interval's upper end",
    "origin": "where a final answer of free generation comes from",
    "forced": "right final answers behind the true steps",
    "prompts": "prompts that the value is a mean over",
}


@dataclass(frozen=True, kw_only=True)
class Information:
    """A figure's data. `frame` is tidy, one mark to a row; `absent` says why there is nothing to draw."""

    name: str
    title: str
    short: str
    frame: pl.DataFrame
    columns: tuple[str, ...] = field(default=())
    absent: str | None = None
    # The column that names series where each variant has panels of its own; None: a variant never has.
    facet: str | None = "base"

    @property
    def data(self) -> pl.DataFrame:
        """The columns that a reader of the CSV file meets; none where there was nothing to compute from."""
        return self.frame.select(self.columns) if self.frame.width else self.frame


def shot_curves(prepared: Prepared) -> Information:
    """Accuracy and nats by number of examples, after the last training token of every size."""
    frame = by_measure(prepared.final.filter(FRESH))
    return Information(
        name="shot-curves",
        title="Accuracy and nats by number of examples, after the last training token",
        short="By examples",
        frame=frame,
        columns=(*PANEL, "series", "seed", "shots", "n", "measure", "value", "lo", "hi", "guess", "method"),
        absent="no query with a fresh argument was scored" if frame.is_empty() else None,
    )


def emergence_over_tokens(prepared: Prepared) -> Information:
    """Accuracy and nats over training tokens, at the largest number of examples."""
    frame = by_measure(at_most_shots(prepared.fresh.filter(TRAINED)))
    few = frame.is_empty() or frame["train_tokens"].n_unique() == 1
    return Information(
        name="emergence-over-tokens",
        title="Emergence over training tokens",
        short="Over tokens",
        frame=frame,
        columns=(*PANEL, "series", "train_tokens", *ESTIMATE),
        absent="the study reads its models at one token count only" if few else None,
    )


def emergence_over_size(prepared: Prepared) -> Information:
    """Accuracy and nats over the number of parameters, after the last training token."""
    sized = prepared.final.filter(FRESH & TRAINED & pl.col("params").is_not_null())
    frame = by_measure(at_most_shots(sized))
    few = frame.is_empty() or frame["params"].n_unique() == 1
    return Information(
        name="emergence-over-size",
        title="Emergence over model size",
        short="Over size",
        frame=frame,
        columns=(*PANEL, "series", "params", "train_tokens", *ESTIMATE),
        absent="the study trains one model size only" if few else None,
    )


def printed_gain(prepared: Prepared) -> Information:
    """Form with steps printed against the silent form, by training tokens; a gain is positive.

    Whole answers are compared, on the same prompts where right and wrong are counted. The interval of nats
    is Newcombe's: the two forms' own intervals combined, as if their prompts were independent.
    """
    frame = pl.concat([_accuracy_gained(prepared), _nats_saved(prepared)], how="diagonal_relaxed")
    return Information(
        name="silent-against-printed",
        title="What printing the steps changes",
        short="Silent or printed",
        frame=frame.sort("measure", "panel_rank", "series_rank", "train_tokens", maintain_order=True),
        columns=(
            *("task", "split", "series", "train_tokens", "seed", "shots", "n", "measure"),
            *("silent", "printed", "value", "lo", "hi", "method"),
        ),
        absent="no task was scored both silently and with its steps printed" if frame.is_empty() else None,
    )


def grid(prepared: Prepared) -> Information:
    """Accuracy for every size and token count at the largest number of examples; cells not run are null."""
    rows = at_most_shots(prepared.fresh.filter(TRAINED)).filter(pl.col("accuracy").is_not_null())
    keys = (*PANEL, "panel", "panel_rank", *_SERIES, "train_tokens")
    means = rows.group_by(keys, maintain_order=True).agg(
        value=pl.col("accuracy").mean(), seeds=pl.len(), shots=pl.col("shots").max()
    )
    frame = _complete(means)
    few = frame.is_empty() or frame.select("series", "train_tokens").n_unique() == 1
    return Information(
        name="grid",
        title="Accuracy over the whole grid of sizes and training tokens",
        short="Grid",
        frame=frame,
        columns=(*PANEL, "series", "train_tokens", "shots", "value"),
        facet=None,
        absent="the study has one cell only" if few else None,
    )


def training_loss(prepared: Prepared) -> Information:
    """Training loss over tokens, one line for each run."""
    frame = prepared.losses.filter(pl.col("loss").is_not_null() & (pl.col("tokens") > 0))
    return Information(
        name="training-loss",
        title="Training loss",
        short="Training loss",
        frame=frame,
        columns=("run", "series", "seed", "tokens", "loss"),
        absent="no training loss was recorded" if frame.is_empty() else None,
    )


def free_generation(prepared: Prepared) -> Information:
    """Free generation against teacher forcing: whole answers and steps of the leading model at its end."""
    leading = pl.col("series") == pl.lit(prepared.leading, dtype=pl.String)
    fresh = pl.col("argument") == "fresh"
    whole = at_most_shots(prepared.final.filter(leading & fresh)).filter(pl.col("accuracy").is_not_null())
    answers = whole.select(
        *(*PANEL, "panel", "panel_rank", "series", "decoding", "line", "seed", "shots"),
        n=pl.col("n").cast(pl.Int64),
        part=pl.lit("whole answer"),
        part_rank=pl.lit(0, dtype=pl.Int64),
        value="accuracy",
        lo="accuracy_lo",
        hi="accuracy_hi",
        method="accuracy_method",
    )
    frame = (
        pl.concat([answers, _steps(prepared, whole)], how="diagonal_relaxed") if answers.height else answers
    )
    both = frame.filter(pl.col("decoding").n_unique().over("panel", "part") > 1)
    return Information(
        name="free-generation",
        title="Free generation against teacher forcing",
        short="Free generation",
        frame=both.sort("panel_rank", "part_rank", "decoding", maintain_order=True),
        columns=(*PANEL, "series", "decoding", "part", "seed", "shots", "n", "value", "lo", "hi", "method"),
        facet=None,
        absent="nothing was scored in free generation" if both.is_empty() else None,
    )


def fresh_and_repeated(prepared: Prepared) -> Information:
    """Accuracy of the leading model by number of examples, fresh and repeated arguments apart."""
    forced = pl.col("decoding") == "teacher_forced"
    rows = prepared.final.filter(forced & (pl.col("series") == pl.lit(prepared.leading, dtype=pl.String)))
    frame = by_measure(rows).filter(pl.col("measure") == ACCURACY)
    both = frame.filter(pl.col("argument").n_unique().over("panel") > 1)
    return Information(
        name="fresh-and-repeated",
        title="Queries with a fresh argument against queries whose answer was already shown",
        short="Fresh or repeated",
        frame=both,
        columns=(*PANEL, "series", "argument", "seed", "shots", "n", "value", "lo", "hi", "guess", "method"),
        facet=None,
        absent="no query repeated an argument" if both.is_empty() else None,
    )


def by_measure(rows: pl.DataFrame) -> pl.DataFrame:
    """Turn accuracy and nats into rows of their own. A guess costs minus ln(chance) nats, or more."""
    guesses = {ACCURACY: pl.col("chance"), NATS: -pl.col("chance").log()}
    names = {ACCURACY: "accuracy", NATS: "nats"}
    extra = ("params", "train_tokens", "corpus", "unique_documents", "flops", "argument", "decoding")
    parts = [
        rows.select(
            *_LABELS,
            *extra,
            measure=pl.lit(measure),
            value=names[measure],
            lo=f"{names[measure]}_lo",
            hi=f"{names[measure]}_hi",
            guess=guess,
            method=f"{names[measure]}_method",
        )
        for measure, guess in guesses.items()
    ]
    return pl.concat(parts).filter(pl.col("value").is_not_null())


def _accuracy_gained(prepared: Prepared) -> pl.DataFrame:
    rows = at_most_shots(prepared.fresh.filter(TRAINED))
    keys = ["task", "split", *_SERIES, "train_tokens", "shots"]
    silent = rows.filter(pl.col("form") == "direct").with_columns(panel=_split_panel())
    drawn = silent.select(*keys, "panel", "panel_rank", "seed", "line", "lines")
    items, labels = _scored_both_ways(prepared, rows)
    seeds = drawn.join(_paired(items, labels), on=[*keys, "seed"], nulls_equal=True, maintain_order="left")
    pooled = drawn.filter(pl.col("seed").is_null())
    # Pairs are made anew for what is drawn over seeds, and only then.
    ours = labels.join(
        pooled.select("series", "train_tokens").unique(), on=["series", "train_tokens"], how="semi"
    )
    answered = items.join(ours, on="cell", how="semi")
    together = pooled.join(
        _paired_over_seeds(answered, ours, keys), on=keys, nulls_equal=True, maintain_order="left"
    )
    return pl.concat([seeds, together], how="diagonal_relaxed").with_columns(measure=pl.lit(GAINED))


def _scored_both_ways(prepared: Prepared, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the items that the gain is counted on, and the labels of their cells."""
    last = rows.select("task", shot="shots").unique()
    items = prepared.items.filter((pl.col("decoding") == "teacher_forced") & TRAINED).join(
        last, on=["task", "shot"], how="semi"
    )
    labels = items.select("cell", *_SERIES, "train_tokens", "seed").unique()
    return items.select(ITEMS.names()), labels


def _paired(items: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Return the gain in whole answers of every seed, paired by prompt."""
    gains = paired_gain(items).filter(FRESH)
    whole = gains.select(
        *("cell", "task", "split", "shots", "n"),
        silent="whole_direct",
        printed="whole_steps",
        value="whole_gain",
        lo="whole_gain_lo",
        hi="whole_gain_hi",
        method="gain_method",
    )
    return whole.join(labels, on="cell", maintain_order="left").drop("cell")


def _paired_over_seeds(items: pl.DataFrame, labels: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return the gain over all seeds, which answer the same prompts."""
    pairs = paired_answers(items).filter(FRESH).join(labels, on="cell")
    silent, printed = (pl.col(name).cast(pl.Float64) for name in ("whole", "whole_steps"))
    grouped = pairs.select(
        "seed", "prompt", group=pl.struct(keys), silent=silent, printed=printed, value=printed - silent
    )
    pooled = crossed_gains(grouped)
    for name in ("silent", "printed"):
        part = crossed(grouped.with_columns(value=name)).select("group", pl.col("value").alias(name))
        pooled = pooled.join(part, on="group", how="left", maintain_order="left")
    estimates = ("silent", "printed", "value", "lo", "hi", "method")
    return pooled.unnest("group").select(*keys, pl.col("n").cast(pl.Int32), *estimates)


def _nats_saved(prepared: Prepared) -> pl.DataFrame:
    rows = by_measure(at_most_shots(prepared.fresh.filter(TRAINED))).filter(pl.col("measure") == NATS)
    keys = ("task", "split", "series", "line", "train_tokens", "shots")
    printed = rows.filter(pl.col("form") == "steps").select(*keys, "value", "lo", "hi")
    silent = rows.filter(pl.col("form") == "direct")
    joined = silent.join(printed, on=keys, suffix="_printed", maintain_order="left")
    first, second = pl.col("value"), pl.col("value_printed")
    below = ((first - pl.col("lo")) ** 2 + (pl.col("hi_printed") - second) ** 2).sqrt()
    above = ((pl.col("hi") - first) ** 2 + (second - pl.col("lo_printed")) ** 2).sqrt()
    return joined.select(
        *(*keys, "panel_rank", "lines", "seed"),
        *(name for name in _SERIES if name != "series"),
        n=pl.col("n").cast(pl.Int64),
        panel=_split_panel(),
        silent=first,
        printed=second,
        value=first - second,
        lo=first - second - below,
        hi=first - second + above,
        method=pl.lit(COMBINED),
        measure=pl.lit(SAVED),
    )


def _split_panel() -> pl.Expr:
    return pl.col("task") + "\n" + pl.col("split").replace(SPLIT_WORDS)


def _complete(means: pl.DataFrame) -> pl.DataFrame:
    """Add the cells of the grid that are missing, with a null value."""
    panels = means.select(*PANEL, "panel", "panel_rank").unique(maintain_order=True)
    sizes = means.select(_SERIES).unique(maintain_order=True)
    tokens = means.select("train_tokens").unique().sort("train_tokens")
    every = panels.join(sizes, how="cross").join(tokens, how="cross")
    return every.join(means, on=every.columns, how="left", nulls_equal=True, maintain_order="left")


def _steps(prepared: Prepared, whole: pl.DataFrame) -> pl.DataFrame:
    """Credit for single steps, where an answer has more than one."""
    last = whole.group_by(PANEL).agg(pl.col("shots").max())
    cells = prepared.items.filter(
        (pl.col("series") == pl.lit(prepared.leading, dtype=pl.String))
        & (pl.col("argument") == "fresh")
        & (pl.col("step") > 0)
        & pl.col("correct").is_not_null()
    ).filter(pl.col("train_tokens") == pl.col("train_tokens").max())
    rows = cells.join(last, on=PANEL, maintain_order="left").filter(pl.col("shot") == pl.col("shots"))
    several = rows.filter(pl.col("step").max().over("panel") > 1)
    keys = (*PANEL, "panel", "panel_rank", "series", "decoding", "shots", "step")
    together = whole["seed"].null_count() > 0
    estimates = _steps_over_seeds(several, keys) if together else _each_seed(several, (*keys, "seed"))
    return estimates.with_columns(
        part=pl.format("step {}", "step"), part_rank=pl.col("step").cast(pl.Int64), line=pl.col("series")
    )


def _each_seed(rows: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    counted = rows.group_by(keys, maintain_order=True).agg(
        n=pl.len().cast(pl.Int64), right=pl.col("correct").sum()
    )
    found = [estimate.proportion(right, n) for right, n in counted.select("right", "n").iter_rows()]
    return counted.with_columns(*_series_of(found))


def _steps_over_seeds(rows: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    """Pool the verdicts on each step over seeds, which answer the same prompts."""
    verdicts = rows.select("seed", "prompt", group=pl.struct(keys), value=pl.col("correct").cast(pl.Float64))
    pooled = crossed_shares(verdicts).unnest("group")
    return pooled.select(
        *keys,
        *("value", "lo", "hi", "method"),
        n=pl.col("n").cast(pl.Int64),
        seed=pl.lit(None, dtype=pl.Int32),
    )


def _series_of(found: list[estimate.Estimate]) -> list[pl.Series]:
    return [
        pl.Series(
            name, [getattr(one, name) for one in found], dtype=pl.String if name == "method" else pl.Float64
        )
        for name in ("value", "lo", "hi", "method")
    ]
