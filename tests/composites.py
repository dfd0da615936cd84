"""Tables of outcomes with composites whose law is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from emergelab.outcomes.schema import ORDER, OUTCOMES


def table(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Return rows as `OUTCOMES`; system, checkpoint, piece and sample have values of their own where not told."""
    whole = [
        dict.fromkeys(OUTCOMES)
        | {"system": "s", "checkpoint": "c0", "train_tokens": 0, "sample": 0, "piece": row.get("input") or f"p{place}"}
        | row
        for place, row in enumerate(rows)
    ]  # fmt: skip
    return pl.DataFrame(whole, schema=OUTCOMES).sort(ORDER)


def asked(task: str, skills: Sequence[str], right: Sequence[bool], **told: Any) -> list[dict[str, Any]]:
    """Return answers to items without inputs."""
    return [
        {"task": task, "skills": list(skills), "piece": f"{task}{place}", "correct": bool(one)} | told
        for place, one in enumerate(right)
    ]


def simulated(  # noqa: PLR0913 - a table has so many sides
    law: Callable[[np.ndarray], float],
    pairs: Sequence[Sequence[str]],
    rates: Sequence[dict[str, float]],
    *,
    items: int = 200,
    seed: int = 0,
    systems: int = 1,
) -> pl.DataFrame:
    """Return answers of systems at as many checkpoints as `rates` (of skills); composites succeed by `law`."""
    generator = np.random.default_rng(seed)
    parts: list[pl.DataFrame] = []
    skills = sorted(rates[0])
    for system in range(systems):
        for place, now in enumerate(rates):
            asked_of: list[tuple[str, list[str], float]] = [(name, [name], now[name]) for name in skills]
            asked_of += [
                ("-".join(pair), list(pair), law(np.array([now[name] for name in pair]))) for pair in pairs
            ]
            for task, needed, rate in asked_of:
                frame = pl.DataFrame(
                    {
                        "task": [task] * items,
                        "skills": [needed] * items,
                        "piece": [f"{task}{item}" for item in range(items)],
                        "correct": generator.random(items) < rate,
                    }
                )
                parts.append(
                    frame.with_columns(
                        system=pl.lit(f"s{system}"),
                        checkpoint=pl.lit(f"c{place:02}"),
                        train_tokens=pl.lit(place + 1, pl.Int64),
                        sample=pl.lit(0, pl.Int32),
                    )
                )
    whole = pl.concat(parts)
    missing = [pl.lit(None, kind).alias(name) for name, kind in OUTCOMES.items() if name not in whole.columns]
    return (
        whole.with_columns(missing)
        .select(pl.col(name).cast(kind) for name, kind in OUTCOMES.items())
        .sort(ORDER)
    )
