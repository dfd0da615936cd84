"""The run that has no trouble; how many points of trouble there are, and what became of them."""

import os
from collections import Counter

import pytest

from faults.trouble import SUMMARY, Trial
from study_runs import write_study


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, dict[str, int]]:
    """Return a run without trouble, and how many operations each role had in it."""
    study = write_study(tmp_path_factory.mktemp("faults"))
    trial = Trial(study, study.parent / "undisturbed")
    return trial, trial.operations()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where trouble hit and what came of it."""
    if not SUMMARY or "FAULT_POINTS" not in os.environ:
        return
    terminalreporter.section("points of trouble")
    for line in SUMMARY:
        terminalreporter.write_line(line)
    for what, count in sorted(Counter(line.partition(":")[0] for line in SUMMARY).items()):
        terminalreporter.write_line(f"{count:4d}  {what}")
