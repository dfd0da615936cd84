"""Numbers in words: two or three significant digits, intervals beside them, no false precision."""

from __future__ import annotations

import math
from collections.abc import Sequence

_PREFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_SMALL = 0.0005


def share(value: float | None) -> str:
    """Return an accuracy or a chance with two decimals; missing is a dash."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def signed(value: float | None) -> str:
    """Return a difference of shares with its sign."""
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def nats(value: float | None) -> str:
    """Return nats with two or three significant digits; missing is a dash."""
    if value is None:
        return "–"
    if abs(value) < _SMALL:
        return "0.00"
    digits = 3 if abs(value) >= 1 else 2
    return _plain(f"{value:.{digits}g}")


def count(value: float | None) -> str:
    """Return a count with a prefix: 1500000 is 1.5M."""
    if value is None:
        return "–"
    for size, prefix in _PREFIXES:
        if abs(value) >= size:
            return f"{_plain(f'{value / size:.3g}')}{prefix}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return a span of time as a reader says it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.2g} s"


def listing(parts: Sequence[str]) -> str:
    """Join parts as a sentence does: a, b and c."""
    if len(parts) < 2:  # noqa: PLR2004  two make a pair
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def plural(number: int, noun: str) -> str:
    """Return '1 seed' or '3 seeds'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _plain(text: str) -> str:
    number = float(text)
    if "e" not in text:
        return text.replace("-", "−")
    digits = max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{number:.{min(digits, 6)}f}".rstrip("0").rstrip(".").replace("-", "−")
