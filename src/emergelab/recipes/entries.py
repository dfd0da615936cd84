"""Kinds of entries that a study has: lists of values, tables by dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from emergelab.spec import Whole

MOST_CONTEXT = 32_000  # labels number a document's statements and rows in 16 bits
_MOST_DOTS = 20

Item = TypeVar("Item")


def _several(value: object) -> object:
    """Read a single value as a list of one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)  # pyright: ignore[reportUnknownVariableType]


def different(values: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return the values. Raises ValueError where one stands twice."""
    once = tuple(dict.fromkeys(values))
    if once != values:
        raise ValueError(f"The values must differ. Write each once: {list(once)}")
    return values


Several: TypeAlias = Annotated[
    tuple[Item, ...], BeforeValidator(_several), Field(min_length=1), AfterValidator(different)
]
Shots: TypeAlias = Annotated[Whole, Field(ge=1, le=MOST_CONTEXT)]


def flattened(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a table by dotted names, whether it is written with dots or as tables in tables."""
    flat: dict[str, Any] = {}
    left: list[tuple[tuple[str, ...], Any]] = [((name,), value) for name, value in table.items()]
    while left:
        names, value = left.pop(0)
        # What lies deeper is no parameter's name; it stays a table, which no parameter has as its value.
        if isinstance(value, Mapping) and value and len(names) < _MOST_DOTS:
            inner: list[tuple[str, Any]] = list(value.items())  # pyright: ignore[reportUnknownArgumentType]
            left[:0] = [((*names, name), part) for name, part in inner]
        else:
            flat[".".join(names)] = value
    return flat
