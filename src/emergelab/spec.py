"""Frozen specifications, their canonical JSON and their fingerprint.

A specification is data: frozen, validated, built by keyword. Its fingerprint is the identity of whatever
is computed from it, so the canonical form refuses anything that could be written in two ways.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict

FINGERPRINT_VERSION = "f1"

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]


def _as_whole(value: object) -> object:
    """Read 1.5e6 as the whole number that it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole: TypeAlias = Annotated[int, BeforeValidator(_as_whole)]
"""A whole number, which may be written 1.5e6."""


class Spec(BaseModel):
    """Base of all specifications: frozen, keyword-only, no unknown fields, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def canonical_json(value: Json | Spec) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, shortest round-trip floats.

    Raises TypeError for values outside JSON and ValueError for NaN and infinities.
    """
    return json.dumps(
        _canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fingerprint(value: Json | Spec) -> str:
    """Return a short, stable name of `value`: the algorithm's version, a dash and 32 hex digits."""
    digest = hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()
    return f"{FINGERPRINT_VERSION}-{digest}"


def _canonical(value: object) -> Json:
    if isinstance(value, Spec):
        return _canonical(value.model_dump(mode="python"))
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return _canonical_float(value)
    if isinstance(value, Mapping):
        return {_canonical_key(key): _canonical(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    message = f"A specification holds JSON values only. Got {value!r} of type {type(value).__name__}."
    raise TypeError(message)


def _canonical_float(value: float) -> float | int:
    """Write 2.0 and 2 alike: a study that says `1.5e6` or `1500000` means the same."""
    if not math.isfinite(value):
        message = f"A specification cannot hold {value}."
        raise ValueError(message)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _canonical_key(key: object) -> str:
    if not isinstance(key, str):
        message = f"The keys of a specification are strings. Got {key!r}."
        raise TypeError(message)
    return key
