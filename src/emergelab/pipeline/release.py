"""Files of a finished artifact that were let go on purpose: which, by which policy, when.

The record lies beside the manifest, which stays as it was: the digests of what was let go remain known. It
is written before the first file goes, so that a file is never missing without a reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict, cast

from emergelab.pipeline.manifest import text_digest
from emergelab.spec import Json, canonical_json

NAME = "released.json"
FORMAT = 1


class Release(TypedDict):
    """By which policy, and when, a file was let go."""

    policy: str
    when: str


def read_releases(folder: Path) -> dict[str, Release]:
    """Return the files that the artifact in `folder` has let go. Raises ValueError for a changed record."""
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    value = json.loads(text)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        message = f"it is not a record of format {FORMAT}"
        raise ValueError(message)
    if text != describe(cast("Mapping[str, Release]", value.get("files"))):
        message = "its text does not match the digest that it carries"
        raise ValueError(message)
    return cast("dict[str, Release]", value["files"])


def describe(files: Mapping[str, Release]) -> str:
    """Return the text of the record of `files`."""
    body: dict[str, Json] = {"format": FORMAT, "files": cast("Mapping[str, Json]", files)}
    return canonical_json({**body, "digest": text_digest(canonical_json(body))}) + "\n"


def released_now(names: Iterable[str], policy: str) -> dict[str, Release]:
    """Return the entries of files that `policy` lets go now."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {name: {"policy": policy, "when": when} for name in names}
