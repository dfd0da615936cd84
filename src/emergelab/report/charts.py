"""Draws what `information` computed: one Vega-Lite chart for each figure, colours as CSS variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl
from polars import selectors

from emergelab.report import theme
from emergelab.report.information import ACCURACY, NATS, Information
from emergelab.report.series import Prepared

GUESS = "guess at chance"
MOST_COLUMNS = 5
PANEL_WIDTH = 172
PANEL_HEIGHT = 150
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_TITLES = {
    ACCURACY: "answers right (share)",
    NATS: "nats per answer",
    "accuracy gained": "gain in answers right (share)",
    "nats saved per answer": "nats saved per answer",
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
    "measure": ("measure", None),
    "value": ("value", ".3~g"),
    "lo": ("95 % from", ".3~g"),
    "hi": ("95 % to", ".3~g"),
    "guess": (GUESS, ".2~g"),
    "loss": ("loss", ".3~g"),
    "n": ("answers", "d"),
}
# Altair writes its types by generation; a chart, channel or layer is theirs, and only its JSON is ours.
Chart = Any


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Colour and shape by one column: its values in the order of the legend."""

    column: str
    domain: tuple[str, ...]
    colours: tuple[str, ...]
    shapes: tuple[str, ...]

    @property
    def colour(self) -> Chart:
        """The channel of lines and points."""
        legend = alt.Legend(symbolOpacity=1)  # else the band's
        scale = self._scale(self.colours)
        return alt.Color(f"{self.column}:N", title=None, sort=list(self.domain), scale=scale, legend=legend)

    @property
    def shape(self) -> Chart:
        """The channel of points, merged with the legend of colours."""
        return alt.Shape(f"{self.column}:N", title=None, sort=list(self.domain), scale=self._scale(self.shapes))

    def _scale(self, values: tuple[str, ...]) -> Chart:
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

    def _top(self) -> dict[str, float]:
        top = self.domain[1] if self.domain else None
        return {} if top is None else {"domainMax": top}

    def _channel(self, column: str) -> Chart:
        scale = alt.Scale(zero=True) if self.domain is None else alt.Scale(domainMin=self.domain[0], **self._top())
        return alt.Y(f"{column}:Q", title=self.title, scale=scale, axis=_y_axis(".1~f"))


def draw_shot_curves(information: Information, prepared: Prepared) -> Chart:
    """Draw small multiples by task, colour by size, chance dashed; accuracy above nats."""
    return _by_measure(information.frame, _shots_axis(), "shots", prepared)


def draw_emergence_over_tokens(information: Information, prepared: Prepared) -> Chart:
    """Draw one line for each size over the logarithm of training tokens."""
    return _by_measure(information.frame, _tokens_axis(information.frame), "train_tokens", prepared)


def draw_emergence_over_size(information: Information, prepared: Prepared) -> Chart:
    """Draw points with intervals over the logarithm of the number of parameters."""
    values = information.frame["params"].unique().sort().to_list()
    scale = alt.Scale(type="log", padding=14, nice=False)
    axis = alt.Axis(values=values, labelExpr=_COUNT)
    x = alt.X("params:Q", title="parameters", scale=scale, axis=axis)
    return _by_measure(information.frame, x, "params", prepared)


def draw_printed_gain(information: Information, prepared: Prepared) -> Chart:
    """Draw the gain from printing over training tokens, with a line at no gain."""
    frame = information.frame
    scales = series_scales(frame, prepared)
    zero = alt.Chart().mark_rule(color=theme.variable("guess"), strokeDash=[4, 3]).encode(y=alt.datum(0))
    parts = []
    for measure in frame["measure"].unique(maintain_order=True):
        rows = frame.filter(pl.col("measure") == measure)
        axes = Axes(x=_tokens_axis(frame), along="train_tokens", title=_TITLES[measure])
        parts.append(_facet([zero, *_estimates(rows, axes, scales)], rows))
    return alt.vconcat(*parts)


def draw_grid(information: Information, prepared: Prepared) -> Chart:
    """Draw a heat map of accuracy, the number written in every cell."""
    frame = information.frame.with_columns(text=pl.col("value").map_elements(_two_decimals, pl.String).fill_null("–"))
    order = [name for name in reversed(prepared.sizes) if name in set(frame["series"])]
    plain = {"ticks": False, "domain": False}
    axis = alt.Axis(labelExpr=_COUNT, labelAngle=0, **plain)
    x = alt.X("train_tokens:O", title="training tokens", axis=axis)
    base = alt.Chart().encode(x=x, y=alt.Y("series:N", title=None, sort=order, axis=alt.Axis(**plain)))
    cell = base.mark_rect(stroke=theme.variable("card"), strokeWidth=2, cornerRadius=3)
    colour = alt.Color("value:Q", scale=_heat_scale(), legend=None)
    ink = alt.condition(
        alt.datum.value >= 0.5,  # noqa: PLR2004  the middle of the colours
        alt.value(theme.variable("heat-ink-high")),
        alt.value(theme.variable("heat-ink-low")),
    )
    cells = cell.encode(color=colour, tooltip=_tooltip(frame, "value", "train_tokens"))
    text = base.mark_text(fontSize=11).encode(text="text:N", color=ink)
    return _facet([cells, text], frame, height=28 * max(1, len(order)))


