"""The notation: what is written is what is read, wherever it stands, and nothing breaks the parser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import emergelab
from emergelab.errors import GrammarError
from emergelab.grammar.notation import parse, render, render_item, render_law, render_term
from emergelab.grammar.notation_faults import excerpt
from emergelab.grammar.syntax import (
    Call,
    Draw,
    Each,
    Family,
    GrammarSyntax,
    HoldOut,
    If,
    Item,
    Law,
    Let,
    Position,
    Print,
    Production,
    Repeat,
    Rule,
    Some,
    TaskSyntax,
    Term,
    Terminal,
    World,
    walk,
)
from strategies import valid_grammars, written_grammars

# Types are checked on a random entry of each tuple, also while a strategy builds syntax.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

WORLD = "world { objects 12 family f 12 permutations }\n"

EVERYTHING = """
# A comment, with "quotes" and a { in it.
world {
  objects 12
  family f 12 permutations
  family g 1 map per document
  family h 6 maps power 1
  predicate p 3 density 0.5
}
hold out 0.25 of f * f
hold out 1/8 of f * h

rule Document  = Statement* stop 0.1
rule Statement = .9: each x ~ objects, stop 0.08 { x Value(x) ";" }
               | 1e-1: some y ~ objects power 2 { y Value(y) "\\"#" }
rule Value(x)  = let a ~ f, q ~ p { if q(a(x)) { a(x) } else { "no" } }

task pair = let a ~ f, b ~ f
            each x { x b(a(x)) ";" }
            steps  { x a(x) b(a(x)) ";" }
            splits seen, held out
"""

X = Term("x")
AX = Term("x", ("a",))
BAX = Term("x", ("a", "b"))

EVERYTHING_MEANS = GrammarSyntax(
    name="everything",
    world=World(
        objects=12,
        families=(
            Family(name="f", count=12, kind="permutation"),
            Family(name="g", count=1, kind="map", scope="document"),
            Family(name="h", count=6, kind="map", power=1.0),
            Family(name="p", count=3, kind="predicate", density=0.5),
        ),
    ),
    hold_outs=(HoldOut(share=0.25, families=("f", "f")), HoldOut(share=0.125, families=("f", "h"))),
    rules=(
        Rule(
            name="Document",
            productions=(
                Production(probability=1.0, items=(Repeat(Call("Statement"), Law("stop", (0.1,))),)),
            ),
        ),
        Rule(
            name="Statement",
            productions=(
                Production(
                    probability=0.9,
                    items=(Each("x", Law("stop", (0.08,)), (Print(X), Call("Value", (X,)), Terminal(";"))),),
                ),
                Production(
                    probability=0.1,
                    items=(
                        Some(
                            "y",
                            (Print(Term("y")), Call("Value", (Term("y"),)), Terminal('"#')),
                            Law("power", (2.0,)),
                        ),
                    ),
                ),
            ),
        ),
        Rule(
            name="Value",
            parameters=("x",),
            productions=(
                Production(
                    probability=1.0,
                    items=(
                        Let(
                            (Draw("a", "f"), Draw("q", "p")),
                            (If("q", AX, (Print(AX),), (Terminal("no"),)),),
                        ),
                    ),
                ),
            ),
        ),
    ),
    tasks=(
        TaskSyntax(
            name="pair",
            draws=(Draw("a", "f"), Draw("b", "f")),
            variable="x",
            direct=(Print(X), Print(BAX), Terminal(";")),
            steps=(Print(X), Print(AX), Print(BAX), Terminal(";")),
            splits=("seen", "held_out"),
        ),
    ),
)


def item_of(text: str) -> Item:
    """Return the one item that `text` is."""
    (item,) = parse(f"{WORLD}rule Document = {text}", name="one").rules[0].productions[0].items
    return item


def message_of(text: str) -> str:
    """Return the message with which `text` is refused."""
    with pytest.raises(GrammarError) as caught:
        parse(text, name="wrong", source="wrong.cag")
    return str(caught.value)


def test_every_construct_is_read_as_it_is_meant():
    assert parse(EVERYTHING, name="everything") == EVERYTHING_MEANS


@pytest.mark.parametrize("path", sorted((Path(emergelab.__path__[0]) / "grammars").glob("*.cag")), ids=str)
def test_the_canonical_text_of_a_shipped_grammar_says_the_same(path: Path):
    grammar = parse(path.read_text(encoding="utf-8"), name=path.stem)
    assert parse(render(grammar), name=path.stem) == grammar


@pytest.mark.parametrize(
    ("text", "law", "weights", "distinct"),
    [
        ("objects, stop 0.1", Law("stop", (0.1,)), Law("uniform"), False),
        ("objects, power 1.2", Law("power", (1.2,)), Law("uniform"), False),
        ("objects power 1.2, all", Law("all"), Law("power", (1.2,)), False),
        ("objects distinct, power 1.2", Law("power", (1.2,)), Law("uniform"), True),
        ("objects distinct power 2, stop .08", Law("stop", (0.08,)), Law("power", (2.0,)), True),
        ("objects power 2 distinct, stop .08", Law("stop", (0.08,)), Law("power", (2.0,)), True),
        ("objects, uniform 2 20", Law("uniform", (2.0, 20.0)), Law("uniform"), False),
    ],
)
def test_the_comma_parts_how_objects_are_drawn_from_how_often(
    text: str, law: Law, weights: Law, *, distinct: bool
):
    assert item_of(f"each x ~ {text} {{ x }}") == Each(
        "x", law, (Print(X),), distinct=distinct, weights=weights
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12.0), (".5", 0.5), ("5.", 5.0), ("1e-3", 0.001), ("1/3", 1 / 3), ("+.5", 0.5), ("-0", 0.0)],
)
def test_numbers(text: str, value: float):
    assert item_of(f"A* stop {text}") == Repeat(Call("A"), Law("stop", (value,)))


@pytest.mark.parametrize(
    ("text", "value"),
    [('";"', ";"), (r'"\""', '"'), (r'"\\"', "\\"), (r'"é"', "é"), ('"日本"', "日本"), ('"#"', "#")],
)
def test_tokens_are_strings_of_json(text: str, value: str):
    assert item_of(text) == Terminal(value)


def test_windows_line_ends_and_a_byte_order_mark_change_nothing():
    assert parse("\ufeff" + EVERYTHING.replace("\n", "\r\n"), name="everything") == EVERYTHING_MEANS


@given(written_grammars())
def test_what_is_written_is_read_back(grammar: GrammarSyntax):
    assert parse(render(grammar), name="drawn") == grammar


@given(valid_grammars())
def test_the_canonical_text_is_its_own_canonical_text(grammar: GrammarSyntax):
    text = render(grammar)
    assert render(parse(text, name="drawn")) == text


def placed(grammar: GrammarSyntax) -> Iterator[tuple[Position, str]]:
    """Yield positions and the text that stands there."""
    yield grammar.world.at, "world {"
    for named in (*grammar.world.families, *grammar.rules, *grammar.tasks):
        yield named.at, named.name
    yield from ((hold_out.at, "hold out ") for hold_out in grammar.hold_outs)
    for rule in grammar.rules:
        for production in rule.productions:
            for item in walk(production.items):
                yield from placed_item(item)


def placed_item(item: Item) -> Iterator[tuple[Position, str]]:
    """Yield the positions of an item and of what is inside, with the text that stands there."""
    yield item.at, render_item(item)
    match item:
        case Print() | If():
            yield item.term.at, render_term(item.term)
        case Call():
            yield from ((term.at, render_term(term)) for term in item.arguments)
        case Repeat() | Each():
            yield item.law.at, render_law(item.law)
        case Let():
            yield from ((draw.at, f"{draw.name} ~ {draw.family}") for draw in item.draws)
        case _:
            pass


@given(written_grammars())
def test_positions_say_where_things_stand(grammar: GrammarSyntax):
    text = render(grammar)
    lines = text.split("\n")
    for at, there in placed(parse(text, name="drawn")):
        assert lines[at.line - 1][at.column - 1 :].startswith(there)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1", "without a world"),
        ("wrld { }", "1:1", "Did you mean 'world'?"),
        (WORLD + WORLD, "2:1", "a second world"),
        ("world { family f 2 maps }", "1:1", "without objects"),
        ("world { objects 3 objects 4 }", "1:19", "a second 'objects'"),
        ("world { objects 1.5 }", "1:17", "expected a whole number"),
        ("world { objects 3 famly f 2 maps }", "1:19", "Did you mean 'family'?"),
        ("world { objects 3 family f 2 maps power 1 power 2 }", "1:43", "a second 'power'"),
        (WORLD + "rule value = x", "2:6", "begin with a capital letter: 'Value'"),
        (WORLD + "rule D(X) = x", "2:8", "Only the names of rules begin with a capital"),
        (WORLD + "rule D() = x", "2:8", "without attributes has no brackets"),
        (WORLD + 'rule D = "a" | "b"', "2:10", "a production without its probability"),
        (WORLD + 'rule D = 0.5 "a"', "2:14", "a colon"),
        (WORLD + "rule D = 7", "2:11", "expected ':'"),
        (WORLD + "rule D = x 7", "2:12", "stands in double quotes"),
        (WORLD + "rule D = ';'", "2:10", "stand in double quotes"),
        (WORLD + 'rule D = ";\n', "2:10", "Close the token"),
        (WORLD + r'rule D = "\x"', "2:10", "escapes are those of JSON"),
        (WORLD + r'rule D = "\ud800"', "2:10", "escapes are those of JSON"),
        (WORLD + "rule D = é", "2:10", "letter from a to z"),
        (WORLD + "rule D = stop", "2:10", "'stop' is a word of the notation"),
        (WORLD + "rule D = E*", "2:12", "A law says how often: stop 0.1"),
        (WORLD + "rule D = each x ~ objects { x }", "2:27", "Say behind a comma how often"),
        (WORLD + "rule D = each x ~ objects, stop .1, power 2 { x }", "2:35", "What is before the comma"),
        (WORLD + "rule D = some x ~ objects, stop .1 { x }", "2:26", "'some' draws one object"),
        (WORLD + "rule D = each x ~ objects distinct distinct, all {}", "2:36", "a second 'distinct'"),
        (WORLD + "task t = each x ~ objects { x }", "2:17", "'each x { … }'"),
        (WORLD + "rule D = let a ~ f { a(x)\nrule E = x", "3:1", "The '{' at 2:20 is not closed."),
        (WORLD + "rule D = let a ~ f { a(x)  \n\n", "2:26", "The '{' at 2:20 is not closed."),
        (WORLD + "rule D = x }", "2:12", "expected"),
        (WORLD + "hold out 1/0 of f * f", "2:10", "another number than 0"),
        (WORLD + "hold out 1e999 of f * f", "2:10", "below 1.8e308"),
        (WORLD + f"hold out {'9' * 9999} of f * f", "2:10", "9999 characters"),
        (WORLD + f"rule D = {'x' * 9999}", "2:10", "9999 characters"),
        (WORLD + "rule D = " + "let a ~ f { " * 41, "2:500", "41 open brackets"),
        (WORLD + "rule D = " + "f(" * 90_000, "2:91", "41 open brackets"),
        ("x" * 300_000, "1:1", "300,000 characters"),
    ],
)
def test_a_fault_names_its_place_and_a_remedy(text: str, place: str, words: str):
    first, *lines = message_of(text).split("\n")
    assert first.startswith(f"wrong.cag:{place}: found ")
    assert words in first
    assert len(lines) == 2
    assert lines[1].rstrip().endswith("^")


def test_the_message_points_at_the_fault():
    remedy = "Write a number, the name of a parameter, or an expression in round brackets: (1 - p)."
    assert message_of(WORLD + "\trule Document = Statement* stop\n").split("\n") == [
        f"wrong.cag:2:33: found the end of the file, expected a number. {remedy}",
        "    2 | \trule Document = Statement* stop",
        "      | \t                               ^",
    ]


@pytest.mark.parametrize(
    ("line", "column", "before_caret"),
    [
        ("abc", 3, 2),  # one column for each letter
        ("日本c", 3, 4),  # two for a wide one
        ("e\u0301c", 3, 1),  # none for an accent that stands on the letter before it
    ],
)
def test_the_caret_stands_beneath_what_is_wrong(line: str, column: int, before_caret: int):
    shown, caret = excerpt(line, Position(1, column)).split("\n")
    assert shown == f"    1 | {line}"
    assert caret == f"      | {' ' * before_caret}^"


def test_a_long_line_is_cut_around_the_caret():
    shown, caret = excerpt("-" * 500 + "!" + "-" * 500, Position(1, 501)).split("\n")
    assert len(shown) < 120
    assert shown[caret.index("^")] == "!"


def test_a_message_holds_nothing_that_steers_a_terminal():
    assert "\x1b" not in message_of(WORLD + "rule D = \x1b[31m x")
    assert "\x1b" not in message_of(WORLD + 'task t = "\x1b[31m"')


@pytest.mark.parametrize(
    "word",
    [
        *("world", "objects", "family", "permutation", "permutations", "map", "maps", "predicate", "density"),
        *(
            "power",
            "per",
            "document",
            "parameter",
            "hold",
            "out",
            "of",
            "held",
            "rule",
            "task",
            "let",
            "some",
            "each",
            "if",
        ),
        *("else", "stop", "all", "uniform", "distinct", "steps", "splits", "seen"),
    ],
)
def test_a_word_of_the_notation_is_no_name(word: str):
    assert "is a word of the notation" in message_of(f"{WORLD}rule D = let {word} ~ f {{ }}")


def test_a_name_may_begin_like_a_word_of_the_notation():
    assert item_of("outer(stopped)") == Print(Term("stopped", ("outer",)))


NAMED = EVERYTHING.replace("world {\n  objects 12", "parameter size = 12\nworld { objects size") + (
    "parameter p.a = 1 / (size + 2) parameter p.b = -p.a * 3e-1\n"
    "rule A = p.a: B* stop (p.a - p.b) | (1 - p.a): each x ~ objects power p.b, uniform 1 size { x }"
)
PIECES = st.sampled_from(
    [*EVERYTHING.split(), *NAMED.split(), *'{}()|=~,:*+-/.#"\\\n\t 0', "0.5:", "1e400", "é", "\x00", "\u2028"]
)


@given(st.text() | st.lists(PIECES, max_size=40).map(" ".join))
def test_any_text_is_a_grammar_or_a_fault(text: str):
    try:
        parse(WORLD + text, name="any")
    except GrammarError as error:
        assert str(error).startswith("<grammar>:")  # noqa: PT017 - either outcome is right


@given(written_grammars().map(render) | st.sampled_from([EVERYTHING, NAMED]), st.data())
def test_a_broken_grammar_is_a_grammar_or_a_fault(text: str, data: st.DataObject):
    places = st.integers(0, len(text))
    start, stop = sorted((data.draw(places), data.draw(places)))
    other = data.draw(st.one_of(st.just(""), PIECES, st.text(max_size=5), st.just(text[start:stop] * 2)))
    broken = text[:start] + other + text[stop:]
    assume(broken != text)
    try:
        assert parse(render(parse(broken, name="broken")), name="broken") == parse(broken, name="broken")
    except GrammarError as error:
        assert str(error).startswith("<grammar>:")  # noqa: PT017 - either outcome is right
