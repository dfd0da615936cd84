"""Draws what `information` computed: one Vega-Lite chart for each figure, colours as CSS variables.

A chart names its rows and holds none: Altair copies what it holds many times over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import altair as alt
import polars as pl
from polars import selectors

from emergelab.report import theme, words
from emergelab.report.against import BOUND, BOUND_TRAIN, ERRORS, GAP, TOGETHER
from emergelab.report.information import ACCURACY, GAINED, NATS, SAVED, Information
from emergelab.report.printing import ORIGINS, PREDICTED, RIGHT_TOGETHER, SAVED_TOGETHER
from emergelab.report.series import MODEL, MODELS, Prepared

GUESS = "chance"
BEYOND = "computational gain: model beyond ideal"
_FORCED = "right if the steps are given"


@dataclass(frozen=True)
class _Style:
    """How a reference's line is drawn: the name of its colour, its width, its dashes, its symbol in the legend."""

    colour: str
    width: float
    dash: tuple[int, ...] = (1, 0)
    symbol: str = "stroke"


# What belongs to the law of training is dotted and drawn above the rest, what belongs to the whole grammar is broad and
# beneath it: lines that coincide stay visible.
_REFERENCES: Mapping[str, _Style] = {
    "ideal": _Style("ideal-0", 5.5, symbol="M-1,-0.5H1V0.5H-1Z"),
    "ideal_train": _Style("ideal-1", 2.0, dash=(2, 3)),
    BOUND: _Style("bound-0", 3.0, symbol="M-1,-0.25H1V0.25H-1Z"),
    BOUND_TRAIN: _Style("bound-1", 1.6, dash=(2, 3)),
    PREDICTED: _Style("bound-0", 3.0, symbol="M-1,-0.25H1V0.25H-1Z"),
}
_WIDTH = 2.0  # of the lines of models
_GUESS_DASH = (4, 3)
_BENEATH = ("ideal", BOUND, PREDICTED)
_ABOVE = ("ideal_train", BOUND_TRAIN)
MOST_COLUMNS = 5
PANEL_WIDTH = 172
PANEL_HEIGHT = 150
_CELL_WIDTH, _CELL_HEIGHT = 36, 28
_LABEL, _LABEL_LINE = 260, 13  # of the rows of a heat map, in pixels
_DIGITS = 5
_TEN, _THOUSAND = 10, 1000
_SYMBOL, _LETTER = 34, 7  # widths, in pixels
_LINE = 24  # characters of a title of a panel
_ROWS = "rows"
_LANE = 7  # pixels between bars of several series
_POINTS = frozenset({"params", "setting_value"})  # along which what lies between two points was not measured
_SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)
_TITLES = {
    ACCURACY: "answers right (share)",
    NATS: "nats per answer",
    GAINED: "gain in answers right (share)",
    SAVED: "nats saved per answer",
    TOGETHER: "nats, together",
    ERRORS: "wrong answers, together",
    GAP["documents"]: "gap (nats per token)",
    GAP["prompts"]: "gap (nats per answer)",
    SAVED_TOGETHER: "nats saved, final answers",
    RIGHT_TOGETHER: "fewer wrong final answers",
}
_COUNT = "replace(format(datum.value, '.3~s'), 'G', 'B')"
_TOOLTIPS = {
    "line": ("model", None),
    "part": ("part", None),
    "argument": ("argument", None),
    "decoding": ("decoding", None),
    "shots": ("examples", "d"),
    "tokens": ("training tokens", ".3~s"),
    "train_tokens": ("training tokens", ".3~s"),
    "params": ("parameters", ".3~s"),
    "setting": ("setting", None),
    "setting_value": ("its value", ".4~g"),
    "measure": ("measure", None),
    "value": ("value", ".3~g"),
    "lo": ("95 % from", ".3~g"),
    "hi": ("95 % to", ".3~g"),
    "guess": (GUESS, ".2~g"),
    "ideal_value": ("ideal predictor", ".3~g"),
    "beyond": ("beyond the ideal", ".3~g"),
    "origin": ("final answer", None),
    "forced": (_FORCED, ".3~g"),
    "loss": ("loss", ".3~g"),
    "crossed": ("threshold where it is", ".3~g"),
    "from": ("95 % from", ".3~s"),
    "to": ("95 % to", ".3~s"),
    "at": ("estimate", ".3~s"),
    "flops": ("compute", ".2~e"),
    "answers": ("first answers", "d"),
    "n": ("answers", "d"),
    "prompts": ("prompts", "d"),
    "documents": ("documents", "d"),
}
# Altair writes its types by generation; a chart, channel or layer is theirs, and only its JSON is ours.
Chart = Any


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A chart and, by name, the rows that it shows."""

    chart: Mapping[str, Any]  # Vega-Lite
    rows: Mapping[str, pl.DataFrame]
    minimum: int = 0  # width of a panel, in pixels

    def specification(self) -> dict[str, Any]:
        """Return the chart as Vega-Lite, its rows inlined, floats rounded to what a screen can show."""
        datasets = {
            name: _titled(frame).with_columns(selectors.float().round_sig_figs(_DIGITS)).to_dicts()
            for name, frame in self.rows.items()
        }
        row = max((_in_a_row(frame) for frame in self.rows.values()), default=0)
        layout = {"panels": self._panels(), "minimum": self.minimum, "legend": self._legend(), "row": row}
        return {"$schema": alt.SCHEMA_URL, **self.chart, "datasets": datasets, "usermeta": layout}

    def _legend(self) -> int:
        """Return the width of an entry of the legend, in pixels, roughly."""
        names = {name for frame in self.rows.values() for name in frame["series"].unique()}
        return _SYMBOL + _LETTER * max(len(name) for name in (*names, GUESS))

    def _panels(self) -> list[int]:
        """Return how many panels each view has."""
        return [frame["panel"].n_unique() if "panel" in frame.columns else 1 for frame in self.rows.values()]


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Colour and shape by one column: its values in the order of the legend."""

    column: str
    domain: tuple[str, ...]
    colours: tuple[str, ...]
    shapes: tuple[str, ...]
    dashes: tuple[tuple[int, ...], ...] = ()  # of lines; empty: all alike

    @property
    def colour(self) -> Chart:
        """The channel of lines and points."""
        legend = alt.Legend(symbolOpacity=1)  # else the band's
        scale = self._scale(self.colours)
        return alt.Color(f"{self.column}:N", title=None, scale=scale, legend=legend)

    @property
    def shape(self) -> Chart:
        """The channel of points, merged with the legend of colours."""
        return alt.Shape(f"{self.column}:N", title=None, scale=self._scale(self.shapes))

    @property
    def dash(self) -> Chart:
        """The channel of references' lines, merged with the legend of colours."""
        return alt.StrokeDash(f"{self.column}:N", title=None, scale=self._scale(self.dashes))

    def _scale(self, values: tuple[Any, ...]) -> Chart:
        return alt.Scale(domain=list(self.domain), range=list(values))


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Where marks stand: the x channel with the column it reads, and the y axis."""

    x: Chart
    along: str
    title: str
    domain: tuple[float, float | None] | None = None

    @property
    def y(self) -> Chart:
        """The channel of estimates."""
        return self._channel("value")

    @property
    def ends(self) -> dict[str, Chart]:
        """The channels of intervals."""
        return {"y": self._channel("lo"), "y2": alt.Y2("hi:Q")}

    def _top(self) -> Chart:
        top = self.domain[1] if self.domain else None
        return alt.Undefined if top is None else top

    def at(self, column: str) -> Chart:
        """Return the channel of another column than that of estimates."""
        return self._channel(column)

    def _channel(self, column: str) -> Chart:
        scale = (
            alt.Scale(zero=True)
            if self.domain is None
            else alt.Scale(domainMin=self.domain[0], domainMax=self._top())
        )
        return alt.Y(f"{column}:Q", title=self.title, scale=scale, axis=_y_axis(".2~f"))


def draw_shot_curves(information: Information, prepared: Prepared) -> Drawing:
    """Draw small multiples by task, colour by size, chance dashed; accuracy above nats."""
    return _by_measure(information.frame, _shots_axis(), "shots", prepared)


def draw_first_answers(information: Information, prepared: Prepared) -> Drawing:
    """Draw what the first answers cost together, and the bounds; nats above wrong answers."""
    domains: dict[str, tuple[float, float | None]] = dict.fromkeys((TOGETHER, ERRORS), (0.0, None))
    return _by_measure(information.frame, _answers_axis(), "answers", prepared, domains=domains)


def draw_gap_over_tokens(information: Information, prepared: Prepared) -> Drawing:
    """Draw one line for each size over the logarithm of training tokens, with a line at no gap."""
    return _gaps(information.frame, _tokens_axis(information.frame), "train_tokens", prepared)


def draw_gap_over_size(information: Information, prepared: Prepared) -> Drawing:
    """Draw points with intervals over the logarithm of the number of parameters, with a line at no gap."""
    return _gaps(information.frame, _size_axis(information.frame), "params", prepared)


def draw_emergence_over_tokens(information: Information, prepared: Prepared) -> Drawing:
    """Draw one line for each size over the logarithm of training tokens."""
    return _by_measure(information.frame, _tokens_axis(information.frame), "train_tokens", prepared)


def draw_emergence_over_size(information: Information, prepared: Prepared) -> Drawing:
    """Draw points with intervals over the logarithm of the number of parameters."""
    return _by_measure(information.frame, _size_axis(information.frame), "params", prepared)


def draw_thresholds(information: Information, prepared: Prepared, along: str) -> Drawing:
    """Draw the curves over the column `along`, and on them the intervals in which they cross their levels."""
    frame = information.frame
    axes = {"train_tokens": _tokens_axis, "params": _size_axis, "flops": _compute_axis}
    return _by_measure(frame, axes[along](frame), along, prepared)


def draw_over_setting(information: Information, prepared: Prepared) -> Drawing:
    """Draw points with intervals over the values of a setting, joined where nothing else differs."""
    frame = information.frame
    return _by_measure(frame, _setting_axis(frame), "setting_value", prepared)


def draw_printed_gain(information: Information, prepared: Prepared) -> Drawing:
    """Draw the gain from printing over training tokens, with a line at no gain."""
    return _gaps(information.frame, _tokens_axis(information.frame), "train_tokens", prepared)


def draw_gains_apart(information: Information, prepared: Prepared) -> Drawing:
    """Draw three gains of printed steps, and by how much the largest model's lie beyond the ideal predictor's."""
    frame = information.frame
    along = "setting_value" if "setting_value" in frame.columns else "answers"
    x = _setting_axis(frame) if along == "setting_value" else _answers_axis()
    return _gaps(frame, x, along, prepared, beyond=True)


def draw_own_steps(information: Information, prepared: Prepared) -> Drawing:
    """Draw where final answers of free generation come from as bars, and a tick at those behind given steps."""
    del prepared
    frame = information.frame
    names = tuple(ORIGINS.values())
    colours = tuple(theme.variable(f"origin-{place}") for place in range(len(names)))
    scale = alt.Scale(domain=[*names, _FORCED], range=[*colours, theme.variable("ink")])
    colour = alt.Color("origin:N", title=None, scale=scale, legend=alt.Legend(symbolType="square"))
    y = alt.Y("series:N", title=None, sort=_by_rank("series_rank"), axis=alt.Axis(ticks=False, domain=False))
    axis = alt.Axis(tickCount=3, format=".2~f", grid=True)
    shares = alt.X(
        "value:Q", title="share of answers", stack="zero", scale=alt.Scale(domain=[0, 1]), axis=axis
    )
    base = alt.Chart().encode(y=y)
    bar = base.mark_bar(height={"band": 0.62}).encode(
        x=shares,
        color=colour,
        order=alt.Order("origin_rank:Q"),
        tooltip=_tooltip(frame, "origin", "value", "lo", "hi", "forced", "n"),
    )
    given = base.mark_tick(thickness=2.5, height={"band": 0.92}, opacity=1).encode(
        x=alt.X("forced:Q"), color=alt.ColorDatum(_FORCED, type="nominal")
    )
    rows = frame["series"].n_unique()
    return Drawing(chart=_facet([bar, given], frame, _ROWS, height=max(40, 26 * rows)), rows={_ROWS: frame})


def draw_grid(information: Information, prepared: Prepared) -> Drawing:
    """Draw a heat map of accuracy, the number written in every cell."""
    del prepared
    frame = information.frame.with_columns(
        text=pl.Series([words.share(value) for value in information.frame["value"]], dtype=pl.String)
    )
    axis = alt.Axis(labelExpr=_COUNT, labelAngle=0, ticks=False, domain=False)
    x = alt.X("train_tokens:O", title="training tokens", axis=axis)
    largest_first = _by_rank("series_rank", "descending")
    more = max(name.count(", ") for name in frame["series"])  # lines of a label behind its first
    labels = alt.Axis(
        ticks=False,
        domain=False,
        labelExpr="split(datum.label, ', ')",
        labelLimit=_LABEL,
        labelOffset=-6 * more,
    )
    y = alt.Y("series:N", title=None, sort=largest_first, axis=labels)
    base = alt.Chart().encode(x=x, y=y)
    cell = base.mark_rect(stroke=theme.variable("card"), strokeWidth=2, cornerRadius=3)
    colour, ink = (
        alt.Color("value:Q", scale=_heat_scale(name), legend=None) for name in ("heat", "heat-ink")
    )
    cells = cell.encode(color=colour, tooltip=_tooltip(frame, "value", "train_tokens"))
    text = base.mark_text(fontSize=11).encode(text="text:N", color=ink)
    layers = [alt.layer(cells, text).resolve_scale(color="independent")]
    tall = max(_CELL_HEIGHT, _LABEL_LINE * (1 + more) + 6)
    chart = _facet(layers, frame, _ROWS, height=tall * frame["series"].n_unique())
    return Drawing(chart=chart, rows={_ROWS: frame}, minimum=_CELL_WIDTH * frame["train_tokens"].n_unique())


def draw_training_loss(information: Information, prepared: Prepared) -> Drawing:
    """Draw one line for each run."""
    frame = information.frame
    x = alt.X("tokens:Q", title="training tokens", axis=alt.Axis(labelExpr=_COUNT, tickCount=6))
    y = alt.Y("loss:Q", title="loss (nats per token)", scale=alt.Scale(zero=False), axis=_y_axis(".2~f"))
    line = alt.Chart(alt.NamedData(_ROWS)).mark_line(strokeWidth=1.5, strokeJoin="round", clip=True)
    colour = series_scales(frame, prepared).colour
    tooltip = _tooltip(frame, "line", "tokens", "loss")
    if "panel" in frame.columns:
        panels = alt.Chart().mark_line(strokeWidth=1.5, strokeJoin="round", clip=True)
        drawn = panels.encode(x=x, y=y, color=colour, detail="line:N", tooltip=tooltip)
        return Drawing(chart=_facet([drawn], frame, _ROWS), rows={_ROWS: frame})
    chart = line.encode(x=x, y=y, color=colour, detail="line:N", tooltip=tooltip)
    drawn = chart.properties(width=PANEL_WIDTH * 4, height=230)
    return Drawing(chart=_json(drawn), rows={_ROWS: frame})


def draw_free_generation(information: Information, prepared: Prepared) -> Drawing:
    """Draw whole answers and steps as dots with intervals, free generation beside teacher forcing."""
    del prepared
    modes = {"teacher_forced": "teacher-forced", "free": "free generation"}
    frame = information.frame.with_columns(pl.col("decoding").replace(modes))
    scales = _two_modes("decoding", (modes["teacher_forced"], modes["free"]))
    parts = frame["part"].unique(maintain_order=True).to_list()
    y = alt.Y("part:N", title=None, sort=_by_rank("part_rank"), axis=alt.Axis(ticks=False, domain=False))
    base = alt.Chart().encode(
        y=y,
        yOffset=alt.YOffset("decoding:N", scale=alt.Scale(domain=list(scales.domain))),
        color=scales.colour,
    )
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(tickCount=3, format=".2~f", grid=True)
    ends = {
        name: alt.X(f"{name}:Q", title="right (share)", scale=scale, axis=axis) for name in ("lo", "value")
    }
    whisker = base.mark_rule(strokeWidth=1.6).encode(x=ends["lo"], x2="hi:Q")
    tooltip = _tooltip(frame, "decoding", "part", "value", "lo", "hi", "n")
    dot = base.mark_point(filled=True, size=50, opacity=1).encode(
        x=ends["value"], shape=scales.shape, tooltip=tooltip
    )
    chart = _facet([whisker, dot], frame, _ROWS, height=36 * len(parts))
    return Drawing(chart=chart, rows={_ROWS: frame})


def draw_fresh_and_repeated(information: Information, prepared: Prepared) -> Drawing:
    """Draw accuracy by number of examples for fresh and for repeated arguments."""
    del prepared
    frame = information.frame.with_columns(line=pl.format("{} {}", "line", "argument"))
    axes = Axes(x=_shots_axis(), along="shots", title=_TITLES[ACCURACY], domain=(0.0, 1.0))
    marks = _estimates(frame, axes, _two_modes("argument", ("fresh", "repeated")))
    return Drawing(chart=_facet(marks, frame, _ROWS), rows={_ROWS: frame})


def balanced(panels: int, most: int) -> int:
    """Return the number of columns, `most` at most, that fills the rows most evenly."""
    rows = -(-panels // most)
    return -(-panels // rows)


def series_scales(
    frame: pl.DataFrame, prepared: Prepared, *, with_guess: bool = False, dashed: str = GUESS
) -> Scales:
    """Return colour and shape by series: the ramp for sizes, colours of their own for other predictors.

    Ideal predictors and bounds come behind all of them, and are lines without points. With a guess `dashed` is added.
    """
    shown = frame.sort("series_rank", maintain_order=True)["series"].unique(maintain_order=True).to_list()
    sizes = [name for name in prepared.sizes if name in shown]
    references = _references_of(frame)
    others = [name for name in shown if name not in {*sizes, *(name for name, _ in references)}]
    colours = [
        theme.variable(f"size-{theme.spread(place, len(prepared.sizes), prepared.colours)}")
        for place in map(prepared.sizes.index, sizes)
    ]
    colours += [theme.variable(f"other-{place % theme.OTHERS}") for place in range(len(others))]
    shapes = [_SHAPES[place % len(_SHAPES)] for place in range(len(colours))]
    dashes: list[tuple[int, ...]] = [(1, 0)] * len(colours)
    for _, style in references:
        colours.append(theme.variable(style.colour))
        shapes.append(style.symbol)
        dashes.append(style.dash)
    extra = ([dashed], [theme.variable("guess")], ["stroke"]) if with_guess else ([], [], [])
    return Scales(
        column="series",
        domain=(*sizes, *others, *(name for name, _ in references), *extra[0]),
        colours=(*colours, *extra[1]),
        shapes=(*shapes, *extra[2]),
        dashes=(*dashes, *([_GUESS_DASH] if with_guess else [])),
    )


def _references_of(frame: pl.DataFrame) -> list[tuple[str, _Style]]:
    """Return the names of ideal predictors and bounds in the order of the legend, each with its style."""
    if "mark" not in frame.columns:
        return []
    named = frame.filter(~MODELS).select("mark", "series").unique(maintain_order=True)
    return [
        (series, style)
        for mark, style in _REFERENCES.items()
        for name, series in named.rows()
        if name == mark
    ]


_DOMAINS: Mapping[str, tuple[float, float | None]] = {ACCURACY: (0.0, 1.0), NATS: (0.0, None)}


def _by_measure(
    frame: pl.DataFrame,
    x: Chart,
    along: str,
    prepared: Prepared,
    *,
    domains: Mapping[str, tuple[float, float | None]] = _DOMAINS,
) -> Drawing:
    guessed = "guess" in frame.columns and frame["guess"].is_not_null().any()
    scales = series_scales(frame, prepared, with_guess=guessed)
    parts: dict[str, dict[str, Any]] = {}
    for measure, domain in domains.items():
        if measure in frame["measure"]:
            axes = Axes(x=x, along=along, title=_TITLES[measure], domain=domain)
            more = _crossings(frame, axes, scales, measure) if "lane" in frame.columns else []
            parts[measure] = _facet(
                [*_guesses(axes, scales), *_estimates(frame, axes, scales), *more], frame, measure
            )
    return _together(parts, frame)


def _gaps(frame: pl.DataFrame, x: Chart, along: str, prepared: Prepared, *, beyond: bool = False) -> Drawing:
    """Draw differences, with a line at none; each measure has the panels that it was taken in."""
    scales = series_scales(frame, prepared, with_guess=beyond, dashed=BEYOND)
    zero = alt.Chart().mark_rule(color=theme.variable("guess"), strokeDash=[4, 3]).encode(y=alt.datum(0))
    parts: dict[str, dict[str, Any]] = {}
    for measure in frame["measure"].unique(maintain_order=True):
        rows = frame.filter(pl.col("measure") == measure)
        axes = Axes(x=x, along=along, title=_TITLES[measure])
        links = [_beyond(axes)] if beyond else []
        parts[measure] = _facet([zero, *links, *_estimates(rows, axes, scales)], rows, measure)
    return _together(parts, frame)


def _beyond(axes: Axes) -> Chart:
    """Return rules from the ideal predictor's gain to that of the largest model."""
    rule = alt.Chart().transform_filter("datum.linked").mark_rule(strokeWidth=1.5, strokeDash=[*_GUESS_DASH])
    ends: dict[str, Chart] = {"y": alt.Y("ideal_value:Q", title=axes.title), "y2": alt.Y2("value:Q")}
    return rule.encode(x=axes.x, color=alt.ColorDatum(BEYOND, type="nominal"), **ends)


