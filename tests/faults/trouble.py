"""Trouble for runs: kills at chosen operations, and what must hold afterwards.

The hook in `hook/sitecustomize.py` sits in every process of a run and counts what it does to the run's
files. So a point of the run has a name (role, number of the operation, delay) that means the same every time.
"""

import hashlib
import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emergelab.pipeline.store import Store
from study_runs import PROGRAM, Answer

HOOK = Path(__file__).parent / "hook"
PATIENCE = 200.0
ARTIFACT = re.compile(r"[a-z][a-z0-9_]*-f1-[0-9a-f]{32}")
SMALL = ("--set", "model.layers=1", "--set", "evaluate.prompts=20")
# What a manifest says of when and how fast it was made, and its own digest.
SUMMARY: list[str] = []
_MOMENTARY = {"created", "seconds", "digest"}


@dataclass(frozen=True)
class Point:
    """A moment of a run: `delay` seconds after operation number `at` of a process of the role."""

    role: str
    at: int
    delay: float = 0.0
    signal: str = "SIGKILL"


@dataclass(frozen=True)
class Named:
    """An artifact by the name of its folder."""

    key: str


@dataclass
class Trial:
    """A study that runs into a folder, and where its troubles are written down."""

    study: Path
    run: Path
    workers: int = 1
    hits: list[str] = field(default_factory=list[str])

    @property
    def store(self) -> Store:
        return Store(self.run / "store")

    def start(self, point: Point | None = None, *extra: str) -> subprocess.Popen[str]:
        """Start the command, with trouble at `point`."""
        words = ["run", self.study, "--out", self.run, "--workers", self.workers, *SMALL, *extra]
        environment = {**os.environ, "COLUMNS": "120", **self._trouble(point)}
        pipe = subprocess.PIPE
        command = [*PROGRAM, *map(str, words)]
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)

    def go(self, point: Point | None = None, *extra: str) -> Answer:
        """Run the command to its end, natural or not."""
        with self.start(point, *extra) as process:
            out, errors = process.communicate(timeout=PATIENCE)
        mark = self._mark()
        if mark.exists():
            self.hits.append(mark.read_text(encoding="utf-8").strip())
            mark.unlink()
        return Answer(process.returncode, out, errors)

    def operations(self) -> dict[str, int]:
        """Run undisturbed and count for each role the operations of its processes."""
        trace = self.run.with_name("trace")
        environment = {**os.environ, **_hooked(self.run), "FAULT_TRACE": str(trace)}
        words = ["run", self.study, "--out", self.run, "--workers", self.workers, *SMALL]
        subprocess.run([*PROGRAM, *map(str, words)], env=environment, check=True, capture_output=True)
        roles = [line.split(" ", 1)[0] for line in trace.read_text(encoding="utf-8").splitlines()]
        return {role: roles.count(role) for role in ("driver", "worker")}

    def _mark(self) -> Path:
        return self.run.with_name(f"{self.run.name}.mark")

    def _trouble(self, point: Point | None) -> dict[str, str]:
        if point is None:
            return {}
        return {
            **_hooked(self.run),
            "FAULT_ROLE": point.role,
            "FAULT_AT": str(point.at),
            "FAULT_DELAY": str(point.delay),
            "FAULT_SIGNAL": point.signal,
            "FAULT_MARK": str(self._mark()),
        }


def _hooked(run: Path) -> dict[str, str]:
    paths = [str(HOOK), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "FAULT_ROOT": str(run)}


def artifacts(store: Store) -> dict[str, tuple[int, int, str]]:
    """Return every file of every finished artifact: inode, time of change, digest."""
    return {
        path.relative_to(store.root).as_posix(): _identity(path)
        for folder in finished(store)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _identity(path: Path) -> tuple[int, int, str]:
    about = path.stat()
    return about.st_ino, about.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()


def finished(store: Store) -> list[Path]:
    """Return the folders that bear the final name of an artifact."""
    entries = sorted(store.root.iterdir()) if store.root.exists() else []
    return [entry for entry in entries if ARTIFACT.fullmatch(entry.name)]


def require_whole(run: Path) -> None:
    """Check that what bears its final name is whole: artifacts, the record, the report."""
    store = Store(run / "store")
    for folder in finished(store):
        store.check(Named(folder.name))
    if (run / "run.json").exists():
        json.loads((run / "run.json").read_text(encoding="utf-8"))
    if (run / "report").exists():
        page = (run / "report/index.html").read_text(encoding="utf-8")
        assert page.rstrip().endswith("</html>")


def require_tidy(run: Path) -> None:
    """Check that nothing is left of what was killed."""
    assert sorted(path.name for path in run.iterdir()) == ["report", "run.json", "store"]
    store = run / "store"
    others = {path.name for path in store.iterdir() if not ARTIFACT.fullmatch(path.name)}
    assert others <= {".work", ".locks", ".index", "logs"}, others
    for name in (".work", ".locks", "logs"):
        assert list((store / name).iterdir()) == []


def contents(run: Path) -> dict[str, Any]:
    """Return all that a run comes to, but for times: the store, the record, the figures' data."""
    files = {
        str(path.relative_to(run)): _content(path)
        for folder in finished(Store(run / "store"))
        for path in sorted(folder.rglob("*"))
    }
    figures = {path.name: path.read_bytes() for path in (run / "report/figures").glob("*.[cs]*[vg]")}
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    kept = {name: record[name] for name in ("name", "study", "grammar_text", "tables", "corpus", "versions")}
    assert record["reported"] is True
    return {"files": files, "figures": figures, "record": kept}


def _content(path: Path) -> object:
    if path.name != "manifest.json":
        return path.read_bytes()
    manifest = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in manifest.items() if name not in _MOMENTARY}


def kept(before: dict[str, tuple[int, int, str]], store: Store) -> None:
    """Check that what was finished is untouched: the same files, not equal ones."""
    after = artifacts(store)
    assert {name: after.get(name) for name in before} == before
