"""Rows that a step saves while it works, so that a later try finds them whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from emergelab.pipeline.files import write_bytes


def save_rows(rows: pl.DataFrame, path: Path) -> None:
    """Write rows as Parquet, at once."""
    content = io.BytesIO()
    rows.write_parquet(content, compression="zstd")
    write_bytes(path, content.getvalue())
