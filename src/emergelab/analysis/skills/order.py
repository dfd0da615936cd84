"""Do composites emerge after their parts? Thresholds of a composite and of its latest part, by their intervals.

A composite is *after* its parts where the lower end of its threshold does not lie before the upper end of the latest
part's, *before* them the other way round, and undecided where the intervals overlap: between two checkpoints nothing is
known of the order. Each threshold is at the task's own level, half way from what takes no skill to certainty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from emergelab.analysis.emergence.names import Axis
from emergelab.analysis.skills.emerging import Emerging
from emergelab.analysis.skills.panels import Panel, Panels, System

_ENDS = ("", "_lo", "_hi")
AFTER, BEFORE, UNDECIDED = "after", "before", "undecided"
EXACT = "exact sign test over composites"
NONE_DECIDED = "none: no composite is decided"

ORDER = pl.Schema(
    {
        "system": pl.String,
        "composite": pl.String,
        "k": pl.Int32,
        "axis": pl.String,
        "parts": pl.List(pl.String),
        "latest": pl.String,
    }
    | {f"{whose}{end}": pl.Float64 for whose in ("composite_threshold", "part_threshold") for end in _ENDS}
    | {"composite_stated": pl.String, "part_stated": pl.String, "order": pl.String}
)
"""A row for each composite with all parts measured, of each system; `latest` is the part that emerges last.

Thresholds are in units of the axis; those of the part are the hull over its parts (the latest lower, the latest upper
end).
"""


@dataclass(frozen=True)
class Order:
    """Rows `ORDER`, a `SignTest` by axis, and composites with a part that was not measured alone, by part."""

    rows: pl.DataFrame
    tests: Mapping[str, SignTest]
    unmeasured: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class SignTest:
    """Composites whose decided systems are mostly after or before their parts; p of so uneven a split by chance.

    `pairs` count composites of single systems. Composites that share a part are not independent, so that p flatters.
    """

    after: int
    before: int
    p: float | None
    method: str
    pairs_after: int
    pairs_before: int
    pairs_undecided: int


def order(given: Panels, found: Emerging) -> Order:
    """Compare thresholds in accuracy of composites with those of their parts, along tokens and loss."""
    composites = [(system, panel) for system in given.systems for panel in system.tasks if panel.k > 1]
    unmeasured: dict[str, list[str]] = {}
    for system, panel in composites:
        for skill in missing_parts(system, panel):
            unmeasured.setdefault(skill, []).append(f"{panel.name} of {system.name}")
    places = _Places(found.found)
    axes: tuple[Axis, ...] = ("tokens", "loss")
    rows = [row for axis in axes for pair in composites if (row := _row(*pair, axis, places)) is not None]
    frame = pl.DataFrame(rows, schema=ORDER)
    tests = {axis: sign_test(frame.filter(pl.col("axis") == axis)) for axis in axes}
    return Order(frame, tests, {skill: tuple(names) for skill, names in unmeasured.items()})


def missing_parts(system: System, panel: Panel) -> list[str]:
    """Return the skills of a composite that were not measured alone."""
    return [skill for skill in dict.fromkeys(panel.skills) if skill not in system.parts]


def sign_test(rows: pl.DataFrame) -> SignTest:
    """Return the exact two-sided sign test over composites, each with one vote of all its systems."""
    from scipy.stats import binomtest  # noqa: PLC0415  scipy.stats takes a second to load

    counts = {name: rows.filter(pl.col("order") == name).height for name in (AFTER, BEFORE, UNDECIDED)}
    signs = rows.group_by("composite").agg(
        (pl.col("order") == AFTER).sum().cast(pl.Int64) - (pl.col("order") == BEFORE).sum().cast(pl.Int64)
    )["order"]
    after, before = int((signs > 0).sum()), int((signs < 0).sum())
    decided = after + before
    p = float(binomtest(after, decided).pvalue) if decided else None
    return SignTest(after, before, p, EXACT if decided else NONE_DECIDED, *counts.values())


@dataclass(frozen=True)
class _Span:
    """Between which positions a threshold lies (infinite: outside what was measured), its estimate, and its words."""

    lo: float
    value: float
    hi: float
    stated: str


class _Places:
    """Thresholds in accuracy by system, kind, name and axis."""

    def __init__(self, found: pl.DataFrame) -> None:
        rows = found.filter(pl.col("metric") == "accuracy")
        self._rows = {
            (row["system"], row["kind"], row["name"], row["axis"]): row for row in rows.iter_rows(named=True)
        }

    def of(self, panel: Panel, axis: Axis) -> _Span | None:
        row = self._rows.get((panel.system, panel.kind, panel.name, axis))
        if row is None or row["threshold_lo"] is row["threshold_hi"] is None:
            return None
        return _span(row)


def _span(row: Mapping[str, object]) -> _Span:
    """Return a threshold in positions: more is later."""
    lo, value, hi = (row[f"threshold{end}"] for end in ("_lo", "", "_hi"))
    if row["axis"] == "loss":
        lo, hi = hi, lo
    sign = -1.0 if row["axis"] == "loss" else 1.0
    known = [None if end is None else sign * float(str(end)) for end in (lo, value, hi)]
    return _Span(
        lo=-np.inf if known[0] is None else known[0],
        value=np.nan if known[1] is None else known[1],
        hi=np.inf if known[2] is None else known[2],
        stated=str(row["threshold_stated"]),
    )


def _row(system: System, panel: Panel, axis: Axis, places: _Places) -> dict[str, object] | None:
    if missing_parts(system, panel):
        return None
    parts = [system.parts[skill] for skill in dict.fromkeys(panel.skills)]
    spans = [places.of(part, axis) for part in parts]
    own = places.of(panel, axis)
    known = [span for span in spans if span is not None]
    if own is None or len(known) < len(spans):
        return None
    late = max(range(len(known)), key=lambda at: (known[at].hi, known[at].lo))
    latest = _Span(
        max(span.lo for span in known),
        max((span.value for span in known), key=lambda value: -np.inf if np.isnan(value) else value),
        max(span.hi for span in known),
        known[late].stated,
    )
    return {
        "system": system.name,
        "composite": panel.name,
        "k": panel.k,
        "axis": axis,
        "parts": [part.name for part in parts],
        "latest": parts[late].name,
        **dict(_ends("composite_threshold", own, axis)),
        **dict(_ends("part_threshold", latest, axis)),
        "composite_stated": own.stated,
        "part_stated": latest.stated,
        "order": _order(own, latest),
    }


def _order(own: _Span, latest: _Span) -> str:
    if np.isfinite(latest.hi) and own.lo >= latest.hi:
        return AFTER
    if np.isfinite(latest.lo) and own.hi <= latest.lo:
        return BEFORE
    return UNDECIDED


def _ends(whose: str, span: _Span, axis: Axis) -> Iterator[tuple[str, float | None]]:
    """Yield the columns of a threshold in units of the axis."""
    ends = {"": span.value, "_lo": span.lo, "_hi": span.hi}
    if axis == "loss":
        ends = {"": -span.value, "_lo": -span.hi, "_hi": -span.lo}
    for end, value in ends.items():
        yield f"{whose}{end}", value if np.isfinite(value) else None
