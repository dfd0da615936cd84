"""The manifest of an artifact: what it is, how it was made, and a digest of every byte in it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from emergelab.pipeline.step import Identity
from emergelab.spec import Json, canonical_json

FORMAT = 1
NAME = "manifest.json"
_PACKAGES = ("emergelab", "numba", "numpy", "polars", "scipy", "torch")
_DIGEST_BYTES = 32


class FileRecord(TypedDict):
    """Size in bytes and BLAKE2b-256 of one file."""

    size: int
    blake2b: str


@dataclass(frozen=True)
class Making:
    """How an artifact came about: what the study called the step, and how long its last go took, in seconds.

    A step that goes on after an interruption counts from where it went on. None: nobody said.
    """

    name: str | None = None
    seconds: float | None = None


class Manifest(TypedDict):
    """The content of `manifest.json`. `digest` is BLAKE2b-256 of the canonical JSON of all other fields."""

    format: int
    kind: str
    function: str
    version: int
    spec: Mapping[str, Json]
    inputs: Mapping[str, str]
    versions: Mapping[str, str | None]
    created: str
    files: Mapping[str, FileRecord]
    digest: str
    name: NotRequired[str | None]
    seconds: NotRequired[float | None]


def describe(identity: Identity, folder: Path, making: Making | None = None) -> str:
    """Return the text of the manifest of the files in `folder`, made now by this installation."""
    body: dict[str, Json] = {
        "format": FORMAT,
        **identity.document(),
        **asdict(making or Making()),
        "versions": installed_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {name: cast("Mapping[str, Json]", record(folder / name)) for name in file_names(folder)},
    }
    return canonical_json({**body, "digest": text_digest(canonical_json(body))}) + "\n"


def parse(text: str) -> Manifest:
    """Return the manifest written as `text`. Raises ValueError where it is not one, word for word."""
    value = json.loads(text)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        message = f"it is not a manifest of format {FORMAT}"
        raise ValueError(message)
    body = {name: item for name, item in value.items() if name != "digest"}
    # What was read from JSON needs no second look at its types: a store has 100,000 of these.
    if text_digest(_as_written(body)) != value.get("digest") or text != _as_written(value) + "\n":
        message = "its text does not match the digest that it carries"
        raise ValueError(message)
    return cast("Manifest", cast("object", value))


def identity_of(manifest: Manifest) -> Identity:
    """Return the identity that `manifest` records."""
    return Identity(
        kind=manifest["kind"],
        function=manifest["function"],
        version=manifest["version"],
        spec=manifest["spec"],
        inputs=manifest["inputs"],
    )


def file_names(folder: Path) -> list[str]:
    """Return the names of all files below `folder`, sorted, with '/' between folders.

    Raises ValueError for links and devices: their bytes lie elsewhere.
    """
    return sorted(path.relative_to(folder).as_posix() for path in _plain_files(folder))


def record(path: Path) -> FileRecord:
    """Return the size and the digest of the file `path`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES))
        return {"size": file.tell(), "blake2b": digest.hexdigest()}


def installed_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that a result depends on; None where absent."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


@cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _plain_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            message = f"An artifact holds plain files and folders only. Got {path}."
            raise ValueError(message)
        if path.is_file():
            yield path


def _as_written(value: Mapping[str, Json]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def text_digest(text: str) -> str:
    """Return BLAKE2b-256 of `text` in UTF-8."""
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()
