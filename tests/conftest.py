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
import pkgutil
import sys

import hypothesis
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
