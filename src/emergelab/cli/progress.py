"""How far a command is that counts what it makes: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from emergelab.pipeline.wording import remaining

_SECONDS_BETWEEN_LINES = 10.0
_KEPT = "Interrupted: files that were finished are kept. The same command goes on from here."


@contextmanager
def counting(noun: str, *, interrupted: str = _KEPT) -> Generator[Callable[[int, int], None]]:
    """Give a function that is told how many are done and how many there are; say what an interruption leaves."""
    try:
        with _shown(noun) as told:
            yield told
    except KeyboardInterrupt:
        sys.stderr.write(f"{interrupted}\n")
        raise


@contextmanager
def _shown(noun: str) -> Generator[Callable[[int, int], None]]:
    if not sys.stderr.isatty():
        yield Lines(noun).told
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(noun), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class Lines:
    """A line every ten seconds at most, none for what is done sooner."""

    def __init__(self, noun: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._noun, self._clock = noun, clock
        self._begun = clock()
        self._quiet_until = self._begun + _SECONDS_BETWEEN_LINES
        self._first: int | None = None

    def told(self, done: int, total: int) -> None:
        """Write a line if it is time for one."""
        now = self._clock()
        if self._first is None:  # what was there already says nothing about the speed
            self._first, self._begun = done, now
        if now < self._quiet_until or done <= self._first:
            return
        self._quiet_until = now + _SECONDS_BETWEEN_LINES
        left = (total - done) * (now - self._begun) / (done - self._first)
        sys.stderr.write(f"{done / total:.0%}, {done:,} of {total:,} {self._noun}, {remaining(left)} left\n")
        sys.stderr.flush()
