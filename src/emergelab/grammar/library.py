"""Finding grammars: those that come with emergelab by name, others by their path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emergelab.errors import GrammarError
from emergelab.grammar.checks import require_valid
from emergelab.grammar.notation import parse
from emergelab.grammar.shelf import Shelf, SourceFile
from emergelab.grammar.syntax import GrammarSyntax

_SHELF = Shelf(noun="grammar", folder="grammars", suffix=".cag", error=GrammarError)


def shipped_grammars() -> list[str]:
    """Return the names of the grammars that come with emergelab."""
    return _SHELF.names()


def find_grammar(name_or_path: str, beside: Path | None = None) -> SourceFile:
    """Read a grammar by the name of a shipped one or by the path of a `.cag` file.

    A relative path counts from the folder `beside`, if given. Raises GrammarError for what cannot be read.
    """
    return _SHELF.find(name_or_path, beside)


def load_grammar(file: SourceFile, parameters: Mapping[str, float] | None = None) -> GrammarSyntax:
    """Parse and check a grammar, with `parameters` in the place of the values that its text gives.

    Raises GrammarError with all that is wrong with it.
    """
    grammar = parse(file.text, name=file.name, parameters=parameters, source=file.source)
    require_valid(grammar, file.source, file.text)
    return grammar
