"""Numbers of the notation: expressions mean what arithmetic says, parameters what their values say."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lark.lexer import Token

from emergelab.errors import GrammarError
from emergelab.grammar.checks import check
from emergelab.grammar.notation import parse, render
from emergelab.grammar.notation_numbers import ParameterTable, read_settings
from emergelab.grammar.rendering import describe
from emergelab.grammar.syntax import Call, GrammarSyntax, Law, Parameter, Position, Repeat
from strategies import valid_grammars, written_grammars

# Types are checked on a random entry of each tuple, also while a strategy builds syntax.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

WORLD = "world { objects 12 family f 12 permutations }\n"
USE = WORLD + "rule Document = A* stop p"

PAIRS = """
parameter size = 4
parameter pair.silent = 0.6
world { objects size  family f size permutations }
rule Document  = Statement* stop 0.1
rule Statement = each x ~ objects, stop 0.2 { x Pair(x) ";" }
rule Pair(x)   = pair.silent: let a ~ f, b ~ f { b(a(x)) }
               | 1 - pair.silent: Shown(x)
rule Shown(x)  = let a ~ f, b ~ f { a(x) b(a(x)) }
"""


def value_of(expression: str, **parameters: float) -> float:
    """Return the number that an expression in brackets comes to."""
    declared = "".join(f"parameter {name} = {value!r}\n" for name, value in parameters.items())
    used = "".join(f" A* stop {name}" for name in parameters)
    grammar = parse(f"{declared}{WORLD}rule Document = A* stop ({expression}){used}", name="one")
    repeat = grammar.rules[0].productions[0].items[0]
    assert isinstance(repeat, Repeat)
    return repeat.law.numbers[0]


def message_of(text: str, parameters: Mapping[str, float] | None = None) -> str:
    """Return the message with which `text` is refused."""
    with pytest.raises(GrammarError) as caught:
        parse(text, name="wrong", parameters=parameters, source="wrong.cag")
    return str(caught.value)


# --- Expressions -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expression:
    """A text with its value by Python's fractions; `strength` says how tightly its last operation binds."""

    text: str
    value: Fraction
    strength: int = 3

    def where(self, strength: int) -> str:
        """Return the text with the brackets that it needs beside an operation of this strength."""
        return self.text if self.strength >= strength else f"( {self.text} )"


OPERATIONS: Mapping[str, tuple[int, Callable[[Fraction, Fraction], Fraction]]] = {
    "+": (1, operator.add),
    "-": (1, operator.sub),
    "*": (2, operator.mul),
    "/": (2, operator.truediv),
}


def joined(left: Expression, sign: str, right: Expression) -> Expression:
    """Return an operation, which groups to the left. What would be divided by 0 is added to instead."""
    sign = "+" if sign == "/" and right.value == 0 else sign
    strength, operation = OPERATIONS[sign]
    text = f"{left.where(strength)}{sign}{right.where(strength + 1)}"
    return Expression(text, operation(left.value, right.value), strength)


def negated(part: Expression) -> Expression:
    """Return the negative, which binds most tightly of all operations."""
    return Expression(f"-{part.where(3)}", -part.value)


decimals = st.from_regex(r"(0|[1-9][0-9]{0,4})(\.[0-9]{1,4})?(e-?[0-9])?", fullmatch=True)
leaves = decimals.map(lambda text: Expression(text, Fraction(text)))
expressions = st.recursive(
    leaves,
    lambda inner: st.builds(joined, inner, st.sampled_from("+-*/"), inner) | inner.map(negated),
    max_leaves=12,
)


@given(expressions)
def test_an_expression_is_computed_exactly_and_rounded_once(expression: Expression):
    assert value_of(expression.text) == float(expression.value) + 0.0


@given(expressions, st.floats(-1e6, 1e6))
def test_a_parameter_counts_as_the_decimal_that_reads_as_it(expression: Expression, value: float):
    named = joined(Expression("p", Fraction(repr(value + 0.0))), "*", expression)
    assert value_of(named.text, p=value) == float(named.value) + 0.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 - 0.9", 0.1),  # in doubles it would be 0.09999999999999998
        ("1/2/1/3", 1 / 6),  # and no half by a third
        ("1-.5", 0.5),
        ("2*-3", -6.0),
        ("- - + 4", 4.0),
        ("3*(1/3)", 1.0),
        ("1e308*10/10", 1e308),
        ("1e-999999999", 0.0),
    ],
)
def test_signs_fractions_and_exponents(text: str, value: float):
    assert value_of(text) == value


