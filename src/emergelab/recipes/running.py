"""Running a study into a folder, and making its report from what the folder holds."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergelab.errors import ArtifactError, StudyError, UserError
from emergelab.pipeline import events
from emergelab.pipeline.events import Event, Reporter
from emergelab.pipeline.files import StorageError
from emergelab.pipeline.graph import WORK, State, chain_costs
from emergelab.pipeline.index import index
from emergelab.pipeline.manifest import installed_versions
from emergelab.pipeline.runner import run
from emergelab.pipeline.step import Step
from emergelab.pipeline.survey import plan
from emergelab.recipes.fixing import dropped, fixed_grid
from emergelab.recipes.grid import Grid, build_grid
from emergelab.recipes.keep import Keep
from emergelab.recipes.keeping import files_read, keeping
from emergelab.recipes.run_folder import SKILL_TABLES, RunFolder
from emergelab.recipes.study import find_study, read_study
from emergelab.spec import Json

if TYPE_CHECKING:
    from emergelab.report.content import Overlap, ReportInput, Sample

_SAMPLES = 6
_END = "<end>"  # so reads the token that ends a document, in every grammar


@dataclass(frozen=True)
class Request:
    """What the user asked for: the study as named, with its settings, its grid, and a folder."""

    study: str
    settings: tuple[str, ...]
    grid: Grid
    folder: RunFolder
    keep: Keep = Keep.all

    @property
    def command(self) -> str:
        """Return the arguments that ask for it again, as one line for a shell."""
        settings = (part for setting in self.settings for part in ("--set", setting))
        kept = () if self.keep is Keep.all else ("--keep", self.keep)
        return shlex.join([self.study, *settings, "--out", str(self.folder.path), *kept])


def prepare_request(study: str, settings: Sequence[str] = (), out: Path | None = None) -> Request:
    """Find and check a study with its settings, `train.tokens=[1e6]` and the like, and lay out its grid.

    Without `out` the run's folder is runs/<study>. Raises StudyError and GrammarError.
    """
    file = find_study(study)
    grid = build_grid(file, read_study(file, settings))
    return Request(study, tuple(settings), grid, RunFolder(out or Path("runs") / file.name))


@dataclass
class Stopwatch:
    """Passes events on and adds up the seconds of finished steps by kind, of earlier commands too."""

    reporter: Reporter
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    earlier: float = 0.0  # seconds that earlier commands took by the clock on the wall
    begun: float = field(default_factory=time.monotonic)

    def report(self, event: Event) -> None:
        """Show `event`, and count it if it is a finished step."""
        if isinstance(event, events.Finished):
            kind = event.step.kind
            self.seconds[kind] = self.seconds.get(kind, 0.0) + event.seconds
        self.reporter.report(event)

    def record(self) -> dict[str, Json]:
        """Return what was measured: the steps' seconds, and how long it all took."""
        return {"times": dict(self.seconds), "elapsed": self.earlier + time.monotonic() - self.begun}


def run_study(request: Request, *, workers: int, reporter: Reporter) -> Path:
    """Make everything that the study needs and return the page of its report.

    The record is written before the first step and after the last, so that an unfinished run says what it is.
    Where all is there already, the page of the same record included, nothing is made. Raises what
    `pipeline.runner.run` raises, and UserError for a number of workers below 1.
    """
    require_workers(workers)
    folder = request.folder
    before = _earlier_record(request) or {}
    grid = _fixed(request)
    record = _record(replace(request, grid=grid))
    reported = _is_reported(folder, before, record)
    stopwatch = Stopwatch(reporter, dict(before.get("times", {})), before.get("elapsed", 0.0))
    if not reported:
        _begin(folder, record)
    try:
        outcome = run(
            [grid.tables],
            folder.store,
            workers=workers,
            reporter=stopwatch,
            keeping=keeping(request.keep),
        )
    except BaseException:
        folder.write_record({**record, **stopwatch.record()})
        raise
    if reported and not outcome.made:
        return folder.page
    done: dict[str, Json] = {**record, **stopwatch.record(), "finished": _now()}
    folder.write_record(done)
    page = make_report(folder)
    folder.write_record({**done, "reported": True})
    with contextlib.suppress(StorageError):  # so that the first look into a large store is a quick one, too
        index(folder.store)
    return page


