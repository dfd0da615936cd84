"""Look at the store before a run: what is finished, damaged, to do."""

from __future__ import annotations

from collections.abc import Sequence

from emergelab.errors import DamagedArtifactError
from emergelab.pipeline.graph import State, ordered, to_make
from emergelab.pipeline.step import Step
from emergelab.pipeline.store import Store


class Survey:
    """The graph of the targets, every byte of every artifact in it read once."""

    def __init__(self, targets: Sequence[Step], store: Store) -> None:
        self.steps = ordered(targets)
        self.damages: dict[Step, DamagedArtifactError] = {}
        self.finished: set[Step] = set()
        for step in self.steps:
            self._look_at(step, store)
        # What is damaged is remade even where nothing needs it now: the store promises whole artifacts.
        self.todo = to_make(self.steps, [*targets, *self.damages], self.finished)

    def state(self, step: Step) -> State:
        """Return where `step` stands."""
        if step in self.finished:
            return State.FINISHED
        if step in self.damages:
            return State.DAMAGED
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


def plan(targets: Sequence[Step], store: Store) -> list[tuple[Step, State]]:
    """Return every step of the targets' graph with its state, in the order of execution; change nothing.

    Reads every byte of every artifact of the graph: a damaged one would be remade, needed or not.
    """
    return Survey(targets, store).states()
