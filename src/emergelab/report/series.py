"""The tables of a study made ready for the report: labelled, ordered, one row for each line that is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from emergelab.analysis.groups import SCALE
from emergelab.report.content import ReportInput, RunRecord
from emergelab.report.labels import (
    KEYS,
    PANEL,
    SPLIT_WORDS,
    corpora,
    is_ideal,
    name_panels,
    name_series,
    rank_variants,
)
from emergelab.scores.variants import settings_of

FRESH = (pl.col("argument") == "fresh") & (pl.col("decoding") == "teacher_forced")
TRAINED = pl.col("train_tokens").is_not_null()
MODEL = "model"  # what a mark of a figure stands for, where it is no ideal predictor and no bound
MODELS = pl.col("mark") == MODEL
NAMES = ("series", "series_rank", "size", "base", "variant_rank")
MOST_COLOURS = 8  # that a reader can tell apart
_CELL = ("predictor", *SCALE)
_NUMBERS = (
    *("accuracy", "accuracy_lo", "accuracy_hi", "chance"),
    *("nats", "nats_lo", "nats_hi", "loss", "loss_lo", "loss_hi"),
)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The tables of a study, labelled and in the order in which a reader meets them.

    `answers` has the columns of CURVES and the NAMES of series (small to large, then what was not trained, the
    ideal predictors last), `mark` (an ideal predictor's name, else MODEL), `corpus` (its rank by size), `panel`,
    `panel_rank`, `line` (one seed, or all) and `lines` (how many share a series). `items` has those of ITEMS with
    the same labels and `train_tokens`, `losses` those of LOSSES with the names of series and `line`. `bounds`,
    `together` (the cumulative answers) and `gaps` are labelled likewise, each seed a line of its own; so are `printed`
    (gains of printed steps on the first answers) and `own_steps` (free generation), with a panel for each task and
    split and all seeds in one line where there are enough; `emergence` has a row for each curve and metric. They are
    empty where the study has none.
    """

    answers: pl.DataFrame
    items: pl.DataFrame
    losses: pl.DataFrame
    series: tuple[str, ...]
    sizes: tuple[str, ...]  # those of the series that were trained, small to large
    panels: tuple[str, ...]
    settings: Mapping[str, tuple[float | str, ...]] = field(
        default_factory=dict[str, "tuple[float | str, ...]"]
    )
    colours: int = 1  # of the ramp that trained series are drawn in
    epochs: Mapping[int, float] = field(default_factory=dict[int, float])  # by unique documents, at the most
    decay_share: float | None = None  # of training, in which the learning rate falls to zero; None: not known
    bounds: pl.DataFrame = field(default_factory=pl.DataFrame)
    together: pl.DataFrame = field(default_factory=pl.DataFrame)
    gaps: pl.DataFrame = field(default_factory=pl.DataFrame)
    printed: pl.DataFrame = field(default_factory=pl.DataFrame)
    own_steps: pl.DataFrame = field(default_factory=pl.DataFrame)
    emergence: pl.DataFrame = field(default_factory=pl.DataFrame)
    out_of_reach: tuple[str, ...] = ()  # why ideal predictors could not be computed

    @property
    def fresh(self) -> pl.DataFrame:
        """Teacher-forced answers to queries whose argument stood in no example: the headlines."""
        return self.answers.filter(FRESH)

    @property
    def final(self) -> pl.DataFrame:
        """The answers after the last training token of each series, and those of untrained predictors."""
        return at_the_end(self.answers)

    @property
    def models(self) -> pl.DataFrame:
        """The answers without those of the ideal predictors, which are references."""
        return self.answers.filter(MODELS)

    @property
    def shapes(self) -> int:
        """How many model sizes were trained; a series is one size on one corpus."""
        return self.answers.filter(TRAINED).select("layers", "width").n_unique()

    @property
    def corpora(self) -> int:
        """How many corpora models were trained on."""
        return self.answers.filter(TRAINED)["corpus"].n_unique()

    @property
    def only_size(self) -> bool:
        """Tell whether series differ in their size alone."""
        return self.corpora <= 1 and not self.settings

    @property
    def largest(self) -> str | None:
        """The largest trained model's series."""
        return self.sizes[-1] if self.sizes else None

    @property
    def leading(self) -> str | None:
        """The series with the best mean accuracy at its end, over all kinds of task; of equals the larger."""
        return leading_of(self.final) or self.largest


