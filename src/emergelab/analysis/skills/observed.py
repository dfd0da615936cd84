"""Observed failures of skills against the performance curves of the theory.

Per cell the pieces at hand get a measure (μ2), equal for all pieces or for all tasks; θ is the measure of those that
fail, μ1 the skills' shares of the edges. The observed curve is the mean failure of the worst skills of measure α, at
the α where whole skills end. It is biased upwards: what is chosen for being worst is partly unlucky. So skills are
also chosen on one half of the items and measured on the other; that is biased downwards, and the truth lies between.

The curves assume that each piece draws its skills from μ1, independently. Designed tasks do not. `possible`, beside
them, is the worst that any failing set of measure θ could do to the same skills in the graph at hand, so that it
tells how much the assumption matters: where it lies above the exact curve, the graph concentrates its skills more
than independent draws would. Markov's curve assumes nothing and holds for what was observed by arithmetic.
"""

# ruff: noqa: RUF001, RUF002 - letters of the theory

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64

from emergelab.analysis import estimate, intervals
from emergelab.analysis.skills.pieces import Pieces
from emergelab.outcomes.schema import CELL, SCALE
from emergelab.rng import Stream
from emergelab.theory.curves import Curve, FiniteGraph
from emergelab.theory.mixtures import SkillCounts, mixed_failure

Weighting = Literal["items", "tasks"]
"""The measure of pieces: the same for each piece, or for each task, its pieces sharing it."""
Verdict = Literal["below", "above", "undecided", "curve says nothing"]

BOOTSTRAP = "wilson at the bootstrap's variance over items"
ALL_FAIL = "none: all pieces fail or none does"
ONE_SKILL = "none: one skill"
CURVES = ("theorem", "exact", "markov")
"""The theorem in its form for as many skills and pieces as there are; the others are of infinitely many pieces."""
_FINE = np.concatenate([np.geomspace(0.01, 0.09, 10), np.linspace(0.1, 0.99, 60)])
_DRAWS = 300
_MOST_BLOCKS = 1000
_MOST_POINTS = 40
_FEWEST_BLOCKS = 4
_ROUNDING = 1e-9
_DIGITS = 9

Skills = Float64[np.ndarray, " skills"]
Points = Float64[np.ndarray, " points"]
Batch = Float64[np.ndarray, "draws skills"]

_NUMBERS = ("alpha", "failure", "lo", "hi", "halves", "halves_lo", "halves_hi", *CURVES, "possible")
_PLACE = {
    "system": pl.String,
    "checkpoint": pl.String,
    "params": pl.Int64,
    "train_tokens": pl.Int64,
} | dict.fromkeys(("flops", "loss"), pl.Float64)
OBSERVED = pl.Schema(
    _PLACE
    | {"weighting": pl.String, "skill": pl.String}
    | dict.fromkeys(_NUMBERS, pl.Float64)
    | {"n": pl.Int64, "method": pl.String}
)
"""A row for each cell and share: `alpha` of the skills, the last of them `skill`, and their mean failure."""

AGAINST = pl.Schema(
    _PLACE
    | {
        "weighting": pl.String,
        "fails_by": pl.String,
        "skills": pl.Int64,
        "pieces": pl.Int64,
        "tasks": pl.Int64,
    }
    | dict.fromkeys(("k", "theta", "theta_lo", "theta_hi"), pl.Float64)
    | {"theta_method": pl.String}
    | {
        f"{curve}_{name}": kind
        for curve in ("exact", "theorem")
        for name, kind in (("verdict", pl.String), ("margin", pl.Float64), ("alpha", pl.Float64))
    }
    | {"possible_excess": pl.Float64}
)
"""A row for each cell: θ, k, and on which side of the curves the failures lie, by what margin, nearest at which α."""


