"""The import contracts hold, and a breach of each is noticed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BREACHES = [
    pytest.param("emergelab/stray.py", "", "Layers", id="module-without-a-layer"),
    pytest.param(
        "emergelab/kernels/stray.py", "import emergelab.grammar.syntax", "Layers", id="upward-import"
    ),
    pytest.param(
        "emergelab/corpus/stray.py", "import emergelab.theory.ideal", "Firewall", id="corpus-theory"
    ),
    pytest.param(
        "emergelab/train/stray.py", "from emergelab.theory import ideal", "Firewall", id="train-theory"
    ),
    pytest.param(
        "emergelab/evaluate/stray.py",
        "def late():\n    from emergelab.theory import ideal",
        "Firewall",
        id="evaluate-theory-inside-a-function",
    ),
    pytest.param(
        "emergelab/analysis/stray.py", "import emergelab.evaluate", "Analysis", id="analysis-evaluate"
    ),
    pytest.param(
        "emergelab/pipeline/stray.py", "import emergelab.model", "The pipeline", id="pipeline-domain"
    ),
    pytest.param("emergelab/model/stray.py", "import torch", "Only the transformer", id="torch-in-model"),
    pytest.param(
        "emergelab/corpus/stray.py", "from torch import nn", "Only the transformer", id="torch-in-corpus"
    ),
    pytest.param("emergelab/corpus/stray.py", "import numba", "Only kernels", id="numba-in-corpus"),
    pytest.param(
        "emergelab/grammar/stray.py",
        "import emergelab.grammar.stray_too",
        "Siblings",
        id="circle-of-siblings",
    ),
]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of `folder`'s pyproject.toml on the package in `folder`/src."""
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo"]
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the package and its contracts, with a theory for the others to import."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    theory = tmp_path / "src/emergelab/theory"
    theory.mkdir(exist_ok=True)
    (theory / "__init__.py").touch()
    (theory / "ideal.py").touch()
    (tmp_path / "src/emergelab/grammar/stray_too.py").write_text("import emergelab.grammar.stray")
    (tmp_path / "src/emergelab/grammar/stray.py").touch()
    return tmp_path


def test_the_package_keeps_its_contracts():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_copy_without_a_breach_keeps_its_contracts(copy: Path):
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("path", "code", "contract"), BREACHES)
def test_a_breach_is_noticed(copy: Path, path: str, code: str, contract: str):
    (copy / "src" / path).write_text(code)
    result = lint_imports(copy)
    broken = [line for line in result.stdout.splitlines() if " BROKEN" in line]
    assert result.returncode == 1
    assert any(line.startswith(contract) for line in broken), result.stdout + result.stderr
