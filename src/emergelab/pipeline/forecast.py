"""How much of a run is done and how long the rest takes, from the speeds measured so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from emergelab.pipeline.graph import chain_costs
from emergelab.pipeline.step import Step

_LEAST_COST = 1e-3
_LEAST_SHARE = 0.01


@dataclass
class _Watch:
    """What is known of a running step: fractions of its work with their times in seconds."""

    since: float
    begun_at: float = 0.0
    reached: float = 0.0


class Forecast:
    """Follows a run. All times are seconds of one clock that the caller reads."""

    def __init__(self, steps: Sequence[Step], todo: Collection[Step], slots: int) -> None:
        self._steps = steps
        self._slots = slots
        self._left = set(todo)
        self._running: dict[Step, _Watch] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._costs: defaultdict[str, float] = defaultdict(float)

    def start(self, step: Step, now: float) -> None:
        """Note that `step` runs since `now`."""
        self._running[step] = _Watch(since=now)

    def progress(self, step: Step, fraction: float, now: float) -> None:
        """Note that `fraction` of the work of `step` is done.

        The first report is the base: a step that goes on from its scratch did not do that part just now.
        """
        watch = self._running[step]
        if watch.reached == 0.0 and watch.begun_at == 0.0 and fraction > 0.0:
            watch.since, watch.begun_at = now, min(fraction, 1.0)
        watch.reached = min(max(fraction, 0.0), 1.0)

    def finish(self, step: Step, now: float) -> None:
        """Note that `step` is finished; its speed counts for others of its kind."""
        watch = self._running.pop(step)
        if watch.begun_at < 1.0:
            self._seconds[step.kind] += now - watch.since
            self._costs[step.kind] += _cost(step) * (1.0 - watch.begun_at)
        self._left.discard(step)

    def drop(self, step: Step) -> None:
        """Note that `step` no longer runs, but is not finished."""
        self._running.pop(step, None)

    def found(self, step: Step) -> None:
        """Note that `step` was finished by someone else."""
        self.drop(step)
        self._left.discard(step)

    def share(self) -> float:
        """Return the finished part of the cost of all steps, 0 to 1."""
        total = sum(_cost(step) for step in self._steps)
        left = sum(_cost(step) * (1.0 - self._reached(step)) for step in self._left)
        return 1.0 - left / total if total else 1.0

    def seconds_left(self, now: float) -> float | None:
        """Return the time to the end: all work shared out, but no shorter than the longest chain.

        None as long as less than a hundredth of the work has been measured.
        """
        seconds, costs = self._measured(now)
        total = sum(_cost(step) for step in self._left)
        if sum(costs.values()) < _LEAST_SHARE * total:
            return None
        overall = sum(seconds.values()) / sum(costs.values()) if costs else 1.0
        speed = {kind: seconds[kind] / costs[kind] for kind in costs}
        left = dict.fromkeys(self._steps, 0.0)
        for step in self._left:
            left[step] = _cost(step) * (1.0 - self._reached(step)) * speed.get(step.kind, overall)
        chains = chain_costs(self._steps, left)
        return max(sum(left.values()) / self._slots, max(chains.values(), default=0.0))

    def _measured(self, now: float) -> tuple[dict[str, float], dict[str, float]]:
        seconds, costs = dict(self._seconds), dict(self._costs)
        for step, watch in self._running.items():
            if watch.reached > watch.begun_at:
                seconds[step.kind] = seconds.get(step.kind, 0.0) + now - watch.since
                costs[step.kind] = costs.get(step.kind, 0.0) + _cost(step) * (watch.reached - watch.begun_at)
        return seconds, costs

    def _reached(self, step: Step) -> float:
        return self._running[step].reached if step in self._running else 0.0


def _cost(step: Step) -> float:
    return max(step.cost, _LEAST_COST)
