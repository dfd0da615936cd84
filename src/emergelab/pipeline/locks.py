"""One maker at a time: exclusive lock files that die with the process that holds them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path


class LockedError(Exception):
    """The lock is held by someone else; the message says by whom."""


@contextlib.contextmanager
def exclusive(path: Path, *, patient: bool = False) -> Generator[None]:
    """Hold the lock file `path` during the body; if someone else holds it, wait or raise LockedError at once.

    The kernel frees the lock when its process ends, however it ends.
    """
    descriptor = _acquire(path, fcntl.LOCK_EX if patient else fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        # Unlinking before freeing: whoever opened the old file sees below that it is no longer the one.
        path.unlink(missing_ok=True)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


class Presence:
    """A lock file that several processes hold together; each may ask whether it is the only one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = _acquire(path, fcntl.LOCK_SH)

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """Keep others out during the body. Raises LockedError where others are present."""
        try:
            _lock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            # Changing a lock's kind lets go of the old one first: it is taken again in any case.
            _lock(self._descriptor, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Let go; the last one removes the file."""
        with contextlib.suppress(LockedError):
            _lock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


@contextlib.contextmanager
def present(path: Path) -> Generator[Presence]:
    """Be one of those that hold the lock file `path` during the body; wait while someone is alone there."""
    presence = Presence(path)
    try:
        yield presence
    finally:
        presence.leave()


def _acquire(path: Path, how: int) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(descriptor, how)
            if _is_still(descriptor, path):
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, how: int) -> None:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace")
        raise LockedError(holder or "another process") from None


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {now}".encode(), 0)
