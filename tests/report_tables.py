"""Synthetic tables in the shape of a real study's, for tests of the report: nothing is measured here."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import polars as pl

from emergelab.analysis.aggregate import CELLS, curves_from_scores, scores_from_items
from emergelab.analysis.confronting import cumulative, document_gaps, gaps, prompt_gaps
from emergelab.evaluate.losses import DOCUMENT_LOSSES
from emergelab.report.content import LOSSES, ReportInput, Sample
from emergelab.scores.tables import BOUNDS, CURVES, ITEMS, SCORES

OBJECTS = 12
PARAMS_PER_LAYER = 49_280
FUNCTIONS = """world {
  objects  12
  family f 12 permutations
}
hold out 0.25 of f * f
rule Document  = Statement* stop 0.1
rule Statement = 0.9: each x ~ objects, stop 0.08 { x Value(x) ";" }
               | 0.1: some x ~ objects { x Value(x) "." }
"""


@dataclass(frozen=True, kw_only=True)
class Design:
    """What the synthetic study varies."""

    layers: tuple[int | None, ...] = (1, 2, 4)
    tokens: tuple[int, ...] = (1_500_000, 3_000_000, 4_500_000, 6_000_000)
    seeds: tuple[int, ...] = (0,)
    shots: int = 10
    prompts: int = 128
    panels: tuple[tuple[str, str, str], ...] = (
        ("single", "direct", "seen"),
        ("pair", "direct", "seen"),
        ("pair", "direct", "held_out"),
        ("pair", "steps", "seen"),
        ("pair", "steps", "held_out"),
    )
    chance: bool = True
    variants: tuple[str | None, ...] = (None,)
    documents: tuple[int | None, ...] = (None,)

    def runs(self) -> Iterator[tuple[int | None, int, str | None, int | None]]:
        """Yield (layers, seed, variant, unique documents) of every run."""
        yield from product(self.layers, self.seeds, self.variants, self.documents)


def run_name(layers: int | None, seed: int, variant: str | None, documents: int | None) -> str:
    """Return a run's name; it tells what is varied only where something is."""
    further = [str(part) for part in (variant, documents) if part is not None]
    return "-".join([f"l{layers}-s{seed}", *further])


def chance_at(shots: int) -> float:
    """Return the mean of 1/(objects not yet shown) after `shots` draws with replacement, roughly."""
    seen = OBJECTS * (1 - (1 - 1 / OBJECTS) ** shots)
    return 1 / (OBJECTS - seen)


def learned(layers: int | None, progress: float, panel: tuple[str, str, str]) -> float:
    """Return the share of the way from chance to certainty that a model has gone at the end of its prompt."""
    _, form, split = panel
    if (layers or 1) < 4:
        return 0.02
    ceiling = {
        ("direct", "seen"): 0.99,
        ("steps", "seen"): 0.97,
        ("steps", "held_out"): 0.92,
    }.get((form, split), 0.0)
    if form == "direct" and panel[0] != "single":
        ceiling = 0.0
    start = 0.62 if form == "direct" else 0.8
    return ceiling / (1 + np.exp(-28 * (progress - start)))


def accuracy_at(
    design: Design, layers: int | None, tokens: int, panel: tuple[str, str, str], shots: int
) -> float:
    """Return the true accuracy of the synthetic model."""
    progress = tokens / max(6_000_000, *design.tokens)
    gain = 1 - np.exp(-0.9 * shots)
    base = chance_at(shots) if panel[1] == "direct" and panel[0] == "single" else 0.09 + 0.002 * shots
    return float(base + (1 - base) * learned(layers, progress, panel) * gain)


def items_of(design: Design, rng: np.random.Generator) -> pl.DataFrame:
    """Return the item table: one row for each answer and printed step."""
    frames = [
        _items(design, cell, panel, decoding, argument, shots, rng)
        for cell in cells_of(design)
        for panel in design.panels
        for decoding in ("teacher_forced", "free")
        for argument in ("fresh", "repeated")
        for shots in range(design.shots + 1)
        if not (argument == "repeated" and shots == 0)
    ]
    return pl.concat(frames)