# --- Parameters in the place of numbers --------------------------------------------------------------------

NUMBER_OR_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|(?<![\w.+-])[+-]?[0-9][0-9.]*(?:e[+-]?[0-9]+)?(?!\w)')


def with_names(text: str) -> tuple[str, dict[str, float]]:
    """Replace all numbers of a canonical text by names; return that text and the values of the names."""
    values: dict[str, float] = {}

    def name(match: re.Match[str]) -> str:
        if match[0].startswith('"'):
            return match[0]
        values[f"at.n{len(values)}"] = float(match[0])
        return f"at.n{len(values) - 1}"

    return NUMBER_OR_TOKEN.sub(name, text), values


def declared(values: Mapping[str, float]) -> str:
    return "".join(f"parameter {name} = {value!r}\n" for name, value in values.items())


def probabilities(grammar: GrammarSyntax) -> list[float]:
    return [production.probability for rule in grammar.rules for production in rule.productions]


@given(valid_grammars() | written_grammars())
def test_a_parameter_may_stand_in_the_place_of_any_number(grammar: GrammarSyntax):
    assume(0 not in probabilities(grammar))
    text, values = with_names(render(grammar))
    named = parse(declared(values) + text, name="drawn")
    assert named == grammar
    assert render(named) == render(grammar)
    assert {one.name: one.value for one in named.parameters} == values


@given(valid_grammars())
def test_a_value_that_is_set_counts_wherever_the_name_stands(grammar: GrammarSyntax):
    text, values = with_names(render(grammar))
    expressions = re.sub(r"at\.n[0-9]+", r"(2 * \g<0> / 2)", text)
    others = declared(dict.fromkeys(values, 5.0))
    assert parse(others + expressions, name="drawn", parameters=values) == grammar


def test_a_parameter_says_its_value_its_default_and_where_it_is_used():
    grammar = parse(PAIRS, name="pairs", parameters={"size": 5})
    size, silent = grammar.parameters
    assert size == Parameter("size", 5.0, default=4.0)
    assert (size.replaced, silent.replaced) == (4.0, None)
    assert size.at == Position(2, 11)
    assert size.uses == (Position(4, 17), Position(4, 32))


def test_what_is_computed_from_a_parameter_follows_it():
    text = f"parameter a = 0.25 parameter p = 2 * a\n{USE}"
    (half,) = parse(text, name="follows").rules
    (whole,) = parse(text, name="follows", parameters={"a": 0.5}).rules
    (other,) = parse(text, name="follows", parameters={"a": 0.5, "p": 0.125}).rules
    laws = [rule.productions[0].items for rule in (half, whole, other)]
    assert [item.law for (item,) in laws if isinstance(item, Repeat)] == [
        Law("stop", (0.5,)),
        Law("stop", (1.0,)),
        Law("stop", (0.125,)),
    ]


def test_values_that_are_set_to_the_defaults_change_nothing():
    text = f"parameter third = 1/3 parameter p = 3 * third\n{USE}"
    grammar = parse(text, name="same")
    again = parse(text, name="same", parameters={one.name: one.value for one in grammar.parameters})
    assert again == grammar
    assert again.parameters == grammar.parameters


def test_parameters_may_stand_behind_what_uses_them():
    assert parse(USE + " parameter p = 0.5", name="one") == parse("parameter p = 0.5 " + USE, name="one")


@pytest.mark.parametrize(("silent", "kept"), [(0, ["Shown"]), (1, ["let"]), (0.5, ["let", "Shown"])])
def test_a_probability_may_go_down_to_0(silent: float, kept: list[str]):
    grammar = parse(PAIRS, name="pairs", parameters={"pair.silent": silent})
    assert check(grammar) == []
    pair = grammar.rules[2]
    assert ["Shown" if isinstance(one.items[0], Call) else "let" for one in pair.productions] == kept
    assert len(pair.productions) + len(pair.left_out) == 2


def test_a_probability_of_0_that_is_written_is_a_mistake():
    grammar = parse(PAIRS.replace("1 - pair.silent", "(1 - 1)"), name="pairs", parameters={"pair.silent": 1})
    assert "The probability of a production is 0." in check(grammar)[0].message


