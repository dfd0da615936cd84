"""Studies as files: found by name or path, read from TOML, single entries set on the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from emergelab.errors import StudyError
from emergelab.grammar.shelf import Shelf, SourceFile
from emergelab.recipes.entries import flattened
from emergelab.recipes.study_faults import explain
from emergelab.recipes.study_spec import Study

_SHELF = Shelf(noun="study", folder="studies", suffix=".toml", error=StudyError)
_MOST_SHOWN = 80


def shipped_studies() -> list[str]:
    """Return the names of the studies that come with emergelab."""
    return _SHELF.names()


def find_study(name_or_path: str) -> SourceFile:
    """Read a study by the name of a shipped one or by the path of a TOML file. Raises StudyError."""
    return _SHELF.find(name_or_path)


def read_study(file: SourceFile, settings: Sequence[str] = ()) -> Study:
    """Parse and validate a study, with `settings` such as `train.tokens=[1e6,2e6]` put in place.

    Raises StudyError that lists everything that is wrong.
    """
    try:
        document = _parse(file.text)
    except ValueError as error:
        raise StudyError(
            f"{file.source} is not TOML: {error}. Mend that line; strings need quotes, lists brackets."
        ) from error
    for setting in settings:
        _apply(document, setting)
    try:
        return Study.model_validate(document)
    except ValidationError as error:
        raise StudyError(explain(error, file.source)) from error


def _parse(text: str) -> dict[str, Any]:
    """Return the document. Raises ValueError for what is not TOML, or too much of it."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("lists or tables lie too deep within each other") from None


def _apply(document: dict[str, Any], setting: str) -> None:
    """Put `path.to.entry=value` into the document; the value is TOML, or text where it is none."""
    path, equals, value = setting.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise StudyError(
            f"Got --set {setting!r}. A setting is written name=value. Write for example --set train.tokens=[1e6,2e6]"
        )
    if names[0] == "grammar" and len(names) > 1:
        _apply_to_grammar(document, ".".join(names[1:]), _value(value.strip()))
        return
    place = document
    for name in names[:-1]:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise StudyError(
                f"Got --set {setting!r}, but {name} holds a value, not a table. Set one of the study's own entries."
            )
        place = inner  # pyright: ignore[reportUnknownVariableType]
    found = _value(value.strip())
    if isinstance(found, str) and found.startswith("["):
        raise StudyError(
            f"Got --set {setting[:_MOST_SHOWN]!r}. Its value begins like a list and is none. Close the bracket, and "
            'write texts in double quotes: --set \'evaluate.tasks=["single","pair"]\'.'
        )
    place[names[-1]] = found


def _apply_to_grammar(document: dict[str, Any], name: str, value: object) -> None:
    """Set a parameter of the grammar, or its name, whichever way the study writes it."""
    grammar = document.get("grammar", {})
    table = flattened(grammar) if isinstance(grammar, dict) else {"name": grammar}
    document["grammar"] = {**table, name: value}


def _value(text: str) -> object:
    try:
        document = _parse(f"value = {text}")
    except ValueError:
        return text
    # More than the one entry: lines that were smuggled in.
    return document["value"] if len(document) == 1 else text