def prepare(content: ReportInput) -> Prepared:
    """Label the tables of a study. An estimate that is not finite counts as missing."""
    curves, scores = _finite(content.curves, _NUMBERS), content.scores
    cells = corpora([curves, scores])
    series = name_series(cells)
    panels = name_panels(pl.concat([scores.select(PANEL), curves.select(PANEL)]), _tasks(content.run))
    of_cell = cells.join(series, on=KEYS, how="left", nulls_equal=True).select(*_CELL, *NAMES, "corpus")
    answers = (
        curves.join(of_cell, on=_CELL, how="left", nulls_equal=True, maintain_order="left")
        .pipe(_aggregated)
        .join(panels, on=PANEL, how="left", maintain_order="left")
        .with_columns(mark=pl.when(is_ideal()).then("predictor").otherwise(pl.lit(MODEL)))
        .pipe(_in_lines)
        .sort("panel_rank", "series_rank", "train_tokens", "shots", "seed", maintain_order=True)
    )
    trained = answers.filter(TRAINED).sort("series_rank")
    sizes = tuple(trained["series"].unique(maintain_order=True))
    bases = trained["base"].n_unique()
    return Prepared(
        answers=answers,
        items=_label_items(content, of_cell, panels),
        losses=_label_losses(_finite(content.losses, ("loss",)), of_cell),
        series=tuple(series["series"]),
        sizes=sizes,
        panels=tuple(panels["panel"]),
        settings=_settings(trained["variant"]),
        # The names of facets take variants over where one figure cannot colour them all.
        colours=max(1, min(len(sizes), max(MOST_COLOURS, bases))),
        epochs=_epochs(content.cells),
        decay_share=_decay_share(content.run),
        bounds=_label_bounds(content.bounds, series, panels),
        together=_label_confronted(content.cumulative, content, of_cell, panels),
        gaps=_label_confronted(_of_all_skills(content.gaps), content, of_cell, panels),
        printed=_label_printed(content.cumulative_gains, of_cell, panels),
        own_steps=_label_printed(content.decodings, of_cell, panels),
        emergence=_label_emergence(content.emergence, of_cell, panels),
        out_of_reach=tuple(content.run.get("out_of_reach", ())),
    )


