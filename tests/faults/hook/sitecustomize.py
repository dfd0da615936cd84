"""Kills its own process at a chosen operation on a run's files, or writes all of them down.

Every Python process that finds this folder in PYTHONPATH imports it first. Without FAULT_ROOT it does
nothing. FAULT_TRACE takes a line for each operation; with FAULT_ROLE, FAULT_AT and FAULT_DELAY the process
of that role is killed so many seconds after that operation, once: FAULT_MARK tells that it has happened.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree"}
ROLE = "worker" if "emergelab.pipeline.worker" in sys.orig_argv else "driver"


class Watch:
    """Counts what the process does to files below the root."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.count = 0
        self.inside = False
        self.at = int(os.environ.get("FAULT_AT", "-1"))
        self.mark = Path(os.environ.get("FAULT_MARK", "/nowhere"))
        if os.environ.get("FAULT_ROLE") != ROLE or self.mark.exists():
            self.at = -1

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.inside or (event != "open" and event not in CHANGES):
            return
        path = arguments[0]
        if not isinstance(path, str | os.PathLike) or not os.fspath(path).startswith(self.root):
            return
        if event == "open" and not (
            isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            return
        self.inside = True
        self._happened(f"{event} {os.fspath(path).removeprefix(self.root)}")
        self.inside = False

    def _happened(self, what: str) -> None:
        if "FAULT_TRACE" in os.environ:
            with open(os.environ["FAULT_TRACE"], "a", encoding="utf-8") as trace:  # noqa: PTH123 - no imports here
                trace.write(f"{ROLE} {self.count} {what}\n")
        if self.count == self.at:
            self._end(what, float(os.environ["FAULT_DELAY"]))
        self.count += 1

    def _end(self, what: str, delay: float) -> None:
        self.mark.write_text(f"{ROLE} {delay:.2f} s after {what}\n", encoding="utf-8")

        def kill() -> None:
            time.sleep(delay)
            os.kill(os.getpid(), signal.Signals[os.environ.get("FAULT_SIGNAL", "SIGKILL")])

        if delay:
            threading.Thread(target=kill, daemon=True).start()
        else:
            kill()


if "FAULT_ROOT" in os.environ:
    sys.addaudithook(Watch(os.environ["FAULT_ROOT"]))
