"""The tables of the part of the page on courses over training; the whole ones are written beside the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from emergelab.analysis.skills.ahead import ALL, FACTORS
from emergelab.analysis.skills.along_training import AlongTraining
from emergelab.analysis.skills.emerging import AT_ONCE, NOT_REACHED, UNKNOWN, VERDICTS, WITHIN
from emergelab.analysis.skills.order import AFTER, BEFORE, UNDECIDED
from emergelab.analysis.skills.shifts import LATEST
from emergelab.report import words
from emergelab.report.sections import Table

_CROSSED = (AT_ONCE, WITHIN, NOT_REACHED, UNKNOWN)
_AXES = ("tokens", "loss")
_MOST_ROWS = 25
TIMES = "\N{MULTIPLICATION SIGN}"


def tables(found: AlongTraining) -> list[Table]:
    """Return the tables that have rows."""
    made = (
        _places(found),
        _verdicts(found),
        _courses(found),
        _order(found),
        _shifts(found),
        _ahead(found),
        _checks(found),
    )
    return [table for table in made if table.rows]


def _places(found: AlongTraining) -> Table:
    return Table(
        title="Where tasks cross their level of accuracy",
        columns=("System", "over", "tasks", *_CROSSED),
        rows=_counted(found, "crossed", _CROSSED),
        note=(
            "Levels half way from what takes no skill to certainty. Over compute all is as over tokens, since the size "
            "stays."
        ),
        name="emergence",
        whole=found.emerging.found,
    )


def _verdicts(found: AlongTraining) -> Table:
    asked = pl.concat([found.emerging.verdicts("task", axis) for axis in _AXES])
    given = tuple(name for name in VERDICTS if name in set(asked["verdict"]))
    return Table(
        title="What the curves of tasks say: a jump, none, or one of the metric",
        columns=("System", "over", "tasks", *given),
        rows=_counted(found, "verdict", given),
        note="Reasons and p-values stand in the table emergence.csv.",
    )


def _counted(found: AlongTraining, column: str, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return how many tasks of each system have each of some values, over tokens and loss."""
    return [
        (str(system), axis, str(part.height), *(_count(part, column, name) for name in names))
        for axis in _AXES
        for (system,), part in found.emerging.verdicts("task", axis).group_by("system", maintain_order=True)
    ]


def _count(part: pl.DataFrame, column: str, value: str) -> str:
    return str(part.filter(pl.col(column) == value).height)


def _courses(found: AlongTraining) -> Table:
    asked = found.emerging.found.filter((pl.col("kind") == "k") & (pl.col("axis") == "tokens"))
    rows = [
        (
            row["system"],
            row["name"],
            row["metric"] + (" (relative)" if row["relative"] else ""),
            str(row["tasks"]),
            words.figure(row["level"]) if row["level"] is not None else "half way between plateaus",
            threshold(row),
            _sharpness(row),
            row["verdict"] if row["metric"] == "accuracy" else row["jump"],
        )
        for row in asked.iter_rows(named=True)
    ]
    return Table(
        title="Learning curves by number of skills, over training tokens",
        columns=(
            "System",
            "skills",
            "metric",
            "tasks",
            "level",
            "crossed at",
            "10 to 90 % of the rise",
            "verdict",
        ),
        rows=rows,
        note="Sharpness as a factor of tokens. The whole table has the points of all curves.",
        name="courses",
        whole=found.emerging.points,
    )


def threshold(row: Mapping[str, Any]) -> str:
    """Return a threshold in tokens or loss over its interval, in words where an end is open."""
    number = words.figure if row["axis"] == "loss" else words.count
    value, lo, hi = (row[f"threshold{end}"] for end in ("", "_lo", "_hi"))
    if lo is None and hi is None:
        return "not known"
    if lo is None or hi is None:
        return f"above {number(lo)}" if hi is None else f"below {number(hi)}"
    interval = f"[{number(lo)}, {number(hi)}]"
    return interval if value is None else f"{number(value)} {interval}"


def _sharpness(row: Mapping[str, Any]) -> str:
    value, lo, hi = (row[f"sharpness{end}"] for end in ("", "_lo", "_hi"))
    if value is None:
        return words.MISSING
    wide = math.log(row["measured_hi"] / row["measured_lo"])
    if hi > wide and lo == 0:
        return "not known"
    return f"{_factor(value)} [{_factor(lo)}, {_factor(hi)}]"


def _factor(width: float) -> str:
    return f"{TIMES}{words.figure(math.exp(min(width, math.log(1e6))))}"


