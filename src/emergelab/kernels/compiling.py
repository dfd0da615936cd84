"""How kernels are compiled: ahead of a cache on disk that knows every file of this package.

Numba's disk cache notices edits of the file that holds a function, not of the files that it calls, so the
cache's folder is named by a digest of all kernels together. Where no folder can be written to, each process
compiles for itself.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def entry(function: Function) -> Function:
    """Compile `function`, which Python calls, on its first call and keep the machine code on disk."""
    return _compiled(function)


def kernel(function: Function) -> Function:
    """Compile `function`, which only kernels call, into each of its callers.

    LLVM inlines it: Numba's own inlining counts references to every array handed over, which costs more
    than the functions do. For the same reason kernels index and take no views.
    """
    return _compiled(function, _nrt=False, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def subroutine(function: Function) -> Function:
    """Compile `function`, which kernels call in many places, once: a call costs less than its code everywhere."""
    return _compiled(function, _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def _compiled(function: Function, **options: bool) -> Function:
    njit: Any = numba.njit  # its stubs leave out what only kernels need
    return njit(function, cache=_has_cache(), nogil=True, error_model="numpy", **options)


@functools.cache
def _has_cache() -> bool:
    """Point Numba at the cache's folder and return whether it can be written to."""
    try:
        folder = _root() / f"kernels-{_digest()}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return False
    config: Any = numba.config  # pyright: ignore[reportPrivateImportUsage] - its names are made at run time
    config.CACHE_DIR = str(folder)
    return True


def _root() -> Path:
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emergelab"


def _digest() -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
