"""The documentation site can be built, and no link of it is broken."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("src", "CONTRIBUTING.md", "CHANGELOG.md")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with all that the site is made from, to be built in."""
    for part in PARTS:
        (tmp_path / part).symlink_to(ROOT / part)
    # Zensical builds where a linked configuration lies.
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


def build(folder: Path) -> tuple[int, str]:
    """Return the exit code of a strict build and what it says, without colours."""
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return result.returncode, re.sub(r"\x1b\[[0-9;]*m", "", result.stdout + result.stderr)


def test_the_site_is_built_without_a_warning(copy: Path):
    code, said = build(copy)
    assert code == 0, said
    page = (copy / "build" / "site" / "reference.html").read_text(encoding="utf-8")
    assert 'id="emergelab.run"' in page


def test_a_broken_link_is_noticed(copy: Path):
    (copy / "docs" / "index.md").write_text("# Home\n\n[there](tutorial.md#nowhere)\n", encoding="utf-8")
    code, said = build(copy)
    assert code != 0
    assert "nowhere" in said