def _estimates(rows: pl.DataFrame, axes: Axes, scales: Scales) -> list[Chart]:
    """Return lines and points, and intervals where every series has one line only."""
    single = rows["lines"].max() == 1
    base = _only(MODEL, rows).encode(x=axes.x, detail="line:N")
    tooltip = _tooltip(
        rows,
        "line",
        axes.along,
        "measure",
        "value",
        "lo",
        "hi",
        "guess",
        "ideal_value",
        "beyond",
        "n",
        "prompts",
        "documents",
    )
    line = base.mark_line(strokeWidth=_WIDTH if single else 1, strokeJoin="round", clip=True)
    point = base.mark_point(filled=True, size=36 if single else 16, opacity=1)
    lines = _links(rows, axes) if axes.along == "params" else [line.encode(y=axes.y, color=scales.colour)]
    marks = [*lines, point.encode(y=axes.y, color=scales.colour, shape=scales.shape, tooltip=tooltip)]
    models = [*(_intervals(base, axes, scales) if single else []), *marks]
    return [
        *_references(_BENEATH, rows, axes, scales),
        *_hovered(rows, axes, tooltip),
        *models,
        *_references(_ABOVE, rows, axes, scales),
    ]


def _only(mark: str, rows: pl.DataFrame) -> Chart:
    """Return a chart of the rows with this mark, all of them where no others are."""
    chart = alt.Chart()
    several = "mark" in rows.columns and rows["mark"].n_unique() > 1
    return chart.transform_filter(f"datum.mark === '{mark}'") if several else chart


