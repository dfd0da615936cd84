"""What is wrong with a hypothesis as it is written, in words: the entry and its value, the rule, the remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emergelab.grammar.problems import suggestion
from emergelab.recipes.hypothesis_spec import TESTS, UNION_TAGS, Asked, Further
from emergelab.spec import Spec

_TABLES: dict[str, type[Spec]] = {"of": Asked, "minus": Asked, "later_than": Asked, "more_than": Further}
_EXAMPLES = {
    "name": '"H1"',
    "claim": '"Models learn single functions."',
    "of": '{ task = "single" }',
    "minus": '"chance", or entries that change those of `of`: { form = "steps" }',
    "models": "{ layers = 4 }",
    "more_than": '{ models = { width = "smallest" } }',
    "later_than": '{ form = "steps" }',
    "task": '"single"',
    "form": '"steps"',
    "split": '"held_out"',
    "shots": "10",
    "answers": "10",
    "argument": '"fresh"',
    "decoding": '"teacher_forced"',
    "measure": '"nats"',
    "axis": '"tokens"',
    "expected": '"no jump"',
    "predictor": '"ideal"',
    "unit": '"tasks"',
    "level": "0.5",
    "above": "0",
    "below": "0",
    "tolerance": "0.01",
    "aspect": '"exact"',
    "tuples": '"within"',
    "size": "2",
    "beta": "[1.5, 2, 3]",
    "levels": "[0.1, 0.25, 0.5]",
    "over": '"mean"',
}
_KINDS = ", ".join(TESTS)


def explain_hypothesis(
    detail: Mapping[str, Any], rule: Callable[[Mapping[str, Any]], str], shown: Callable[[object], str]
) -> str:
    """Return one line on one fault; `rule` and `shown` are those of the study's other entries."""
    numbers = [part for part in detail["loc"] if isinstance(part, int)]
    if not numbers:
        return f"hypotheses = {shown(detail['input'])}: They are tables. Begin each with [[hypotheses]]."
    which, kind = f"hypothesis {numbers[0] + 1}", detail["type"]
    place = _place(detail["loc"])
    name = ".".join(place)
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return _unknown_test(which, detail, shown)
    if kind == "value_error":
        said = f"{detail['ctx']['error']}."
        return f"{which}: {name} = {shown(detail['input'])}: {said}" if place else f"{which}: {said}"
    if kind in {"missing", "extra_forbidden"} and place:
        return f"{which}: {_amiss(detail, place)}"
    found = shown(detail["input"])
    if not place:
        return f"{which} = {found}: It is a table of entries. Begin it with [[hypotheses]]."
    return (
        f"{which}: {name} = {found}: {rule(detail)}. Write for example {place[-1]} = {_example(place[-1])}."
    )


def _amiss(detail: Mapping[str, Any], place: Sequence[str]) -> str:
    """Say of an entry that it is missing, or that there is none of its name."""
    name = ".".join(place)
    if detail["type"] == "missing":
        return (
            f"{name} is missing. Every test of this kind needs it. Add {place[-1]} = {_example(place[-1])}."
        )
    near = suggestion(place[-1], _entries(detail["loc"], place[:-1]))
    return f"{name} is no entry of it. Remove it or mend its name. {near}"


def _place(where: Sequence[str | int]) -> list[str]:
    """Return the names of tables and entries, without the marks of what kind they were taken for."""
    names = [part for part in where[2:] if isinstance(part, str)]
    return [
        name for name in (names[1:] if names[:1] and names[0] in TESTS else names) if name not in UNION_TAGS
    ]


def _unknown_test(which: str, detail: Mapping[str, Any], shown: Callable[[object], str]) -> str:
    found = detail["input"].get("test") if isinstance(detail["input"], Mapping) else None  # pyright: ignore[reportUnknownVariableType]
    if found is None:
        return (
            f"{which}: test is missing. It says how the claim is decided on: one of {_KINDS}. Add for example test = "
            '"difference".'
        )
    near = suggestion(str(found), list(TESTS))  # pyright: ignore[reportUnknownArgumentType]
    return f"{which}: test = {shown(found)}: It must be one of {_KINDS}. {near}"


def _example(name: str) -> str:
    return _EXAMPLES.get(name, "[1, 2]")


def _entries(where: Sequence[str | int], outer: Sequence[str]) -> list[str]:
    if outer:
        return list(_TABLES.get(outer[-1], Asked).model_fields)
    test = next((part for part in where if part in TESTS), "difference")
    return list(TESTS[str(test)].model_fields)
