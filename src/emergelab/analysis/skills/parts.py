"""Composites beside their parts: which tuples of skills were asked, and what the same systems do with each part alone.

A *composite* is a group of items that need two or more skills; its *singles* are the items that need one of these
skills and nothing else, answered by the same system at the same checkpoint. Everything that predicts a composite
from its parts needs all singles of it: a composite with a part that was never asked alone is missing, by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from emergelab.analysis.groups import conform
from emergelab.analysis.skills.failing import with_failures
from emergelab.outcomes.schema import CELL, cells

_JOINT = " + "

UNITS = pl.Schema({"unit": pl.UInt32, "name": pl.String, "skills": pl.List(pl.String), "k": pl.UInt32})
"""What is asked: a skill alone, named by it, or a composite, named by its task; one task of several tuples by both."""

ITEMS = pl.Schema(
    {
        "cell": pl.UInt32,
        "unit": pl.UInt32,
        "item": pl.UInt32,
        "cluster": pl.UInt32,
        "right": pl.Float64,
    }
)
"""The answers of a cell to an item: the share that is right. Items with the same input share their `cluster`."""

CASES = pl.Schema(
    {
        "cell": pl.UInt32,
        "unit": pl.UInt32,
        "n": pl.UInt32,
        "rate": pl.Float64,
        "singles": pl.List(pl.Float64),
        "singles_n": pl.List(pl.UInt32),
        "missing": pl.List(pl.String),
    }
)
"""A composite in a cell: items, share right, and the same of its singles in order; a part not asked there is null."""

COMPOSITES = pl.Schema(
    {
        "unit": pl.UInt32,
        "name": pl.String,
        "skills": pl.List(pl.String),
        "k": pl.UInt32,
        "asked": pl.UInt32,
        "complete": pl.UInt32,
        "missing": pl.List(pl.String),
    }
)
"""Each composite: in how many cells it was asked, in how many of them all parts were, and the parts never asked."""

MATCHED = pl.Schema(
    {
        "cell": pl.UInt32,
        "unit": pl.UInt32,
        "item": pl.UInt32,
        "cluster": pl.UInt32,
        "right": pl.Float64,
        "position": pl.UInt32,
        "part": pl.Float64,
    }
)
"""An item of a composite whose part at `position` was asked alone on the same input: both shares right."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Composites and singles of a table of outcomes.

    `cells` has `outcomes.schema.cells` and the number `cell`; the others are `UNITS`, `ITEMS`, `CASES`, `COMPOSITES`
    and `MATCHED`. `contradicted` counts items of composites whose parts' right answers do not lead to the
    composite's own, `ambiguous` inputs of singles with more than one item: neither is matched.
    """

    cells: pl.DataFrame
    units: pl.DataFrame
    items: pl.DataFrame
    cases: pl.DataFrame
    composites: pl.DataFrame
    matched: pl.DataFrame
    contradicted: int
    ambiguous: int

    def complete(self) -> pl.DataFrame:
        """Return the cases of `CASES` whose parts were all asked in the same cell."""
        return self.cases.filter(pl.col("missing").list.len() == 0)

    def without(self, names: frozenset[str]) -> Parts:
        """Return the same without the composites of these tasks or names; the singles stay."""
        left = self.composites.filter(pl.col("name").is_in(names) | _task_of(pl.col("name")).is_in(names))
        gone = left["unit"].implode()
        kept = {
            one: getattr(self, one).filter(~pl.col("unit").is_in(gone))
            for one in ("items", "cases", "composites", "matched")
        }
        return Parts(
            cells=self.cells,
            units=self.units,
            contradicted=self.contradicted,
            ambiguous=self.ambiguous,
            **kept,
        )


def find_parts(frame: pl.DataFrame) -> Parts:
    """Return the composites of a table of `OUTCOMES` beside their parts.

    An answer is right as its system's `correct` says; systems without such a column are right where they do not
    fail, see `failing`. Answers of which neither is known are left out; several samples of an item are one share.
    """
    places = cells(frame).with_row_index("cell")
    asked = _asked(_with_units(_with_right(frame)), places)
    units = asked.units
    items = asked.items
    cases = _cases(items, units)
    questions = asked.questions
    chains, ambiguous, contradicted = _chains(questions, units)
    return Parts(
        cells=places,
        units=units,
        items=items,
        cases=cases,
        composites=_composites(cases, units),
        matched=_matched(items, chains),
        contradicted=contradicted,
        ambiguous=ambiguous,
    )


@dataclass(frozen=True)
class _Asked:
    units: pl.DataFrame
    items: pl.DataFrame
    questions: pl.DataFrame  # unit, item, input, target


def _with_right(frame: pl.DataFrame) -> pl.DataFrame:
    known = frame.group_by("system").agg(pl.col("correct").is_not_null().any())
    rated = known.filter("correct")["system"].implode()
    if known["correct"].all():
        return frame.with_columns(right=pl.col("correct")).filter(pl.col("right").is_not_null())
    right = pl.when(pl.col("system").is_in(rated)).then(pl.col("correct")).otherwise(~pl.col("fails"))
    return with_failures(frame).with_columns(right=right).filter(pl.col("right").is_not_null())


def _with_units(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the answers with the number of their unit, and the units."""
    joined = frame.with_columns(key=pl.col("skills").list.join(_JOINT))
    tuples = joined.group_by("task", "key").agg(pl.col("skills").first()).sort("task", "key")
    several = pl.col("key").n_unique().over("task") > 1
    single = pl.col("skills").list.len() == 1
    composite = pl.when(several).then(pl.col("task") + ": " + pl.col("key")).otherwise(pl.col("task"))
    named = tuples.with_columns(
        name=pl.when(single).then(pl.col("key")).otherwise(composite), k=pl.col("skills").list.len()
    )
    # Singles of one skill are one unit, whichever tasks ask it.
    units = named.group_by("name", "skills", "k", maintain_order=True).first().with_row_index("unit")
    numbered = named.join(units.select("unit", "name", "skills"), on=["name", "skills"], how="left")
    asked = numbered.select("task", "key", "unit").with_row_index("group")
    with_unit = joined.join(asked, on=["task", "key"], how="left", maintain_order="left")
    return with_unit, units.select(pl.col(name).cast(kind) for name, kind in UNITS.items())


