"""Checks: what is right passes, each rule's breach is named with place and remedy, and sizes are as derived."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import emergelab
from emergelab.errors import GrammarError
from emergelab.grammar.checks import check, require_valid
from emergelab.grammar.checks_derivations import expected_calls, mean_repeats, silent_rules
from emergelab.grammar.checks_tasks import applied_pairs
from emergelab.grammar.notation import parse, render
from emergelab.grammar.problems import Problem
from emergelab.grammar.syntax import (
    Call,
    Each,
    GrammarSyntax,
    If,
    Item,
    Law,
    Let,
    Print,
    Production,
    Repeat,
    Rule,
    Some,
    Terminal,
    World,
)
from strategies import valid_grammars, written_grammars

# Types are checked on a random entry of each tuple, also while a strategy builds syntax.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

VALID = """world {
  objects 12
  family f 12 permutations
  family g 3 maps per document
  predicate p 3 density 0.5
}
hold out 0.25 of f * f
rule Document = Statement* stop 0.1
rule Statement = 0.9: each x ~ objects, stop 0.08 { x Value(x) ";" }
               | 0.1: some x ~ objects power 1 { x Value(x) "." }
rule Value(x) = 0.5: let a ~ f { a(x) }
              | 0.3: let a ~ f, b ~ f { a(x) b(a(x)) }
              | 0.2: let q ~ p, a ~ g { if q(x) { a(x) } else { "no" } }
task single = let a ~ f each x { x a(x) ";" }
task pair = let a ~ f, b ~ f
  each x { x b(a(x)) ";" }
  steps { x a(x) b(a(x)) ";" }
  splits seen, held out
