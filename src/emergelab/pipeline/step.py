"""A step: one named computation whose result is stored under the fingerprint of all that determines it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from emergelab.errors import EmergelabError
from emergelab.spec import Json, canonical_json, fingerprint

_KIND = re.compile(r"[a-z][a-z0-9_]*")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class StepFailedError(EmergelabError):
    """A step that raised, or whose worker died twice: a fault of the program, not a user's mistake."""


class StepInterrupted(BaseException):
    """Raised inside `StepContext.progress` when the run is to end: save to scratch and let it pass."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """All that determines a step's result, its inputs by their fingerprints."""

    kind: str
    function: str
    version: int
    spec: Mapping[str, Json]
    inputs: Mapping[str, str]

    @cached_property
    def fingerprint(self) -> str:
        """Return the short, stable name of the result."""
        return fingerprint(self.document())

    @property
    def key(self) -> str:
        """Return the name of the result's folder."""
        return f"{self.kind}-{self.fingerprint}"

    def document(self) -> dict[str, Json]:
        """Return the identity as JSON."""
        return {
            "kind": self.kind,
            "function": self.function,
            "version": self.version,
            "spec": self.spec,
            "inputs": self.inputs,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One computation: `function(spec, inputs, out, context)` fills the folder `out`.

    The function gets `spec` as canonical JSON read back (2.0 arrives as 2, a tuple as a list), the folders
    of its inputs by name, an empty folder `out` and a `StepContext`. It is a pure function of spec and
    inputs; whoever changes its meaning raises `version`. `name` and `cost` (rough seconds) are for people
    and for the order of execution; they are no part of the identity. Steps are equal when their
    fingerprints are.
    """

    name: str
    kind: str
    function: str
    version: int
    spec: Mapping[str, Json]
    # Not in the repr: a graph with many paths would be written out once for each of them.
    inputs: Mapping[str, Step] = field(default_factory=dict[str, "Step"], repr=False)
    cost: float = 1.0
    identity: Identity = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._refuse_malformed()
        # A copy: whoever changes the dictionary afterwards must not change a step that has its name.
        frozen = json.loads(canonical_json(self.spec))
        identity = Identity(
            kind=self.kind,
            function=self.function,
            version=self.version,
            spec=frozen,
            inputs={name: step.fingerprint for name, step in self.inputs.items()},
        )
        object.__setattr__(self, "spec", frozen)
        object.__setattr__(self, "identity", identity)

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of kind, function, version, spec and the inputs' fingerprints."""
        return self.identity.fingerprint

    @property
    def key(self) -> str:
        """Return the name of the artifact's folder, `<kind>-<fingerprint>`."""
        return self.identity.key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def _refuse_malformed(self) -> None:
        if not _KIND.fullmatch(self.kind):
            message = f"A step's kind is a short noun in lower case. Got {self.kind!r}."
            raise ValueError(message)
        if not _FUNCTION.fullmatch(self.function):
            message = f"A step's function is written 'package.module:function'. Got {self.function!r}."
            raise ValueError(message)
        if not (math.isfinite(self.cost) and self.cost >= 0):
            message = f"A step's cost is a finite number of seconds, at least 0. Got {self.cost!r}."
            raise ValueError(message)


def _silent(*_: object) -> None:
    """Tell nobody."""


class StepContext:
    """What a step's function may use besides its inputs.

    `scratch` is a folder that survives interruption, kill and failure; it is removed when the step is
    finished. A step that can go on where it stopped saves there, atomically (`pipeline.files`).
    """

    def __init__(
        self,
        scratch: Path,
        on_progress: Callable[[float, float], None] = _silent,
        on_note: Callable[[str], None] = _silent,
        on_measured: Callable[[int, Mapping[str, float]], None] = _silent,
    ) -> None:
        self.scratch = scratch
        self._on_progress = on_progress
        self._on_note = on_note
        self._on_measured = on_measured

    def progress(self, done: float, total: float) -> None:
        """Say how much is done, in any unit. Cheap enough for every iteration.

        Raises StepInterrupted when the run is to end: call it only where the step's state is whole. A step
        that never calls it has no such place and is ended at once, like by a kill.
        """
        self._on_progress(done, total)

    def note(self, text: str) -> None:
        """Show one sentence to the user, once per run."""
        self._on_note(text)

    def measured(self, done: int, values: Mapping[str, float]) -> None:
        """Tell numbers that were found when so much was done, for whoever follows the run.

        They are no part of the result. A step that goes on after an interruption may tell them again.
        """
        self._on_measured(done, values)
