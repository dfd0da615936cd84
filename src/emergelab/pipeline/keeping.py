"""Letting files of finished artifacts go, once all that reads them is finished."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from emergelab.errors import ArtifactError
from emergelab.pipeline.locks import LockedError, Presence
from emergelab.pipeline.step import Step
from emergelab.pipeline.store import Store
from emergelab.pipeline.survey import Reads, Survey, reads_all

Spare: TypeAlias = Callable[[Step, Mapping[Step, bool], Store], Collection[str]]
"""Which files of a finished step's artifact may go, given who reads from it and whether that is finished."""


def spare_none(_step: Step, _readers: Mapping[Step, bool], _store: Store) -> Collection[str]:
    """Let nothing go."""
    return ()


@dataclass(frozen=True)
class Keeping:
    """A policy: its name, which files steps read from each other, and which files may go."""

    policy: str = "all"
    reads: Reads = reads_all
    spare: Spare = spare_none


class LettingGo:
    """Follows a run and lets files go, one artifact at a time, when nothing in the run's graph still needs them.

    While another run uses the store nothing goes: it may be about to read.
    """

    def __init__(self, keeping: Keeping, survey: Survey, store: Store, presence: Presence) -> None:
        self.policy = keeping.policy
        self._reads = keeping.reads
        self._spare, self._store, self._presence = keeping.spare, store, presence
        self._readers: dict[Step, list[Step]] = {step: [] for step in survey.steps}
        for step in survey.steps:
            for source in step.inputs.values():
                self._readers[source].append(step)
        self._finished: set[Step] = set()
        self._silent = keeping.spare is spare_none

    def after(self, finished: Iterable[Step]) -> Iterator[tuple[Step, int]]:
        """Note that steps are finished; yield each one that has let files go for that, and the bytes freed."""
        fresh = set(finished)
        self._finished |= fresh
        concerned = dict.fromkeys(source for step in fresh for source in (step, *step.inputs.values()))
        for step in () if self._silent else concerned:
            size = self._let_go(step) if step in self._finished else 0
            if size:
                yield step, size

    def _let_go(self, step: Step) -> int:
        readers = {reader: reader in self._finished for reader in self._readers[step]}
        pending = [self._reads(reader, step) for reader, finished in readers.items() if not finished]
        if None in pending:
            return 0
        needed = {name for names in pending for name in names or ()}
        names = [name for name in self._spare(step, readers, self._store) if name not in needed]
        if not names:
            return 0
        # What another run, or a reader of a damaged artifact, would need stays; the next run tries again.
        with contextlib.suppress(LockedError, ArtifactError), self._presence.alone():
            return self._store.release(step, names, self.policy)
        return 0
