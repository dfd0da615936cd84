"""Small commands start fast: they never pay for a library that only training needs."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "numba", "polars", "duckdb", "altair", "scipy", "vl_convert")

REPORT = "import sys; print('loaded:', *(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)"


def loaded_after(code: str, heavy: tuple[str, ...]) -> list[str]:
    """Return which of the `heavy` libraries a fresh interpreter has loaded after running `code`."""
    script = f"try:\n    {code}\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
    command = [sys.executable, "-c", script + REPORT.format(heavy=heavy)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stderr.splitlines()[-1].removeprefix("loaded:").split()


def command_line(*arguments: str) -> str:
    """Return code that runs `emergelab` with `arguments`."""
    return f"import sys; sys.argv = {['emergelab', *arguments]!r}; from emergelab.cli import main; main()"


def test_the_check_sees_a_loaded_library():
    assert loaded_after("import polars", HEAVY) == ["polars"]


def test_importing_the_command_line_loads_nothing_heavy():
    assert loaded_after("import emergelab.cli", HEAVY) == []


@pytest.mark.parametrize("arguments", [("--help",), ("grammar", "show", "functions"), ("list",)])
def test_a_small_command_does_not_load_torch(arguments: tuple[str, ...]):
    assert loaded_after(command_line(*arguments), ("torch",)) == []


@pytest.mark.parametrize("command", ["ideal", "bound"])
def test_theory_does_without_torch(command: str):
    asked = (command, "functions", "--task", "single", "--prompts", "8")
    assert loaded_after(command_line(*asked), ("torch", "altair")) == []


@pytest.mark.parametrize(
    "module",
    ["corpus", "evaluate", "grammar", "kernels", "model", "pipeline", "report", "scores", "theory", "train"],
)
def test_importing_a_package_loads_nothing_heavy(module: str):
    assert loaded_after(f"import emergelab.{module}", HEAVY) == []


def test_importing_the_package_loads_nothing_of_it():
    code = (
        "import emergelab, sys; assert [name for name in sys.modules if name.startswith('emergelab.')] == []"
    )
    assert loaded_after(code, (*HEAVY, "numpy", "pydantic")) == []


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("el.load_grammar('functions').language", HEAVY),
        ("el.plan('quickstart')", ("torch", "altair", "vl_convert")),
        ("el.score, el.measure_losses, el.Evaluation", ("torch",)),
    ],
)
def test_python_loads_what_it_uses(code: str, heavy: tuple[str, ...]):
    assert loaded_after(f"import emergelab as el; {code}", heavy) == []
