"""Requests to end a run: Ctrl-C, SIGTERM and a closed terminal, counted instead of raised."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stops:
    """How often the run was asked to end."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, _number: int, _frame: FrameType | None) -> None:
        """Count one more request; a signal handler."""
        self.count += 1


@contextlib.contextmanager
def heeded_stops() -> Generator[None]:
    """Let SIGTERM and SIGHUP do in the body what Ctrl-C does: raise KeyboardInterrupt, so that all is tidied.

    Only where nobody else handles them, and in the main thread.
    """
    main = threading.current_thread() is threading.main_thread()
    heeded = [number for number in _SIGNALS if main and signal.getsignal(number) == signal.SIG_DFL]
    for number in heeded:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def counted_stops() -> Generator[Stops]:
    """Count the signals that ask to end while the body runs; elsewhere than in the main thread, none.

    What is ignored already stays so: `nohup` ignores SIGHUP, a shell's `&` may ignore SIGINT.
    """
    stops = Stops()
    main = threading.current_thread() is threading.main_thread()
    heeded = [number for number in _SIGNALS if main and signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stops.add) for number in heeded}
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