def cells_of(design: Design) -> list[tuple[str, int | None, int, int]]:
    """Return (cell, layers, tokens, seed) of every cell."""
    return [
        (f"{run_name(*run)}-t{tokens}", run[0], tokens, run[1])
        for run in design.runs()
        for tokens in design.tokens
    ]


def _items(  # noqa: PLR0913, PLR0917  the coordinates of a group of rows
    design: Design,
    cell: tuple[str, int | None, int, int],
    panel: tuple[str, str, str],
    decoding: str,
    argument: str,
    shots: int,
    rng: np.random.Generator,
) -> pl.DataFrame:
    name, layers, tokens, seed = cell
    truth = accuracy_at(design, layers, tokens, panel, shots)
    if argument == "repeated":
        truth += (1 - truth) * (0.5 if (layers or 1) >= 4 else 0.15)
    truth = min(0.999, max(0.001, truth + 0.01 * np.sin(7 * seed)))
    share = (1 - np.exp(-shots / 12)) if argument == "repeated" else np.exp(-shots / 12)
    n = max(4, int(design.prompts * share))
    # Each prompt has a fresh or a repeated argument, in every form and decoding alike.
    prompts = np.arange(n) if argument == "fresh" else design.prompts + np.arange(n)
    # Greedy generation and teacher forcing agree on whole answers, so both see the same draws.
    drawn = np.random.default_rng(zlib.crc32(repr((name, panel, argument, shots)).encode()))
    right = drawn.random(n) < truth
    nats = np.where(right, rng.gamma(2, -np.log(truth) / 2 + 0.01, n), rng.gamma(6, 0.5, n))
    parts = [(0, right), (1, right)]
    if panel[1] == "steps":
        first = right | (drawn.random(n) < 0.5)
        final = right | (rng.random(n) < (0.6 if decoding == "teacher_forced" else 0.1))
        parts = [(0, right), (1, first), (2, final & (right | ~first))]
    group = {"cell": name, "predictor": "model", "task": panel[0], "form": panel[1], "split": panel[2]}
    group |= {"decoding": decoding, "shot": shots, "argument": argument}
    group |= {"chance": chance_at(shots) if design.chance else None}
    rows = {name: [value] * n for name, value in group.items()}
    rows |= {"prompt": prompts, "nats": nats if decoding == "teacher_forced" else [None] * n}
    return pl.concat(
        [
            pl.DataFrame(rows | {"step": [step] * n, "correct": correct}).select(
                [pl.col(column).cast(kind) for column, kind in ITEMS.items()]
            )
            for step, correct in parts
        ]
    )


def _wilson(mean: pl.Expr, n: pl.Expr, sign: int) -> pl.Expr:
    z = 1.96
    return (mean + z * z / (2 * n) + sign * z * ((mean * (1 - mean) / n + z * z / (4 * n * n)) ** 0.5)) / (
        1 + z * z / n
    )