@dataclass(frozen=True, kw_only=True)
class CellGraph:
    """The skill graph of one cell. `rates` are failures of the skills, by measure.

    `blocks` says by how much a block of items moves the rates when it counts once more, `theta_blocks` likewise for θ;
    `tuples` has the measure of each tuple of skills and `needs` how often it needs each skill.
    """

    skills: Sequence[str]
    measure: Skills
    rates: Skills
    items: Int64[np.ndarray, " skills"]
    blocks: Float64[np.ndarray, "blocks skills"]
    theta: float
    theta_blocks: Float64[np.ndarray, " blocks"]
    counts: SkillCounts
    tuples: Float64[np.ndarray, " tuples"]
    needs: Float64[np.ndarray, "tuples skills"]
    pieces: int
    effective: int
    tasks: int

    def theta_limits(self) -> tuple[float, float]:
        """Return the interval of θ."""
        variance = float(np.square(self.theta_blocks).sum())
        lo, hi = _limits(np.array([self.theta]), np.array([variance]), (len(self.blocks), self.pieces))
        return float(lo[0]), float(hi[0])


def observed(
    pieces: Pieces, stream: Stream, weighting: Weighting = "items"
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return `OBSERVED` and `AGAINST` of every cell with failures that are known."""
    parts = pieces.frame.filter(pl.col("fails").is_not_null()).partition_by("cell", as_dict=True)
    places = [place for place in pieces.cells.to_dicts() if (place["cell"],) in parts]
    graphs = [cell_graph(parts[place["cell"],], pieces.tuples, weighting) for place in places]
    draws = _draws(stream)
    found = [_curve(graph, draws) for graph in graphs]
    curves, sides = [OBSERVED.to_frame()], [AGAINST.to_frame()]
    for place, graph, curve in zip(places, graphs, _with_theory(graphs, found), strict=True):
        told = place | {"weighting": weighting}
        curves.append(_placed(curve, told, OBSERVED))
        sides.append(_placed(_against(graph, curve), told, AGAINST))
    return pl.concat(curves), pl.concat(sides)


def theory_lines(pieces: Pieces, weighting: Weighting = "items") -> pl.DataFrame:
    """Return `CELL`, alpha and the curves of each cell where some pieces fail and some do not, at many shares."""
    found: list[pl.DataFrame] = []
    for place in pieces.cells.to_dicts():
        rows = pieces.frame.filter((pl.col("cell") == place["cell"]) & pl.col("fails").is_not_null())
        if rows.is_empty():
            continue
        graph = cell_graph(rows, pieces.tuples, weighting)
        if 0 < graph.theta < 1:
            told = [pl.lit(place[name]).alias(name) for name in CELL]
            alphas = pl.DataFrame({"alpha": _FINE, "theta": graph.theta})
            found.append(alphas.select(*told, "alpha", *_theory(graph, alphas)))
    empty = {name: OBSERVED[name] for name in (*CELL, "alpha", *CURVES)}
    return pl.concat([pl.DataFrame(schema=empty), *found])


def cell_graph(rows: pl.DataFrame, tuples: pl.DataFrame, weighting: Weighting) -> CellGraph:
    """Return the skill graph of one cell; `rows` and `tuples` are those of `Pieces`, with known failures only."""
    weighted = _weighted(rows, weighting)
    used = tuples.join(weighted, on="tuple", how="semi").sort("tuple")
    edges, names = _edges(used)
    along = weighted.join(edges, on="tuple", how="inner").with_columns(
        mass=pl.col("weight") * pl.col("times")
    )
    failing = (pl.col("mass") * pl.col("fails")).sum()
    by_skill = along.group_by("skill").agg(
        pl.col("mass").sum(), failing=failing, items=pl.col("item").n_unique()
    )
    mass, failed, items = (by_skill.sort("skill")[name].to_numpy() for name in ("mass", "failing", "items"))
    by_tuple = weighted.group_by("tuple").agg(pl.col("weight").sum()).sort("tuple")["weight"].to_numpy()
    blocks = weighted["block"].n_unique()
    of_all = weighted.with_columns(skill=pl.lit(0), mass="weight")
    return CellGraph(
        skills=names,
        measure=mass / mass.sum(),
        rates=failed / mass,
        items=items.astype(np.int64),
        blocks=_blocks(along, (blocks, len(names))) / mass,
        theta=float((weighted["weight"] * weighted["fails"]).sum()),
        theta_blocks=_blocks(of_all, (blocks, 1))[:, 0],
        counts=_skill_counts(used["k"].to_numpy(), by_tuple),
        tuples=by_tuple,
        needs=_needs(used, edges, len(names)),
        pieces=rows.height,
        effective=max(1, math.floor(1 / float((weighted["weight"] ** 2).sum()) + _ROUNDING)),
        tasks=rows["task"].n_unique(),
    )


def worst(rates: Batch, by: Batch, measure: Skills, alphas: Points) -> Float64[np.ndarray, "draws points"]:
    """Return the mean of `rates` over the skills of measure `alphas` that are worst according to `by`."""
    order = np.argsort(-by, axis=1, kind="stable")
    taken = measure[order]
    before = np.cumsum(taken, axis=1) - taken
    parts = np.clip(alphas[None, :, None] - before[:, None, :], 0.0, taken[:, None, :])
    mean = np.einsum("dps,ds->dp", parts, np.take_along_axis(rates, order, axis=1)) / alphas
    return np.clip(mean, 0.0, 1.0)  # rounding must not make failures of more than all edges


def possible(graph: CellGraph, order: Int64[np.ndarray, " skills"]) -> Skills:
    """Return how much the first 1, 2, … skills of `order` fail in the mean if those pieces fail that hurt them most."""
    hurt = np.cumsum(graph.needs[:, order], axis=1)
    most = np.argsort(-hurt, axis=0, kind="stable")
    weights = graph.tuples[most]
    before = np.cumsum(weights, axis=0) - weights
    taken = np.clip(graph.theta - before, 0.0, weights)
    reached = np.cumsum(graph.measure[order]) * graph.counts.mean
    return (np.take_along_axis(hurt, most, axis=0) * taken).sum(axis=0) / reached


def _weighted(rows: pl.DataFrame, weighting: Weighting) -> pl.DataFrame:
    """Add the measure of each piece, and the block that its item is in."""
    of_task = 1 / (rows["task"].n_unique() * pl.len().over("task"))
    weight = pl.lit(1 / rows.height) if weighting == "items" else of_task
    block = (pl.col("item").rank("dense") - 1) % _MOST_BLOCKS
    return rows.select("task", "tuple", "item", "fails", weight=weight, block=block)


def _edges(used: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    edges = used.select("tuple", name="skills").explode("name")
    counted = edges.group_by("tuple", "name").agg(times=pl.len().cast(pl.Float64))
    names = counted.select("name").unique().sort("name").with_row_index("skill")
    return counted.join(names, on="name").drop("name"), names["name"].to_list()


def _needs(used: pl.DataFrame, edges: pl.DataFrame, skills: int) -> Float64[np.ndarray, "tuples skills"]:
    needs = np.zeros((used.height, skills))
    placed = used.select("tuple").with_row_index("row").join(edges, on="tuple")
    needs[placed["row"].to_numpy(), placed["skill"].to_numpy()] = placed["times"].to_numpy()
    return needs


def _blocks(along: pl.DataFrame, shape: tuple[int, int]) -> Float64[np.ndarray, "blocks skills"]:
    """Return deviations of failures from their mean in the task, summed by block; a lone piece's from the skill's."""
    group = ("skill", "task")
    n = pl.len().over(group)
    own = (
        pl.when(n > 1)
        .then(pl.col("fails").mean().over(group))
        .otherwise(pl.col("fails").mean().over("skill"))
    )
    scale = pl.when(n > 1).then((n / (n - 1)).sqrt()).otherwise(1.0)
    moved = along.with_columns(move=pl.col("mass") * (pl.col("fails") - own) * scale)
    summed = moved.group_by("block", "skill").agg(pl.col("move").sum())
    blocks = np.zeros(shape)
    blocks[summed["block"].to_numpy(), summed["skill"].to_numpy()] = summed["move"].to_numpy()
    return blocks


def _skill_counts(k: np.ndarray, weights: np.ndarray) -> SkillCounts:
    sizes, place = np.unique(k, return_inverse=True)
    shares = np.bincount(place, weights=weights)
    return SkillCounts(tuple(int(size) for size in sizes), tuple((shares / shares.sum()).tolist()))


@dataclass(frozen=True, kw_only=True)
class _Draws:
    """How often each block counts in each draw, and in which half it falls, 1 or -1.

    Halves are drawn block by block. Balanced ones would be negatively related, since deviations are scaled up for the
    mean that they are from: what is unlucky in one half would then be lucky in the other.
    """

    weights: Float64[np.ndarray, "draws blocks"]
    halves: Float64[np.ndarray, "draws blocks"]
    both: Float64[np.ndarray, "draws blocks"]

    def moves(self, blocks: Float64[np.ndarray, "blocks skills"]) -> tuple[Batch, Batch, Batch]:
        """Return by how much rates move when blocks are resampled, halved, and both."""
        count = len(blocks)
        total = self.weights[:, :count].mean(axis=1)[:, None]
        again = self.weights[:, :count] @ blocks / total - blocks.sum(axis=0)
        return again, self.halves[:, :count] @ blocks, self.both[:, :count] @ blocks / total


def _draws(stream: Stream) -> _Draws:
    generator = stream.generator()
    weights = generator.standard_exponential((_DRAWS, _MOST_BLOCKS))
    halves = generator.choice([-1.0, 1.0], (_DRAWS, _MOST_BLOCKS))
    return _Draws(weights=weights, halves=halves, both=weights * halves)


def _curve(graph: CellGraph, draws: _Draws) -> pl.DataFrame:
    """Return the observed curve of one cell, empty where there is none."""
    order = np.argsort(-graph.rates, kind="stable")
    reached = np.cumsum(graph.measure[order])
    ends = np.flatnonzero(reached < 1 - _ROUNDING)
    if ends.size == 0 or not 0 < graph.theta < 1:
        return pl.DataFrame(schema={"alpha": pl.Float64, "failure": pl.Float64})
    if ends.size > _MOST_POINTS:
        ends = ends[np.unique(np.geomspace(1, ends.size, _MOST_POINTS).round().astype(np.int64) - 1)]
    alphas = reached[ends]
    value = worst(graph.rates[None], graph.rates[None], graph.measure, alphas)[0]
    variance, halves = _resampled(graph, draws, alphas)
    least = int(graph.items[order[0]])
    lo, hi = _limits(value, variance[0], (least, graph.pieces))
    halves_lo, halves_hi = _limits(halves, variance[1], (least, graph.pieces))
    columns = {"alpha": alphas, "failure": value, "lo": lo, "hi": hi}
    columns |= {"halves": halves, "halves_lo": halves_lo, "halves_hi": halves_hi}
    columns |= {"possible": possible(graph, order)[ends]}
    named = pl.DataFrame(columns).with_columns(pl.all().fill_nan(None))
    method = BOOTSTRAP if len(graph.blocks) > 1 else estimate.ONE_VALUE
    skills = pl.Series("skill", [graph.skills[place] for place in order[ends]], dtype=pl.String)
    return named.with_columns(skills, n=pl.lit(graph.pieces), method=pl.lit(method))


def _resampled(graph: CellGraph, draws: _Draws, alphas: Points) -> tuple[np.ndarray, np.ndarray]:
    """Return the variances of the curve and of the halves' curve over resampled items, and the latter itself."""
    count = len(graph.blocks)
    if count < _FEWEST_BLOCKS:
        return np.full((2, alphas.size), np.nan), np.full(alphas.size, np.nan)
    again, halves, both = draws.moves(graph.blocks)

    def curve(chosen: Batch, measured: Batch) -> Float64[np.ndarray, "draws points"]:
        rates, by = (np.clip(graph.rates + moved, 0.0, 1.0) for moved in (measured, chosen))
        return worst(rates, by, graph.measure, alphas)

    whole = curve(again, again)
    apart = (curve(halves, -halves) + curve(-halves, halves)) / 2
    first, second = again + both, again - both
    again_apart = (curve(first, second) + curve(second, first)) / 2
    return np.stack([whole.var(axis=0), again_apart.var(axis=0)]), apart.mean(axis=0)


def _limits(
    value: Points, variance: Points, trials: tuple[int, int]
) -> tuple[Float64[np.ndarray, " points"], Float64[np.ndarray, " points"]]:
    bounds = np.array([trials[0]], dtype=np.float64), np.array([trials[1]], dtype=np.float64)
    effective = intervals.effective_trials(value, variance, bounds)
    lo, hi = intervals.wilson(value, effective)
    return np.where(np.isnan(variance), np.nan, lo), np.where(np.isnan(variance), np.nan, hi)


def _with_theory(graphs: Sequence[CellGraph], found: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Add the theory's curves. Cells whose pieces are alike are done at once: equations take their time to solve."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for place, graph in enumerate(graphs):
        if found[place].is_empty():
            continue
        shares = tuple(round(share, _DIGITS) for share in graph.counts.weights)
        alike.setdefault((graph.counts.counts, shares, len(graph.skills), graph.effective), []).append(place)
    whole = list(found)
    for places in alike.values():
        together = pl.concat(
            found[place].with_columns(place=pl.lit(place), theta=pl.lit(graphs[place].theta))
            for place in places
        )
        curves = together.with_columns(_theory(graphs[places[0]], together))
        for place in places:
            whole[place] = curves.filter(pl.col("place") == place).drop("place", "theta")
    return whole


def _theory(graph: CellGraph, together: pl.DataFrame) -> list[pl.Series]:
    theta, alpha = together["theta"].to_numpy(), together["alpha"].to_numpy()
    finite = FiniteGraph(skills=len(graph.skills), pieces=graph.effective, alike=False)
    return [
        pl.Series(
            name,
            mixed_failure(Curve(name), theta, alpha, graph.counts, finite if name == "theorem" else None),
            nan_to_null=True,
        )
        for name in CURVES
    ]


def _against(graph: CellGraph, curve: pl.DataFrame) -> pl.DataFrame:
    lo, hi = graph.theta_limits()
    method = ALL_FAIL if not 0 < graph.theta < 1 else ONE_SKILL if len(graph.skills) == 1 else BOOTSTRAP
    row: dict[str, object] = {
        "skills": len(graph.skills),
        "pieces": graph.pieces,
        "tasks": graph.tasks,
        "k": graph.counts.mean,
        "theta": graph.theta,
        "theta_lo": lo,
        "theta_hi": hi,
        "theta_method": method,
        "possible_excess": None if curve.is_empty() else (curve["possible"] - curve["exact"]).max(),
    }
    for name in ("exact", "theorem"):
        verdict, margin, alpha = _side(curve, name)
        row |= {f"{name}_verdict": verdict, f"{name}_margin": margin, f"{name}_alpha": alpha}
    return pl.DataFrame([row])


def _side(curve: pl.DataFrame, name: str) -> tuple[Verdict, float | None, float | None]:
    """Return on which side of a curve the failures lie where it says anything, and the smallest distance to it."""
    if curve.is_empty():
        return "curve says nothing", None, None
    said = curve.filter(pl.col(name) < 1 - _ROUNDING)
    if said.is_empty():
        return "curve says nothing", None, None
    nearest = said.with_columns(margin=pl.col(name) - pl.col("failure")).sort("margin").row(0, named=True)
    above = said.select((pl.col("halves_lo") > pl.col(name)).any()).item()
    below = said.select((pl.col("hi") <= pl.col(name)).fill_null(value=False).all()).item()
    verdict: Verdict = "above" if above else "below" if below else "undecided"
    return verdict, nearest["margin"], nearest["alpha"]


def _placed(rows: pl.DataFrame, place: Mapping[str, object], schema: Mapping[str, Any]) -> pl.DataFrame:
    told = [
        pl.lit(place[name], kind).alias(name)
        for name, kind in schema.items()
        if name in (*CELL, *SCALE, "weighting", "fails_by")
    ]
    missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in rows.columns]
    whole = rows.with_columns(missing).with_columns(told)
    return whole.select(pl.col(name).cast(kind) for name, kind in schema.items())
