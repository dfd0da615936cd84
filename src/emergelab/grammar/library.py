"""Finding grammars: those that come with emergelab by name, others by their path."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from emergelab.errors import GrammarError
from emergelab.grammar.checks import require_valid
from emergelab.grammar.notation import parse
from emergelab.grammar.problems import suggestion
from emergelab.grammar.syntax import GrammarSyntax

SUFFIX = ".cag"
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class GrammarFile:
    """A grammar's text, where it came from, and what it is called."""

    name: str
    source: str
    text: str


def shipped_grammars() -> list[str]:
    """Return the names of the grammars that come with emergelab."""
    folder = resources.files("emergelab") / "grammars"
    return sorted(
        entry.name.removesuffix(SUFFIX) for entry in folder.iterdir() if entry.name.endswith(SUFFIX)
    )


def find_grammar(name_or_path: str, beside: Path | None = None) -> GrammarFile:
    """Read a grammar by the name of a shipped one or by the path of a `.cag` file.

    A relative path counts from the folder `beside`, if given. Raises GrammarError for what cannot be read.
    """
    if name_or_path in shipped_grammars():
        resource = resources.files("emergelab") / "grammars" / f"{name_or_path}{SUFFIX}"
        return GrammarFile(name_or_path, f"{name_or_path}{SUFFIX}", resource.read_text(encoding="utf-8"))
    path = Path(name_or_path) if beside is None else beside / name_or_path
    if not path.exists():
        raise GrammarError(
            f"There is no grammar {name_or_path!r}. Give a shipped grammar's name or the path of a .cag file. "
            f"{suggestion(name_or_path, shipped_grammars())}"
        )
    return GrammarFile(path.stem, str(path), _read(path))


def load_grammar(file: GrammarFile) -> GrammarSyntax:
    """Parse and check a grammar. Raises GrammarError with all that is wrong with it."""
    grammar = parse(file.text, name=file.name, source=file.source)
    require_valid(grammar, file.source, file.text)
    return grammar


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise GrammarError(
                f"{path} is larger than a grammar can be, {_MOST_BYTES:,} bytes. Give the path of a .cag file."
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GrammarError(
            f"{path} cannot be read as a grammar: {error}. Give the path of a text file in UTF-8."
        ) from error