def scores_of(design: Design, items: pl.DataFrame) -> pl.DataFrame:
    """Aggregate the items by cell, as an evaluation would."""
    keys = [
        "cell",
        "predictor",
        "task",
        "form",
        "split",
        "decoding",
        "argument",
        pl.col("shot").alias("shots"),
    ]
    whole = (
        items.filter(pl.col("step") == 0)
        .group_by(keys, maintain_order=True)
        .agg(
            n=pl.len().cast(pl.Int32),
            accuracy=pl.col("correct").mean(),
            chance=pl.col("chance").mean().cast(pl.Float64),
            nats=pl.col("nats").mean().cast(pl.Float64),
            spread=pl.col("nats").std().cast(pl.Float64),
        )
    )
    steps = items.filter(pl.col("step") > 0).group_by(keys).agg(step_accuracy=pl.col("correct").mean())
    names = ["cell", "predictor", "task", "form", "split", "decoding", "argument", "shots"]
    half = 1.96 * pl.col("spread") / pl.col("n") ** 0.5
    cells = pl.DataFrame(
        [
            {
                "cell": cell,
                "layers": layers,
                "width": 64 if layers else None,
                "params": (layers or 1) * PARAMS_PER_LAYER + 1_792,
                "train_tokens": tokens,
                "unique_documents": documents,
                "variant": variant,
                "flops": 6.0 * (layers or 1) * PARAMS_PER_LAYER * tokens,
                "seed": seed,
                "loss": (loss := 2.2 - 0.12 * (layers or 1) * tokens / 6e6),
                "loss_lo": loss - 0.05,
                "loss_hi": loss + 0.05,
                "loss_method": "cluster_t",
            }
            for layers, seed, variant, documents in design.runs()
            for tokens in design.tokens
            for cell in [f"{run_name(layers, seed, variant, documents)}-t{tokens}"]
        ],
        infer_schema_length=None,
    )
    frame = (
        whole.join(steps, on=names, how="left", maintain_order="left")
        .join(cells, on="cell", maintain_order="left")
        .with_columns(
            accuracy_lo=_wilson(pl.col("accuracy"), pl.col("n"), -1),
            accuracy_hi=_wilson(pl.col("accuracy"), pl.col("n"), 1),
            step_accuracy_lo=_wilson(pl.col("step_accuracy"), pl.col("n"), -1),
            step_accuracy_hi=_wilson(pl.col("step_accuracy"), pl.col("n"), 1),
            nats_lo=pl.col("nats") - half,
            nats_hi=pl.col("nats") + half,
            accuracy_method=pl.lit("Wilson score over prompts"),
            nats_method=pl.lit("Student t over prompts"),
        )
    )
    return frame.select([pl.col(name).cast(kind) for name, kind in SCORES.items()])


def curves_of(design: Design, scores: pl.DataFrame) -> pl.DataFrame:
    """Return the scores over seeds: each seed and, from five seeds, all of them."""
    seeds = scores.with_columns(seeds=pl.lit(1))
    if len(design.seeds) >= 5:
        seeds = pl.concat([seeds, _over_seeds(scores)], how="diagonal_relaxed")
    return seeds.select([pl.col(name).cast(kind) for name, kind in CURVES.items()])


def _over_seeds(scores: pl.DataFrame) -> pl.DataFrame:
    keys = ["predictor", "task", "form", "split", "decoding", "argument", "shots"]
    keys += ["layers", "width", "params", "train_tokens", "unique_documents", "variant", "flops"]
    half = {
        name: 2.8 * pl.col(name).std() / pl.len() ** 0.5 for name in ("accuracy", "nats", "step_accuracy")
    }
    return scores.group_by(keys, maintain_order=True).agg(
        pl.len().cast(pl.Int32).alias("seeds"),
        pl.col("n").sum().cast(pl.Int64),
        pl.col("chance", "accuracy", "nats", "step_accuracy", "loss", "loss_lo", "loss_hi").mean(),
        *[(pl.col(name).mean() - half[name]).alias(f"{name}_lo") for name in half],
        *[(pl.col(name).mean() + half[name]).alias(f"{name}_hi") for name in half],
        pl.lit("Student t over seeds").alias("accuracy_method"),
        pl.lit("Student t over seeds").alias("nats_method"),
        pl.lit("Student t over seeds").alias("loss_method"),
    )


def losses_of(design: Design) -> pl.DataFrame:
    """Return a training loss for every run, in nats per token."""
    rows = []
    for layers, seed, variant, documents in design.runs():
        name = run_name(layers, seed, variant, documents)
        rng = np.random.default_rng(100 * (layers or 1) + seed)
        for tokens in np.linspace(50_000, max(design.tokens), 120).astype(int):
            drop = 0.35 / (1 + np.exp(-(tokens - 3.6e6) / 3e5)) if (layers or 1) >= 4 else 0
            loss = 1.75 + 0.9 * np.exp(-tokens / 4e5) - drop + 0.01 * rng.normal()
            rows.append((name, layers, 64, documents, variant, seed, int(tokens), float(loss)))
    return pl.DataFrame(rows, schema=LOSSES, orient="row")


