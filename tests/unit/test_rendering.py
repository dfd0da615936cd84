"""What is shown of grammars and documents: all of it, in JSON and on a terminal, with colour and without."""

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from rich.console import Console, RenderableType
from rich.style import Style

import emergelab
from emergelab.grammar.notation import parse
from emergelab.grammar.rendering import ROLE_STYLES, describe, grammar_view, legend, sample_text
from emergelab.grammar.syntax import GrammarSyntax
from strategies import valid_grammars

# Types are checked on a random entry of each tuple, also while a strategy builds syntax.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

FUNCTIONS = Path(emergelab.__path__[0]) / "grammars" / "functions.cag"

TOKENS = ["<start>", "o3", "o5", "o7", ";", "o4", "o1", "[2]", ";", "o3", "o5", "."]
ROLES = ["start", *["argument", "intermediate", "answer", "separator"] * 2, "argument", "answer", "separator"]
STATEMENTS = [0] * 9 + [1] * 3
ROWS = [-1] + [0] * 4 + [1] * 4 + [-1] * 3


def functions() -> GrammarSyntax:
    """Return the shipped grammar of functions."""
    return parse(FUNCTIONS.read_text(encoding="utf-8"), name="functions")


def described(grammar: GrammarSyntax) -> dict[str, Any]:
    """Return the description as what a reader of its JSON has."""
    return json.loads(json.dumps(describe(grammar), allow_nan=False))


def printed(renderable: RenderableType, **settings: object) -> str:
    """Return what a console of 120 columns shows."""
    console = Console(file=io.StringIO(), width=120, **settings)  # pyright: ignore[reportArgumentType]
    console.print(renderable)
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_description_says_what_the_grammar_says():
    said = described(functions())
    assert said["name"] == "functions"
    assert said["world"] == {
        "objects": 12,
        "families": [
            {
                "name": "f",
                "kind": "permutation",
                "count": 12,
                "scope": "corpus",
                "power": 0.0,
                "density": None,
                "text": "family f 12 permutations",
            }
        ],
    }
    assert said["hold_outs"] == [{"share": 0.25, "families": ["f", "f"], "text": "hold out 0.25 of f * f"}]
    assert said["terminals"] == [".", ";"]
    assert said["tasks"][1] == {
        "name": "pair",
        "draws": [{"name": "a", "family": "f"}, {"name": "b", "family": "f"}],
        "variable": "x",
        "direct": 'x b(a(x)) ";"',
        "steps": 'x a(x) b(a(x)) ";"',
        "splits": ["seen", "held_out"],
    }


def test_costs_are_in_nats():
    (value,) = [rule for rule in described(functions())["rules"] if rule["name"] == "Value"]
    costs = {production["text"]: production["nats"] for production in value["productions"]}
    assert costs["let a ~ f { a(x) }"] == pytest.approx(math.log(2))
    assert sum(math.exp(-cost) for cost in costs.values()) == pytest.approx(1)


@given(valid_grammars())
def test_any_description_is_json(grammar: GrammarSyntax):
    assert described(grammar)["name"] == "drawn"


def test_the_view_of_a_grammar_shows_all_of_it():
    shown = printed(grammar_view(functions()))
    for text in ("12 objects", "family f 12 permutations", "hold out 0.25 of f * f", "Value(x)", "0.693"):
        assert text in shown
    assert 'each x ~ objects, stop 0.08 { x Value(x) ";" }' in shown
    assert 'let a ~ f, b ~ f: x b(a(x)) ";"' in shown


def test_a_narrow_terminal_loses_nothing():
    console = Console(file=io.StringIO(), width=40)
    console.print(grammar_view(functions()))
    letters = "".join(console.file.getvalue().split())  # pyright: ignore[reportAttributeAccessIssue]
    assert all(task in letters for task in ("single", "pair"))
    assert "…" not in letters


def test_a_document_has_a_line_for_each_row():
    lines = sample_text(TOKENS, ROLES, STATEMENTS, ROWS).plain.split("\n")
    assert [line.split() for line in lines] == [
        ["<start>"],
        ["1.1", "o3", "o5", "o7", ";"],
        ["1.2", "o4", "o1", "[2]", ";"],
        ["2", "o3", "o5", "."],
    ]
    assert (
        len({line.index(token) for line, token in zip(lines, ("<start>", "o3", "o4", "o3"), strict=True)})
        == 1
    )


def test_marks_tell_roles_apart_without_any_style():
    lines = sample_text(TOKENS, ROLES, STATEMENTS, ROWS, marks=True).plain.split("\n")
    assert lines[1].split() == ["1.1", "o3", "(o5)", "[o7]", ";"]
    assert "[answer]" in legend(marks=True).plain


def test_shapes_tell_roles_apart_without_colour():
    shown = printed(
        sample_text(TOKENS, ROLES, STATEMENTS, ROWS),
        force_terminal=True,
        no_color=True,
        color_system="truecolor",
    )
    shapes = {token: shown.split(token)[0].rpartition("\x1b[")[2] for token in ("o5", "o7", "o3", ";")}
    assert len({shapes["o5"], shapes["o7"], shapes["o3"]}) == 3


def test_the_length_of_roles_is_that_of_tokens():
    with pytest.raises(ValueError, match="shorter"):
        sample_text(TOKENS, ROLES[:-1], STATEMENTS, ROWS)


def luminance(red: int, green: int, blue: int) -> float:
    """Return the relative luminance of WCAG 2.2."""
    shares = [value / 255 for value in (red, green, blue)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_can_be_read_on_black_and_on_white():
    colours = [color for style in ROLE_STYLES.values() if (color := Style.parse(style).color) is not None]
    assert len(colours) == 3
    for color in colours:
        light = luminance(*color.get_truecolor())
        assert (light + 0.05) / 0.05 >= 3  # WCAG 2.2, 1.4.11, against black
        assert 1.05 / (light + 0.05) >= 3  # and against white


def test_describing_does_not_load_rich():
    code = "import sys, emergelab.grammar.rendering; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
