"""The form of a scaling law as a batch of curves for `robust`: logarithms of everything, positions about their mean.

    log L = log( e^p0 + e^(p1 - a u) + e^(p2 - b v + c u) ),   a = e^p3, b = e^p4, c = p5 (left out: 0)

with u and v the logarithms of parameters and tokens less `centre`. c lets the part that more tokens take away depend on
the size of the model: with c = b - a it depends on tokens per parameter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from emergelab.analysis.scaling.robust import Jacobian, Model, Parameters, Values
from emergelab.theory.scaling import ScalingLaw

Points = Float64[np.ndarray, " points"]

# Bounds of p: a share of the loss of e^-16 is none; exponents from .01 to 4.
LOW = np.array([-16.0, -30.0, -30.0, np.log(0.01), np.log(0.01), -1.5])
HIGH = np.array([12.0, 30.0, 30.0, np.log(4.0), np.log(4.0), 1.5])
E_AT, A_AT, B_AT, LOG_A_AT, LOG_B_AT, BEND_AT = range(6)
PLAIN, BENT = 5, 6  # numbers of parameters without c and with it


@dataclass(frozen=True)
class Positions:
    """Where the points lie: `u` and `v`, logarithms of parameters and tokens less `centre`."""

    u: Points
    v: Points
    centre: tuple[float, float]

    @staticmethod
    def of(params: Points, tokens: Points) -> Positions:
        """Return the positions about the points' own mean."""
        return Positions.about(params, tokens, (float(np.log(params).mean()), float(np.log(tokens).mean())))

    @staticmethod
    def about(params: Points, tokens: Points, centre: tuple[float, float]) -> Positions:
        """Return the positions about a given centre."""
        return Positions(np.log(params) - centre[0], np.log(tokens) - centre[1], centre)


def log_curve(positions: Positions) -> Model:
    """Return log L at the positions, the same for every fit of a batch."""

    def curve(parameters: Parameters, _rows: np.ndarray) -> tuple[Values, Jacobian]:
        p = parameters[:, :, None]
        a, b = np.exp(p[:, LOG_A_AT]), np.exp(p[:, LOG_B_AT])
        bent = parameters.shape[1] == BENT
        bend = p[:, BEND_AT] * positions.u if bent else 0.0
        floor = np.exp(p[:, E_AT]) + 0.0 * positions.u
        size = np.exp(p[:, A_AT] - a * positions.u)
        data = np.exp(p[:, B_AT] - b * positions.v + bend)
        total = floor + size + data
        slopes = [floor, size, data, -a * positions.u * size, -b * positions.v * data]
        if bent:
            slopes.append(positions.u * data)
        return np.log(total), np.stack(slopes, axis=-1) / total[..., None]

    return curve


def starts(middle: float, parameters: int) -> Parameters:
    """Return starting points: E a small to a large share of the loss e^`middle`, exponents flat to steep."""
    grid = np.meshgrid([0.15, 0.5, 0.85], [0.15, 0.35, 0.7], [0.15, 0.35, 0.7], indexing="ij")
    share, a, b = (axis.ravel() for axis in grid)
    rest = middle + np.log((1 - share) / 2)
    columns = [middle + np.log(share), rest, rest, np.log(a), np.log(b), np.zeros_like(a)]
    return np.stack(columns[:parameters], axis=1)


def as_law(parameters: Float64[np.ndarray, " parameters"], positions: Positions) -> ScalingLaw:
    """Return one fit of five parameters as a law."""
    return laws(parameters[None, :], positions)[0]


def laws(parameters: Parameters, positions: Positions) -> list[ScalingLaw]:
    """Return every fit of five parameters as a law; what overflows is infinite."""
    a, b = np.exp(parameters[:, LOG_A_AT]), np.exp(parameters[:, LOG_B_AT])
    with np.errstate(over="ignore"):
        size = np.exp(parameters[:, A_AT] + a * positions.centre[0])
        data = np.exp(parameters[:, B_AT] + b * positions.centre[1])
    floor = np.exp(parameters[:, E_AT])
    return [ScalingLaw(*(float(one) for one in row)) for row in zip(floor, size, data, a, b, strict=True)]
