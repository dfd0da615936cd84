"""The live view of a run in a notebook: one bar, and the lines that need attention above it."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from typing import Protocol

from emergelab.pipeline import events
from emergelab.pipeline.events import Event
from emergelab.pipeline.wording import overall, sentence

_SECONDS_BETWEEN_UPDATES = 0.5


class Screen(Protocol):
    """A place in a notebook whose HTML can be replaced."""

    def __call__(self, markup: str, /) -> object:
        """Show `markup` instead of what was shown."""
        ...


class Notebook:
    """Shows a run in one place of a notebook."""

    def __init__(self, screen: Screen, clock: Callable[[], float] = time.monotonic) -> None:
        self._screen = screen
        self._clock = clock
        self._quiet_until = clock()
        self._lines: list[str] = []
        self._bar = ""

    def report(self, event: Event) -> None:
        """Bring the view up to date with `event`."""
        if isinstance(event, events.Ticked):
            self._tick(event)
        # The bar shows what is finished and what waits; the other lines stay.
        elif not isinstance(event, events.Finished | events.Skipped | events.Waiting):
            self._say(event)

    def _tick(self, event: events.Ticked) -> None:
        if self._clock() < self._quiet_until:
            return
        self._quiet_until = self._clock() + _SECONDS_BETWEEN_UPDATES
        words = html.escape(overall(event))
        self._bar = f'<progress value="{event.share:.4f}" max="1" style="width: 20em"></progress> {words}'
        self._show()

    def _say(self, event: Event) -> None:
        line = sentence(event)
        if isinstance(event, events.Ended):
            self._bar = ""
        if line is not None:
            self._lines.append(html.escape(line))
        self._show()

    def _show(self) -> None:
        lines = "\n".join(self._lines)
        self._screen(f'<pre style="margin: 0; white-space: pre-wrap">{lines}</pre>{self._bar}')
