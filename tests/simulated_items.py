"""Simulated items of a study: right or wrong answers and nats whose true means are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import polars as pl

from emergelab.analysis.aggregate import CELLS
from emergelab.analysis.hypotheses.differences import Tables
from emergelab.scores.tables import BOUNDS, ITEMS

Kind = tuple[str, str, str]
SINGLE: Kind = ("single", "direct", "seen")


@dataclass(frozen=True, kw_only=True)
class Size:
    """A size with runs of `seeds`, read at these token counts."""

    layers: int
    seeds: Sequence[int] = (0, 1)
    tokens: Sequence[int] = (100,)


def cell_name(layers: int, seed: int, tokens: int) -> str:
    return f"layers={layers},seed={seed},tokens={tokens}"


def cells_of(sizes: Sequence[Size], ideal: bool = True) -> pl.DataFrame:  # noqa: FBT001, FBT002
    rows: list[dict[str, object]] = [
        {
            "cell": cell_name(size.layers, seed, tokens),
            "layers": size.layers,
            "width": 8,
            "params": 100 * size.layers,
            "train_tokens": tokens,
            "flops": 600.0 * size.layers * tokens,
            "seed": seed,
            "loss": 5.0 / size.layers - tokens / 1e6,
        }
        for size in sizes
        for seed, tokens in product(size.seeds, size.tokens)
    ]
    return pl.DataFrame([*rows, *([{"cell": "ideal"}] if ideal else [])], schema=CELLS)


def items_of(
    cells: Sequence[str],
    kinds: Sequence[Kind],
    prompts: int,
    value: Callable[[str, Kind, int], tuple[np.ndarray, np.ndarray]],
    shots: int = 1,
) -> pl.DataFrame:
    """Return whole answers and their only step; `value` gives right and nats of the prompts of a cell, kind, shot."""
    frames: list[pl.DataFrame] = []
    for cell, kind, shot in product(cells, kinds, range(shots)):
        right, nats = value(cell, kind, shot)
        answers = pl.DataFrame(
            {
                "cell": cell,
                "predictor": "ideal" if cell.startswith("ideal") else "model",
                "task": kind[0],
                "form": kind[1],
                "split": kind[2],
                "decoding": "teacher_forced",
                "prompt": np.arange(prompts),
                "shot": shot,
                "argument": "fresh",
                "correct": right.astype(bool),
                "nats": nats,
                "chance": 0.1,
            }
        )
        frames += [answers.with_columns(step=pl.lit(step)) for step in (0, 1)]
    return pl.concat(frames).select(pl.col(name).cast(kind) for name, kind in ITEMS.items())


def tables(items: pl.DataFrame, cells: pl.DataFrame, bounds: Sequence[dict[str, object]] = ()) -> Tables:
    return Tables(items, cells, pl.DataFrame(list(bounds), schema=BOUNDS))


def bound(kind: Kind, nats: float | None, answers: int, length: float | None = None) -> dict[str, object]:
    """Return a row of `BOUNDS` under the law `full`."""
    named = dict(zip(("task", "form", "split"), kind, strict=True))
    errors = None if nats is None else nats / np.log(2)
    return {
        "law": "full",
        **named,
        "answers": answers,
        "D_nats": length,
        "bound_nats": nats,
        "bound_errors": errors,
    }
