"""The table of prompts: which functions each of them draws, and how long its shortest description is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from jaxtyping import Float64

from emergelab.errors import UserError
from emergelab.grammar.arguments import prompt_arguments
from emergelab.grammar.language import Language
from emergelab.grammar.sites import LawName
from emergelab.grammar.tasks import ground_task
from emergelab.scores.prompts import PromptSet
from emergelab.scores.tables import PROMPTS
from emergelab.theory.bounds import describe
from emergelab.theory.statements import Statements, enumerate_statements

LAWS: Mapping[LawName, str] = {"full": "ideal", "train": "ideal_train"}
"""By law, what the tables call its ideal predictor."""
_LENGTHS: Mapping[LawName, str] = {"full": "D_nats", "train": "D_nats_train"}


def prompt_rows(
    language: Language, prompts: PromptSet, lengths: Mapping[LawName, Float64[np.ndarray, " instances"]]
) -> pl.DataFrame:
    """Return `PROMPTS` of a set of prompts.

    `lengths` are the description lengths D in nats, by law, for every choice of the task's functions; without those
    of a law they are null.
    """
    task = ground_task(language, prompts.task)
    names = np.array(language.function_names())
    numbers = task.functions[prompts.instance]
    rows = pl.DataFrame(
        {
            "prompt": np.arange(len(prompts.instance)),
            "functions": pl.Series(names[numbers].tolist(), dtype=PROMPTS["functions"]),
            **{_LENGTHS[law]: _finite(values[prompts.instance]) for law, values in lengths.items()},
        }
    ).with_columns(task=pl.lit(prompts.task), form=pl.lit(prompts.form), split=pl.lit(prompts.split))
    return pl.concat([PROMPTS.to_frame(), rows], how="diagonal_relaxed").cast(PROMPTS)  # pyright: ignore[reportArgumentType]


def describe_prompts(language: Language, sets: list[PromptSet]) -> pl.DataFrame:
    """Return `PROMPTS` of prompts that no ideal predictor is asked: their lengths are worked out for this alone.

    Null where enumeration is out of reach.
    """
    known: list[tuple[LawName, Statements | None]] = [(law, _statements(language, law)) for law in LAWS]
    tables = [PROMPTS.to_frame()]
    for one in sets:
        task, arguments = ground_task(language, one.task), prompt_arguments(language)
        lengths: dict[LawName, np.ndarray] = {}
        for law, statements in known:
            if statements is not None:
                lengths[law] = describe(statements, task, task.form(one.form), arguments).cost(1)
        tables.append(prompt_rows(language, one, lengths))
    return pl.concat(tables)


def _statements(language: Language, law: LawName) -> Statements | None:
    try:
        return enumerate_statements(language, law)
    except UserError:
        return None


def _finite(values: Float64[np.ndarray, " prompts"]) -> pl.Series:
    return pl.Series(np.where(np.isfinite(values), values, np.nan), nan_to_null=True)