# --- Mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("parameter stop = 0.1", "1:11", "'stop' is a word of the notation"),
        ("parameter A = 0.1", "1:11", "expected the name of a parameter"),
        ("parameter a.B = 0.1", "1:12", "between the small names of a parameter: pair.silent"),
        ("parameter a 0.1", "1:13", "expected '='"),
        (f"parameter a =\n{WORLD}", "2:1", "found 'world', expected a number. Write a number, the name"),
        (f"parameter {'a' * 65} = 1 {WORLD}", "1:11", "a name of 65 characters, expected at most 64"),
        (f"parameter a = {'1' * 41} {WORLD}", "1:15", "a number of 41 characters, expected at most 40"),
        (f"parameter name.x = 1 {WORLD}", "1:11", "'grammar.name' is the name of the grammar"),
        (f"parameter a = 1\nparameter a = 2 {WORLD}", "2:11", "one, which stands in line 1"),
        (f"parameter a = 1\nparameter a.b.c = 2 {WORLD}", "2:11", "'a.b.c' beside 'a', expected no name that begins"),
        (f"parameter a.b.c = 1\nparameter a.b = 2 {WORLD}", "2:11", "'a.b' beside 'a.b.c', expected no name"),
        (f"parameter p = (p + 1) {USE}", "1:16", "found 'p' in its own declaration"),
        (f"parameter p = b\nparameter b = p {USE}", "1:15", "'b', which is declared in line 2"),
        (f"parameter depth = 1 {WORLD}", "1:11", "the parameter 'depth', which nothing uses"),
        (f"parameter q.first = 1 {USE}", "2:25", "expected a number or the name of a parameter"),
        (f"parameter q = 1 {WORLD}rule D = A* stop qq", "2:18", "Did you mean 'q'?"),
        (USE, "2:25", "Declare it: 'parameter p = 0.5'."),
        (f"parameter p = 1/0 {USE}", "1:15", "Divide by another number than 0"),
        (f"parameter p = 0 {USE} A* stop (1 / (2 * p))", "2:36", "found '1 / (2 * p)' with p = 0, expected a fraction"),
        (f"parameter p = 1e300 {USE} A* stop (p * p)", "2:35", "found '(p * p)' with p = 1e+300, expected a number"),
        (f"parameter p = 1e999 {USE}", "1:15", "expected a number below 1.8e308"),
        (f"parameter p = {'1+' * 100}1 {USE}", "1:15", "more than 100 numbers and signs"),
        (f"parameter p = {'-' * 100}1 {USE}", "1:15", "more than 100 numbers and signs"),
        (f"parameter p = {'(' * 41}1{')' * 41} {USE}", "1:55", "41 open brackets"),
        (f"parameter p = 2 ** 3 {USE}", "1:18", "found '*', expected a number"),
        (f"parameter p = 2 ^ 3 {USE}", "1:17", "found '^'"),
        (f"parameter p = () {USE}", "1:16", "found ')', expected a number"),
        (f"parameter p = (1 2) {USE}", "1:18", "found '2', expected"),
        (WORLD + "rule D = A* stop 1 - p", "2:20", "An expression stands in round brackets: (1 - p)."),
        (WORLD + "rule D = A* stop 2 * p", "2:20", "An expression stands in round brackets: (1 - p)."),
        (WORLD + "rule D = A* stop -p", "2:19", "An expression stands in round brackets: (1 - p)."),
        (WORLD + "rule D = A* stop p.P", "2:19", "found '.'"),
        (WORLD + "rule D = let a.b ~ f { }", "2:14", "Only the names of parameters have dots in them"),
        (WORLD + "rule D = let a ~ f { a(x, y) }", "2:25", "A function is applied to one object"),
        (WORLD + "rule D = if q(x, y) { }", "2:16", "a predicate is asked of one"),
        (WORLD + 'rule D = let a ~ f { a("x") }', "2:24", "A name stands without quotes"),
        (WORLD + "rule D = a.b", "2:13", "expected ':'. A production begins with its probability"),
        (WORLD + "rule D = (1 - p) x", "2:18", "expected ':'. A production begins with its probability"),
        ("parameter n = 12\nworld { objects (n / 5) }", "2:17", "found '(n / 5)' with n = 12, expected a whole number"),
        ("parameter n = 12.5\nworld { objects n }", "2:17", "found n = 12.5, expected a whole number"),
        ("parameter n = 12.5\nworld { objects (n - \n 0) }", "2:17", "found '(n - 0)' with n = 12.5, expected"),
        ("parameter n = 1e16\nworld { objects n }", "2:17", "found n = 1e+16, expected a whole number"),
    ],
)  # fmt: skip
def test_a_fault_names_its_place_and_a_remedy(text: str, place: str, words: str):
    first, *lines = message_of(text).split("\n")
    assert first.startswith(f"wrong.cag:{place}: found ")
    assert words in first
    assert len(lines) == 2
    assert lines[1].rstrip().endswith("^")


