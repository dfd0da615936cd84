"""What figures show over a setting that the study varies, or over the number of unique documents."""

from __future__ import annotations

import re

import polars as pl

from emergelab.report.information import ESTIMATE, Information, by_measure
from emergelab.report.labels import PANEL, rank_variants
from emergelab.report.series import FRESH, TRAINED, Prepared, at_most_shots
from emergelab.scores.variants import settings_of

DOCUMENTS = "unique documents"


def over_setting(prepared: Prepared, setting: str) -> Information:
    """Accuracy and nats over a setting or the unique documents, after the last token, at the most examples.

    A series here is what differs in nothing but the setting.
    """
    rows = by_measure(at_most_shots(prepared.final.filter(FRESH)))
    if setting == DOCUMENTS:
        named = rows.with_columns(setting_value=pl.col("unique_documents").cast(pl.Float64), others="variant")
        facet = "size"
    else:
        named = rows.join(
            without_setting(rows["variant"], setting), on="variant", how="left", maintain_order="left"
        )
        facet = "base"
    ranks = rank_variants(named["others"]).rename({"variant": "others", "variant_rank": "others_rank"})
    frame = (
        named.filter(pl.col("setting_value").is_not_null())
        .join(ranks, on="others", how="left", nulls_equal=True, maintain_order="left")
        .with_columns(
            setting=pl.lit(setting),
            series=pl.concat_str([facet, "others"], separator=", ", ignore_nulls=True),
            series_rank=pl.col("series_rank").min().over(facet, "others").rank("dense"),
            variant="others",
            variant_rank="others_rank",
        )
        .with_columns(line=_line_of_seed(), lines=pl.col("seed").n_unique().over("series"))
        .sort("panel_rank", "series_rank", "seed", "setting_value", maintain_order=True)
    )
    return Information(
        name=f"over-{re.sub('[^a-z0-9]+', '-', setting.lower()).strip('-')}",
        title=f"Accuracy and nats over {setting}",
        short=f"Over {setting}",
        frame=frame,
        columns=(*PANEL, "series", "setting", "setting_value", "train_tokens", *ESTIMATE),
        absent=f"nothing was scored at two values of {setting}"
        if frame["setting_value"].n_unique() <= 1
        else None,
        facet=facet,
    )


def settings_drawn(prepared: Prepared) -> list[str]:
    """Return what accuracy is drawn over besides tokens and size: unique documents and every varied number."""
    numeric = [
        name
        for name, values in prepared.settings.items()
        if all(isinstance(value, float) for value in values)
    ]
    finite = prepared.answers.filter(TRAINED)["unique_documents"]
    return [*([DOCUMENTS] if prepared.corpora > 1 and not finite.has_nulls() else []), *numeric]


def without_setting(variants: pl.Series, setting: str) -> pl.DataFrame:
    """Return by `variant` the value of a setting and, as `others`, the variant without it."""
    rows: list[tuple[str, float | None, str | None]] = []
    for variant in variants.drop_nulls().unique(maintain_order=True):
        said = settings_of(variant)
        value = said.get(setting)
        others = [part for part in variant.split(", ") if part.rpartition("=")[0] != setting]
        rows.append((variant, value if isinstance(value, float) else None, ", ".join(others) or None))
    schema = {"variant": pl.String, "setting_value": pl.Float64, "others": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _line_of_seed() -> pl.Expr:
    seed = pl.format("{}, seed {}", "series", pl.col("seed"))
    return pl.when(pl.col("seed").is_null()).then(pl.col("series")).otherwise(seed)
