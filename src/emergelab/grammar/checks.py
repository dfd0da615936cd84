"""Checks of a grammar: everything that is wrong with it, at once.

The notation is read by `notation`; here stands what else a grammar must obey, so that every derivation is
defined, finite in expectation, and trainable. `docs/grammar.md` lists the rules.
"""

from __future__ import annotations

from emergelab.errors import GrammarError
from emergelab.grammar.checks_derivations import check_derivations
from emergelab.grammar.checks_names import check_names
from emergelab.grammar.checks_numbers import MAX_RULES, check_numbers
from emergelab.grammar.checks_parameters import with_parameters
from emergelab.grammar.checks_tasks import check_hold_outs, check_tasks
from emergelab.grammar.notation_faults import excerpt
from emergelab.grammar.problems import Problem
from emergelab.grammar.syntax import GrammarSyntax

_MOST_SHOWN = 20


def check(grammar: GrammarSyntax) -> list[Problem]:
    """Return all problems of a grammar in the order of its text; an empty list if it is valid."""
    found = check_numbers(grammar)
    if len(grammar.rules) <= MAX_RULES:
        found += check_names(grammar)
        found += check_derivations(grammar)
        found += check_hold_outs(grammar)
        found += check_tasks(grammar)
    in_order = sorted(dict.fromkeys(found), key=lambda problem: (problem.line, problem.column))
    return with_parameters(grammar, in_order)


def require_valid(grammar: GrammarSyntax, source: str, text: str) -> None:
    """Raise one GrammarError that lists all problems of a grammar, each with its line of `text`."""
    problems = check(grammar)
    if problems:
        raise GrammarError(report(problems, source, text))


def report(problems: list[Problem], source: str, text: str) -> str:
    """Return the problems as a message of several lines: place, finding, rule, remedy, line and caret."""
    shown = [_shown(problem, source, text.removeprefix("\ufeff")) for problem in problems[:_MOST_SHOWN]]
    if len(problems) > _MOST_SHOWN:
        shown.append(f"{source}: {len(problems) - _MOST_SHOWN} more problems.")
    return "\n".join(shown)


def _shown(problem: Problem, source: str, text: str) -> str:
    if not problem.line:
        return f"{source}: {problem.message}"
    head = f"{source}:{problem.line}:{problem.column}: {problem.message}"
    return f"{head}\n{excerpt(text, problem.at)}".rstrip("\n")
