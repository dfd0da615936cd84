"""The tiny study, run once by the command line for all who only look at what it left.

Whoever uses it belongs to the group "tiny study", so that one process runs all of them; whoever changes
anything in its folder makes a copy first.
"""

from pathlib import Path

import pytest

from study_runs import Answer, process, write_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the study's file."""
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def first(study: Path) -> Answer:
    """Return what the command that ran it said."""
    return process("run", study, "--out", study.parent / "run", "--workers", "2")


@pytest.fixture(scope="session")
def run(study: Path, first: Answer) -> Path:
    """Return the finished run's folder."""
    assert first.code == 0, first.errors
    return study.parent / "run"
