"""Prompts for other tools: the questions of a study with their answers, and what guessing would score."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from emergelab.corpus.prompts import make_prompts
from emergelab.errors import UserError
from emergelab.grammar.language import START_TOKEN, Language
from emergelab.grammar.problems import suggestion
from emergelab.grammar.tasks import Task, ground_task
from emergelab.pipeline.files import write_bytes
from emergelab.recipes.stages import language_of
from emergelab.rng import stream
from emergelab.scores.prompts import PromptSet
from emergelab.spec import Json

COLUMNS = pl.Schema(
    {
        "task": pl.String,
        "form": pl.String,
        "split": pl.String,
        "prompt": pl.Int32,  # the same functions and arguments in all forms of a task and split
        "shots": pl.Int16,  # examples before the query
        "text": pl.String,  # up to and with the query's argument, words with spaces between them
        "answer": pl.String,
        "tokens": pl.List(pl.Int32),  # of the text, the start token in front
        "answer_tokens": pl.List(pl.Int32),
        "steps": pl.List(
            pl.Int16
        ),  # places in the answer of what answers something, the last one the final answer
        "fresh": pl.Boolean,  # the argument stands in no earlier row
        "chance": pl.Float64,  # of guessing the whole answer
        "step_chance": pl.List(pl.Float64),
        "functions": pl.List(pl.String),  # in the order in which the task draws them
    }
)
"""One row for each prompt and number of examples."""

_ENDINGS = (".parquet", ".jsonl")
_MOST_QUESTIONS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked: tasks (none: all of the grammar's), prompts of each form and split, 0 to `shots` examples.

    `key` is the study's evaluation key: with it come the very questions of the study.
    """

    tasks: Sequence[str] = ()
    prompts: int = 512
    shots: int = 10
    key: int = 0


def export_prompts(language: Mapping[str, Json], out: Path, asked: Asked) -> int:
    """Write questions with their answers and return how many there are.

    `out` ends in `.parquet` or `.jsonl`. Raises UserError for tasks that the grammar does not have, for more questions
    than a memory holds, and for what `make_prompts` refuses.
    """
    if out.suffix not in _ENDINGS:
        raise UserError(f"Got --out {out}. Prompts are written as {' or '.join(_ENDINGS)}. Name such a file.")
    drawn = language_of(language)
    known = [task.name for task in drawn.syntax.tasks]
    if asked.prompts * (asked.shots + 1) > _MOST_QUESTIONS:
        raise UserError(
            f"{asked.prompts:,} prompts with 0 to {asked.shots} examples are too many. At most {_MOST_QUESTIONS:,} "
            "questions are written for a form and split. Ask for fewer prompts or examples."
        )
    for name in asked.tasks:
        if name not in known:
            raise UserError(
                f"The grammar has no task {name!r}. Prompts are those of its tasks. {suggestion(name, known)}"
            )
    frames = list(_frames(drawn, tuple(asked.tasks) or tuple(known), asked))
    if not frames:
        raise UserError(
            "The grammar has no task to ask for. Prompts are those of its tasks. Write one into it."
        )
    table = pl.concat(frames)
    write_bytes(out, _bytes(table, out.suffix))
    return table.height


def _bytes(table: pl.DataFrame, ending: str) -> bytes:
    buffer = io.BytesIO()
    if ending == ".jsonl":
        table.write_ndjson(buffer)
    else:
        table.write_parquet(buffer, compression="zstd", statistics=False)
    return buffer.getvalue()


def _frames(language: Language, tasks: tuple[str, ...], asked: Asked) -> Iterator[pl.DataFrame]:
    source = stream(asked.key, "evaluation").child("prompts")
    for name in dict.fromkeys(tasks):
        task = ground_task(language, name)
        for one in make_prompts(language, name, prompts=asked.prompts, shots=asked.shots, stream=source):
            yield pl.DataFrame(list(_rows(language, task, one)), schema=COLUMNS, orient="row")


def _rows(language: Language, task: Task, prompts: PromptSet) -> Iterator[tuple[object, ...]]:
    words, names = language.vocabulary.texts, language.function_names()
    for number, tokens in enumerate(prompts.tokens.tolist()):
        functions = [names[function] for function in task.functions[prompts.instance[number]].tolist()]
        for shots in range(prompts.argument.shape[1]):
            begin, stop = int(prompts.argument[number, shots]) + 1, int(prompts.stop[number, shots])
            asked, answer = tokens[:begin], tokens[begin:stop]
            places = prompts.steps[number, shots]
            there = places >= 0
            yield (
                prompts.task,
                prompts.form,
                prompts.split,
                number,
                shots,
                " ".join(words[token] for token in asked if token != START_TOKEN),
                " ".join(words[token] for token in answer),
                asked,
                answer,
                (places[there] - begin).tolist(),
                bool(prompts.fresh[number, shots]),
                float(prompts.chance[number, shots]),
                np.asarray(prompts.step_chance[number, shots])[there].tolist(),
                functions,
            )
