"""Prompts: examples of one task and a query, with what guessing would score.

The same draw of functions, tables and arguments serves all forms of a task, so that prompt i of one form can
be compared with prompt i of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt16

from emergelab.corpus.chance import ShownRows, chances_of
from emergelab.errors import UserError
from emergelab.grammar.arguments import ArgumentLaw, prompt_arguments
from emergelab.grammar.language import END_TOKEN, START_TOKEN, Language
from emergelab.grammar.tasks import Task, TaskForm, ground_task, shown_in_training
from emergelab.rng import Stream
from emergelab.scores.prompts import Form, PromptSet, Split


@dataclass(frozen=True, eq=False)
class _Asked:
    """A task, with the choices of functions for which training shows the rows of each form."""

    task: Task
    shown: dict[str, Bool[np.ndarray, " instances"]]


@dataclass(frozen=True, eq=False)
class _Choice:
    """What the forms of a task share: which functions, tables and arguments each prompt has."""

    task: Task
    instances: Int64[np.ndarray, " prompts"]
    tables: UInt16[np.ndarray, "prompts draws objects"]
    variable: Int64[np.ndarray, "prompts rows"]


def split_members(language: Language, task: Task, split: str) -> Bool[np.ndarray, " instances"]:
    """Tell which choices of a task's functions belong to a split; `outside` is another name for `seen`.

    Raises UserError for a split that is empty.
    """
    return _members(_asked(language, task), "held_out" if split == "held_out" else "seen")


def make_prompts(
    language: Language, task_name: str, *, shots: int, prompts: int, stream: Stream
) -> list[PromptSet]:
    """Return one set of prompts for each form and split that a task declares.

    A prompt has `shots` + 1 rows; the values of the task's variable are drawn as the grammar's loops draw,
    functions of the document anew for each prompt. A row is fresh if its argument's token stands in no
    earlier row. Chance is what `corpus.chance` says. A split that no derivation of the training law prints is
    called `outside`. Raises UserError for a split that is empty.
    """
    task = ground_task(language, task_name)
    asked = _asked(language, task)
    sets: list[PromptSet] = []
    for split in task.splits:
        members = _members(asked, split)
        choice = _choose(language, task, members, (prompts, shots + 1), stream.child(task_name, split))
        sets.extend(
            _prompt_set(language, choice, form, _named_split(asked, form, split, members))
            for form in task.forms.values()
        )
    return sets


def _asked(language: Language, task: Task) -> _Asked:
    return _Asked(task, {form.name: shown_in_training(language, task, form) for form in task.forms.values()})


def _members(asked: _Asked, split: str) -> Bool[np.ndarray, " instances"]:
    """Tell which choices of functions belong to a split.

    Seen are those whose rows training prints in every form; where there is none, all that are not held out.
    """
    task, shown = asked.task, list(asked.shown.values())
    if split == "held_out":
        members = _hidden(asked)
    else:
        members = np.logical_and.reduce([~task.held_out, *shown])
        members = members if members.any() else ~task.held_out
    if not members.any():
        raise UserError(
            f"Task {task.name} has no functions in the split {split!r}: the hold-out of this grammar takes "
            "none of its compositions, or all. Change the hold-out, or leave the split out."
        )
    return members


def _hidden(asked: _Asked) -> Bool[np.ndarray, " instances"]:
    """Return the choices that are held out, none of which training may print.

    For a drawn world it may, as `c(x) b(x)` prints b of the inverse of c: such a task is refused. A row that
    asks questions may come to print no more of a composition than others do; such choices are left out.
    """
    task = asked.task
    shown = [task.held_out & one for one in asked.shown.values()]
    if any(one.any() for one in shown) and not task.branches:
        raise UserError(
            f"Task {task.name} holds out {sum(int(one.sum()) for one in shown)} rows that training prints from other "
            "terms of one object. Print arguments as plain variables, use more objects, or leave the split out."
        )
    return task.held_out & ~np.logical_or.reduce(shown)


def _named_split(asked: _Asked, form: TaskForm, split: str, members: Bool[np.ndarray, " instances"]) -> Split:
    """Call `outside` what training prints in no derivation, unless it is what is held out."""
    if split == "seen" and not asked.shown[form.name][members].all():
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
    instances = instances.astype(np.int64)
    tables = task.tables(language, instances, stream.child("tables"))
    variable = _draw_arguments(language, shape, stream.child("arguments").generator())
    return _Choice(task, instances, tables, variable)


def _draw_arguments(
    language: Language, shape: tuple[int, int], generator: np.random.Generator
) -> Int64[np.ndarray, "prompts rows"]:
    """Draw the variable's values as the grammar's loops do, so that training could print the prompts."""
    law = prompt_arguments(language)
    if law == ArgumentLaw():
        return generator.integers(0, language.objects, size=shape)
    weights = law.weights(language.objects)
    if not law.distinct:
        return generator.choice(language.objects, size=shape, p=weights)
    if shape[1] > language.objects:
        raise UserError(
            f"The loops of this grammar print each of {language.objects} objects once, and the prompts need "
            f"{shape[1]} rows. Use {language.objects - 1} shots at most, or more objects."
        )
    # The order of independent exponential waiting times is a draw without replacement (Efraimidis 2006).
    waits = generator.exponential(size=(shape[0], language.objects)) / weights
    return np.argsort(waits, axis=1)[:, : shape[1]]


def _prompt_set(language: Language, choice: _Choice, form: TaskForm, split: Split) -> PromptSet:
    task = choice.task
    printed = task.print_rows(form, choice.tables, choice.variable)
    lengths = np.array([len(case.symbols) for case in form.cases], dtype=np.int32)[printed.case]
    stop = 1 + np.cumsum(lengths, axis=1, dtype=np.int32)
    argument = stop - lengths
    chances = chances_of(task, form, ShownRows(printed, choice.tables, choice.variable))
    columns = _step_columns(form)[printed.case]
    return PromptSet(
        task=task.name,
        form=cast("Form", form.name),
        split=split,
        tokens=_joined(printed.tokens),
        argument=argument,
        stop=stop,
        steps=np.where(columns >= 0, argument[..., None] + columns, np.int32(-1)),
        fresh=_fresh(printed.tokens[:, 0], len(language.vocabulary)),
        chance=chances.whole,
        step_chance=chances.steps,
        instance=choice.instances.astype(np.int32),
    )


def _step_columns(form: TaskForm) -> Int32[np.ndarray, "cases steps"]:
    """Return the columns of each case's steps, -1 beyond the last."""
    columns = np.full((len(form.cases), max(map(len, form.steps))), -1, dtype=np.int32)
    for row, steps in zip(columns, form.steps, strict=True):
        row[: len(steps)] = steps
    return columns


