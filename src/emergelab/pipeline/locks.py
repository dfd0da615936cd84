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
def exclusive(path: Path) -> Generator[None]:
    """Hold the lock file `path` during the body; raise LockedError at once if someone else holds it.

    The kernel frees the lock when its process ends, however it ends.
    """
    descriptor = _acquire(path)
    try:
        yield
    finally:
        # Unlinking before freeing: whoever opened the old file sees below that it is no longer the one.
        path.unlink(missing_ok=True)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(descriptor)
            if _is_still(descriptor, path):
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
