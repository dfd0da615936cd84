"""Everything that is said of competence, as tables: from `OUTCOMES` to what a page shows."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from emergelab.analysis.skills.competence import MEASURES, Measure, changes, competence
from emergelab.analysis.skills.graph import GraphTables, graph_tables
from emergelab.analysis.skills.observed import Weighting, observed, theory_lines
from emergelab.analysis.skills.pieces import Pieces, pieces_of
from emergelab.analysis.skills.weak import weak_shares
from emergelab.outcomes.schema import CELL
from emergelab.rng import Stream

NEVER_SOLVED = "never solved"
"""A reason for which other verdicts leave out a task, but not those on failure: its pieces do fail."""
OFTEN, TWICE = "fails more often than not", "fails twice as often as the mean piece"
"""What a weak skill is: two limits."""
ALL_TASKS, KEPT, SOLVED = "all tasks", "tasks that show skill", "these, but for tasks never solved"
"""The tasks behind an account against the theory."""
_HALF, _TWICE = 0.5, 2.0


@dataclass(frozen=True, kw_only=True)
class CompetenceTables:
    """Competence, failures and theory for the tasks that show skill.

    `skills`, `tuples` and `sizes` are tables of `competence`, by skill, tuple and number of skills; `steady` that of
    skills on tasks answered at every checkpoint of a system alone, for curves. `changed` is `changes` by skill.
    `weak` has weak shares, with `of` (skills or tuples). `curves` and `against` are those of `observed` (pieces
    weighted alike); `lines` theory for the last cells, finely; `against_last` accounts of the last cells by other
    weights and tasks, with `over` (the tasks). `solved` is `skills` without tasks that were never solved. `unfit` has
    task and reason of those left out, `apart` success on them by task. `last` has the last cell of each system.
    `relied` is false where no task shows skill: then all of them are in.
    """

    skills: pl.DataFrame
    solved: pl.DataFrame
    tuples: pl.DataFrame
    sizes: pl.DataFrame
    steady: pl.DataFrame
    changed: pl.DataFrame
    weak: pl.DataFrame
    curves: pl.DataFrame
    against: pl.DataFrame
    lines: pl.DataFrame
    against_last: pl.DataFrame
    graph: GraphTables
    unfit: pl.DataFrame
    apart: pl.DataFrame
    last: pl.DataFrame
    relied: bool

    @property
    def measure(self) -> Measure | None:
        """What competence is told by: success where any is known, else failure; None where nothing is."""
        for name in MEASURES:
            if self.skills[name].count():
                return name
        return None


def competence_tables(frame: pl.DataFrame, unfit: pl.DataFrame, stream: Stream) -> CompetenceTables:
    """Return the tables of `OUTCOMES`; `unfit` has task and reason of tasks that show no skill.

    Tasks that were never solved stay in: right answers to the others show nothing, but failures are failures.
    """
    whole = pieces_of(frame)
    left = unfit.filter(pl.col("reason") != NEVER_SOLVED)
    kept, apart = _parted(whole, left["task"].to_list())
    relied = not kept.frame.is_empty()
    if not relied:
        kept = whole
    skills, tuples = (competence(kept, by) for by in ("skill", "tuple"))
    solved, _ = _parted(kept, unfit["task"].to_list())
    curves, against = observed(kept, stream)
    last = whole.of_cells(whole.last_cells()).cells
    return CompetenceTables(
        skills=skills,
        solved=competence(solved, "skill"),
        tuples=tuples,
        sizes=competence(kept, "k"),
        steady=competence(kept.at_every_checkpoint(), "skill"),
        changed=changes(kept, "skill"),
        weak=_weak(skills, tuples, against),
        curves=curves,
        against=against,
        lines=theory_lines(kept.of_cells(kept.last_cells())),
        against_last=_otherwise(whole, kept, solved, stream),
        graph=graph_tables(kept),
        unfit=left,
        apart=competence(apart, "task"),
        last=last.drop("cell"),
        relied=relied,
    )


def _parted(pieces: Pieces, names: list[str]) -> tuple[Pieces, Pieces]:
    others = pieces.tasks.filter(~pl.col("name").is_in(names))["name"].to_list()
    return pieces.of_tasks(others), pieces.of_tasks(names)


def _weak(skills: pl.DataFrame, tuples: pl.DataFrame, against: pl.DataFrame) -> pl.DataFrame:
    doubled = against.select(*CELL, limit=pl.lit(TWICE), threshold=_TWICE * pl.col("theta"))
    half = against.select(*CELL, limit=pl.lit(OFTEN), threshold=pl.lit(_HALF))
    limits = pl.concat([half, doubled.filter(pl.col("threshold") < 1)])
    parts = [
        weak_shares(found, limits).with_columns(of=pl.lit(of))
        for of, found in (("skills", skills), ("tuples", tuples))
    ]
    return pl.concat(parts)


def _otherwise(whole: Pieces, kept: Pieces, solved: Pieces, stream: Stream) -> pl.DataFrame:
    """Return accounts of the last cells by both weightings, over all tasks, those kept, and those solved."""
    weightings: tuple[Weighting, ...] = ("items", "tasks")
    parts = [
        observed(chosen.of_cells(whole.last_cells()), stream, weighting)[1].with_columns(over=pl.lit(over))
        for over, chosen in ((KEPT, kept), (ALL_TASKS, whole), (SOLVED, solved))
        for weighting in weightings
    ]
    return pl.concat(parts).unique([*CELL, "weighting", "tasks"], keep="first", maintain_order=True)
