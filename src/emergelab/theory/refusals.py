"""What theory refuses: grammars whose law cannot be computed exactly, or not in this memory."""

from __future__ import annotations

from emergelab.errors import GrammarError


class ExactnessError(GrammarError):
    """A grammar whose statements cannot be enumerated exactly; the message says why and what to do."""


class DocumentFunctionsError(ExactnessError):
    """A grammar with functions of the document, whose statements are not independent of one another."""


class EnumerationError(ExactnessError):
    """An enumeration that does not fit; `mass` is the probability that it would reach where it fits."""

    def __init__(self, message: str, mass: float) -> None:
        super().__init__(message)
        self.mass = mass
