"""Differences of means over prompts, over any choice of models, tasks and references, with an interval.

Whatever is asked is a weighted sum of means over prompts, one mean for each cell and question. Two sources of chance
are crossed in it. *Runs* differ by their seed: what a run adds to the sum varies between the seeds of one size, and
these variances are pooled over the sizes. *Prompts* are the same for all runs: prompt p of one task has the functions
and arguments of prompt p of its other form and of every number of examples, so that all that is asked of prompt p is
one cluster, of which what it gives to several runs alike is added (Cameron, Gelbach and Miller 2011, J. Bus. Econ.
Stat. 29:238). Prompts of different tasks are independent, and clusters of independent parts are still clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64

from emergelab.analysis import intervals
from emergelab.analysis.hypotheses.measures import (
    COUNTS,
    SHARES,
    Measure,
    Question,
    Reference,
    ideal_cells,
    per_prompt,
)
from emergelab.analysis.hypotheses.verdicts import Measured, nothing

NO_ANSWERS = "nothing was scored that the hypothesis asks for"
NO_IDEAL = "the ideal predictor is out of reach"
NO_BOUND = "there is no bound: no derivation prints the task"
INFINITE = "infinite nats: an answer without any probability"
OVER_SEEDS = "student_t over seeds and prompts"
OVER_PROMPTS = "student_t over prompts, of these runs: one seed"
_RUN = ("layers", "width", "params", "unique_documents", "variant")

Matrix = Float64[np.ndarray, "runs prompts"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """Means of the same questions over the same cells, and what each is taken against, prompt by prompt.

    `weight` is that of the mean over all of them: 1, or -1 for what is taken away.
    """

    weight: float
    cells: tuple[str, ...]
    questions: tuple[Question, ...]
    minus: Reference | None = None


@dataclass(frozen=True)
class Tables:
    """What a study measured: `items` are `ITEMS`, `cells` describe them (`CELLS`), `bounds` are `BOUNDS`."""

    items: pl.DataFrame
    cells: pl.DataFrame
    bounds: pl.DataFrame


def difference(tables: Tables, measure: Measure, sides: Sequence[Side]) -> Measured:
    """Return the weighted sum of all sides with its 95 % interval.

    With several seeds the interval holds for new runs on new prompts. What varies between seeds has Student's
    quantile at the degrees of freedom that all sizes together have: runs of one seed and different sizes are taken
    to be independent. What prompts give to all runs alike has that of as many prompts. The squares of the two margins
    add up (Zou and Donner 2008, Statist. Med. 27:1693): at one quantile for both, two seeds would make nothing of many
    prompts. With one seed the interval holds for these very runs, on new prompts.
    """
    parts: list[pl.DataFrame] = []
    for side in sides:
        for question in side.questions:
            values = _values(tables, measure, side, question)
            if isinstance(values, str):
                return nothing(values)
            parts.append(_influences(values, side))
    most = _most(sides, measure)
    return _estimated(pl.concat(parts), tables.cells, (measure in COUNTS, most))


def _values(tables: Tables, measure: Measure, side: Side, question: Question) -> pl.DataFrame | str:
    """Return the value of every prompt in every cell of a side, less its reference; or why there is none."""
    cells = tables.items.filter(pl.col("cell").is_in(side.cells))
    values = per_prompt(cells, measure, question)
    if values["cell"].n_unique() < len(side.cells):
        return NO_ANSWERS
    if side.minus == "chance":
        values = values.with_columns(value=pl.col("value") - pl.col("guess"))
    elif side.minus == "bound":
        values = _less_bound(values, tables, measure, question)
    elif side.minus is not None:
        values = _less_ideal(values, tables, measure, (side, question))
    if isinstance(values, str):
        return values
    return values if values["value"].is_finite().all() else INFINITE


def _less_ideal(
    values: pl.DataFrame, tables: Tables, measure: Measure, asked: tuple[Side, Question]
) -> pl.DataFrame | str:
    side, question = asked
    links = ideal_cells(side.cells, tables.cells, str(side.minus))
    ideal = per_prompt(
        tables.items.filter(pl.col("cell").is_in(sorted(set(links.values())))), measure, question
    )
    linked = pl.DataFrame(
        {"cell": list(links), "ideal": list(links.values())},
        schema=dict.fromkeys(("cell", "ideal"), pl.String),
    )
    known = ideal.select("prompt", pl.col("cell").alias("ideal"), paid="value")
    pairs = values.join(linked, on="cell", maintain_order="left").join(
        known, on=["ideal", "prompt"], maintain_order="left"
    )
    if pairs["cell"].n_unique() < len(side.cells):
        return NO_IDEAL
    return pairs.with_columns(value=pl.col("value") - pl.col("paid"))


def _less_bound(
    values: pl.DataFrame, tables: Tables, measure: Measure, question: Question
) -> pl.DataFrame | str:
    column = "bound_errors" if measure == "errors" else "bound_nats"
    bounds = bound_of(tables.bounds, question).select("variant", bound=column)
    variants = tables.cells.select("cell", "variant")
    joined = values.join(variants, on="cell", maintain_order="left").join(
        bounds, on="variant", how="left", nulls_equal=True, maintain_order="left"
    )
    if joined["bound"].null_count():
        return NO_BOUND
    return joined.with_columns(value=pl.col("value") - pl.col("bound"))


def bound_of(bounds: pl.DataFrame, question: Question) -> pl.DataFrame:
    """Return the rows of `BOUNDS`, one for each variant, for the grammar as written."""
    same = [pl.col(name) == getattr(question, name) for name in ("task", "form", "split", "answers")]
    return bounds.filter(pl.col("law") == "full", *same)


def _influences(values: pl.DataFrame, side: Side) -> pl.DataFrame:
    """Return by cell and prompt what each adds to the sum, and how far it moves it from its mean."""
    weight = side.weight / (len(side.cells) * len(side.questions))
    n = pl.len().over("cell")
    mean = pl.col("value").mean().over("cell")
    return values.select(
        "cell",
        "prompt",
        added=weight * pl.col("value") / n,
        moved=weight * (pl.col("value") - mean) / n,
    )


def _estimated(parts: pl.DataFrame, cells: pl.DataFrame, kind: tuple[bool, tuple[float, float]]) -> Measured:
    counted, (least, most) = kind
    runs = cells.select("cell", "seed", *_RUN)
    rows = parts.join(runs, on="cell", maintain_order="left").with_columns(
        size=pl.struct(_RUN).rank("dense"), run=pl.struct(*_RUN, "seed").rank("dense") - 1
    )
    by_run = rows.group_by("run").agg(pl.col("size").first(), pl.col("added").sum()).sort("run")
    sizes = by_run["size"].to_numpy().astype(np.int64)
    effect = float(by_run["added"].sum())
    between, common, freedom = _variances(by_run["added"].to_numpy(), sizes, _cube(rows))
    prompts = rows["prompt"].n_unique()
    if counted:  # that nothing varied this time does not say that nothing can
        common = max(common, floor(prompts) - between)
    half = _half(between, freedom) + _half(common, prompts - 1)
    lo, hi = effect - np.sqrt(half), effect + np.sqrt(half)
    seeds = int(np.unique(sizes, return_counts=True)[1].max())
    degrees = f"{freedom} degree{'' if freedom == 1 else 's'} of freedom"
    method = f"{OVER_SEEDS}, {degrees}" if seeds > 1 else OVER_PROMPTS
    return Measured(
        effect=effect,
        lo=max(float(lo), least),
        hi=min(float(hi), most),
        n=parts.height,
        of_what="answers",
        seeds=seeds,
        method=method,
        why_not="" if prompts > 1 else "one prompt has no interval",
    )


def floor(prompts: int) -> float:
    """Return the least variance of a mean of counts: that of one prompt gained and one lost (`crossed_gains`)."""
    return 2 / (prompts + 2) ** 2


def _cube(rows: pl.DataFrame) -> Matrix:
    """Return how far each prompt moves the sum through each run."""
    moved = rows.group_by("run", "prompt").agg(pl.col("moved").sum())
    column = moved["prompt"].rank("dense").to_numpy() - 1
    matrix = np.zeros((int(moved["run"].max()) + 1, int(column.max()) + 1))  # pyright: ignore[reportArgumentType]
    matrix[moved["run"].to_numpy(), column] = moved["moved"].to_numpy()
    return matrix


def _half(variance: float, freedom: int) -> float:
    """Return the square of half an interval's width; nothing that does not vary needs no degree of freedom."""
    return 0.0 if variance == 0 else float(intervals.student_quantile(np.array([freedom]))[0]) ** 2 * variance


