"""Where outcomes are read from: a table that somebody wrote, one that comes with emergelab, or a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emergelab.outcomes.columns import read_told
from emergelab.outcomes.reading import read_outcomes
from emergelab.outcomes.schema import Outcomes
from emergelab.recipes.outcomes_of_runs import READING, outcomes_of_run


@dataclass(frozen=True, kw_only=True)
class OutcomesFile:
    """What is read: a file, a shipped table or a run's folder; ROLE=NAME of its columns; a table of skills."""

    file: str
    columns: tuple[str, ...] = ()
    skills_of: Path | None = None


def read(question: OutcomesFile) -> Outcomes:
    """Read what the question names. Raises TableError, and ArtifactError for a folder that is no finished run."""
    folder = Path(question.file)
    if folder.is_dir():
        return Outcomes(outcomes_of_run(folder), (READING,), question.file)
    return read_outcomes(question.file, read_told(list(question.columns)), question.skills_of)
