"""A whole study on two workers against one: training, scoring, tables and report, each in a fresh folder.

The study is `quickstart` with two seeds and fewer tokens, so six training runs of three sizes.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ratios import seconds, spread

SETTINGS = ("train.tokens=[0.75e6, 1.5e6]", "train.seeds=2", "evaluate.prompts=256")
REPETITIONS = 2
WORKERS = 2


def main() -> dict[str, object]:
    """Return how many times as fast two workers are as one; null on a machine with a single core."""
    if len(os.sched_getaffinity(0)) < WORKERS:
        return {"target": {"ratio": 1.7}, "ratio": None}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        study(root / "warm", 1, "train.tokens=[1e4]")  # compiles the kernels
        pairs = [(study(root / f"one{i}", 1), study(root / f"two{i}", WORKERS)) for i in range(REPETITIONS)]
    return {
        "target": {"ratio": 1.7},
        "ratio": spread([one / two for one, two in pairs]),
        "baseline_seconds": spread([one for one, _ in pairs]),
        "candidate_seconds": spread([two for _, two in pairs]),
        "repetitions": REPETITIONS,
    }


def study(folder: Path, workers: int, *more: str) -> float:
    """Return the wall-clock seconds of the study from its first command to its report."""
    settings = [part for setting in (*SETTINGS, *more) for part in ("--set", setting)]
    program = "from emergelab.cli import main; main()"
    command = [sys.executable, "-c", program, "run", "quickstart", *settings]
    command += ["--workers", str(workers), "--out", str(folder)]
    return seconds(lambda: subprocess.run(command, check=True, capture_output=True))