UNKNOWN = "The grammar has no parameter"
KNOWN = "Its parameters are size, pair.silent."


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"pair.silnt": 0.5}, f"{UNKNOWN} 'pair.silnt'. {KNOWN} Did you mean 'pair.silent'?"),
        ({"zzz": 0.5}, f"{UNKNOWN} 'zzz'. {KNOWN}"),
        (
            {"size": float("inf")},
            "The parameter 'size' is set to 'inf'. A parameter is a finite number. Set it to 0.5, for example.",
        ),
    ],
)
def test_values_for_what_is_no_parameter(parameters: dict[str, float], message: str):
    assert message_of(PAIRS, parameters) == message


@pytest.mark.parametrize("value", [float("nan"), True, "1", None, 10**400, 10**5000], ids=range(6))
def test_a_parameter_is_a_finite_number(value: object):
    table = ParameterTable("parameter size = 4", {"size": value})
    with pytest.raises(GrammarError, match="A parameter is a finite number"):
        table.announce([Token("NAME", "size")])


def test_a_grammar_without_parameters_says_so():
    assert "It has none." in message_of(WORLD, {"size": 3})


def test_a_value_that_does_not_fit_names_itself_and_the_place():
    assert message_of(PAIRS, {"size": 4.5}).startswith("wrong.cag:4:17: found size = 4.5, expected a whole")


# --- Settings and shows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("pair.silent=0.3", {"pair.silent": 0.3}),
        (" size = 12 ", {"size": 12.0}),
        ("p=1/3", {"p": 1 / 3}),
        ("p=-1e-3", {"p": -0.001}),
        ("p=1e-99999999", {"p": 0.0}),
    ],
)
def test_settings(text: str, setting: dict[str, float]):
    assert read_settings(["p=7", text]) == {"p": 7.0} | setting


@pytest.mark.parametrize(
    "text",
    ["", "p", "=1", "p=", "p=x", "p=1/0", "p=nan", "p=inf", "p=1e999", "p=1_0", "p=\u0661", "p=1=2", "p=1/2/3",
     f"p={'1' * 99}", "p=1e300/1e-300"],
)  # fmt: skip
def test_settings_that_are_none(text: str):
    with pytest.raises(GrammarError, match="A parameter is set like this: NAME=NUMBER"):
        read_settings([text])


def test_a_grammar_shows_its_parameters():
    grammar = parse(PAIRS, name="pairs", parameters={"size": 5})
    assert describe(grammar)["parameters"] == [
        {"name": "size", "value": 5.0, "default": 4.0},
        {"name": "pair.silent", "value": 0.6, "default": 0.6},
    ]


# --- Nothing breaks it -----------------------------------------------------------------------------------------

PIECES = [
    *PAIRS.split(),
    *"()+-*/.=:|{}",
    "1/0",
    "1e999",
    "1e-999",
    "0",
    "pair",
    "p.q",
    "stop.p",
    "parameter q = ",
    "\n",
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map(" ".join)
values = st.dictionaries(
    st.sampled_from(["size", "pair.silent", "q"]) | st.text(max_size=5),
    st.floats() | st.integers() | st.booleans(),
    max_size=3,
)


@given(texts, values)
def test_any_text_with_any_values_is_a_grammar_or_a_fault(text: str, given_values: dict[str, float]):
    try:
        check(parse(PAIRS + text, name="any", parameters=given_values))
    except GrammarError as error:
        assert str(error)  # noqa: PT017 - either outcome is right


@given(st.floats() | st.integers(), st.floats() | st.integers())
def test_any_value_makes_a_grammar_or_a_message(size: float, silent: float):
    """Where both values are in order there is nothing to say, and otherwise they are named."""
    most = 7_071  # tables of size by size have at most 50 million entries
    is_right = 2 <= size <= most and float(size).is_integer() and 0 <= silent <= 1
    try:
        problems = check(parse(PAIRS, name="any", parameters={"size": size, "pair.silent": silent}))
    except GrammarError as error:
        assert not is_right
        assert "size" in str(error) or "pair.silent" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert is_right == (problems == [])
        assert all("In force: " in problem.message for problem in problems)
