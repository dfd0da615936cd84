"""A worker process: reads one task per line on stdin, writes one message per line on its first stdout.

Whatever libraries print goes to the step's log: descriptors 1 and 2 are pointed away from the protocol
before anything else is imported. A worker never outlives its driver.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Generator
from io import TextIOWrapper
from pathlib import Path
from typing import cast

from emergelab.pipeline.execute import Interruption, execute
from emergelab.pipeline.files import storage_errors
from emergelab.pipeline.messages import Message, Task, encode

_PR_SET_PDEATHSIG = 1
_ORPHANED = 70


class _Inbox:
    """Lines from the driver. The end of the stream while a step runs means that the driver is dead."""

    def __init__(self) -> None:
        self.working = False
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> bytes:
        """Wait for the next line; empty at the end of the stream."""
        return self._lines.get()

    def _read(self) -> None:
        with os.fdopen(0, "rb", closefd=False) as stream:
            for line in stream:
                self._lines.put(line)
        if self.working:
            os._exit(_ORPHANED)
        self._lines.put(b"")


def main() -> None:
    """Serve until the driver closes stdin."""
    protocol = os.dup(1)
    os.dup2(2, 1)
    cast("TextIOWrapper", sys.stdout).reconfigure(line_buffering=True)
    _die_with_driver(int(sys.argv[1]))
    interruption = Interruption()
    signal.signal(signal.SIGTERM, interruption.ask)
    inbox, send = _Inbox(), _sender(protocol)
    while line := inbox.next():
        inbox.working = True
        send(execute(Task.decode(line), send, interruption, _printing_to))
        inbox.working = False


@contextlib.contextmanager
def _printing_to(log: Path) -> Generator[None]:
    """Send all that is printed, by Python or by C, to the file `log`; leave no empty file."""
    before = os.dup(2)
    with storage_errors(log):
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    _point_output_at(descriptor)
    try:
        yield
    finally:
        _point_output_at(before)
        if log.stat().st_size == 0:
            log.unlink()


def _point_output_at(descriptor: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable(2)


def _sender(protocol: int) -> Callable[[Message], None]:
    def send(message: Message) -> None:
        data = encode(message)
        while data:
            data = data[os.write(protocol, data) :]

    return send


def _die_with_driver(driver: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != driver:
        sys.exit(_ORPHANED)


if __name__ == "__main__":
    main()