def samples() -> list[Sample]:
    """Return three documents with the role of every token, the second cut."""
    silent = [("o3", "argument"), ("o7", "answer"), (";", "separator")]
    printed = [("o1", "argument"), ("o9", "intermediate"), ("o2", "answer"), (";", "separator")]
    return [
        Sample(tokens=[("<s>", "start"), *silent * 5]),
        Sample(tokens=[("<s>", "start"), *printed * 6, ("x", "other")], cut=True),
        Sample(tokens=[("<s>", "start")]),
    ]


def report_input(design: Design | None = None, **changes: object) -> ReportInput:
    """Return everything that a report is made of. Nobody may change what it holds: all have the same."""
    return replace(_content(design or Design()), **changes)


@cache
def _content(design: Design) -> ReportInput:
    items = items_of(design, np.random.default_rng(7))
    scores = scores_of(design, items)
    return ReportInput(
        title="quickstart",
        items=items,
        scores=scores,
        curves=curves_of(design, scores),
        losses=losses_of(design),
        samples=samples(),
        run={
            "study_text": 'grammar = "functions"\nkey = 0\n\n[model]\nwidth = 64\nlayers = [1, 2, 4]\n',
            "study": {"grammar": "functions", "key": 0, "model": {"width": 64, "layers": [1, 2, 4]}},
            "grammar_name": "functions",
            "grammar_text": FUNCTIONS,
            "versions": {"emergelab": "0.1.0", "python": "3.12.4", "torch": "2.13.0", "polars": "2.1.0"},
            "machine": {"system": "Linux", "processor": "x86-64", "cores": "2", "device": "cpu"},
            "elapsed": 118.0,
            "times": {"corpus and prompts": 1.9, "training": 186.4, "evaluation": 22.8},
            "finished": "2026-11-21 14:40 UTC",
            "overlap": {"held_out_tables": 36, "training_tables": 120, "overlap": 0},
            "notes": ["Training ran eagerly: no C++ compiler was found."],
        },
    )


IDEALS = {"full": "ideal", "train": "ideal_train"}
LOOP = 1 / 0.92  # the inverse probability that a loop goes on


@cache
def with_theory(design: Design, *, alike: bool = True) -> ReportInput:
    """Return a study's tables with two ideal predictors, bounds and gaps; `alike`: the same in all variants."""
    content = report_input(design)
    ideal = pl.concat(
        [
            _ideal_items(content, design, law, variant, 0 if alike else place)
            for place, variant in enumerate(design.variants)
            for law in IDEALS
        ]
    )
    cells = pl.concat([content.scores.select(CELLS.names()).unique(), _ideal_cells(design)])
    items = pl.concat([content.items, ideal])
    scores = scores_from_items(ideal, _ideal_cells(design))
    return replace(
        content,
        items=items,
        scores=pl.concat([content.scores, scores]),
        curves=pl.concat([content.curves, curves_from_scores(scores, ideal)]),
        bounds=bounds_of(design, alike=alike),
        cumulative=cumulative(items, cells),
        gaps=_gaps(content, ideal, cells),
    )


def _ideal_cell(law: str, variant: str | None) -> str:
    return IDEALS[law] if variant is None else f"{IDEALS[law]},{variant}"


def _ideal_cells(design: Design) -> pl.DataFrame:
    rows = [
        {"cell": _ideal_cell(law, variant), "variant": variant}
        for variant in design.variants
        for law in IDEALS
    ]
    return pl.DataFrame(rows, schema=CELLS)


