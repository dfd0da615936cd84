"""Prompts: examples of one task and a query, with what guessing would score.

The same draw of functions and arguments serves all forms of a task, so that prompt i of one form can be
compared with prompt i of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

from emergelab.errors import UserError
from emergelab.grammar.language import START_TOKEN, Language
from emergelab.grammar.syntax import Each, walk
from emergelab.grammar.tasks import Task, TaskForm, ground_task, printable, row_table
from emergelab.rng import Stream
from emergelab.scores.prompts import Form, PromptSet, Split

_PLAIN = (False, 0.0)  # with replacement, uniform


@dataclass(frozen=True, eq=False)
class _Choice:
    """What the forms of a task share: which functions and which arguments each prompt has."""

    task: Task
    instances: Int64[np.ndarray, " prompts"]
    arguments: Int64[np.ndarray, "prompts rows"]


def make_prompts(
    language: Language, task_name: str, *, shots: int, prompts: int, stream: Stream
) -> list[PromptSet]:
    """Return one set of prompts for each form and split that a task declares.

    A prompt has `shots` + 1 rows; the values of the task's variable are drawn as the grammar's loops draw. A
    row is fresh if its argument's token stands in no earlier row. Chance is what a predictor scores that
    knows the kind of the functions but none of them: each step it reads off the nearest object before it,
    copying where that stood in an earlier row; else it guesses, and permutations let it rule out the values
    shown. Chance of a whole answer is the product over its steps. A split that no derivation of the grammar
    prints is called `outside`. Raises UserError for a split that is empty.
    """
    task = ground_task(language, task_name)
    sets: list[PromptSet] = []
    for split in task.splits:
        members = _members(language, task, split)
        choice = _choose(language, task, members, (prompts, shots + 1), stream.child(task_name, split))
        sets.extend(
            _prompt_set(language, choice, form, _named_split(language, form, split, members))
            for form in task.forms.values()
        )
    return sets


def _members(language: Language, task: Task, split: str) -> Bool[np.ndarray, " instances"]:
    """Tell which choices of functions belong to a split.

    Seen are those whose rows training prints in every form; where there is none, all that are not held out.
    """
    if split == "held_out":
        members = task.held_out
        _require_hidden(language, task)
    else:
        shown = [_shown(language, form) for form in task.forms.values()]
        members = np.logical_and.reduce([~task.held_out, *shown])
        members = members if members.any() else ~task.held_out
    if not members.any():
        raise UserError(
            f"Task {task.name} has no functions in the split {split!r}: the hold-out of this grammar takes "
            "none of its compositions, or all. Change the hold-out, or leave the split out."
        )
    return members


def _require_hidden(language: Language, task: Task) -> None:
    """Refuse a task whose held-out rows training prints after all, as `c(x) b(x)` may for a drawn world."""
    shown = sum(int((task.held_out & _shown(language, form)).sum()) for form in task.forms.values())
    if shown:
        raise UserError(
            f"Task {task.name} holds out {shown} rows that training prints from other terms of one object. "
            "Print arguments as plain variables, use more objects, or leave the split out."
        )


def _shown(language: Language, form: TaskForm) -> Bool[np.ndarray, " instances"]:
    bodies = printable(language, "train")
    return np.array([row_table(rows) in bodies for rows in form.rows])


def _named_split(
    language: Language, form: TaskForm, split: str, members: Bool[np.ndarray, " instances"]
) -> Split:
    """Call `outside` what training prints in no derivation, unless it is what is held out."""
    if split == "seen" and not _shown(language, form)[members].all():
        return "outside"
    return cast("Split", split)


def _choose(
    language: Language,
    task: Task,
    members: Bool[np.ndarray, " instances"],
    shape: tuple[int, int],
    stream: Stream,
) -> _Choice:
    """Draw functions by their probabilities in the grammar, and values of the variable as its loops do."""
    prompts, _ = shape
    probabilities = np.where(members, task.probabilities, 0.0)
    instances = (
        stream.child("functions")
        .generator()
        .choice(len(members), size=prompts, p=probabilities / probabilities.sum())
    )
    arguments = _draw_arguments(language, shape, stream.child("arguments").generator())
    return _Choice(task, instances.astype(np.int64), arguments)


def _draw_arguments(
    language: Language, shape: tuple[int, int], generator: np.random.Generator
) -> Int64[np.ndarray, "prompts rows"]:
    """Draw the variable's values as the grammar's loops do, so that training could print the prompts.

    Where loops differ in their law, uniform draws with replacement are taken if one of them draws so.
    """
    laws = _argument_laws(language)
    if not laws or _PLAIN in laws:
        return generator.integers(0, language.objects, size=shape)
    if len(laws) > 1:
        raise UserError(
            "The loops of this grammar draw their objects by different laws, none of them uniform with replacement, "
            "and prompts need one law. Give the loops the same law, or write a grammar for each."
        )
    distinct, power = laws.pop()
    weights = np.arange(1, language.objects + 1) ** -power
    if not distinct:
        return generator.choice(language.objects, size=shape, p=weights / weights.sum())
    if shape[1] > language.objects:
        raise UserError(
            f"The loops of this grammar print each of {language.objects} objects once, and the prompts need "
            f"{shape[1]} rows. Use evaluate.shots = {language.objects - 1} at most, or more objects."
        )
    # The order of independent exponential waiting times is a draw without replacement (Efraimidis 2006).
    waits = generator.exponential(size=(shape[0], language.objects)) / weights
    return np.argsort(waits, axis=1)[:, : shape[1]]


def _argument_laws(language: Language) -> set[tuple[bool, float]]:
    """Return the laws of the objects of all loops: drawn without replacement?, power of the weights."""
    productions = (production for rule in language.syntax.rules for production in rule.productions)
    loops = (item for production in productions for item in walk(production.items) if isinstance(item, Each))
    return {
        (loop.distinct or loop.law.name == "all", loop.weights.numbers[0] if loop.weights.numbers else 0.0)
        for loop in loops
    }


def _prompt_set(language: Language, choice: _Choice, form: TaskForm, split: Split) -> PromptSet:
    prompts, rows = choice.arguments.shape
    width = form.rows.shape[2]
    printed = form.rows[choice.instances[:, None], choice.arguments]
    start = np.full((prompts, 1), START_TOKEN, dtype=np.uint16)
    argument = np.tile(1 + width * np.arange(rows, dtype=np.int32), (prompts, 1))
    columns = np.array([step.column for step in form.steps], dtype=np.int32)
    fresh, _ = _fresh(_objects(language, printed, 0), language.objects)
    step_chance = _step_chance(language, form, printed)
    return PromptSet(
        task=choice.task.name,
        form=cast("Form", form.name),
        split=split,
        tokens=np.concatenate([start, printed.reshape(prompts, rows * width)], axis=1),
        argument=argument,
        stop=argument + np.int32(width),
        steps=argument[..., None] + columns,
        fresh=fresh,
        chance=step_chance.prod(axis=2),
        step_chance=step_chance,
        instance=choice.instances.astype(np.int32),
    )


def _objects(
    language: Language, printed: UInt16[np.ndarray, "prompts rows width"], column: int
) -> Int64[np.ndarray, "prompts rows"]:
    return printed[:, :, column].astype(np.int64) - language.vocabulary.first_object


def _fresh(
    shown: Int64[np.ndarray, "prompts rows"], objects: int
) -> tuple[Bool[np.ndarray, "prompts rows"], Int64[np.ndarray, "prompts rows"]]:
    """Tell which rows' objects stand in no earlier row, and how many different ones those show."""
    prompts, rows = shown.shape
    seen = np.zeros((prompts, objects), dtype=bool)
    fresh = np.zeros((prompts, rows), dtype=bool)
    distinct = np.zeros((prompts, rows), dtype=np.int64)
    everyone = np.arange(prompts)
    for row in range(rows):
        distinct[:, row] = seen.sum(axis=1)
        fresh[:, row] = ~seen[everyone, shown[:, row]]
        seen[everyone, shown[:, row]] = True
    return fresh, distinct


def _step_chance(
    language: Language, form: TaskForm, printed: UInt16[np.ndarray, "prompts rows width"]
) -> Float64[np.ndarray, "prompts rows steps"]:
    """Return the chance of guessing each step right when all before it are."""
    chances: list[np.ndarray] = []
    for step in form.steps:
        fresh, distinct = _fresh(_objects(language, printed, step.source), language.objects)
        left = language.objects - distinct if step.injective else np.full(distinct.shape, language.objects)
        chances.append(np.where(fresh & (not step.copied), 1.0 / np.maximum(left, 1), 1.0))
    return np.stack(chances, axis=2)
