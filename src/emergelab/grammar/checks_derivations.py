"""Checks of derivations: they print something, they come to an end, and their expected size is finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from jaxtyping import Bool, Float64

from emergelab.grammar import syntax
from emergelab.grammar.checks_names import calls_in, reachable_rules, rule_items
from emergelab.grammar.checks_numbers import is_range
from emergelab.grammar.problems import Problem, problem
from emergelab.grammar.syntax import Each, GrammarSyntax, If, Item, Law, Let, Repeat, Rule, Some

CRITICAL = 1 - 1e-12
"""Rules whose mean number of copies of themselves reaches 1, rounding aside, have no finite expectation."""


_MOST_REPEATS = 1e100  # products of means stay finite


def check_derivations(grammar: GrammarSyntax) -> list[Problem]:
    """Return the problems with what derivations print and with how large they become."""
    return [*_check_empty(grammar), *_check_ending(grammar), *_check_size(grammar)]


def _check_empty(grammar: GrammarSyntax) -> Iterator[Problem]:
    silent = silent_rules(grammar)
    start = grammar.rule(syntax.START)
    if start is not None and start.name in silent:
        rule = "Every document prints a token."
        remedy = "Add a token to the productions that are empty."
        yield problem(start.at, "A derivation of 'Document' can print nothing.", rule, remedy)
    for rule in grammar.rules:
        for item in rule_items(rule):
            yield from _check_silence(item, silent)


def _check_silence(item: Item, silent: set[str]) -> Iterator[Problem]:
    if isinstance(item, Each) and _is_silent(item.body, silent):
        remedy = "Print the object, a term or a token in it."
        yield problem(item.at, "The body of a loop can print nothing.", "Every row prints a token.", remedy)
    elif isinstance(item, Repeat) and item.call.rule in silent:
        found = f"'{item.call.rule}', which is repeated, can print nothing."
        remedy = "Add a token to its empty productions."
        yield problem(item.at, found, "What is repeated prints a token each time.", remedy)
    elif isinstance(item, Let | Some) and not item.body:
        name = "let" if isinstance(item, Let) else "some"
        remedy = "Print a term of what is drawn."
        yield problem(
            item.at, f"The body of '{name}' is empty.", "What is drawn is used in the body.", remedy
        )
    elif isinstance(item, If) and not item.then and not item.otherwise:
        remedy = "Print something in one of them."
        yield problem(item.at, "Both branches of 'if' are empty.", "'if' chooses what is printed.", remedy)


def silent_rules(grammar: GrammarSyntax) -> set[str]:
    """Return the names of the rules of which some derivation, with some values, prints nothing."""

    def is_silent(rule: Rule, silent: set[str]) -> bool:
        return any(_is_silent(production.items, silent) for production in rule.productions)

    return _least_set(grammar.rules, is_silent)


def _is_silent(items: Iterable[Item], silent: set[str]) -> bool:
    return all(_is_silent_item(item, silent) for item in items)


def _is_silent_item(item: Item, silent: set[str]) -> bool:
    match item:
        case syntax.Terminal() | syntax.Print():
            return False
        case syntax.Call():
            return item.rule in silent
        case Repeat():
            return item.call.rule in silent
        case Let() | Some() | Each():
            return _is_silent(item.body, silent)
        case If():
            return _is_silent(item.then, silent) or _is_silent(item.otherwise, silent)


def _check_ending(grammar: GrammarSyntax) -> Iterator[Problem]:
    ending = ending_rules(grammar)
    for rule in grammar.rules:
        if rule.name not in ending:
            found = f"No derivation of '{rule.name}' comes to an end."
            law = "Some production of a rule leads to tokens alone."
            remedy = "Add a production that does not call the rule again."
            yield problem(rule.at, found, law, remedy)


def ending_rules(grammar: GrammarSyntax) -> set[str]:
    """Return the names of the rules of which some derivation is finite; unknown rules count as finite."""
    known = {rule.name for rule in grammar.rules}

    def is_ending(rule: Rule, ending: set[str]) -> bool:
        return any(_called(production.items) & known <= ending for production in rule.productions)

    return _least_set(grammar.rules, is_ending)


def _called(items: tuple[Item, ...]) -> set[str]:
    return {call.rule for call in calls_in(syntax.walk(items))}


def _least_set(rules: tuple[Rule, ...], belongs: Callable[[Rule, set[str]], bool]) -> set[str]:
    """Return the least set of names closed under `belongs`."""
    members: set[str] = set()
    grown = True
    while grown:
        grown = False
        for rule in reversed(rules):  # what is called mostly stands behind its caller
            if rule.name not in members and belongs(rule, members):
                members.add(rule.name)
                grown = True
    return members


def _check_size(grammar: GrammarSyntax) -> Iterator[Problem]:
    ending = ending_rules(grammar)
    reached = reachable_rules(grammar)
    unique = {rule.name: rule for rule in grammar.rules if rule.name in reached}
    rules = tuple(rule for rule in unique.values() if rule.name in ending)
    means = expected_calls(rules)
    for members in _circles(means > 0):
        radius = _spectral_radius(means[np.ix_(members, members)])
        if radius >= CRITICAL:
            yield _endless([rules[number] for number in members], radius)


def _endless(rules: list[Rule], radius: float) -> Problem:
    names = ", ".join(f"'{rule.name}'" for rule in rules)
    who = f"{names} calls itself" if len(rules) == 1 else f"{names} call one another"
    rule = "The expected document is finite below 1 only (spectral radius of the mean numbers of calls)."
    remedy = "Lower the probability of the productions that call back."
    return problem(rules[0].at, f"{who} {radius:.4g} times on average.", rule, remedy)


def expected_calls(rules: tuple[Rule, ...]) -> Float64[np.ndarray, "rules rules"]:
    """Return how often, on average, a production of the i-th rule calls the j-th.

    A loop's body counts once, since its derivation is drawn once, a repetition as often as its law's mean,
    and both branches of an `if`, since a loop can need both.
    """
    numbers = {rule.name: number for number, rule in enumerate(rules)}
    means = np.zeros((len(rules), len(rules)))
    for row, rule in zip(means, rules, strict=True):
        for production in rule.productions:
            _add_calls(row, production.items, min(max(production.probability, 0.0), 1.0), numbers)
    return means


def _add_calls(
    row: Float64[np.ndarray, " rules"],
    items: tuple[Item, ...],
    probability: float,
    numbers: Mapping[str, int],
) -> None:
    for item in syntax.walk(items):
        if isinstance(item, syntax.Call) and item.rule in numbers:
            row[numbers[item.rule]] += probability
        elif isinstance(item, Repeat) and item.call.rule in numbers:
            row[numbers[item.call.rule]] += probability * mean_repeats(item.law)


def mean_repeats(law: Law) -> float:
    """Return the mean of a law's number of repetitions; 1 where `check_numbers` has refused the law."""
    if law.name == "stop" and 0 < law.numbers[0] <= 1:
        return min(1 / law.numbers[0], _MOST_REPEATS)
    if law.name == "uniform" and is_range(law):
        return math.fsum(law.numbers) / 2
    if law.name == "power" and law.numbers[0] > 1:
        from scipy.special import zeta  # noqa: PLC0415 - slow to load, and few grammars need it

        return float(zeta(law.numbers[0]))
    return 1.0


def _circles(called: Bool[np.ndarray, "rules rules"]) -> Iterator[list[int]]:
    """Yield the sets of rules that reach one another, and so themselves."""
    reach = called.copy()
    for middle in range(len(reach)):
        reach |= np.outer(reach[:, middle], reach[middle])
    mutual = reach & reach.T
    seen: set[int] = set()
    for number in range(len(reach)):
        if mutual[number, number] and number not in seen:
            members = [int(other) for other in np.flatnonzero(mutual[number])]
            seen.update(members)
            yield members


def _spectral_radius(matrix: Float64[np.ndarray, "rules rules"]) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())
