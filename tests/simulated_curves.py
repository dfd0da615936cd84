"""Simulated curves whose thresholds, jumps and artefacts are known, and how often the statistics find them.

`.venv/bin/python tests/simulated_curves.py thresholds 50` prints the first table of docs/emergence-statistics.md;
`breaks 40` and `metrics 40` the others. A quarter of an hour each.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtri

from emergelab.analysis.emergence import curves
from emergelab.analysis.emergence.breaks import find_break
from emergelab.analysis.emergence.curves import Curve, Scale
from emergelab.analysis.emergence.metrics import TaskCurves, across_metrics
from emergelab.analysis.emergence.rises import fit_rises
from emergelab.analysis.emergence.thresholds import sharpness_of, threshold_of
from emergelab.analysis.estimate import Estimate
from emergelab.rng import stream

TENTH = 2 * np.log(9)
RANGE = np.log(1000)  # of the scale, in every simulation
ALIKE = 0.3  # correlation of the answers of two runs to one prompt, on a normal scale


@dataclass(frozen=True)
class Grid:
    """How a curve is measured: `course` says that the points of a seed are of one run."""

    points: int
    seeds: int
    prompts: int = 200
    course: bool = False

    def scale(self) -> Scale:
        return Scale(1000.0 * np.exp(np.linspace(0, RANGE, self.points)))

    def __str__(self) -> str:
        one = "same runs" if self.course else "new runs"
        return f"{self.points} x {self.seeds}, {one}" if self.seeds > 1 else f"{self.points} x 1"


@dataclass(frozen=True)
class World:
    """How runs rise from .1 to .95: the shape, its width from 10 to 90 %, and how far their places scatter."""

    shape: str
    width: float
    differ: float = 0.0

    def __str__(self) -> str:
        width = "" if self.shape == "step" else f" of width {self.width:g}"
        return f"{self.shape}{width}" + (f", places differ by {self.differ:g}" if self.differ else "")


SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "logistic": expit,
    "Gompertz": lambda z: np.exp(-np.log(2) * np.exp(-np.clip(z * 0.702, -50, 50))),
    "step": lambda z: (z > 0).astype(float),
}
WORLDS = [
    World("logistic", 4),
    World("logistic", 2),
    World("logistic", 1, 0.5),
    World("Gompertz", 2),
    World("Gompertz", 2, 0.5),
    World("step", 0),
    World("step", 0, 0.7),
]
GRIDS = [Grid(4, 2), Grid(4, 5, course=True), Grid(12, 2), Grid(12, 3, course=True), Grid(8, 5)]
ALONE = [Grid(4, 1), Grid(12, 1)]


def answers(accuracy: np.ndarray, prompts: int, generator: np.random.Generator) -> np.ndarray:
    """Return right (1.0) and wrong answers; each run has its accuracy, each prompt its difficulty for all runs."""
    prompt = generator.normal(size=prompts)
    own = generator.normal(size=(*accuracy.shape, prompts))
    difficulty = np.sqrt(ALIKE) * prompt + np.sqrt(1 - ALIKE) * own
    return (difficulty < ndtri(accuracy)[:, :, None]).astype(float)


def rising(world: World, grid: Grid, number: int) -> tuple[Curve, float]:
    """Return a curve and the place of a typical run's threshold, in x."""
    generator = stream(number, "curve", str(world), str(grid)).generator()
    scale = grid.scale()
    place = generator.uniform(0.25, 0.75) * RANGE + np.log(1000)
    differ = generator.normal(size=(1 if grid.course else grid.points, grid.seeds)) * world.differ
    width = world.width / TENTH or 1.0
    done = SHAPES[world.shape]((scale.positions()[:, None] - place - differ) / width)
    right = answers(0.1 + 0.85 * done, grid.prompts, generator)
    return curves.of_answers(scale, right, rising=True), float(np.exp(place))


def holds(estimate: Estimate, truth: float) -> bool:
    """Tell whether an interval, open at ends that are None, holds the truth."""
    return (estimate.lo is None or estimate.lo <= truth) and (estimate.hi is None or truth <= estimate.hi)


def coverage(world: World, grid: Grid, number: int) -> dict[str, float]:
    """Return the coverage of each interval over `number` curves, and the hull's median width in logarithms of x."""
    held: Counter[str] = Counter()
    widths: list[float] = []
    for one in range(number):
        curve, truth = rising(world, grid, one)
        rises = fit_rises(curve, stream(one, "draws"))
        found, sharp = threshold_of(curve, rises), sharpness_of(curve, rises)
        held["hull"] += holds(found.hull, truth)
        held["bracket"] += holds(found.bracket, truth)
        held["curve"] += holds(found.curve, truth)
        held["sharpness"] += holds(sharp, world.width)
        lo, hi = (
            np.log(end) if end else bound for end, bound in ((found.hull.lo, 0), (found.hull.hi, np.inf))
        )
        widths.append(float(hi - lo) if found.hull.lo else np.inf)
    shares = {name: held[name] / number for name in ("hull", "bracket", "curve", "sharpness")}
    return shares | {"width": float(np.median(widths))}


