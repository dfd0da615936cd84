"""What emerges, and where: curves with the intervals of their thresholds, as a small table for each figure."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from emergelab.analysis.emergence.names import AXES, Axis
from emergelab.report.information import ACCURACY, ESTIMATE, NATS, Information, by_measure
from emergelab.report.labels import PANEL
from emergelab.report.series import FRESH, TRAINED, Prepared, at_most_shots

ALONG: Mapping[Axis, str] = {"tokens": "train_tokens", "parameters": "params", "compute": "flops"}
"""By axis that is drawn, the column of its values."""
AXIS_WORDS: Mapping[Axis, str] = {
    "tokens": "training tokens",
    "parameters": "parameters",
    "compute": "compute",
    "loss": "loss",
}
_MEASURES = {"accuracy": ACCURACY, "nats": NATS}
_INTERVAL = ("crossed", "from", "to", "at")


def axes_drawn(prepared: Prepared) -> list[Axis]:
    """Return the axes that have figures: tokens and parameters where curves cross their levels, else compute."""
    if prepared.emergence.is_empty():
        return []
    there = {axis for axis in ALONG if _intervals(prepared, axis).height}
    single: list[Axis] = [axis for axis in AXES if axis in there & {"tokens", "parameters"}]
    together: list[Axis] = ["compute"] if "compute" in there else []
    return single or together


def thresholds_along(prepared: Prepared, axis: Axis) -> Information:
    """Accuracy and nats along an axis, and the interval of each curve's threshold in the first row of the curve."""
    rows = (prepared.final if axis == "parameters" else prepared.answers).filter(FRESH & TRAINED)
    frame = by_measure(at_most_shots(rows))
    keys = ("series",) if axis == "tokens" else ("variant", "corpus")
    found = _intervals(prepared, axis).select("panel", *keys, "measure", *_INTERVAL, "lane")
    joined = frame.join(
        found, on=["panel", *keys, "measure"], how="left", nulls_equal=True, maintain_order="left"
    )
    first = pl.int_range(pl.len()).over("panel", *keys, "measure") == 0
    return Information(
        name=f"thresholds-over-{axis}",
        title=f"Thresholds over {AXIS_WORDS[axis]}",
        short="Thresholds",
        frame=joined.with_columns(pl.when(first).then(name).alias(name) for name in (*_INTERVAL, "lane")),
        columns=(*PANEL, "series", ALONG[axis], *ESTIMATE, *_INTERVAL),
    )


def _intervals(prepared: Prepared, axis: Axis) -> pl.DataFrame:
    """Return the thresholds that lie within what was measured, an open end at the end of the curve."""
    rows = prepared.emergence.filter((pl.col("axis") == axis) & pl.col("metric").is_in(list(_MEASURES)))
    lo, hi = pl.col("threshold_lo"), pl.col("threshold_hi")
    beyond = (lo.is_null() & (hi <= pl.col("measured_lo"))) | (hi.is_null() & (lo >= pl.col("measured_hi")))
    known = (lo.is_not_null() | hi.is_not_null()) & ~beyond.fill_null(value=False)
    return rows.filter(known).with_columns(
        pl.col("metric").replace_strict(_MEASURES).alias("measure"),
        lo.fill_null(pl.col("measured_lo")).alias("from"),
        hi.fill_null(pl.col("measured_hi")).alias("to"),
        at="threshold",
        crossed="level",
        lane=pl.col("series_rank").rank("dense").cast(pl.Int64) - 1 if axis == "tokens" else pl.lit(0),
    )
