"""Tallies of a table of outcomes that several screens share, each made once and when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl
from scipy.special import betainc, betaincinv

from emergelab.outcomes.findings import Finding, Severity
from emergelab.outcomes.schema import CELL, cells

SURE = 0.05
"""The error that all tests of one question may make together."""

_TELLING = 10
_NEARLY_NONE = 1e-9

LUCK = 0.01
"""Accuracy that no skill is needed for even where answers are open: they are hit or scored right now and then."""


def guessing_p(counts: pl.DataFrame) -> pl.Series:
    """Return the probability to be right at least as often as `accuracy` of `items`, each with probability `guess`.

    Binomial; where guesses differ between items their mean is cautious (Hoeffding 1956).
    """
    right = (counts["accuracy"] * counts["items"]).to_numpy()
    trials, guess = counts["items"].to_numpy(), counts["guess"].to_numpy()
    p = betainc(right.clip(_NEARLY_NONE), trials - right + 1, guess)
    return pl.Series(np.where(right > 0, p, 1.0), dtype=pl.Float64)


class Survey:
    """A table of `OUTCOMES` and its tallies."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    @cached_property
    def cells(self) -> pl.DataFrame:
        """`schema.cells`, with the place of each checkpoint in its system, 0 the first."""
        place = pl.int_range(pl.len()).over("system").cast(pl.Int64)
        return cells(self.frame).with_columns(place=place)

    @cached_property
    def systems(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(self.cells["system"].unique().sort())

    @cached_property
    def items(self) -> pl.DataFrame:
        """Task, piece, skills, input, target and numbers of inputs and targets of each item, by task and piece."""
        several = {f"{name}s": pl.col(name).n_unique() for name in ("input", "target")}
        found = (
            self.frame.lazy()
            .with_row_index("row")
            .group_by("task", "piece")
            .agg(pl.col("row").first(), **several)
            .sort("task", "piece")
            .collect()
        )
        # Lists are slow to group: of each item one row is fetched by its number.
        first = self.frame.select("skills", "input", "target")[found["row"]]
        return pl.concat([found.select("task", "piece"), first, found.select(*several)], how="horizontal")

    @cached_property
    def repeated(self) -> bool:
        """Whether a system answered an item more than once at a checkpoint."""
        return bool((self.tallies["rows"] > self.tallies["answered"]).any())

    @cached_property
    def asked(self) -> pl.DataFrame:
        """Task, piece and system of each item that a system answered; fewest and most answer tokens; checkpoints."""
        tokens = pl.col("answer_tokens")
        return (
            self.frame.lazy()
            .group_by("task", "piece", "system")
            .agg(fewest=tokens.min(), most=tokens.max(), checkpoints=pl.col("checkpoint").n_unique())
            .collect()
        )

    @cached_property
    def tasks(self) -> pl.DataFrame:
        """Of each task: skills, items, targets known, distinct ones, the most frequent one and its share, copied.

        `skills` are those of most items, `copied` is the share of items whose target is the input. Shares are null
        without targets. `guess` is what can be had without any skill: by copying, or by the most frequent target of
        the other items, and `LUCK` at least.
        """
        target = pl.col("target").drop_nulls()
        counts = target.unique_counts()
        others = (counts.max() - 1) / (target.len() - 1)
        copied = (pl.col("target") == pl.col("input")).mean()
        return (
            self.items.group_by("task")
            .agg(
                pl.col("skills").mode().first(),
                items=pl.len(),
                known=target.len(),
                distinct=target.n_unique(),
                top=target.unique(maintain_order=True).get(counts.arg_max(), null_on_oob=True),
                majority=counts.max() / target.len(),
                copied=copied,
                guess=pl.max_horizontal(others.fill_nan(None), copied, pl.lit(LUCK)),
            )
            .sort("task")
        )

    @cached_property
    def tallies(self) -> pl.DataFrame:
        """Of each task at each cell: rows, items with right or wrong answers, items answered, accuracy, chance, guess.

        `accuracy` is the share of right answers, null where nothing is known. `guess` is the larger one of chance and
        the task's.
        """
        by = (*CELL, "task")
        counts = {"rows": pl.len(), "answered": pl.col("piece").n_unique()}
        levels = (pl.col("correct").mean().alias("accuracy"), pl.col("chance").mean())
        found = self.frame.lazy().group_by(by).agg(*levels, **counts).with_columns(items="answered").collect()
        if self.frame["correct"].null_count():
            known = self.frame.lazy().filter(pl.col("correct").is_not_null())
            items = known.group_by(by).agg(items=pl.col("piece").n_unique()).collect()
            found = (
                found.drop("items").join(items, on=by, how="left").with_columns(pl.col("items").fill_null(0))
            )
        places = self.cells.select(*CELL, "train_tokens", "place")
        guess = self.tasks.select("task", open="guess")
        return (
            found.join(places, on=CELL, how="left")
            .join(guess, on="task", how="left")
            .with_columns(guess=pl.max_horizontal("chance", "open"))
            .drop("open")
            .sort("system", "place", "task")
        )

    @cached_property
    def measured(self) -> pl.DataFrame:
        """`tallies` with right or wrong answers; `p`, the chance to be right so often by guessing; `high`.

        `high` is the upper 95 % limit of accuracy alone (Clopper and Pearson 1934). Binomial with one trial for each
        item: repeated answers to an item count as one that is partly right.
        """
        known = self.tallies.filter(pl.col("accuracy").is_not_null())
        right = (known["accuracy"] * known["items"]).to_numpy()
        wrong = known["items"].to_numpy() - right
        high = betaincinv(right + 1, wrong.clip(_NEARLY_NONE), 1 - SURE)
        return known.with_columns(p=guessing_p(known), high=pl.Series(high, dtype=pl.Float64))

    @cached_property
    def fingerprints(self) -> pl.DataFrame:
        """Of each task at each cell: system, checkpoint, place, rows, numbers, and a print that equal results share.

        Only results are among them that tell something: losses or scores (`numbers`), or right and wrong answers with
        ten of either. Right and wrong answers alone are often equal where little changes, so that all of their cell's
        have the same print or none.
        """
        measures = ("correct", "nats", "cloze_loss", "score")
        digest = pl.struct("piece", "sample", *measures).hash().sum()
        right = pl.col("correct").sum()
        either = (pl.col("correct").count() - right >= _TELLING) & (right >= _TELLING)
        values = pl.max_horizontal(pl.col(name).n_unique() for name in measures[1:])
        found = (
            self.frame.lazy()
            .group_by(*CELL, "task")
            .agg(pl.len().alias("rows"), digest.alias("print"), either=either, numbers=values >= _TELLING)
            .filter(pl.col("numbers") | pl.col("either"))
            .drop("either")
            .collect()
        )
        whole = pl.struct("task", "print").hash().sum().over(CELL)
        one = pl.when("numbers").then("print").otherwise(pl.struct("print", whole.alias("whole")).hash())
        return found.with_columns(one.alias("print")).join(self.cells.select(*CELL, "place"), on=CELL)

    def finding(  # noqa: PLR0913  a finding has so many parts
        self,
        screen: str,
        severity: Severity,
        about: str,
        *,
        message: str,
        consequence: str,
        tasks: Sequence[str] = (),
        systems: Sequence[str] | None = None,
        rows: int | None = None,
        unfit: str | None = None,
        details: pl.DataFrame | None = None,
    ) -> Finding:
        """Return a finding; rows are those of its tasks, of all tasks if it names none, in its systems."""
        named = tuple(self.systems if systems is None else systems)
        touched = self._rows(named, tasks) if rows is None else rows
        return Finding(
            screen=screen,
            severity=severity,
            about=about,
            systems=named,
            tasks=tuple(tasks),
            rows=touched,
            share=touched / self.frame.height,
            message=message,
            consequence=consequence,
            unfit=unfit,
            details=pl.DataFrame() if details is None else details,
        )

    def _rows(self, systems: Sequence[str], tasks: Sequence[str]) -> int:
        chosen = pl.col("system").is_in(list(systems))
        if tasks:
            chosen &= pl.col("task").is_in(list(tasks))
        return int(self.tallies.filter(chosen)["rows"].sum())
