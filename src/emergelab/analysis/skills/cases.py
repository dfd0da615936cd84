"""Complete cases as arrays: composites with all parts measured in the same cell, and their rates drawn again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64

from emergelab.analysis.skills.laws import Known
from emergelab.analysis.skills.parts import Parts, padded
from emergelab.analysis.skills.resampling import draws_for, weighted_sums
from emergelab.rng import Stream, stream

Matrix = Float64[np.ndarray, "groups draws"]


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Complete cases, and the *groups* (cells by units) whose rates they and their parts have.

    `parts` [cases, parts] are groups of singles, -1 behind the last part; `cell_singles` [cells, skills] those of all
    singles of a cell, -1 likewise. `before` is the group of the composite at the checkpoint before, -1 where it was
    not asked or there is none.
    """

    frame: pl.DataFrame
    cell: Int64[np.ndarray, " cases"]
    system: Int64[np.ndarray, " cases"]
    composite: Int64[np.ndarray, " cases"]
    size: Float64[np.ndarray, " cases"]
    group: Int64[np.ndarray, " cases"]
    parts: Int64[np.ndarray, "cases parts"]
    cell_singles: Int64[np.ndarray, "cells skills"]
    before: Int64[np.ndarray, " cases"]
    rates: Float64[np.ndarray, " groups"]
    items: Float64[np.ndarray, " groups"]

    @cached_property
    def observed(self) -> Float64[np.ndarray, " cases"]:
        """Success rates of the composites."""
        return self.rates[self.group]

    @cached_property
    def n(self) -> Float64[np.ndarray, " cases"]:
        """Items of the composites."""
        return self.items[self.group]

    @cached_property
    def fewest(self) -> Float64[np.ndarray, " cases"]:
        """Items of the single of which there are fewest."""
        counts = np.where(self.parts >= 0, self.items[self.parts], np.inf)
        return counts.min(axis=1)

    def known(self, rates: np.ndarray) -> Known:
        """Return what laws may know, by rates of groups [groups] or by draws of them [groups, draws]."""
        singles = np.moveaxis(_gathered(rates, self.parts, 1.0), 1, -1)
        failure = 1 - np.nanmean(_gathered(rates, self.cell_singles, np.nan), axis=1)[self.cell]
        size = self.size if rates.ndim == 1 else self.size[:, None]
        return Known(singles=singles, failure=failure, size=np.broadcast_to(size, failure.shape))

    def only(self, kept: np.ndarray) -> Cases:
        """Return some of the cases; `kept` is a mask. The groups stay."""
        each = ("cell", "system", "composite", "size", "group", "parts", "before")
        return replace(
            self,
            frame=self.frame.filter(pl.Series(kept)),
            **{name: getattr(self, name)[kept] for name in each},
        )

    def others(self, rates: np.ndarray) -> np.ndarray:
        """Return the mean rate of the other composites in the same cell; NaN where there is none."""
        own = rates[self.group]
        sums = np.zeros((self.cell.max(initial=-1) + 1, *own.shape[1:]))
        np.add.at(sums, self.cell, own)
        counts = np.bincount(self.cell)[self.cell] - 1.0
        counts = counts.reshape(-1, *[1] * (own.ndim - 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(counts > 0, (sums[self.cell] - own) / counts, np.nan)

    def earlier(self, rates: np.ndarray) -> np.ndarray:
        """Return the composites' rates at the checkpoint before; NaN where there is none."""
        return _gathered(rates, self.before[:, None], np.nan)[:, 0]


@dataclass(frozen=True, kw_only=True)
class Rated:
    """Composites, their complete cases, and the rates of all groups drawn again over shared inputs."""

    parts: Parts
    cases: Cases
    drawn: Matrix
    source: Stream

    def without(self, names: frozenset[str]) -> Rated:
        """Return the same without the composites of these tasks or names."""
        parts = self.parts.without(names)
        kept = np.isin(self.cases.composite, parts.composites["unit"].to_numpy())
        return replace(self, parts=parts, cases=self.cases.only(kept))


def rated(parts: Parts, key: int = 0) -> Rated:
    """Return the complete cases of composites with draws of their rates; `key` names the random numbers."""
    source = stream(key, "composition")
    return Rated(parts=parts, cases=complete_cases(parts), drawn=drawn_rates(parts, source), source=source)


def _gathered(rates: np.ndarray, places: np.ndarray, fill: float) -> np.ndarray:
    """Return the rates of groups by place; place -1 has `fill`."""
    with_fill = np.concatenate([rates, np.full((1, *rates.shape[1:]), fill)])
    return with_fill[places]


def complete_cases(parts: Parts) -> Cases:
    """Return the cases of which all parts were asked in the same cell, perhaps none."""
    groups = (
        _relevant(parts)
        .group_by("cell", "unit")
        .agg(n=pl.len(), rate=pl.col("right").mean())
        .sort("cell", "unit")
        .with_row_index("group")
        .join(parts.units.select("unit", "name", "k"), on="unit", how="left", maintain_order="left")
    )
    singles = groups.filter(pl.col("k") == 1).select("cell", "group", pl.col("name").alias("skill"))
    whole = (
        parts.complete()
        .join(parts.units, on="unit", how="left", maintain_order="left")
        .join(groups.select("cell", "unit", "group"), on=["cell", "unit"], how="left", maintain_order="left")
        .join(_systems(parts.cells), on="cell", how="left", maintain_order="left")
    )
    by_cell = singles.group_by("cell", maintain_order=True).agg("group")
    lists = parts.cells.select("cell").join(by_cell, on="cell", how="left", maintain_order="left")
    return Cases(
        frame=whole.join(parts.cells, on="cell", how="left", maintain_order="left"),
        cell=_whole(whole["cell"]),
        system=_whole(whole["place"]),
        composite=_whole(whole["unit"]),
        size=whole["k"].cast(pl.Float64).to_numpy(),
        group=_whole(whole["group"]),
        parts=_part_groups(whole, singles),
        cell_singles=_places(lists["group"].fill_null([])),
        before=_before(whole),
        rates=groups["rate"].to_numpy(),
        items=groups["n"].cast(pl.Float64).to_numpy(),
    )


def _relevant(parts: Parts) -> pl.DataFrame:
    """Return the answers to singles and to composites with all parts."""
    whole = parts.composites.filter(pl.col("complete") > 0)["unit"]
    single = parts.units.filter(pl.col("k") == 1)["unit"]
    return parts.items.filter(pl.col("unit").is_in(pl.concat([whole, single]).implode()))


def _systems(places: pl.DataFrame) -> pl.DataFrame:
    """Return for each cell the number of its system and its rank among that system's checkpoints."""
    return places.select(
        "cell",
        place=pl.col("system").rank("dense") - 1,
        rank=pl.int_range(pl.len()).over("system"),
    )


def _part_groups(whole: pl.DataFrame, singles: pl.DataFrame) -> np.ndarray:
    each = (
        whole.select("cell", "unit", skill="skills", position=pl.int_ranges("k"))
        .explode("skill", "position")
        .join(singles, on=["cell", "skill"], how="left", maintain_order="left")
        .group_by("cell", "unit", maintain_order=True)
        .agg(pl.col("group").sort_by("position"))
    )
    return _places(each["group"])


def _before(whole: pl.DataFrame) -> np.ndarray:
    """Return the composite's group at its system's checkpoint before, -1 where it was not asked there."""
    past = whole.select("place", "unit", rank=pl.col("rank") + 1, past="group")
    found = whole.select("place", "unit", "rank").join(
        past, on=["place", "unit", "rank"], how="left", maintain_order="left"
    )
    return _whole(found["past"].cast(pl.Int64).fill_null(-1))


def _places(lists: pl.Series) -> np.ndarray:
    width = int(lists.list.len().max() or 1)  # pyright: ignore[reportArgumentType]
    return padded(lists, max(1, width), -1.0).astype(np.int64)


def _whole(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Int64).to_numpy()


def drawn_rates(parts: Parts, source: Stream) -> Matrix:
    """Return the rates of all groups, drawn again over the inputs that they share, see `resampling`."""
    numbered = _relevant(parts).with_columns(group=pl.struct("cell", "unit").rank("dense") - 1)
    group, cluster = (_whole(numbered[name]) for name in ("group", "cluster"))
    groups = int(group.max(initial=-1)) + 1
    right = numbered["right"].to_numpy()
    shape = groups, draws_for(groups)
    sums = weighted_sums(
        (group, cluster), {"right": right, "all": np.ones_like(right)}, shape, source.child("inputs")
    )
    return sums["right"] / sums["all"]


def believed_rates(cases: Cases, draws: int, source: Stream) -> Matrix:
    """Return draws of what the rates of groups may be: Beta, of Jeffreys' prior and the items answered."""
    right = cases.rates * cases.items
    generator = source.child("beliefs").generator()
    shape = (cases.rates.size, draws)
    return generator.beta((right + 0.5)[:, None], (cases.items - right + 0.5)[:, None], size=shape)
