"""What the steps of cells leave behind, under the names that a study's tables give them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emergelab.scores.variants import variant_of
from emergelab.spec import Json

RUN, CELL, EMERGENCE = "run ", "cell ", "emergence "
"""Before the names of runs, cells and tasks, in the names of a step's inputs."""

PIECES, TEXTS = "pieces of ", "texts "
"""Before the names of cells whose text-pieces were scored, and before the number of the grammar that drew them."""

Settings = Mapping[str, Mapping[str, Json]]
"""By the name of a run, what the study varies besides its scale."""


def cell_folders(inputs: Mapping[str, Path]) -> dict[str, Path]:
    """Return where the answers of each cell lie."""
    return {name.removeprefix(CELL): at for name, at in inputs.items() if name.startswith(CELL)}


def run_of(cell: str) -> str:
    """Return the name of the run that a cell was read from: the cell's name but its tokens."""
    return cell.rpartition(",tokens=")[0]


def cell_record(cell: str, folder: Path, settings: Settings) -> dict[str, Any]:
    """Return what is known of a cell. Its own record names it by its scale alone."""
    record = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
    return {**record, "cell": cell, "variant": variant_of(settings.get(run_of(cell), {}))}
