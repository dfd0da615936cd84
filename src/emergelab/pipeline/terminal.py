"""The live view of a run in a terminal. Imports Rich; `progress.reporter_for` imports this when needed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import IO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from emergelab.pipeline import events
from emergelab.pipeline.events import Event
from emergelab.pipeline.step import Step
from emergelab.pipeline.wording import Stream, duration, overall, sentence

_TEXT_WIDTH = 48
# After one of these a worker is free again.
_LEAVING = (
    events.Finished,
    events.Skipped,
    events.Waiting,
    events.Retried,
    events.Failed,
    events.Stopped,
)
_LEAST_BAR, _GREATEST_BAR = 10, 40


class Terminal:
    """One bar for the whole run and a line for each worker; what needs attention scrolls past above."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._overall = events.Ticked(0, 0, 0.0, None)
        self._lines: dict[int, _Line] = {}

    @classmethod
    def on(cls, stream: Stream) -> Terminal:
        """Return a view that draws on `stream`."""
        return cls(Console(file=cast("IO[str]", stream)))

    def report(self, event: Event) -> None:
        """Bring the view up to date with `event`."""
        match event:
            case events.Planned():
                self._open(event)
            case events.Started(step, slot):
                self._lines[slot] = _Line(step)
            case events.Progressed(_, slot, done, total):
                self._lines[slot].share = done / total if total else 1.0
            case events.Measured(_, slot, _, values):
                self._lines[slot].show(values)
            case events.Ticked():
                self._overall = event
                self._refresh()
            case events.Ended():
                self._close(event)
            case _:
                self._mention(event)

    def _open(self, event: events.Planned) -> None:
        self._say(event)
        # Nothing is redirected: what a command prints on stdout may be piped elsewhere.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _mention(self, event: Event) -> None:
        if isinstance(event, _LEAVING):
            self._lines = {slot: line for slot, line in self._lines.items() if line.step != event.step}
        # The bar shows what is finished; only what needs attention gets words.
        if not isinstance(event, events.Finished | events.Skipped | events.Waiting):
            self._say(event)

    def _say(self, event: Event) -> None:
        line = sentence(event)
        if line is not None:
            # As Text: a style given to `print` would tint the live view, too.
            self._console.print(Text(line, style=_style(event)))

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._view(), refresh=True)

    def _close(self, event: events.Ended) -> None:
        if self._live is not None:
            self._live.stop()
        self._say(event)

    def _view(self) -> RenderableType:
        width = max(_LEAST_BAR, min(_GREATEST_BAR, self._console.width - _TEXT_WIDTH))
        bar = _row(_bar(self._overall.share, width), overall(self._overall), style="bold")
        lines = [self._lines[slot].row(width) for slot in sorted(self._lines)]
        return Group(bar, *lines)


class _Line:
    """What one worker is doing. `share` is None as long as the step has not told."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.share: float | None = None
        self._found = ""
        self._since = time.monotonic()

    def show(self, values: Mapping[str, float]) -> None:
        """Show the first of the numbers that the step found."""
        self._found = "".join(f", {name} {value:.4g}" for name, value in list(values.items())[:1])

    def row(self, width: int) -> RenderableType:
        told = "" if self.share is None else f"{self.share:.0%}"
        text = f"{told:>4}  {self.step.name}, {duration(time.monotonic() - self._since)}{self._found}"
        return _row(_bar(self.share or 0.0, width), text)


def _style(event: Event) -> str:
    match event:
        case events.Failed():
            return "red"
        case events.Damaged() | events.Retried() | events.Stopping():
            return "yellow"
        case events.Ended() if event.finished == event.total:
            return "green"
        case _:
            return "dim"


def _bar(share: float, width: int) -> RenderableType:
    return ProgressBar(
        total=1.0,
        completed=share,
        width=width,
        style="grey37",
        complete_style="cyan",
        finished_style="cyan",
    )


def _row(bar: RenderableType, text: str, style: str = "") -> RenderableType:
    row = Table.grid(padding=(0, 1))
    row.add_column()
    row.add_column(no_wrap=True, overflow="ellipsis")
    row.add_row(bar, Text(text, style=style))
    return row