# Smooth or broken: means over the scale, t from 0 to 1, of shares of right answers or of nats.
SMOOTH_SHARES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "line": lambda t: 0.2 + 0.6 * t,
    "wide sigmoid": lambda t: 0.1 + 0.85 * expit((t - 0.5) / 0.15),
    "sigmoid at the limit": lambda t: 0.1 + 0.85 * expit((t - 0.5) / 0.1212),
    "accelerating": lambda t: 0.1 + 0.5 * np.maximum(t, 0) ** 1.5,
    "flat": lambda t: 0.3 + 0 * t,
}
SMOOTH_NATS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "power law": lambda t: 0.2 + 2 * np.exp(-2 * t),
    "levelling line": lambda t: np.logaddexp(0, -(t - 0.6) / 0.12),
}
JUMPING_SHARES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "step": lambda t: 0.1 + 0.8 * (t > 0.53),
    "small step": lambda t: 0.2 + 0.3 * (t > 0.53),
    "step on a slope": lambda t: 0.1 + 0.2 * t + 0.4 * (t > 0.44),
    "sharp sigmoid": lambda t: 0.1 + 0.8 * expit((t - 0.53) / 0.03),
}
JUMPING_NATS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "step in nats": lambda t: 2 - 1.7 * (t > 0.53),
}
LONG = [Grid(8, 1), Grid(12, 1, 300), Grid(12, 2), Grid(12, 3, course=True)]


def runs(form: Callable[[np.ndarray], np.ndarray], grid: Grid, generator: np.random.Generator) -> np.ndarray:
    """Return [points, seeds] of a curve whose runs differ by a fiftieth of the range in their place."""
    differ = generator.normal(size=(1 if grid.course else grid.points, grid.seeds)) * 0.02 * (grid.seeds > 1)
    return form(np.linspace(0, 1, grid.points)[:, None] + differ)


def spent(nats: np.ndarray, prompts: int, generator: np.random.Generator) -> np.ndarray:
    """Return nats of single answers around a mean, skewed as nats are."""
    return nats[:, :, None] * generator.gamma(2.0, 0.5, size=(*nats.shape, prompts))


def share_curve(form: Callable[[np.ndarray], np.ndarray], grid: Grid, number: int) -> Curve:
    generator = stream(number, "share").generator()
    right = answers(runs(form, grid, generator), grid.prompts, generator)
    return curves.of_answers(grid.scale(), right, rising=True)


def nats_curve(form: Callable[[np.ndarray], np.ndarray], grid: Grid, number: int) -> Curve:
    generator = stream(number, "nats").generator()
    nats = spent(runs(form, grid, generator), grid.prompts, generator)
    return curves.of_answers(grid.scale(), nats, rising=False)


def verdicts(draw: Callable[[int], Curve], number: int, simulations: int = 499) -> dict[str, float]:
    """Return the shares of the verdicts over `number` curves."""
    found = Counter(
        find_break(draw(one), stream(one, "draws"), simulations=simulations).verdict for one in range(number)
    )
    return {name: found[name] / number for name in ("jump", "no jump", "undecided")}


# Per-token probabilities over the scale. An answer has TOKENS of them and is right if all are drawn right.
TOKENS = 5
PER_TOKEN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda t: np.clip(0.2 + 0.78 * t, 0.01, 0.995),
    "logistic": lambda t: expit(-3 + 7 * t),
    "jump": lambda t: np.where(t > 0.53, 0.97, 0.4),
}


def several_tokens(form: Callable[[np.ndarray], np.ndarray], grid: Grid, number: int) -> TaskCurves:
    """Return exact match, probability and nats of answers of several tokens, the same answers in each metric."""
    generator = stream(number, "tokens").generator()
    token = runs(form, grid, generator)
    nats = spent(-TOKENS * np.log(token), grid.prompts, generator)
    right = answers(token**TOKENS, grid.prompts, generator)
    return TaskCurves(
        curves.of_answers(grid.scale(), right, rising=True),
        curves.of_answers(grid.scale(), nats, rising=False),
        curves.of_answers(grid.scale(), np.exp(-nats), rising=True),
    )


def judged(form: Callable[[np.ndarray], np.ndarray], grid: Grid, number: int) -> dict[str, float]:
    """Return the shares of the verdicts across metrics over `number` tasks."""
    found = Counter(
        across_metrics(several_tokens(form, grid, one), stream(one, "draws")).verdict for one in range(number)
    )
    return {name: count / number for name, count in sorted(found.items())}


def print_thresholds(number: int) -> None:
    for world in WORLDS:
        for grid in [*GRIDS, *ALONE]:
            print(f"| {world} | {grid} | {row(coverage(world, grid, number))} |", flush=True)  # noqa: T201 - its output


def print_breaks(number: int) -> None:
    shares, nats = SMOOTH_SHARES | JUMPING_SHARES, SMOOTH_NATS | JUMPING_NATS
    for name in [*shares, *nats]:
        draw, form = (share_curve, shares[name]) if name in shares else (nats_curve, nats[name])
        for grid in LONG:
            found = verdicts(lambda one, form=form, grid=grid, draw=draw: draw(form, grid, one), number)
            print(f"| {name} | {grid} | {row(found)} |", flush=True)  # noqa: T201 - its output


def print_metrics(number: int) -> None:
    for name, form in PER_TOKEN.items():
        for grid in LONG:
            print(f"| {name} | {grid} | {judged(form, grid, number)} |", flush=True)  # noqa: T201 - its output


def row(found: dict[str, float]) -> str:
    return " | ".join(f"{share:.2f}" for share in found.values())


if __name__ == "__main__":
    parts = {"thresholds": print_thresholds, "breaks": print_breaks, "metrics": print_metrics}
    parts[sys.argv[1]](int(sys.argv[2]))
