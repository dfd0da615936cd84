"""Pages of the documentation that are made from the code. As a program: write them down.

`docs/commands.md` says what Typer's own help says.
"""

import html
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from emergelab.cli import app

DOCS = Path(__file__).parents[1] / "docs"
HEAD = """# Command line

This page is made from the commands' own help by `make pages`. All of them answer to `--help`; what somebody might
want to go on computing with comes as JSON or CSV on standard output, and everything else goes to standard error.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a fault of the program, or an output that nobody reads on |
| 2 | a mistake that you can mend: one message says what was found, the rule, and the remedy |
| 130 | interrupted; what is finished is kept |
"""


def commands_page() -> str:
    """Return the page on the command line."""
    return "\n".join([HEAD, *_sections(typer.main.get_command(app), "emergelab")]) + "\n"


def _sections(command: Any, name: str) -> Iterator[str]:
    # Typer carries a copy of Click: its classes are not Click's.
    for child, below in getattr(command, "commands", {}).items():
        yield from _sections(below, f"{name} {child}")
    if hasattr(command, "commands"):
        return
    context = command.make_context(name, [], resilient_parsing=True)
    shown = [one for one in command.params if not one.hidden and one.name != "help"]
    usage = [piece for one in shown for piece in one.get_usage_pieces(context)]
    options = ["[OPTIONS]"] if any(one.param_type_name == "option" for one in shown) else []
    yield f"## {name.removeprefix('emergelab ').capitalize()}\n"
    yield f"```sh\n{' '.join([name, *options, *usage])}\n```\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    if shown:
        yield "| argument or option | meaning |\n|---|---|"
        yield from (_row(one.get_help_record(context)) for one in shown)
        yield ""


def _row(record: tuple[str, str]) -> str:
    # As HTML: a bar inside of backticks would end a table's cell, and escaped it keeps its backslash.
    names, meaning = (
        html.escape(" ".join(text.split()), quote=False).replace("|", "&#124;") for text in record
    )
    return f"| <code>{names}</code> | {meaning} |"


def main() -> None:
    """Write the pages."""
    page = DOCS / "commands.md"
    page.write_text(commands_page(), encoding="utf-8")
    sys.stdout.write(f"{page}\n")


if __name__ == "__main__":
    main()
