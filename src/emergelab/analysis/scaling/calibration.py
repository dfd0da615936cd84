"""How wide a forecast's interval has to be: from forecasts of the larger fitted runs by the smaller ones.

Nested back-tests leave out the largest size, the two largest, and the runs above a third, a tenth and a thirtieth of
the largest compute. The error of each such forecast over its spread is a score; the 90 % quantile of the scores of a
kind of metric is the number of spreads that an interval of this kind takes to either side (conformal prediction; Vovk,
Gammerman and Shafer 2005). Runs that are to be forecast have no part in it. The runs of a nested back-test are not
exchangeable with larger ones, so that 90 % is an aim, and the back-tests say what it came to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emergelab.analysis.scaling.forecast import SAMPLES, Forecasts, forecast, working
from emergelab.analysis.scaling.ladder import Ladder, Target
from emergelab.analysis.scaling.law import FEWEST
from emergelab.rng import Stream

COVERAGE = 0.9
_NARROWEST = 1.0  # spreads: nested forecasts are nearer than those that are asked for
_UNKNOWN = 3.0  # spreads, where nothing can be forecast inside the fitted part
_COMPUTE_CUTS = (3.0, 10.0, 30.0)
_SIZE_CUTS = (1, 2)


@dataclass(frozen=True)
class Widths:
    """Spreads to either side by kind of metric, and how many nested forecasts each comes from."""

    spreads: dict[str, float]
    counts: dict[str, int]

    def of(self, kind: str) -> float:
        """Return the spreads for a kind of metric."""
        return self.spreads.get(kind, _UNKNOWN)


def nested_splits(ladder: Ladder) -> Iterator[tuple[Ladder, Ladder]]:
    """Yield smaller and larger runs of a ladder; what is asked has more compute than any run fitted on its corpus."""
    sizes = np.unique(ladder.params)
    fitted = [ladder.params < sizes[-cut] for cut in _SIZE_CUTS if sizes.size > cut + 1]
    fitted += [ladder.compute <= ladder.compute.max() / cut for cut in _COMPUTE_CUTS]
    for small in fitted:
        usable = [g for g in range(len(ladder.groups)) if _enough(ladder.at(small & (ladder.group == g)))]
        part = np.isin(ladder.group, usable)
        asked = part & ~small & (ladder.compute > _most_compute(ladder, small))
        if asked.any():
            yield ladder.at(part & small), ladder.at(asked)


def _enough(part: Ladder) -> bool:
    spread = min(np.unique(part.params).size, np.unique(part.tokens).size)
    return part.params.size > FEWEST and spread > 1


def _most_compute(ladder: Ladder, small: np.ndarray) -> np.ndarray:
    """Return for every point the largest compute fitted on its training corpus."""
    most = [
        ladder.compute[small & (ladder.group == group)].max(initial=0.0)
        for group in range(len(ladder.groups))
    ]
    return np.array(most)[ladder.group]


def calibrate(ladder: Ladder, stream: Stream, *, samples: int = SAMPLES) -> Widths:
    """Return the widths that nested back-tests of the ladder ask for."""
    scores: dict[str, list[np.ndarray]] = {}
    for number, (small, large) in enumerate(nested_splits(ladder)):
        found = forecast(small, Target.of(large), stream.child("nested", number), samples=samples)
        for kind, values in scores_by_kind(large, found).items():
            scores.setdefault(kind, []).append(values)
    return Widths(
        {kind: _quantile(parts) for kind, parts in scores.items()},
        {kind: sum(part.size for part in parts) for kind, parts in scores.items()},
    )


def scores_by_kind(large: Ladder, found: Forecasts) -> dict[str, np.ndarray]:
    """Return the sizes of errors over spreads, by kind of metric."""
    off = np.abs(found.working - working(large)) / found.spread
    kinds = np.array([metric.kind for metric in large.metrics])
    parts = {kind: off[kinds == kind] for kind in dict.fromkeys(kinds.tolist())}
    return {kind: part[~np.isnan(part)] for kind, part in parts.items() if not np.isnan(part).all()}


def _quantile(parts: list[np.ndarray]) -> float:
    """Return the quantile over nested back-tests of equal weight, never below one spread."""
    values = np.concatenate(parts)
    weights = np.concatenate([np.full(part.size, 1 / part.size) for part in parts])
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    at = min(int(np.searchsorted(reached, COVERAGE)), values.size - 1)
    return max(float(values[order[at]]), _NARROWEST)
