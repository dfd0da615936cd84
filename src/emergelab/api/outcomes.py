"""Results of real language models: which skills they have, whether skills compose, what emerged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from emergelab.api.checks import whole
from emergelab.outcomes.findings import findings_table
from emergelab.recipes.outcome_tables import OutcomesFile
from emergelab.recipes.screening import screened
from emergelab.recipes.skill_report import SkillAnalysis, write_report

__all__ = ["OutcomeAnalysis", "open_outcomes"]


def open_outcomes(
    file: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    skills: str | Path | None = None,
    key: int = 0,
) -> OutcomeAnalysis:
    """Read and screen a table of results, an answer of a system to a row.

    `file` is a Parquet, CSV or JSON-lines file, the name of a table that comes with emergelab, or the folder of a run.
    `columns` says which column has which role (`{"correct": "acc"}`), `skills` names a table of tasks and the skills
    of each, and `key` is that of all resampling. Raises UserError for what cannot be read.
    """
    told = tuple(f"{role}={name}" for role, name in (columns or {}).items())
    question = OutcomesFile(file=str(file), columns=told, skills_of=None if skills is None else Path(skills))
    return OutcomeAnalysis(SkillAnalysis(screened(question), whole("key", key, least=0, most=2**63 - 1)))


@dataclass(frozen=True, eq=False)
class OutcomeAnalysis:
    """A table of results and what follows from it, each computed when it is first wanted. Made by `open_outcomes`.

    Everything is a Polars data frame with intervals of 95 %, their n and their method; missing is null.
    """

    _analysis: SkillAnalysis = field(repr=False)

    def __repr__(self) -> str:
        """Say how much there is of what."""
        frame = self.outcomes
        source = self._analysis.data.outcomes.source
        return f"OutcomeAnalysis({source!r}, {frame.height:,} answers, {frame['system'].n_unique()} systems)"

    @property
    def outcomes(self) -> pl.DataFrame:
        """The answers: one row for each."""
        return self._analysis.data.outcomes.frame

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed when the table was read."""
        return self._analysis.data.outcomes.notes

    @property
    def findings(self) -> pl.DataFrame:
        """What is wrong with the table, the gravest first, and what it does to which conclusion."""
        return findings_table(self._analysis.data.findings)

    @property
    def left_out(self) -> pl.DataFrame:
        """Tasks that verdicts leave out, with the reason."""
        return self._analysis.data.unfit

    @property
    def skills(self) -> pl.DataFrame:
        """Success and failure by system, checkpoint and skill."""
        return self._analysis.competence.skills

    @property
    def tuples(self) -> pl.DataFrame:
        """Success and failure by system, checkpoint and tuple of skills."""
        return self._analysis.competence.tuples

    @property
    def laws(self) -> pl.DataFrame:
        """How well each law of composition predicts tuples from single skills, on the tasks that show skill."""
        return self._analysis.composition.verdicts.scores

    @property
    def gates(self) -> pl.DataFrame:
        """Which single skill decides each composite."""
        return self._analysis.composition.gates.verdicts

    @property
    def emergence(self) -> pl.DataFrame:
        """Thresholds, sharpness and jumps of each course along training."""
        return self._analysis.training.emerging.found

    @property
    def order(self) -> pl.DataFrame:
        """Whether composites cross their level after their parts."""
        return self._analysis.training.order.rows

    @property
    def shifts(self) -> pl.DataFrame:
        """How much more training composites take than their parts."""
        return self._analysis.training.shifts.rows

    @property
    def forecasts(self) -> pl.DataFrame:
        """What more training will bring, where forecasts of the past held."""
        return self._analysis.training.ahead.rows

    def report(self, folder: str | Path) -> Path:
        """Write the page of `emergelab skills` and return its path. Raises ArtifactError."""
        return write_report(self._analysis, Path(folder), lambda *_: None)
