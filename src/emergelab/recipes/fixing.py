"""When each hypothesis was fixed: kept beside the run, by the digest of all that it says, and never written again.

<run>/hypotheses.json   one entry for each hypothesis that a run of this folder ever had
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emergelab.errors import ArtifactError
from emergelab.pipeline.files import write_text
from emergelab.pipeline.step import Step
from emergelab.pipeline.store import Store
from emergelab.recipes.grid import Grid
from emergelab.recipes.run_folder import HYPOTHESES, RunFolder
from emergelab.report.words import plural
from emergelab.spec import Json, JsonObject, canonical_json

BEFORE = "before the first cell"
_CELL = "cell"


@dataclass(frozen=True)
class Fixed:
    """What was in the folder when a hypothesis was first seen: cells of its study, of how many, and other cells."""

    scored: int
    cells: int
    others: int

    def words(self) -> str:
        """Return it as the tables and the report say it."""
        if self.scored:
            return f"after {self.scored} of {self.cells} cells"
        if self.others:
            return f"after {plural(self.others, 'cell')} of other settings"
        return BEFORE


def fixed_grid(grid: Grid, folder: RunFolder, *, write: bool) -> Grid:
    """Return the grid with, in the step of its tables, when each of its hypotheses was fixed.

    One that the folder has never seen is fixed now: with `write`, this is kept before anything is made. Raises
    ArtifactError where what was kept cannot be read.
    """
    asked = grid.hypotheses
    if not asked:
        return grid
    known = read_fixed(folder)
    now = _now(grid, folder.store)
    fresh = [one for one in asked if one["digest"] not in known]
    if fresh and write:
        _add(folder, fresh, now)
    words = [
        {
            **one,
            "fixed": _fixed_of(known[str(one["digest"])]).words() if one["digest"] in known else now.words(),
        }
        for one in asked
    ]
    tables = replace(grid.tables, spec={**grid.tables.spec, "hypotheses": words})
    return replace(grid, tables=tables)


def read_fixed(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Return what was kept, by digest: name, claim, seen (a time), scored, cells, others. Raises ArtifactError."""
    path = folder.path / HYPOTHESES
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["hypotheses"]
        known = {entry["digest"]: entry for entry in entries}
        for entry in known.values():
            _fixed_of(entry)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({type(error).__name__}). It says when hypotheses were fixed, which nothing else "
            "knows. Put it back from a copy, or run the study in a new folder with --out."
        ) from error
    return known


def dropped(folder: RunFolder, digests: Sequence[str]) -> list[str]:
    """Return in words the hypotheses that were fixed in this folder and that the study has no more."""
    return [
        f"{entry['name']}: {entry['claim']} (fixed {_fixed_of(entry).words()}, {entry['seen'][:10]})"
        for digest, entry in read_fixed(folder).items()
        if digest not in digests
    ]


def _fixed_of(entry: Mapping[str, Any]) -> Fixed:
    return Fixed(*(int(entry[name]) for name in ("scored", "cells", "others")))


def _add(folder: RunFolder, fresh: Sequence[JsonObject], now: Fixed) -> None:
    with folder.alone():
        known = read_fixed(folder)  # again: another run may have written it meanwhile
        seen = datetime.now(UTC).isoformat(timespec="seconds")
        for one in fresh:
            kept: JsonObject = {name: one[name] for name in ("digest", "name", "claim", "test")}
            counts: JsonObject = {"scored": now.scored, "cells": now.cells, "others": now.others}
            known.setdefault(str(one["digest"]), {**kept, "seen": seen, **counts})
        entries: list[Json] = list(known.values())
        write_text(folder.path / HYPOTHESES, canonical_json({"hypotheses": entries}) + "\n")


def _now(grid: Grid, store: Store) -> Fixed:
    """Count the cells that the store holds: those of the grid, and others."""
    cells = [step for step in grid.tables.inputs.values() if step.kind == _CELL]
    scored = sum(_is_there(store, step) for step in cells)
    others = sum(1 for _ in _folders(store)) - scored
    return Fixed(scored, len(cells), max(others, 0))


def _is_there(store: Store, step: Step) -> bool:
    return store.path(step).is_dir()


def _folders(store: Store) -> list[Path]:
    return list(store.root.glob(f"{_CELL}-*")) if store.root.is_dir() else []