def _fixed(request: Request) -> Grid:
    """Return the grid with when its hypotheses were fixed: now, where the folder has not seen them yet."""
    try:
        return fixed_grid(request.grid, request.folder, write=True)
    except OSError as error:
        raise StudyError(_unusable(request.folder.path, str(error.strerror))) from error


def _begin(folder: RunFolder, record: Mapping[str, Json]) -> None:
    try:
        folder.write_record(record)
    except OSError as error:
        raise StudyError(_unusable(folder.path, str(error.strerror))) from error


def _is_reported(folder: RunFolder, before: Mapping[str, Any], record: Mapping[str, Json]) -> bool:
    """Tell whether the report shows just what would be recorded now."""
    same = all(before.get(name) == value for name, value in record.items())
    return same and before.get("reported") is True and folder.page.is_file()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def plan_study(request: Request) -> list[tuple[Step, State]]:
    """Return all steps of the study with their states; change nothing.

    Raises StudyError where the folder holds something else, or could not be written.
    """
    _earlier_record(request)
    _require_writable(request.folder.path)
    grid = fixed_grid(request.grid, request.folder, write=False)
    return plan([grid.tables], request.folder.store, files_read)


def expected_seconds(steps: Sequence[tuple[Step, State]], workers: int) -> float:
    """Return roughly how long the steps to do will take: shared out, but no shorter than the longest chain."""
    costs = {step: step.cost if state in WORK else 0.0 for step, state in steps}
    longest = max(chain_costs([step for step, _ in steps], costs).values(), default=0.0)
    return max(sum(costs.values()) / workers, longest)


def require_workers(workers: int) -> None:
    """Raise UserError for a number of workers that can do nothing."""
    if workers < 1:
        raise UserError(
            f"Got --workers {workers}. A run needs at least 1 worker. Use 1 or more, or leave the option out: then "
            "there is one for each core."
        )


def _require_writable(path: Path) -> None:
    """Raise StudyError where no file could be made at `path` or where it would come to lie; leave no trace."""
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise StudyError(_unusable(path, str(error.strerror))) from error


def make_report(folder: RunFolder) -> Path:
    """Make the report of a finished run and return its page. Raises ArtifactError for what is missing or damaged."""
    from emergelab.report.page import write_report  # noqa: PLC0415 - slow to import

    content = read_content(folder)
    with folder.alone():
        return write_report(content, folder.report)


def read_content(folder: RunFolder) -> ReportInput:
    """Return what the report of a finished run shows. Raises ArtifactError for what is missing or damaged."""
    import polars as pl  # noqa: PLC0415 - slow to import

    from emergelab.report.content import ReportInput, last_queries  # noqa: PLC0415

    record, tables = folder.read_record(), folder.open_tables()
    if record.get("verb") == "evaluate":
        raise ArtifactError(
            f"{folder.path} holds the answers of a model that no study trained. A report shows a study. Print its "
            f"tables with `emergelab results {folder.path}`."
        )
    corpora = _corpora(folder, record)
    names = ("scores", "curves", "losses", "cells")
    frames = {name: pl.read_parquet(tables / f"{name}.parquet") for name in names}
    frames["items"] = last_queries(pl.scan_parquet(tables / "items.parquet", glob=False)).collect(
        engine="streaming"
    )
    # A run of an earlier version has nothing of the theory.
    theory = ("bounds", "cumulative", "gaps", "cumulative_gains", "decodings", "verdicts", "emergence")
    skills = SKILL_TABLES[1:]  # pieces are many, and no figure shows one
    there = [name for name in (*theory, *skills) if (tables / f"{name}.parquet").is_file()]
    frames |= {name: pl.read_parquet(tables / f"{name}.parquet") for name in there}
    return ReportInput(
        title=record["name"],
        **frames,
        samples=_samples(corpora),
        run={
            "study_text": record["study_text"],
            "study": record["study"],
            "grammar_name": record["grammar_name"],
            "grammar_text": record["grammar_text"],
            "versions": record["versions"],
            "machine": record["machine"],
            "times": record.get("times", {}),
            "elapsed": record.get("elapsed", 0.0),
            "finished": record.get("finished", ""),
            "overlap": _overlap([corpus["overlap"] for corpus in corpora.values()]),
            "notes": _notes(record["settings"]),
            "out_of_reach": _out_of_reach(folder, record["tables"]),
            "dropped_hypotheses": dropped(folder, record.get("hypotheses", ())),
        },
    )


