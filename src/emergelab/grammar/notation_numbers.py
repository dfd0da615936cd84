"""Numbers of the notation: literals, parameters by name, and expressions of both.

An expression is computed exactly, in fractions, from its numbers as they are written, and is rounded once, at
its end: `1 - 0.9` is 0.1. A parameter is a double, and stands in expressions for the shortest decimal that
reads as it; so a grammar means the same whether a parameter has its value by default or by being set to it.
"""

from __future__ import annotations

import difflib
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
"""Numbers, names and their signs in one expression, which bounds the size of the fractions on the way."""

_WHOLE_NUMBERS = 2**53
_MOST_SHOWN = 6
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
        values = [f"{name} = {number_text(value)}" for name, value in self.named.items()]
        if self.text in self.named:
            return values[0]
        shown = ", ".join(values[:_MOST_SHOWN]) + (", …" if len(values) > _MOST_SHOWN else "")
        return f"{quoted(' '.join(self.text.split()))} with {shown}"


class ParameterTable:
    """The parameters of a text while it is read: what is declared, what is given, what is used where."""

    def __init__(self, text: str, given: Mapping[str, object]) -> None:
        self.text = text
        self._given = given
        self._set: dict[str, float] = {}
        self._places: dict[str, Position] = {}
        self._values: dict[str, float] = {}
        self._defaults: dict[str, float] = {}
        self._uses: dict[str, list[Position]] = {}
        self._longer: dict[str, str] = {}  # beginnings of names to a name that begins so

    def announce(self, names: Sequence[Token]) -> None:
        """Take all names that the text declares, in its order, before any of them has its value.

        Raises SyntaxFaultError for a name declared twice and GrammarError for given values without a name.
        """
        for name in names:
            _refuse_name(name)
            self._refuse_clash(name)
            self._places[str(name)] = _position(name)
            self._uses[str(name)] = []
        for name, value in self._given.items():
            self._set[str(name)] = self._given_number(str(name), value)

    def _refuse_clash(self, name: Token) -> None:
        """Names and their beginnings differ: what a study calls `pair` cannot be a number and hold `silent`."""
        at, remedy = _position(name), "Give one of the two another name."
        if name in self._places:
            expected = f"one, which stands in line {self._places[str(name)].line}"
            raise SyntaxFaultError(at, f"a second parameter '{name}'", expected, remedy)
        beginnings = _beginnings(name)
        other = self._longer.get(str(name)) or next((one for one in beginnings if one in self._places), None)
        if other is not None:
            found = f"the parameter '{name}' beside '{other}'"
            raise SyntaxFaultError(at, found, "no name that begins another", remedy)
        self._longer.update(dict.fromkeys(beginnings, str(name)))

    def _given_number(self, name: str, value: object) -> float:
        if name not in self._places:
            raise GrammarError(_unknown_given(name, list(self._places)))
        number = _finite(value)
        if number is None:
            found = f"The parameter '{name}' is set to {_shown(value)}."
            raise GrammarError(f"{found} A parameter is a finite number. Set it to 0.5, for example.")
        return number

    def declare(self, name: Token, number: Number) -> None:
        """Give a parameter its value: the one that was set, or else the one in the text."""
        default = number.real()
        self._defaults[str(name)] = default
        self._values[str(name)] = self._set.get(str(name), default) + 0.0  # -0 is 0

    def use(self, name: Token) -> float:
        """Return the value of the parameter whose name stands here. Raises SyntaxFaultError without one."""
        at = _position(name)
        if name in self._values:
            self._uses[str(name)].append(at)
            return self._values[str(name)]
        if name in self._places:
            raise _used_too_early(name, self._places[str(name)])
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
        return self._made(meta, exact, [number], signs=1)

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

    def _made(self, meta: Meta, exact: Fraction, parts: Sequence[Number], signs: int = 0) -> Number:
        at = Position(meta.line, meta.column)
        terms = sum(part.terms for part in parts) + signs
        if terms > MAX_TERMS:
            found, most = f"an expression of more than {MAX_TERMS} numbers and signs", "a shorter one"
            raise SyntaxFaultError(at, found, most, "Name a part of it with 'parameter'.")
        named = {name: value for part in parts for name, value in part.named.items()}
        return Number(exact, at, self.table.text[meta.start_pos : meta.end_pos], named, terms)


def _beginnings(name: str) -> list[str]:
    """Return ["a", "a.b"] for "a.b.c"."""
    return [name[: match.start()] for match in re.finditer(r"\.", name)]


def _refuse_name(name: Token) -> None:
    if len(name) > MAX_NAME_LENGTH:
        found, most = f"a name of {len(name)} characters", f"at most {MAX_NAME_LENGTH}"
        raise SyntaxFaultError(_position(name), found, most, "Choose a shorter one.")
    if name.split(".", 1)[0] == "name":
        remedy = "In studies 'grammar.name' is the name of the grammar: choose another one."
        raise SyntaxFaultError(_position(name), quoted(name), "another name for a parameter", remedy)


def _used_too_early(name: Token, place: Position) -> SyntaxFaultError:
    at = _position(name)
    if (place.line, place.column) < (at.line, at.column):
        found, remedy = f"{quoted(name)} in its own declaration", "Write a number or another parameter."
    else:
        found = f"{quoted(name)}, which is declared in line {place.line}"
        remedy = "Move its declaration up, or this one down."
    return SyntaxFaultError(at, found, "a parameter that is declared above", remedy)


def _shown(value: object) -> str:
    try:
        return quoted(repr(value))
    except ValueError:  # Python does not print whole numbers of many thousand digits
        return "a huge number"


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond all doubles
        return None


def _position(token: Token) -> Position:
    return Position(token.line or 0, token.column or 0)


def _unknown_given(name: str, known: list[str]) -> str:
    found = f"The grammar has no parameter {quoted(name)}."
    if not known:
        return f"{found} It has none. Name a number in it: 'parameter size = 12'."
    rule = f"Its parameters are {', '.join(known[:12])}{', …' if len(known) > 12 else ''}."  # noqa: PLR2004
    close = difflib.get_close_matches(name, known, n=1)
    return f"{found} {rule} Did you mean '{close[0]}'?" if close else f"{found} {rule}"