def _references(marks: tuple[str, ...], rows: pl.DataFrame, axes: Axes, scales: Scales) -> list[Chart]:
    """Return lines of ideal predictors and bounds, and a band where a bound has a least and a most."""
    drawn: list[Chart] = []
    for mark in (mark for mark in marks if "mark" in rows.columns and mark in rows["mark"]):
        base = _only(mark, rows).encode(x=axes.x, detail="line:N", color=scales.colour)
        if mark in {BOUND, BOUND_TRAIN}:
            drawn.append(base.mark_area(opacity=0.15).encode(**axes.ends))
        line = base.mark_line(strokeWidth=_REFERENCES[mark].width, strokeJoin="round", strokeCap="butt")
        drawn.append(line.encode(y=axes.y, strokeDash=scales.dash))
    return drawn


def _hovered(rows: pl.DataFrame, axes: Axes, tooltip: list[Chart]) -> list[Chart]:
    """Return unseen points that tell the numbers of references."""
    if not _references_of(rows):
        return []
    base = alt.Chart().transform_filter(f"datum.mark !== '{MODEL}'").encode(x=axes.x, y=axes.y)
    return [base.mark_point(filled=True, size=60, opacity=0).encode(tooltip=tooltip)]


def _links(rows: pl.DataFrame, axes: Axes) -> list[Chart]:
    """Join the sizes of one seed on one corpus, all else alike, where each of these is one series."""
    if rows.select("params", "corpus", "variant").n_unique() < rows.select("series", "variant").n_unique():
        return []
    link = alt.Chart().mark_line(strokeWidth=1, color=theme.variable("guess"), opacity=0.6)
    return [link.encode(x=axes.x, y=axes.y, detail=["seed:N", "corpus:N", "variant:N"])]