def _ideal_items(
    content: ReportInput, design: Design, law: str, variant: str | None, place: int
) -> pl.DataFrame:
    """Return answers that are right from the second example on, but for what a law holds out."""
    first = next(run_name(*run) for run in design.runs() if run[2] == variant)
    asked = content.items.filter(pl.col("cell") == f"{first}-t{design.tokens[-1]}")
    unknown = (pl.col("split") == "held_out") & pl.lit(law == "train")
    nats = 2.5 * (-pl.col("shot").cast(pl.Float64)).exp() + 0.001 * (pl.col("prompt") % 7) + 0.1 * place
    never = pl.when(pl.col("form") == "steps").then(float("inf")).otherwise(4.0)
    return asked.with_columns(
        cell=pl.lit(_ideal_cell(law, variant)),
        predictor=pl.lit(IDEALS[law]),
        correct=~unknown & (pl.col("shot") >= 2),
        nats=pl.when(pl.col("nats").is_null())
        .then(None)
        .when(unknown)
        .then(never)
        .otherwise(nats)
        .cast(pl.Float32),
    )


def bounds_of(design: Design, *, alike: bool = True) -> pl.DataFrame:
    """Return bounds that grow with each answer; a held-out pair has none under the law of training."""
    rows = []
    for place, variant in enumerate(design.variants):
        for law in IDEALS:
            for rank, (task, form, split) in enumerate(design.panels):
                for answers in range(1, design.shots + 2):
                    known = not (law == "train" and split == "held_out")
                    length, rest = 3.0 + rank + (0 if alike else place), (answers - 1) * float(np.log(LOOP))
                    means = {"D_nats": length, "R_nats": rest, "bound_nats": length + rest}
                    means["bound_errors"] = means["bound_nats"] / float(np.log(2))
                    ends = (
                        {"": 0.0, "_min": -0.25, "_max": 0.5}
                        if task == "single"
                        else dict.fromkeys(("", "_min", "_max"), 0.0)
                    )
                    over = {
                        f"{name}{end}": mean + (0.0 if name == "R_nats" else by) if known else None
                        for name, mean in means.items()
                        for end, by in ends.items()
                    }
                    names = {"variant": variant, "law": law, "task": task, "form": form, "split": split}
                    slack = {"argument_slack_nats": -0.1, "posterior_slack_nats": -0.2}
                    reason = None if known else "no derivation prints this"
                    rows.append(
                        names | over | slack | {"answers": answers, "choices": 12, "n": 8, "reason": reason}
                    )
    return pl.DataFrame(rows, schema=BOUNDS)


def documents_of(cell: str, extra: float = 0.0) -> pl.DataFrame:
    """Return sums of 20 documents of 30 tokens, a third of them answers, by document and role."""
    drawn = np.random.default_rng(zlib.crc32(cell.encode()))
    rows = []
    for document in range(20):
        by_role = {
            role: 10 * (0.5 + extra * weight) + drawn.random()
            for role, weight in (("answer", 3), ("argument", 1), ("separator", 0.5))
        }
        rows += [(document, role, 10, nats) for role, nats in by_role.items()]
        rows.append((document, None, 30, sum(by_role.values())))
    frame = pl.DataFrame(rows, schema=["document", "role", "tokens", "nats"], orient="row")
    # Tokens with a skill are answers here.
    skilled = frame.filter(pl.col("role") == "answer").with_columns(
        role=pl.lit(None, dtype=pl.String), skill=pl.lit("f1")
    )
    needing = skilled.drop("skill").with_columns(needed=pl.lit(1, dtype=pl.Int8))
    parts = [DOCUMENT_LOSSES.to_frame(), frame, skilled, needing]
    return pl.concat(parts, how="diagonal_relaxed").cast(DOCUMENT_LOSSES)


def _gaps(content: ReportInput, ideal: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    models = content.scores.select("cell", "variant", "layers", "train_tokens").unique(maintain_order=True)
    parts = [
        prompt_gaps(
            content.items,
            ideal,
            {
                cell: _ideal_cell(law, variant)
                for cell, variant in models.select("cell", "variant").iter_rows()
            },
        )
        for law in IDEALS
    ]
    for cell, layers, tokens in models.select("cell", "layers", "train_tokens").iter_rows():
        missing = 0.4 / (layers or 1) + 0.1 * 1e6 / tokens
        parts.append(
            document_gaps(
                documents_of(cell, missing), documents_of("ideal"), cell=cell, against="ideal_train"
            )
        )
    return gaps(parts, cells)
