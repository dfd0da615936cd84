"""How many points of trouble there are, and what became of them."""

import os
from collections import Counter

import pytest

from faults.trouble import SUMMARY


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where trouble hit and what came of it."""
    if not SUMMARY or "FAULT_POINTS" not in os.environ:
        return
    terminalreporter.section("points of trouble")
    for line in SUMMARY:
        terminalreporter.write_line(line)
    for what, count in sorted(Counter(line.partition(":")[0] for line in SUMMARY).items()):
        terminalreporter.write_line(f"{count:4d}  {what}")