def _intervals(base: Chart, axes: Axes, scales: Scales) -> list[Chart]:
    if axes.along in _POINTS:
        return [base.mark_rule(strokeWidth=1.8).encode(color=scales.colour, **axes.ends)]
    return [base.mark_area(opacity=0.16, clip=True).encode(color=scales.colour, **axes.ends)]


def _crossings(frame: pl.DataFrame, axes: Axes, scales: Scales, measure: str) -> list[Chart]:
    """Return a bar from one end of a threshold's interval to the other, and a mark at the estimate between.

    Bars of several series lie beside each other, about the level that they all have; above that of nats, which is low.
    """
    lanes = frame["lane"].drop_nulls().unique().sort().to_list()
    own = scales.colour if axes.along == "train_tokens" else alt.value(theme.variable("ink"))
    tooltip = _tooltip(frame, "line", "measure", "crossed", "from", "to", "at")
    tooltip = tooltip if axes.along == "train_tokens" else tooltip[1:]
    marks: list[Chart] = []
    for place, lane in enumerate(lanes):
        base = alt.Chart().transform_filter(f"datum.lane === {lane}")
        offset = (place - (len(lanes) - 1) * (1 if measure == NATS else 0.5)) * _LANE
        bar = base.mark_rule(strokeWidth=5, opacity=0.55, yOffset=offset, y2Offset=offset)
        marks.append(
            bar.encode(x=_at("from", axes.x), x2="to:Q", y=axes.at("crossed"), color=own, tooltip=tooltip)
        )
        estimate = base.transform_filter("isValid(datum.at)").mark_point(
            filled=True, size=44, opacity=1, yOffset=offset, stroke=theme.variable("card"), strokeWidth=1.2
        )
        marks.append(estimate.encode(x=_at("at", axes.x), y=axes.at("crossed"), color=own, tooltip=tooltip))
    return marks


