"""What the tables of a study say of skills, from what its models made of text-pieces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emergelab.analysis.skills.known import PieceAnswers, bootstrap_weights
from emergelab.analysis.skills.studied import skill_tables
from emergelab.recipes.cell_folders import PIECES as OF_CELL
from emergelab.recipes.cell_folders import run_of
from emergelab.recipes.piece_stages import law_of
from emergelab.rng import stream
from emergelab.scores.tables import PIECES

DRAWS = 1000
"""How often documents are drawn again for intervals."""


def piece_answers(spec: Mapping[str, Any], inputs: Mapping[str, Path]) -> dict[str, PieceAnswers]:
    """Return what each cell made of its pieces; documents are drawn again alike for all of them.

    `spec` names in `texts`, for each run, the input that drew its pieces.
    """
    folders = _folders(inputs)
    texts = {cell: inputs[spec["texts"][run_of(cell)]] for cell in folders}
    laws = {at: law_of(at) for at in set(texts.values())}
    documents = next(len(np.load(at / "tokens.npy", mmap_mode="r", allow_pickle=False)) for at in laws)
    weights = bootstrap_weights(documents, DRAWS, stream(spec["key"], "hypotheses", "pieces"))
    return {
        cell: PieceAnswers(pl.read_parquet(folder / "pieces.parquet"), laws[texts[cell]], weights)
        for cell, folder in folders.items()
    }


def skill_frames(answers: Mapping[str, PieceAnswers], cells: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the tables of skills by name, all but that of pieces."""
    tables = skill_tables(answers, cells)
    return {"links": tables.links, "skills": tables.skills, "weak": tables.weak}


def write_pieces(inputs: Mapping[str, Path], path: Path) -> None:
    """Write the table of pieces of all cells, which need not fit into memory together."""
    parts = [
        pl.scan_parquet(folder / "pieces.parquet", glob=False)
        .with_columns(cell=pl.lit(cell))
        .select(list(PIECES))
        for cell, folder in _folders(inputs).items()
    ]
    pl.concat(parts).sink_parquet(path, compression="zstd", maintain_order=True)


def _folders(inputs: Mapping[str, Path]) -> dict[str, Path]:
    return {name.removeprefix(OF_CELL): at for name, at in inputs.items() if name.startswith(OF_CELL)}
