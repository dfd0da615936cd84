"""Results of many runs as arrays: who was trained how, and what was measured of whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

Sort = Literal["loss", "share", "log-likelihood"]

Points = Float64[np.ndarray, " points"]


@dataclass(frozen=True)
class Metric:
    """What was measured: `kind` groups metrics of one unit, `sort` says how it behaves.

    A loss is above 0 and falls; a share lies in [0, 1]; a log-likelihood is below 0 and is forecast as a loss with its
    sign changed.
    """

    kind: str
    name: str
    sort: Sort


@dataclass(frozen=True)
class Ladder:
    """P points of training, of `run`s on some training corpus (`group`), and their metrics, NaN where missing.

    Points of one run (its checkpoints) share a label in `run`.
    """

    run: Int64[np.ndarray, " points"]
    group: Int64[np.ndarray, " points"]
    params: Points
    tokens: Points
    groups: tuple[str, ...]
    metrics: tuple[Metric, ...]
    values: Float64[np.ndarray, "metrics points"]

    @property
    def compute(self) -> Points:
        """Floating-point operations, 6 N D."""
        return 6.0 * self.params * self.tokens

    def at(self, chosen: Bool[np.ndarray, " points"]) -> Ladder:
        """Return some of the points."""
        return self.pick(np.flatnonzero(chosen))

    def pick(self, chosen: Int64[np.ndarray, " some"]) -> Ladder:
        """Return some of the points by number, in this order."""
        return Ladder(
            self.run[chosen],
            self.group[chosen],
            self.params[chosen],
            self.tokens[chosen],
            self.groups,
            self.metrics,
            self.values[:, chosen],
        )

    def of_sort(self, *sorts: Sort) -> list[int]:
        """Return the rows of the metrics of some sorts."""
        return [row for row, metric in enumerate(self.metrics) if metric.sort in sorts]


@dataclass(frozen=True)
class Target:
    """Models to forecast: their training corpus, parameters and tokens."""

    group: Int64[np.ndarray, " targets"]
    params: Float64[np.ndarray, " targets"]
    tokens: Float64[np.ndarray, " targets"]

    @property
    def compute(self) -> Float64[np.ndarray, " targets"]:
        """Floating-point operations, 6 N D."""
        return 6.0 * self.params * self.tokens

    @staticmethod
    def of(ladder: Ladder) -> Target:
        """Return the points of a ladder as targets."""
        return Target(ladder.group, ladder.params, ladder.tokens)
