"""What each figure shows, as a small table: computed here, drawn elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
from scipy import stats

from emergelab.report.series import FRESH, PANEL, TRAINED, Prepared

ACCURACY = "accuracy"
NATS = "nats per answer"
_LABELS = (*PANEL, "panel", "panel_rank", "series", "series_rank", "line", "lines", "seed", "n", "shots")
_CONFIDENCE = 0.95

MEANINGS: Mapping[str, str] = {
    "task": "task, as the grammar names it",
    "form": "direct: the final answer alone; steps: intermediate answers printed before it",
    "split": "seen in training, held_out of it, or outside the grammar",
    "series": "model size, or the predictor's name where nothing was trained",
    "params": "trained parameters",
    "train_tokens": "training tokens read so far",
    "seed": "seed of the run; empty: all seeds together",
    "shots": "examples before the query",
    "n": "scored answers",
    "measure": "what `value` is",
    "value": "the estimate",
    "lo": "lower end of the 95 % interval",
    "hi": "upper end of the 95 % interval",
    "guess": "what a guess at chance scores in the same measure",
    "method": "how the interval was computed",
    "argument": "fresh: the query's argument stood in no example; repeated: it did",
    "decoding": "teacher_forced: each token after the right ones; free: after the model's own",
    "part": "the whole answer, or one printed step of it",
    "silent": "value of the silent form",
    "printed": "value of the form with steps printed",
    "tokens": "training tokens",
    "loss": "training loss, nats per token",
    "run": "training run",
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

    @property
    def data(self) -> pl.DataFrame:
        """The columns that a reader of the CSV file meets."""
        return self.frame.select(self.columns)


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
        columns=(*PANEL, "series", "train_tokens", *_estimate_columns()),
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
        columns=(*PANEL, "series", "params", "train_tokens", *_estimate_columns()),
        absent="the study trains one model size only" if few else None,
    )


def printed_gain(prepared: Prepared) -> Information:
    """Form with steps printed minus silent form, by training tokens; nats are counted the other way round.

    The interval is Newcombe's: the two forms' own intervals, combined as for independent samples.
    """
    rows = by_measure(at_most_shots(prepared.fresh.filter(TRAINED)))
    keys = (
        "task",
        "split",
        "series",
        "series_rank",
        "line",
        "lines",
        "seed",
        "train_tokens",
        "measure",
        "shots",
    )
    silent = rows.filter(pl.col("form") == "direct")
    printed = rows.filter(pl.col("form") == "steps").select(*keys, "value", "lo", "hi", "n")
    joined = silent.join(printed, on=keys, nulls_equal=True, suffix="_printed", maintain_order="left")
    frame = _difference(joined)
    return Information(
        name="silent-against-printed",
        title="What printing the steps changes",
        short="Silent or printed",
        frame=frame,
        columns=(
            *("task", "split", "series", "train_tokens", "seed", "shots", "measure"),
            *("silent", "printed", "value", "lo", "hi", "method"),
        ),
        absent="no task was scored both silently and with its steps printed" if frame.is_empty() else None,
    )


def grid(prepared: Prepared) -> Information:
    """Accuracy for every size and token count at the largest number of examples; cells not run are null."""
    rows = at_most_shots(prepared.fresh.filter(TRAINED)).filter(pl.col("accuracy").is_not_null())
    keys = (*PANEL, "panel", "panel_rank", "series", "series_rank", "train_tokens")
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
    """Free generation against teacher forcing: whole answers and steps of the largest model at its end."""
    largest = pl.col("series") == prepared.largest
    fresh = pl.col("argument") == "fresh"
    whole = at_most_shots(prepared.final.filter(largest & fresh)).filter(pl.col("accuracy").is_not_null())
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
        absent="nothing was scored in free generation" if both.is_empty() else None,
    )


def fresh_and_repeated(prepared: Prepared) -> Information:
    """Accuracy of the largest model by number of examples, fresh and repeated arguments apart."""
    forced = pl.col("decoding") == "teacher_forced"
    rows = prepared.final.filter(forced & (pl.col("series") == prepared.largest))
    frame = by_measure(rows).filter(pl.col("measure") == ACCURACY)
    both = frame.filter(pl.col("argument").n_unique().over("panel") > 1)
    return Information(
        name="fresh-and-repeated",
        title="Queries with a fresh argument against queries whose answer was already shown",
        short="Fresh or repeated",
        frame=both,
        columns=(*PANEL, "series", "argument", "seed", "shots", "n", "value", "lo", "hi", "guess", "method"),
        absent="no query repeated an argument" if both.is_empty() else None,
    )


def at_most_shots(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep each panel's largest number of examples."""
    return rows.filter(pl.col("shots") == pl.col("shots").max().over(PANEL))


