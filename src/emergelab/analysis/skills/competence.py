"""Competence by skill and by tuple of skills: how often a system is right, and how often it fails.

The competence of a skill is the success rate on all pieces that need it, whatever else they need; beside it stands
the success on pieces that need it alone. Failure is what the skill paper charges: failing edges over edges, where a
piece has one edge for each time that it needs the skill. A piece that does not fail is only known to be right more
often than not, so that the two are two numbers. Which pieces a skill is measured on differs between systems: `pieces`
and `tasks` count them, and only `changes` compares the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl

from emergelab.analysis import estimate, intervals
from emergelab.analysis.comparison import student_p
from emergelab.analysis.groups import numbers
from emergelab.analysis.skills.pieces import Pieces
from emergelab.analysis.skills.shares import item_sums, ratio_of, share_columns
from emergelab.outcomes.pairs import holm, mcnemar_p

Grouping = Literal["skill", "tuple", "set", "k", "task"]
"""By single skill; by tuple, in order; by the same skills in any order; by the number of skills; by task."""

Measure = Literal["success", "failure"]
MEASURES: tuple[Measure, ...] = ("success", "failure")
_OUTCOMES = {"success": "correct", "failure": "fails"}
CHANGE = "cluster_t over items"


def competence(pieces: Pieces, by: Grouping) -> pl.DataFrame:
    """Return a row for each cell and group: success and failure with interval, n and method, and what they rest on.

    Columns: `CELL`, `SCALE`, fails_by; skill, or k and skills, or k, or task; then for success and failure (and alone,
    for skills: success on pieces of this skill only) the value, `_lo`, `_hi`, `_n` (pieces), `_trials` (as many
    independent pieces would give this interval) and `_method`; pieces, items and tasks. Null: nothing is known.
    """
    members, groups = _members(pieces, by)
    rows = pieces.frame.join(members, on=members.columns[0], how="inner")
    found = rows.group_by("cell", "group").agg(
        pieces=pl.len().cast(pl.Int64), items=pl.col("item").n_unique(), tasks=pl.col("task").n_unique()
    )
    for measure in MEASURES:
        found = _joined(found, _shares(rows, measure))
    if by == "skill":
        found = _joined(found, _shares(rows.filter(pl.col("k") == 1), "success", "alone"))
    named = groups.join(found, on="group", how="inner").sort("cell", "group").drop("group")
    return pieces.named(named)


def changes(pieces: Pieces, by: Grouping) -> pl.DataFrame:
    """Return how success and failure differ between each cell and the last of its system, on the same pieces.

    Columns: `CELL`, `SCALE`, fails_by, `last`, the group's, measure (`MEASURES`), before, after, change with lo, hi, n
    (pairs of pieces), method, p (two-sided) and p_adjusted (Holm, over all rows of a measure).
    """
    members, groups = _members(pieces, by)
    pairs = _pairs(pieces)
    parts = [_changed(pairs, members, measure) for measure in MEASURES]
    found = groups.join(pl.concat(parts), on="group", how="inner").sort("cell", "group", "measure")
    last = pieces.cells.select("system", last=pl.col("checkpoint").last().over("system")).unique("system")
    named = pieces.named(found.drop("group")).join(last, on="system", how="left", maintain_order="left")
    adjusted = pl.col("p").map_batches(lambda p: pl.Series(holm(p.to_numpy())), return_dtype=pl.Float64)
    return named.with_columns(adjusted.over("measure").fill_nan(None).alias("p_adjusted"))


def _members(pieces: Pieces, by: Grouping) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return which tuple (or task) belongs to which group how many times, and what the groups are called."""
    if by == "task":
        tasks = pieces.tasks.sort("name").with_row_index("group")
        return tasks.select("task", "group", times=pl.lit(1.0)), tasks.select("group", task="name")
    if by == "skill":
        edges = pieces.tuples.select("tuple", "k", skill="skills").explode("skill")
        counted = edges.group_by("tuple", "k", "skill").agg(times=pl.len().cast(pl.Float64))
        labels = ("skill",)
    else:
        once = pieces.tuples.with_columns(times=pl.lit(1.0))
        counted = once.with_columns(pl.col("skills").list.sort()) if by == "set" else once
        labels = ("k",) if by == "k" else ("k", "skills")
    groups = counted.select(labels).unique().sort(labels).with_row_index("group")
    return counted.join(groups, on=labels, how="inner").select("tuple", "group", "times", "k"), groups


