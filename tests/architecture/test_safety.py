"""Nothing in the package can run code that stands in a file: no eval, no exec, no pickle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src/emergelab"
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    *("torch.load", "torch.save", "torch.jit.load", "yaml.load", "yaml.unsafe_load", "os.system"),
    *("numpy.random.seed", "numpy.random.default_rng", "torch.manual_seed", "random.seed"),
}
KEYWORDS = {"allow_pickle", "shell"}


def forbidden(code: str) -> Iterator[str]:
    """Yield what in `code` could run a file's contents, or draws from a generator that has no name."""
    tree = ast.parse(code)
    names = _imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (f"import {module}" for module in _modules(node) if module.split(".")[0] in MODULES)
        elif isinstance(node, ast.Call):
            yield from _forbidden_call(node, names)


def _forbidden_call(node: ast.Call, names: dict[str, str]) -> Iterator[str]:
    called = _dotted(node.func, names)
    if called in BUILTINS | CALLS:
        yield f"{called}()"
    for keyword in node.keywords:
        if keyword.arg in KEYWORDS and not _is_false(keyword.value):
            yield f"{keyword.arg}="


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """Return what each imported name stands for: np → numpy, load → torch.load."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return ""


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_runs_no_code_from_files(path: Path):
    assert list(forbidden(path.read_text())) == []


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')",
        "exec(text)",
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('weights')",
        "from torch import load as read\nread('weights')",
        "import numpy as np\nnp.load('a', allow_pickle=True)",
        "import numpy as np\nnp.random.seed(0)",
        "import subprocess\nsubprocess.run(text, shell=True)",
    ],
)
def test_the_check_finds(code: str):
    assert list(forbidden(code))


@pytest.mark.parametrize(
    "code", ["model.eval()", "import re\nre.compile('a')", "import torch\ntorch.compile(f)", "'eval(x)'"]
)
def test_the_check_lets_pass(code: str):
    assert list(forbidden(code)) == []
