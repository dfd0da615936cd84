"""Listing and querying a store of 100,000 cells: seconds with its index, and once for making the index.

Each cell is a folder with a manifest, as a finished step leaves it; nothing else of it is read.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emergelab.pipeline.manifest import NAME, Making, describe
from emergelab.pipeline.step import Step

CELLS = 100_000
SQL = "select spec->>'$.layers' as layers, count(*) as n, avg(bytes) as bytes from artifacts group by layers order by n"


def main() -> dict[str, object]:
    """Return the seconds of the commands, each a process of its own, start included."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        fill(store)
        return {
            "cells": CELLS,
            "first list, which makes the index": seconds("list", store),
            "list": seconds("list", store),
            "query": seconds("query", store, "--sql", SQL),
        }


def fill(store: Path) -> None:
    """Write the manifests of so many cells."""
    (store / ".locks").mkdir(parents=True)
    for number in range(CELLS):
        step = Step(
            name=f"score layers={number % 8},seed={number}",
            kind="cell",
            function="emergelab.recipes.stages:score_cell",
            version=1,
            spec={"layers": number % 8, "seed": number, "tokens": 1_000_000, "tasks": ["single", "pair"]},
        )
        path = store / step.key
        path.mkdir()
        (path / "cell.json").write_text("{}", encoding="utf-8")
        (path / NAME).write_text(describe(step.identity, path, Making(step.name, 1.0)), encoding="utf-8")


def seconds(*arguments: str | Path) -> float:
    """Return what a command on the store takes."""
    program = "from emergelab.cli import main; main()"
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", program, "store", *map(str, arguments)], check=True, capture_output=True
    )
    return time.perf_counter() - begin
