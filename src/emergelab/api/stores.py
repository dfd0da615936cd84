"""Looking into the store of a run, where every finished step lies."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from emergelab.pipeline import upkeep
from emergelab.pipeline.index import index
from emergelab.pipeline.store import Store
from emergelab.pipeline.upkeep import Leftover
from emergelab.recipes import results
from emergelab.recipes.stores import find_store, query_artifacts

__all__ = ["RunStore", "open_store"]


def open_store(place: str | Path) -> RunStore:
    """Return the store of a run's folder, or the one that lies at `place`. Raises ArtifactError."""
    store = find_store(Path(place))
    return RunStore(store.root, store)


@dataclass(frozen=True, eq=False)
class RunStore:
    """A store: what steps have left, each under the fingerprint of its specification. Made by `open_store`."""

    folder: Path
    _store: Store = field(repr=False)

    @property
    def artifacts(self) -> pl.DataFrame:
        """What lies in it: kind, name, state, bytes, seconds, when it was made, specification, key."""
        return index(self._store)

    def query(self, sql: str) -> pl.DataFrame:
        """Return the answer to an SQL query (DuckDB's) over the table `artifacts`; it sees nothing else.

        Raises UserError for a query that fails, and for two columns of one name.
        """
        return results.frame_of(query_artifacts(self._store, sql))

    def check(self) -> list[str]:
        """Read every byte of every artifact and say what is damaged; nothing, if nothing is."""
        return [str(damage) for damage in upkeep.damages(self._store)]

    def leftovers(self) -> list[Leftover]:
        """Return what may go: scratch of unfinished steps, damaged copies set aside."""
        return upkeep.leftovers(self._store)

    def clean(self) -> list[Leftover]:
        """Remove what may go, and return it."""
        return upkeep.clean(self._store)
