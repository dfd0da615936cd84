"""Numbers of the notation: literals, parameters by name, and expressions of both.

An expression is computed exactly, in fractions, from its numbers as they are written, and is rounded once, at
its end: `1 - 0.9` is 0.1. A parameter is a double, and stands in expressions for the shortest decimal that
reads as it; so a grammar means the same whether a parameter has its value by default or by being set to it.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from lark.lexer import Token
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive, v_args

from emergelab.errors import GrammarError
from emergelab.grammar.notation_faults import MAX_NAME_LENGTH, SyntaxFaultError, quoted
from emergelab.grammar.problems import suggestion
from emergelab.grammar.syntax import Parameter, Position

MAX_NUMBER_LENGTH = 40
MAX_TERMS = 100
"""Numbers and names in one expression, which bounds the size of the fractions on the way."""

_WHOLE_NUMBERS = 2**53
_DECIMAL = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_WRITTEN_NUMBER = re.compile(rf"([+-]?{_DECIMAL})(?:/({_DECIMAL}))?")
_OPERATORS: Mapping[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def number_text(value: float) -> str:
    """Return the shortest text that reads as `value`, whole numbers without a point."""
    return str(int(value)) if value.is_integer() and abs(value) < _WHOLE_NUMBERS else repr(value)


def read_settings(texts: Iterable[str]) -> dict[str, float]:
    """Return the values of parameters that texts like "pair.silent=0.3" or "size=12" set; the last one wins.

    Raises GrammarError for what is not of this form. Whether there are such parameters is not looked at.
    """
    return dict(_read_setting(text) for text in texts)


def _read_setting(text: str) -> tuple[str, float]:
    name, equals, value = (part.strip() for part in text.partition("="))
    number = _read_number(value)
    if not name or not equals or number is None:
        rule = "A parameter is set like this: NAME=NUMBER, the number finite and written as in a grammar."
        raise GrammarError(f"Got the setting {quoted(text)}. {rule} Write 'pair.silent=0.3', for example.")
    return name, number


def _read_number(text: str) -> float | None:
    match = _WRITTEN_NUMBER.fullmatch(text)
    if match is None or len(text) > MAX_NUMBER_LENGTH:
        return None
    top, bottom = _exact(match[1]), _exact(match[2] or "1")
    if top is None or not bottom:
        return None
    try:
        return float(top / bottom)
    except OverflowError:
        return None


def _exact(decimal: str) -> Fraction | None:
    """Return the value of a decimal number, None if no double is near it.

    The double comes first: the fraction of a number with a huge exponent would fill the memory.
    """
    nearest = float(decimal)
    if math.isinf(nearest):
        return None
    return Fraction(decimal) if nearest else Fraction(0)


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it stands in a text, with the values of the parameters that it names."""

    exact: Fraction
    at: Position
    text: str
    named: Mapping[str, float] = field(default_factory=dict[str, float])
    terms: int = 1

    def real(self) -> float:
        """Return the double that is nearest. Raises SyntaxFaultError where there is none."""
        try:
            return float(self.exact)
        except OverflowError:
            raise self.fault("a number below 1.8e308", "Write a smaller one.") from None

    def whole(self) -> int:
        """Return the number, which must be whole and below 2^53. Raises SyntaxFaultError."""
        value = self.real()
        if not value.is_integer() or abs(value) >= _WHOLE_NUMBERS:
            raise self.fault("a whole number", "Write a count, like 12.")
        return int(value)

    def fault(self, expected: str, remedy: str) -> SyntaxFaultError:
        """Return the fault that something else is expected here, with all values in force."""
        return SyntaxFaultError(self.at, self.words(), expected, remedy)

    def words(self) -> str:
        """Return the number as written, what it comes to, and the values of the parameters in it."""
        if not self.named:
            return quoted(self.text)
        values = ", ".join(f"{name} = {number_text(value)}" for name, value in self.named.items())
        return values if self.text in self.named else f"{quoted(self.text)} with {values}"


