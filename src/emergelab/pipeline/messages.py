"""What a driver tells a worker and a worker tells its driver: one JSON object on each line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from emergelab.pipeline.step import Identity, Step
from emergelab.spec import JsonObject, canonical_json


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a worker needs to make one artifact: its identity, its inputs' keys and the store's folder.

    `name` is what the study calls the step. `again`: files that the finished artifact has let go are needed.
    """

    identity: Identity
    inputs: Mapping[str, str]
    root: str
    name: str
    again: bool = False

    @classmethod
    def of(cls, step: Step, root: Path, *, again: bool = False) -> Task:
        """Return the task that makes `step` in the store at `root`."""
        inputs = {name: source.key for name, source in step.inputs.items()}
        return cls(identity=step.identity, inputs=inputs, root=str(root), name=step.name, again=again)

    def encode(self) -> bytes:
        """Return the task as one line."""
        document: JsonObject = {**vars(self), "identity": self.identity.document()}
        return canonical_json(document).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Task:
        """Return the task that `encode` wrote."""
        value = json.loads(line)
        identity = Identity(**value.pop("identity"))
        return cls(identity=identity, **value)


@dataclass(frozen=True)
class Progress:
    """So much is done."""

    done: float
    total: float


@dataclass(frozen=True)
class Note:
    """A sentence for the user."""

    text: str


@dataclass(frozen=True)
class Measured:
    """What the step found when it had done so much: numbers by name, which may be NaN."""

    done: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Done:
    """The artifact is there; `made` is False where another run had made it meanwhile."""

    made: bool


@dataclass(frozen=True)
class Busy:
    """Another process holds the step's lock."""

    holder: str


@dataclass(frozen=True)
class Interrupted:
    """The step has stopped because the run is to end; what it saved lies in its scratch folder."""


@dataclass(frozen=True)
class Failed:
    """The step raised: a user's `mistake` or a fault. `stops_run`: no other step would fare better."""

    message: str
    traceback: str | None = None
    mistake: bool = False
    stops_run: bool = False


@dataclass(frozen=True)
class Died:
    """The worker ended without a word; `reason` says how. Made by the driver, never sent."""

    reason: str


Message: TypeAlias = Progress | Note | Measured | Done | Busy | Interrupted | Failed | Died
_TYPES = {kind.__name__: kind for kind in (Progress, Note, Measured, Done, Busy, Interrupted, Failed)}


def encode(message: Message) -> bytes:
    """Return `message` as one line."""
    document = {"type": type(message).__name__, **dataclasses.asdict(message)}
    return json.dumps(document).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Return the message that `encode` wrote."""
    document = json.loads(line)
    return _TYPES[document.pop("type")](**document)
