"""What happens during a run, for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from emergelab.pipeline.graph import State
from emergelab.pipeline.step import Step


@dataclass(frozen=True)
class Planned:
    """The run begins: every step with its state, in the order of execution."""

    steps: tuple[tuple[Step, State], ...]
    slots: int


@dataclass(frozen=True)
class Skipped:
    """The step's artifact was there already; `by_other` where another run made it during this one."""

    step: Step
    by_other: bool = False


@dataclass(frozen=True)
class Damaged:
    """The step's artifact did not match its digests; it lies at `moved_to` now and is made anew."""

    step: Step
    problem: str
    moved_to: Path


@dataclass(frozen=True)
class Missed:
    """The finished step must be made again: another one needs `files`, which `policy` let go."""

    step: Step
    files: tuple[str, ...]
    policy: str


@dataclass(frozen=True)
class Released:
    """Files of the finished step were let go by `policy`, which freed so many bytes."""

    step: Step
    size: int
    policy: str


@dataclass(frozen=True)
class Started:
    """A worker has begun the step."""

    step: Step
    slot: int


@dataclass(frozen=True)
class Progressed:
    """The step in `slot` has done so much of its work."""

    step: Step
    slot: int
    done: float
    total: float


@dataclass(frozen=True)
class Measured:
    """The step in `slot` found these numbers when it had done so much. A step that goes on says them again."""

    step: Step
    slot: int
    done: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Finished:
    """The step's artifact is in the store after so many seconds."""

    step: Step
    slot: int
    seconds: float


@dataclass(frozen=True)
class Waiting:
    """Another run is making the step's artifact; this one goes on with other steps and looks again."""

    step: Step
    slot: int
    holder: str


@dataclass(frozen=True)
class Retried:
    """The step's worker died; the step goes on in a fresh worker from what it saved."""

    step: Step
    slot: int
    reason: str


@dataclass(frozen=True)
class Failed:
    """The step failed. A user's mistake has no traceback; a fault has one, which `log` keeps."""

    step: Step
    slot: int
    message: str
    traceback: str | None
    log: Path
    mistake: bool


@dataclass(frozen=True)
class Stopped:
    """The step in `slot` has stopped because the run was interrupted."""

    step: Step
    slot: int


@dataclass(frozen=True)
class Noted:
    """A sentence for the user; each one comes once in a run."""

    step: Step
    text: str


@dataclass(frozen=True)
class Ticked:
    """A few times a second: how far the run is. `share` is the finished part of all cost, 0 to 1.

    `seconds_left` is None as long as nothing has been measured.
    """

    finished: int
    total: int
    share: float
    seconds_left: float | None


@dataclass(frozen=True)
class Stopping:
    """The run was interrupted; steps have so many seconds to save."""

    seconds: float


@dataclass(frozen=True)
class Ended:
    """The run is over, however it ended."""

    finished: int
    total: int
    seconds: float
    interrupted: bool
    failed: int
    root: Path


Event: TypeAlias = (
    Planned
    | Skipped
    | Damaged
    | Missed
    | Released
    | Started
    | Progressed
    | Measured
    | Finished
    | Waiting
    | Retried
    | Failed
    | Stopped
    | Noted
    | Ticked
    | Stopping
    | Ended
)


class Reporter(Protocol):
    """Shows a run. It is told everything and decides nothing."""

    def report(self, event: Event) -> None:
        """Show `event`."""
        ...


class Silent:
    """Shows nothing."""

    def report(self, event: Event) -> None:
        """Do nothing."""
