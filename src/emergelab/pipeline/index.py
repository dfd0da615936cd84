"""An index of a store: what its manifests say, in one table that is read in a second.

The manifests are the truth. The index remembers them by the stamps of their files (inode, size, times) and
reads again what has another stamp, so that it is never older than the store. It is one Parquet file whose
name carries the digest of its bytes: one that is missing, cut or changed is made anew. Whoever writes it
renames a whole file, so that runs need not wait for each other, and where nothing can be written the index
is made for this once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from emergelab.errors import DamagedArtifactError
from emergelab.pipeline import manifest as manifests
from emergelab.pipeline.files import StorageError, write_bytes
from emergelab.pipeline.manifest import Manifest
from emergelab.pipeline.store import Store, dropped_files, read_manifest
from emergelab.spec import Json, canonical_json

if TYPE_CHECKING:
    import polars as pl

ARTIFACT = re.compile(r"[a-z][a-z0-9_]*-f[0-9]+-[0-9a-f]{32}")
_FORMAT = "1"
_FILE = re.compile(rf"artifacts-{_FORMAT}-([0-9a-f]{{64}})\.parquet")


def index(store: Store) -> pl.DataFrame:
    """Return one row for each artifact of the store, in the order of keys; see `schema` for the columns.

    Raises StorageError where the store cannot be read.
    """
    import polars as pl  # noqa: PLC0415 - slow to import

    stamps = dict(_stamps(store.root))
    known = _saved(store)
    current = pl.DataFrame({"key": list(stamps), "stamp": list(stamps.values())}, schema_overrides=_text(2))
    kept = known.join(current, on=["key", "stamp"], how="semi")
    left = current.join(kept, on="key", how="anti")
    if kept.height == known.height and not left.height:
        return known.drop("stamp")
    rows = [_row(store.root / key, stamp) for key, stamp in left.iter_rows()]
    table = pl.concat([kept, pl.DataFrame(rows, schema=schema(), orient="row")]).sort("key")
    _save(store, table)
    return table.drop("stamp")


def schema() -> pl.Schema:
    """Return the columns of the index.

    `state` is finished, dropped in part or damaged: what the manifest and the record of dropped files tell, no
    file is read. `bytes` is the size of all files that are there, `seconds` the time of the step's last go.
    `made` is in UTC. `spec`, `inputs`, `versions`, `contents` and `dropped` are JSON.
    """
    import polars as pl  # noqa: PLC0415 - slow to import

    text = ("key", "stamp", "kind", "name", "state", "made", "function")
    documents = ("spec", "inputs", "versions", "contents", "dropped", "problem")
    numbers = {"version": pl.Int64, "bytes": pl.Int64, "seconds": pl.Float64}
    return pl.Schema({**dict.fromkeys(text, pl.String), **numbers, **dict.fromkeys(documents, pl.String)})


def _text(columns: int) -> Mapping[str, type[pl.String]]:
    import polars as pl  # noqa: PLC0415 - slow to import

    return dict.fromkeys(("key", "stamp")[:columns], pl.String)


def _stamps(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the key of each artifact and what changes whenever its manifest or its files' names do."""
    with contextlib.suppress(FileNotFoundError), os.scandir(root) as entries:
        for entry in entries:
            if ARTIFACT.fullmatch(entry.name):
                yield entry.name, _stamp(entry.path)


def _stamp(folder: str) -> str:
    try:
        about, of_manifest = os.stat(folder), os.stat(f"{folder}/{manifests.NAME}")  # noqa: PTH116 - 100,000 of them
    except OSError as error:
        return f"none: {error.strerror}"
    times = (about.st_mtime_ns, of_manifest.st_mtime_ns, of_manifest.st_ctime_ns)
    return " ".join(map(str, (of_manifest.st_ino, of_manifest.st_size, *times)))


def _row(folder: Path, stamp: str) -> tuple[object, ...]:
    kind = folder.name.partition("-")[0]
    try:
        return _described(folder, stamp, read_manifest(folder))
    except (DamagedArtifactError, StorageError) as error:
        return (folder.name, stamp, kind, None, "damaged", *[None] * 10, str(error))


def _described(folder: Path, stamp: str, manifest: Manifest) -> tuple[object, ...]:
    gone = dropped_files(folder)
    files = manifest["files"]
    documents: tuple[Json, ...] = (manifest["spec"], manifest["inputs"], manifest["versions"])
    return (
        folder.name,
        stamp,
        manifest["kind"],
        manifest.get("name"),
        "dropped in part" if gone else "finished",
        manifest["created"],
        manifest["function"],
        manifest["version"],
        sum(record["size"] for name, record in files.items() if name not in gone),
        manifest.get("seconds"),
        *map(canonical_json, documents),
        json.dumps(files),
        json.dumps(gone) if gone else None,
        None,
    )


def _saved(store: Store) -> pl.DataFrame:
    """Return the index that is there and whole, else an empty one."""
    import polars as pl  # noqa: PLC0415 - slow to import

    for path in _files(store):
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if path.name == _name(data):
                return pl.read_parquet(io.BytesIO(data))
    return pl.DataFrame(schema=schema())


def _save(store: Store, table: pl.DataFrame) -> None:
    """Write the index where that is possible, then remove others."""
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd")
    data = buffer.getvalue()
    with contextlib.suppress(StorageError, OSError):
        write_bytes(_folder(store) / _name(data), data)
        for path in _files(store):
            if path.name != _name(data):
                path.unlink(missing_ok=True)


def _folder(store: Store) -> Path:
    return store.root / ".index"


def _files(store: Store) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for path in _folder(store).iterdir() if _FILE.fullmatch(path.name)]
    return []


def _name(data: bytes) -> str:
    return f"artifacts-{_FORMAT}-{hashlib.blake2b(data, digest_size=32).hexdigest()}.parquet"
