"""Ratios of running times, measured so that a busy machine hurts both sides alike."""

import statistics
import time
from collections.abc import Callable
from typing import TypedDict


class Spread(TypedDict):
    """Smallest, middle and largest of several values."""

    min: float
    median: float
    max: float


class Ratio(TypedDict):
    """How many times as fast the candidate is as the baseline; above 1 the candidate is faster."""

    ratio: Spread
    baseline_seconds: Spread
    candidate_seconds: Spread
    repetitions: int


def interleave(
    baseline: Callable[[], object], candidate: Callable[[], object], repetitions: int = 5, *, warm_up: int = 1
) -> Ratio:
    """Time two functions in turn and return baseline seconds / candidate seconds, pair by pair.

    Each of the `repetitions` gives one ratio of two neighbouring runs, so that a slow phase of the
    machine cancels; the order within a pair alternates, so that neither always comes first. Both are
    first called `warm_up` times untimed (compilation, caches). Raises ValueError below one repetition.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions must be at least 1. Got {repetitions}.")
    for _ in range(warm_up):
        baseline()
        candidate()
    pairs = [_pair(baseline, candidate, swap=bool(i % 2)) for i in range(repetitions)]
    return {
        "ratio": spread([slow / fast for slow, fast in pairs]),
        "baseline_seconds": spread([slow for slow, _ in pairs]),
        "candidate_seconds": spread([fast for _, fast in pairs]),
        "repetitions": repetitions,
    }


def spread(values: list[float]) -> Spread:
    """Return the smallest, middle and largest of `values`, which must not be empty."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def seconds(function: Callable[[], object]) -> float:
    """Return the wall-clock seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _pair(
    baseline: Callable[[], object], candidate: Callable[[], object], *, swap: bool
) -> tuple[float, float]:
    if swap:
        fast = seconds(candidate)
        return seconds(baseline), fast
    slow = seconds(baseline)
    return slow, seconds(candidate)
