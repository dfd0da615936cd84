"""The tables of a study made ready for the report: labelled, ordered, one row for each line that is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from emergelab.report.content import ReportInput, RunRecord
from emergelab.report.labels import KEYS, PANEL, corpora, name_panels, name_series

FRESH = (pl.col("argument") == "fresh") & (pl.col("decoding") == "teacher_forced")
TRAINED = pl.col("train_tokens").is_not_null()
_CELL = ("predictor", "layers", "width", "params", "train_tokens", "unique_documents")
_NUMBERS = ("accuracy", "accuracy_lo", "accuracy_hi", "chance", "nats", "nats_lo", "nats_hi", "loss")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The tables of a study, labelled and in the order in which a reader meets them.

    `answers` has the columns of CURVES and `series`, `series_rank` (small to large, then what was not
    trained), `corpus` (its rank by size), `panel`, `panel_rank`, `line` (one seed, or all) and `lines` (how
    many share a series). `items` has those of ITEMS with the same labels and `train_tokens`, `losses` those
    of LOSSES with `series`, `series_rank` and `line`.
    """

    answers: pl.DataFrame
    items: pl.DataFrame
    losses: pl.DataFrame
    series: tuple[str, ...]
    sizes: tuple[str, ...]  # those of the series that were trained, small to large
    panels: tuple[str, ...]
    decay_share: float | None = None  # of training, in which the learning rate falls to zero; None: not known

    @property
    def fresh(self) -> pl.DataFrame:
        """Teacher-forced answers to queries whose argument stood in no example: the headlines."""
        return self.answers.filter(FRESH)

    @property
    def final(self) -> pl.DataFrame:
        """The answers after the last training token of each series, and those of untrained predictors."""
        last = pl.col("train_tokens").max().over("series")
        return self.answers.filter(~TRAINED | (pl.col("train_tokens") == last))

    @property
    def shapes(self) -> int:
        """How many model sizes were trained; a series is one size on one corpus."""
        return self.answers.filter(TRAINED).select("layers", "width", "params").n_unique()

    @property
    def corpora(self) -> int:
        """How many corpora models were trained on."""
        return self.answers.filter(TRAINED)["corpus"].n_unique()

    @property
    def largest(self) -> str | None:
        """The largest trained model's series."""
        return self.sizes[-1] if self.sizes else None

    @property
    def leading(self) -> str | None:
        """The series with the best mean accuracy at its end, over all kinds of task; of equals the larger."""
        final = at_most_shots(self.final.filter(FRESH & TRAINED))
        means = final.group_by("series", "series_rank").agg(pl.col("accuracy").mean()).drop_nulls()
        best = means.sort("accuracy", "series_rank", descending=True)
        return self.largest if best.is_empty() else str(best["series"][0])


def prepare(content: ReportInput) -> Prepared:
    """Label the tables of a study. An estimate that is not finite counts as missing."""
    curves, scores = _finite(content.curves, _NUMBERS), content.scores
    cells = corpora([curves, scores])
    series = name_series(cells)
    panels = name_panels(pl.concat([scores.select(PANEL), curves.select(PANEL)]), _tasks(content.run))
    of_cell = cells.join(series, on=KEYS, how="left", nulls_equal=True).select(
        *_CELL, "series", "series_rank", "corpus"
    )
    answers = (
        curves.join(of_cell, on=_CELL, how="left", nulls_equal=True, maintain_order="left")
        .pipe(_aggregated)
        .join(panels, on=PANEL, how="left", maintain_order="left")
        .with_columns(line=_line())
        .with_columns(lines=pl.col("line").n_unique().over("series"))
        .sort("panel_rank", "series_rank", "train_tokens", "shots", "seed", maintain_order=True)
    )
    return Prepared(
        answers=answers,
        items=_label_items(content, of_cell, panels),
        losses=_label_losses(_finite(content.losses, ("loss",)), series),
        series=tuple(series["series"]),
        sizes=tuple(answers.filter(TRAINED).sort("series_rank")["series"].unique(maintain_order=True)),
        panels=tuple(panels["panel"]),
        decay_share=_decay_share(content.run),
    )


def at_most_shots(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep each panel's largest number of examples."""
    return rows.filter(pl.col("shots") == pl.col("shots").max().over(PANEL))


def _tasks(run: RunRecord) -> list[str]:
    """Return the tasks in the study's own order, as far as the record tells it."""
    evaluate = run.get("study", {}).get("evaluate")
    tasks = evaluate.get("tasks") if isinstance(evaluate, dict) else None
    return [str(task) for task in dict.fromkeys(tasks)] if isinstance(tasks, list) else []


def _decay_share(run: RunRecord) -> float | None:
    """Return the part of training in which the learning rate falls, as far as the record tells it."""
    train = run.get("study", {}).get("train")
    share = train.get("decay_share") if isinstance(train, dict) else None
    return float(share) if isinstance(share, int | float) else None


def _finite(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    return frame.with_columns(
        pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in columns
    )


def _line() -> pl.Expr:
    seed = pl.format("{}, seed {}", "series", pl.col("seed"))
    return pl.when(pl.col("seed").is_null()).then(pl.col("series")).otherwise(seed)


def _aggregated(curves: pl.DataFrame) -> pl.DataFrame:
    """Keep the row over all seeds where there is one, else every seed's own."""
    keys = ["series", "train_tokens", *PANEL, "decoding", "argument", "shots"]
    return curves.filter(pl.col("seed").is_null() | ~pl.col("seed").is_null().any().over(keys))


def _label_items(content: ReportInput, of_cell: pl.DataFrame, panels: pl.DataFrame) -> pl.DataFrame:
    cells = content.scores.select("cell", *_CELL, "seed").unique(maintain_order=True)
    named = cells.join(of_cell, on=_CELL, how="left", nulls_equal=True)
    labels = named.select("cell", "predictor", "train_tokens", "seed", "series", "series_rank")
    return content.items.join(
        labels, on=("cell", "predictor"), how="left", maintain_order="left", validate="m:1"
    ).join(panels, on=PANEL, how="left", maintain_order="left")


def _label_losses(losses: pl.DataFrame, series: pl.DataFrame) -> pl.DataFrame:
    """Name each run's series by depth and width; a run that fits several, or none, keeps its own name."""
    known = series.filter(pl.col("layers").is_not_null()).unique(["layers", "width"], keep="none")
    joined = losses.join(
        known.select("layers", "width", "series", "series_rank"),
        on=("layers", "width"),
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    return joined.with_columns(
        series=pl.coalesce("series", "run"),
        series_rank=pl.col("series_rank").fill_null(series.height),
        line=pl.col("run"),
    )
