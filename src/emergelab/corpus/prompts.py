"""Prompts: examples of one task and a query, with what guessing would score.

The same draw of functions and arguments serves all forms of a task, so that prompt i of one form can be
compared with prompt i of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Bool, Float64, Int64

from emergelab.errors import UserError
from emergelab.grammar.language import START_TOKEN, Language
from emergelab.grammar.tasks import Task, TaskForm, ground_task, printable
from emergelab.rng import Stream
from emergelab.scores.prompts import Form, PromptSet, Split


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

    A prompt has `shots` + 1 rows; their arguments are drawn uniformly with replacement. Chance is what a
    predictor scores that knows the task's kind but none of its functions: for an argument shown before it
    copies; for another it guesses, and where the table is a permutation it rules out the values shown.
    The chance of a whole answer is the product over its steps. Raises UserError for a split that is empty.
    """
    task = ground_task(language, task_name)
    sets: list[PromptSet] = []
    for split in task.splits:
        members = _members(language, task, split)
        choice = _choose(task, members, language.objects, shots + 1, prompts, stream.child(task_name, split))
        sets.extend(
            _prompt_set(language, choice, form, _named_split(language, task, form, split, members))
            for form in task.forms.values()
        )
    return sets


def _members(language: Language, task: Task, split: str) -> Bool[np.ndarray, " instances"]:
    """Tell which choices of functions belong to a split.

    Seen are those whose rows training prints in every form; where there is none, all that are not held out.
    """
    if split == "held_out":
        members = task.held_out
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


def _shown(language: Language, form: TaskForm) -> Bool[np.ndarray, " instances"]:
    bodies = printable(language, "train")
    return np.array([row.tobytes() in bodies for row in form.rows])


def _named_split(
    language: Language, task: Task, form: TaskForm, split: str, members: Bool[np.ndarray, " instances"]
) -> Split:
    """Call `outside` what no derivation of the grammar prints."""
    if split == "held_out":
        bodies = printable(language, "full")
        inside = all(row.tobytes() in bodies for row in form.rows[members])
    else:
        inside = bool(_shown(language, form)[members].all())
    del task
    return cast("Split", split) if inside else "outside"


def _choose(
    task: Task, members: Bool[np.ndarray, " instances"], objects: int, rows: int, prompts: int, stream: Stream
) -> _Choice:
    probabilities = np.where(members, task.probabilities, 0.0)
    instances = stream.child("functions").generator().choice(
        len(members), size=prompts, p=probabilities / probabilities.sum()
    )
    arguments = stream.child("arguments").generator().integers(0, objects, size=(prompts, rows))
    return _Choice(task, instances.astype(np.int64), arguments.astype(np.int64))


def _prompt_set(language: Language, choice: _Choice, form: TaskForm, split: Split) -> PromptSet:
    prompts, rows = choice.arguments.shape
    width = form.rows.shape[2]
    printed = form.rows[choice.instances[:, None], choice.arguments].reshape(prompts, rows * width)
    tokens = np.concatenate([np.full((prompts, 1), START_TOKEN, dtype=np.uint16), printed], axis=1)
    argument = np.tile(1 + width * np.arange(rows, dtype=np.int32), (prompts, 1))
    fresh, distinct = _fresh(choice.arguments, language.objects)
    step_chance = _step_chance(form, choice.instances, fresh, distinct, language.objects)
    return PromptSet(
        task=choice.task.name,
        form=cast("Form", form.name),
        split=split,
        tokens=np.ascontiguousarray(tokens),
        argument=argument,
        stop=argument + np.int32(width),
        steps=argument[..., None] + np.array(form.steps, dtype=np.int32),
        fresh=fresh,
        chance=step_chance.prod(axis=2),
        step_chance=step_chance,
        instance=choice.instances.astype(np.int32),
    )


def _fresh(
    arguments: Int64[np.ndarray, "prompts rows"], objects: int
) -> tuple[Bool[np.ndarray, "prompts rows"], Int64[np.ndarray, "prompts rows"]]:
    """Tell which rows' arguments stand in no earlier row, and how many different ones those show."""
    prompts, rows = arguments.shape
    shown = np.zeros((prompts, objects), dtype=bool)
    fresh = np.zeros((prompts, rows), dtype=bool)
    distinct = np.zeros((prompts, rows), dtype=np.int64)
    everyone = np.arange(prompts)
    for row in range(rows):
        distinct[:, row] = shown.sum(axis=1)
        fresh[:, row] = ~shown[everyone, arguments[:, row]]
        shown[everyone, arguments[:, row]] = True
    return fresh, distinct


def _step_chance(
    form: TaskForm,
    instances: Int64[np.ndarray, " prompts"],
    fresh: Bool[np.ndarray, "prompts rows"],
    distinct: Int64[np.ndarray, "prompts rows"],
    objects: int,
) -> Float64[np.ndarray, "prompts rows steps"]:
    """Return the chance of guessing each step."""
    bijective = (np.sort(form.printed_tables, axis=2) == np.arange(objects)).all(axis=2)[instances]
    left = np.where(bijective[:, None, :], objects - distinct[:, :, None], objects)
    return np.where(fresh[:, :, None], 1.0 / np.maximum(left, 1), 1.0)
