"""Checks of numbers: sizes of the world, probabilities, and the parameters of laws."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from emergelab.grammar import syntax
from emergelab.grammar.checks_names import rule_items
from emergelab.grammar.checks_parameters import parameters_at
from emergelab.grammar.notation import render_law
from emergelab.grammar.notation_numbers import number_text
from emergelab.grammar.problems import Problem, problem
from emergelab.grammar.syntax import Each, Family, GrammarSyntax, Law, Parameter, Repeat, Rule, Some

MAX_TOKENS = 65_535
"""Tokens are uint16: start, end, terminals and objects together."""
MAX_FUNCTIONS = 65_535
MAX_TABLE_ENTRIES = 50_000_000
"""Functions times objects: 100 MB of tables."""
MAX_POWER = 16.0
MAX_RULES = 500
MAX_ROWS = 65_535
SUM_TOLERANCE = 1e-9

_OWN_TOKENS = 2
_RESERVED = re.compile(r"<start>|<end>|o[0-9]+")


def check_numbers(grammar: GrammarSyntax) -> list[Problem]:
    """Return the problems with sizes, probabilities, laws and the texts of tokens."""
    found = [*_check_world(grammar), *_check_rule_count(grammar)]
    for family in grammar.world.families:
        found += _check_family(family)
    for rule in grammar.rules:
        found += _check_probabilities(rule, parameters_at(grammar, rule.at))
        found += _check_items(rule, grammar.world.objects)
    return found


def terminals(grammar: GrammarSyntax) -> set[str]:
    """Return the texts of the tokens that the rules print besides objects."""
    items = (item for rule in grammar.rules for item in rule_items(rule))
    return {item.text for item in items if isinstance(item, syntax.Terminal)}


def _check_world(grammar: GrammarSyntax) -> Iterator[Problem]:
    world = grammar.world
    most = MAX_TOKENS - _OWN_TOKENS - len(terminals(grammar))
    if not 2 <= world.objects <= most:  # noqa: PLR2004 - one object leaves nothing to predict
        rule = f"There are 2 to {most:,}; terminals, start and end included, at most {MAX_TOKENS:,} tokens."
        yield problem(
            world.at, f"The world has objects {world.objects:,}.", rule, "Write 'objects 12', for example."
        )
    entries = world.objects * sum(max(0, family.count) for family in world.families)
    if entries > MAX_TABLE_ENTRIES:
        found = f"The functions' tables have {entries:,} entries."
        rule = f"Functions times objects are at most {MAX_TABLE_ENTRIES:,}."
        yield problem(world.at, found, rule, "Use fewer functions or fewer objects.")


def _check_rule_count(grammar: GrammarSyntax) -> Iterator[Problem]:
    if len(grammar.rules) > MAX_RULES:
        found, rule = f"The grammar has {len(grammar.rules)} rules.", f"There are at most {MAX_RULES}."
        yield problem(grammar.rules[MAX_RULES].at, found, rule, "Let attributes do the work of copies.")


def _check_family(family: Family) -> Iterator[Problem]:
    if not 1 <= family.count <= MAX_FUNCTIONS:
        found = f"The family '{family.name}' has {family.count:,} members."
        yield problem(family.at, found, f"There are from 1 to {MAX_FUNCTIONS:,}.", "Write a count, like 12.")
    if not 0 <= family.power <= MAX_POWER:
        yield _weight_problem(family.at, f"'power' of the family '{family.name}'", family.power)
    if family.kind == "predicate":
        yield from _check_density(family)


def _check_density(family: Family) -> Iterator[Problem]:
    if family.density is None:
        found = f"The predicates '{family.name}' have no density."
    elif not 0 < family.density < 1:
        found = f"The density of '{family.name}' is {number_text(family.density)}."
    else:
        return
    rule = "It is the share of the objects for which a predicate holds, above 0 and below 1."
    yield problem(family.at, found, rule, "Write 'density 0.5', for example.")


def _weight_problem(at: syntax.Position, what: str, value: float) -> Problem:
    rule = f"It gives the j-th a weight of 1/j^power and is from 0 (all alike) to {MAX_POWER:g}."
    return problem(at, f"The {what} is {number_text(value)}.", rule, "Write 'power 1', for example.")


def _check_probabilities(rule: Rule, parameters: list[Parameter]) -> Iterator[Problem]:
    probabilities = [production.probability for production in rule.productions]
    for production in rule.productions:
        if not 0 < production.probability <= 1:
            found = f"The probability of a production is {number_text(production.probability)}."
            remedy = (
                "Delete a production that is never used."
                if production.probability == 0
                else "Write 0.5, say."
            )
            yield problem(production.at, found, "It is above 0 and at most 1.", remedy)
    total = _sum(probabilities)
    if abs(total - 1) > SUM_TOLERANCE:
        found = f"The probabilities of '{rule.name}' sum to {total:.10g}."
        remedy = _remainder(rule, parameters) or _rescaled(probabilities, total)
        yield problem(rule.at, found, "The productions of a rule sum to 1.", remedy)


def _sum(probabilities: list[float]) -> float:
    try:
        return math.fsum(probabilities)
    except OverflowError:
        return math.inf


def _remainder(rule: Rule, parameters: list[Parameter]) -> str:
    """Return how a rule with parameters keeps its sum whatever their values are."""
    if not parameters or len(rule.productions) + len(rule.left_out) == 1:
        return ""
    return f"Give one production what the others leave: 1 - {parameters[0].name}, for example."


def _rescaled(probabilities: list[float], total: float) -> str:
    if not probabilities or min(probabilities) <= 0 or math.isinf(total):
        return "Give every production its share."
    if len(probabilities) == 1:
        return "Delete the probability of an only production."
    shares = ", ".join(f"{probability / total:.10g}" for probability in probabilities)
    return f"Rescaled they are {shares}."


def _check_items(rule: Rule, objects: int) -> Iterator[Problem]:
    for item in rule_items(rule):
        match item:
            case syntax.Terminal():
                yield from check_terminal(item)
            case Some():
                yield from _check_weights(item.weights)
            case Repeat():
                yield from _check_law(item.law)
                yield from _check_repeat(item)
            case Each():
                yield from _check_weights(item.weights)
                yield from _check_law(item.law)
                yield from _check_loop(item, objects)
            case _:
                pass


def check_terminal(terminal: syntax.Terminal) -> Iterator[Problem]:
    """Yield the problem with a terminal's text: empty, not visible, or that of another token."""
    text = terminal.text
    if not text or not text.isprintable() or any(char.isspace() for char in text):
        found, rule = f"A token reads {text!r}.", "The text of a token is visible and has no spaces in it."
        yield problem(terminal.at, found, rule, 'Write one token for each word: "is" "not".')
    elif _RESERVED.fullmatch(text):
        found, rule = (
            f"A token reads {text!r}.",
            "So read the start, the end and the objects o1, o2, and so on.",
        )
        yield problem(terminal.at, found, rule, "Choose another text.")


