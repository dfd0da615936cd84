"""Settings of a study given in Python, written as the command line takes them: one way in for both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from emergelab.errors import StudyError


def written(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return settings as `entry=value`, the values in TOML. Tables in tables become entries with dotted names.

    Raises StudyError for values that TOML does not have.
    """
    return tuple(f"{entry}={_toml(entry, value)}" for entry, value in _entries(settings))


def _entries(settings: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _entries(value, f"{place}{name}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield f"{place}{name}", value


def _toml(entry: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # TOML's strings have JSON's escapes, and want one more sign escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    # NumPy's numbers are numbers, too.
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return repr(float(value))
    if isinstance(value, Sequence):
        return f"[{', '.join(_toml(entry, item) for item in value)}]"
    raise StudyError(
        f"Got the setting {entry} = {value!r:.80}. A setting is a number, a text, true or false, or a list of these. "
        "Leave the setting out to keep the study's own."
    )
