"""Looking into a store: lists, queries, checks, cleaning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from emergelab.errors import ArtifactError, UserError
from emergelab.grammar.problems import suggestion
from emergelab.pipeline.index import ARTIFACT, index
from emergelab.pipeline.store import Store
from emergelab.recipes.results import Rows, query_files

TABLE = "artifacts"
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


def list_artifacts(store: Store, kind: str | None = None) -> Rows:
    """Return the artifacts, in the order of kinds and names. Raises UserError for a kind that there is none of."""
    table = index(store)
    if kind is not None:
        kinds = sorted(set(table["kind"].to_list()))
        if kind not in kinds:
            raise UserError(
                f"The store has no artifact of the kind {kind!r}. Choose a kind that is there. "
                f"{suggestion(kind, kinds)}"
            )
        table = table.filter(table["kind"] == kind)
    return Rows(_LISTED, table.select(_LISTED).sort("kind", "name", "key").iter_rows())


def query_artifacts(store: Store, sql: str) -> Rows:
    """Run one SQL query over the table `artifacts`; see `pipeline.index.schema`. It can read nothing else.

    Raises UserError, here or while rows are read.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="emergelab-"))
        path = Path(folder) / f"{TABLE}.parquet"
        index(store).write_parquet(path)
        return query_files({TABLE: path}, sql, stack.pop_all())


def totals(store: Store) -> Iterator[str]:
    """Yield what the store holds by kind, in words."""
    import polars as pl  # noqa: PLC0415 - slow to import

    groups = index(store).group_by("kind").agg(pl.len(), pl.col("bytes").sum()).sort("kind")
    for kind, count, size in groups.iter_rows():
        yield f"{count:,} {kind}, {megabytes(size)}"


def megabytes(size: int) -> str:
    """Return a number of bytes in words."""
    return f"{size / 1e6:,.1f} MB"
