"""The store: a folder of artifacts, each under its fingerprint, written once and never changed.

    <root>/<kind>-<fingerprint>/           a finished artifact: its files and `manifest.json`
    <root>/<kind>-<fingerprint>.damaged/   one whose bytes did not match, set aside
    <root>/logs/<kind>-<fingerprint>.log   what a step printed, and its traceback if it failed
    <root>/.work/<kind>-<fingerprint>/     an unfinished step: `out` and `scratch`
    <root>/.locks/<kind>-<fingerprint>     held by the process that is making the artifact
    <root>/.locks/runs                     held by all runs that use the store
    <root>/.index/                         what `index` remembers of the manifests; may be removed

An artifact comes into being by one rename of a folder whose every byte is already on the disk. So it is
there whole or not at all, and several runs may share a store: each step is made under its own lock, by
whoever comes first.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Generator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

from emergelab.errors import ArtifactError, DamagedArtifactError
from emergelab.pipeline import manifest as manifests
from emergelab.pipeline import release as releases
from emergelab.pipeline.files import StorageError, storage_errors, sync_folder, sync_tree, write_text
from emergelab.pipeline.locks import LockedError, Presence, exclusive, present
from emergelab.pipeline.manifest import Making, Manifest
from emergelab.pipeline.release import Release
from emergelab.pipeline.step import Identity

_RUNS = "runs"  # no artifact's name: those have a dash

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
        are ignored, and so are those that were let go and are gone.
        """
        folder = self.path(step)
        if not folder.is_dir():
            message = f"{folder} is missing: the step is not finished. Run the study to make it."
            raise ArtifactError(message)
        manifest = read_manifest(folder)
        gone = dropped_files(folder)
        for name, expected in manifest["files"].items():
            if name not in gone:
                _check_file(folder / name, expected)
        return manifest

    def manifest(self, step: Keyed) -> Manifest:
        """Return the manifest of the step's artifact; its files are not read. Raises DamagedArtifactError."""
        return read_manifest(self.path(step))

    def damage(self, step: Keyed) -> DamagedArtifactError | None:
        """Return what is wrong with the step's artifact; None where it is good or missing."""
        if not self.path(step).exists():
            return None
        try:
            self.check(step)
        except DamagedArtifactError as error:
            return error
        return None

    def dropped(self, step: Keyed) -> Mapping[str, Release]:
        """Return the files of the step's artifact that were let go and are gone.

        Raises DamagedArtifactError where the record of it was changed.
        """
        return dropped_files(self.path(step))

    def release(self, step: Keyed, names: Collection[str], policy: str) -> int:
        """Let files of the step's finished artifact go; return how many bytes that freed.

        The record beside the manifest says what went, by which `policy` and when. Call it while no other run
        uses the store. Raises ArtifactError for a file that the artifact does not have.
        """
        folder = self.path(step)
        manifest = read_manifest(folder)
        foreign = sorted(set(names) - set(manifest["files"]))
        if foreign:
            message = f"{folder} has no file {foreign[0]}. Name one of {', '.join(manifest['files'])}."
            raise ArtifactError(message)
        going = [name for name in names if (folder / name).exists()]
        if not going:
            return 0
        with storage_errors(self.root):
            known = _releases(folder)
            write_text(
                folder / releases.NAME, releases.describe({**releases.released_now(going, policy), **known})
            )
            for name in going:
                (folder / name).unlink()
            sync_folder(folder)
        return sum(manifest["files"][name]["size"] for name in going)

    @contextlib.contextmanager
    def in_use(self) -> Generator[Presence]:
        """Be one of the runs that use the store during the body."""
        with contextlib.ExitStack() as stack:
            with storage_errors(self.root):
                self._locks.mkdir(parents=True, exist_ok=True)
                presence = stack.enter_context(present(self._locks / _RUNS))
            yield presence

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
                if leftover.name != _RUNS:
                    self._clear(leftover.name)
            for log in (self.root / "logs").iterdir():
                if log.stat().st_size == 0:
                    self._clear(log.name.removesuffix(".log"))

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

    def adopt(self, identity: Identity, folder: Path, making: Making | None = None) -> Path:
        """Make `folder`, on the store's disk, the artifact of `identity`; return its new path.

        Call under the step's lock. Where a good artifact already has the name, that one stays and
        `folder` is dropped; a damaged one is set aside, and one that has let files go gets them back.
        """
        for name in (manifests.NAME, releases.NAME):
            if (folder / name).exists():
                message = f"A step may not write a file named {name}: {identity.function}"
                raise ValueError(message)
        with storage_errors(self.root):
            text = manifests.describe(identity, folder, making)
            (folder / manifests.NAME).write_text(text, encoding="utf-8")
            _forbid_writing(folder)
            sync_tree(folder)
            self._put(identity, folder)
        shutil.rmtree(self._work / identity.key, ignore_errors=True)
        return self.path(identity)

    def set_aside(self, step: Keyed, reason: str = "damaged") -> Path:
        """Rename the step's artifact to the first free of `.damaged`, `.damaged-2`, …; return that path."""
        numbers = ("", *(f"-{number}" for number in range(2, 1000)))
        for number in numbers:
            place = self.root / f"{step.key}.{reason}{number}"
            if not place.exists():
                with storage_errors(self.root):
                    self.path(step).rename(place)
                    sync_folder(self.root)
                return place
        message = (
            f"{self.path(step)} was {reason} {len(numbers)} times. Look into the disk, remove the copies."
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
            if self.damage(identity) is not None:
                self.set_aside(identity)
            elif not self._restore(identity, folder):
                shutil.rmtree(folder)
                return
            else:
                self.set_aside(identity, "replaced")
        folder.rename(self.path(identity))
        sync_folder(self.root)

    def _restore(self, identity: Identity, folder: Path) -> bool:
        """Move the files that the artifact has let go back into it; say whether it must be replaced instead.

        It must be where the new bytes are others: on a GPU, training twice gives two models.
        """
        home = self.path(identity)
        if not self.dropped(identity):
            return False
        if read_manifest(folder, key=identity.key)["files"] != read_manifest(home)["files"]:
            return True
        for name in self.dropped(identity):
            (folder / name).rename(home / name)
        sync_tree(home)
        (home / releases.NAME).unlink()
        sync_folder(home)
        return False

    def _clear(self, key: str) -> None:
        """Remove what dead makers of `key` left, but for the scratch of an unfinished step and its words."""
        with contextlib.suppress(LockedError), exclusive(self._locks / key):
            log = self.root / "logs" / f"{key}.log"
            if log.exists() and log.stat().st_size == 0:
                log.unlink()
            home = self.root / key
            # One that has let files go may be being made again.
            finished = (home / manifests.NAME).exists() and not (home / releases.NAME).exists()
            shutil.rmtree(self._work / key if finished else self._work / key / "out", ignore_errors=True)


def _forbid_writing(folder: Path) -> None:
    for name in manifests.file_names(folder):
        (folder / name).chmod((folder / name).stat().st_mode & ~0o222)


def read_manifest(folder: Path, key: str | None = None) -> Manifest:
    """Return the manifest of the artifact `key` in `folder`, by default of the one that the folder is named for.

    Raises DamagedArtifactError where it is not whole or belongs to another artifact.
    """
    path = folder / manifests.NAME
    with _reading(path):
        try:
            manifest = manifests.parse(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise _damaged(path, str(error)) from error
    found = manifests.identity_of(manifest).key
    if found != (key or folder.name):
        raise _damaged(path, f"it describes {found}")
    return manifest


def dropped_files(folder: Path) -> dict[str, Release]:
    """Return the files that the artifact in `folder` has let go and that are gone. Raises as `read_manifest`."""
    return {name: release for name, release in _releases(folder).items() if not (folder / name).exists()}


def _releases(folder: Path) -> dict[str, Release]:
    path = folder / releases.NAME
    with _reading(path):
        try:
            return releases.read_releases(folder)
        except (ValueError, TypeError) as error:
            raise _damaged(path, str(error)) from error


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
