"""Probability that flows through partial derivations to what they come to.

Each partial derivation is derived further once. What leads to it again later, as where a rule calls itself,
flows on by the same shares.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int64

ROOT = 0
"""The number of what all comes from."""

_Links = tuple[
    "Int64[np.ndarray, ' _links']", "Int64[np.ndarray, ' _links']", "Float64[np.ndarray, ' _links']"
]


class Flow:
    """Shares that lead from partial derivations to others, and to ends.

    `waiting` is the probability that has come to each partial derivation and not flowed on, `known` tells which
    have been derived further, `found` is the probability of the ends.
    """

    def __init__(self) -> None:
        self.waiting: Float64[np.ndarray, " numbers"] = np.ones(1)
        self.known: Bool[np.ndarray, " numbers"] = np.ones(1, dtype=np.bool_)
        self.found: Float64[np.ndarray, " ends"] = np.zeros(0)
        self._between: list[_Links] = []
        self._ending: list[_Links] = []

    def add(self, count: int) -> int:
        """Add partial derivations; return the number of the first one."""
        first = len(self.waiting)
        self.waiting = np.concatenate([self.waiting, np.zeros(count)])
        self.known = np.concatenate([self.known, np.zeros(count, dtype=np.bool_)])
        return first

    def lead(
        self,
        sources: Int64[np.ndarray, " links"],
        targets: Int64[np.ndarray, " links"],
        shares: Float64[np.ndarray, " links"],
    ) -> None:
        """Let shares of partial derivations flow to others."""
        self._between.append((sources, targets, shares))

    def end(
        self,
        sources: Int64[np.ndarray, " links"],
        ends: Int64[np.ndarray, " links"],
        shares: Float64[np.ndarray, " links"],
    ) -> None:
        """Let shares of partial derivations flow to ends."""
        self._ending.append((sources, ends, shares))
        more = int(ends.max(initial=-1)) + 1 - len(self.found)
        self.found = np.concatenate([self.found, np.zeros(max(more, 0))])

    def settle(self, tolerance: float, share: float = 0.0) -> None:
        """Let all flow on until what can is below a tolerance, or a share of what waits to be derived."""
        between, ending = _joined(self._between), _joined(self._ending)
        self._between, self._ending = [between], [ending]
        while True:
            moving = np.where(self.known, self.waiting, 0.0)
            rest = self.waiting - moving
            if moving.sum() <= max(tolerance, share * rest.sum()):
                return
            self.waiting = rest + _moved(moving, between, len(rest))
            self.found += _moved(moving, ending, len(self.found))

    def leads_on(self) -> Bool[np.ndarray, " numbers"]:
        """Tell which partial derivations lead to one that has not been derived further, or are one."""
        leads = ~self.known
        sources, targets, _ = _joined(self._between)
        more = sources[leads[targets] & ~leads[sources]]
        while len(more):
            leads[more] = True
            more = sources[leads[targets] & ~leads[sources]]
        return leads


def _joined(links: list[_Links]) -> _Links:
    none = np.zeros(0, dtype=np.int64)
    sources, targets, shares = zip((none, none, np.zeros(0)), *links, strict=True)
    return np.concatenate(sources), np.concatenate(targets), np.concatenate(shares)


def _moved(
    moving: Float64[np.ndarray, " numbers"], links: _Links, size: int
) -> Float64[np.ndarray, " reached"]:
    sources, targets, shares = links
    reached = np.bincount(targets, weights=moving[sources] * shares, minlength=size)
    return reached.astype(np.float64)  # whole numbers where nothing leads anywhere
