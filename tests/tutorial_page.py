"""The tutorial's code, run as it stands in the page. As a program: run it whole and write down what it prints."""

import contextlib
import io
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "tutorial.md"
IMAGES = DOCS / "images" / "tutorial"
_CODE = re.compile(r"^```python\n(.*?)^```\n(\n```text\n.*?^```\n)?", re.DOTALL | re.MULTILINE)


def execute(text: str, changes: Mapping[str, str] | None = None) -> str:
    """Run the page's code in the working folder; return the page with what each block prints below it.

    `changes` are replaced in the code beforehand. Raises ValueError for one that does not occur, and whatever
    the code raises.
    """
    code = "".join(block[1] for block in _CODE.finditer(text))
    missing = [old for old in changes or {} if old not in code]
    if missing:
        raise ValueError(f"The page has no code {missing}.")
    names: dict[str, object] = {"__name__": "tutorial"}
    return _CODE.sub(lambda block: _executed(block, names, changes or {}), text)


def _executed(block: re.Match[str], names: dict[str, object], changes: Mapping[str, str]) -> str:
    code = block[1]
    for old, new in changes.items():
        code = code.replace(old, new)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102 - the page's own code
    lines = "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())
    shown = f"\n```text\n{lines}```\n" if lines else ""
    return f"```python\n{block[1]}```\n{shown}"


def main() -> None:
    """Run the page's code in `build/tutorial`; write outputs and figures where the page shows them."""
    folder = DOCS.parent / "build" / "tutorial"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        page = execute(PAGE.read_text(encoding="utf-8"))
        IMAGES.mkdir(parents=True, exist_ok=True)
        for figure in Path().glob("*.svg"):
            shutil.copy(figure, IMAGES)
    PAGE.write_text(page, encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")


if __name__ == "__main__":
    main()