def _joined(rows: UInt16[np.ndarray, "prompts width rows"]) -> UInt16[np.ndarray, "prompts length"]:
    """Write each prompt's rows one behind the other after a start token, end tokens behind the last."""
    prompts = len(rows)
    flat = rows.swapaxes(1, 2).reshape(prompts, -1)
    printed = flat != START_TOKEN  # stands behind the end of short rows
    tokens = np.full((prompts, 1 + int(printed.sum(axis=1).max(initial=0))), END_TOKEN, dtype=np.uint16)
    tokens[:, 0] = START_TOKEN
    prompt, place = np.nonzero(printed)
    tokens[prompt, np.cumsum(printed, axis=1)[prompt, place]] = flat[prompt, place]
    return tokens


def _fresh(shown: UInt16[np.ndarray, "prompts rows"], tokens: int) -> Bool[np.ndarray, "prompts rows"]:
    """Tell which rows' arguments stand in no earlier row."""
    seen = np.zeros((len(shown), tokens), dtype=bool)
    fresh = np.zeros(shown.shape, dtype=bool)
    everyone = np.arange(len(shown))
    for row in range(shown.shape[1]):
        fresh[:, row] = ~seen[everyone, shown[:, row]]
        seen[everyone, shown[:, row]] = True
    return fresh