def _asked(answers_and_units: tuple[pl.DataFrame, pl.DataFrame], places: pl.DataFrame) -> _Asked:
    answers, units = answers_and_units
    # Numbers in the place of names: tables of ten million answers are joined by them.
    numbered = answers.select(
        *CELL,
        "unit",
        "group",
        "right",
        "input",
        "target",
        "piece",
        label=_number("piece"),
        given=_number("input"),
    ).join(places.select("cell", *CELL), on=CELL, how="left")
    questions = (
        numbered.group_by("group", "label")
        .agg(pl.col("unit", "piece", "input", "target", "given").first())
        .sort("unit", "group", "piece")
        .with_row_index("item")
        .with_columns(cluster=_cluster())
    )
    items = (
        numbered.select("cell", "group", "label", "right")
        .join(
            questions.select("item", "cluster", "unit", "group", "label"), on=["group", "label"], how="left"
        )
        .group_by("cell", "unit", "item", "cluster")
        .agg(pl.col("right").cast(pl.Float64).mean())
        .sort("cell", "unit", "item")
    )
    conformed = items.select(pl.col(name).cast(kind) for name, kind in ITEMS.items())
    return _Asked(units, conformed, questions)


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Categorical).to_physical()


def _cluster() -> pl.Expr:
    """Return the numbers of inputs, in the order of the items that first ask them; without one an item is alone."""
    own = pl.col("item").cast(pl.Int64)
    first = pl.when(pl.col("given").is_null()).then(own).otherwise(own.min().over("given"))
    return first.rank("dense") - 1


def _cases(items: pl.DataFrame, units: pl.DataFrame) -> pl.DataFrame:
    rates = items.group_by("cell", "unit").agg(pl.len().alias("n"), pl.col("right").mean().alias("rate"))
    known = rates.join(units, on="unit", how="left")
    singles = known.filter(pl.col("k") == 1).select(
        "cell", pl.col("name").alias("skill"), single="rate", single_n="n"
    )
    composites = known.filter(pl.col("k") > 1).sort("cell", "unit")
    each = (
        composites.with_columns(skill="skills", position=pl.int_ranges("k"))
        .explode("skill", "position")
        .join(singles, on=["cell", "skill"], how="left")
        .sort("cell", "unit", "position")
    )
    cases = each.group_by("cell", "unit", maintain_order=True).agg(
        pl.col("n", "rate").first(),
        singles="single",
        singles_n="single_n",
        missing=pl.col("skill").filter(pl.col("single").is_null()).unique(maintain_order=True),
    )
    return cases.select(pl.col(name).cast(kind) for name, kind in CASES.items())


def _composites(cases: pl.DataFrame, units: pl.DataFrame) -> pl.DataFrame:
    counted = cases.group_by("unit").agg(
        asked=pl.len(),
        complete=(pl.col("missing").list.len() == 0).sum(),
        # A part is named where no cell at all asked it alone beside the composite.
        missing=pl.col("missing").explode().drop_nulls(),
    )
    told = counted.join(units, on="unit", how="inner").sort("unit")
    lacking = (
        told.select("unit", "asked", skill="missing")
        .explode("skill")
        .drop_nulls("skill")
        .group_by("unit", "skill", maintain_order=True)
        .agg(pl.len().alias("times"), pl.col("asked").first())
        .filter(pl.col("times") == pl.col("asked"))
        .group_by("unit", maintain_order=True)
        .agg(missing="skill")
    )
    found = told.drop("missing").join(lacking, on="unit", how="left")
    found = found.with_columns(pl.col("missing").fill_null([]))
    return found.select(pl.col(name).cast(kind) for name, kind in COMPOSITES.items())


