"""The pages that Hugging Face shows of a corpus or a model: Markdown with a head of YAML."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from emergelab import __version__
from emergelab.errors import UserError
from emergelab.grammar.library import find_grammar, load_grammar, shipped_grammars
from emergelab.grammar.notation import render
from emergelab.spec import Json

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_OWN_LICENCE = "apache-2.0"
_NO_LICENCE = "unknown"


def licence_of(name: str, text: str, wanted: str | None) -> str:
    """Return the identifier of the licence: the one wanted, else that of a shipped grammar, else `unknown`.

    `text` is the grammar as it is rendered, which tells whether one of that name is the shipped one. Raises
    UserError for what is no identifier.
    """
    if wanted is None:
        own = name in shipped_grammars() and render(load_grammar(find_grammar(name))) == text
        return _OWN_LICENCE if own else _NO_LICENCE
    if not _LICENCE.fullmatch(wanted):
        raise UserError(
            f"Got the licence {wanted!r}. A licence is named by its identifier in small letters. "
            "Write for example cc-by-4.0."
        )
    return wanted


def front_matter(entries: Mapping[str, Json]) -> str:
    """Return the head of a card. JSON is YAML, too."""
    lines = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in entries.items())
    return "\n".join(["---", *lines, "---", ""])


def fenced(text: str, language: str = "") -> str:
    """Return a block of code whose fence is longer than any in the text."""
    runs = re.findall(r"`+", text)
    fence = "`" * max(3, 1 + max(map(len, runs), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table."""
    lines = (heads, ["---"] * len(heads), *rows)
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def sections(*parts: tuple[str, str]) -> str:
    """Return titled sections, without those that say nothing."""
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in parts if text) + "\n"


def made_with(command: str) -> str:
    """Return by which command of which version something was made."""
    return f"{fenced(f'emergelab {command}', 'sh')}\n\nemergelab {__version__}"


def code_span(text: str) -> str:
    """Return text as code within a line."""
    longest = max((len(list(run)) for mark, run in itertools.groupby(text) if mark == "`"), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if "`" in text else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"
