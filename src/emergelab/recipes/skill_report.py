"""From a table of results to a page: faults of the data, competence, composition, emergence, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emergelab import __version__
from emergelab.outcomes.columns import read_told
from emergelab.outcomes.reading import read_outcomes
from emergelab.outcomes.schema import Outcomes

Told = Callable[[int, int], None]

_PARTS = 1


@dataclass(frozen=True, kw_only=True)
class ReportQuestion:
    """What is read: a file, a shipped table or a run's folder; ROLE=NAME of its columns; a table of skills; the key."""

    file: str
    columns: tuple[str, ...] = ()
    skills_of: Path | None = None
    key: int = 0


def write_report(question: ReportQuestion, directory: Path, told: Told) -> Path:
    """Compute everything and write the page; `told` hears how many parts of it are done.

    Raises TableError for a table that cannot be read, and ArtifactError where the folder cannot be replaced.
    """
    from emergelab.report.outcomes.page import PageInput, write_outcomes_page  # noqa: PLC0415 - slow to import

    told(0, _PARTS)
    outcomes = read(question)
    content = PageInput(outcomes=outcomes, settings=_settings(question, outcomes))
    told(_PARTS, _PARTS)
    return write_outcomes_page(content, directory)


def read(question: ReportQuestion) -> Outcomes:
    """Read what the question names. Raises TableError."""
    return read_outcomes(question.file, read_told(list(question.columns)), question.skills_of)


def _settings(question: ReportQuestion, outcomes: Outcomes) -> dict[str, str]:
    frame = outcomes.frame
    return {
        "emergelab": __version__,
        "Table": outcomes.source,
        "Answers": f"{frame.height:,}",
        "Systems": str(frame["system"].n_unique()),
        "Tasks": str(frame["task"].n_unique()),
        "Key": str(question.key),
    }