def _variances(
    added: Float64[np.ndarray, " runs"], sizes: Int64[np.ndarray, " runs"], moved: Matrix
) -> tuple[float, float, int]:
    """Return the parts of the sum's variance between seeds and over prompts, and the former's degrees of freedom.

    Between seeds: the squared deviations of what the S runs of a size add, times S / (S - 1), hold the runs' own
    chance and that of their answers. What prompts give to several runs alike does not differ between these; it is
    how far deviations of one prompt add up over runs, and S / (S - 1) makes it unbiased within a size. With one seed
    all is over prompts.
    """
    runs, prompts = moved.shape
    more = prompts / max(prompts - 1, 1)
    counts = np.bincount(sizes)
    freedom = int((counts[counts > 0] - 1).sum())
    if freedom == 0:
        return 0.0, float(np.square(moved.sum(axis=0)).sum() * more), 0
    between = together = 0.0
    in_sizes = np.zeros(prompts)
    for size in np.unique(sizes):
        ours = sizes == size
        seeds = int(ours.sum())
        factor = seeds / (seeds - 1)
        between += factor * float(np.square(added[ours] - added[ours].mean()).sum())
        sums = moved[ours].sum(axis=0)
        in_sizes += np.square(sums)
        together += factor * float((np.square(sums) - np.square(moved[ours]).sum(axis=0)).sum())
    across = float((np.square(moved.sum(axis=0)) - in_sizes).sum()) if runs > 1 else 0.0
    return between, max(together + across, 0.0) * more, freedom


def _most(sides: Sequence[Side], measure: Measure) -> tuple[float, float]:
    """Return the least and the most that a sum of shares can be."""
    if measure not in SHARES:
        return -np.inf, np.inf
    ends = [
        sorted(side.weight * end for end in ((-1.0, 1.0) if side.minus else (0.0, 1.0))) for side in sides
    ]
    return sum(end[0] for end in ends), sum(end[1] for end in ends)
