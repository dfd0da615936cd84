"""What is drawn in colours and what in panels of its own, where a study varies more than colours can tell."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from emergelab.report.information import Information
from emergelab.report.series import MODELS, MOST_COLOURS, Prepared

IN_A_ROW = 5
MOST_PANELS = 40
_PLACE = ("mark", "panel", "panel_rank", "measure", "shots", "answers", "setting_value")
_SHOWN = ("value", "lo", "hi")


def arranged(information: Information, prepared: Prepared) -> tuple[Information, Prepared]:
    """Return a figure's rows and series as they are drawn.

    Up to eight trained series have a colour each. Of more, every variant has panels of its own, in which colours
    tell the sizes and corpora: a row for each kind of task, in it the variants. Where there are too many for a row,
    variants are left out evenly. Ideal predictors and bounds that differ between variants need such panels too;
    those that are the same for all of them are one line.
    """
    frame = information.frame
    if information.facet is None or frame.is_empty():
        return information, prepared
    trained = _trained(frame, prepared)
    apart = len(trained) > MOST_COLOURS or _references_differ(frame)
    if not apart or frame["variant"].n_unique() <= 1:
        return (
            replace(information, frame=_one_of_each_reference(frame, information.facet)),
            prepared if set(trained) <= set(prepared.sizes) else replace(prepared, sizes=trained),
        )
    kept = frame.join(_kept(frame), on="variant", how="semi", nulls_equal=True, maintain_order="left")
    folded = _folded(kept, information.facet)
    return replace(information, frame=folded), replace(prepared, sizes=_trained(folded, prepared))


def left_out(information: Information, prepared: Prepared) -> int:
    """Return how many variants of the figure are not drawn."""
    if information.facet is None:
        return 0
    drawn, _ = arranged(information, prepared)
    return information.frame["variant"].n_unique() - drawn.frame["variant"].n_unique()


def _trained(frame: pl.DataFrame, prepared: Prepared) -> tuple[str, ...]:
    """Return the names of the trained series of a figure, from small to large."""
    others = set(prepared.series) - set(prepared.sizes)
    models = frame.filter(MODELS) if "mark" in frame.columns else frame
    ordered = models.sort("series_rank", maintain_order=True)["series"].unique(maintain_order=True)
    return tuple(name for name in ordered if name not in others)


def _references_differ(frame: pl.DataFrame) -> bool:
    """Tell whether an ideal predictor or a bound has several values in one place."""
    if "mark" not in frame.columns:
        return False
    references = frame.filter(~MODELS)
    place = [name for name in _PLACE if name in frame.columns]
    return references.select(*place, *_SHOWN).n_unique() > references.select(place).n_unique()


def _one_of_each_reference(frame: pl.DataFrame, facet: str) -> pl.DataFrame:
    """Keep one line of each ideal predictor and bound, under a name without its variant."""
    if "mark" not in frame.columns or frame.filter(~MODELS).is_empty():
        return frame
    place = [name for name in _PLACE if name in frame.columns]
    references = (
        frame.filter(~MODELS)
        .unique(place, keep="first", maintain_order=True)
        .with_columns(series=pl.col(facet), line=pl.col(facet))
        .with_columns(series_rank=pl.col("series_rank").min().over("series"))
    )
    return pl.concat([frame.filter(MODELS), references])


def _kept(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the variants that are drawn: the first, the last, and as many evenly between as there is room for."""
    variants = frame.select("variant", "variant_rank").unique().sort("variant_rank")
    several = "panel" in frame.columns and frame["panel"].n_unique() > 1
    room = IN_A_ROW if several else MOST_PANELS
    if variants.height <= room:
        return variants
    places = sorted({round(step * (variants.height - 1) / (room - 1)) for step in range(room)})
    return variants[places]


def _folded(frame: pl.DataFrame, facet: str) -> pl.DataFrame:
    """Put every variant in panels of its own, beside the others of the same kind of task."""
    variants = pl.col("variant").fill_null("all")
    count = int(frame["variant_rank"].max() or 0) + 1  # pyright: ignore[reportArgumentType]
    panelled = "panel" in frame.columns
    label = pl.format("{}\n{}", "panel", variants) if panelled else variants
    rank = pl.col("panel_rank").cast(pl.Int64) * count if panelled else pl.lit(0)
    return frame.with_columns(
        panel=label,
        panel_rank=rank + pl.col("variant_rank"),
        in_a_row=pl.col("variant").n_unique() if panelled else pl.lit(IN_A_ROW, dtype=pl.UInt32),
        series=pl.col(facet),
        series_rank=pl.col("series_rank").min().over(facet),
    )