def _at(column: str, x: Chart) -> Chart:
    """Return the channel `x` for another column."""
    other = x.copy(deep=True)
    other.shorthand = f"{column}:Q"
    return other


def _guesses(axes: Axes, scales: Scales) -> list[Chart]:
    if GUESS not in scales.domain:
        return []
    means = alt.Chart().transform_aggregate(value="mean(guess)", groupby=["panel", axes.along])
    dashed = means.mark_line(strokeDash=[*_GUESS_DASH], strokeWidth=1.5, clip=True)
    return [dashed.encode(x=axes.x, y=axes.y, color=alt.ColorDatum(GUESS, type="nominal"))]


def _facet(layers: list[Chart], frame: pl.DataFrame, rows: str, height: int = PANEL_HEIGHT) -> dict[str, Any]:
    """Return small multiples by panel of the named rows, which have the panels of `frame`."""
    panels = frame["panel"].n_unique()
    columns = _in_a_row(frame) or balanced(panels, MOST_COLUMNS)
    header = alt.Header(labelExpr="split(datum.value, '\\n')", labelLimit=PANEL_WIDTH)
    facet = alt.Facet("title:N", title=None, sort=_by_rank("panel_rank"), header=header)
    chart = {
        "data": {"name": rows},
        "facet": _json(facet),
        "spec": {"layer": [_json(layer) for layer in layers], "width": PANEL_WIDTH, "height": height},
        "columns": columns,
    }
    # A last row with gaps would have its axis under the gap.
    return chart | ({"resolve": {"axis": {"x": "independent"}}} if panels % columns else {})


