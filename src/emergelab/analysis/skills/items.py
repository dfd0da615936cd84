"""Composites item by item: what the parts on the same input say of the composite beyond their rates.

A composite's item is *matched* at a position if its part there was asked alone, on the input that the composite gives
it, by the same system at the same checkpoint. Four questions follow. Is the composite right where all matched parts
are (what is lacking there is the *price of composing*)? How often is it right though a matched part is wrong (a
*shortcut*, such as a first letter that needs no translation)? Does success go together, item by item, more than the
rates would have it (the odds ratio)? And how far is the composite from the product of rates (the *gap*)?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64

from emergelab.analysis import intervals
from emergelab.analysis.skills.cases import Cases
from emergelab.analysis.skills.parts import Parts, as_table
from emergelab.analysis.skills.resampling import draws_for, weighted_sums
from emergelab.rng import Stream

ALL = "all"
TOO_FEW, TOGETHER, APART, NOT_KNOWN = "too few items", "go together", "go apart", "not known"
_FEWEST = 20  # items that decide anything about a direction


def _with_ends(*names: str) -> dict[str, Any]:
    return {f"{name}{end}": pl.Float64 for name in names for end in ("", "_lo", "_hi")}


CARRIED = pl.Schema(
    {"group": pl.String, "system": pl.String, "composite": pl.String, "skills": pl.List(pl.String), "k": pl.UInt32}
    | {"matched": pl.List(pl.UInt32), "complete": pl.Boolean, "items": pl.UInt32, "answers": pl.UInt32}
    | _with_ends("rate", "parts_right", "if_right", "expected", "price", "if_wrong", "gap", "odds_ratio")
    | {"n_right": pl.Float64, "n_wrong": pl.Float64, "tie": pl.String}
)  # fmt: skip
"""One row for each composite with matched items, over all systems (`group` all) and for each.

`matched` are positions of parts (from 0). Over matched items of all checkpoints: the composite's `rate`, the share
`parts_right` whose matched parts are all right, the share of those (`if_right`) and of the others (`if_wrong`) on which
the composite is right. `expected` is what `if_right` would be if composing were free: the product of the rates of the
parts that are not matched, 1 without such. `price` is expected less `if_right`, below 0 where the composite is easier
than its parts; `gap` is the product of all rates less the composite's rate. Both are null unless all parts were asked.
`odds_ratio` is Mantel and Haenszel's over cells (1959), of a right composite for right against wrong parts; `tie` says
what follows.
"""


def item_predictions(parts: Parts, cases: Cases) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return predicted and observed success of each item of complete cases, and the item's case; None unmatched.

    The prediction is the product over parts of what they came out as on the same input, or of their rate where
    they were not asked that.
    """
    numbered = cases.frame.select("cell", "unit").with_row_index("case")
    matched = parts.matched.join(numbered, on=["cell", "unit"], how="inner")
    if matched.is_empty():
        return None
    rows = parts.items.join(numbered, on=["cell", "unit"], how="inner").sort("case", "item")
    rows = rows.with_row_index("row")
    place = rows["case"].to_numpy().astype(np.int64)
    each = cases.known(cases.rates).singles[place]
    at = matched.join(rows.select("cell", "item", "row"), on=["cell", "item"], how="left")
    each[at["row"].to_numpy(), at["position"].to_numpy()] = at["part"].to_numpy()
    return np.prod(each, axis=1), rows["right"].to_numpy(), place


def carried(parts: Parts, source: Stream) -> pl.DataFrame:
    """Return `CARRIED`. Items are drawn again wherever they were asked."""
    rows = _matched_rows(parts)
    if rows.is_empty():
        return pl.DataFrame(schema=CARRIED)
    cells = (
        rows.group_by("unit", "cell", maintain_order=True)
        .agg(pl.col("system", "matched", "complete").first())
        .with_row_index("group")
    )
    rows = rows.join(cells.select("unit", "cell", "group"), on=["unit", "cell"], how="left")
    whole = _sums(parts, rows, cells, source.child("inputs"))
    found = [_row(names, here, whole, rows) for names, here in _groups(cells, parts.units)]
    return as_table(found, CARRIED)


