"""One way to draw lines of theory and points of measurement, in panels.

A frame has one mark to a row: panel, panel_rank, series, series_rank, mark (`line` or `point`), x, y, and for
points lo and hi, which may be null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import altair as alt
import polars as pl

from emergelab.report import theme
from emergelab.report.charts import PANEL_WIDTH, Drawing, balanced
from emergelab.report.figures import Figure
from emergelab.report.information import Information

LINE, POINT = "line", "point"
COLUMNS = ("panel", "series", "mark", "x", "y", "lo", "hi")
MEANINGS: Mapping[str, str] = {
    "panel": "panel of the figure",
    "series": "line or group of points",
    "mark": "line: theory; point: simulated or measured",
    "x": "along the axis below",
    "y": "along the axis at the left",
    "lo": "lower end of the 95 % interval",
    "hi": "upper end of the 95 % interval",
}
COUNTS = "~s"
"""The form of an axis of counts."""
_COUNT = "replace(datum.label, 'G', 'B')"
_ROWS = "rows"
_HEIGHT = 210
_MOST_COLUMNS = 3
_WIDTH = 2.0
Scale = Literal["linear", "log"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis: its title, its scale and its ends, None for those of the data."""

    title: str
    scale: Scale = "linear"
    ends: tuple[float, float] | None = None
    form: str = "~g"

    def channel(self, channel: type[Any], name: str) -> Any:
        """Return the axis as a channel of Altair's."""
        domain = alt.Undefined if self.ends is None else list(self.ends)
        scale = alt.Scale(type=self.scale, domain=domain, nice=False, clamp=self.scale == "log")
        # A count of 1e9 is 1B, as everywhere on the page, not 1G.
        label = _COUNT if self.form == COUNTS else alt.Undefined
        axis = alt.Axis(format=self.form, labelExpr=label, tickCount=5)
        return channel(f"{name}:Q", title=self.title, scale=scale, axis=axis)


@dataclass(frozen=True, kw_only=True)
class Titled:
    """What a figure is called, and the words below it."""

    name: str
    title: str
    short: str
    caption: str

    def drawn(self, drawing: Drawing, frame: pl.DataFrame, columns: Sequence[str]) -> Figure:
        """Return a drawing as a figure; `columns` of `frame` are its data."""
        information = Information(
            name=self.name, title=self.title, short=self.short, frame=frame, columns=tuple(columns)
        )
        specification = {
            **drawing.specification(),
            "config": theme.config(),
            "description": f"{self.title}. {self.caption}",
        }
        return Figure(information=information, caption=self.caption, specification=specification)


@dataclass(frozen=True, kw_only=True)
class Plot(Titled):
    """What a figure shows: its frame, its axes, its words; `colours` gives each series the name of a colour.

    `dashed` are series whose lines are dashed.
    """

    frame: pl.DataFrame
    x: Axis
    y: Axis
    colours: Mapping[str, str]
    dashed: tuple[str, ...] = field(default=())
    own_heights: bool = False  # each panel has its own axis at the left

    def figure(self) -> Figure:
        """Return the figure with its drawing."""
        chart = self._chart().to_dict(validate=False)
        drawing = Drawing(chart=chart, rows={_ROWS: self.frame}, minimum=PANEL_WIDTH)
        return self.drawn(drawing, self.frame, COLUMNS)

    def _chart(self) -> Any:
        panels = self.frame["panel"].n_unique()
        header = alt.Header(labelExpr="split(datum.value, '\\n')", labelLimit=PANEL_WIDTH * 2)
        facet = alt.Facet(
            "title:N", title=None, sort=alt.EncodingSortField("panel_rank", op="min"), header=header
        )
        layered = alt.layer(*self._layers(), data=alt.NamedData(_ROWS)).properties(
            width=PANEL_WIDTH, height=_HEIGHT
        )
        chart = layered.facet(facet=facet, columns=balanced(panels, _MOST_COLUMNS))
        return chart.resolve_scale(y="independent") if self.own_heights else chart

    def _layers(self) -> list[Any]:
        x, y = self.x.channel(alt.X, "x"), self.y.channel(alt.Y, "y")
        tooltip = [
            alt.Tooltip("series:N"),
            alt.Tooltip("x:Q", title=self.x.title, format=".4~g"),
            alt.Tooltip("y:Q", title=self.y.title, format=".4~g"),
        ]
        marks = self.frame["mark"].unique().to_list()
        layers: list[Any] = []
        if LINE in marks:
            lines = _only(LINE).mark_line(strokeWidth=_WIDTH, clip=True)
            layers.append(
                lines.encode(x=x, y=y, color=self._colour(), strokeDash=self._dash(), tooltip=tooltip)
            )
        if POINT in marks:
            points = _only(POINT).encode(x=x, color=self._colour())
            if self.frame["lo"].is_not_null().any():
                ends = {"y": self.y.channel(alt.Y, "lo"), "y2": "hi:Q"}
                layers.append(points.mark_rule(strokeWidth=1.6, clip=True).encode(**ends))
            layers.append(
                points.mark_point(filled=True, size=34, opacity=1, clip=True).encode(y=y, tooltip=tooltip)
            )
        return layers

    def _colour(self) -> Any:
        names = list(self.colours)
        scale = alt.Scale(domain=names, range=[theme.variable(self.colours[name]) for name in names])
        return alt.Color("series:N", title=None, scale=scale)

    def _dash(self) -> Any:
        names = list(self.colours)
        dashes = [[5, 4] if name in self.dashed else [1, 0] for name in names]
        return alt.StrokeDash("series:N", title=None, scale=alt.Scale(domain=names, range=dashes))


def rows(panel: str, panel_rank: int, series: str, mark: str, values: Mapping[str, Any]) -> pl.DataFrame:
    """Return marks of one series in one panel; `values` has x and y, and perhaps lo and hi."""
    count = len(values["x"])
    empty = [None] * count
    return pl.DataFrame(
        {
            "panel": [panel] * count,
            "panel_rank": [panel_rank] * count,
            "series": [series] * count,
            "mark": [mark] * count,
            "x": values["x"],
            "y": values["y"],
            "lo": values.get("lo", empty),
            "hi": values.get("hi", empty),
        },
        schema_overrides={"x": pl.Float64, "y": pl.Float64, "lo": pl.Float64, "hi": pl.Float64},
    ).with_columns(pl.col("x", "y", "lo", "hi").fill_nan(None))


def _only(mark: str) -> Any:
    return alt.Chart().transform_filter(f"datum.mark === '{mark}' && isValid(datum.y)")
