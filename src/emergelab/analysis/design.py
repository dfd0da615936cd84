"""How large an evaluation of k-tuples of skills must be: combinations, generations of each, graders of each.

A mark is 0 or 1. With a success rate p its variance p(1-p) has parts: a share ρ that all generations of one combination
have in common, a share κ - ρ of a generation's own that its graders agree on (κ is the correlation of two graders'
marks), and 1 - κ of a single grader's. Graders differ in their mean mark by a standard deviation τ. With C combinations
drawn at random, G generations of each and R graders of each generation, all crossed,

    variance of the mean  =  p(1-p) · (ρ/C + (κ-ρ)/(CG) + (1-κ)/(CGR)) + τ²/R

Where the graders themselves are what is meant by success, τ is 0.
"""

# ruff: noqa: RUF002, RUF003 - ρ is the formula's letter

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtr

from emergelab.analysis.intervals import normal_quantile
from emergelab.errors import UserError
from emergelab.rng import Stream

_MOST_GENERATIONS, _MOST_GRADERS = 10, 9
_PERCENT = 100.0


@dataclass(frozen=True, kw_only=True)
class Marks:
    """How marks vary: success rate, ρ between generations of a combination, κ between graders, τ of graders' means."""

    success: float
    alike: float = 0.2
    agreement: float = 0.7
    severity: float = 0.0

    def __post_init__(self) -> None:
        _require("The success rate", self.success, 0 < self.success < 1, "lie between 0 and 1, both excluded")
        _require("The correlation of generations", self.alike, 0 <= self.alike <= 1, "lie between 0 and 1")
        _require(
            "The correlation of graders",
            self.agreement,
            self.alike <= self.agreement <= 1,
            f"lie between that of generations, {self.alike:g}, and 1: what all generations share graders share",
        )
        most = min(self.success, 1 - self.success)
        _require(
            "The standard deviation of graders' means",
            self.severity,
            0 <= self.severity < most,
            f"be at least 0 and below {most:g}, what is left to the nearest end",
        )


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a generation and a grading cost, in any unit."""

    generation: float = 1.0
    grading: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("generation", self.generation), ("grading", self.grading)):
            _require(f"The cost of a {name}", value, value > 0 and math.isfinite(value), "be above 0")


@dataclass(frozen=True, kw_only=True)
class Design:
    """An evaluation with its cost and the half-width of its 95 % interval."""

    combinations: int
    generations: int
    graders: int
    cost: float
    half_width: float


def standard_error(marks: Marks, combinations: int, generations: int, graders: int) -> float:
    """Return the standard deviation of the mean mark over evaluations of this design."""
    spread = marks.success * (1 - marks.success)
    parts = marks.alike + (marks.agreement - marks.alike + (1 - marks.agreement) / graders) / generations
    return math.sqrt(spread * parts / combinations + marks.severity**2 / graders)


def designs(marks: Marks, half_width: float, costs: Costs) -> list[Design]:
    """Return, for each number of graders and generations, the fewest combinations for the half-width, cheapest first.

    Raises `UserError` where the graders' severity alone is wider than wanted, however many combinations there are.
    """
    _require("The half-width", half_width, 0 < half_width < 1, "lie between 0 and 1, both excluded")
    found = sorted(_fitting(marks, half_width, costs), key=lambda design: (design.cost, design.graders))
    if not found:
        least = normal_quantile() * marks.severity / math.sqrt(_MOST_GRADERS)
        raise UserError(
            f"The half-width is {half_width:g}. Graders whose means differ by {marks.severity:g} allow no less than "
            f"{least:.3g} with {_MOST_GRADERS} of them. Ask for a wider interval, or take one grader as the measure."
        )
    return found


def power(marks: Marks, design: Design, above: float) -> float:
    """Return the probability that the lower end of the 95 % interval lies above a share, by the normal law."""
    error = standard_error(marks, design.combinations, design.generations, design.graders)
    return float(ndtr((marks.success - above) / error - normal_quantile()))


def simulate(marks: Marks, design: Design, times: int, stream: Stream) -> Float64[np.ndarray, " times"]:
    """Return the mean marks of so many simulated evaluations: beta laws with the given correlations.

    A combination's rate is beta with mean p and variance ρp(1-p), a generation's beta around it; graders move rates
    towards 0 or 1 by a normal shift, so that their means differ by it.
    """
    generator = stream.generator()
    shape = (times, design.combinations, design.generations)
    combinations = _beta(generator, np.full(shape[:2], marks.success), marks.alike)
    own = 0.0 if marks.alike == 1 else (marks.agreement - marks.alike) / (1 - marks.alike)
    rates = _beta(generator, np.broadcast_to(combinations[..., None], shape), own)
    total = np.zeros(times)
    most = min(marks.success, 1 - marks.success)
    for _ in range(design.graders):
        shift = np.clip(marks.severity * generator.standard_normal(times), -most, most)[:, None, None]
        graded = np.where(
            shift > 0, rates + shift * (1 - rates) / (1 - marks.success), rates * (1 + shift / marks.success)
        )
        total += (generator.random(shape) < graded).mean(axis=(1, 2))
    return total / design.graders


def _fitting(marks: Marks, half_width: float, costs: Costs) -> Iterator[Design]:
    wanted = (half_width / normal_quantile()) ** 2
    for generations, graders in itertools.product(
        range(1, _MOST_GENERATIONS + 1), range(1, _MOST_GRADERS + 1)
    ):
        left = wanted - marks.severity**2 / graders
        if left <= 0:
            continue
        one = standard_error(marks, 1, generations, graders) ** 2 - marks.severity**2 / graders
        combinations = max(2, math.ceil(one / left * (1 - 1e-12)))
        error = standard_error(marks, combinations, generations, graders)
        yield Design(
            combinations=combinations,
            generations=generations,
            graders=graders,
            cost=combinations * generations * (costs.generation + graders * costs.grading),
            half_width=normal_quantile() * error,
        )


def _beta(generator: np.random.Generator, mean: np.ndarray, correlation: float) -> np.ndarray:
    """Draw rates with this mean and the variance `correlation` times mean (1 - mean)."""
    if correlation <= 0:
        return np.array(mean)
    if correlation >= 1:
        return (generator.random(mean.shape) < mean).astype(np.float64)
    size = 1 / correlation - 1
    inside = np.clip(mean, 1e-12, 1 - 1e-12)
    return generator.beta(inside * size, (1 - inside) * size)


def _require(name: str, value: float, holds: bool, rule: str) -> None:  # noqa: FBT001 - the rule's outcome
    if holds:
        return
    remedy = f"{value:g} % is {value / _PERCENT:g}." if 1 < value <= _PERCENT else "Give another number."
    raise UserError(f"{name} is {value:g}. It must {rule}. {remedy}")
