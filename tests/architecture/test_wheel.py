"""The wheel holds the whole package: code, grammars, studies, notation, templates."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel, without the network, from what git would hand to a new clone."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-c", BUILD, folder]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return zipfile.ZipFile(folder / result.stdout.split()[-1])


def test_every_file_of_the_source_tree_is_in_the_wheel(wheel: zipfile.ZipFile):
    source = ROOT / "src"
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    expected = {name for name in files if "__pycache__" not in name and ".egg-info" not in name}
    assert expected - set(wheel.namelist()) == set()


@pytest.mark.parametrize(
    "name",
    [
        "grammars/functions.cag",
        "studies/quickstart.toml",
        "examples/README.md",
        "examples/back_tests.toml",
        "py.typed",
    ],
)
def test_shipped_data_is_in_the_wheel(wheel: zipfile.ZipFile, name: str):
    assert f"emergelab/{name}" in wheel.namelist()


def test_the_wheel_carries_its_licence_and_entry_point(wheel: zipfile.ZipFile):
    names = {name.partition(".dist-info/")[2] for name in wheel.namelist()}
    assert {"licenses/LICENSE", "entry_points.txt"} <= names
