"""Colours and type, once for the page and its charts.

Charts name colours as CSS variables, so that the page re-colours them with no redrawing; the files outside of
it hold the light values. Gold, rose and blue keep apart in lightness too: for colour-blind readers and on
grey paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIGHT: Mapping[str, str] = {
    "paper": "#fbfaf7",
    "card": "#ffffff",
    "ink": "#1c2430",
    "soft": "#596273",
    "line": "#dcdad3",
    "grid": "#ecebe6",
    "accent": "#12518f",
    "tint": "#eef3f9",
    "guess": "#8a8f99",
    "other-0": "#4f7a3a",
    "other-1": "#7b5ea7",
    "ideal-0": "#5f967b",
    "ideal-1": "#0c4f33",
    "bound-0": "#8b6fb5",
    "bound-1": "#3d2466",
    "mode-0": "#12518f",
    "mode-1": "#c26a12",
    "origin-0": "#4f8f6f",
    "origin-1": "#b9d8c7",
    "origin-2": "#ecc375",
    "origin-3": "#b5533c",
    "role-argument": "#dbe8f6",
    "role-intermediate": "#fbe3bd",
    "role-answer": "#cfe9d2",
    "role-separator": "#ecebe6",
    "role-start": "#ecebe6",
    "role-other": "#f3dbe3",
}
DARK: Mapping[str, str] = {
    "paper": "#12161c",
    "card": "#1a2029",
    "ink": "#e8eaee",
    "soft": "#a3adbb",
    "line": "#343d4a",
    "grid": "#29313c",
    "accent": "#86bdf5",
    "tint": "#1c2a3b",
    "guess": "#8f97a3",
    "other-0": "#9ccf85",
    "other-1": "#bfa5e6",
    "ideal-0": "#3f7d63",
    "ideal-1": "#a8f0cc",
    "bound-0": "#7f66b3",
    "bound-1": "#d9c7ff",
    "mode-0": "#7db8f5",
    "mode-1": "#f0a04b",
    "origin-0": "#5fae8a",
    "origin-1": "#2f5b49",
    "origin-2": "#8a6a2a",
    "origin-3": "#e0785f",
    "role-argument": "#1f3a5a",
    "role-intermediate": "#5a4214",
    "role-answer": "#1f4a2b",
    "role-separator": "#2c343f",
    "role-start": "#2c343f",
    "role-other": "#55303f",
}
_RAMP = {"light": ("#b8860b", "#b84d68", "#0f4c8a"), "dark": ("#f2cc60", "#e07b93", "#6db3ff")}
_HEAT = {"light": ("#f3f1ea", "#7fb0c9", "#0b3a66"), "dark": ("#222a34", "#2f7ea3", "#ffe9a8")}
_INKS = ("#0d1117", "#ffffff")
HEAT_STEPS = 10
OTHERS = 2
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"


def variable(name: str) -> str:
    """Return the CSS expression of a named colour."""
    return f"var(--{name})"


def size_colours(number: int) -> list[str]:
    """Return the colours of `number` sizes, small to large."""
    return [variable(f"size-{rank}") for rank in range(number)]


def spread(place: int, number: int, colours: int) -> int:
    """Return which of `colours` colours the `place`-th of `number` things takes, evenly from first to last."""
    return round(place * (colours - 1) / (number - 1)) if number > 1 else colours - 1


def palette(mode: str, sizes: int) -> dict[str, str]:
    """Return every colour of a mode, 'light' or 'dark', by name."""
    base = dict(LIGHT if mode == "light" else DARK)
    sized = {f"size-{rank}": colour for rank, colour in enumerate(ramp(_RAMP[mode], sizes))}
    heat = {f"heat-{rank}": colour for rank, colour in enumerate(ramp(_HEAT[mode], HEAT_STEPS))}
    ink = {
        f"heat-ink-{rank}": max(_INKS, key=lambda ink: contrast(ink, heat[f"heat-{rank}"]))
        for rank in range(HEAT_STEPS)
    }
    return base | sized | heat | ink


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    shares = [channel / 255 for channel in _channels(colour)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]  # noqa: PLR2004
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def ramp(stops: tuple[str, ...], number: int) -> list[str]:
    """Return `number` colours from the first stop to the last; one alone is the last."""
    if number == 1:
        return [stops[-1]]
    places = [rank * (len(stops) - 1) / (number - 1) for rank in range(number)]
    return [_between(stops, place) for place in places]


def resolve(tree: Any, colours: Mapping[str, str]) -> Any:
    """Return a chart's specification with every CSS variable replaced by its value."""
    if isinstance(tree, dict):
        return {key: resolve(value, colours) for key, value in tree.items()}
    if isinstance(tree, list):
        return [resolve(value, colours) for value in tree]
    if isinstance(tree, str) and tree.startswith("var(--"):
        return colours.get(tree[6:-1], tree)
    return tree


def config() -> dict[str, Any]:
    """Return the Vega-Lite configuration that all charts share."""
    text = {"labelColor": variable("soft"), "titleColor": variable("soft")}
    small = {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal"}
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            **text,
            **small,
            "gridColor": variable("grid"),
            "domainColor": variable("line"),
            "tickColor": variable("line"),
            "labelOverlap": "greedy",
            "labelSeparation": 4,
            "titlePadding": 6,
        },
        "axisX": {"grid": False, "labelFlush": False},
        "axisY": {"domain": False, "ticks": False},
        "header": {
            "labelColor": variable("ink"),
            "labelFontSize": 12,
            "labelFontWeight": 600,
            "labelAlign": "left",
            "labelAnchor": "start",
            "labelLineHeight": 15,
            "labelPadding": 6,
        },
        "legend": {
            **text,
            **small,
            "labelFontSize": 12,
            "labelColor": variable("ink"),
            "orient": "top",
            "labelLimit": 420,
        },
        "title": {
            "color": variable("ink"),
            "subtitleColor": variable("soft"),
            "anchor": "start",
            "offset": 14,
        },
        "facet": {"spacing": 22},
        "concat": {"spacing": 26},
    }


def _between(stops: tuple[str, ...], place: float) -> str:
    low = min(int(place), len(stops) - 2)
    part = place - low
    pairs = zip(_channels(stops[low]), _channels(stops[low + 1]), strict=True)
    return "#" + "".join(f"{round(first + part * (second - first)):02x}" for first, second in pairs)


def _channels(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
