"""Names of what is compared: series (sizes of models, other predictors) and panels (task, form, split)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from emergelab.report import words
from emergelab.scores.variants import settings_of

PANEL = ("task", "form", "split")
KEYS = ("predictor", "layers", "width", "params", "corpus", "variant")
SPLIT_WORDS = {"seen": "seen", "held_out": "held out", "outside": "outside the grammar"}
IDEALS: Mapping[str, str] = {"ideal": "ideal", "ideal_train": "ideal (training law)"}
"""By the name that the tables give an ideal predictor: its name on the page. They are references, not models."""
_FORM_WORDS = {"direct": "silent", "steps": "step printed"}
_RUN = ("predictor", "layers", "width", "params", "train_tokens", "variant")
_TIMES = "\N{MULTIPLICATION SIGN}"


def corpora(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return `corpus`, the rank of a corpus by size among those that models of one size read equally long.

    An endless stream has more documents the longer it is read, so the count alone tells no corpora apart.
    """
    columns = (*_RUN, "unique_documents")
    cells = pl.concat([table.select(columns) for table in tables]).unique(maintain_order=True)
    rank = pl.col("unique_documents").rank("dense").over(_RUN)
    return cells.with_columns(corpus=rank.cast(pl.Int64).fill_null(0))


def name_series(cells: pl.DataFrame) -> pl.DataFrame:
    """Return KEYS with the names of what is compared, from small to large, then what was not trained.

    `series` and `series_rank` tell everything apart. `size` leaves the corpus and the variant out, `base` the
    variant; `variant_rank` orders the variants by their values.
    """
    distinct = (
        cells.group_by(KEYS, maintain_order=True)
        .agg(pl.col("unique_documents").max(), untrained=pl.col("train_tokens").is_null().all())
        .join(rank_variants(cells["variant"]), on="variant", how="left", nulls_equal=True)
        .sort(
            *("untrained", is_ideal(), "params", "layers", "width", "corpus", "variant_rank", "predictor"),
            maintain_order=True,
        )
    )
    varying = _varying(distinct.filter(~pl.col("untrained")))
    rows = [_names(row, varying) for row in distinct.to_dicts()]
    models = distinct.select(~is_ideal()).to_series().to_list()
    bases = [row["base"] for row, model in zip(rows, models, strict=True) if model]
    if len(set(bases)) == 1 and len(bases) > 1:
        # All are of one size: what is varied tells them apart by itself.
        rows = [
            {**row, "series": ", ".join(_listed(variant)) or row["base"]} if model else row
            for row, variant, model in zip(rows, distinct["variant"], models, strict=True)
        ]
    series = [row["series"] for row in rows]
    named = [
        row if series.count(row["series"]) == 1 else _with_parameters(row, params)
        for row, params in zip(rows, distinct["params"], strict=True)
    ]
    names = pl.DataFrame(named, schema=dict.fromkeys(("size", "base", "series"), pl.String))
    return distinct.select(*KEYS, "variant_rank").hstack(names).with_row_index("series_rank")


def is_ideal() -> pl.Expr:
    """Tell whether a row, with `predictor` and `params`, is an ideal predictor's."""
    return pl.col("predictor").is_in(list(IDEALS)) & pl.col("params").is_null()


def _names(row: dict[str, object], varying: set[str]) -> dict[str, str]:
    predictor = str(row["predictor"])
    size = IDEALS.get(predictor, predictor) if row["untrained"] else _size_label(row, varying)
    if "predictor" in varying and not row["untrained"]:
        size = f"{row['predictor']}, {size}"
    base = f"{size}, {_corpus_words(row)}" if "corpus" in varying and not row["untrained"] else size
    return {"size": size, "base": base, "series": ", ".join([base, *_listed(row["variant"])])}


def _with_parameters(names: dict[str, str], params: int | None) -> dict[str, str]:
    return {name: f"{label}, {words.count(params)} parameters" for name, label in names.items()}


def _listed(variant: object) -> list[str]:
    return [] if variant is None else [str(variant)]


def _corpus_words(row: dict[str, object]) -> str:
    documents = row["unique_documents"]
    return "unknown corpus" if documents is None else f"{words.count(int(str(documents)))} documents"


def rank_variants(variants: pl.Series) -> pl.DataFrame:
    """Return `variant` with `variant_rank`: by the values of its settings, the first setting first; null is 0."""
    known = variants.drop_nulls().unique().to_list()
    said = {variant: settings_of(variant) for variant in known}
    # Numbers before words, and each in its own order.
    ordered = sorted(
        known, key=lambda variant: [(isinstance(value, str), value) for value in said[variant].values()]
    )
    return pl.DataFrame(
        {"variant": [None, *ordered], "variant_rank": list(range(len(ordered) + 1))},
        schema={"variant": pl.String, "variant_rank": pl.Int64},
    )


def name_panels(rows: pl.DataFrame, tasks: Sequence[str]) -> pl.DataFrame:
    """Return PANEL with `panel` and `panel_rank`: tasks in the order given, others as they come.

    A label has the task in its first line and what tells its panels apart in its second.
    """
    order = (
        rows.select(PANEL)
        .unique(maintain_order=True)
        .with_columns(
            by_task=pl.col("task").replace_strict(list(tasks), list(range(len(tasks))), default=len(tasks)),
            by_form=pl.col("form").replace_strict({"direct": 0, "steps": 1}, default=2),
            by_split=pl.col("split").replace_strict({"seen": 0, "held_out": 1, "outside": 2}, default=3),
            seen_at=pl.int_range(pl.len()).min().over("task"),
            forms=pl.col("form").n_unique().over("task"),
            splits=pl.col("split").n_unique().over("task"),
        )
        .sort("by_task", "seen_at", "by_form", "by_split")
    )
    labels = [_panel_label(row) for row in order.to_dicts()]
    named = order.select(PANEL).with_columns(panel=pl.Series(labels, dtype=pl.String))
    return named.with_row_index("panel_rank")


def panel_words(panel: str) -> str:
    """Return a panel's label in one line: 'pair (silent, held out)'."""
    task, _, detail = panel.partition("\n")
    return f"{task} ({detail})" if detail else task


def _panel_label(row: dict[str, object]) -> str:
    task, form, split = (str(row[name]) for name in PANEL)
    parts: list[str] = []
    if row["forms"] != 1 or form != "direct":
        parts.append(_FORM_WORDS.get(form, form))
    if row["splits"] != 1 or split != "seen":
        parts.append(SPLIT_WORDS.get(split, split))
    return "\n".join([task, ", ".join(parts)]).strip("\n")


def _varying(trained: pl.DataFrame) -> set[str]:
    return {name for name in KEYS if trained[name].n_unique() > 1 and name != "variant"}


def _size_label(row: dict[str, object], varying: set[str]) -> str:
    layers, width, params = row["layers"], row["width"], row["params"]
    if layers is None:
        return str(row["predictor"]) if params is None else f"{words.count(int(str(params)))} parameters"
    depth = words.plural(int(str(layers)), "layer")
    if width is not None and ("width" in varying or "layers" not in varying):
        return f"{depth} {_TIMES} {width}"
    return depth
