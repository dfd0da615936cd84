"""Looking into a store: lists, queries, checks, cleaning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from emergelab.errors import ArtifactError, UserError
from emergelab.grammar.problems import suggestion
from emergelab.pipeline.index import ARTIFACT, index
from emergelab.pipeline.store import Store
from emergelab.recipes.results import Rows, query_files

if TYPE_CHECKING:
    import polars as pl

TABLE = "artifacts"
_MEGABYTE = 1_000_000
_LISTED = ("kind", "name", "state", "bytes", "seconds", "made", "key")


def find_store(place: Path) -> Store:
    """Return the store of a run's folder, or the store that lies at `place`. Raises ArtifactError."""
    for folder in (place / "store", place):
        if _is_store(folder):
            return Store(folder)
    raise ArtifactError(
        f"{place} is neither a run's folder nor a store. A store holds artifacts. Give the folder that "
        "`emergelab run` made, by default runs/<study>."
    )


def _is_store(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return (folder / ".locks").is_dir() or any(ARTIFACT.fullmatch(path.name) for path in folder.iterdir())


def list_artifacts(store: Store, kind: str | None = None) -> tuple[Rows, str]:
    """Return the artifacts, in the order of kinds and names, and what they come to by kind, in words.

    Raises UserError for a kind that there is none of.
    """
    table = index(store)
    if kind is not None:
        kinds = sorted(set(table["kind"].to_list()))
        if kind not in kinds:
            raise UserError(
                f"The store has no artifact of the kind {kind!r}. Choose a kind that is there. "
                f"{suggestion(kind, kinds)}"
            )
        table = table.filter(table["kind"] == kind)
    rows = table.select(_LISTED).sort("kind", "name", "key").iter_rows()
    return Rows(_LISTED, rows), "; ".join(_totals(table))


def query_artifacts(store: Store, sql: str) -> Rows:
    """Run one SQL query over the table `artifacts`; see `pipeline.index.schema`. It can read nothing else.

    Raises UserError, here or while rows are read.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="emergelab-"))
        path = Path(folder) / f"{TABLE}.parquet"
        index(store).write_parquet(path)
        return query_files({TABLE: path}, sql, stack.pop_all())


def _totals(table: pl.DataFrame) -> Iterator[str]:
    import polars as pl  # noqa: PLC0415 - slow to import

    groups = table.group_by("kind").agg(pl.len(), pl.col("bytes").sum()).sort("kind")
    for kind, count, size in groups.iter_rows():
        yield f"{count:,} of kind {kind}, {bytes_in_words(size)}"


def bytes_in_words(size: int) -> str:
    """Return a number of bytes in words."""
    return f"{size / 1e6:,.1f} MB" if size >= _MEGABYTE else f"{size / 1e3:,.1f} kB"
