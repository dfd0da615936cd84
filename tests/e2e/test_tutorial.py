"""The tutorial's code runs as it stands, on less data; its figures and its numbers are there."""

import contextlib
import re
from pathlib import Path

import pytest

from tutorial_page import IMAGES, PAGE, execute

TEXT = PAGE.read_text(encoding="utf-8")
# A few steps of the same two models.
SMALLER = {
    '"train.tokens": [0.75e6, 1.5e6, 3e6]}': '"train.tokens": [1e3, 2e3], "model.width": 16, '
    '"evaluate.prompts": 24, "evaluate.loss_documents": 16}',
}

# One process runs all of these, so that the tutorial is run once.
pytestmark = [pytest.mark.xdist_group("tutorial"), pytest.mark.slow]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    with contextlib.chdir(tmp_path_factory.mktemp("tutorial")):
        return execute(TEXT, SMALLER)


def parts(text: str) -> list[str]:
    """Return the page without what is printed."""
    return re.split(r"^```text\n.*?^```$", text, flags=re.DOTALL | re.MULTILINE)


def printed(text: str) -> list[str]:
    """Return what is printed, block by block."""
    return re.findall(r"^```text\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def test_the_code_prints_something_just_where_the_page_shows_it(page: str):
    assert parts(page) == parts(TEXT)


def test_what_needs_no_training_is_printed_as_the_page_shows_it(page: str):
    """Grammar, document, prompts; the mistake in a grammar, and a document of the mended one."""
    there, here = printed(page), printed(TEXT)
    assert [there[i] for i in (0, 1, 2, -3, -2)] == [here[i] for i in (0, 1, 2, -3, -2)]


def test_tables_have_the_columns_that_the_page_shows(page: str):
    assert [heads(text) for text in printed(page)] == [heads(text) for text in printed(TEXT)]


def heads(text: str) -> list[str]:
    """Return the lines of a table that name its columns."""
    lines = text.splitlines()
    found = [lines[i + 1] for i, line in enumerate(lines[:-1]) if line.startswith("┌")]
    return [" ".join(re.findall(r"\w+", line)) for line in found]


def test_the_figures_are_there():
    names = re.findall(r"\(images/tutorial/([\w-]+\.svg)\)", TEXT)
    assert names
    assert all((IMAGES / name).read_text(encoding="utf-8").startswith("<svg") for name in names)


def test_the_tutorial_is_what_its_run_wrote():
    """No output is empty: `make tutorial` has been run since the code changed."""
    assert all(text.strip() for text in printed(TEXT))


def test_the_command_line_says_the_same_as_the_code():
    (settings,) = re.findall(r'settings=\{"model.layers": (\S+ \S+), "train.tokens": (.+?)\},', TEXT)
    shell = [value.replace(" ", "") for value in settings]
    assert f"--set model.layers={shell[0]} --set train.tokens={shell[1]}" in TEXT


def test_a_change_that_finds_no_code_is_refused():
    with pytest.raises(ValueError, match="has no code"):
        execute("```python\n1\n```\n", {"nowhere": ""})


def test_code_that_fails_is_noticed(tmp_path: Path):
    with contextlib.chdir(tmp_path), pytest.raises(ZeroDivisionError):
        execute("```python\n1 / 0\n```\n")
