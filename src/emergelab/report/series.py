"""What is compared: series (sizes of models, other predictors), panels (task, form, split), lines."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from emergelab.report import words
from emergelab.report.content import ReportInput

PANEL = ("task", "form", "split")
SIZE = ("layers", "width", "params", "unique_documents")
FRESH = (pl.col("argument") == "fresh") & (pl.col("decoding") == "teacher_forced")
TRAINED = pl.col("train_tokens").is_not_null()
SPLIT_WORDS = {"seen": "seen", "held_out": "held out", "outside": "outside the grammar"}
_TIMES = "\N{MULTIPLICATION SIGN}"
_KEYS = ("predictor", *SIZE)
_NUMBERS = ("accuracy", "accuracy_lo", "accuracy_hi", "chance", "nats", "nats_lo", "nats_hi", "loss")
_STEP_NUMBERS = ("step_accuracy", "step_accuracy_lo", "step_accuracy_hi")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The tables of a study, labelled and in the order in which a reader meets them.

    `answers` has the columns of CURVES and `series`, `series_rank` (small to large, then what was not
    trained), `panel`, `panel_rank`, `line` (one seed, or all) and `lines` (how many share a series). `items`
    has those of ITEMS with the same labels, `losses` those of LOSSES with `series`, `series_rank` and `line`.
    """

    answers: pl.DataFrame
    items: pl.DataFrame
    losses: pl.DataFrame
    series: tuple[str, ...]
    sizes: tuple[str, ...]  # those of the series that were trained, small to large
    panels: tuple[str, ...]

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
    def largest(self) -> str | None:
        """The largest trained model's series."""
        return self.sizes[-1] if self.sizes else None


def prepare(content: ReportInput) -> Prepared:
    """Label the tables of a study. An estimate that is not finite counts as missing."""
    curves = _finite(content.curves, (*_NUMBERS, *_STEP_NUMBERS))
    series = _series(curves)
    panels = _panels(pl.concat([content.scores.select(PANEL), curves.select(PANEL)]))
    labels = [name for name in ("series", "series_rank") if name in series.columns]
    answers = (
        _aggregated(curves)
        .join(series, on=_KEYS, how="left", nulls_equal=True, maintain_order="left")
        .join(panels, on=PANEL, how="left", maintain_order="left")
        .with_columns(line=_line())
        .with_columns(lines=pl.col("line").n_unique().over("series"))
        .sort("panel_rank", "series_rank", "train_tokens", "shots", "seed", maintain_order=True)
    )
    cells = content.scores.select("cell", *_KEYS, "train_tokens", "seed").unique(maintain_order=True)
    items = (
        _finite(content.items, ("nats", "chance"))
        .join(cells, on=("cell", "predictor"), how="left", maintain_order="left")
        .join(series, on=_KEYS, how="left", nulls_equal=True, maintain_order="left")
        .join(panels, on=PANEL, how="left", maintain_order="left")
    )
    return Prepared(
        answers=answers,
        items=items,
        losses=_label_losses(_finite(content.losses, ("loss",)), series.select(*SIZE, *labels)),
        series=tuple(series["series"]),
        sizes=tuple(answers.filter(TRAINED).sort("series_rank")["series"].unique(maintain_order=True)),
        panels=tuple(panels["panel"]),
    )


def panel_words(panel: str) -> str:
    """Return a panel's label in one line: 'pair (silent, held out)'."""
    task, _, detail = panel.partition("\n")
    return f"{task} ({detail})" if detail else task


def _finite(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    return frame.with_columns(
        pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in columns
    )


def _line() -> pl.Expr:
    seed = pl.format("{}, seed {}", "series", pl.col("seed"))
    return pl.when(pl.col("seed").is_null()).then(pl.col("series")).otherwise(seed)


def _aggregated(curves: pl.DataFrame) -> pl.DataFrame:
    """Keep the row over all seeds where there is one, else every seed's own."""
    keys = [*_KEYS, "train_tokens", *PANEL, "decoding", "argument", "shots"]
    return curves.filter(pl.col("seed").is_null() | ~pl.col("seed").is_null().any().over(keys))


def _panels(tables: pl.DataFrame) -> pl.DataFrame:
    distinct = tables.unique(maintain_order=True).with_row_index("seen_at")
    order = distinct.with_columns(
        first=pl.col("seen_at").min().over("task"),
        by_form=pl.col("form").replace_strict({"direct": 0, "steps": 1}, default=2),
        by_split=pl.col("split").replace_strict({"seen": 0, "held_out": 1, "outside": 2}, default=3),
        forms=pl.col("form").n_unique().over("task"),
        splits=pl.col("split").n_unique().over("task"),
    ).sort("first", "by_form", "by_split")
    labels = [_panel_label(row) for row in order.to_dicts()]
    return (
        order.select(PANEL)
        .with_columns(panel=pl.Series(labels, dtype=pl.String))
        .with_row_index("panel_rank")
    )


def _panel_label(row: dict[str, object]) -> str:
    parts: list[str] = []
    if row["forms"] != 1 or row["form"] != "direct":
        parts.append({"direct": "silent", "steps": "step printed"}.get(str(row["form"]), str(row["form"])))
    if row["splits"] != 1 or row["split"] != "seen":
        parts.append(SPLIT_WORDS.get(str(row["split"]), str(row["split"])))
    return "\n".join([str(row["task"]), ", ".join(parts)]).strip("\n")


def _series(curves: pl.DataFrame) -> pl.DataFrame:
    distinct = (
        curves.group_by(_KEYS, maintain_order=True)
        .agg(untrained=pl.col("train_tokens").is_null().all())
        .sort("untrained", "params", "layers", "width", "unique_documents", "predictor", maintain_order=True)
    )
    varying = _varying(distinct.filter(~pl.col("untrained")))
    labels = [_series_label(row, varying) for row in distinct.to_dicts()]
    unique = [
        label if labels.count(label) == 1 else f"{label}, {words.count(params)} parameters"
        for label, params in zip(labels, distinct["params"], strict=True)
    ]
    named = distinct.select(_KEYS).with_columns(series=pl.Series(unique, dtype=pl.String))
    return named.with_row_index("series_rank")


def _varying(trained: pl.DataFrame) -> set[str]:
    return {name for name in _KEYS if trained[name].n_unique() > 1}


def _series_label(row: dict[str, object], varying: set[str]) -> str:
    if row["untrained"]:
        return str(row["predictor"])
    label = _size_label(row, varying)
    if "unique_documents" in varying:
        documents = row["unique_documents"]
        label += f", {words.count(float(str(documents)))} documents" if documents else ", endless documents"
    return f"{row['predictor']}, {label}" if "predictor" in varying else label


def _size_label(row: dict[str, object], varying: set[str]) -> str:
    layers, width, params = row["layers"], row["width"], row["params"]
    if layers is None:
        return str(row["predictor"]) if params is None else f"{words.count(float(str(params)))} parameters"
    depth = words.plural(int(str(layers)), "layer")
    if width is not None and ("width" in varying or "layers" not in varying):
        return f"{depth} {_TIMES} {width}"
    return depth


def _label_losses(losses: pl.DataFrame, series: pl.DataFrame) -> pl.DataFrame:
    """Name each run's series by depth and width; a run that fits several, or none, keeps its own name."""
    known = series.unique(["layers", "width"], keep="none", maintain_order=True)
    joined = losses.join(
        known.select("layers", "width", "series", "series_rank"),
        on=("layers", "width"),
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    return joined.with_columns(
        series=pl.coalesce("series", "run"), series_rank=pl.col("series_rank").fill_null(series.height)
    ).with_columns(line=pl.col("run"))
