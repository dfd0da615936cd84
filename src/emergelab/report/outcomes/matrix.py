"""A picture of rows and columns: shares as tiles with their numbers, and places in an order as joined dots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from emergelab.report import theme, words
from emergelab.report.charts import Drawing
from emergelab.report.figures import Figure
from emergelab.report.plots import Titled

SHARE, PLACE, HEAD, ABSENT = "share", "place", "head", "absent"
COLUMNS = ("row", "column", "kind", "text", "value", "lo", "hi", "n")
_MARKS: Mapping[str, Any] = {
    "row": pl.String,
    "row_rank": pl.Int64,
    "column": pl.String,
    "column_rank": pl.Int64,
    "kind": pl.String,
    "text": pl.String,
    "value": pl.Float64,
    "lo": pl.Float64,
    "hi": pl.Float64,
    "n": pl.Int64,
}
_ROWS = "rows"
_TALL, _BROAD = 19, 46  # of a row and a column, in pixels
_LABEL = 250
_DOT = 250


@dataclass(frozen=True, kw_only=True)
class Matrix(Titled):
    """What the picture shows: `frame` has one mark to a row, with the columns of `marks`; and its words.

    A mark of kind `share` is a tile, `place` a dot with its text, joined to others of its row, `absent` a dash. A row
    whose marks are of kind `head` is a title.
    """

    frame: pl.DataFrame

    def figure(self) -> Figure:
        """Return the figure with its drawing."""
        drawing = Drawing(chart=self._chart().to_dict(validate=False), rows={_ROWS: self._keyed()})
        return self.drawn(drawing, self.frame, COLUMNS)

    def _keyed(self) -> pl.DataFrame:
        """Add keys that sort by rank, tell titles from others, and end in the label."""
        titles = self.frame.group_by("row_rank").agg(title=(pl.col("kind") == HEAD).all())
        joined = self.frame.join(titles, on="row_rank", how="left", maintain_order="left")
        sort = pl.when("title").then(pl.lit("t")).otherwise(pl.lit("r"))
        rank = pl.col("row_rank").cast(pl.String).str.zfill(4)
        column = pl.col("column_rank").cast(pl.String).str.zfill(4)
        return joined.with_columns(
            y=pl.concat_str(rank, sort, "row"),
            x=pl.concat_str(column, pl.lit("r"), "column"),
            series=pl.lit(""),
        ).drop("title")

    def _chart(self) -> Any:
        label = "slice(datum.label, 5)"
        plain: dict[str, Any] = {"ticks": False, "domain": False, "grid": False, "labelExpr": label}
        bold: Any = {"condition": {"test": "slice(datum.value, 4, 5) === 't'", "value": 700}, "value": 400}
        y_axis = alt.Axis(**plain, labelLimit=_LABEL, labelFontWeight=bold, labelOverlap=False)
        x_axis = alt.Axis(
            **plain, orient="top", labelAngle=-50, labelAlign="left", labelLimit=_LABEL, labelOverlap=False
        )
        x, y = alt.X("x:N", title=None, axis=x_axis), alt.Y("y:N", title=None, axis=y_axis)
        base = alt.Chart().encode(x=x, y=y)
        size = {
            "width": _BROAD * self.frame["column_rank"].n_unique(),
            "height": _TALL * self.frame["row_rank"].n_unique(),
        }
        layers = [_heads(base), *_tiles(base), *_dots(base), _dashes(base)]
        chart = alt.layer(*layers, data=alt.NamedData(_ROWS)).resolve_scale(color="independent")
        return chart.properties(**size)


def marks(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return rows as the frame of a `Matrix`; what a row does not name is missing, and shares name themselves."""
    frame = pl.DataFrame([{name: row.get(name) for name in _MARKS} for row in rows], schema=_MARKS)
    shares = pl.Series([words.share(value) for value in frame["value"]], dtype=pl.String)
    return frame.with_columns(text=pl.when(pl.col("kind") == SHARE).then(shares).otherwise("text"))


def _of(base: Any, kind: str) -> Any:
    return base.transform_filter(f"datum.kind === '{kind}'")


def _heads(base: Any) -> Any:
    """Draw nothing: titles take a place on the axes."""
    return _of(base, HEAD).mark_point(opacity=0)


def _tiles(base: Any) -> list[Any]:
    steps = [step / theme.HEAT_STEPS for step in range(1, theme.HEAT_STEPS)]
    colour, ink = (
        alt.Color(
            "value:Q",
            legend=None,
            scale=alt.Scale(
                type="threshold",
                domain=steps,
                range=[theme.variable(f"{name}-{step}") for step in range(theme.HEAT_STEPS)],
            ),
        )
        for name in ("heat", "heat-ink")
    )
    told = [
        alt.Tooltip("row:N"),
        alt.Tooltip("column:N"),
        alt.Tooltip("value:Q", title="right", format=".3~g"),
        alt.Tooltip("lo:Q", title="95 % from", format=".3~g"),
        alt.Tooltip("hi:Q", title="95 % to", format=".3~g"),
        alt.Tooltip("n:Q", title="pieces", format="d"),
    ]
    tiles = _of(base, SHARE)
    return [
        tiles.mark_rect(stroke=theme.variable("card"), strokeWidth=1.5, cornerRadius=2).encode(
            color=colour, tooltip=told
        ),
        tiles.mark_text(fontSize=10).encode(text="text:N", color=ink),
    ]


def _dots(base: Any) -> list[Any]:
    dots = _of(base, PLACE)
    return [
        dots.mark_line(color=theme.variable("accent"), strokeWidth=1.5, opacity=0.45).encode(detail="y:N"),
        dots.mark_point(filled=True, size=_DOT, opacity=1, shape="circle", color=theme.variable("accent")),
        dots.mark_text(fontSize=10, color=theme.variable("card")).encode(text="text:N"),
    ]


def _dashes(base: Any) -> Any:
    return _of(base, ABSENT).mark_text(fontSize=10, color=theme.variable("soft"), text=words.MISSING)
