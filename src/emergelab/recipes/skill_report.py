"""From a table of results to all that is asked of it, and to a page: verdict first, evidence behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from emergelab import __version__
from emergelab.outcomes.schema import CELL, Outcomes
from emergelab.recipes.screening import Screened
from emergelab.rng import Stream, stream

if TYPE_CHECKING:
    from emergelab.analysis.skills.along_training import AlongTraining
    from emergelab.analysis.skills.composed import Composed
    from emergelab.analysis.skills.tables import CompetenceTables

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class SkillAnalysis:
    """Everything that is asked of a screened table, computed when it is first wanted.

    `key` is that of all resampling.
    """

    data: Screened
    key: int = 0

    @cached_property
    def competence(self) -> CompetenceTables:
        """Competence by skill and tuple, and failures against the theory."""
        from emergelab.analysis.skills.tables import competence_tables  # noqa: PLC0415 - slow to import

        return competence_tables(self.data.outcomes.frame, self.data.unfit, self._root.child("competence"))

    @cached_property
    def composition(self) -> Composed:
        """Laws of composition, gates, and the theorem on tuples."""
        from emergelab.analysis.skills.composed import composed  # noqa: PLC0415 - slow to import

        return composed(self.data.outcomes.frame, self.data.unfit, self.key)

    @cached_property
    def training(self) -> AlongTraining:
        """What emerges along training, in which order, how far apart, and what lies ahead."""
        from emergelab.analysis.skills.along_training import along_training  # noqa: PLC0415 - slow to import

        reasons = dict(self.data.unfit.select("task", "reason").iter_rows())
        return along_training(self.data.outcomes.frame, self._root.child("training"), reasons)

    @property
    def _root(self) -> Stream:
        return stream(self.key, "skills")


def write_report(analysis: SkillAnalysis, directory: Path, told: Told) -> Path:
    """Write the page into `directory` and return its path; `told` hears how many parts are done, of how many.

    Raises ArtifactError where the folder holds something else than a page, or cannot be written.
    """
    from emergelab.report.outcomes.page import PageInput, write_outcomes_page  # noqa: PLC0415 - slow to import
    from emergelab.report.shell import require_own  # noqa: PLC0415

    require_own(directory)
    parts = ("competence", "composition", "training")
    for done, name in enumerate(parts):
        told(done, len(parts) + 1)
        getattr(analysis, name)
    told(len(parts), len(parts) + 1)
    content = PageInput(
        outcomes=analysis.data.outcomes,
        findings=analysis.data.findings,
        competence=analysis.competence,
        composition=analysis.composition,
        training=analysis.training,
        settings=_settings(analysis.data.outcomes, analysis.key),
    )
    page = write_outcomes_page(content, directory)
    told(len(parts) + 1, len(parts) + 1)
    return page


def _settings(outcomes: Outcomes, key: int) -> Mapping[str, str]:
    frame = outcomes.frame
    return {
        "emergelab": __version__,
        "Table": outcomes.source,
        "Answers": f"{frame.height:,}",
        "Systems": str(frame["system"].n_unique()),
        "Checkpoints": str(frame.select(CELL).n_unique()),
        "Tasks": str(frame["task"].n_unique()),
        "Skills": str(frame["skills"].explode().n_unique()),
        "Key": str(key),
    }
