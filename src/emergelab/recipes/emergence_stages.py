"""The step that asks of one task where it emerges: thresholds, sharpness and jumps of all its curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from emergelab.analysis.aggregate import CELLS
from emergelab.analysis.emergence.studied import FOUND, found_along, fresh_answers, study_curves
from emergelab.pipeline.step import StepContext
from emergelab.recipes.cell_folders import Settings, cell_folders, cell_record
from emergelab.recipes.saved_rows import save_rows
from emergelab.rng import stream

Spec = Mapping[str, Any]


def find_emergence(spec: Spec, inputs: Mapping[str, Path], out: Path, context: StepContext) -> None:
    """Leave `FOUND` of the curves of a task; those that an earlier try found are not asked again."""
    folders = cell_folders(dict(sorted(inputs.items())))
    cells = _cells(folders, spec.get("settings", {}))
    items = pl.concat([_items(cell, folder) for cell, folder in folders.items()])
    curves = study_curves(fresh_answers(items.filter(pl.col("task") == spec["task"]), cells), cells)
    paths = [context.scratch / f"{number}.parquet" for number in range(len(curves))]
    for done, (curve, path) in enumerate(zip(curves, paths, strict=True)):
        context.progress(done, len(curves))
        if not path.is_file():
            save_rows(found_along(curve, stream(spec["key"])), path)
    found = pl.concat([FOUND.to_frame(), *(pl.read_parquet(path) for path in paths)])
    found.write_parquet(out / "emergence.parquet", compression="zstd")


def _cells(folders: Mapping[str, Path], settings: Settings) -> pl.DataFrame:
    records = [cell_record(cell, folder, settings) for cell, folder in folders.items()]
    cells = pl.DataFrame([{name: record[name] for name in CELLS} for record in records], schema=CELLS)
    return cells.sort("layers", "width", "seed", "train_tokens", "cell")


def _items(cell: str, folder: Path) -> pl.LazyFrame:
    return pl.scan_parquet(folder / "items.parquet").with_columns(cell=pl.lit(cell))
