"""Tables are the same to the last bit whenever they are made from the same items."""

import numpy as np
import polars as pl

from emergelab.analysis.aggregate import CELLS, curves_from_scores, scores_from_items
from emergelab.analysis.gains import paired_gain
from emergelab.scores.tables import ITEMS

SEEDS, PROMPTS = 6, 50


def items_and_cells() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return items of six seeds, two forms with two printed steps, whose numbers have no short sums."""
    rows = [
        (f"cell {seed}", form, prompt, step)
        for seed in range(SEEDS)
        for form in ("direct", "steps")
        for prompt in range(PROMPTS)
        for step in range(3)
    ]
    generator = np.random.Generator(np.random.Philox(1))
    frame = pl.DataFrame(rows, schema=["cell", "form", "prompt", "step"], orient="row").with_columns(
        predictor=pl.lit("model"),
        task=pl.lit("pair"),
        split=pl.lit("seen"),
        decoding=pl.lit("teacher_forced"),
        shot=pl.lit(1),
        argument=pl.when(pl.col("prompt") % 3 == 0).then(pl.lit("repeated")).otherwise(pl.lit("fresh")),
        correct=pl.Series(generator.random(len(rows)) < 0.5),
        nats=pl.Series(generator.exponential(size=len(rows))),
        chance=pl.lit(0.1),
    )
    scale = {"layers": 1, "width": 8, "params": 9, "train_tokens": 10, "unique_documents": 11, "flops": 1.5}
    loss = {"variant": None, "loss_lo": 0.5, "loss_hi": 2.5, "loss_method": "cluster_t"}
    cells = pl.DataFrame(
        [
            {"cell": f"cell {seed}", **scale, **loss, "seed": seed, "loss": 1.0 + seed / 7}
            for seed in range(SEEDS)
        ]
    )
    items = frame.select(pl.col(name).cast(kind) for name, kind in ITEMS.items())
    return items, cells.select(pl.col(name).cast(kind) for name, kind in CELLS.items())


def tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    items, cells = items_and_cells()
    scores = scores_from_items(items, cells)
    return scores, curves_from_scores(scores, items), paired_gain(items)


def test_tables_do_not_depend_on_the_order_of_groups_in_memory():
    first = tables()
    assert all(table.height for table in first)
    for _ in range(20):
        for table, again in zip(first, tables(), strict=True):
            assert table.equals(again)