def _check_weights(weights: Law) -> Iterator[Problem]:
    if weights.name == "power" and not 0 <= weights.numbers[0] <= MAX_POWER:
        yield _weight_problem(weights.at, "'power' of the objects", weights.numbers[0])


def _check_law(law: Law) -> Iterator[Problem]:
    if law.name == "stop" and not 0 < law.numbers[0] <= 1:
        rule = "After each row the loop stops with this probability: above 0 and at most 1."
        yield _law_problem(law, rule, "Write 'stop 0.1' for ten rows on average.")
    if law.name == "power" and not 0 < law.numbers[0] <= MAX_POWER:
        rule = f"At least n rows have probability 1/n^power; it is above 0 and at most {MAX_POWER:g}."
        yield _law_problem(law, rule, "Write 'power 1.5', for example.")
    if law.name == "uniform" and not is_range(law):
        rule = f"The two are whole numbers from 1 to {MAX_ROWS:,}, the smaller one first."
        yield _law_problem(law, rule, "Write 'uniform 2 20', for example.")


def is_range(law: Law) -> bool:
    """Whether the numbers of a law `uniform lo hi` are what they have to be."""
    low, high = law.numbers
    return low.is_integer() and high.is_integer() and 1 <= low <= high <= MAX_ROWS


def _law_problem(law: Law, rule: str, remedy: str) -> Problem:
    return problem(law.at, f"The law is '{render_law(law)}'.", rule, remedy)


def _check_repeat(repeat: Repeat) -> Iterator[Problem]:
    if repeat.law.name == "all":
        rule = "Only a loop over objects can run once for all of them."
        yield _law_problem(repeat.law, rule, "Write 'stop 0.1', for example.")
    if repeat.law.name == "power" and 0 < repeat.law.numbers[0] <= 1:
        rule = "At or below 1 its mean is infinite, and so is the expected document."
        yield _law_problem(repeat.law, rule, "Write a power above 1, or 'stop 0.1'.")


def _check_loop(loop: Each, objects: int) -> Iterator[Problem]:
    if loop.law.name == "all" and loop.weights != syntax.UNIFORM_OBJECTS:
        rule = "It prints every object once, in a random order that no weights bend."
        yield _law_problem(loop.law, rule, "Delete the weights of the objects.")
    if loop.law.name == "uniform" and loop.distinct and loop.law.numbers[0] > objects:
        rule = f"Without replacement there are at most {objects} rows, one for each object."
        yield _law_problem(loop.law, rule, "Write 'all', or a smaller number.")
