"""What was tested, as a reader meets it: each hypothesis with its verdict, and its effect drawn against its limit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from emergelab.report import words
from emergelab.report.content import ReportInput

# A mark tells a verdict without its colour.
MARKS: Mapping[str, tuple[str, str]] = {
    "supported": ("\N{CHECK MARK}", "supported"),
    "not supported": ("\N{MULTIPLICATION X}", "refuted"),
    "undecided": ("?", "undecided"),
}
_LOGARITHMIC = frozenset({"training tokens", "parameters", "FLOP"})
_WIDTH, _HEIGHT, _EDGE = 240, 44, 10
_LINE, _CAP, _DOT = 15, 5, 4.5
_MARGIN = 0.16  # of the range, on either side


def tested(content: ReportInput) -> dict[str, Any] | None:
    """Return what the section shows; None where the study has no hypothesis and never had one."""
    dropped = list(content.run.get("dropped_hypotheses", ()))
    frame = content.verdicts
    if frame is None or (frame.is_empty() and not dropped):
        return None
    late = not frame["fixed"].str.starts_with("before").all()
    rows = [_row(row) | {"fixed": row["fixed"] if late else ""} for row in frame.to_dicts()]
    return {"rows": rows, "dropped": dropped, "lead": _lead(frame)}


def _lead(frame: pl.DataFrame) -> str:
    """Say how many are of which verdict, and whether all were fixed before anything was scored."""
    if frame.is_empty():
        return "The study has no hypothesis now."
    times = Counter(frame["verdict"].to_list())
    counts = words.listing([f"{times[verdict]} {verdict}" for verdict in MARKS if times[verdict]])
    late = frame.filter(~pl.col("fixed").str.starts_with("before")).height
    said = {
        0: "All were fixed before the first cell was scored.",
        frame.height: "None was fixed before the first cell was scored.",
    }.get(late, f"{late} of them {'was' if late == 1 else 'were'} fixed after cells had been scored.")
    return (
        f"{words.plural(frame.height, 'hypothesis').replace('hypothesiss', 'hypotheses')}: {counts}. {said}"
    )


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    mark, style = MARKS[row["verdict"]]
    return {
        "name": row["name"],
        "claim": row["claim"],
        "test": row["test"],
        "verdict": row["verdict"],
        "mark": mark,
        "style": style,
        "effect": _effect(row),
        "unit": row["unit"],
        "drawing": drawing(row),
        "why": row["reason"] if row["verdict"] == "undecided" else "",
        "late": not row["fixed"].startswith("before"),
        "method": _method(row),
    }


def _effect(row: Mapping[str, Any]) -> str:
    """Return '0.41 [0.32, 0.50]', or what is known of it."""
    lo: float | None = row["lo"]
    hi: float | None = row["hi"]
    value: float | None = row["effect"]
    if lo is None:
        known = words.MISSING if value is None else _number(value)
        return known if hi is None else f"below {_number(hi)}"
    if hi is None:
        return f"above {_number(lo)}"
    interval = f"[{_number(lo)}, {_number(hi)}]"
    return interval if value is None else f"{_number(value)} {interval}"


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if math.isinf(value):
        return "\N{MINUS SIGN}∞" if value < 0 else "∞"
    return words.count(value) if abs(value) >= 1000 else words.nats(value)  # noqa: PLR2004


def _method(row: Mapping[str, Any]) -> str:
    seeds = f", {words.plural(row['seeds'], 'seed')}" if row["seeds"] else ""
    return f"{row['method']}; n = {row['n']:,} {row['of_what']}{seeds}"


@dataclass(frozen=True)
class _Scale:
    """Numbers along the drawing, by their logarithms or as they are."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def over(cls, values: Sequence[float], *, logarithmic: bool) -> _Scale:
        at = [math.log(value) if logarithmic else value for value in values]
        low, high = min(at), max(at)
        pad = (high - low) * _MARGIN or abs(low) * _MARGIN or 1.0
        return cls(low - pad, high + pad, logarithmic)

    def at(self, value: float) -> float:
        place = math.log(value) if self.logarithmic else value
        return _EDGE + (place - self.low) / (self.high - self.low) * (_WIDTH - 2 * _EDGE)


def drawing(row: Mapping[str, Any]) -> Markup:
    """Return the interval, the effect and the limit as SVG; nothing where there is nothing to draw.

    An end that is not known, or infinite, goes to the edge and has an arrow.
    """
    known = [
        value for value in (row["lo"], row["hi"], row["effect"]) if value is not None and math.isfinite(value)
    ]
    if not known:
        return Markup("")
    limit = row["limit"]
    values = [*known, *([] if limit is None else [limit])]
    logarithmic = row["unit"] in _LOGARITHMIC and min(values) > 0
    scale = _Scale.over(values, logarithmic=logarithmic)
    parts = [_wanted(scale, limit, row["side"]), _interval(scale, row), _limit(scale, limit)]
    body = "".join(parts)
    label = f"{_effect(row)} {row['unit']}" + (
        "" if limit is None else f", wanted {row['side']} {words.setting(limit)}"
    )
    return Markup('<svg class="effect" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">').format(
        w=_WIDTH, h=_HEIGHT, label=label
    ) + Markup(body + "</svg>")  # noqa: S704 - numbers alone


def _wanted(scale: _Scale, limit: float | None, side: str | None) -> str:
    """Shade what the hypothesis claims."""
    if limit is None:
        return ""
    at = scale.at(limit)
    left, right = (at, _WIDTH) if side == "above" else (0, at)
    return f'<rect class="wanted" x="{left:.1f}" y="2" width="{right - left:.1f}" height="{2 * _LINE - 4}" rx="2"/>'


def _interval(scale: _Scale, row: Mapping[str, Any]) -> str:
    ends: list[str] = []
    places: list[float] = []
    for name, edge, into in (("lo", _EDGE / 2, 1), ("hi", _WIDTH - _EDGE / 2, -1)):
        value: float | None = row[name]
        at = edge if value is None or math.isinf(value) else scale.at(value)
        places.append(at)
        ends.append(
            f"M{at + into * _CAP:.1f} {_LINE - _CAP}L{at:.1f} {_LINE}L{at + into * _CAP:.1f} {_LINE + _CAP}"
            if at == edge
            else f"M{at:.1f} {_LINE - _CAP}V{_LINE + _CAP}"
        )
    line = f'<path class="interval" d="M{places[0]:.1f} {_LINE}H{places[1]:.1f}{"".join(ends)}"/>'
    effect: float | None = row["effect"]
    if effect is None or math.isinf(effect):
        return line
    return f'{line}<circle class="dot" cx="{scale.at(effect):.1f}" cy="{_LINE}" r="{_DOT}"/>'


def _limit(scale: _Scale, limit: float | None) -> str:
    if limit is None:
        return ""
    at = scale.at(limit)
    anchor = "start" if at < _WIDTH / 4 else "end" if at > 3 * _WIDTH / 4 else "middle"
    return (
        f'<path class="limit" d="M{at:.1f} 0V{2 * _LINE}"/>'
        f'<text x="{at:.1f}" y="{_HEIGHT - 2}" text-anchor="{anchor}">{words.setting(limit)}</text>'
    )
