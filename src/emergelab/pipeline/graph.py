"""The graph below the targets: which steps there are, which are needed, which come first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from graphlib import TopologicalSorter

from emergelab.pipeline.step import Step


class State(StrEnum):
    """Where a step stands before a run."""

    FINISHED = "finished"
    TO_DO = "to do"
    DAMAGED = "damaged, would be remade"
    DROPPED = "dropped in part, would be remade"
    UNNEEDED = "missing, not needed"


WORK = frozenset({State.TO_DO, State.DAMAGED, State.DROPPED})
"""The states of steps that a run makes."""


def ordered(targets: Iterable[Step]) -> list[Step]:
    """Return the targets and all that they need, each once, in the order of execution.

    Inputs come before what needs them; among steps that could begin, the one that heads the chain of
    greatest cost comes first (the critical path).
    """
    steps = _topological(targets)
    ranks = chain_costs(steps, {step: step.cost for step in steps})
    # A stable sort: where costs of 0 make ranks equal, inputs stay before what needs them.
    return sorted(steps, key=lambda step: -ranks[step])


def chain_costs(steps: Sequence[Step], costs: Mapping[Step, float]) -> dict[Step, float]:
    """Return for each of `steps` (inputs first) the greatest total cost of a chain that begins with it."""
    below = dict.fromkeys(steps, 0.0)
    chains: dict[Step, float] = {}
    for step in reversed(steps):
        chains[step] = costs[step] + below[step]
        for source in step.inputs.values():
            below[source] = max(below.get(source, 0.0), chains[step])
    return chains


def to_make(
    steps: Sequence[Step],
    targets: Iterable[Step],
    finished: Collection[Step],
    lacks: Callable[[Step, Step], bool] = lambda _step, _source: False,
) -> set[Step]:
    """Return the steps (from `steps`, inputs first) that must be made so that every target is finished.

    `lacks(step, source)` says that the finished `source` no longer has what `step` reads: to make `step`,
    the source must be made again.
    """
    wanted = set(targets)
    again: set[Step] = set()
    needed: set[Step] = set()
    for step in reversed(steps):
        if step in again or (step in wanted and step not in finished):
            needed.add(step)
            wanted.update(step.inputs.values())
            again.update(
                source for source in step.inputs.values() if source in finished and lacks(step, source)
            )
    return needed


def _topological(targets: Iterable[Step]) -> list[Step]:
    inputs: dict[Step, list[Step]] = {}
    stack = list(targets)[::-1]
    while stack:
        step = stack.pop()
        if step not in inputs:
            inputs[step] = list(step.inputs.values())
            stack.extend(reversed(inputs[step]))
    return list(TopologicalSorter(inputs).static_order())
