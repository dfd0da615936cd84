"""Numbers in words: two or three significant digits, intervals beside them, no false precision."""

from __future__ import annotations

import math
from collections.abc import Sequence

MISSING = "\N{EN DASH}"
_PREFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_SMALL = 1e-9
_TENTH = 0.095


def share(value: float | None) -> str:
    """Return an accuracy or a chance with two decimals; missing is a dash."""
    return MISSING if value is None else _minus(f"{value:.2f}")


def signed(value: float | None) -> str:
    """Return a difference of shares with its sign."""
    return MISSING if value is None else _minus(f"{value:+.2f}")


def nats(value: float | None) -> str:
    """Return nats to a hundredth, small ones to a thousandth; missing is a dash."""
    return MISSING if value is None else _minus(f"{value:.{_decimals(value)}f}")


def figure(value: float | None) -> str:
    """Return any number with three significant digits; missing is a dash."""
    if value is None:
        return MISSING
    return _plain(f"{value:.3g}") if abs(value) >= _SMALL else "0"


def count(value: int | float | None) -> str:  # noqa: PYI041  signatures are checked when tests run
    """Return a count with a prefix: 1500000 is 1.5M."""
    if value is None:
        return MISSING
    for size, prefix in _PREFIXES:
        if abs(value) >= size:
            return f"{_plain(f'{value / size:.3g}')}{prefix}"
    return f"{value:.3g}"


def setting(value: float | int | str) -> str:  # noqa: PYI041
    """Return a setting's value as a study has it, large counts with a prefix."""
    if isinstance(value, str):
        return value
    return count(value) if abs(value) >= 10_000 else f"{value:.10g}"  # noqa: PLR2004


def duration(seconds: int | float) -> str:  # noqa: PYI041
    """Return a span of time as a reader says it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.2g} s"


def span(low: str, high: str) -> str:
    """Return a range; one that has no width as printed is one value."""
    return low if low == high else f"{low}\N{EN DASH}{high}"


def listing(parts: Sequence[str]) -> str:
    """Join parts as a sentence does: a, b and c."""
    if len(parts) < 2:  # noqa: PLR2004  two make a pair
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def plural(number: int, noun: str) -> str:
    """Return '1 seed' or '3 seeds'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _decimals(value: float) -> int:
    """Nothing on the page is known to more than about a hundredth of a nat, the smallest values apart."""
    if abs(value) >= 10:  # noqa: PLR2004
        return 1
    return 2 if abs(value) >= _TENTH else 3


def _plain(text: str) -> str:
    number = float(text)
    if "e" not in text:
        return _minus(text)
    digits = max(0, 2 - math.floor(math.log10(abs(number))))
    return _minus(f"{number:.{digits}f}")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
