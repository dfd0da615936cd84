"""A table of outcomes without faults, whose parts can be spoiled one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
from scipy.special import expit, ndtri

from emergelab import rng
from emergelab.outcomes.findings import Finding
from emergelab.outcomes.schema import ORDER, OUTCOMES
from emergelab.outcomes.screens import screen

SKILLS: Mapping[str, tuple[str, ...]] = {
    "a": ("a",),
    "b": ("b",),
    "c": ("c",),
    "ab": ("a", "b"),
    "bc": ("b", "c"),
    "ac": ("a", "c"),
}


@dataclass(frozen=True, kw_only=True)
class Design:
    """How many of what there are, and how right answers come with training."""

    systems: int = 4
    items: int = 60
    levels: Sequence[float] = (0.2, 0.35, 0.5, 0.6, 0.7, 0.8)
    skills: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: SKILLS)
    key: int = 0


def sound(design: Design | None = None) -> pl.DataFrame:
    """Return the answers of a system that takes the likeliest one: right where its probability is above 1/2.

    At a checkpoint each is right with the level's probability, independently of all others.
    """
    design = design or Design()
    skills, draw = design.skills, rng.stream(design.key, "sound").generator()
    tasks = pl.DataFrame({"task": list(skills), "skills": [list(needed) for needed in skills.values()]})
    numbers = range(design.systems)
    systems = pl.DataFrame({"system": [f"s{i}" for i in numbers], "params": [10**8 * 2**i for i in numbers]})
    places = range(len(design.levels))
    checkpoints = pl.DataFrame(
        {
            "checkpoint": [f"step{100 * 2**i}" for i in places],
            "train_tokens": [10**9 * 2**i for i in places],
            "loss": [4 - 0.2 * i for i in places],
            "level": design.levels,
        }
    )
    pieces = pl.DataFrame({"piece": [f"i{i}" for i in range(design.items)]})
    every = systems.join(checkpoints, how="cross").join(tasks, how="cross").join(pieces, how="cross")
    odds = ndtri(every["level"].to_numpy()) + draw.normal(0, 1, every.height)
    probability = expit(3 * odds)
    named = every.with_columns(
        probability=pl.Series(probability),
        correct=pl.Series(odds > 0),
        input=pl.format("{}:{}?", "task", "piece"),
        target=pl.format("{} of {}", "piece", "task"),
        sample=pl.lit(0),
        chance=pl.lit(0.0),
        answer_tokens=pl.lit(2),
        shots=pl.lit(5),
        flops=6.0 * pl.col("params") * pl.col("train_tokens"),
    )
    measured = named.with_columns(nats=-pl.col("probability").log(), cloze_loss=1 - pl.col("probability"))
    return conform(measured)


def conform(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of `OUTCOMES`, in its order; missing ones are null."""
    missing = [pl.lit(None, kind).alias(name) for name, kind in OUTCOMES.items() if name not in frame.columns]
    whole = frame.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in OUTCOMES.items())
    return whole.sort(ORDER)


def found(frame: pl.DataFrame, name: str) -> list[Finding]:
    """Return what the screen of this name finds."""
    return [finding for finding in screen(frame) if finding.screen == name]


def only(frame: pl.DataFrame, name: str) -> Finding:
    """Return the one thing that the screen of this name finds."""
    (finding,) = found(frame, name)
    return finding
