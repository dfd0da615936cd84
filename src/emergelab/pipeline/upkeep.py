"""Looking after a store: reading every byte of it, and clearing away what nobody needs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from emergelab.errors import ArtifactError, UserError
from emergelab.pipeline.files import storage_errors
from emergelab.pipeline.index import ARTIFACT
from emergelab.pipeline.locks import LockedError
from emergelab.pipeline.store import Store

_SET_ASIDE = re.compile(rf"{ARTIFACT.pattern}\.(damaged|replaced)(-\d+)?")
_UNFINISHED = re.compile(r"\..*\.[0-9a-f]{12}")


class StoreInUseError(UserError):
    """A store that a run works in just now."""


@dataclass(frozen=True)
class Named:
    """An artifact by the name of its folder."""

    key: str


@dataclass(frozen=True)
class Leftover:
    """Something that no run needs to be right: what it is, its bytes, when it was changed last (UTC)."""

    path: Path
    what: str
    size: int
    changed: str


def artifact_keys(store: Store) -> list[str]:
    """Return the names of all artifacts' folders, sorted."""
    with storage_errors(store.root):
        return sorted(name for name in os.listdir(store.root) if ARTIFACT.fullmatch(name))  # noqa: PTH208 - many


def damages(
    store: Store, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Iterator[ArtifactError]:
    """Read every byte of every artifact and yield what is wrong with each that is not whole.

    Files that were let go by a policy are no damage. `progress` is called with the artifacts read and all.
    """
    keys = artifact_keys(store)
    for done, key in enumerate(keys):
        progress(done, len(keys))
        damage = store.damage(Named(key))
        if damage is not None:
            yield damage
    progress(len(keys), len(keys))


def leftovers(store: Store) -> list[Leftover]:
    """Return what may go: scratch of steps that nobody makes now, artifacts set aside, files half written.

    An unfinished training goes on from its scratch; without it, it begins anew with the same result.
    """
    return [*_scratch(store), *_set_aside(store), *_half_written(store)]


def clean(store: Store) -> list[Leftover]:
    """Remove the leftovers and return them. Raises StoreInUseError while a run uses the store."""
    try:
        with store.in_use() as presence, presence.alone(), storage_errors(store.root):
            found = leftovers(store)
            for leftover in found:
                shutil.rmtree(leftover.path) if leftover.path.is_dir() else leftover.path.unlink()
            return found
    except LockedError as error:
        message = f"A run works in {store.root} just now. What it needs cannot be told apart. Wait until it has ended."
        raise StoreInUseError(message) from error


def _scratch(store: Store) -> Iterator[Leftover]:
    for path in _entries(store.root / ".work"):
        yield _leftover(path, "scratch of an unfinished step")


def _set_aside(store: Store) -> Iterator[Leftover]:
    for path in _entries(store.root):
        match = _SET_ASIDE.fullmatch(path.name)
        if match is not None:
            yield _leftover(path, f"{match[1]} artifact, set aside")


def _half_written(store: Store) -> Iterator[Leftover]:
    for path in (*_entries(store.root), *_entries(store.root / ".index")):
        if _UNFINISHED.fullmatch(path.name):
            yield _leftover(path, "file half written")


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _leftover(path: Path, what: str) -> Leftover:
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return Leftover(path, what, sum(each.stat().st_size for each in files), changed)
