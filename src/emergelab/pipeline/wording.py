"""What a run tells people, in words."""

from __future__ import annotations

from typing import Protocol

from emergelab.pipeline import events
from emergelab.pipeline.events import Event
from emergelab.pipeline.graph import WORK, State
from emergelab.pipeline.store import REMEDY

_MINUTE, _HOUR = 60, 3600
_SHORT_SECONDS, _SHORT_MINUTES = 90, 90


class Stream(Protocol):
    """Where lines go: standard error, a file, a string."""

    def write(self, text: str, /) -> object:
        """Take `text`."""
        ...

    def flush(self) -> object:
        """Pass on what was taken."""
        ...

    def isatty(self) -> bool:
        """Say whether a terminal is there."""
        ...


def sentence(event: Event) -> str | None:
    """Return what to tell people about `event`; None where nothing."""
    match event:
        case events.Planned(steps, slots):
            return _planned([state for _, state in steps], slots)
        case events.Finished(step, _, seconds):
            return f"finished  {step.name} ({duration(seconds)})"
        case events.Skipped(step, by_other):
            return f"finished  {step.name} (by another run)" if by_other else None
        case events.Noted(_, text):
            return f"note  {text}"
        case events.Ended():
            return _ended(event)
        case _:
            return _trouble(event)


def _trouble(event: Event) -> str | None:
    line: str | None = None
    match event:
        case events.Damaged(_, problem, moved_to):
            found = problem.removesuffix(REMEDY).rstrip()
            line = f"damaged  {found} It is set aside as {moved_to.name} and made anew."
        case events.Missed(step, files, policy):
            line = f"again  {step.name}: --keep {policy} has dropped {', '.join(files)}, which is needed now"
        case events.Waiting(step, _, holder):
            line = f"waiting  {step.name}: being made by {holder}"
        case events.Retried(step, _, reason):
            line = f"again  {step.name}: its worker {reason}; it goes on from what it had saved"
        case events.Failed():
            line = _failed(event)
        case events.Stopped(step):
            line = f"stopped  {step.name}"
        case events.Stopping(seconds):
            line = f"Stopping: steps have {seconds:.0f} s to save. Press Ctrl-C again to stop at once."
        case _:
            pass
    return line


def overall(event: events.Ticked) -> str:
    """Return one line on the whole run: share of the work, steps, time left."""
    known = event.seconds_left is not None and event.finished < event.total
    left = f", {remaining(event.seconds_left or 0.0)} left" if known else ""
    return f"{event.share:.0%}, {event.finished} of {event.total} steps{left}"


def duration(seconds: float) -> str:
    """Return `seconds` in words, for example '0.4 s', '38 s', '4 min 10 s', '2 h 05 min'."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"


def remaining(seconds: float) -> str:
    """Return `seconds` in words as coarse as an estimate is: fives of seconds, minutes, hours."""
    if seconds < _SHORT_SECONDS:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    if seconds < _SHORT_MINUTES * _MINUTE:
        return f"about {round(seconds / _MINUTE)} min"
    return f"about {seconds / _HOUR:.1f} h"


def _planned(states: list[State], slots: int) -> str:
    todo = sum(state in WORK for state in states)
    kept = sum(state is State.FINISHED for state in states)
    already = f", {kept} finished before" if kept else ""
    return f"{_count(todo, 'step')} to do{already}; {_count(slots, 'worker')}"


def _failed(event: events.Failed) -> str:
    if event.traceback is not None:
        return f"{event.traceback}failed  {event.step.name} (kept in {event.log})"
    return f"failed  {event.step.name}" + ("" if event.mistake else f": {event.message}")


def _ended(event: events.Ended) -> str:
    count = f"{event.finished} of {_count(event.total, 'step')}"
    if event.interrupted:
        return (
            f"Interrupted: {count} are finished and kept, and what running steps had saved. "
            "The same command goes on from here."
        )
    if event.finished < event.total:
        return f"{count} are finished and kept, {event.failed} failed, after {duration(event.seconds)}."
    return f"{count} finished, {duration(event.seconds)}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
