"""The skill graph as tables: which tuples of skills were asked, with how many pieces, and how well they went."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from emergelab.analysis.skills.pieces import Pieces

ARROW = " \N{RIGHTWARDS ARROW} "
"""Between the skills of a tuple, in order."""


@dataclass(frozen=True)
class GraphTables:
    """Skills, tuples of them and what joins these, over all cells.

    `skills` has skill, tasks, tuples and pieces (distinct ones that need it), those in most tuples first; `tuples` has
    tuple (code), label, skills, k, tasks and pieces, fewest skills first; `links` tuple, label, skill and places (such
    as `1`, or `1, 3`); `pairs` first, second (skills that some tuple has both, in any order), tuples and pieces.
    """

    skills: pl.DataFrame
    tuples: pl.DataFrame
    links: pl.DataFrame
    pairs: pl.DataFrame


def graph_tables(pieces: Pieces) -> GraphTables:
    """Return the graph of all pieces that any cell answered."""
    asked = pieces.frame.select("task", "piece", "tuple").unique()
    tuples = _tuples(pieces, asked)
    places = _places(tuples)
    joined = places.join(tuples.select("tuple", "label", "tasks", "pieces"), on="tuple", how="inner")
    edges = asked.join(places.select("tuple", "skill"), on="tuple", how="inner")
    tasks = edges.group_by("skill").agg(tasks=pl.col("task").n_unique(), pieces=pl.len())
    skills = joined.group_by("skill").agg(tuples=pl.len()).join(tasks, on="skill")
    return GraphTables(
        skills=skills.sort("tuples", "skill", descending=[True, False]),
        tuples=tuples,
        links=joined.select("tuple", "label", "skill", "places").sort("tuple", "places", "skill"),
        pairs=_pairs(joined),
    )


def _tuples(pieces: Pieces, asked: pl.DataFrame) -> pl.DataFrame:
    """Return the tuples with their labels: the task's name where task and tuple are one, else the skills."""
    names = asked.join(pieces.tasks, on="task", how="left")
    several = names.group_by("task").agg(one=pl.col("tuple").n_unique() == 1)
    named = (
        names.join(several, on="task")
        .group_by("tuple")
        .agg(
            tasks=pl.col("task").n_unique(),
            pieces=pl.len(),
            name=pl.col("name").first(),
            one=pl.col("one").all(),
        )
    )
    alone = pl.col("one") & (pl.col("tasks") == 1)
    found = pieces.tuples.join(named, on="tuple", how="inner").sort("k", "tuple")
    label = pl.when(alone).then(pl.col("name")).otherwise(pl.col("skills").list.join(ARROW)).alias("label")
    return found.select("tuple", label, "skills", "k", "tasks", "pieces")


def _places(tuples: pl.DataFrame) -> pl.DataFrame:
    steps = tuples.select("tuple", skill="skills").explode("skill")
    numbered = steps.with_columns(place=(pl.int_range(pl.len()).over("tuple") + 1).cast(pl.String))
    return numbered.group_by("tuple", "skill", maintain_order=True).agg(places=pl.col("place").str.join(", "))


def _pairs(joined: pl.DataFrame) -> pl.DataFrame:
    sides = joined.select("tuple", "skill", "pieces")
    both = sides.join(sides.select("tuple", second="skill"), on="tuple").filter(
        pl.col("skill") < pl.col("second")
    )
    counted = both.group_by(first="skill", second="second").agg(
        tuples=pl.len(), pieces=pl.col("pieces").sum()
    )
    return counted.sort("first", "second")