def _json(part: Chart) -> dict[str, Any]:
    """Return a layer or channel as Vega-Lite at once: Altair copies what it composes many times over."""
    around = {"top_level": False, "data": alt.NamedData(_ROWS)}  # else a layer would name rows of its own
    return part.to_dict(validate=False, context=around)


def _in_a_row(frame: pl.DataFrame) -> int:
    """Return how many panels belong side by side; 0: as many as there is room for."""
    several = "in_a_row" in frame.columns and frame["in_a_row"][0] < frame["panel"].n_unique()
    return int(frame["in_a_row"][0]) if several else 0


def _together(parts: dict[str, dict[str, Any]], frame: pl.DataFrame) -> Drawing:
    """Set the measures side by side where there are few panels, else one above the other."""
    few = frame["panel"].n_unique() * len(parts) <= MOST_COLUMNS
    charts = list(parts.values())
    rows = {measure: frame.filter(pl.col("measure") == measure) for measure in parts}
    return Drawing(chart={"hconcat" if few else "vconcat": charts}, rows=rows)


def _two_modes(column: str, modes: tuple[str, str]) -> Scales:
    colours = (theme.variable("mode-0"), theme.variable("mode-1"))
    return Scales(column=column, domain=modes, colours=colours, shapes=("circle", "square"))


