"""What is said where a text is not of the notation: what was found, what was expected and a remedy."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

import lark
from lark.lexer import Token

from emergelab.grammar.syntax import Position

MAX_NAME_LENGTH = 64
_EXCERPT_WIDTH = 100
_EXCERPT_BEFORE = 66
_QUOTED_LENGTH = 40
_REFERENCE = "See docs/grammar.md."
_LAWS = "stop 0.1, power 1.5, all or uniform 2 20"
_ITEM = "an item (a token in double quotes, a term, a rule, 'let', 'some', 'each', 'if')"
_KINDS = {
    "NAME": "a name with a small first letter",
    "RULE_NAME": "the name of a rule (with a capital)",
    "NUMBER": "a number",
    "STRING": "a token in double quotes",
    "$END": "the end of the file",
}
_ITEMS = frozenset({"NAME", "RULE_NAME", "STRING", "LET", "SOME", "EACH", "IF"})
_SECTIONS = frozenset({"PARAMETER", "WORLD", "HOLD", "RULE", "TASK"})
_OPERATORS = frozenset({"PLUS", "MINUS", "STAR", "SLASH"})
_PARAMETER_NAMES = frozenset({"NAME", "DOTTED_NAME"})
_NUMBER_STARTS = frozenset({"NUMBER", "DOTTED_NAME", "LPAR", "PLUS", "MINUS"})
_LOOP_LAWS = frozenset({"STOP", "POWER", "ALL", "UNIFORM"})
_BRACKETS = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*|[{}()]')


class SyntaxFaultError(Exception):
    """Text that is not of the notation; becomes a GrammarError where source and text are known."""

    def __init__(self, at: Position, found: str, expected: str, remedy: str = _REFERENCE) -> None:
        super().__init__(found)
        self.at, self.found, self.expected, self.remedy = at, found, expected, remedy

    def message(self, source: str, text: str) -> str:
        """Return the whole message: place, finding, expectation, remedy, and the line with a caret."""
        head = f"{source}:{self.at.line}:{self.at.column}: found {self.found}, expected {self.expected}."
        return f"{head} {self.remedy}\n{excerpt(text, self.at)}"


def excerpt(text: str, at: Position) -> str:
    """Return the line of `text` at a position with a caret beneath the column, aligned on a terminal."""
    lines = text.split("\n")
    if not 1 <= at.line <= len(lines):
        return ""
    start = max(0, at.column - 1 - _EXCERPT_BEFORE)
    line = lines[at.line - 1].rstrip("\r")[start : start + _EXCERPT_WIDTH]
    gutter = f"{at.line:>5} | "
    padding = "".join("\t" if char == "\t" else " " * _cells(char) for char in line[: at.column - 1 - start])
    return f"{gutter}{_printable(line)}\n{' ' * (len(gutter) - 2)}| {padding}^"


def quoted(text: str) -> str:
    """Return `text` in single quotes, cut where it is long, without characters that steer a terminal."""
    return f"'{_printable(text[:_QUOTED_LENGTH])}{'…' if len(text) > _QUOTED_LENGTH else ''}'"


def position_of(text: str, offset: int) -> Position:
    """Return the position of the character at `offset`."""
    line = text.count("\n", 0, offset) + 1
    return Position(line, offset - text.rfind("\n", 0, offset))


def bracket_depths(text: str) -> Iterator[tuple[int, int]]:
    """Yield, at every bracket outside of strings and comments, how many are open and its offset."""
    depth = 0
    for match in _BRACKETS.finditer(text):
        depth += (match.group() in {"{", "("}) - (match.group() in {"}", ")"})
        yield depth, match.start()


def unexpected_token(text: str, error: lark.UnexpectedToken, words: Mapping[str, str]) -> SyntaxFaultError:
    """Return the fault of a token out of place; `words` are the notation's, by their terminals' names."""
    token = error.token
    accepted = _without_operators(frozenset(error.accepts or error.expected))
    at_end = token.type == "$END"
    at = position_of(text, len(text.rstrip())) if at_end else Position(token.line or 0, token.column or 0)
    found = _KINDS["$END"] if at_end else quoted(token)
    remedy = _remedy(token, accepted, words) or _brace_remedy(text[: _offset(text, at)], token) or _REFERENCE
    return SyntaxFaultError(at, found, _expectation(accepted, words), remedy)


def unexpected_character(text: str, at: Position) -> SyntaxFaultError:
    """Return the fault of a character with which no word of the notation begins."""
    char = text[_offset(text, at)]
    if char == '"':
        remedy = "Close the token with a double quote on the same line."
    elif char == "'":
        remedy = 'Tokens stand in double quotes: ";".'
    elif char.isalpha() or char == "_":
        remedy = "Names begin with a letter from a to z and go on with these letters, digits and _."
    elif char == ".":
        remedy = "Dots stand inside numbers and between the small names of a parameter: pair.silent."
    else:
        remedy = _REFERENCE
    return SyntaxFaultError(at, quoted(char), "a word, a number or a sign of the notation", remedy)


def _cells(char: str) -> int:
    """Return how many columns of a terminal a character takes."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _printable(text: str) -> str:
    return "".join(
        char if char == "\t" or char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def _offset(text: str, at: Position) -> int:
    start = 0
    for _ in range(at.line - 1):
        start = text.index("\n", start) + 1
    return start + at.column - 1


def _without_operators(accepted: frozenset[str]) -> frozenset[str]:
    """Leave out the signs with which a number might go on, but where little else is accepted."""
    rest = accepted - _OPERATORS
    if accepted >= _NUMBER_STARTS:
        return rest | {"PLUS", "MINUS"}
    return accepted if rest == frozenset({"RPAR"}) else rest


def _expectation(accepted: AbstractSet[str], words: Mapping[str, str]) -> str:
    if accepted == _PARAMETER_NAMES:
        return "the name of a parameter"
    names: list[str] = []
    if accepted >= _NUMBER_STARTS:
        names.append("a number")
        accepted -= _NUMBER_STARTS if accepted >= _ITEMS else _NUMBER_STARTS | {"NAME"}
    with_items = accepted >= _ITEMS
    terminals = sorted(accepted - _ITEMS if with_items else accepted)
    names += [_KINDS.get(terminal) or f"'{words[terminal]}'" for terminal in terminals]
    names += [_ITEM] if with_items else []
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _remedy(token: Token, accepted: AbstractSet[str], words: Mapping[str, str]) -> str | None:
    return (
        _number_remedy(token, accepted)
        or _name_remedy(token, accepted, words)
        or _law_remedy(token, accepted)
        or _loop_remedy(token, accepted)
        or _item_remedy(token, accepted)
        or _spelling_remedy(token, accepted, words)
    )


def _number_remedy(token: Token, accepted: AbstractSet[str]) -> str | None:
    if token.type == "DOTTED_NAME" and "NAME" in accepted:
        return "Only the names of parameters have dots in them, and they stand in the places of numbers."
    if accepted == _NUMBER_STARTS | {"NAME"} and token.type != "RULE_NAME":
        return "Write a number, the name of a parameter, or an expression in round brackets: (1 - p)."
    is_sign = token.type in _OPERATORS and accepted != {"NAME"}
    if is_sign or (accepted == {"NUMBER"} and token.type != "$END"):
        return "An expression stands in round brackets: (1 - p)."
    return None


def _name_remedy(token: Token, accepted: AbstractSet[str], words: Mapping[str, str]) -> str | None:
    wanted = accepted & {"NAME", "RULE_NAME"}
    is_section = token.type in _SECTIONS and accepted >= _ITEMS
    if token.type in words and token.isalpha() and wanted and not is_section:
        return f"'{token}' is a word of the notation: choose another name."
    if token.type == "RULE_NAME" and wanted == {"NAME"}:
        return "Only the names of rules begin with a capital letter."
    if token.type == "NAME" and wanted == {"RULE_NAME"}:
        return (
            f"The names of rules begin with a capital letter: '{token[0].upper()}{token[1:_QUOTED_LENGTH]}'."
        )
    return None


def _law_remedy(token: Token, accepted: AbstractSet[str]) -> str | None:
    if accepted == _LOOP_LAWS:
        return f"A law says how often: {_LAWS}."
    if token.type == "LBRACE" and "COMMA" in accepted:
        return f"Say behind a comma how often the loop runs: {_LAWS}."
    return None


def _loop_remedy(token: Token, accepted: AbstractSet[str]) -> str | None:
    if accepted - {"POWER"} != {"LBRACE"}:
        return None
    if token.type == "COMMA" and "POWER" in accepted:
        return "'some' draws one object and takes no law; 'each' is the loop."
    if token.type == "COMMA":
        return (
            "What is before the comma says how objects are drawn: each x ~ objects power 1.2, stop 0.1 { … }."
        )
    return "The loop of a task is written 'each x { … }'." if token.type == "TILDE" else None


def _item_remedy(token: Token, accepted: AbstractSet[str]) -> str | None:
    if accepted == {"COLON"}:
        return "A production begins with its probability and a colon: 0.5:."
    if token.type == "RPAR" and accepted == {"NAME"}:
        return "Brackets hold at least one name; a rule without attributes has no brackets."
    if token.type == "COMMA" and accepted == {"RPAR"}:
        return "A function is applied to one object, and a predicate is asked of one: b(a(x))."
    if token.type == "STRING" and accepted == {"NAME"}:
        return "A name stands without quotes; in quotes stands what is printed as it is."
    if token.type == "NUMBER" and accepted >= _ITEMS:
        return 'A token to be printed stands in double quotes: "7".'
    return None


def _spelling_remedy(token: Token, accepted: AbstractSet[str], words: Mapping[str, str]) -> str | None:
    known = [words[name] for name in accepted if name in words and words[name].isalpha()]
    close = difflib.get_close_matches(token[:_QUOTED_LENGTH].lower(), known, n=1)
    return f"Did you mean '{close[0]}'?" if close else None


def _brace_remedy(before: str, token: Token) -> str | None:
    """Name the innermost brace that is open where a new section or the end of the file comes."""
    if token.type != "$END" and token.type not in _SECTIONS:
        return None
    places: list[int] = []
    for match in _BRACKETS.finditer(before):
        if match.group() == "{":
            places.append(match.start())
        elif match.group() == "}" and places:
            places.pop()
    if not places:
        return None
    at = position_of(before, places[-1])
    return f"The '{{' at {at.line}:{at.column} is not closed."
