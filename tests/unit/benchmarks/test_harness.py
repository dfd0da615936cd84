"""The harness: what it finds, what it prints, what it does with a benchmark that fails."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the harness with two benchmarks, one of which fails, and a helper."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    for name in ("__main__.py", "one.py", "ratios.py"):
        shutil.copy(BENCHMARKS / name, folder)
    (folder / "good.py").write_text(
        "import os\n\ndef main():\n    print('talk')\n    return {'threads': os.environ['OMP_NUM_THREADS']}\n"
    )
    (folder / "bad.py").write_text("def main():\n    return 1 / 0\n")
    (folder / "helper.py").write_text("def help():\n    return {}\n")
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_files_with_a_main_are_benchmarks(folder: Path):
    assert run(folder, "--list").stdout.split() == ["bad", "good"]


def test_stdout_and_the_file_hold_the_same_document_and_nothing_else(folder: Path):
    result = run(folder, "good", "--out", str(folder / "build/bench.json"))
    document = json.loads(result.stdout)
    assert result.returncode == 0
    assert document["benchmarks"] == {"good": {"threads": "1"}}
    assert {"processor", "cores", "python"} <= set(document["machine"])
    assert json.loads((folder / "build/bench.json").read_text()) == document


def test_a_failure_is_an_error_and_the_others_still_run(folder: Path):
    result = run(folder)
    results = json.loads(result.stdout)["benchmarks"]
    assert result.returncode == 1
    assert "error" in results["bad"]
    assert results["good"] == {"threads": "1"}
    assert "ZeroDivisionError" in result.stderr


def test_an_unknown_benchmark_is_named(folder: Path):
    result = run(folder, "godo")
    assert result.returncode == 2
    assert "godo" in result.stderr
