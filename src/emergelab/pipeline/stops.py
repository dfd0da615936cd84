"""Requests to end a run: Ctrl-C, SIGTERM and a closed terminal, counted instead of raised."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Self, TypeAlias

_Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stops:
    """Counts the signals that ask to end, while it is entered. Elsewhere than in the main thread, none."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[signal.Signals, _Handler] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # What is ignored already stays so: `nohup` ignores SIGHUP, a shell's `&` may ignore SIGINT.
            heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._add) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _add(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
