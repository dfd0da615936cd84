"""What a test comes to: an effect with its interval against a limit, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["supported", "not supported", "undecided"]
Side = Literal["above", "below"]

SUPPORTED: Verdict = "supported"
NOT_SUPPORTED: Verdict = "not supported"
UNDECIDED: Verdict = "undecided"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An effect with its 95 % interval, what it was held against, and what follows.

    `limit` is what the whole interval must lie `side` of; None where the test has no number to be held against.
    `n` counts what `of_what` names, such as answers; `seeds` the repetitions (0 where nothing was trained).
    """

    effect: float | None
    lo: float | None
    hi: float | None
    limit: float | None
    side: Side | None
    n: int
    of_what: str
    seeds: int
    method: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An effect with its interval, before it is judged."""

    effect: float | None
    lo: float | None
    hi: float | None
    n: int
    of_what: str
    seeds: int
    method: str
    why_not: str = ""  # nothing can be said, and why


def nothing(why: str, of_what: str = "answers") -> Measured:
    """Return that nothing was measured, and why."""
    return Measured(
        effect=None, lo=None, hi=None, n=0, of_what=of_what, seeds=0, method=f"none: {why}", why_not=why
    )


def found(
    measured: Measured, verdict: Verdict, reason: str, held: tuple[float, Side] | None = None
) -> Finding:
    """Return what was measured with its verdict; `held` is the limit and the side of it, where there is one."""
    limit, side = held or (None, None)
    return Finding(
        effect=measured.effect,
        lo=measured.lo,
        hi=measured.hi,
        limit=limit,
        side=side,
        n=measured.n,
        of_what=measured.of_what,
        seeds=measured.seeds,
        method=measured.method,
        verdict=verdict,
        reason=reason,
    )


def judged(measured: Measured, limit: float, side: Side) -> Finding:
    """Judge an effect: only an interval that lies wholly on one side of the limit decides."""
    return found(measured, *_judgement(measured, limit, side), (limit, side))


def _judgement(measured: Measured, limit: float, side: Side) -> tuple[Verdict, str]:
    lo, hi = measured.lo, measured.hi
    if measured.why_not or lo is None or hi is None or math.isnan(lo) or math.isnan(hi):
        return UNDECIDED, measured.why_not or "there is no interval"
    if lo > limit:
        return (SUPPORTED if side == "above" else NOT_SUPPORTED), "the whole interval lies above the limit"
    if hi < limit:
        return (SUPPORTED if side == "below" else NOT_SUPPORTED), "the whole interval lies below the limit"
    return UNDECIDED, "the limit lies within the interval"