def by_measure(rows: pl.DataFrame) -> pl.DataFrame:
    """Turn accuracy and nats into rows of their own. A guess at chance costs minus ln(chance) nats."""
    guesses = {ACCURACY: pl.col("chance"), NATS: -pl.col("chance").log()}
    names = {ACCURACY: "accuracy", NATS: "nats"}
    extra = ("params", "train_tokens", "argument", "decoding")
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


def _estimate_columns() -> tuple[str, ...]:
    return ("seed", "shots", "n", "measure", "value", "lo", "hi", "guess", "method")


def _difference(joined: pl.DataFrame) -> pl.DataFrame:
    """Return printed minus silent accuracy and silent minus printed nats: a gain is positive in both."""
    saved = pl.col("measure") == NATS
    first, second = _swap(saved, "value"), _swap(~saved, "value")
    below = ((first - _swap(saved, "lo")) ** 2 + (_swap(~saved, "hi") - second) ** 2).sqrt()
    above = ((_swap(saved, "hi") - first) ** 2 + (second - _swap(~saved, "lo")) ** 2).sqrt()
    return joined.with_columns(
        silent=pl.col("value"),
        printed=pl.col("value_printed"),
        value=first - second,
        lo=first - second - below,
        hi=first - second + above,
        method=pl.lit("Newcombe's, from the two forms' intervals"),
        measure=pl.when(saved).then(pl.lit("nats saved per answer")).otherwise(pl.lit("accuracy gained")),
        panel=pl.col("task") + "\n" + pl.col("split").str.replace("_", " "),
    )


def _swap(silent_first: pl.Expr, name: str) -> pl.Expr:
    return pl.when(silent_first).then(pl.col(name)).otherwise(pl.col(f"{name}_printed"))


def _complete(means: pl.DataFrame) -> pl.DataFrame:
    """Add the cells of the grid that are missing, with a null value."""
    panels = means.select(*PANEL, "panel", "panel_rank").unique(maintain_order=True)
    sizes = means.select("series", "series_rank").unique(maintain_order=True)
    tokens = means.select("train_tokens").unique().sort("train_tokens")
    every = panels.join(sizes, how="cross").join(tokens, how="cross")
    return every.join(means, on=every.columns, how="left", maintain_order="left")


def _steps(prepared: Prepared, whole: pl.DataFrame) -> pl.DataFrame:
    """Credit for single steps, where an answer has more than one."""
    last = whole.group_by(PANEL).agg(pl.col("shots").max())
    cells = prepared.items.filter(
        (pl.col("series") == prepared.largest)
        & (pl.col("argument") == "fresh")
        & (pl.col("step") > 0)
        & pl.col("correct").is_not_null()
    ).filter(pl.col("train_tokens") == pl.col("train_tokens").max())
    rows = cells.join(last, on=PANEL, maintain_order="left").filter(pl.col("shot") == pl.col("shots"))
    keys = (*PANEL, "panel", "panel_rank", "series", "decoding", "shots", "step", "seed")
    counted = rows.group_by(keys, maintain_order=True).agg(
        n=pl.len().cast(pl.Int64), right=pl.col("correct").sum()
    )
    several = counted.filter(pl.col("step").max().over("panel") > 1)
    together = whole["seed"].null_count() > 0
    estimates = _over_seeds(several, keys[:-1]) if together else _each_seed(several)
    return estimates.with_columns(
        part=pl.format("step {}", "step"), part_rank=pl.col("step").cast(pl.Int64), line=pl.col("series")
    )


def _each_seed(counted: pl.DataFrame) -> pl.DataFrame:
    limits = [
        stats.binomtest(right, n).proportion_ci(_CONFIDENCE, method="wilson")
        for right, n in counted.select("right", "n").iter_rows()
    ]
    return counted.with_columns(
        value=pl.col("right") / pl.col("n"),
        lo=pl.Series([float(limit.low) for limit in limits], dtype=pl.Float64),
        hi=pl.Series([float(limit.high) for limit in limits], dtype=pl.Float64),
        method=pl.lit("Wilson score over prompts"),
    )


def _over_seeds(counted: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    means = counted.with_columns(mean=pl.col("right") / pl.col("n"))
    rows = means.group_by(keys, maintain_order=True).agg(
        value=pl.col("mean").mean(), spread=pl.col("mean").std(), seeds=pl.len(), n=pl.col("n").sum()
    )
    reach = [float(stats.t.ppf((1 + _CONFIDENCE) / 2, max(1, n - 1))) / n**0.5 for n in rows["seeds"]]
    half = pl.Series(reach, dtype=pl.Float64) * rows["spread"]
    return rows.with_columns(
        lo=(pl.col("value") - half).clip(0, 1),
        hi=(pl.col("value") + half).clip(0, 1),
        seed=pl.lit(None, dtype=pl.Int32),
        method=pl.lit("Student t over seeds"),
    )


ALL = (
    shot_curves,
    emergence_over_tokens,
    emergence_over_size,
    printed_gain,
    grid,
    training_loss,
    free_generation,
    fresh_and_repeated,
)
