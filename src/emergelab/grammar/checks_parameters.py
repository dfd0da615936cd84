"""What the parameters of a grammar have to do with its problems: which are at work where, with which values."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

from emergelab.grammar.notation_numbers import number_text
from emergelab.grammar.problems import Problem
from emergelab.grammar.syntax import GrammarSyntax, Parameter, Position

_MOST_NAMED = 12


def with_parameters(grammar: GrammarSyntax, problems: list[Problem]) -> list[Problem]:
    """Add to every problem the values of the parameters that its part of the grammar uses."""
    return [_with_values(problem, parameters_at(grammar, problem.at)) for problem in problems]


def parameters_at(grammar: GrammarSyntax, at: Position) -> list[Parameter]:
    """Return the parameters that are used in the part (world, hold-out, rule, task) around a place."""
    starts = sorted(_order(part) for part in _parts(grammar))
    part = bisect_right(starts, _order(at))
    return [
        parameter
        for parameter in grammar.parameters
        if any(bisect_right(starts, _order(use)) == part for use in parameter.uses)
    ]


def value_in_force(parameter: Parameter) -> str:
    """Return "size = 12", and what the text says where another value was set."""
    words = f"{parameter.name} = {number_text(parameter.value)}"
    default = parameter.replaced
    return words if default is None else f"{words} (by default {number_text(default)})"


def _parts(grammar: GrammarSyntax) -> list[Position]:
    named = (*grammar.parameters, *grammar.hold_outs, *grammar.rules, *grammar.tasks)
    return [grammar.world.at, *(one.at for one in named)]


def _order(at: Position) -> tuple[int, int]:
    return at.line, at.column


def _with_values(problem: Problem, parameters: list[Parameter]) -> Problem:
    if not parameters:
        return problem
    values = [value_in_force(parameter) for parameter in parameters[:_MOST_NAMED]]
    more = ", …" if len(parameters) > _MOST_NAMED else ""
    return replace(problem, remedy=f"{problem.remedy} In force: {', '.join(values)}{more}.".lstrip())