"""


def problems_of(text: str) -> list[Problem]:
    """Return what is wrong with `text`."""
    return check(parse(text, name="checked"))


def changed(old: str, new: str) -> str:
    """Return the valid grammar with its first `old` replaced."""
    assert old in VALID
    return VALID.replace(old, new, 1)


def with_rules(rules: str) -> GrammarSyntax:
    """Return the grammar of some rules in a world of three objects."""
    return parse(f"world {{ objects 3 family f 2 maps predicate p 2 density 0.5 }}\n{rules}", name="rules")


def test_a_valid_grammar_has_no_problem():
    assert problems_of(VALID) == []


@pytest.mark.parametrize("path", sorted((Path(emergelab.__path__[0]) / "grammars").glob("*.cag")), ids=str)
def test_shipped_grammars_are_valid(path: Path):
    text = path.read_text(encoding="utf-8")
    require_valid(parse(text, name=path.stem), str(path), text)


@given(valid_grammars())
def test_grammars_that_are_built_to_be_valid_are(grammar: GrammarSyntax):
    assert check(grammar) == []


@given(written_grammars())
def test_checks_end_with_a_list_whatever_is_written(grammar: GrammarSyntax):
    for problem in check(parse(render(grammar), name="drawn")):
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.found.endswith(".")
        assert problem.rule.endswith(".")


BREACHES = [  # what is replaced, by what, where the problem is, what it says, its remedy
    (
        "rule Document",
        "rule Start",
        "Start = Statement* sto",
        "There is no rule 'Document'.",
        "Statement* stop 0.1",
    ),
    (
        "rule Document =",
        "rule Document(x) =",
        "Document(x) = Statemen",
        "'Document' has 1 attribute.",
        "Delete the brackets",
    ),
    (
        "Statement* stop",
        "Statment* stop",
        "Statment* stop 0.1",
        "There is no rule 'Statment'.",
        "Did you mean 'Statement'?",
    ),
    (
        'Value(x) ";"',
        'Value ";"',
        'Value ";" }',
        "'Value' has 0 attributes here.",
        "Write it like 'Value(x)'.",
    ),
    ("{ a(x) }", "{ c(x) }", "c(x) }", "'c' is not bound.", "There is only a."),
    ("{ a(x) }", "{ a(y) }", "a(y) }", "'y' is not bound.", "There is only x."),
    ("{ a(x) }", "{ f(x) a(x) }", "f(x) a(x) }", "'f' is not bound.", "Write 'let a ~ f { … }' around it."),
    ("{ a(x) }", "{ a a(x) }", "a a(x) }", "'a' is a function.", "Apply it: 'a(x)'."),
    ("{ a(x) }", "{ x(x) a(x) }", "x(x) a(x) }", "'x' is an object, applied like a function.", "with 'let'"),
    ("{ a(x) }", "{ if a(x) { x } }", "if a(x) { x } }", "'a' is a function.", "Draw one with 'let'"),
    (
        "if q(x) {",
        "q(x) if q(x) {",
        "q(x) if q(x) { a(x) }",
        "'q' is a predicate, applied like a function.",
        "if q(x)",
    ),
    ("let a ~ f {", "let a ~ h {", "a ~ h { a(x) }", "'a' is drawn from 'h'.", "There are f, g, p."),
    (
        "let a ~ f, b ~ f { a(x)",
        "let a ~ f, a ~ f { a(x)",
        "a ~ f { a(x) b(a(x)) }",
        "'a' is bound again.",
        "another name",
    ),
    ("let a ~ f {", "let x ~ f { x(x)", "x ~ f { x(x) a(x) }", "'x' is bound again.", "another name"),
    ("let a ~ f { a(x) }", "let f ~ f { f(x) }", "f ~ f { f(x) }", "'f' is that of a family.", "let a ~ f"),
    ("let a ~ f { a(x) }", "let a ~ f { x }", "a ~ f { x }", "Nothing uses the draw 'a'", "delete it"),
    (
        "power 1 { x Value(x)",
        "power 1 { some y ~ objects { Value(x) }",
        "some y ~ objects { Val",
        "Nothing uses the object",
        "delete",
    ),
    (
        "rule Value(x) = 0.5: let a ~ f { a(x) }",
        "rule Value(x, y) = 0.5: let a ~ f { a(x) }",
        "Value(x, y) = 0.5: let",
        "'y'",
        "Use it",
    ),
    (
        "rule Value(x)",
        "rule Other = Statement rule Value(x)",
        "Other = Statement rule",
        "comes to the rule 'Other'",
        "delete the rule",
    ),
    (
        "rule Value(x)",
        "rule Statement = Document rule Value(x)",
        "Statement = Document r",
        "a second rule",
        "Join",
    ),
    ("family f 12", "family f 2 maps family f 12", "f 12 permutations", "a second family 'f'", "Rename"),
    ("task pair", "task single", "single = let a ~ f, b", "a second task 'single'", "Rename"),
    (
        "family g",
        "family h 2 maps family g",
        "h 2 maps family g 3 ma",
        "Nothing draws from the family 'h'.",
        "delete the family",
    ),
    ("objects 12", "objects 1", "world {", "objects 1.", "Write 'objects 12'"),
    ("objects 12", "objects 65531", "world {", "objects 65,531.", "Write 'objects 12'"),
    ("12 permutations", "0 permutations", "f 0 permutations", "has 0 members", "like 12"),
    ("12 permutations", "70000 permutations", "f 70000 permutations", "has 70,000 members", "like 12"),
    (
        "12 permutations",
        "12 permutations power -1",
        "f 12 permutations powe",
        "power' of the family 'f' is -1",
        "power 1",
    ),
    ("density 0.5", "density 1", "p 3 density 1", "density of 'p' is 1.", "density 0.5"),
    ("density 0.5", "", "p 3", "'p' have no density", "density 0.5"),
    (
        "0.5: let",
        "0.4: let",
        "Value(x) = 0.4: let a",
        "sum to 0.9.",
        "Rescaled they are 0.4444444444, 0.3333333333, 0.2222222222.",
    ),
    ("0.5: let", "0: let", "0: let a ~ f { a(x) }", "probability of a production is 0.", "never used"),
    ("stop 0.08", "stop 0", 'stop 0 { x Value(x) ";', "The law is 'stop 0'.", "ten rows"),
    ("stop 0.08", "stop 1.2", "stop 1.2 { x Value(x)", "The law is 'stop 1.2'.", "ten rows"),
    ("stop 0.08", "power 0", 'power 0 { x Value(x) "', "The law is 'power 0'.", "power 1.5"),
    ("stop 0.08", "uniform 0 3", "uniform 0 3 { x Value(", "The law is 'uniform 0 3'.", "uniform 2 20"),
    ("stop 0.08", "uniform 3 2", "uniform 3 2 { x Value(", "The law is 'uniform 3 2'.", "uniform 2 20"),
    ("stop 0.08", "uniform 1.5 2", "uniform 1.5 2 { x Valu", "The law is 'uniform 1.5 2'.", "uniform 2 20"),
    (
        "objects, stop 0.08",
        "objects distinct, uniform 13 14",
        "uniform 13 14 { x Valu",
        "'uniform 13 14'",
        "'all'",
    ),
    (
        "objects, stop 0.08",
        "objects power 1, all",
        'all { x Value(x) ";" }',
        "The law is 'all'.",
        "Delete the weights",
    ),
    (
        "objects power 1 {",
        "objects power -1 {",
        "power -1 { x Value(x)",
        "'power' of the objects is -1",
        "power 1",
    ),
    ("Statement* stop 0.1", "Statement* all", "all", "The law is 'all'.", "stop 0.1"),
    ("Statement* stop 0.1", "Statement* power 1", "power 1", "The law is 'power 1'.", "a power above 1"),
    ('"no"', '"o7"', '"o7" } }', "reads 'o7'", "another text"),
    ('"no"', '"<end>"', '"<end>" } }', "reads '<end>'", "another text"),
    ('"no"', '"no way"', '"no way" } }', "reads 'no way'", "one token for each word"),
    ('"no"', '""', '"" } }', "reads ''", "one token for each word"),
    (
        '{ x Value(x) ";" }',
        "{ if q(x) { } }",
        "each x ~ objects, stop",
        "body of a loop can print nothing",
        "in it",
    ),
    (
        '{ x Value(x) "." }',
        "{ x Value(x) let a ~ f { } }",
        "let a ~ f { } }",
        "body of 'let' is empty",
        "Print a term",
    ),
    ('{ a(x) } else { "no" }', "{ }", "if q(x) { } }", "Both branches of 'if' are empty", "in one of them"),
    (
        "Statement* stop",
        "Maybe* stop 0.5 rule Maybe = 0.5: | 0.5: Statement* stop",
        "Maybe* stop 0.5 rule M",
        "'Maybe', which",
        "empty",
    ),
    (
        "Statement* stop",
        "Maybe rule Maybe = 0.5: | 0.5: Statement* stop",
        "Document = Maybe rule",
        "'Document' can print nothing",
        "Add",
    ),
    (
        "rule Value(x) = 0.5: let a ~ f { a(x) }",
        "rule Value(x) = 0.5: let a ~ f { Value(a(x)) Value(x) }",
        "Value(x) = 0.5: let a",
        "'Value' calls itself 1 times",
        "Lower",
    ),
    (
        "rule Value(x)",
        'rule Loop = ";" Loop rule Value(x)',
        'Loop = ";" Loop rule',
        "'Loop' comes to an end.",
        "Add a",
    ),
    ("hold out 0.25 of f * f", "hold out 0.25 of f", "hold out 0.25 of f", "A single function", "f * f"),
    (
        "hold out 0.25 of f * f",
        "hold out 0.25 of f * h",
        "hold out 0.25 of f * h",
        "no family 'h'",
        "There are f, g, p.",
    ),
    (
        "hold out 0.25 of f * f",
        "hold out 0.25 of f * p",
        "hold out 0.25 of f * p",
        "family of predicates",
        "functions",
    ),
    (
        "hold out 0.25 of f * f",
        "hold out 0.25 of f * g",
        "hold out 0.25 of f * g",
        "drawn per document",
        "corpus",
    ),
    ("hold out 0.25 of f * f", "hold out 1 of f * f", "hold out 1 of f * f", "share held out is 1", "0.25"),
    (
        "hold out 0.25 of f * f",
        "hold out 0.001 of f * f",
        "hold out 0.001 of f *",
        "Of 144 compositions 0.144",
        "Change",
    ),
    ("hold out", "hold out 0.5 of f * f hold out", "hold out 0.25 of f * f", "is a second one", "Delete"),
    (
        "{ a(x) b(a(x)) }",
        "{ a(x) b(x) }",
        "hold out 0.25 of f * f",
        "No derivation applies a function of 'f'",
        "Compose",
    ),
    (
        'each x { x a(x) ";" }',
        'each x { ";" x a(x) }',
        '";" x a(x) }',
        "does not begin with a term",
        "with 'x'",
    ),
    (
        'each x { x a(x) ";" }',
        'each x { x if a(x) { ";" } }',
        'x if a(x) { ";" } }',
        "can be the beginning of another row",
        "End all of them in one token",
    ),
    ("a ~ f, b ~ f\n", "a ~ g, b ~ f\n", "pair = let", "its answer is not held out", "per document cannot"),
    ('each x { x a(x) ";" }', 'each x { x ";" }', 'x ";" }', "has no answer", "function of the argument"),
    (
        'single = let a ~ f each x { x a(x) ";" }',
        'single = let q ~ p each x { x if q(x) { "no" } else { "no" } ";" }',
        'x if q(x) { "no" } else',
        "has no answer",
        "words that differ",
    ),
    (
        'single = let a ~ f each x { x a(x) ";" }',
        'single = let a ~ g each x { a(x) x ";" }',
        'a(x) x ";" }',
        "begins with a(x), which does not determine the rest of the row",
        "Begin with 'x'",
    ),
    (
        'single = let a ~ f each x { x a(x) ";" }',
        """single = let a ~ f, q ~ p each x { x if q(x) { a(x) } else { "no" } ";" }
        steps { x if q(x) { "no" a(x) } else { ";" } ";" }""",
        '";" }',
        "end on another answer",
        'end on a(x) or "no"',
    ),
    (
        'single = let a ~ f each x { x a(x) ";" }',
        """single = let a ~ f, b ~ f, c ~ f, d ~ f, q ~ p, r ~ p
        each x { x if q(x) { if r(x) { a(x) } else { b(x) } } else { if r(x) { c(x) } else { d(x) } } ";" }""",
        "x if q(x) { if r(x)",
        "prints one of a(x), b(x), c(x), d(x) in one place",
        "a word in front",
    ),
    (
        'single = let a ~ f each x { x a(x) ";" }',
        "single = let a ~ f, "
        + ", ".join(f"q{n} ~ p" for n in range(9))
        + " each x { x a(x) "
        + " ".join(f'if q{n}(x) {{ "no" }}' for n in range(9))
        + ' ";" }',
        "x a(x) if q0(x)",
        "can go in more than 256 ways",
        "nest them",
    ),
    (
        'each x { x a(x) ";" }',
        "each x { x Value(a(x)) }",
        "Value(a(x)) }",
        "holds the rule 'Value'",
        "in full",
    ),
    (
        'each x { x a(x) ";" }',
        "each x { x a(x) Statement* all }",
        "Statement* all }",
        "holds a repetition",
        "in full",
    ),
    (
        'each x { x a(x) ";" }',
        "each x { x a(x) let b ~ f { b(x) } }",
        "let b ~ f { b(x) } }",
        "holds 'let'",
        "in full",
    ),
    ('each x { x a(x) ";" }', 'each x { x a(x) "?" }', '"?" }', 'prints "?", which no', "There are"),
    (
        "steps { x a(x) b(a(x))",
        "steps { a(x) b(a(x))",
        'a(x) b(a(x)) ";" }',
        "begin with x and, with steps, a(x)",
        "begin",
    ),
    ("steps { x a(x) b(a(x))", "steps { x a(x) a(b(x))", '";" }', "end on another answer", "end on b(a(x))"),
    (
        "steps { x a(x) b(a(x))",
        "steps { x b(a(x))",
        'x b(a(x)) ";" }',
        "print no more than its row",
        "Print a step",
    ),
    (
        "seen, held out",
        "seen, held out, seen",
        "pair = let a ~ f, b ~",
        "names the split 'seen' twice",
        "Delete",
    ),
    (
        'let a ~ f each x { x a(x) ";" }',
        'let a ~ f each x { x a(x) ";" } splits held out',
        "single = let a ~ f eac",
        "'held out'",
        "seen",
    ),
    (
        "hold out 0.25 of f * f",
        "",
        "pair = let a ~ f, b ~",
        "its answer is not held out",
        "hold out 0.25 of f * f",
    ),
    (
        "let a ~ f each",
        "let a ~ f, b ~ f each",
        "b ~ f each x { x a(x)",
        "Nothing uses the draw 'b' of task",
        "delete",
    ),
]


@pytest.mark.parametrize(("old", "new", "there", "found", "remedy"), BREACHES)
def test_a_breach_is_named_with_place_and_remedy(old: str, new: str, there: str, found: str, remedy: str):
    text = changed(old, new)
    (problem,) = [problem for problem in problems_of(text) if found in problem.message]
    assert text.splitlines()[problem.line - 1][problem.column - 1 :].startswith(there)
    assert remedy in problem.remedy


def test_all_problems_are_named_at_once():
    text = (
        changed("stop 0.08", "stop 0")
        .replace("0.5: let", "0.4: let")
        .replace("splits seen", "splits seen, seen")
    )
    with pytest.raises(GrammarError) as caught:
        require_valid(parse(text, name="wrong"), "wrong.cag", text)
    lines = str(caught.value).split("\n")
    heads = [line for line in lines if line.startswith("wrong.cag:")]
    assert [head.split(": ")[0] for head in heads] == ["wrong.cag:9:41", "wrong.cag:11:6", "wrong.cag:15:6"]
    assert lines[1:3] == [f"    9 | {text.splitlines()[8]}", f"      | {' ' * 40}^"]


def test_many_problems_are_counted():
    text = "world { objects 3 }\nrule Document =" + " x" * 30
    with pytest.raises(GrammarError, match=r"wrong.cag: 10 more problems\."):
        require_valid(parse(text, name="wrong"), "wrong.cag", text)


def test_too_many_rules_are_refused_before_anything_slow():
    text = VALID + "".join(f'rule R{number} = "a"\n' for number in range(498))
    (problem,) = problems_of(text)
    assert "501 rules" in problem.found


TWICE = "if q(x) { Document } else { Document }"


def radius_named(rules: str) -> float | None:
    """Return the number in «calls itself … times on average», None where the grammar is finite."""
    for problem in check(with_rules(rules)):
        if "on average" in problem.found:
            return float(problem.found.split(" times")[0].split()[-1])
    return None


@pytest.mark.parametrize(
    ("rules", "radius"),
    [
        ('rule Document = 0.6: "a" Document Document | 0.4: "a"', 1.2),
        ('rule Document = 0.5: "a" Document Document | 0.5: "a"', 1.0),  # critical: ends, yet infinite on average
        ('rule Document = 0.49: "a" Document Document | 0.51: "a"', None),
        # two rules that call each other: the root of the product of the two means
        ('rule Document = 0.5: B B B "a" | 0.5: "a" rule B = Document', math.sqrt(1.5)),
        ('rule Document = 0.5: B "a" | 0.5: "a" rule B = 0.9: Document "a" | 0.1: "b"', None),
        # a repetition counts with its mean, 1/p, (lo + hi)/2 and the zeta function (Basel: pi^2/6)
        ('rule Document = 0.2: Document* stop 0.1 | 0.8: "a"', 2.0),
        ('rule Document = 0.4: Document* uniform 2 4 | 0.6: "a"', 1.2),
        ('rule Document = 0.7: Document* power 2 | 0.3: "a"', 0.7 * math.pi**2 / 6),
        # the derivation of a loop's body is drawn once, however often it is printed
        ('rule Document = 0.9: each x ~ objects, stop 0.01 { x Document } | 0.1: "a"', None),
        # both branches of an 'if' are drawn
        (f'rule Document = 0.6: some x ~ objects {{ let q ~ p {{ {TWICE} }} }} | 0.4: "a"', 1.2),
        # a chain of rules has no circle, however often it branches
        ('rule Document = A A A rule A = B B B rule B = "a" "a"', None),
    ],
)  # fmt: skip
def test_documents_of_infinite_expectation_are_refused(rules: str, radius: float | None):
    found = radius_named(rules)
    assert found == (None if radius is None else pytest.approx(radius, rel=1e-3))


def calls_twice(name: str, probability: float) -> Production:
    """Return the production that calls a rule twice."""
    return Production(probability=probability, items=(Call(name), Call(name), Terminal("a")))


@given(
    st.lists(
        st.lists(st.integers(1, 40).map(lambda share: share / 100), min_size=3, max_size=3),
        min_size=3,
        max_size=3,
    )
)
def test_finiteness_is_that_of_the_sum_over_generations(means: list[list[float]]):
    """The sum of all powers of a positive matrix M is the inverse of 1 - M, where that has no negative entry."""
    names = ("Document", "A", "B")
    stop = Production(probability=0.1, items=(Terminal("a"),))
    rules = tuple(
        Rule(name=name, productions=(stop, *(calls_twice(*one) for one in zip(names, row, strict=True))))
        for name, row in zip(names, means, strict=True)
    )
    grammar = GrammarSyntax(name="mean", world=World(objects=2), rules=rules)
    matrix = expected_calls(rules)
    np.testing.assert_allclose(matrix, np.array(means) * 2)
    rest = np.eye(3) - matrix
    assume(abs(np.linalg.det(rest)) > 1e-6)  # too close to critical for floats to tell
    finite = bool((np.linalg.inv(rest) >= 0).all())
    assert finite != any("on average" in problem.found for problem in check(grammar))


@pytest.mark.parametrize(
    ("law", "survival"),
    [
        (Law("stop", (0.25,)), lambda n: 0.75 ** (n - 1)),
        (Law("power", (3.0,)), lambda n: n**-3.0),
        (Law("uniform", (2.0, 5.0)), lambda n: min(1.0, max(0.0, (6 - n) / 4))),
    ],
)
def test_the_mean_of_a_law_is_the_sum_of_its_survival(law: Law, survival: Callable[[int], float]):
    total = math.fsum(survival(n) for n in range(1, 20_000))
    assert mean_repeats(law) == pytest.approx(total, rel=1e-6)


def yields(items: tuple[Item, ...], grammar: GrammarSyntax, depth: int) -> set[bool]:
    """Return which of «silent» and «not silent» the items can be, by drawing out all derivations."""
    kinds = [item_yields(item, grammar, depth) for item in items]
    return {all(choice) for choice in itertools.product(*kinds)}


def item_yields(item: Item, grammar: GrammarSyntax, depth: int) -> set[bool]:
    """Return the same for one item; calls below `depth` are cut off."""
    match item:
        case Terminal() | Print():
            return {False}
        case Call() | Repeat():
            called = item if isinstance(item, Call) else item.call
            rule = grammar.rule(called.rule)
            if rule is None or depth == 0:
                return set()
            return set().union(*(yields(one.items, grammar, depth - 1) for one in rule.productions))
        case Let() | Some() | Each():
            return yields(item.body, grammar, depth)
        case If():
            return yields(item.then, grammar, depth) | yields(item.otherwise, grammar, depth)


SILENCE_PIECES = st.sampled_from(
    ["A", "B", "C", '"t"', "let a ~ f { }", "some x ~ objects { A }", "each x ~ objects, all { B C }",
     "C* stop 0.5", 'let q ~ p { some x ~ objects { if q(x) { A } else { "t" } } }']
)  # fmt: skip
SILENCE_BODIES = st.lists(SILENCE_PIECES, max_size=2).map(" ".join)


@given(st.lists(st.tuples(SILENCE_BODIES, SILENCE_BODIES), min_size=3, max_size=3))
def test_rules_that_can_be_silent_are_those_with_a_silent_derivation(bodies: list[tuple[str, str]]):
    rules = "".join(
        f"rule {name} = 0.5: {one} | 0.5: {two}\n" for name, (one, two) in zip("ABC", bodies, strict=True)
    )
    grammar = with_rules(rules)
    # A least silent derivation repeats no rule along a path: three rules, depth three.
    drawn_out = {name for name in "ABC" if True in item_yields(Call(name), grammar, 3)}
    assert silent_rules(grammar) == drawn_out


def test_values_are_followed_through_attributes():
    grammar = parse(
        """world { objects 3 family f 2 maps family g 2 maps family h 2 maps }
        rule Document = some x ~ objects { let a ~ f { A(a(x), x) } }
        rule A(x, y) = let b ~ g { B(b(x)) y }
        rule B(z) = let c ~ h { c(z) }
        """,
        name="flow",
    )
    assert applied_pairs(grammar) == {("f", "g"), ("g", "h")}


def test_a_hold_out_in_the_wrong_order_is_turned():
    text = VALID.replace("family f 12", "family h 4 maps family f 12").replace(
        "b ~ f { a(x) b", "b ~ h { a(x) b"
    )
    (problem, *_) = problems_of(text.replace("of f * f", "of h * f"))
    assert problem.remedy == "Did you mean 'f * h'?"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ('rule Document = 1.7e308: "a" | 1.7e308: "b"', "'Document' sum to inf."),
        ('rule Document = 1e200: Document* uniform 1 1e300 | 1: "a"', "The law is 'uniform 1 1e+300'."),
        ('rule Document = 1e200: A* uniform 1 -1e300 | 1: "a" rule A = "a" Document', "'uniform 1 -1e+300'."),
        (
            'rule Document = A* stop 1e-320 rule A = 0.5: Document | 0.5: "a"',
            "'Document', 'A' call one another",
        ),
    ],
)
def test_numbers_at_the_ends_of_what_doubles_hold(rules: str, words: str):
    assert any(words in problem.message for problem in check(with_rules(rules)))


# --- Parameters ------------------------------------------------------------------------------------------

NAMED = """
parameter pair.silent = 0.5
parameter size = 12
parameter often = 0.1
world { objects size  family f size permutations }
rule Document = Pair* stop often
rule Pair     = pair.silent: some x ~ objects { let a ~ f { a(x) } }
              | 1 - pair.silent: "none"
              | often - often: Again