def _heat_scale(name: str) -> Chart:
    steps = [step / theme.HEAT_STEPS for step in range(1, theme.HEAT_STEPS)]
    colours = [theme.variable(f"{name}-{step}") for step in range(theme.HEAT_STEPS)]
    return alt.Scale(type="threshold", domain=steps, range=colours)


def _shots_axis() -> Chart:
    return alt.X("shots:Q", title="examples in the prompt", axis=alt.Axis(tickMinStep=1, tickCount=5))


def _answers_axis() -> Chart:
    axis = alt.Axis(tickMinStep=1, tickCount=5)
    return alt.X("answers:Q", title="first answers", axis=axis, scale=alt.Scale(zero=False, nice=False))


def _size_axis(frame: pl.DataFrame) -> Chart:
    values = frame["params"].unique().sort().to_list()
    scale = alt.Scale(type="log", padding=14, nice=False)
    axis = alt.Axis(values=values, labelExpr=_COUNT)
    return alt.X("params:Q", title="parameters", scale=scale, axis=axis)


def _tokens_axis(frame: pl.DataFrame) -> Chart:
    values = frame["train_tokens"].unique().sort().to_list()
    scale = alt.Scale(type="log", nice=False, padding=10)
    axis = alt.Axis(values=values, labelExpr=_COUNT)
    return alt.X("train_tokens:Q", title="training tokens", scale=scale, axis=axis)


