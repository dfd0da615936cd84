"""Run steps: every artifact that the targets need and that is not there yet, each once, inputs first."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from emergelab.errors import DamagedArtifactError, UserError
from emergelab.pipeline import events, messages
from emergelab.pipeline.engines import Engine, Inline, Processes
from emergelab.pipeline.events import Event, Reporter
from emergelab.pipeline.forecast import Forecast
from emergelab.pipeline.graph import State
from emergelab.pipeline.keeping import Keeping, LettingGo
from emergelab.pipeline.locks import LockedError
from emergelab.pipeline.step import Step, StepFailedError
from emergelab.pipeline.stops import Stops, counted_stops
from emergelab.pipeline.store import Store
from emergelab.pipeline.survey import Survey, plan

__all__ = ["Outcome", "drive", "plan", "run"]

GRACE_SECONDS = 10.0
_TICK_SECONDS = 0.2
_SECONDS_UNTIL_ASKING_AGAIN = 0.5
_LIVES = 2
_LEAST_REST = 20.0


@dataclass(frozen=True)
class Outcome:
    """How a run that succeeded went: the steps made now, and those that were there already."""

    made: tuple[Step, ...]
    kept: tuple[Step, ...]
    seconds: float


def run(  # noqa: PLR0913 - all by keyword but the first two
    targets: Sequence[Step],
    store: Store,
    *,
    workers: int,
    reporter: Reporter,
    threads: int = 1,
    keeping: Keeping | None = None,
) -> Outcome:
    """Make what the targets need, in `workers` processes of `threads` threads each.

    With `workers=0` steps run in this process, for debugging. A step that fails stops only what needs it;
    a disk that is full stops everything. Several runs may share a store. Raises KeyboardInterrupt after
    SIGINT, SIGTERM or SIGHUP, once the steps have saved; StepFailedError for a fault; UserError for a
    user's mistake. What is finished stays finished, and the same call goes on from there. `keeping` says
    which files of finished artifacts may go once all that needs them is finished.
    """
    if workers < 0 or threads < 1:
        message = f"A run has at least 0 workers of at least 1 thread. Got {workers} and {threads}."
        raise ValueError(message)
    if workers == 0:
        return drive(targets, store, Inline(), reporter, contextlib.nullcontext(Stops()), keeping)
    return drive(targets, store, Processes(workers, threads), reporter, counted_stops(), keeping)


def drive(  # noqa: PLR0913, PLR0917 - a run's parts, put together in one place
    targets: Sequence[Step],
    store: Store,
    engine: Engine,
    reporter: Reporter,
    stops: contextlib.AbstractContextManager[Stops],
    keeping: Keeping | None = None,
) -> Outcome:
    """Make what the targets need on `engine`, which is closed at the end, until `stops` says to end."""
    keeping = keeping or Keeping()
    with contextlib.closing(engine), store.in_use() as presence:
        store.prepare()
        survey = Survey(targets, store, keeping.reads)
        letting_go = LettingGo(keeping, survey, store, presence)
        with stops as asked:
            return _Drive(survey, store, engine, reporter, letting_go).run(asked)


@dataclass
class _Queue:
    """Steps that wait for inputs, for a free slot, or for another run that is making them."""

    missing: dict[Step, set[Step]]
    dependants: dict[Step, list[Step]]
    priority: dict[Step, int]
    ready: list[tuple[int, Step]] = field(default_factory=list[tuple[int, Step]])
    later: list[tuple[float, Step]] = field(default_factory=list[tuple[float, Step]])

    @classmethod
    def of(cls, survey: Survey) -> _Queue:
        missing = {step: survey.todo & set(step.inputs.values()) for step in survey.todo}
        dependants: dict[Step, list[Step]] = {step: [] for step in survey.todo}
        for step, sources in missing.items():
            for source in sources:
                dependants[source].append(step)
        queue = cls(missing, dependants, {step: place for place, step in enumerate(survey.steps)})
        for step, sources in missing.items():
            if not sources:
                queue.push(step)
        return queue

    def push(self, step: Step) -> None:
        """Let `step` begin as soon as a slot is free and nothing comes before it."""
        heapq.heappush(self.ready, (self.priority[step], step))

    def postpone(self, step: Step, until: float) -> None:
        """Let `step` begin no sooner than `until`."""
        self.later.append((until, step))

    def pop(self, now: float) -> Step | None:
        """Take out the step that is to begin next; None where there is none now."""
        for until, step in [entry for entry in self.later if entry[0] <= now]:
            self.later.remove((until, step))
            self.push(step)
        return heapq.heappop(self.ready)[1] if self.ready else None

    def settle(self, finished: Step) -> None:
        """Let what waited for `finished` only begin."""
        for step in self.dependants[finished]:
            self.missing[step].discard(finished)
            if not self.missing[step]:
                self.push(step)

    def __bool__(self) -> bool:
        return bool(self.ready or self.later)


class _Drive:
    """The state of one run."""

    def __init__(
        self, survey: Survey, store: Store, engine: Engine, reporter: Reporter, letting_go: LettingGo
    ) -> None:
        self.survey, self.store, self.engine, self.reporter = survey, store, engine, reporter
        self.letting_go = letting_go
        self.begun = time.monotonic()
        self.queue = _Queue.of(survey)
        self.counted = [step for step, state in survey.states() if state is not State.UNNEEDED]
        self.forecast = Forecast(self.counted, survey.todo, engine.slots)
        self.running: dict[int, tuple[Step, float]] = {}
        self.made: list[Step] = []
        self.failed: dict[Step, messages.Failed] = {}
        self.deaths: Counter[Step] = Counter()
        self.notes: set[str] = set()
        self.waited: set[Step] = set()
        self.next_tick = 0.0
        self.closed = False

    def run(self, stops: Stops) -> Outcome:
        self._announce()
        try:
            self._make_all(stops)
        except BaseException as error:
            self._end(interrupted=isinstance(error, KeyboardInterrupt))
            raise
        self._end(interrupted=stops.count > 0)
        if stops.count:
            raise KeyboardInterrupt
        self._raise_failures()
        kept = tuple(step for step in self.survey.steps if step in self.survey.finished)
        return Outcome(tuple(self.made), kept, time.monotonic() - self.begun)

    def _announce(self) -> None:
        self._tell(events.Planned(tuple(self.survey.states()), self.engine.slots))
        for step, state in self.survey.states():
            if state is State.FINISHED:
                self._tell(events.Skipped(step))
        for step, problem in self.survey.damages.items():
            self._set_aside(step, problem)
        for step in self.survey.again:
            dropped = self.survey.dropped[step]
            policies = sorted({release["policy"] for release in dropped.values()})
            self._tell(events.Missed(step, tuple(sorted(dropped)), " and ".join(policies)))
        self._let_go(*self.survey.finished)

    def _make_all(self, stops: Stops) -> None:
        deadline: float | None = None
        killed = False
        while self.running or (self.queue and not self.closed):
            self._fill_slots()
            for slot, message in self.engine.wait(_TICK_SECONDS):
                self._hear(slot, message)
            self._tick()
            if stops.count and deadline is None:
                deadline = self._ask_to_stop()
            if deadline is not None and not killed and (stops.count > 1 or time.monotonic() > deadline):
                self.engine.kill()
                killed = True

    def _ask_to_stop(self) -> float:
        """Ask all steps to save and stop; return the time at which patience ends."""
        self.closed = True
        self._tell(events.Stopping(GRACE_SECONDS))
        self.engine.interrupt()
        return time.monotonic() + GRACE_SECONDS

    def _fill_slots(self) -> None:
        for slot in range(self.engine.slots):
            if slot not in self.running and not self.closed:
                step = self.queue.pop(time.monotonic())
                if step is None:
                    return
                self._start(slot, step)

    def _start(self, slot: int, step: Step) -> None:
        if step in self.waited and self.store.holder(step) is not None:
            self.queue.postpone(step, time.monotonic() + _SECONDS_UNTIL_ASKING_AGAIN)
            return
        self.running[slot] = (step, time.monotonic())
        self.forecast.start(step, time.monotonic())
        self._tell(events.Started(step, slot))
        again = step in self.survey.again
        self.engine.start(slot, messages.Task.of(step, self.store.root, again=again))

    def _hear(self, slot: int, message: messages.Message) -> None:
        step = self.running[slot][0]
        match message:
            case messages.Progress(done, total):
                self.forecast.progress(step, done / total if total else 1.0, time.monotonic())
                self._tell(events.Progressed(step, slot, done, total))
            case messages.Note(text):
                self._note(step, text)
            case messages.Measured(done, values):
                self._tell(events.Measured(step, slot, done, values))
            case _:
                self._hear_last(slot, message)

    def _hear_last(self, slot: int, message: messages.Message) -> None:
        step, since = self.running.pop(slot)
        match message:
            case messages.Done(made):
                self._finish(slot, step, since) if made else self._find(step)
            case messages.Busy(holder):
                self._wait_for(slot, step, holder)
            case messages.Failed():
                self._fail(slot, step, message)
            case messages.Died(reason):
                self._mourn(slot, step, reason)
            case _:
                self._stop(slot, step)

    def _finish(self, slot: int, step: Step, since: float) -> None:
        now = time.monotonic()
        self.forecast.finish(step, now)
        self.made.append(step)
        self.queue.settle(step)
        self._tell(events.Finished(step, slot, now - since))
        self._let_go(step)

    def _find(self, step: Step) -> None:
        """Take what another run has made meanwhile, once its bytes are checked."""
        problem = self.store.damage(step)
        if problem is not None:
            self._set_aside(step, problem)
            self.queue.push(step)
            return
        self.forecast.found(step)
        self.survey.finished.add(step)
        self.queue.settle(step)
        self._tell(events.Skipped(step, by_other=True))
        self._let_go(step)

    def _let_go(self, *finished: Step) -> None:
        for step, size in self.letting_go.after(finished):
            self._tell(events.Released(step, size, self.letting_go.policy))

    def _wait_for(self, slot: int, step: Step, holder: str) -> None:
        self.forecast.drop(step)
        self.queue.postpone(step, time.monotonic() + _SECONDS_UNTIL_ASKING_AGAIN)
        self.waited.add(step)
        self._tell(events.Waiting(step, slot, holder))

    def _mourn(self, slot: int, step: Step, reason: str) -> None:
        if self.closed:
            self._stop(slot, step)
            return
        self.deaths[step] += 1
        if self.deaths[step] < _LIVES:
            self.forecast.drop(step)
            self.queue.push(step)
            self._tell(events.Retried(step, slot, reason))
            return
        self._fail(slot, step, messages.Failed(f"Its worker {reason}, and so did the next one."))

    def _stop(self, slot: int, step: Step) -> None:
        self.forecast.drop(step)
        self._tell(events.Stopped(step, slot))

    def _fail(self, slot: int, step: Step, message: messages.Failed) -> None:
        self.forecast.drop(step)
        self.failed[step] = message
        self.closed = self.closed or message.stops_run
        log = self.store.log(step)
        self._tell(events.Failed(step, slot, message.message, message.traceback, log, message.mistake))

    def _note(self, step: Step, text: str) -> None:
        if text not in self.notes:
            self.notes.add(text)
            self._tell(events.Noted(step, text))

    def _set_aside(self, step: Step, problem: DamagedArtifactError) -> None:
        # A locked one is being remade by another run, and this one will find it.
        with contextlib.suppress(LockedError), self.store.lock(step):
            if self.store.damage(step) is not None:
                self._tell(events.Damaged(step, str(problem), self.store.set_aside(step)))

    def _tick(self) -> None:
        now = time.monotonic()
        if now < self.next_tick:
            return
        left = self.forecast.seconds_left(now)
        self._tell(events.Ticked(self._finished_count(), len(self.counted), self.forecast.share(), left))
        # Looking ahead over 100,000 steps takes a while: most of the time is for the work.
        took = time.monotonic() - now
        self.next_tick = now + took + max(_TICK_SECONDS, _LEAST_REST * took)

    def _end(self, *, interrupted: bool) -> None:
        seconds = time.monotonic() - self.begun
        total, failed = len(self.counted), len(self.failed)
        count = self._finished_count()
        self._tell(events.Ended(count, total, seconds, interrupted, failed, self.store.root))

    def _raise_failures(self) -> None:
        if not self.failed:
            return
        faults = [step for step, failure in self.failed.items() if not failure.mistake]
        texts = [self._text(step, failure) for step, failure in self.failed.items()]
        raise (StepFailedError if faults else UserError)("\n".join(dict.fromkeys(texts)))

    def _text(self, step: Step, failure: messages.Failed) -> str:
        if failure.mistake:
            return failure.message
        return (
            f"The step '{step.name}' failed: {failure.message} What it printed is in {self.store.log(step)}."
        )

    def _finished_count(self) -> int:
        return len(self.made) + len(self.survey.finished)

    def _tell(self, event: Event) -> None:
        self.reporter.report(event)