def draw_training_loss(information: Information, prepared: Prepared) -> Chart:
    """Draw one line for each run."""
    frame = information.frame
    x = alt.X("tokens:Q", title="training tokens", axis=alt.Axis(labelExpr=_COUNT, tickCount=6))
    y = alt.Y("loss:Q", title="loss (nats per token)", scale=alt.Scale(zero=False), axis=_y_axis(".2~f"))
    line = alt.Chart(_data(frame)).mark_line(strokeWidth=1.5, strokeJoin="round", clip=True)
    colour = series_scales(frame, prepared).colour
    chart = line.encode(x=x, y=y, color=colour, detail="line:N", tooltip=_tooltip(frame, "line", "tokens", "loss"))
    return chart.properties(width=PANEL_WIDTH * 4, height=230)


def draw_free_generation(information: Information, prepared: Prepared) -> Chart:
    """Draw whole answers and steps as dots with intervals, free generation beside teacher forcing."""
    del prepared
    words = {"teacher_forced": "teacher-forced", "free": "free generation"}
    frame = information.frame.with_columns(pl.col("decoding").replace(words))
    scales = _two_modes("decoding", tuple(words.values()))
    parts = frame["part"].unique(maintain_order=True).to_list()
    y = alt.Y("part:N", title=None, sort=parts, axis=alt.Axis(ticks=False, domain=False))
    base = alt.Chart().encode(y=y, yOffset=alt.YOffset("decoding:N", sort=list(scales.domain)), color=scales.colour)
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(tickCount=3, format=".1~f", grid=True)
    ends = {name: alt.X(f"{name}:Q", title="right (share)", scale=scale, axis=axis) for name in ("lo", "value")}
    whisker = base.mark_rule(strokeWidth=1.6).encode(x=ends["lo"], x2="hi:Q")
    tooltip = _tooltip(frame, "decoding", "part", "value", "lo", "hi", "n")
    dot = base.mark_point(filled=True, size=50, opacity=1).encode(x=ends["value"], shape=scales.shape, tooltip=tooltip)
    return _facet([whisker, dot], frame, height=36 * len(parts))


def draw_fresh_and_repeated(information: Information, prepared: Prepared) -> Chart:
    """Draw accuracy by number of examples for fresh and for repeated arguments."""
    del prepared
    frame = information.frame.with_columns(line=pl.format("{} {}", "line", "argument"))
    axes = Axes(x=_shots_axis(), along="shots", title=_TITLES[ACCURACY], domain=(0, 1))
    return _facet(_estimates(frame, axes, _two_modes("argument", ("fresh", "repeated"))), frame)


