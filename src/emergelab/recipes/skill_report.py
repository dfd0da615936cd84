"""From a table of results to a page: faults of the data, competence, composition, emergence, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from emergelab import __version__
from emergelab.outcomes.schema import Outcomes
from emergelab.recipes.outcome_tables import OutcomesFile
from emergelab.recipes.screening import screened
from emergelab.rng import stream

Told = Callable[[int, int], None]

_PARTS = 5


def write_report(question: OutcomesFile, key: int, directory: Path, told: Told) -> Path:
    """Compute everything and write the page; `told` hears how many parts of it are done.

    `key` is that of all resampling. Raises TableError for a table that cannot be read, and ArtifactError where the
    folder cannot be replaced.
    """
    # Each is slow to import.
    from emergelab.analysis.skills.along_training import along_training  # noqa: PLC0415
    from emergelab.analysis.skills.composed import composed  # noqa: PLC0415
    from emergelab.analysis.skills.tables import competence_tables  # noqa: PLC0415
    from emergelab.report.outcomes.page import PageInput, write_outcomes_page  # noqa: PLC0415
    from emergelab.report.shell import require_own  # noqa: PLC0415

    require_own(directory)
    told(0, _PARTS)
    data = screened(question)
    frame, root = data.outcomes.frame, stream(key, "skills")
    told(1, _PARTS)
    competence = competence_tables(frame, data.unfit, root.child("competence"))
    told(2, _PARTS)
    composition = composed(frame, data.unfit, key)
    told(3, _PARTS)
    reasons = dict(data.unfit.select("task", "reason").iter_rows())
    training = along_training(frame, root.child("training"), reasons)
    told(4, _PARTS)
    content = PageInput(
        outcomes=data.outcomes,
        findings=data.findings,
        competence=competence,
        composition=composition,
        training=training,
        settings=_settings(data.outcomes, key),
    )
    page = write_outcomes_page(content, directory)
    told(_PARTS, _PARTS)
    return page


def _settings(outcomes: Outcomes, key: int) -> Mapping[str, str]:
    frame = outcomes.frame
    return {
        "emergelab": __version__,
        "Table": outcomes.source,
        "Answers": f"{frame.height:,}",
        "Systems": str(frame["system"].n_unique()),
        "Checkpoints": str(frame.select("system", "checkpoint").n_unique()),
        "Tasks": str(frame["task"].n_unique()),
        "Skills": str(frame["skills"].explode().n_unique()),
        "Key": str(key),
    }
