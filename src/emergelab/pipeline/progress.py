"""Showing a run: a live view in a terminal, plain lines everywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable

from emergelab.pipeline import events
from emergelab.pipeline.events import Event, Reporter
from emergelab.pipeline.wording import Stream, overall, sentence

_SECONDS_BETWEEN_LINES = 10.0


def reporter_for(stream: Stream) -> Reporter:
    """Return the reporter that fits `stream`: live where it is a terminal, else lines of plain text."""
    if not stream.isatty():
        return Plain(stream)
    from emergelab.pipeline.terminal import Terminal  # noqa: PLC0415 - Rich is slow to import

    return Terminal.on(stream)


class Plain:
    """One line for each finished step, and a line with the time left every ten seconds at most."""

    def __init__(self, stream: Stream, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._quiet_until = clock() + _SECONDS_BETWEEN_LINES

    def report(self, event: Event) -> None:
        """Write the event's line, if it has one."""
        if isinstance(event, events.Ticked):
            self._tick(event)
        elif (line := sentence(event)) is not None:
            self._write(line)

    def _tick(self, event: events.Ticked) -> None:
        if self._clock() >= self._quiet_until:
            self._quiet_until = self._clock() + _SECONDS_BETWEEN_LINES
            self._write(overall(event))

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