def balanced(panels: int, most: int) -> int:
    """Return the number of columns, `most` at most, that fills the rows most evenly."""
    rows = -(-panels // most)
    return -(-panels // rows)


def series_scales(frame: pl.DataFrame, prepared: Prepared, *, with_guess: bool = False) -> Scales:
    """Return colour and shape by series: the ramp for sizes, colours of their own for other predictors."""
    shown = frame.sort("series_rank", maintain_order=True)["series"].unique(maintain_order=True).to_list()
    sizes = [name for name in prepared.sizes if name in shown]
    others = [name for name in shown if name not in sizes]
    colours = [theme.variable(f"size-{prepared.sizes.index(name)}") for name in sizes]
    colours += [theme.variable(f"other-{place % theme.OTHERS}") for place in range(len(others))]
    shapes = [_SHAPES[place % len(_SHAPES)] for place in range(len(shown))]
    extra = ([GUESS], [theme.variable("guess")], ["stroke"]) if with_guess else ([], [], [])
    return Scales(
        column="series",
        domain=(*sizes, *others, *extra[0]),
        colours=(*colours, *extra[1]),
        shapes=(*shapes, *extra[2]),
    )


def _by_measure(frame: pl.DataFrame, x: Chart, along: str, prepared: Prepared) -> Chart:
    scales = series_scales(frame, prepared, with_guess=frame["guess"].is_not_null().any())
    parts: list[Chart] = []
    for measure, domain in ((ACCURACY, (0.0, 1.0)), (NATS, (0.0, None))):
        rows = frame.filter(pl.col("measure") == measure)
        axes = Axes(x=x, along=along, title=_TITLES[measure], domain=domain)
        if not rows.is_empty():
            parts.append(_facet([*_guesses(axes, scales), *_estimates(rows, axes, scales)], rows))
    return alt.vconcat(*parts)


def _estimates(rows: pl.DataFrame, axes: Axes, scales: Scales) -> list[Chart]:
    """Return lines and points; with one line for each series also its interval, as a band where lines are long."""
    single = rows["lines"].max() == 1
    base = alt.Chart().encode(x=axes.x, detail="line:N")
    tooltip = _tooltip(rows, *_TOOLTIPS)
    line = base.mark_line(strokeWidth=2 if single else 1, strokeJoin="round", clip=True)
    point = base.mark_point(filled=True, size=36 if single else 16, opacity=1)
    lines = _links(rows, axes) if axes.along == "params" else [line.encode(y=axes.y, color=scales.colour)]
    marks = [*lines, point.encode(y=axes.y, color=scales.colour, shape=scales.shape, tooltip=tooltip)]
    return [*(_intervals(base, axes, scales) if single else []), *marks]


def _links(rows: pl.DataFrame, axes: Axes) -> list[Chart]:
    """Join the sizes of one seed, where every size is one series."""
    if rows["params"].n_unique() < rows["series"].n_unique():
        return []
    link = alt.Chart().mark_line(strokeWidth=1, color=theme.variable("guess"), opacity=0.6)
    return [link.encode(x=axes.x, y=axes.y, detail="seed:N")]


def _intervals(base: Chart, axes: Axes, scales: Scales) -> list[Chart]:
    if axes.along == "params":
        return [base.mark_rule(strokeWidth=1.8).encode(color=scales.colour, **axes.ends)]
    return [base.mark_area(opacity=0.16, clip=True).encode(color=scales.colour, **axes.ends)]


def _guesses(axes: Axes, scales: Scales) -> list[Chart]:
    if GUESS not in scales.domain:
        return []
    means = alt.Chart().transform_aggregate(value="mean(guess)", groupby=["panel", axes.along])
    dashed = means.mark_line(strokeDash=[4, 3], strokeWidth=1.5, clip=True)
    return [dashed.encode(x=axes.x, y=axes.y, color=alt.ColorDatum(GUESS, type="nominal"))]


def _facet(layers: list[Chart], frame: pl.DataFrame, height: int = PANEL_HEIGHT) -> Chart:
    order = frame["panel"].unique(maintain_order=True).to_list()
    header = alt.Header(labelExpr="split(datum.value, '\\n')", labelLimit=PANEL_WIDTH)
    facet = alt.Facet("panel:N", title=None, sort=order, header=header)
    layered = alt.layer(*layers, data=_data(frame)).properties(width=PANEL_WIDTH, height=height)
    return layered.facet(facet=facet, columns=balanced(len(order), MOST_COLUMNS))


def _two_modes(column: str, modes: tuple[str, str]) -> Scales:
    colours = (theme.variable("mode-0"), theme.variable("mode-1"))
    return Scales(column=column, domain=modes, colours=colours, shapes=("circle", "square"))


def _heat_scale() -> Chart:
    steps = [step / theme.HEAT_STEPS for step in range(1, theme.HEAT_STEPS)]
    colours = [theme.variable(f"heat-{step}") for step in range(theme.HEAT_STEPS)]
    return alt.Scale(type="threshold", domain=steps, range=colours)


def _shots_axis() -> Chart:
    return alt.X("shots:Q", title="examples in the prompt", axis=alt.Axis(tickMinStep=1, tickCount=5))


def _tokens_axis(frame: pl.DataFrame) -> Chart:
    values = frame["train_tokens"].unique().sort().to_list()
    scale = alt.Scale(type="log", nice=False, padding=10)
    axis = alt.Axis(values=values, labelExpr=_COUNT)
    return alt.X("train_tokens:Q", title="training tokens", scale=scale, axis=axis)


def _y_axis(form: str) -> Chart:
    return alt.Axis(format=form, tickCount=5, minExtent=26)


def _tooltip(frame: pl.DataFrame, *names: str) -> list[Chart]:
    tips: list[Chart] = []
    for name in (name for name in names if name in frame.columns):
        title, form = _TOOLTIPS[name]
        kind = "N" if form is None else "Q"
        tips.append(alt.Tooltip(f"{name}:{kind}", title=title, **({"format": form} if form else {})))
    return tips


def _data(frame: pl.DataFrame) -> Chart:
    """Inline the rows, floats rounded to what a screen can show, so that the page stays small."""
    return alt.Data(values=frame.with_columns(selectors.float().round_sig_figs(5)).to_dicts())


def _two_decimals(value: float) -> str:
    return f"{value:.2f}"
