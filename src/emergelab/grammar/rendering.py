"""A grammar, and documents sampled from it, to be read: as JSON values and as text for a terminal.

Colours tell the roles of tokens apart for colour-blind eyes too, on light and on dark backgrounds (blue,
vermillion and bluish green of Okabe and Ito 2008, "Color Universal Design"); shape tells them apart where
there is no colour at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from emergelab.grammar import syntax
from emergelab.grammar.checks_numbers import terminals
from emergelab.grammar.notation import (
    render_draws,
    render_family,
    render_hold_out,
    render_item,
    render_production,
)
from emergelab.grammar.notation_numbers import number_text
from emergelab.grammar.syntax import GrammarSyntax, Item, Parameter, Production, Rule, TaskSyntax
from emergelab.spec import Json

if TYPE_CHECKING:
    import rich.console
    import rich.table
    import rich.text

ROLE_STYLES: Mapping[str, str] = {
    "start": "dim",
    "argument": "#0072b2",
    "intermediate": "italic #d55e00",
    "answer": "bold underline #009e73",
    "separator": "dim",
    "other": "",
}
"""The style, in Rich's words, of each role of a token."""

ROLE_MARKS: Mapping[str, tuple[str, str]] = {"intermediate": ("(", ")"), "answer": ("[", "]")}
"""What stands around a token of a role where neither colour nor shape can be shown."""

_ROLE_WORDS: Mapping[str, str] = {
    "argument": "argument",
    "intermediate": "intermediate step",
    "answer": "answer",
    "separator": "separator",
}


def describe(grammar: GrammarSyntax) -> dict[str, Json]:
    """Return what a grammar says as JSON values: parameters, world, rules, hold-outs, tasks, terminals.

    `nats` is a production's contribution to the description length of a derivation, -ln of its probability.
    """
    return {
        "name": grammar.name,
        "parameters": [
            {"name": one.name, "value": one.value, "default": one.default} for one in grammar.parameters
        ],
        "world": {
            "objects": grammar.world.objects,
            "families": [_describe_family(family) for family in grammar.world.families],
        },
        "rules": [_describe_rule(rule) for rule in grammar.rules],
        "hold_outs": [
            {"share": one.share, "families": list(one.families), "text": render_hold_out(one)}
            for one in grammar.hold_outs
        ],
        "tasks": [_describe_task(task) for task in grammar.tasks],
        "terminals": sorted(terminals(grammar)),
    }


def _describe_family(family: syntax.Family) -> Json:
    return {
        "name": family.name,
        "kind": family.kind,
        "count": family.count,
        "scope": family.scope,
        "power": family.power,
        "density": family.density,
        "text": render_family(family),
    }


def _describe_rule(rule: Rule) -> Json:
    productions: list[Json] = [
        {
            "probability": production.probability,
            "nats": _nats(production),
            "text": render_production(production, alone=True),
        }
        for production in rule.productions
    ]
    return {"name": rule.name, "parameters": list(rule.parameters), "productions": productions}


def _describe_task(task: TaskSyntax) -> Json:
    return {
        "name": task.name,
        "draws": [{"name": draw.name, "family": draw.family} for draw in task.draws],
        "variable": task.variable,
        "direct": _items_text(task.direct),
        "steps": None if task.steps is None else _items_text(task.steps),
        "splits": list(task.splits),
    }


def _nats(production: Production) -> float:
    return -math.log(production.probability) + 0.0  # -ln 1 is 0, not -0


def _items_text(items: tuple[Item, ...]) -> str:
    return " ".join(map(render_item, items))