def _out_of_reach(folder: RunFolder, tables: str) -> list[str]:
    """Return why ideal predictors of the study could not be computed, as their steps tell it."""
    manifest = folder.read_manifest(tables)
    ideals: Mapping[str, str] = manifest["spec"].get("ideals", {})  # pyright: ignore[reportAssignmentType]
    keys = dict.fromkeys(f"ideal-{manifest['inputs'][name]}" for name in ideals.values())
    texts = [(folder.open_artifact(key) / "ideal.json").read_text(encoding="utf-8") for key in keys]
    found = [
        entry["out_of_reach"]
        for text in texts
        for entry in json.loads(text).values()
        if "out_of_reach" in entry
    ]
    return list(dict.fromkeys(found))


def _corpora(folder: RunFolder, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the records of the corpora by what is set in the grammar."""
    keys = record.get("corpora") or {"": record["corpus"]}
    return {
        variant: json.loads((folder.open_artifact(key) / "corpus.json").read_text(encoding="utf-8"))
        for variant, key in keys.items()
    }


def _overlap(proofs: Sequence[Overlap]) -> Overlap:
    """Return the proofs of all corpora together."""
    return {
        "held_out_tables": sum(proof.get("held_out_tables", 0) for proof in proofs),
        # Null where nothing is held out: nothing is enumerated then.
        "training_tables": sum(proof.get("training_tables") or 0 for proof in proofs),
        "overlap": sum(proof.get("overlap", 0) for proof in proofs),
        "corpora": len(proofs),
    }


def _samples(corpora: Mapping[str, Any]) -> list[Sample]:
    """Return sample documents: all of one corpus, or a few of each of several."""
    from emergelab.report.content import Sample  # noqa: PLC0415 - slow to import

    each = max(1, _SAMPLES // len(corpora))
    return [
        Sample(
            tokens=[(text, role) for text, role in sample],
            cut=not sample or sample[-1][0] != _END,
            variant=variant or None,
        )
        for variant, corpus in corpora.items()
        for sample in corpus["samples"][:each]
    ]


def _notes(settings: list[str]) -> list[str]:
    return [f"Settings given on the command line: {', '.join(settings)}."] if settings else []


def _earlier_record(request: Request) -> dict[str, Any] | None:
    """Return the record of an earlier run of this study in the folder. Raises StudyError for other contents."""
    path, name = request.folder.path, request.grid.name
    if not _is_used(path):
        return None
    try:
        record = request.folder.read_record()
    except ArtifactError as error:
        if (path / "store").is_dir():
            return None
        raise StudyError(
            f"{path} holds something else than a run. A run needs a folder of its own. Give another one with --out."
        ) from error
    if record["name"] != name:
        raise StudyError(
            f"{path} holds a run of the study {record['name']!r}, not of {name!r}. A folder holds one study. "
            "Give another one with --out."
        )
    return record


def _is_used(path: Path) -> bool:
    """Tell whether there is a folder that holds something. Raises StudyError for what cannot be a run's folder."""
    try:
        return RunFolder(path).is_used()
    except FileNotFoundError:
        return False
    except NotADirectoryError as error:
        problem = "it is a file, or lies below one"
        raise StudyError(_unusable(path, problem)) from error
    except OSError as error:
        raise StudyError(_unusable(path, str(error.strerror))) from error


def _unusable(path: Path, problem: str) -> str:
    return (
        f"{str(path)[:200]} cannot be a run's folder: {problem}. A run needs a folder of its own that it may "
        "write to. Give another one with --out."
    )


def _record(request: Request) -> dict[str, Json]:
    grid = request.grid
    return {
        "name": grid.name,
        "command": request.command,
        "settings": list(request.settings),
        "study": grid.study.model_dump(mode="json"),
        "study_text": grid.study_text,
        "grammar_name": grid.grammar.name,
        "grammar_text": grid.grammar_text,
        "tables": grid.tables.key,
        "hypotheses": [one["digest"] for one in grid.hypotheses],
        "corpus": grid.corpus.key,
        "corpora": {variant: step.key for variant, step in grid.corpora.items()},
        "versions": {name: version or "not installed" for name, version in installed_versions().items()},
        "machine": machine(),
    }


def machine() -> dict[str, str]:
    """Return what the numbers were made on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(available_cores()),
    }


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