def at_the_end(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep what comes after the last training token of each series, and what was not trained."""
    last = pl.col("train_tokens").max().over("series")
    return rows.filter(~TRAINED | (pl.col("train_tokens") == last))


def leading_of(final: pl.DataFrame) -> str | None:
    """Return the trained series with the best mean accuracy over all kinds of task; of equals the larger."""
    rows = at_most_shots(final.filter(FRESH & TRAINED))
    means = rows.group_by("series", "series_rank").agg(pl.col("accuracy").mean()).drop_nulls()
    best = means.sort("accuracy", "series_rank", descending=True)
    return None if best.is_empty() else str(best["series"][0])


def at_most_shots(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep each panel's largest number of examples."""
    return rows.filter(pl.col("shots") == pl.col("shots").max().over(PANEL))


def _settings(variants: pl.Series) -> dict[str, tuple[float | str, ...]]:
    """Return what is varied besides the scale: its values in order, by name."""
    ordered = rank_variants(variants)["variant"].drop_nulls()
    values: dict[str, dict[float | str, None]] = {}
    for variant in ordered:
        for name, value in settings_of(variant).items():
            values.setdefault(name, {})[value] = None
    return {
        name: tuple(sorted(found, key=lambda value: (isinstance(value, str), value)))
        for name, found in values.items()
    }


def _epochs(cells: pl.DataFrame) -> dict[int, float]:
    """Return how often the documents of each finite corpus were read at the most."""
    if not {"documents_read", "unique_documents"} <= set(cells.columns):
        return {}
    times = pl.col("documents_read") / pl.col("unique_documents")
    finite = cells.filter(pl.col("unique_documents").is_not_null())
    found = finite.group_by("unique_documents").agg(times.max().alias("times")).sort("unique_documents")
    return dict(found.iter_rows())


def _tasks(run: RunRecord) -> list[str]:
    """Return the tasks in the study's own order, as far as the record tells it."""
    evaluate = run.get("study", {}).get("evaluate")
    tasks = evaluate.get("tasks") if isinstance(evaluate, dict) else None
    return [str(task) for task in dict.fromkeys(tasks)] if isinstance(tasks, list) else []


def _decay_share(run: RunRecord) -> float | None:
    """Return the part of training in which the learning rate falls, as far as the record tells it."""
    train = run.get("study", {}).get("train")
    share = train.get("decay_share") if isinstance(train, dict) else None
    if isinstance(share, list) and len(share) == 1:
        [share] = share
    return float(share) if isinstance(share, int | float) else None


def _finite(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    return frame.with_columns(
        pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in columns
    )


def _in_lines(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `line`, a seed of a series or all of them, and `lines`, how many a series has."""
    seed = pl.format("{}, seed {}", "series", pl.col("seed"))
    line = pl.when(pl.col("seed").is_null()).then(pl.col("series")).otherwise(seed)
    return rows.with_columns(line=line).with_columns(lines=pl.col("line").n_unique().over("series"))


def _aggregated(curves: pl.DataFrame) -> pl.DataFrame:
    """Keep the row over all seeds where there is one, else every seed's own."""
    keys = ["series", "train_tokens", *PANEL, "decoding", "argument", "shots"]
    return curves.filter(pl.col("seed").is_null() | ~pl.col("seed").is_null().any().over(keys))


def _label_items(content: ReportInput, of_cell: pl.DataFrame, panels: pl.DataFrame) -> pl.DataFrame:
    labels = _cell_labels(content, of_cell).select(
        *("cell", "predictor", "train_tokens", "seed", "variant"), *NAMES
    )
    return content.items.join(
        labels, on=("cell", "predictor"), how="left", maintain_order="left", validate="m:1"
    ).join(panels, on=PANEL, how="left", maintain_order="left")


def _cell_labels(content: ReportInput, of_cell: pl.DataFrame) -> pl.DataFrame:
    """Return what each cell is, and the names of its series."""
    cells = content.scores.select("cell", *_CELL, "seed").unique(maintain_order=True)
    return cells.join(of_cell, on=_CELL, how="left", nulls_equal=True)


def _of_all_skills(gaps: pl.DataFrame | None) -> pl.DataFrame | None:
    """Leave out what is about the tokens and prompts of single functions, which the page does not show."""
    return None if gaps is None else gaps.filter(pl.col("skill").is_null() & pl.col("needed").is_null())


def _label_confronted(
    table: pl.DataFrame | None, content: ReportInput, of_cell: pl.DataFrame, panels: pl.DataFrame
) -> pl.DataFrame:
    """Name the series and panels of cumulative answers or of gaps. Those on documents have no panel yet."""
    if table is None or table.is_empty():
        return pl.DataFrame()
    labels = _cell_labels(content, of_cell).select("cell", "predictor", *NAMES, "corpus")
    joined = table.drop("predictor", strict=False).join(
        labels, on="cell", how="inner", maintain_order="left", validate="m:1"
    )
    return (
        joined.join(panels, on=PANEL, how="left", maintain_order="left")
        .with_columns(mark=pl.when(is_ideal()).then("predictor").otherwise(pl.lit(MODEL)))
        .pipe(_in_lines)
        .sort("panel_rank", "series_rank", "train_tokens", "seed", maintain_order=True)
    )


def _label_printed(table: pl.DataFrame | None, of_cell: pl.DataFrame, panels: pl.DataFrame) -> pl.DataFrame:
    """Name the series and panels of what compares the forms of a task; keep rows over all seeds where there are."""
    if table is None or table.is_empty():
        return pl.DataFrame()
    steps = panels.filter(pl.col("form") == "steps").select("task", "split", "panel_rank")
    joined = table.join(
        of_cell, on=_CELL, how="inner", nulls_equal=True, maintain_order="left", validate="m:1"
    ).join(steps, on=("task", "split"), how="inner", maintain_order="left")
    keys = [name for name in table.columns[: table.columns.index("n")] if name not in {"cell", "predictor"}]
    over_all = pl.col("seed").is_null()
    return (
        joined.filter(over_all | ~over_all.any().over("series", "train_tokens", *keys))
        .with_columns(
            panel=pl.col("task") + "\n" + pl.col("split").replace(SPLIT_WORDS),
            mark=pl.when(is_ideal()).then("predictor").otherwise(pl.lit(MODEL)),
        )
        .pipe(_in_lines)
        .sort("panel_rank", "series_rank", "train_tokens", "seed", maintain_order=True)
    )


def _label_emergence(found: pl.DataFrame | None, of_cell: pl.DataFrame, panels: pl.DataFrame) -> pl.DataFrame:
    """Name the panels of curves, the corpus and variant that each is of, and the series of those of one model."""
    if found is None or found.is_empty():
        return pl.DataFrame()
    trained = of_cell.filter(TRAINED)
    model = ("layers", "width", "params", "unique_documents", "variant")
    corpora = trained.select("unique_documents", "variant", "corpus", "variant_rank").unique(
        ["unique_documents", "variant"], maintain_order=True
    )
    series = trained.select(*model, "series", "series_rank").unique(model, maintain_order=True)
    return (
        found.join(panels, on=PANEL, how="left", maintain_order="left")
        .join(
            corpora, on=["unique_documents", "variant"], how="left", nulls_equal=True, maintain_order="left"
        )
        .join(series, on=model, how="left", nulls_equal=True, maintain_order="left")
        .sort("panel_rank", maintain_order=True)
    )


def _label_bounds(bounds: pl.DataFrame | None, series: pl.DataFrame, panels: pl.DataFrame) -> pl.DataFrame:
    """Name the panels of bounds and rank their variants as those of the models."""
    if bounds is None or bounds.is_empty():
        return pl.DataFrame()
    ranks = series.select("variant", "variant_rank").unique()
    return (
        bounds.join(ranks, on="variant", how="inner", nulls_equal=True, maintain_order="left")
        .join(panels, on=PANEL, how="inner", maintain_order="left")
        .sort("panel_rank", "variant_rank", "law", "answers", maintain_order=True)
    )


def _label_losses(losses: pl.DataFrame, of_cell: pl.DataFrame) -> pl.DataFrame:
    """Name each run's series by what it trained; a run that fits several, or none, keeps its own name."""
    run = ("layers", "width", "unique_documents", "variant")
    known = of_cell.filter(TRAINED & pl.col("layers").is_not_null()).select(*run, *NAMES).unique()
    joined = losses.join(
        known.unique(run, keep="none"), on=run, how="left", nulls_equal=True, maintain_order="left"
    )
    return joined.with_columns(
        *(pl.coalesce(name, "run").alias(name) for name in ("series", "base", "size")),
        series_rank=pl.col("series_rank").fill_null(of_cell.height),
        variant_rank=pl.col("variant_rank").fill_null(0),
        line=pl.col("run"),
    )