def _shares(rows: pl.DataFrame, measure: str, name: str | None = None) -> pl.DataFrame:
    """Return a share by cell and group. Success counts a piece once, failure as often as it needs the skill."""
    times = pl.col("times") if measure == "failure" else pl.lit(1.0)
    chosen = rows.select("cell", "group", "item", value=_OUTCOMES[measure], times=times)
    return share_columns(item_sums(chosen, ("cell", "group")), name or measure)


def _joined(found: pl.DataFrame, shares: pl.DataFrame) -> pl.DataFrame:
    joined = found.join(shares, on=["cell", "group"], how="left")
    name = shares.columns[2]
    return joined.with_columns(
        pl.col(f"{name}_n").fill_null(0), pl.col(f"{name}_method").fill_null(estimate.NO_VALUES)
    )


def _pairs(pieces: Pieces) -> pl.DataFrame:
    """Return the pieces of each cell but its system's last, beside the last one's outcomes on the same pieces."""
    ends = pieces.cells.select("cell", last=pl.col("cell").last().over("system"))
    earlier = pieces.frame.join(ends.filter(pl.col("cell") != pl.col("last")), on="cell", how="inner")
    later = pieces.frame.select("task", "piece", "correct", "fails", last="cell")
    return earlier.join(later, on=["last", "task", "piece"], how="inner", suffix="_last")


def _changed(pairs: pl.DataFrame, members: pl.DataFrame, measure: str) -> pl.DataFrame:
    name = _OUTCOMES[measure]
    times = pl.col("times") if measure == "failure" else pl.lit(1.0)
    both = pairs.filter(pl.col(name).is_not_null() & pl.col(f"{name}_last").is_not_null())
    rows = both.join(members, on=members.columns[0], how="inner").select(
        "cell",
        "group",
        "item",
        before=name,
        after=f"{name}_last",
        value=pl.col(f"{name}_last") - pl.col(name),
        times=times,
    )
    keys = ("cell", "group")
    sums = item_sums(rows, keys).join(_simple(rows, keys), on=keys, how="left")
    return sums.select(
        *keys,
        pl.lit(measure).alias("measure"),
        "before",
        "after",
        *_change_columns(sums),
        n=pl.col("n").cast(pl.Int64),
    )


def _simple(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Return means on both sides, and the counts that pairs of right-or-wrong answers, one for each item, need."""
    times, value = pl.col("times"), pl.col("value")
    return rows.group_by(keys).agg(
        before=(pl.col("before") * times).sum() / times.sum(),
        after=(pl.col("after") * times).sum() / times.sum(),
        gained=(value == 1).sum(),
        lost=(value == -1).sum(),
        same=(value == 0).sum(),
        heaviest=times.max(),
    )


def _change_columns(sums: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    change, variance = ratio_of(sums)
    gained, lost, same, n, items, heaviest = numbers(sums, "gained", "lost", "same", "n", "items", "heaviest")
    # That nothing changed this time does not say that nothing can: as if one item had gained and one lost.
    floored = np.maximum(variance, 2 / np.square(items + 2))
    single = (items == n) & (heaviest == 1) & (gained + lost + same == n)
    lo, hi = (
        np.where(single, exact, np.clip(rough, -1.0, 1.0))
        for exact, rough in zip(
            intervals.paired_shares(gained, lost, n),
            intervals.student(change, floored, items - 1),
            strict=True,
        )
    )
    p = np.where(single, mcnemar_p(gained, lost), student_p(change, np.sqrt(floored), items - 1))
    method = np.where(single, estimate.PAIRED_SHARES, np.where(items > 1, CHANGE, estimate.ONE_VALUE))
    return [
        pl.Series("change", change),
        pl.Series("lo", lo, nan_to_null=True),
        pl.Series("hi", hi, nan_to_null=True),
        pl.Series("p", p, nan_to_null=True),
        pl.Series("method", method.astype(str)),
    ]
