"""Refusals that several functions share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real

from emergelab.errors import UserError
from emergelab.grammar.problems import suggestion


def whole(name: str, value: object, *, least: int = 1, most: int = 10**6) -> int:
    """Return a number that has to be whole, such as 6e6, as an integer. Raises UserError for any other."""
    number = float(value) if isinstance(value, int | float | Real) and value is not True else math.nan
    if least <= number <= most and number.is_integer():
        return int(number)
    raise UserError(f"Got {name}={value!r}. It must be a whole number from {least} to {most:,}. Choose one.")


def chosen(wanted: str | Iterable[str] | None, known: Iterable[str], whose: str) -> tuple[str, ...]:
    """Return the tasks that are asked for, by default all. Raises UserError for unknown or repeated ones."""
    known = tuple(known)
    names = known if wanted is None else (wanted,) if isinstance(wanted, str) else tuple(wanted)
    for name in names:
        if name not in known:
            raise UserError(f"{whose} has no task {name!r}. Name one of its tasks. {suggestion(name, known)}")
    if not names:
        raise UserError(f"{whose} has no task to ask for. Write a grammar with a task, or name one.")
    if len(set(names)) < len(names):
        raise UserError(f"Got tasks={list(names)!r}. Each task is asked for once. Name each once.")
    return names


def one_of(name: str, value: str, known: Iterable[str]) -> None:
    """Refuse a word that is none of those known. Raises UserError."""
    if value not in known:
        raise UserError(f"Got {name}={value!r}. It must be one of {', '.join(known)}. Choose one of these.")
