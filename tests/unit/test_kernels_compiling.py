"""The cache of compiled kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CALL = """
import numpy as np
from emergelab.kernels.random import fill_bits
out = np.zeros(2, np.uint32)
fill_bits(np.zeros(2, np.uint64), 0, 0, out)
print(out.tolist())
"""


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "XDG"))}
    return subprocess.run(
        [sys.executable, "-c", CALL], capture_output=True, text=True, check=True, env=inherited | environment
    )


@pytest.mark.parametrize("variable", ["NUMBA_CACHE_DIR", "HOME"])
def test_kernels_run_where_nothing_can_be_written(variable: str, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    result = run(**{variable: str(blocked)})
    philox = np.random.Philox(key=np.zeros(2, np.uint64), counter=np.zeros(4, np.uint64))
    assert result.stdout.strip() == str(philox.random_raw(1).view(np.uint32).tolist())
    assert not result.stderr


def test_the_cache_is_named_by_what_all_kernels_say(tmp_path: Path) -> None:
    run(XDG_CACHE_HOME=str(tmp_path))
    (folder,) = (tmp_path / "emergelab").iterdir()
    assert folder.name.startswith("kernels-")
    assert list(folder.rglob("*.nbc"))
