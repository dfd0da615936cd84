"""The folder of a run: its record, its store, its tables and its report.

<run>/run.json      what was run and where its tables are in the store
<run>/hypotheses.json   when each hypothesis was fixed, see `fixing`
<run>/store/        the artifacts
<run>/report/       the page
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from emergelab.errors import ArtifactError
from emergelab.pipeline.files import make_folder, storage_errors, write_text
from emergelab.pipeline.locks import exclusive
from emergelab.pipeline.manifest import Manifest
from emergelab.pipeline.store import Store
from emergelab.spec import Json, canonical_json

TABLES = (
    *("scores", "curves", "items", "gains", "cumulative_gains", "decodings", "losses", "cells"),
    *("bounds", "cumulative", "gaps", "prompts", "emergence", "verdicts"),
)
SKILL_TABLES = ("pieces", "links", "skills", "weak")
"""What a study has besides that measures skills on text-pieces."""

HYPOTHESES = "hypotheses.json"
_RECORD = "run.json"
_FORMAT = 1
_LOCK = ".lock"
# A record or a report that is being written.
_UNFINISHED = (f".{_RECORD}.", f".{HYPOTHESES}.", ".report-", ".report.")


@dataclass(frozen=True)
class _Named:
    """An artifact by the name of its folder."""

    key: str


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds, or will hold, one run."""

    path: Path

    @property
    def store(self) -> Store:
        """The run's artifacts."""
        return Store(self.path / "store")

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return self.path / "report"

    @property
    def page(self) -> Path:
        """The page of the report."""
        return self.report / "index.html"

    def write_record(self, record: Mapping[str, Json]) -> None:
        """Write what was run."""
        with self.alone():
            write_text(self.path / _RECORD, canonical_json({"format": _FORMAT, **record}) + "\n")

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """Be the only process that writes the record or the report, waiting for others; clear what the dead left."""
        with contextlib.ExitStack() as stack:
            with storage_errors(self.path):
                make_folder(self.path)
                stack.enter_context(exclusive(self.path / _LOCK, patient=True))
                for leftover in filter(_is_unfinished, self.path.iterdir()):
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            yield

    def is_used(self) -> bool:
        """Tell whether the folder holds anything but what a run begins with. Raises OSError."""
        first = (_LOCK, HYPOTHESES)
        return not all(entry.name in first or _is_unfinished(entry) for entry in self.path.iterdir())

    def read_record(self) -> dict[str, Any]:
        """Read what was run. Raises ArtifactError for a folder that is no run's."""
        path = self.path / _RECORD
        if not path.is_file():
            raise ArtifactError(
                f"{self.path} is no run's folder: it has no {_RECORD}. Give the folder that `emergelab run` made, "
                "by default runs/<study>."
            )
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ArtifactError(
                f"{path} cannot be read ({error}). Run the study again with the same --out: it is written anew and "
                "finished steps are kept."
            ) from error
        if not _is_record(record):
            raise ArtifactError(
                f"{path} is not a record of this version of emergelab (format {_FORMAT}). Run the study again "
                "with the same --out: it is written anew and finished steps are kept."
            )
        return record

    def open_artifact(self, key: str) -> Path:
        """Return an artifact's folder, every byte checked. Raises ArtifactError and DamagedArtifactError."""
        return self.store.open(_Named(key))

    def read_manifest(self, key: str) -> Manifest:
        """Return what an artifact is and what it was made from, every byte checked. Raises as `open_artifact`."""
        return self.store.check(_Named(key))

    def open_tables(self) -> Path:
        """Return the folder of the tables. Raises ArtifactError where the run is not finished."""
        record = self.read_record()
        if not self.store.path(_Named(record["tables"])).exists():
            raise ArtifactError(
                f"The run in {self.path} is not finished: its tables are missing. Give the command "
                f"`emergelab {record.get('verb', 'run')} {record['command']}` again: it goes on where it stopped."
            )
        return self.open_artifact(record["tables"])


def _is_unfinished(path: Path) -> bool:
    return path.name.startswith(_UNFINISHED)


def _is_record(value: object) -> TypeGuard[dict[str, Any]]:
    if not isinstance(value, dict) or value.get("format") != _FORMAT:  # pyright: ignore[reportUnknownMemberType]
        return False
    return all(isinstance(value.get(name), str) for name in ("name", "command", "tables", "corpus"))  # pyright: ignore[reportUnknownMemberType]
