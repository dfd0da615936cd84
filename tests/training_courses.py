"""Systems whose skills rise at known places of their training, as tables of outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import expit, ndtri

from emergelab.outcomes.reading import as_outcomes
from emergelab.rng import stream

Rate = Callable[[np.ndarray], np.ndarray]
"""Share of right answers by ln of training tokens."""


@dataclass(frozen=True)
class Course:
    """A task: its skills, and its rate; `tokens` is the length of answers, each token as likely."""

    skills: tuple[str, ...]
    rate: Rate
    tokens: int = 1


def rising(tokens: float, *, width: float = 0.6, top: float = 0.98, bottom: float = 0.0) -> Rate:
    """Return a logistic rise, half way at so many tokens."""
    return lambda u: bottom + (top - bottom) * expit((u - np.log(tokens)) / width)


def flat(share: float) -> Rate:
    """Return a rate that never changes."""
    return lambda u: np.full_like(u, share)


def trained(  # noqa: PLR0913 - a table has so many sides
    courses: Mapping[str, Course],
    checkpoints: Sequence[float],
    *,
    items: int = 200,
    seed: int = 0,
    system: str = "s",
    params: float = 1e9,
) -> pl.DataFrame:
    """Return `OUTCOMES` of one system; items have a difficulty of their own at all checkpoints (correlation .3).

    Nats are those of the rate, whatever the item: answers right with probability exp(-nats).
    """
    generator = stream(seed, "courses", system).generator()
    u = np.log(np.maximum(np.asarray(checkpoints, dtype=float), 1e-9))
    parts = []
    for task, course in courses.items():
        rate = np.clip(course.rate(u), 1e-4, 1 - 1e-4)
        shared = np.sqrt(0.3) * generator.normal(size=items)
        own = np.sqrt(0.7) * generator.normal(size=(u.size, items))
        right = shared + own < ndtri(rate)[:, None]
        spread = generator.gamma(20.0, 1 / 20.0, size=items)
        parts.append(
            _frame((system, task), course, (checkpoints, params), (right, -np.log(rate)[:, None] * spread))
        )
    return as_outcomes(pl.concat(parts), "simulated").frame


def _frame(
    names: tuple[str, str],
    course: Course,
    training: tuple[Sequence[float], float],
    values: tuple[np.ndarray, np.ndarray],
) -> pl.DataFrame:
    right, nats = values
    points, items = right.shape
    tokens = np.repeat(np.asarray(training[0], dtype=np.int64), items)
    return pl.DataFrame(
        {
            "system": names[0],
            "checkpoint": [f"at {place}" for place in range(points) for _ in range(items)],
            "params": int(training[1]),
            "train_tokens": tokens,
            "task": names[1],
            "skills": "+".join(course.skills),
            "piece": [f"{names[1]} {item}" for item in range(items)] * points,
            "correct": right.ravel(),
            "nats": nats.ravel(),
            "answer_tokens": course.tokens,
        }
    )
