"""Links of shares (accuracies) to the common loss, shared by all training corpora of a table.

A task's share is the mean of a parabola and a sigmoid above a chance floor in the common loss, and of a second sigmoid
in the task's own bits per byte where the table has them. All corpora have one link: each is placed on it by its own
common losses, and lies above or below it by an offset that is drawn towards none. A task that the runs do not tell
from one that stays where it is stays there: link and level are averaged by their evidence (Schwarz's criterion),
for else noise of small tasks is extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import expit

from emergelab.analysis.scaling.common import losslike
from emergelab.analysis.scaling.ladder import Ladder
from emergelab.analysis.scaling.links import Parabolas, Scale, Sigmoids, shrunk_noise

Curves = Float64[np.ndarray, "curves points"]
Points = Float64[np.ndarray, " points"]

_BITS = "_bpb"
_OFFSET = 4.0  # points' worth of none in a corpus's offset
_MEMBERS = 2  # without bits per byte
_LEAST_SQUARE = 1e-12


@dataclass(frozen=True)
class Reach:
    """A training corpus: its points of the ladder and the targets asked of it, with the common log loss at both.

    `deviation` is that of the common log loss at the targets. A corpus of which nothing is asked has no targets.
    """

    points: Int64[np.ndarray, " points"]
    common: Points
    targets: Int64[np.ndarray, " targets"]
    there: Float64[np.ndarray, " targets"]
    deviation: Float64[np.ndarray, " targets"]

    def only(self, known: np.ndarray) -> Reach:
        """Return the corpus with those of its points that are known, a boolean for every point of the ladder."""
        kept = known[self.points]
        return Reach(self.points[kept], self.common[kept], self.targets, self.there, self.deviation)


@dataclass(frozen=True)
class Stack:
    """Several corpora's points one behind the other, each placed on its own scale."""

    ladder: Ladder  # these points
    reaches: tuple[Reach, ...]
    scales: tuple[Scale, ...]

    @staticmethod
    def of(ladder: Ladder, reaches: list[Reach], recency: float) -> Stack:
        """Return the stack of some corpora of a ladder."""
        rows = np.concatenate([reach.points for reach in reaches])
        scales = [Scale.of(reach.common, ladder.compute[reach.points], recency) for reach in reaches]
        return Stack(ladder.pick(rows), tuple(reaches), tuple(scales))

    @property
    def z(self) -> Points:
        """Positions of the points."""
        pairs = zip(self.scales, self.reaches, strict=True)
        return np.concatenate([scale.z(reach.common) for scale, reach in pairs])

    @property
    def weights(self) -> Points:
        """Weights of the points, of mean 1 in every corpus."""
        return np.concatenate([scale.weights for scale in self.scales])

    def corpora(self) -> list[slice]:
        """Return where each corpus stands."""
        ends = np.cumsum([reach.points.size for reach in self.reaches]).tolist()
        return [slice(end - reach.points.size, end) for end, reach in zip(ends, self.reaches, strict=True)]


@dataclass(frozen=True)
class Levels:
    """Shares that stay where they are: their level, and the weight of a link against it."""

    level: Float64[np.ndarray, " curves"]
    weight: Float64[np.ndarray, " curves"]

    @staticmethod
    def fit(z: Points, y: Curves) -> Levels:
        """Weigh a straight line in z against a level by Schwarz's criterion (Schwarz 1978)."""
        level = y.mean(axis=1)
        apart, steps = y - level[:, None], z - z.mean()
        slope = apart @ steps / max(float(steps @ steps), _LEAST_SQUARE)
        flat = np.maximum((apart**2).mean(axis=1), _LEAST_SQUARE)
        line = np.maximum(((apart - slope[:, None] * steps) ** 2).mean(axis=1), _LEAST_SQUARE)
        return Levels(level, expit((z.size * np.log(flat / line) - np.log(z.size)) / 2))

    def mixed(self, linked: Curves) -> Curves:
        """Return the mean of what links say and the levels."""
        weight = self.weight[:, None]
        return weight * linked + (1 - weight) * self.level[:, None]

    def doubt(self, linked: Curves) -> Curves:
        """Return the deviation that comes of not knowing which of the two it is."""
        weight = self.weight[:, None]
        return np.sqrt(weight * (1 - weight)) * np.abs(linked - self.level[:, None])


