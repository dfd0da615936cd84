"""What a grammar cannot say, from text to message: each is refused with its place, the rule and a remedy."""

from __future__ import annotations

import re

import pytest

from emergelab.errors import GrammarError
from emergelab.grammar.language import Language
from emergelab.grammar.sites import explore
from small_languages import language_of

WORLD = "world { objects 6 family f 3 permutations }\n"
LOOP = 'rule Document = each x ~ objects, stop 0.1 { x Value(x) ";" }\n'
VALUE = "rule Value(x) = let a ~ f { a(x) }\n"

REFUSED = {
    "an unknown function": (WORLD + LOOP + "rule Value(x) = let a ~ f { a(x) b(x) }", "'b' is not bound"),
    "an unknown object": (WORLD + LOOP + "rule Value(x) = let a ~ f { a(y) x }", "'y' is not bound"),
    "an unknown family": (WORLD + LOOP + "rule Value(x) = let a ~ g { a(x) }", "'a' is drawn from 'g'"),
    "an unknown rule": (WORLD + LOOP, "'Value'"),
    "too many attributes": (WORLD + LOOP.replace("Value(x)", "Value(x, x)") + VALUE, "2 attributes"),
    "too few attributes": (WORLD + LOOP.replace("Value(x)", "x Value") + VALUE, "0 attributes"),
    "probabilities that fall short": (
        WORLD + LOOP + "rule Value(x) = 0.5: x | 0.4: let a ~ f { a(x) }",
        "sum to 0.9",
    ),
    "probabilities that exceed 1": (
        WORLD + LOOP + "rule Value(x) = 0.7: x | 0.6: let a ~ f { a(x) }",
        "sum to 1.3",
    ),
    "recursion without end on average": (
        WORLD + LOOP + "rule Value(x) = 0.5: let a ~ f { a(x) } | 0.5: let a ~ f { Value(a(x)) Value(x) }",
        "spectral radius",
    ),
    "recursion by two rules": (
        WORLD + LOOP + "rule Value(x) = Other(x)\nrule Other(x) = let a ~ f { a(x) Value(a(x)) }",
        "'Value'",
    ),
    "a repetition of infinite mean": (
        WORLD + "rule Document = Row* power 1\nrule Row = some x ~ objects { let a ~ f { a(x) } }",
        "power 1",
    ),
    "a loop that prints nothing": (WORLD + "rule Document = each x ~ objects, stop 0.1 { }", "each"),
    "a loop that may print nothing": (
        WORLD + LOOP.replace('x Value(x) ";"', "Value(x)") + "rule Value(x) = 0.5: let a ~ f { a(x) } | 0.5:",
        "each",
    ),
    "a task with a token of its own": (
        WORLD + LOOP + VALUE + 'task t = let a ~ f each x { x a(x) "!" }',
        'prints "!"',
    ),
    "a task of an unknown family": (
        WORLD + LOOP + VALUE + 'task t = let a ~ h each x { x a(x) ";" }',
        "'a' is drawn from 'h'",
    ),
    "a task without an answer": (WORLD + LOOP + VALUE + 'task t = each x { x ";" }', "no answer"),
    "a task held out by nothing": (
        WORLD + LOOP + VALUE + 'task t = let a ~ f each x { x a(x) ";" } splits held out',
        "held out",
    ),
    "a hold-out that no rule composes": (WORLD + "hold out 0.5 of f * f\n" + LOOP + VALUE, "No derivation"),
    "a hold-out of everything": (
        WORLD + "hold out 0.99 of f * f\n" + LOOP + "rule Value(x) = let a ~ f, b ~ f { b(a(x)) }",
        "held out",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_with_place_and_remedy(what: str) -> None:
    text, found = REFUSED[what]
    with pytest.raises(GrammarError, match=re.escape(found)) as refusal:
        language_of(text)
    for line in str(refusal.value).splitlines():
        if not line.startswith(" "):
            # small:2:6: what was found. The rule. What to do.
            assert re.match(r"small:\d+:\d+: .+\. .+[.?]$", line), line


def test_a_hold_out_that_empties_a_production_is_refused_when_the_world_is_drawn() -> None:
    # Both functions are drawn with one argument: all that Twice prints is a(a(x)) of three tables.
    text = """
    world { objects 6 family f 2 permutations family g 2 permutations }
    hold out 0.75 of f * g
    rule Document = each x ~ objects, stop 0.1 { x let a ~ f { Then(a(x)) } ";" }
    rule Then(y) = let b ~ g { b(y) }
    """
    with pytest.raises(GrammarError, match=r"no functions to draw\. Hold out a smaller share") as refusal:
        emptied(text)
    assert "line 5" in str(refusal.value)


def emptied(text: str) -> Language:
    language = language_of(text)
    explore(language, "train")
    return language
