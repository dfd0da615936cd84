"""Pieces as numbers: what each system at each checkpoint did with each item, once, however often it was asked.

Strings become codes and repeated answers to an item their mean, so that everything behind this is sums by group.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from emergelab.analysis.skills.failing import with_failures
from emergelab.outcomes.schema import CELL, SCALE, cells

_BITS = 32


@dataclass(frozen=True)
class Pieces:
    """Answers by piece, and what their codes stand for.

    `frame` has one row for each cell and piece: cell, task, piece and tuple (codes), item (code: pieces of one item,
    that is of one input, may depend on each other), correct and fails (float64, means over repeated answers, null
    where unknown). `cells` has cell, `CELL`, `SCALE` and fails_by, `tasks` task and name, `tuples` tuple, skills and
    k.
    """

    frame: pl.DataFrame
    cells: pl.DataFrame
    tasks: pl.DataFrame
    tuples: pl.DataFrame

    def of_tasks(self, names: list[str]) -> Pieces:
        """Return the pieces of these tasks only."""
        kept = self.tasks.filter(pl.col("name").is_in(names))["task"]
        chosen = self.frame.filter(pl.col("task").is_in(kept.implode()))
        return Pieces(chosen, self.cells, self.tasks, self.tuples)

    def of_cells(self, codes: list[int]) -> Pieces:
        """Return the pieces that these cells answered."""
        return Pieces(
            self.frame.filter(pl.col("cell").is_in(codes)),
            self.cells.filter(pl.col("cell").is_in(codes)),
            self.tasks,
            self.tuples,
        )

    def last_cells(self) -> list[int]:
        """Return the last checkpoint of each system, by its training tokens."""
        return self.cells.group_by("system", maintain_order=True).last()["cell"].to_list()

    def at_every_checkpoint(self) -> Pieces:
        """Return the pieces of tasks that a system answered at all of its checkpoints, system by system."""
        placed = self.frame.join(self.cells.select("cell", "system"), on="cell", how="left")
        met = placed.group_by("system", "task").agg(met=pl.col("cell").n_unique())
        whole = self.cells.group_by("system").agg(all=pl.len())
        kept = met.join(whole, on="system").filter(pl.col("met") == pl.col("all"))
        chosen = placed.join(kept, on=["system", "task"], how="semi", maintain_order="left").drop("system")
        return Pieces(chosen, self.cells, self.tasks, self.tuples)

    def named(self, groups: pl.DataFrame) -> pl.DataFrame:
        """Return `groups` with `CELL`, `SCALE` and fails_by in the place of the cell's code, in the order of cells."""
        described = self.cells.select("cell", *CELL, *SCALE, "fails_by")
        joined = described.join(groups, on="cell", how="inner", maintain_order="left_right")
        return joined.drop("cell")


def pieces_of(frame: pl.DataFrame) -> Pieces:
    """Return `OUTCOMES` piece by piece, with failures by the rule of `failing`."""
    judged = with_failures(frame)
    places = _places(judged)
    tuples = _tuples(judged)
    coded = _coded(judged)
    tasks = coded.group_by("task", maintain_order=True).agg(name=pl.col("task_name").first())
    joined = coded.join(places.select("cell", *CELL), on=list(CELL), how="left", maintain_order="left")
    joined = joined.join(tuples.select("tuple", "joined"), on="joined", how="left", maintain_order="left")
    rows = _once(joined.select("cell", "task", "piece", "tuple", "item", "sample", "correct", "fails"))
    return Pieces(rows, places, tasks.sort("name"), tuples.drop("joined"))


def _places(judged: pl.DataFrame) -> pl.DataFrame:
    rules = judged.group_by("system").agg(pl.col("fails_by").first())
    placed = cells(judged).join(rules, on="system", how="left", maintain_order="left")
    return placed.with_row_index("cell").drop("answers")


def _tuples(judged: pl.DataFrame) -> pl.DataFrame:
    """Return the ordered tuples of skills that occur, shortest first."""
    found = judged.select("skills", joined=_joined()).unique("joined")
    counted = found.with_columns(k=pl.col("skills").list.len().cast(pl.Int64))
    return counted.sort("k", "joined").with_row_index("tuple")


def _joined() -> pl.Expr:
    # A sign that no name holds; lists themselves are slow to group by.
    return pl.col("skills").list.join("\x1f")


def _coded(judged: pl.DataFrame) -> pl.DataFrame:
    task, piece = _code("task"), _code("piece")
    own = (task.cast(pl.UInt64) + 1) * (1 << _BITS) + piece
    item = pl.when(pl.col("input").is_not_null()).then(_code("input").cast(pl.UInt64)).otherwise(own)
    return judged.select(
        *CELL,
        task=task,
        task_name="task",
        piece=piece,
        item=item,
        joined=_joined(),
        sample="sample",
        correct=pl.col("correct").cast(pl.Float64),
        fails=pl.col("fails").cast(pl.Float64),
    )


def _code(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Categorical).to_physical().cast(pl.UInt32)


def _once(rows: pl.DataFrame) -> pl.DataFrame:
    """Average repeated answers; most tables have none."""
    single = rows["sample"].max() == 0
    rows = rows.drop("sample")
    if single:
        return rows
    keys = ("cell", "task", "piece")
    means = (pl.col("tuple", "item").first(), pl.col("correct", "fails").mean())
    return rows.group_by(keys, maintain_order=True).agg(*means)