def link_shares(stack: Stack, rows: list[int], working: np.ndarray, spread: np.ndarray) -> None:
    """Fill in the forecasts of shares, `rows` of the metrics, all known at every point of the stack.

    `working` has the forecasts of bits per byte already.
    """
    z, y, weights = stack.z, stack.ladder.values[rows], stack.weights
    parabolas = Parabolas.fit(z, y, weights)
    noise = shrunk_noise([stack.ladder.metrics[row] for row in rows], parabolas.noise, z.size)
    sigmoids = Sigmoids.fit(z, y, weights, noise, np.full(len(rows), np.nan))
    levels = Levels.fit(z, y)

    def members(places: np.ndarray) -> tuple[Curves, Curves]:
        return np.clip(parabolas.at(places), 0, 1), sigmoids.at(places)

    own, own_there = _through_bits(stack, rows, noise, working)
    above = y - levels.mixed(_mean(members(z), own))
    for corpus, reach, scale in zip(stack.corpora(), stack.reaches, stack.scales, strict=True):
        there = scale.z(reach.there)
        both = members(there)
        linked = _mean(both, own_there[:, reach.targets])
        cells = np.ix_(np.array(rows), reach.targets)
        working[cells] = levels.mixed(linked) + _offsets(above[:, corpus], weights[corpus])
        carried = parabolas.slope(there) * levels.weight[:, None] * reach.deviation / scale.spread
        straight = np.outer(noise**2, 1 + parabolas.leverage(there)) + carried**2
        doubts = ((both[0] - both[1]) / 2) ** 2 + levels.doubt(linked) ** 2
        spread[cells] = np.sqrt(straight + doubts)


def _offsets(above: Curves, weights: Points) -> Float64[np.ndarray, "curves 1"]:
    """Return by how much a corpus lies above the link of all: its mean residual, drawn towards none."""
    return (above @ weights / (weights.sum() + _OFFSET))[:, None]


def _mean(members: tuple[Curves, Curves], own: Curves) -> Curves:
    both = (members[0] + members[1]) / _MEMBERS
    return np.where(np.isnan(own), both, (_MEMBERS * both + own) / (_MEMBERS + 1))


def _through_bits(
    stack: Stack, rows: list[int], noise: np.ndarray, working: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares by sigmoids in the tasks' own bits per byte, at the points and at all targets.

    NaN where there are none.
    """
    here = np.full((len(rows), stack.ladder.params.size), np.nan)
    there = np.full((len(rows), working.shape[1]), np.nan)
    for at, row in enumerate(rows):
        bits = bits_of(stack.ladder, row)
        own = None if bits is None else losslike(stack.ladder, bits)
        if bits is None or own is None or np.isnan(own).any():
            continue
        scale = Scale(float(np.average(own, weights=stack.weights)), float(own.std()), stack.weights)
        sigmoid = Sigmoids.fit(
            scale.z(own), stack.ladder.values[[row]], stack.weights, noise[[at]], np.full(1, np.nan)
        )
        here[at], there[at] = sigmoid.at(scale.z(own))[0], sigmoid.at(scale.z(working[bits]))[0]
    return here, there


def bits_of(ladder: Ladder, row: int) -> int | None:
    """Return the metric that has the bits per byte of a task's right answers, by its name; None where there is none."""
    name = ladder.metrics[row].name
    for other, metric in enumerate(ladder.metrics):
        stem = metric.name.removesuffix(_BITS)
        if metric.name.endswith(_BITS) and (name == stem or name.startswith(f"{stem}_")):
            return other
    return None
