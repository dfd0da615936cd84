"""How kernels are compiled: ahead of a cache on disk that knows every file of this package.

Numba's disk cache notices edits of the file that holds a function, not of the files that it calls, so the
cache's folder is named by a digest of all kernels together.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile `function` in nopython mode on first use and keep the machine code on disk.

    Small kernels are left to LLVM to inline: Numba's own inlining counts references to every array handed
    over, which costs more than the functions do. For the same reason kernels index and take no views.
    """
    _use_own_cache()
    return numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)(function)  # type: ignore[return-value]


@functools.cache
def _use_own_cache() -> None:
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    folder = _cache_root() / f"kernels-{_digest()}"
    numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]


def _cache_root() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "emergelab"


def _digest() -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
