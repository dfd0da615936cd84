"""What is wrong with a study, in words: the entry and its value, the rule, the remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from emergelab.grammar.problems import suggestion
from emergelab.recipes.hypothesis_faults import explain_hypothesis
from emergelab.recipes.study_spec import Evaluation, GrammarAxes, Keys, ModelAxes, Skills, Study, TrainAxes
from emergelab.spec import Spec

_TABLES: dict[str, type[Spec]] = {
    "grammar": GrammarAxes,
    "model": ModelAxes,
    "train": TrainAxes,
    "evaluate": Evaluation,
    "skills": Skills,
    "keys": Keys,
}
# What to write where an entry has no default that could serve as an example.
_EXAMPLES = {
    "grammar": '"functions"',
    "grammar.name": '"functions"',
    "model": "{ layers = [1, 2] }",
    "model.hidden": "[176, 352]",
    "train": "{ tokens = [1e6, 2e6] }",
    "train.tokens": "[1e6, 2e6]",
    "train.documents": "[1e3, 1e4]",
    "train.betas": "[0.9, 0.95], or a list of such pairs",
    "evaluate": '{ tasks = ["single"] }',
    "evaluate.tasks": '["single"]',
    "skills": "{ documents = 1024 }",
    "keys": "{ world = 1 }",
    **{f"keys.{name}": "1" for name in Keys.model_fields},
}
_PURPOSES = {
    "grammar": "It is a shipped grammar's name or the path of one",
    "grammar.name": "It is a shipped grammar's name or the path of one",
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
    "too_long": "It has {max_length} values, no more",
    "missing": "It needs more values than these",
    "literal_error": "It must be {expected}",
}
_ONE_VALUE = frozenset({"int_type", "float_type", "string_type", "literal_error"})
_MOST_SHOWN = 80
_MOST_DIGITS_SHOWN = 10**_MOST_SHOWN


def explain(error: ValidationError, source: str) -> str:
    """Return one line for each fault of the study that was read from `source`."""
    lines = [f"{source}: {_explain_one(detail)}" for detail in error.errors(include_url=False)]
    return "\n".join(dict.fromkeys(lines))


def _explain_one(detail: Mapping[str, Any]) -> str:
    place = [part for part in detail["loc"] if isinstance(part, str)]
    if place[:1] == ["hypotheses"]:
        return explain_hypothesis(detail, _rule, _shown)
    if place[:2] == ["grammar", "parameters"]:
        del place[1]
    name, kind = ".".join(place)[:_MOST_SHOWN], detail["type"]
    if kind == "missing" and isinstance(detail["loc"][-1], str):
        return f"{name} is missing. {_PURPOSES.get(name, 'It has no default')}. Add {_example(name)}."
    if kind == "extra_forbidden":
        near = suggestion(place[-1], _entries(place[:-1]))
        said = f"{name} is no entry of a study. Remove it or mend its name. {near}"
        is_dotted = len(place) == 1 and isinstance(detail["input"], dict) and "Did you mean" not in near
        return f"{said} A parameter of the grammar is written grammar.{name}.…" if is_dotted else said
    if kind == "value_error":
        found = f"{name} = {_shown(detail['input'])}: " if name else ""
        return found + str(detail["ctx"]["error"]) + ("." if name else "")
    rule = _rule(detail)
    return f"{name} = {_shown(detail['input'])}: {rule}. Write for example {_example(name)}."


def _rule(detail: Mapping[str, Any]) -> str:
    """Return the rule that an entry breaks; a list where one value belongs breaks that rule first."""
    listed = isinstance(detail["input"], list | tuple) and isinstance(detail["loc"][-1], str)
    if listed and detail["type"] in _ONE_VALUE:
        return "It takes one value, no list"
    return _RULES[detail["type"]].format(**detail.get("ctx", {}))


def _example(name: str) -> str:
    """Return an entry as it could be written."""
    table, _, entry = name.partition(".")
    if name not in _EXAMPLES and table == "grammar":
        return f"{name} = [0.1, 0.5]"
    if name in _EXAMPLES:
        return f"{name} = {_EXAMPLES[name]}"
    default = (_TABLES[table] if entry else Study).model_fields[entry or table].default
    return f"{name} = {_shown(default[0] if isinstance(default, tuple) else default)}"  # pyright: ignore[reportUnknownArgumentType]


def _shown(value: object) -> str:
    """Write a value much as TOML does, cut short."""
    if isinstance(value, int) and abs(value) >= _MOST_DIGITS_SHOWN:
        return f"a number of more than {_MOST_SHOWN} digits"
    if isinstance(value, tuple):
        value = list(value)  # pyright: ignore[reportUnknownArgumentType]
    plain = isinstance(value, bool | str | int)
    try:
        text = json.dumps(value, ensure_ascii=False) if plain else str(value)
    except RecursionError:
        text = "tables or lists deep within each other"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _entries(place: Sequence[str]) -> list[str]:
    return list((_TABLES.get(place[0], Study) if place else Study).model_fields)
