"""Look at the store before a run: what is finished, damaged, to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

from emergelab.errors import DamagedArtifactError
from emergelab.pipeline.graph import State, ordered, to_make
from emergelab.pipeline.release import Release
from emergelab.pipeline.step import Step
from emergelab.pipeline.store import Store

Reads: TypeAlias = Callable[[Step, Step], Collection[str] | None]
"""Which files of the second step's artifact the first one reads; None: perhaps all of them."""


def reads_all(_step: Step, _source: Step) -> None:
    """Say nothing of which files are read: perhaps all."""


class Survey:
    """The graph of the targets, every byte of every artifact in it read once.

    `dropped` has the files of finished steps that were let go, `again` the finished steps that must be made
    again for such files; these do not count as finished.
    """

    def __init__(self, targets: Sequence[Step], store: Store, reads: Reads = reads_all) -> None:
        self.steps = ordered(targets)
        self.damages: dict[Step, DamagedArtifactError] = {}
        self.finished: set[Step] = set()
        self.dropped: dict[Step, Mapping[str, Release]] = {}
        self._reads = reads
        for step in self.steps:
            self._look_at(step, store)
        # What is damaged is remade even where nothing needs it now: the store promises whole artifacts.
        self.todo = to_make(self.steps, [*targets, *self.damages], self.finished, self._lacks)
        self.again = self.todo & self.finished
        self.finished -= self.again

    def state(self, step: Step) -> State:
        """Return where `step` stands."""
        if step in self.finished:
            return State.FINISHED
        if step in self.damages:
            return State.DAMAGED
        if step in self.again:
            return State.DROPPED
        return State.TO_DO if step in self.todo else State.UNNEEDED

    def states(self) -> list[tuple[Step, State]]:
        """Return every step with its state, in the order of execution."""
        return [(step, self.state(step)) for step in self.steps]

    def _look_at(self, step: Step, store: Store) -> None:
        damage = store.damage(step)
        if damage is not None:
            self.damages[step] = damage
        elif store.finished(step):
            self.finished.add(step)
            dropped = store.dropped(step)
            if dropped:
                self.dropped[step] = dropped

    def _lacks(self, step: Step, source: Step) -> bool:
        dropped = self.dropped.get(source)
        if not dropped:
            return False
        read = self._reads(step, source)
        return read is None or not dropped.keys().isdisjoint(read)


def plan(targets: Sequence[Step], store: Store, reads: Reads = reads_all) -> list[tuple[Step, State]]:
    """Return every step of the targets' graph with its state, in the order of execution; change nothing.

    Reads every byte of every artifact of the graph: a damaged one would be remade, needed or not.
    """
    return Survey(targets, store, reads).states()