def _compute_axis(frame: pl.DataFrame) -> Chart:
    del frame
    scale = alt.Scale(type="log", nice=False, padding=10)
    axis = alt.Axis(tickCount=3, labelExpr="format(datum.value, '.0e')")
    return alt.X("flops:Q", title="compute (FLOP)", scale=scale, axis=axis)


def _setting_axis(frame: pl.DataFrame) -> Chart:
    values = frame["setting_value"].unique().sort().to_list()
    log = _geometric(values)
    # Vega warns of a log scale that is told to leave zero out.
    scale = alt.Scale(
        type="log" if log else "linear", nice=False, zero=alt.Undefined if log else False, padding=14
    )
    large = max(map(abs, values)) >= _THOUSAND
    axis = alt.Axis(values=values, labelExpr=_COUNT if large else "format(datum.value, '.4~g')")
    return alt.X("setting_value:Q", title=str(frame["setting"][0]), scale=scale, axis=axis)


def _geometric(values: list[float]) -> bool:
    """Tell whether values are spaced by factors rather than by differences."""
    if min(values) <= 0:
        return False
    if len(values) <= 2:  # noqa: PLR2004 - two values have one space
        return values[-1] >= _TEN * values[0]
    spaces = [
        [b - a for a, b in pairwise(spaced)] for spaced in (values, [math.log(value) for value in values])
    ]
    plain, factors = (max(space) / min(space) for space in spaces)
    return factors < plain


def _y_axis(form: str) -> Chart:
    return alt.Axis(format=form, tickCount=5, minExtent=26)


def _titled(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the title of each panel: its label, names too long for a panel broken."""
    if "panel" not in frame.columns:
        return frame
    labels = frame["panel"].unique(maintain_order=True).to_list()
    titles = [_broken(label) for label in labels]
    return frame.with_columns(
        title=pl.col("panel").replace_strict(labels, titles if len(set(titles)) == len(titles) else labels)
    )


def _broken(label: str) -> str:
    """Break long lines of a label: between settings of a variant, behind their names, else where they are full."""
    lines = label.split("\n")
    for sign in (", ", "="):
        lines = [part for line in lines for part in _parted(line, sign)]
    return "\n".join(line[place : place + _LINE] for line in lines for place in range(0, len(line), _LINE))


def _parted(line: str, sign: str) -> list[str]:
    """Break a line of settings behind every `sign` if it is too long."""
    long = len(line) > _LINE and "=" in line
    return line.replace(sign, f"{sign.strip()}\n").split("\n") if long else [line]


def _by_rank(column: str, order: Literal["ascending", "descending"] = "ascending") -> Chart:
    """Sort by a column of ranks. A list of names would go into an expression, and users write the names."""
    return alt.EncodingSortField(field=column, op="min", order=order)


def _tooltip(frame: pl.DataFrame, *names: str) -> list[Chart]:
    """Return what a hover tells; a column without any value is left out."""
    tips: list[Chart] = []
    for name in (name for name in names if name in frame.columns and frame[name].null_count() < frame.height):
        title, form = _TOOLTIPS[name]
        if form is None:
            tips.append(alt.Tooltip(f"{name}:N", title=title))
        else:
            tips.append(alt.Tooltip(f"{name}:Q", title=title, format=form))
    return tips
