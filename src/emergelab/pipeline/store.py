"""The store: a folder of artifacts, each under its fingerprint, written once and never changed.

    <root>/<kind>-<fingerprint>/           a finished artifact: its files and `manifest.json`
    <root>/<kind>-<fingerprint>.damaged/   one whose bytes did not match, set aside
    <root>/logs/<kind>-<fingerprint>.log   what a step printed, and its traceback if it failed
    <root>/.work/<kind>-<fingerprint>/     an unfinished step: `out` and `scratch`
    <root>/.locks/<kind>-<fingerprint>     held by the process that is making the artifact

An artifact comes into being by one rename of a folder whose every byte is already on the disk. So it is
there whole or not at all, and several runs may share a store: each step is made under its own lock, by
whoever comes first.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

from emergelab.errors import ArtifactError, DamagedArtifactError
from emergelab.pipeline import manifest as manifests
from emergelab.pipeline.files import StorageError, storage_errors, sync_folder, sync_tree
from emergelab.pipeline.locks import LockedError, exclusive
from emergelab.pipeline.manifest import Manifest
from emergelab.pipeline.step import Identity

REMEDY = "An artifact never changes once written. Run the study again: it is set aside and made anew."


class Keyed(Protocol):
    """Whatever names an artifact: a Step or an Identity."""

    @property
    def key(self) -> str:
        """Return the name of the artifact's folder."""
        ...


