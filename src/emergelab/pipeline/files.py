"""Writing to disk so that a reader never sees half a file, and one clear message where that fails."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Generator
from pathlib import Path
from tempfile import gettempdir

from emergelab.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}
# Rust libraries (Polars, safetensors) wrap the system's error in an exception of their own.
_FULL_TEXTS = ("No space left on device", "os error 28", "Disk quota exceeded", "os error 122")


class StorageError(UserError):
    """A place on the disk that cannot be used: full, not writable, or a file where a folder must be."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader, and a power cut, sees the old file or the new one.

    Makes missing parent folders. Raises StorageError where the disk does not take it.
    """
    with storage_errors(path):
        make_folder(path.parent)
        temporary = _sibling(path)
        try:
            _write_synced(temporary, data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, as atomically as `write_bytes`."""
    write_bytes(path, text.encode())


def make_folder(path: Path) -> None:
    """Make the folder `path`, and those above it, where they are missing. Raises StorageError."""
    with storage_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # some file systems answer so to whoever must not write there
            raise StorageError(
                f"{path} cannot be made: {error.strerror}. Choose another with --out, one that you may write to."
            ) from error


def replace_folder(source: Path, target: Path) -> None:
    """Put the folder `source` in the place of `target`, which may exist; both on one disk.

    POSIX cannot swap two folders at once: between two renames `target` is missing for a moment. A failure
    puts the old folder back. Raises StorageError where the disk does not take it.
    """
    with storage_errors(target):
        sync_tree(source)
        with _moved_away(target):
            source.rename(target)
        sync_folder(target.parent)


@contextlib.contextmanager
def new_folder(target: Path) -> Generator[Path]:
    """Give an empty folder beside `target` to write into; it takes `target`'s place if the body succeeds."""
    with storage_errors(target):
        folder = _sibling(target)
        make_folder(folder)
    try:
        yield folder
        replace_folder(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def storage_errors(path: Path) -> Generator[None]:
    """Turn the system's refusals inside the body into a StorageError that speaks of `path`."""
    try:
        yield
    except OSError as error:
        message = storage_problem(error, path)
        if message is None:
            raise
        raise StorageError(message) from error


def storage_problem(error: BaseException, path: Path) -> str | None:
    """Return value, rule and remedy if `error` is a refusal of the disk to take `path`; else None."""
    full = full_disk_problem(error, path)
    if full is not None or not isinstance(error, OSError):
        return full
    place = path if error.filename is None else os.fsdecode(error.filename)
    if error.errno in _FORBIDDEN:
        return f"{place} cannot be written: {error.strerror}. Choose a folder that you may write to."
    if error.errno in _NO_FOLDER:
        return f"{place} is not a folder, and a folder is needed there. Choose another place."
    return None


def full_disk_problem(error: BaseException, path: Path) -> str | None:
    """Return value, rule and remedy if `error`, or what caused it, says that a disk is full; else None.

    `path` is where the writing was to go, as far as the caller knows.
    """
    chain = (error, error.__cause__, error.__context__)
    if not any(cause is not None and _says_full(cause) for cause in chain):
        return None
    places = dict.fromkeys(f"{_megabytes(place)} MB in {place}" for place in (path, Path(gettempdir())))
    return (
        f"No space is left on the disk: {', '.join(places)}. What is finished is kept. "
        "Free some space and give the same command again."
    )


def sync_tree(folder: Path) -> None:
    """Force every file and folder below `folder`, and `folder` itself, to the disk."""
    for parent, _, files in os.walk(folder):
        for name in files:
            _sync(Path(parent, name))
        sync_folder(Path(parent))


def sync_folder(folder: Path) -> None:
    """Force the names in `folder` to the disk, so that a rename survives a power cut."""
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}")


@contextlib.contextmanager
def _moved_away(target: Path) -> Generator[None]:
    if not target.exists():
        yield
        return
    old = _sibling(target)
    target.rename(old)
    try:
        yield
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return any(text in str(error) for text in _FULL_TEXTS)


def _megabytes(path: Path) -> int:
    place = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(place).free // 1_000_000
