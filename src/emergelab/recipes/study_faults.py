"""What is wrong with a study, in words: the entry and its value, the rule, the remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from emergelab.grammar.problems import suggestion
from emergelab.recipes.study_spec import Evaluation, Keys, ModelAxes, Study, TrainAxes
from emergelab.spec import Spec

_TABLES: dict[str, type[Spec]] = {
    "model": ModelAxes,
    "train": TrainAxes,
    "evaluate": Evaluation,
    "keys": Keys,
}
# What to write where an entry has no default that could serve as an example.
_EXAMPLES = {
    "grammar": '"functions"',
    "model": "{ layers = [1, 2] }",
    "model.hidden": "176",
    "train": "{ tokens = [1e6, 2e6] }",
    "train.tokens": "[1e6, 2e6]",
    "train.documents": "[1e3, 1e4]",
    "evaluate": '{ tasks = ["single"] }',
    "evaluate.tasks": '["single"]',
    "keys": "{ world = 1 }",
    **{f"keys.{name}": "1" for name in Keys.model_fields},
}
_PURPOSES = {
    "grammar": "It is a shipped grammar's name or the path of one",
    "train": "It says how long to train",
    "train.tokens": "It says how long to train",
    "evaluate": "It says what to ask the models",
    "evaluate.tasks": "It says what to ask the models",
}
_RULES = {
    "int_type": "It must be a whole number",
    "float_type": "It must be a number",
    "finite_number": "It must be a finite number",
    "string_type": "It must be text in quotes",
    "too_short": "It needs at least one value",
    "model_type": "It is a table of entries",
    "greater_than": "It must be above {gt:g}",
    "greater_than_equal": "It must be at least {ge:g}",
    "less_than": "It must be below {lt:g}",
    "less_than_equal": "It must be at most {le:,}",
    "tuple_type": "It is a list of values",
    "literal_error": "It must be {expected}",
}
_MOST_SHOWN = 80
_MOST_DIGITS_SHOWN = 10**_MOST_SHOWN


def explain(error: ValidationError, source: str) -> str:
    """Return one line for each fault of the study that was read from `source`."""
    lines = [f"{source}: {_explain_one(detail)}" for detail in error.errors(include_url=False)]
    return "\n".join(dict.fromkeys(lines))


def _explain_one(detail: Mapping[str, Any]) -> str:
    place = [part for part in detail["loc"] if isinstance(part, str)]
    name, kind = ".".join(place), detail["type"]
    if kind == "missing":
        return f"{name} is missing. {_PURPOSES.get(name, 'It has no default')}. Add {_example(name)}."
    if kind == "extra_forbidden":
        near = suggestion(place[-1], _entries(place[:-1]))
        return f"{name[:_MOST_SHOWN]} is no entry of a study. Remove it or mend its name. {near}"
    if kind == "value_error":
        found = f"{name} = {_shown(detail['input'])}: " if name else ""
        return found + str(detail["ctx"]["error"]) + ("." if name else "")
    rule = _RULES[kind].format(**detail.get("ctx", {}))
    return f"{name} = {_shown(detail['input'])}: {rule}. Write for example {_example(name)}."


def _example(name: str) -> str:
    """Return an entry as it could be written."""
    if name in _EXAMPLES:
        return f"{name} = {_EXAMPLES[name]}"
    *table, entry = name.split(".")
    spec = _TABLES[table[0]] if table else Study
    default = spec.model_fields[entry].default
    return f"{name} = {_shown(list(default) if isinstance(default, tuple) else default)}"  # pyright: ignore[reportUnknownArgumentType]


def _shown(value: object) -> str:
    """Write a value much as TOML does, cut short."""
    if isinstance(value, int) and abs(value) >= _MOST_DIGITS_SHOWN:
        return f"a number of more than {_MOST_SHOWN} digits"
    plain = isinstance(value, bool | str | int)
    text = json.dumps(value, ensure_ascii=False) if plain else str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _entries(place: Sequence[str]) -> list[str]:
    return list((_TABLES.get(place[0], Study) if place else Study).model_fields)