class Store:
    """The artifacts below one folder. Making the object touches nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def path(self, step: Keyed) -> Path:
        """Return the folder of the step's artifact, whether it is there or not."""
        return self.root / step.key

    def log(self, step: Keyed) -> Path:
        """Return the file that takes what the step prints, and its traceback if it fails."""
        return self.root / "logs" / f"{step.key}.log"

    def finished(self, step: Keyed) -> bool:
        """Say whether the step's artifact is there. Its bytes are not read; see `check`."""
        return (self.path(step) / manifests.NAME).exists()

    def open(self, step: Keyed) -> Path:
        """Return the folder of the step's artifact, every byte checked. Raises as `check` does."""
        self.check(step)
        return self.path(step)

    def check(self, step: Keyed) -> Manifest:
        """Read every byte of the step's artifact and return its manifest.

        Raises ArtifactError where it is missing and DamagedArtifactError, naming the file, what was found
        and what was expected, where it differs from its manifest. Files that the manifest does not name
        are ignored.
        """
        folder = self.path(step)
        if not folder.is_dir():
            message = f"{folder} is missing: the step is not finished. Run the study to make it."
            raise ArtifactError(message)
        manifest = _read_manifest(folder)
        for name, expected in manifest["files"].items():
            _check_file(folder / name, expected)
        return manifest

    def damage(self, step: Keyed) -> DamagedArtifactError | None:
        """Return what is wrong with the step's artifact; None where it is good or missing."""
        if not self.path(step).exists():
            return None
        try:
            self.check(step)
        except DamagedArtifactError as error:
            return error
        return None

    def prepare(self) -> None:
        """Make the store's folders and clear away what dead processes left.

        Raises StorageError where the folder cannot be used. Scratch of unfinished steps is kept.
        """
        with storage_errors(self.root):
            for folder in (self._locks, self._work, self.root / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
            # A folder that is there already need not be writable: try.
            with TemporaryFile(dir=self._work):
                pass
            for leftover in (*self._work.iterdir(), *self._locks.iterdir()):
                self._clear(leftover.name)

    @contextlib.contextmanager
    def lock(self, step: Keyed) -> Generator[None]:
        """Be the only process that makes, or sets aside, this artifact. Raises LockedError."""
        with contextlib.ExitStack() as stack:
            with storage_errors(self.root):
                stack.enter_context(exclusive(self._locks / step.key))
            yield

    def holder(self, step: Keyed) -> str | None:
        """Return who is making this artifact just now; None where nobody is."""
        try:
            with self.lock(step):
                return None
        except LockedError as error:
            return str(error)

    def workplace(self, step: Keyed) -> tuple[Path, Path]:
        """Return the folders `out`, emptied, and `scratch`, as it was left, under the step's lock."""
        out, scratch = self._work / step.key / "out", self._work / step.key / "scratch"
        with storage_errors(self.root):
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            scratch.mkdir(exist_ok=True)
        return out, scratch

    def adopt(self, identity: Identity, folder: Path) -> Path:
        """Make `folder`, on the store's disk, the artifact of `identity`; return its new path.

        Call under the step's lock. Where a good artifact already has the name, that one stays and
        `folder` is dropped; a damaged one is set aside.
        """
        manifest = folder / manifests.NAME
        if manifest.exists():
            message = f"A step may not write a file named {manifests.NAME}: {identity.function}"
            raise ValueError(message)
        with storage_errors(self.root):
            manifest.write_text(manifests.describe(identity, folder), encoding="utf-8")
            _forbid_writing(folder)
            sync_tree(folder)
            self._put(identity, folder)
        shutil.rmtree(self._work / identity.key, ignore_errors=True)
        return self.path(identity)

    def set_aside(self, step: Keyed) -> Path:
        """Rename the step's artifact to the first free of `.damaged`, `.damaged-2`, …; return that path."""
        numbers = ("", *(f"-{number}" for number in range(2, 1000)))
        for number in numbers:
            place = self.root / f"{step.key}.damaged{number}"
            if not place.exists():
                with storage_errors(self.root):
                    self.path(step).rename(place)
                    sync_folder(self.root)
                return place
        message = (
            f"{self.path(step)} was damaged {len(numbers)} times. Look into the disk, remove the copies."
        )
        raise ArtifactError(message)

    @property
    def _work(self) -> Path:
        return self.root / ".work"

    @property
    def _locks(self) -> Path:
        return self.root / ".locks"

    def _put(self, identity: Identity, folder: Path) -> None:
        if self.path(identity).exists():
            if self.damage(identity) is None:
                shutil.rmtree(folder)
                return
            self.set_aside(identity)
        folder.rename(self.path(identity))
        sync_folder(self.root)

    def _clear(self, key: str) -> None:
        """Remove what dead makers of `key` left, but for the scratch of an unfinished step."""
        with contextlib.suppress(LockedError), exclusive(self._locks / key):
            finished = (self.root / key / manifests.NAME).exists()
            shutil.rmtree(self._work / key if finished else self._work / key / "out", ignore_errors=True)


def _forbid_writing(folder: Path) -> None:
    for name in manifests.file_names(folder):
        (folder / name).chmod((folder / name).stat().st_mode & ~0o222)


def _read_manifest(folder: Path) -> Manifest:
    path = folder / manifests.NAME
    with _reading(path):
        try:
            manifest = manifests.parse(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise _damaged(path, str(error)) from error
    key = manifests.identity_of(manifest).key
    if key != folder.name:
        raise _damaged(path, f"it describes {key}")
    return manifest


def _check_file(path: Path, expected: manifests.FileRecord) -> None:
    with _reading(path):
        size = path.stat().st_size
        if size != expected["size"]:
            raise _damaged(path, f"it has {size} bytes, expected {expected['size']}")
        digest = manifests.record(path)["blake2b"]
        if digest != expected["blake2b"]:
            raise _damaged(path, f"its BLAKE2b digest is {digest}, expected {expected['blake2b']}")


@contextlib.contextmanager
def _reading(path: Path) -> Generator[None]:
    """Call what cannot be read damaged, but what may not be read only forbidden."""
    try:
        yield
    except PermissionError as error:
        message = f"{path} cannot be read: {error.strerror}. Give yourself the right to read the store."
        raise StorageError(message) from error
    except FileNotFoundError:
        raise _damaged(path, "it is missing") from None
    except OSError as error:
        raise _damaged(path, f"it cannot be read ({error.strerror})") from error


def _damaged(path: Path, found: str) -> DamagedArtifactError:
    return DamagedArtifactError(f"{path} is damaged: {found}. {REMEDY}")
