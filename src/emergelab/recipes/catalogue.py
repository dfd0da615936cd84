"""What comes with emergelab."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from emergelab.grammar.library import find_grammar, shipped_grammars
from emergelab.recipes.study import find_study, shipped_studies


def catalogue() -> dict[str, list[dict[str, str]]]:
    """Return the shipped studies and grammars, each with the sentence that its file begins with."""
    return {
        "studies": [{"name": name, "about": _about(find_study(name).text)} for name in shipped_studies()],
        "grammars": [{"name": name, "about": _about(find_grammar(name).text)} for name in shipped_grammars()],
    }


def _about(text: str) -> str:
    """Return the first sentence of the comment at the head of a file."""
    comment = " ".join(_comment_lines(text))
    sentence, stop, _ = comment.partition(". ")
    return sentence + stop.strip()


def _comment_lines(text: str) -> Iterator[str]:
    return (
        line.lstrip("# ").rstrip() for line in takewhile(lambda line: line.startswith("#"), text.splitlines())
    )
