"""Text files that a user names: those that come with emergelab by name, others by their path."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from emergelab.errors import UserError
from emergelab.grammar.problems import suggestion

_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class SourceFile:
    """A file as written: its name, where it came from, its folder (None for a shipped one) and text."""

    name: str
    source: str
    folder: Path | None
    text: str


@dataclass(frozen=True)
class Shelf:
    """The files of one kind: what one is called, where the shipped ones lie, what their names end in."""

    noun: str
    folder: str
    suffix: str
    error: type[UserError]

    def names(self) -> list[str]:
        """Return the names of those that come with emergelab."""
        entries = (resources.files("emergelab") / self.folder).iterdir()
        return sorted(
            entry.name.removesuffix(self.suffix) for entry in entries if entry.name.endswith(self.suffix)
        )

    def find(self, name_or_path: str, beside: Path | None = None) -> SourceFile:
        """Read a file by the name of a shipped one or by its path; a relative one counts from `beside`.

        Raises `error` for what is not there or cannot be read.
        """
        if name_or_path in self.names():
            file = f"{name_or_path}{self.suffix}"
            resource = resources.files("emergelab") / self.folder / file
            return SourceFile(name_or_path, file, None, resource.read_text(encoding="utf-8"))
        path = Path(name_or_path) if beside is None else beside / name_or_path
        try:
            text = self._read(path)
        except FileNotFoundError as error:
            raise self.error(
                f"There is no {self.noun} {name_or_path!r}. Give a shipped {self.noun}'s name or the path of a "
                f"{self.suffix} file. {suggestion(name_or_path, self.names())}"
            ) from error
        except OSError as error:
            raise self._unreadable(path, str(error.strerror)) from error
        except ValueError as error:  # a path with a null byte
            raise self._unreadable(path, str(error)) from error
        return SourceFile(path.stem, str(path), path.absolute().parent, text)

    def _read(self, path: Path) -> str:
        if stat.S_ISDIR(path.stat().st_mode):
            raise self._unreadable(path, "it is a folder")
        with path.open("rb") as file:
            # A device or a pipe does not say beforehand how long it is.
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise self._unreadable(path, f"it is larger than {_MOST_BYTES:,} bytes")
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._unreadable(path, f"byte {error.start + 1} is not UTF-8 text") from error

    def _unreadable(self, path: Path, problem: str) -> UserError:
        return self.error(
            f"{str(path)[:200]} cannot be read as a {self.noun}: {problem}. Give the path of a {self.suffix} file."
        )
