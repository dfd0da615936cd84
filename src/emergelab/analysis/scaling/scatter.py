"""How far single runs lie from what links say although their common loss is known: no law is tested here.

Each of the larger runs is left out in turn, its common loss is measured, and its metrics are told by links fitted to
the other runs. What is left is noise of training and of finite test sets, and what a link cannot follow. A forecast
has this error and the law's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emergelab.analysis.scaling.common import common_values
from emergelab.analysis.scaling.forecast import intermediates, linked, working
from emergelab.analysis.scaling.ladder import Ladder
from emergelab.analysis.scaling.shares import Reach

_LARGER = 3  # the third of a corpus's runs that took most compute is left out in turn
_FEWEST = 6  # points that are left
_HUNDRED = 100.0
_NOTHING = np.zeros(0)


@dataclass(frozen=True)
class Scatter:
    """The mean error of `n` values of some kind, `runs` left out in turn: per cent of a loss, points of a share."""

    kind: str
    error: float
    n: int
    runs: int


def scatter(ladder: Ladder) -> list[Scatter]:
    """Return the scatter of each kind of metric; of none where the runs are too few."""
    columns = [_left_out(ladder, point) for point in _larger(ladder)]
    if not columns:
        return []
    off = np.abs(np.stack(columns, axis=1))
    kinds = np.array([metric.kind for metric in ladder.metrics])
    return [
        Scatter(kind, float(np.nanmean(part)), int((~np.isnan(part)).sum()), len(columns))
        for kind in dict.fromkeys(kinds.tolist())
        if not np.isnan(part := off[kinds == kind]).all()
    ]


def _larger(ladder: Ladder) -> list[int]:
    """Return the points of most compute in each training corpus."""
    chosen: list[int] = []
    for group in range(len(ladder.groups)):
        points = np.flatnonzero(ladder.group == group)
        if points.size > _FEWEST:
            order = points[np.argsort(-ladder.compute[points], kind="stable")]
            chosen += order[: max(1, points.size // _LARGER)].tolist()
    return chosen


def _left_out(ladder: Ladder, point: int) -> np.ndarray:
    """Return by how much each metric of a run lies below what the other runs' links say of its common loss."""
    others = ladder.pick(np.setdiff1d(np.arange(ladder.params.size), [point]))
    alone = ladder.pick(np.array([point]))
    rows = intermediates(ladder)
    place = common_values(alone, rows)
    reaches = [
        _known_reach(others, group, place, int(alone.group[0]), rows)
        for group in np.unique(others.group).tolist()
    ]
    return _HUNDRED * (linked(others, reaches, 1).working - working(alone))[:, 0]


def _known_reach(ladder: Ladder, group: int, place: np.ndarray, asked: int, rows: list[int]) -> Reach:
    points = np.flatnonzero(ladder.group == group)
    common = common_values(ladder.pick(points), rows)
    known = ~np.isnan(common)
    if group != asked or np.isnan(place).any():
        return Reach(points[known], common[known], np.zeros(0, dtype=np.int64), _NOTHING, _NOTHING)
    return Reach(points[known], common[known], np.array([0]), place, np.zeros(1))