def _order(found: AlongTraining) -> Table:
    rows = found.order.rows
    decided = rows.filter(pl.col("order") != UNDECIDED)
    test = found.order.tests
    counts = [
        f"over {axis}: {one.pairs_after} {AFTER}, {one.pairs_before} {BEFORE}, {one.pairs_undecided} {UNDECIDED}"
        for axis, one in test.items()
    ]
    shown = [
        (
            row["composite"],
            row["system"],
            row["axis"],
            row["latest"],
            _stated(row["part_stated"]),
            _stated(row["composite_stated"]),
            row["order"],
        )
        for row in decided.head(_MOST_ROWS).iter_rows(named=True)
    ]
    return Table(
        title="Composites whose order to their parts is decided",
        columns=("Composite", "system", "over", "latest part", "part crosses", "composite crosses", "order"),
        rows=shown,
        note=f"{'; '.join(counts)}. Undecided where the intervals overlap.",
        name="order",
        whole=rows,
    )


def _stated(text: str) -> str:
    """Shorten the large numbers of a statement such as `between 3.5e+09 and 1.155e+11`."""
    parts = [words.count(float(part)) if "e+" in part else part for part in text.split()]
    return " ".join(parts)


def _shifts(found: AlongTraining) -> Table:
    rows = found.shifts.rows
    known = rows.filter(
        (pl.col("axis") == "tokens")
        & (pl.col("against") == LATEST)
        & (pl.col("shift").is_not_null() | pl.col("at_least").is_not_null())
    ).sort("system", "shift", descending=[False, True], nulls_last=True)
    return Table(
        title="How much later composites are than their latest part",
        columns=(
            "Composite",
            "system",
            "times the tokens",
            "at level 1/2 at least",
            "levels",
            "k\N{PRIME} seen",
            "k\N{PRIME}",
            "tokens for k\N{PRIME}",
        ),
        rows=[_shift(row) for row in known.head(_MOST_ROWS).iter_rows(named=True)],
        note=(
            "k\N{PRIME} seen: by how much a published scaling law (Besiroglu et al. 2024) divides the excess loss over "
            "the shift, beside the number of parts, by which slingshot generalisation under the linear link divides it "
            "at most; the last column is the factor of tokens which that takes at this size. Distances in loss are in "
            "the whole table."
        ),
        name="shifts",
        whole=rows,
    )


def _shift(row: Mapping[str, Any]) -> tuple[str, ...]:
    sure = row["at_least"]
    return (
        row["composite"],
        row["system"],
        _interval(row, "factor", TIMES),
        words.MISSING if sure is None else f"{TIMES}{words.figure(math.exp(sure))}",
        words.MISSING if row["shift"] is None else str(row["levels"]),
        _interval(row, "k_implied", ""),
        str(len(row["parts"])),
        _needed(row),
    )


def _needed(row: Mapping[str, Any]) -> str:
    if row["k_implied"] is None:
        return words.MISSING
    return "none does" if row["theory_factor"] is None else f"{TIMES}{words.figure(row['theory_factor'])}"


def _interval(row: Mapping[str, Any], name: str, before: str) -> str:
    if row[name] is None:
        return words.MISSING
    value, lo, hi = (words.figure(row[f"{name}{end}"]) for end in ("", "_lo", "_hi"))
    return f"{before}{value} [{lo}, {hi}]"


def _ahead(found: AlongTraining) -> Table:
    asked = found.ahead.rows.filter(pl.col("kind") == "k")
    rows = [
        (
            str(system),
            str(name),
            str(metric) + (" (relative)" if part["relative"][0] else ""),
            words.figure(part["now"][0]),
            *(_forecast(row) for row in part.sort("factor").iter_rows(named=True)),
        )
        for (system, name, metric), part in asked.group_by("system", "name", "metric", maintain_order=True)
    ]
    return Table(
        title="More training at the same size",
        columns=("System", "skills", "metric", "now", *(f"{TIMES}{factor:g}" for factor in FACTORS)),
        rows=rows,
        note="Forecasts with 90 % intervals, or why there is none. The whole table has every skill alone, too.",
        name="forecasts",
        whole=found.ahead.rows,
    )


def _forecast(row: Mapping[str, Any]) -> str:
    if not row["known"]:
        return row["reason"]
    value, lo, hi = (words.figure(row[name]) for name in ("value", "lo", "hi"))
    return f"{value} [{lo}, {hi}]"


def _checks(found: AlongTraining) -> Table:
    rows = [
        (
            row["system"],
            row["metric"],
            f"{TIMES}{row['factor']:g}",
            str(row["n"]),
            words.share(row["held"]),
            words.figure(row["error"]),
            words.figure(row["error_of_last"]),
            words.figure(row["half_width"]),
        )
        for row in found.ahead.checks.iter_rows(named=True)
        if row["n"] and row["kind"] == ALL
    ]
    return Table(
        title="How forecasts of the past fared",
        columns=(
            "System",
            "metric",
            "ahead",
            "forecasts",
            "held",
            "mean error",
            "of the last value",
            "half width",
        ),
        rows=rows,
        note=(
            "Each with methods and widths from before it. Held: share of 90 % intervals with what came. Errors of "
            "accuracy are shares, of nats differences of logarithms. Forecasts of one system share its checkpoints, so "
            "that they are fewer than they look."
        ),
        name="forecast-checks",
        folded=True,
        whole=found.ahead.checks,
    )