def _sums(
    parts: Parts, rows: pl.DataFrame, cells: pl.DataFrame, source: Stream
) -> dict[str, Float64[np.ndarray, "cells draws"]]:
    """Return sums over the matched items of each cell; the first of all draws is what was observed.

    m is all matched parts right, c the composite right; free and product are sums of rates over items.
    """
    group, cluster = (rows[name].to_numpy().astype(np.int64) for name in ("group", "cluster"))
    m, c = rows["parts"].to_numpy(), rows["right"].to_numpy()
    columns = {"all": np.ones_like(m), "m": m, "c": c, "mc": m * c}
    singles = parts.items.join(parts.units.filter(pl.col("k") == 1).select("unit", "name"), on="unit")
    numbered = singles.with_columns(group=pl.struct("cell", "unit").rank("dense") - 1)
    count = int(numbered["group"].max() or 0) + 1  # pyright: ignore[reportArgumentType]
    draws = draws_for(max(cells.height, count))
    found = _with_observed((group, cluster), columns, (cells.height, draws), source)
    places = tuple(numbered[name].to_numpy().astype(np.int64) for name in ("group", "cluster"))
    right = numbered["right"].to_numpy()
    alone = _with_observed(
        (places[0], places[1]), {"right": right, "all": np.ones_like(right)}, (count, draws), source
    )
    free, product = _rates_of_cells(parts, cells, numbered, alone["right"] / alone["all"])
    complete = cells["complete"].to_numpy()[:, None]
    return found | {
        "m_complete": np.where(complete, found["m"], 0.0),
        "mc_complete": np.where(complete, found["mc"], 0.0),
        "m_free": np.where(complete, found["m"] * free, 0.0),
        "complete": np.where(complete, found["all"], 0.0),
        "gap": np.where(complete, found["all"] * product - found["c"], 0.0),
    }


def _with_observed(
    place: tuple[np.ndarray, np.ndarray],
    columns: dict[str, np.ndarray],
    shape: tuple[int, int],
    source: Stream,
) -> dict[str, np.ndarray]:
    drawn = weighted_sums(place, columns, shape, source)
    return {
        name: np.concatenate(
            [np.bincount(place[0], weights=column, minlength=shape[0])[:, None], drawn[name]], axis=1
        )
        for name, column in columns.items()
    }


