"""What it takes: from a competence wanted on a share of skills back to θ, excess loss, parameters, tokens, compute.

The steps are those of slingshot generalisation turned round: a curve gives the share θ of failing pieces that
is low enough, a link the excess cross-entropy in nats per cloze answer, a scaling law the cheapest point with that
excess. The last step takes the excess per token of text for the excess per cloze answer, as Arora and Goyal 2023
(arXiv 2307.15936) do.
"""

from __future__ import annotations

from dataclasses import dataclass

from emergelab.theory.curve_checks import share_of
from emergelab.theory.curves import Curve, TupleKind, Tuples, largest_theta
from emergelab.theory.scaling import LINEAR_SLOPE, Link, ScalingLaw, allowed_excess

SINGLE = Tuples(size=1, kind=TupleKind.concatenated)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """All but the worst 1 - `share` of tuples of skills shall fail no more than 1 - `competence`.

    Pieces need `k` skills. Raises `CurveError` unless both are shares.
    """

    competence: float
    share: float
    k: int
    tuples: Tuples = SINGLE
    curve: Curve = Curve.exact

    def __post_init__(self) -> None:
        share_of("competence", self.competence)
        share_of("share", self.share)


@dataclass(frozen=True, kw_only=True)
class Need:
    """The least that fulfils a wish: θ of pieces, the excess in nats, and the cheapest model with that excess.

    `params`, `tokens` and `compute` (floating-point operations) are None where no law was named.
    """

    theta: float
    link: Link
    excess: float
    params: float | None = None
    tokens: float | None = None
    compute: float | None = None


def theta_needed(wish: Wish) -> float:
    """Return the largest share θ of failing pieces that fulfils a wish."""
    k = wish.tuples.k(wish.k)
    of_tuples = largest_theta(wish.curve, 1 - wish.competence, 1 - wish.share, k)
    return float(wish.tuples.single_theta(of_tuples))


def need(wish: Wish, link: Link, law: ScalingLaw | None = None, slope: float = LINEAR_SLOPE) -> Need:
    """Return what fulfils a wish under a named link; `slope` is that of `linear`, in pieces per nat."""
    theta = theta_needed(wish)
    excess = allowed_excess(theta, link, slope)
    if law is None:
        return Need(theta=theta, link=link, excess=excess)
    compute = law.compute_for(excess)
    params, tokens = law.optimum(compute)
    return Need(theta=theta, link=link, excess=excess, params=params, tokens=tokens, compute=compute)
