"""The figures of a report, in reading order: information, drawing and words of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from emergelab.analysis.emergence.names import Axis
from emergelab.report import (
    against,
    against_words,
    captions,
    charts,
    emerging,
    emerging_words,
    information,
    printing,
    printing_words,
    theme,
)
from emergelab.report.charts import Drawing
from emergelab.report.content import ReportInput
from emergelab.report.facets import arranged, left_out
from emergelab.report.information import Information
from emergelab.report.over import over_setting, settings_drawn
from emergelab.report.series import Prepared, prepare

# Altair 6 writes Vega-Lite 6; the page's script and the exported files must read that version.
VEGA_LITE = "6.4"
_PNG_SCALE = 2
_EXPORT_WIDTH = 900


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure: its data, its words and its Vega-Lite specification, colours as CSS variables.

    `specification` is None where there is nothing to draw; `information.absent` says why.
    """

    information: Information
    caption: str
    specification: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """The stem of its files."""
        return self.information.name


@dataclass(frozen=True, kw_only=True)
class _Kind:
    inform: Callable[[Prepared], Information]
    draw: Callable[[Information, Prepared], Drawing]
    explain: Callable[[Information, Prepared], str]


_KINDS = (
    _Kind(inform=information.shot_curves, draw=charts.draw_shot_curves, explain=captions.shot_curves),
    _Kind(
        inform=information.emergence_over_tokens,
        draw=charts.draw_emergence_over_tokens,
        explain=captions.emergence_over_tokens,
    ),
    _Kind(
        inform=information.emergence_over_size,
        draw=charts.draw_emergence_over_size,
        explain=captions.emergence_over_size,
    ),
    _Kind(inform=information.printed_gain, draw=charts.draw_printed_gain, explain=captions.printed_gain),
    _Kind(inform=information.grid, draw=charts.draw_grid, explain=captions.grid),
    _Kind(inform=information.training_loss, draw=charts.draw_training_loss, explain=captions.training_loss),
    _Kind(
        inform=information.free_generation, draw=charts.draw_free_generation, explain=captions.free_generation
    ),
    _Kind(
        inform=information.fresh_and_repeated,
        draw=charts.draw_fresh_and_repeated,
        explain=captions.fresh_and_repeated,
    ),
)


_FIRST_ANSWERS = _Kind(
    inform=against.first_answers, draw=charts.draw_first_answers, explain=against_words.first_answers
)
_LEARNING_GAPS = (
    _Kind(
        inform=against.gap_over_tokens,
        draw=charts.draw_gap_over_tokens,
        explain=against_words.gap_over_tokens,
    ),
    _Kind(inform=against.gap_over_size, draw=charts.draw_gap_over_size, explain=against_words.gap_over_size),
)
_PRINTING = (
    _Kind(inform=printing.gains_apart, draw=charts.draw_gains_apart, explain=printing_words.gains_apart),
    _Kind(inform=printing.own_steps, draw=charts.draw_own_steps, explain=printing_words.own_steps),
)
_BEFORE_SETTINGS = 3  # figures; those over what the study varies follow them


def _over(setting: str) -> _Kind:
    def inform(prepared: Prepared) -> Information:
        return over_setting(prepared, setting)

    return _Kind(inform=inform, draw=charts.draw_over_setting, explain=captions.over_setting)


def threshold_figures(prepared: Prepared) -> list[Figure]:
    """Return the figures of what emerges where: one for each axis with such curves."""
    return [_figure(_thresholds(axis), prepared) for axis in emerging.axes_drawn(prepared)]


def _thresholds(axis: Axis) -> _Kind:
    def inform(prepared: Prepared) -> Information:
        return emerging.thresholds_along(prepared, axis)

    def draw(information: Information, prepared: Prepared) -> Drawing:
        return charts.draw_thresholds(information, prepared, emerging.ALONG[axis])

    return _Kind(inform=inform, draw=draw, explain=emerging_words.thresholds)


def figures(prepared: Prepared) -> list[Figure]:
    """Return every figure that the study's tables allow, and for the others the reason why not."""
    over = [_over(setting) for setting in settings_drawn(prepared)]
    shots, *scale = _KINDS[:_BEFORE_SETTINGS]
    # A run of an earlier version has nothing of the theory, not even empty figures.
    known = prepared.together.height > 0
    first, gaps = ([_FIRST_ANSWERS], _LEARNING_GAPS) if known else ([], ())
    printed = _PRINTING if prepared.printed.height else ()
    kinds = (shots, *first, *scale, *over, *gaps, *printed, *_KINDS[_BEFORE_SETTINGS:])
    return [_figure(kind, prepared) for kind in kinds]


def charts_of(content: ReportInput) -> dict[str, alt.TopLevelMixin]:
    """Return the figures that can be drawn, by name, as Altair charts in the colours of a light page."""
    prepared = prepare(content)
    colours = theme.palette("light", prepared.colours)
    made = [*figures(prepared), *threshold_figures(prepared)]
    drawn = [figure for figure in made if figure.specification is not None]
    return {figure.name: alt.Chart.from_dict(standalone(figure, colours)) for figure in drawn}


def standalone(figure: Figure, colours: Mapping[str, str]) -> dict[str, Any]:
    """Return the figure's Vega-Lite specification in the given colours, with its title, to stand by itself."""
    specification = theme.resolve(dict(figure.specification or {}), colours)
    columns = max(1, _EXPORT_WIDTH // specification["usermeta"]["legend"])
    specification["config"]["legend"]["columns"] = columns
    specification["config"] |= {
        "background": colours["card"],
        "padding": 16,
        "font": "Liberation Sans, Arial, sans-serif",
    }
    return {**specification, "title": {"text": figure.information.title, "fontSize": 15}}


def svg(figure: Figure, colours: Mapping[str, str]) -> str:
    """Return the figure as SVG text in the given colours, with its title."""
    return vl_convert.vegalite_to_svg(standalone(figure, colours), vl_version=VEGA_LITE)


def png(drawing: str) -> bytes:
    """Return SVG text as PNG at twice its size."""
    return vl_convert.svg_to_png(drawing, scale=_PNG_SCALE)


def _figure(kind: _Kind, prepared: Prepared) -> Figure:
    info = kind.inform(prepared)
    if info.absent is not None:
        return Figure(information=info, caption="", specification=None)
    caption = kind.explain(info, prepared) + captions.not_drawn(left_out(info, prepared))
    specification = kind.draw(*arranged(info, prepared)).specification()
    return Figure(
        information=info,
        caption=caption,
        specification={**specification, "config": theme.config(), "description": f"{info.title}. {caption}"},
    )