def grammar_view(grammar: GrammarSyntax) -> rich.console.Group:
    """Return a grammar as tables for a terminal: world, rules with their costs in nats, hold-outs, tasks."""
    from rich.console import Group  # noqa: PLC0415 - only what prints to a terminal pays for Rich
    from rich.text import Text  # noqa: PLC0415

    parts: list[rich.text.Text | rich.table.Table] = [
        Text(f"{grammar.name}: {grammar.world.objects} objects", style="bold"),
        *_parameter_tables(grammar),
        _table(("world",), ((render_family(family),) for family in grammar.world.families)),
        _table(("rule", "probability", "nats", "production"), _rule_rows(grammar)),
    ]
    if grammar.hold_outs:
        parts.append(
            _table(("kept out of training",), ((render_hold_out(one),) for one in grammar.hold_outs))
        )
    if grammar.tasks:
        parts.append(_table(("task", "splits", "row", "row with steps"), _task_rows(grammar)))
    return Group(*parts)


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> rich.table.Table:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - see grammar_view
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(
            head, justify="right" if head in {"probability", "nats", "value"} else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _parameter_tables(grammar: GrammarSyntax) -> Iterator[rich.table.Table]:
    if grammar.parameters:
        yield _table(("parameter", "value", "by default"), map(_parameter_row, grammar.parameters))


def _parameter_row(parameter: Parameter) -> Sequence[str]:
    default = "" if parameter.replaced is None else number_text(parameter.replaced)
    return parameter.name, number_text(parameter.value), default


def _rule_rows(grammar: GrammarSyntax) -> Iterator[Sequence[str]]:
    for rule in grammar.rules:
        head = f"{rule.name}({', '.join(rule.parameters)})" if rule.parameters else rule.name
        for number, production in enumerate(rule.productions):
            name = head if number == 0 else ""
            text = render_production(production, alone=True)
            yield name, f"{production.probability:.4g}", f"{_nats(production):.3f}", text


def _task_rows(grammar: GrammarSyntax) -> Iterator[Sequence[str]]:
    for task in grammar.tasks:
        splits = ", ".join(split.replace("_", " ") for split in task.splits)
        draws = f"{render_draws(task.draws)}: " if task.draws else ""
        steps = "" if task.steps is None else _items_text(task.steps)
        yield task.name, splits, draws + _items_text(task.direct), steps


def sample_text(
    tokens: Sequence[str],
    roles: Sequence[str],
    statements: Sequence[int],
    rows: Sequence[int],
    *,
    marks: bool = False,
) -> rich.text.Text:
    """Return a document with one line for each row of a loop, its tokens styled by role.

    `statements` and `rows` count from 0; a row below 0 means that the token is in no loop. In front of a
    line stand the numbers of statement and row, from 1. With `marks`, for output without any styles, brackets
    tell steps and answers apart. Raises ValueError where the four differ in length.
    """
    from rich.text import Text  # noqa: PLC0415 - see grammar_view

    text = Text()
    before: tuple[int, int] | None = None
    for token, role, *place in zip(tokens, roles, statements, rows, strict=True):
        here = (place[0], place[1])
        if here != before:
            text.append("\n" if before is not None else "")
            text.append(_gutter(here, role), style="dim")
        else:
            text.append(" ")
        opening, closing = ROLE_MARKS.get(role, ("", "")) if marks else ("", "")
        text.append(f"{opening}{token}{closing}", style=ROLE_STYLES.get(role, ""))
        before = here
    return text


def _gutter(place: tuple[int, int], role: str) -> str:
    statement, row = place
    if role == "start":
        return " " * 9
    return f"{statement + 1:>4}.{row + 1:<3} " if row >= 0 else f"{statement + 1:>4}     "


def legend(*, marks: bool = False) -> rich.text.Text:
    """Return the words for the roles, each in the style, or between the marks, of its tokens."""
    from rich.text import Text  # noqa: PLC0415 - see grammar_view

    text = Text("statement.row", style="dim")
    for role, words in _ROLE_WORDS.items():
        opening, closing = ROLE_MARKS.get(role, ("", "")) if marks else ("", "")
        text.append("  ")
        text.append(f"{opening}{words}{closing}", style=ROLE_STYLES[role])
    return text
