"""The reference of the notation holds: its examples are grammars, its messages are those that are given."""

import re
from pathlib import Path

import pytest

from emergelab.errors import GrammarError
from emergelab.grammar.checks import check, require_valid
from emergelab.grammar.notation import parse

REFERENCE = (Path(__file__).parents[2] / "docs" / "grammar.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```([a-z ]+)\n(.*?)^```$", REFERENCE, re.DOTALL | re.MULTILINE)

WORLD = """world {
  objects 12 family f 12 permutations family h 6 maps power 1 predicate p 3 density 0.5
}
"""
RULES = """rule Document = Statement* stop 0.1
rule Statement = each x ~ objects, stop 0.1 { x Value(x) ";" }
rule Value(x) = 0.9: let a ~ f, b ~ f, c ~ h { b(a(x)) c(x) }
              | 0.1: let q ~ p { if q(x) { "." "yes" "no" "none" } else { x } }
"""
SHELLS = {
    "cag": "HERE",
    "cag world": "world { HERE } rule Document = some x ~ objects { x }",
    "cag rules": WORLD + "HERE",
    "cag items": WORLD + RULES + "rule Shown(x) = x HERE",
    "cag tasks": WORLD + RULES + "hold out 0.25 of f * f HERE",
}
EXPECTED_GAPS = ("Nothing draws from", "comes to the rule 'Shown'")


def blocks(kind: str) -> list[str]:
    """Return the blocks of a kind in the reference."""
    return [text for name, text in BLOCKS if name == kind]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind in SHELLS for text in blocks(kind)])
def test_an_example_is_right(kind: str, text: str):
    """The shells around parts of grammars leave families undrawn, and the items' rule unreached."""
    problems = check(parse(SHELLS[kind].replace("HERE", text), name="example"))
    bad = [one.message for one in problems if not any(gap in one.message for gap in EXPECTED_GAPS)]
    assert bad == []


def test_every_kind_of_example_is_there():
    assert {kind for kind, _ in BLOCKS} == {*SHELLS, "cag wrong", "text", "ebnf"}


@pytest.mark.parametrize(("text", "message"), list(zip(blocks("cag wrong"), blocks("text"), strict=True)))
def test_a_message_is_the_one_that_is_given(text: str, message: str):
    with pytest.raises(GrammarError) as caught:
        require_valid(parse(text, name="wrong", source="grammar.cag"), "grammar.cag", text)
    assert str(caught.value) + "\n" == message


def test_the_reference_names_every_word_of_the_notation():
    lark_file = Path(__file__).parents[2] / "src" / "emergelab" / "grammar" / "notation.lark"
    (ebnf,) = blocks("ebnf")
    words = set(re.findall(r'"([a-z]+)"', lark_file.read_text(encoding="utf-8")))
    assert set(re.findall(r'"([a-z]+)"', ebnf)) == words
