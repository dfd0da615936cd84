"""Scaling laws: what loss a model of N parameters has after D tokens, and what more of either buys.

    L(N, D) = E + A / N^a + B / D^b                  nats per token (Hoffmann et al. 2022, arXiv 2203.15556)

E is what no model gets below, the rest is the *excess*. Compute is C = 6 N D floating-point operations. At the
compute-optimal point of C the two shares balance, a A / N^a = b B / D^b, and so with x = C / 6

    N = G x^(b/(a+b)),   D = x^(a/(a+b)) / G,   G = (a A / (b B))^(1/(a+b)),   excess = (A/G^a + B G^b) x^(-ab/(a+b))

The share θ of text-pieces that fail follows from the excess ε, nats per cloze answer, by a link that is an assumption
(`linear`: θ = c ε, Arora and Goyal 2023, arXiv 2307.15936) or a bound (`pinsker`: a piece fails if its loss is 1/2 at
least, so θ is at most twice the total variation, which is at most √(ε/2); together θ = √(2 ε)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

FLOP_PER_PARAMETER_AND_TOKEN = 6.0
LINEAR_SLOPE = 2.0  # pieces per nat

Link = Literal["linear", "pinsker"]
LINKS: tuple[Link, ...] = ("linear", "pinsker")
Array = Float64[np.ndarray, " points"]


@dataclass(frozen=True, slots=True)
class ScalingLaw:
    """The constants of L(N, D): `E` in nats, `A` and `B` in nats at one parameter and one token, exponents `a`, `b`."""

    E: float
    A: float
    B: float
    a: float
    b: float

    def excess(self, params: float | Array, tokens: float | Array) -> float | Array:
        """Return A / N^a + B / D^b in nats."""
        return self.A * params**-self.a + self.B * tokens**-self.b

    def loss(self, params: float | Array, tokens: float | Array) -> float | Array:
        """Return L(N, D) in nats."""
        return self.E + self.excess(params, tokens)

    def optimum(self, compute: float) -> tuple[float, float]:
        """Return the parameters and tokens that lose least for so many floating-point operations."""
        x = compute / FLOP_PER_PARAMETER_AND_TOKEN
        total = self.a + self.b
        return self._balance * x ** (self.b / total), x ** (self.a / total) / self._balance

    def compute_for(self, excess: float) -> float:
        """Return the least compute, in floating-point operations, with this excess in nats (above 0)."""
        at_one = self.A * self._balance**-self.a + self.B * self._balance**self.b
        power = (self.a + self.b) / (self.a * self.b)
        return FLOP_PER_PARAMETER_AND_TOKEN * (at_one / excess) ** power

    @property
    def _balance(self) -> float:
        return (self.a * self.A / (self.b * self.B)) ** (1 / (self.a + self.b))


# The constants as printed, and those that Besiroglu et al. 2024 (arXiv 2404.10102) got from the same figure.
PUBLISHED: Mapping[str, ScalingLaw] = {
    "hoffmann": ScalingLaw(E=1.69, A=406.4, B=410.7, a=0.34, b=0.28),
    "besiroglu": ScalingLaw(E=1.8172, A=482.01, B=2085.43, a=0.3478, b=0.3658),
}


def compute_of(params: float | Array, tokens: float | Array) -> float | Array:
    """Return the floating-point operations of a training run, 6 N D."""
    return FLOP_PER_PARAMETER_AND_TOKEN * params * tokens


def failing_share(excess: float, link: Link, slope: float = LINEAR_SLOPE) -> float:
    """Return θ, the share of text-pieces that fail, for an excess in nats per cloze answer; never above 1.

    `slope` is the c of the link `linear`, pieces per nat. 2 is what a total variation of ε allows.
    """
    share = slope * excess if link == "linear" else float(np.sqrt(2 * excess))
    return min(share, 1.0)


def allowed_excess(failing: float, link: Link, slope: float = LINEAR_SLOPE) -> float:
    """Return the excess in nats that gives a share θ of failing pieces: `failing_share` turned round."""
    return failing / slope if link == "linear" else failing**2 / 2


@dataclass(frozen=True, slots=True)
class Step:
    """From one point of a law to a larger one: the excess in nats `before` and `after`."""

    name: str
    params: float
    tokens: float
    before: float
    after: float

    @property
    def divided_by(self) -> float:
        """By what the excess is divided."""
        return self.before / self.after


def slingshot(law: ScalingLaw, params: float, tokens: float, factor: float) -> list[Step]:
    """Return what `factor` times the parameters, the tokens, both, and the compute do from one point.

    More compute is spent in two ways: along the compute-optimal points, from that of as much compute as here, and by
    the same factor √`factor` for either.
    """
    here = law.excess(params, tokens)
    both = float(np.sqrt(factor))
    ways = {
        "params": (params * factor, tokens),
        "tokens": (params, tokens * factor),
        "params and tokens": (params * factor, tokens * factor),
        "compute, evenly": (params * both, tokens * both),
    }
    steps = [Step(name, *point, float(here), float(law.excess(*point))) for name, point in ways.items()]
    compute = float(compute_of(params, tokens))
    start, end = law.optimum(compute), law.optimum(compute * factor)
    return [
        *steps,
        Step("compute, optimum to optimum", *end, float(law.excess(*start)), float(law.excess(*end))),
    ]
