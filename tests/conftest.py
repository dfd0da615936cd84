"""How every test runs: one thread, Hypothesis by profile, shapes and dtypes of signatures checked."""

import os

# Before NumPy, torch, Numba or Polars are imported: they read these once.
for _variable in (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
):
    os.environ.setdefault(_variable, "1")

# ruff: noqa: E402
import functools
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from jaxtyping import install_import_hook

import emergelab

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")

# Kernels are compiled by Numba, which cannot compile a checked function; the command line's signatures
# belong to Typer; what users hand to the public functions is refused by these themselves.
UNCHECKED = {"kernels", "cli", "api"}


def _check_signatures() -> None:
    """Let jaxtyping and beartype check every call in the package, for the modules not yet imported."""
    names = [f"emergelab.{module.name}" for module in pkgutil.iter_modules(emergelab.__path__)]
    early = [name for name in sys.modules if name.startswith("emergelab.")]
    if early:
        raise RuntimeError(f"Imported before the tests could check their signatures: {', '.join(early)}.")
    checked = [name for name in names if name.rpartition(".")[2] not in UNCHECKED]
    install_import_hook(checked, "signatures.check")


_check_signatures()


@functools.cache
def _group_of_file(path: Path) -> str | None:
    """Return the group that a file names with `pytest.mark.xdist_group`; None where it names none."""
    named = re.search(r'mark\.xdist_group\("([^"]+)"\)', path.read_text(encoding="utf-8"))
    return named.group(1) if named else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Send files of one group to one worker, so that what their tests share is made once; the largest groups first.

    This is what `--dist loadgroup` is for, which loses the groups with pytest 9 (pytest-xdist 3.8 writes them into
    names that pytest no longer reads).
    """
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - not there without pytest-xdist

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group_of_file(config.rootpath / nodeid.partition("::")[0]) or nodeid

    return GroupScheduling(config, log) if config.getvalue("dist") == "loadgroup" else None