def _rates_of_cells(
    parts: Parts, cells: pl.DataFrame, numbered: pl.DataFrame, rates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the product of the rates of the parts that are not matched, and of all parts; NaN where one is missing."""
    singles = numbered.select("cell", "group", skill="name").unique(["cell", "group"])
    each = (
        cells.select("unit", "cell", row="group", asked="matched")
        .join(parts.units.select("unit", "skills", "k"), on="unit", how="left")
        .with_columns(skill="skills", position=pl.int_ranges("k"))
        .explode("skill", "position")
        .with_columns(matched=pl.col("asked").list.contains(pl.col("position").cast(pl.UInt32)))
        .join(singles, on=["cell", "skill"], how="left")
    )
    row = each["row"].to_numpy().astype(np.int64)
    at = each["group"].cast(pl.Int64).fill_null(-1).to_numpy()
    value = np.concatenate([rates, np.full((1, rates.shape[1]), np.nan)])[at]
    free, product = (np.ones((cells.height, rates.shape[1])) for _ in range(2))
    np.multiply.at(product, row, value)
    np.multiply.at(free, row, np.where(each["matched"].to_numpy()[:, None], 1.0, value))
    return free, product


def _matched_rows(parts: Parts) -> pl.DataFrame:
    """Return one row for each matched item of a cell: whether its parts are right, all of them.

    Items of one composite that have other parts matched than most are left out: they answer another question.
    """
    each = parts.matched.group_by("unit", "cell", "item", maintain_order=True).agg(
        pl.col("cluster", "right").first(),
        parts=pl.col("part").product(),
        matched=pl.col("position"),
    )
    usual = (
        each.group_by("unit", "matched")
        .len()
        .sort("unit", "len", "matched", descending=[False, True, False])
        .group_by("unit", maintain_order=True)
        .first()
    )
    kept = each.join(
        usual.select("unit", "matched"), on=["unit", "matched"], how="semi", maintain_order="left"
    )
    told = parts.cases.select("cell", "unit", complete=pl.col("missing").list.len() == 0)
    joined = kept.join(told, on=["cell", "unit"], how="left", maintain_order="left")
    return joined.join(parts.cells.select("cell", "system"), on="cell", how="left", maintain_order="left")


def _groups(cells: pl.DataFrame, units: pl.DataFrame) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Return names and places (cells of one composite) of all rows of the table."""
    named = cells.join(units, on="unit", how="left", maintain_order="left")
    for keys, group in ((["unit"], ALL), (["unit", "system"], "system")):
        for part in named.partition_by(keys, maintain_order=True):
            first = part.row(0, named=True)
            yield (
                {"group": group, "system": first["system"] if group != ALL else None}
                | {"composite": first["name"], "skills": first["skills"], "k": first["k"]}
                | {"unit": first["unit"]},
                part["group"].to_numpy().astype(np.int64),
            )


def _row(
    names: Mapping[str, Any], here: np.ndarray, whole: Mapping[str, np.ndarray], rows: pl.DataFrame
) -> dict[str, Any]:
    """Return a row of the table. The first of all draws is what was observed."""
    cells = {name: values[here] for name, values in whole.items()}
    total = {name: values.sum(axis=0) for name, values in cells.items()}
    asked = rows.filter(pl.col("unit") == names["unit"])
    asked = asked if names["system"] is None else asked.filter(pl.col("system") == names["system"])
    items = asked["item"].n_unique()
    n_right, n_wrong = float(total["m"][0]), float((total["all"] - total["m"])[0])
    # A price is asked where all parts are known: there alone, the items that are right are counted.
    if_right = _share(total["mc"], total["m"], items)
    priced = _share(total["mc_complete"], total["m_complete"], items)
    expected = _share(total["m_free"], total["m_complete"], items)
    fully = set(asked["matched"][0]) == set(range(names["k"]))
    if fully and total["m_complete"][0] > 0:
        expected = 1.0, 1.0, 1.0
    found = {
        "rate": _share(total["c"], total["all"], items),
        "parts_right": _share(total["m"], total["all"], items),
        "if_right": if_right,
        "expected": expected,
        "price": _apart(expected, priced),
        "if_wrong": _share(total["c"] - total["mc"], total["all"] - total["m"], items),
        "gap": _normal(total["gap"], total["complete"]),
        "odds_ratio": _odds_ratio(cells),
    }
    return (
        {name: value for name, value in names.items() if name != "unit"}
        | {"matched": asked["matched"][0], "complete": bool(total["complete"][0] > 0)}
        | {"items": items, "answers": asked.height, "n_right": n_right, "n_wrong": n_wrong}
        | {f"{name}{end}": value for name, ends in found.items() for end, value in _named(ends)}
        | {"tie": _tie(found["odds_ratio"], n_right, n_wrong)}
    )


_Ends = tuple[float, float, float]
_UNKNOWN: _Ends = (float("nan"), float("nan"), float("nan"))


def _named(ends: Sequence[float]) -> Iterator[tuple[str, float]]:
    yield from zip(("", "_lo", "_hi"), ends, strict=True)


def _share(above: np.ndarray, below: np.ndarray, items: int) -> _Ends:
    """Return a share with Wilson's limits, for as many trials as its variance over draws of items is worth.

    Where nothing varied it is worth as many as there are items: the same items were asked at all checkpoints.
    """
    if below[0] <= 0:
        return _UNKNOWN
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = above / below
    share = float(np.clip(shares[0], 0.0, 1.0))
    variance = float(np.nanvar(shares[1:], ddof=1))
    # Differences of sums leave dust where nothing varies.
    variance = variance if variance > 1e-18 else 0.0  # noqa: PLR2004
    few = min(float(items), float(below[0]))
    trials = intervals.effective_trials(
        np.array([share]), np.array([variance]), (np.array([few]), np.array([float(below[0])]))
    )
    lo, hi = intervals.wilson(np.array([share]), trials)
    return share, float(lo[0]), float(hi[0])


def _apart(expected: _Ends, observed: _Ends) -> _Ends:
    """Return expected less observed share; limits are put together as Newcombe does (1998, Stat. Med. 17:873)."""
    (e, e_lo, e_hi), (o, o_lo, o_hi) = expected, observed
    return e - o, e - o - float(np.hypot(e - e_lo, o_hi - o)), e - o + float(np.hypot(e_hi - e, o - o_lo))


def _normal(above: np.ndarray, below: np.ndarray) -> _Ends:
    if below[0] <= 0:
        return _UNKNOWN
    values = above / np.where(below > 0, below, np.nan)
    half = intervals.normal_quantile() * float(np.nanstd(values[1:], ddof=1))
    return float(values[0]), float(values[0] - half), float(values[0] + half)


def _odds_ratio(cells: Mapping[str, np.ndarray]) -> _Ends:
    """Return Mantel and Haenszel's odds ratio; limits from its logarithm's spread over draws of items.

    Not known where no item of any cell tells against it or none for it.
    """
    both, part, own, n = (cells[name] for name in ("mc", "m", "c", "all"))
    with np.errstate(invalid="ignore", divide="ignore"):
        for_it = np.nansum(both * (n - part - own + both) / n, axis=0)
        against = np.nansum((part - both) * (own - both) / n, axis=0)
        logs = np.log(for_it) - np.log(against)
    dust = 1e-9
    if min(for_it[0], against[0]) <= dust:
        return _UNKNOWN
    kept = logs[1:][np.isfinite(logs[1:])]
    half = intervals.normal_quantile() * float(kept.std(ddof=1))
    lo, value, hi = (float(np.exp(logs[0] + sign * half)) for sign in (-1, 0, 1))
    return value, lo, hi


def _tie(odds_ratio: _Ends, n_right: float, n_wrong: float) -> str:
    if np.isnan(odds_ratio[0]):
        return NOT_KNOWN
    if min(n_right, n_wrong) < _FEWEST:
        return TOO_FEW
    if odds_ratio[1] > 1:
        return TOGETHER
    return APART if odds_ratio[2] < 1 else "undecided"