rule Again    = each x ~ objects, stop often { x }
"""


def problems_with(text: str, **values: float) -> list[str]:
    """Return the messages about a grammar with other values of its parameters (`_` stands for a dot)."""
    given_values = {name.replace("_", "."): value for name, value in values.items()}
    return [problem.message for problem in check(parse(text, name="named", parameters=given_values))]


def test_what_only_a_production_of_probability_0_uses_is_of_use():
    assert problems_with(NAMED) == []
    assert problems_with(NAMED, pair_silent=0) == []
    assert problems_with(NAMED, pair_silent=1) == []


def test_a_problem_names_the_values_in_force_in_its_part_of_the_grammar():
    (world,) = problems_with(NAMED, size=1, pair_silent=0.25)
    assert world.endswith("In force: size = 1 (by default 12).")
    document, again = problems_with(NAMED, often=0)
    assert document.startswith("The law is 'stop 0'.")
    assert again.startswith("The law is 'stop 0'.")
    assert document.endswith(
        "Write 'stop 0.1' for ten rows on average. In force: often = 0 (by default 0.1)."
    )


def test_probabilities_that_no_longer_add_up_name_rule_and_values():
    (message,) = problems_with(NAMED.replace("1 - pair.silent", "0.5"), pair_silent=0.25)
    assert message == (
        "The probabilities of 'Pair' sum to 0.75. The productions of a rule sum to 1. Give one production what the "
        "others leave: 1 - pair.silent, for example. In force: pair.silent = 0.25 (by default 0.5), often = 0.1."
    )


def test_problems_of_parts_without_parameters_name_no_values():
    (message,) = problems_with(NAMED.replace('"none"', "y"))
    assert "In force" in message
    (message,) = problems_with(NAMED.replace("stop often { x }", "stop 2 { x }"))
    assert "In force" not in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "some x ~",
            "some often ~",
            "The name 'often' is that of a parameter. A parameter is a number wherever",
        ),
        ("let a ~", "let size ~", "The name 'size' is that of a parameter."),
        (
            "family f",
            "family often",
            "The name 'often' is that of a parameter, too. The parameter stands in line 4",
        ),
        ("{ x }", "{ x size }", "'size' is not bound. A parameter stands in the places of numbers only"),
    ],
)
def test_a_parameter_is_a_number_and_nothing_else(old: str, new: str, words: str):
    assert any(words in message for message in problems_with(NAMED.replace(old, new)))