def _chains(questions: pl.DataFrame, units: pl.DataFrame) -> tuple[pl.DataFrame, int, int]:
    """Return unit, item, position, single: which single's item asks what a composite's item needs at this position.

    The first part sees the composite's input, the next one what the first makes of it: the right answer to the
    composite of the parts so far on the same input, where that was asked, else to the single itself.
    """
    asked = questions.join(units, on="unit", how="left").filter(pl.col("input").is_not_null())
    answers = _only_answers(asked)
    singles = asked.filter(pl.col("k") == 1).select(
        "input", pl.col("name").alias("skill"), single="item", answer="target"
    )
    alone = singles.filter(~pl.struct("skill", "input").is_duplicated())
    ambiguous = singles.select("skill", "input").n_unique() - alone.height
    going = asked.filter(pl.col("k") > 1).select(
        "unit", "item", "skills", "k", "target", "input", value="input"
    )
    found: list[pl.DataFrame] = []
    for position in range(int(going["k"].max() or 0)):  # pyright: ignore[reportArgumentType]
        here = _step(going, alone, answers, position)
        found.append(here.select("unit", "item", pl.lit(position, pl.UInt32).alias("position"), "single"))
        going = here.drop("single", "single_answer", "prefix_answer")
    wrong = going.filter(pl.col("value").is_not_null() & (pl.col("value") != pl.col("target")))
    chains = pl.concat(found) if found else _no_chains()
    kept = chains.drop_nulls("single").join(wrong.select("item"), on="item", how="anti")
    return kept, ambiguous, wrong.height


def _step(going: pl.DataFrame, alone: pl.DataFrame, answers: pl.DataFrame, position: int) -> pl.DataFrame:
    """Ask the part at `position` with what the parts before it made; those with fewer parts keep their value."""
    needed = pl.col("k") > position
    here = going.with_columns(
        skill=pl.when(needed).then(pl.col("skills").list.get(position, null_on_oob=True)),
        prefix=pl.when(needed).then(pl.col("skills").list.head(position + 1).list.join(_JOINT)),
    )
    here = here.join(
        alone.rename({"input": "value", "answer": "single_answer"}), on=["skill", "value"], how="left"
    )
    # A composite's own answer may not confirm its parts.
    here = here.join(answers, on=["prefix", "input"], how="left").with_columns(
        prefix_answer=pl.when(pl.col("k") > position + 1).then("prefix_answer")
    )
    value = pl.when(needed).then(pl.coalesce("prefix_answer", "single_answer")).otherwise("value")
    return here.with_columns(value=value).drop("skill", "prefix")


def _only_answers(asked: pl.DataFrame) -> pl.DataFrame:
    """Return the right answer of each tuple of skills to each input, where there is one only."""
    return (
        asked.with_columns(prefix=pl.col("skills").list.join(_JOINT))
        .group_by("prefix", "input")
        .agg(pl.col("target").drop_nulls().unique())
        .filter(pl.col("target").list.len() == 1)
        .select("prefix", "input", prefix_answer=pl.col("target").list.first())
    )


def _no_chains() -> pl.DataFrame:
    return pl.DataFrame(
        schema=pl.Schema([(name, pl.UInt32) for name in ("unit", "item", "position", "single")])
    )


def _matched(items: pl.DataFrame, chains: pl.DataFrame) -> pl.DataFrame:
    part = items.select("cell", single="item", part="right")
    found = (
        items.join(chains.select("item", "position", "single"), on="item", how="inner")
        .join(part, on=["cell", "single"], how="inner")
        .sort("unit", "cell", "item", "position")
    )
    return found.select(pl.col(name).cast(kind) for name, kind in MATCHED.items())


def _task_of(name: pl.Expr) -> pl.Expr:
    return name.str.split(": ").list.first()


def as_table(rows: Sequence[Mapping[str, Any]] | pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
    """Return rows as a table of these columns and types; what a row does not name, and NaN, is missing."""
    frame = rows if isinstance(rows, pl.DataFrame) else _of_rows(rows, schema)
    floats = [name for name, kind in schema.items() if kind.is_float()]
    return conform(frame, schema).with_columns(pl.col(floats).fill_nan(None))


def _of_rows(rows: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    whole = [dict.fromkeys(schema) | dict(row) for row in rows]
    return pl.DataFrame(whole, schema_overrides=schema, infer_schema_length=None)


def padded(lists: pl.Series, width: int, fill: float) -> np.ndarray:
    """Return lists of numbers as a float64 array [rows, width], short ones filled up; null becomes NaN."""
    counts = lists.list.len().to_numpy()
    values = lists.explode(empty_as_null=False).cast(pl.Float64).fill_null(np.nan).to_numpy()
    whole = np.full((len(counts), width), fill, dtype=np.float64)
    whole[np.arange(width) < counts[:, None]] = values
    return whole
