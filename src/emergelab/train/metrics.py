"""What a run tells while it trains: a point every few steps, the same ones however it is interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, Int32, Int64

from emergelab.train.spec import TrainSpec, learning_rate_factor

POINTS = 500
"""About how many points a run has, long or short."""

Send: TypeAlias = Callable[[int, Mapping[str, float]], None]
Read: TypeAlias = Callable[[int, int], tuple[Float32[np.ndarray, " steps"], Int32[np.ndarray, " steps"]]]
"""(first, last) → losses in nats and counted targets of the steps behind `first` up to and with `last`."""


def stretches(steps: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of the stretches of a run of `steps`: at most `POINTS` of equal length, and a rest."""
    length = -(-steps // POINTS)
    for first in range(0, steps, length):
        yield first, min(first + length, steps)


class Meter:
    """Sends a point at the end of each stretch.

    Its values are `loss`, the mean over the stretch in nats per counted target; `learning_rate`, Muon's in its
    last step; `tokens`, the counted targets up to there; and, where all of the stretch was trained just now,
    `tokens_per_second`.
    """

    def __init__(
        self, spec: TrainSpec, steps: int, read: Read, send: Send, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._spec, self._steps = spec, steps
        self._read, self._send, self._clock = read, send, clock
        self._left = list(reversed(list(stretches(steps))))
        self._tokens = 0
        self._since: float | None = None  # when the stretch began, if that was seen

    def recall(self, done: int) -> None:
        """Send again what the first `done` steps have reached, before the next one is taken."""
        while self._left and self._left[-1][1] <= done:
            self._pass()
        at_start = bool(self._left) and self._left[-1][0] == done
        self._since = self._clock() if at_start else None

    def passed(self, step: int) -> None:
        """Send what is new when `step` steps are done. Call it after each step."""
        if self._left and self._left[-1][1] == step:
            now, before = self._clock(), self._since
            self._since = now
            self._pass(None if before is None else now - before)

    def _pass(self, seconds: float | None = None) -> None:
        first, last = self._left.pop()
        losses, counts = self._read(first, last)
        counted = int(counts.sum(dtype=np.int64))
        self._tokens += counted
        factor = learning_rate_factor(self._spec, last - 1, self._steps)
        values = {
            "loss": float(losses.mean(dtype=np.float64)),
            "learning_rate": factor * self._spec.matrix_learning_rate,
            "tokens": float(self._tokens),
        }
        self._send(last, values | ({"tokens_per_second": counted / seconds} if seconds else {}))


def recorded_points(
    spec: TrainSpec, losses: Float32[np.ndarray, " steps"], tokens: Int64[np.ndarray, " steps"]
) -> dict[int, Mapping[str, float]]:
    """Return step → values of a run that is over, from its log's `loss` and `tokens`, as it told them itself."""
    points: dict[int, Mapping[str, float]] = {}
    counts = np.diff(tokens, prepend=0).astype(np.int32)
    meter = Meter(
        spec,
        len(losses),
        lambda first, last: (losses[first:last], counts[first:last]),
        points.__setitem__,
    )
    meter.recall(len(losses))
    return points
