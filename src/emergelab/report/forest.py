"""Estimates by name: a row for each thing, a dot with its interval for each series, in panels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from emergelab.report import theme
from emergelab.report.charts import PANEL_WIDTH, Drawing, balanced
from emergelab.report.figures import Figure
from emergelab.report.plots import Axis, Titled

COLUMNS = ("panel", "row", "series", "x", "lo", "hi", "n")
FRAME = pl.Schema(
    {"panel": pl.String, "panel_rank": pl.Int64, "row": pl.String, "row_rank": pl.Int64, "series": pl.String}
    | {"x": pl.Float64, "lo": pl.Float64, "hi": pl.Float64, "n": pl.Int64}
)
_ROWS = "rows"
_MOST_COLUMNS = 3
_TALL = 13  # of one series in a row, in pixels
_LABEL = 230


@dataclass(frozen=True, kw_only=True)
class Forest(Titled):
    """What a figure shows: its frame (`FRAME`), its axis, its words; `colours` names each series' colour in order.

    `mark` is where a thin line stands: no difference, for example.
    """

    frame: pl.DataFrame
    x: Axis
    colours: Mapping[str, str]
    mark: float | None = None

    def figure(self) -> Figure:
        """Return the figure with its drawing."""
        shown = self.frame.filter(pl.col("x").is_not_null())
        chart = self._chart(shown).to_dict(validate=False)
        drawing = Drawing(chart=chart, rows={_ROWS: shown}, minimum=PANEL_WIDTH)
        return self.drawn(drawing, shown, COLUMNS)

    def _chart(self, shown: pl.DataFrame) -> Any:
        panels = max(1, shown["panel"].n_unique())
        each = max(2, len(self.colours) + 1)
        header = alt.Header(labelExpr="split(datum.value, '\\n')", labelLimit=PANEL_WIDTH * 2)
        facet = alt.Facet(
            "title:N", title=None, sort=alt.EncodingSortField("panel_rank", op="min"), header=header
        )
        layered = alt.layer(*self._layers(), data=alt.NamedData(_ROWS)).properties(
            width=PANEL_WIDTH, height=_TALL * each * max(1, shown["row"].n_unique())
        )
        return layered.facet(facet=facet, columns=balanced(panels, _MOST_COLUMNS))

    def _layers(self) -> list[Any]:
        axis = alt.Axis(labelLimit=_LABEL, grid=False, ticks=False, domain=False, labelOverlap=False)
        y = alt.Y("row:N", title=None, axis=axis, sort=alt.EncodingSortField("row_rank", op="min"))
        names = list(self.colours)
        offset = alt.YOffset("series:N", sort=names, scale=alt.Scale(paddingOuter=0.9))
        scale = alt.Scale(domain=names, range=[theme.variable(self.colours[name]) for name in names])
        colour = alt.Color("series:N", title=None, scale=scale)
        told = [
            alt.Tooltip("row:N"),
            alt.Tooltip("series:N"),
            alt.Tooltip("x:Q", title=self.x.title, format=".3~g"),
            alt.Tooltip("lo:Q", title="95 % from", format=".3~g"),
            alt.Tooltip("hi:Q", title="95 % to", format=".3~g"),
        ]
        base = alt.Chart().encode(y=y, yOffset=offset, color=colour)
        ends = {"x": self.x.channel(alt.X, "lo"), "x2": "hi:Q"}
        layers = [
            base.transform_filter("isValid(datum.lo)").mark_rule(strokeWidth=1.8, clip=True).encode(**ends),
            base.mark_point(filled=True, size=42, opacity=1, clip=True).encode(
                x=self.x.channel(alt.X, "x"), tooltip=told
            ),
        ]
        if self.mark is not None:
            line = alt.Chart().mark_rule(color=theme.variable("soft"), strokeWidth=1, strokeDash=[3, 3])
            layers.insert(0, line.encode(x=alt.datum(self.mark)))
        return layers
