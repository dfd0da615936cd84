"""What a check finds: a problem with its place, what was found, the rule that it breaks and a remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from emergelab.grammar.syntax import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A rule that a grammar breaks. Lines and columns count from 1; both are 0 for syntax without a text."""

    line: int
    column: int
    found: str
    rule: str
    remedy: str

    @property
    def at(self) -> Position:
        """The place in the text."""
        return Position(self.line, self.column)

    @property
    def message(self) -> str:
        """What was found, the rule and the remedy, as three sentences."""
        return " ".join(part for part in (self.found, self.rule, self.remedy) if part)


def problem(at: Position, found: str, rule: str, remedy: str) -> Problem:
    """Return the problem at a place."""
    return Problem(line=at.line, column=at.column, found=found, rule=rule, remedy=remedy)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "Did you mean 'f'?" for a known name close to `name`, else the names that there are.

    With no known names there is nothing to suggest, and the text is empty.
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    if len(names) == 1:
        return f"There is only {names[0]}."
    return f"There are {', '.join(names[:12])}{', …' if len(names) > 12 else ''}." if names else ""  # noqa: PLR2004
