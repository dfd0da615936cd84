"""The figure of a back-test: how far off each method was, split by split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from emergelab.report import theme
from emergelab.report.figures import VEGA_LITE

_BANDS = ("1 to 10", "above 10")
_KINDS = {
    "loss_nats": "losses (error, %)",
    "downstream": "accuracies (points)",
    "accuracy": "accuracies (points)",
}
_COLOURS = {
    "emergelab": "accent",
    "plain law (Huber)": "ideal-0",
    "logistic in log compute": "other-1",
    "power law in compute": "mode-1",
    "last value": "guess",
}
_WIDTH, _STEP = 330, 15


def back_test_chart(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the chart of losses and accuracies as Vega-Lite: rows are splits by band, colours methods."""
    shown = [
        {
            "split": f"{row['split']}, {row['band']} times",
            "method": row["method"],
            "kind": _KINDS[row["kind"]],
            "error": round(row["error"], 4),
        }
        for row in sorted(rows, key=_order)
        if row["kind"] in _KINDS and row["band"] in _BANDS
    ]
    colours = theme.palette("light", 1)
    scale = alt.Scale(domain=list(_COLOURS), range=[colours[name] for name in _COLOURS.values()])
    chart = (
        alt.Chart(alt.Data(values=shown))
        .mark_point(filled=True, size=80, opacity=0.9)
        .encode(
            x=alt.X("error:Q", title=None, scale=alt.Scale(zero=True)),
            y=alt.Y("split:N", title=None, sort=None, axis=alt.Axis(labelLimit=420, grid=True)),
            color=alt.Color(
                "method:N", title=None, scale=scale, legend=alt.Legend(columns=5, symbolOpacity=1)
            ),
        )
        .properties(width=_WIDTH, height=alt.Step(_STEP * 2))
        .facet(column=alt.Column("kind:N", title=None, sort="descending"))
        .resolve_scale(x="independent")
    )
    specification = theme.resolve(chart.to_dict(validate=False) | {"config": theme.config()}, colours)
    specification["config"] |= {"background": colours["card"], "padding": 16}
    specification["config"]["font"] = "Liberation Sans, Arial, sans-serif"
    return specification


def _order(row: dict[str, Any]) -> tuple[str, int]:
    """Return where a row stands: splits as they are called, the nearer band first."""
    return row["split"], _BANDS.index(row["band"]) if row["band"] in _BANDS else len(_BANDS)


def draw_back_test(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the chart as an SVG file."""
    path.write_text(vl_convert.vegalite_to_svg(back_test_chart(rows), vl_version=VEGA_LITE), encoding="utf-8")