class ParameterTable:
    """The parameters of a text while it is read: what is declared, what is given, what is used where."""

    def __init__(self, text: str, given: Mapping[str, float]) -> None:
        self.text = text
        self._given = given
        self._places: dict[str, Position] = {}
        self._values: dict[str, float] = {}
        self._defaults: dict[str, float] = {}
        self._uses: dict[str, list[Position]] = {}

    def announce(self, names: Sequence[Token]) -> None:
        """Take all names that the text declares, in its order, before any of them has its value.

        Raises SyntaxFaultError for a name declared twice and GrammarError for given values without a name.
        """
        for name in names:
            at = _position(name)
            if len(name) > MAX_NAME_LENGTH:
                found, most = f"a name of {len(name)} characters", f"at most {MAX_NAME_LENGTH}"
                raise SyntaxFaultError(at, found, most, "Choose a shorter one.")
            if name in self._places:
                expected = f"one, which stands in line {self._places[name].line}"
                remedy = "Delete one of them, or give it another name."
                raise SyntaxFaultError(at, f"a second parameter '{name}'", expected, remedy)
            self._places[str(name)] = at
            self._uses[str(name)] = []
        for name, value in self._given.items():
            self._refuse_given(name, value)

    def _refuse_given(self, name: str, value: object) -> None:
        if name not in self._places:
            raise GrammarError(_unknown_given(name, list(self._places)))
        if not _is_finite_number(value):
            found = f"The parameter '{name}' is set to {value!r}."
            raise GrammarError(f"{found} A parameter is a finite number. Set it to 0.5, for example.")

    def declare(self, name: Token, number: Number) -> None:
        """Give a parameter its value: the one that was set, or else the one in the text."""
        default = number.real()
        self._defaults[str(name)] = default
        self._values[str(name)] = float(self._given.get(str(name), default)) + 0.0  # -0 is 0

    def use(self, name: Token) -> float:
        """Return the value of the parameter whose name stands here. Raises SyntaxFaultError without one."""
        at = _position(name)
        if name in self._values:
            self._uses[str(name)].append(at)
            return self._values[str(name)]
        if name in self._places:
            line = self._places[str(name)].line
            found = f"{quoted(name)}, which is declared in line {line}"
            remedy = "A parameter may use those above it: move its declaration down, or the other one up."
            raise SyntaxFaultError(at, found, "a parameter that is declared before", remedy)
        remedy = suggestion(name, self._places) or f"Declare it: 'parameter {quoted(name)[1:-1]} = 0.5'."
        raise SyntaxFaultError(at, quoted(name), "a number or the name of a parameter", remedy)

    def parameters(self) -> tuple[Parameter, ...]:
        """Return all parameters. Raises SyntaxFaultError for one that nothing uses."""
        for name, uses in self._uses.items():
            if not uses:
                found = f"the parameter '{name}', which nothing uses"
                remedy = f"Write '{name}' in the place of a number, or delete its declaration."
                raise SyntaxFaultError(self._places[name], found, "a use of it", remedy)
        return tuple(
            Parameter(name, value, self._places[name], self._defaults[name], tuple(self._uses[name]))
            for name, value in self._values.items()
        )


class NumberBuilder(Transformer_NonRecursive[Token, Any]):
    """Builds the numbers of a text from its tree; `table` knows the parameters."""

    def __init__(self, table: ParameterTable) -> None:
        super().__init__()
        self.table = table

    def decimal(self, children: list[Token]) -> Number:
        """Read a number without sign."""
        (token,) = children
        at = _position(token)
        if len(token) > MAX_NUMBER_LENGTH:
            found, most = f"a number of {len(token)} characters", f"at most {MAX_NUMBER_LENGTH}"
            raise SyntaxFaultError(at, found, most, "Seventeen digits say all that is kept.")
        exact = _exact(token)
        if exact is None:
            raise SyntaxFaultError(at, str(token), "a number below 1.8e308", "Write a smaller one.")
        return Number(exact, at, str(token))

    def reference(self, children: list[Token]) -> Number:
        """Look a parameter up."""
        (token,) = children
        value = self.table.use(token)
        return Number(Fraction(repr(value)), _position(token), str(token), {str(token): value})

    @v_args(meta=True)
    def unary(self, meta: Meta, children: list[Any]) -> Number:
        """Apply a sign."""
        sign, number = children
        exact = -number.exact if sign == "-" else number.exact
        return self._made(meta, exact, [number])

    @v_args(meta=True)
    def binary(self, meta: Meta, children: list[Any]) -> Number:
        """Compute one of the four operations."""
        left, sign, right = children
        if sign == "/" and right.exact == 0:
            made = self._made(meta, Fraction(0), [left, right])
            raise made.fault("a fraction", "Divide by another number than 0.")
        return self._made(meta, _OPERATORS[sign](left.exact, right.exact), [left, right])

    @v_args(meta=True)
    def value(self, meta: Meta, children: list[Number]) -> Number:
        """Return a number that stands by itself, brackets included."""
        return self._made(meta, children[0].exact, children)

    @v_args(meta=True)
    def number(self, meta: Meta, children: list[Number]) -> Number:
        """Return a number where its end is told by what follows: no brackets are needed."""
        return self._made(meta, children[0].exact, children)

    def _made(self, meta: Meta, exact: Fraction, parts: Iterable[Number]) -> Number:
        at = Position(meta.line, meta.column)
        terms = sum(part.terms for part in parts)
        if terms > MAX_TERMS:
            found, most = f"an expression of more than {MAX_TERMS} numbers", "a shorter one"
            raise SyntaxFaultError(at, found, most, "Name a part of it with 'parameter'.")
        named = {name: value for part in parts for name, value in part.named.items()}
        return Number(exact, at, self.table.text[meta.start_pos : meta.end_pos], named, terms)


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all doubles
        return False


def _position(token: Token) -> Position:
    return Position(token.line or 0, token.column or 0)


def _unknown_given(name: str, known: list[str]) -> str:
    found = f"The grammar has no parameter {quoted(name)}."
    if not known:
        return f"{found} It has none. Name a number in it: 'parameter size = 12'."
    rule = f"Its parameters are {', '.join(known[:12])}{', …' if len(known) > 12 else ''}."  # noqa: PLR2004
    return f"{found} {rule} {suggestion(name, known)}"
