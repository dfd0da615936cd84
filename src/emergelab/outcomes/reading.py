"""Reads a table of outcomes that somebody wrote: which column is what, and what follows from the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from emergelab.outcomes.checks import require_sound
from emergelab.outcomes.columns import listed, recognised
from emergelab.outcomes.files import TableError, read_table
from emergelab.outcomes.schema import FLOPS_PER_PARAMETER_AND_TOKEN, ORDER, OUTCOMES, SEPARATORS, Outcomes

# What columns are called in the tables of others, the likeliest first.
KNOWN: Mapping[str, tuple[str, ...]] = {
    "system": ("system", "model", "model_name", "run"),
    "checkpoint": ("checkpoint", "revision", "step"),
    "params": ("params", "parameters", "n_params", "num_params", "model_size", "model_params"),
    "train_tokens": ("train_tokens", "training_tokens", "tokens", "n_tokens", "num_tokens", "tokens_seen"),
    "flops": ("flops", "compute", "train_flops", "training_flops"),
    "loss": ("pretraining_loss", "train_loss", "validation_loss", "val_loss", "loss"),
    "task": ("task", "task_name", "benchmark", "dataset"),
    "skills": ("skills", "operations", "skill"),
    "piece": ("piece", "item", "item_id", "doc_id", "question_id", "example_id", "id"),
    "sample": ("sample", "epoch", "repeat", "repetition"),
    "correct": ("correct", "is_correct", "exact_match", "acc"),
    "chance": ("chance", "chance_level", "guessing"),
    "cloze_loss": ("cloze_loss",),
    "probability": ("probability", "p_correct", "prob_correct"),
    "nats": ("nats", "loss_nats", "answer_nats"),
    "nats_per_token": ("nats_per_token", "loss_nats_per_token"),
    "answer_tokens": ("answer_tokens", "target_tokens"),
    "score": ("score", "partial_credit"),
    "input": ("input", "question", "query"),
    "target": ("target", "answer", "gold", "reference"),
    "prompt": ("prompt", "context"),
    "shots": ("shots", "num_fewshot", "n_shots", "fewshot"),
}
_MEASURES = ("correct", "cloze_loss", "probability", "nats", "nats_per_token", "score")
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass
class _Reading:
    """A table on its way to `OUTCOMES`, and what was assumed."""

    frame: pl.DataFrame
    notes: list[str] = field(default_factory=list[str])

    def has(self, *names: str) -> bool:
        return all(name in self.frame.columns for name in names)

    def add(self, name: str, value: pl.Expr) -> None:
        self.frame = self.frame.with_columns(value.alias(name))


def read_outcomes(
    name_or_path: str, told: Mapping[str, str] | None = None, skills_of: Path | None = None
) -> Outcomes:
    """Read a table of outcomes: one that comes with emergelab, or a Parquet, CSV or JSON-lines file.

    `told` says which column has which role of `KNOWN`; others are known by their names. `skills_of` is a table with
    the columns task and skills. Raises TableError for what cannot be read or is impossible.
    """
    raw = read_table(name_or_path)
    found = recognised(raw, KNOWN, told or {})
    picked = raw.select(pl.col(column).alias(role) for role, column in found.items() if column is not None)
    return as_outcomes(picked, name_or_path, skills_of, columns=listed(raw))


def as_outcomes(
    frame: pl.DataFrame, source: str, skills_of: Path | None = None, *, columns: str | None = None
) -> Outcomes:
    """Return a table whose columns are roles of `KNOWN` as `OUTCOMES`.

    What is missing and follows from other columns is derived, and told in the notes. Raises TableError.
    """
    reading = _Reading(frame)
    _require_columns(reading, columns or listed(frame))
    _name_cells(reading)
    _name_skills(reading, skills_of)
    _read_flags(reading)
    _read_numbers(reading)
    _name_pieces(reading)
    require_sound(reading.frame)
    _derive_flops(reading)
    _derive_losses(reading)
    missing = [pl.lit(None, kind).alias(name) for name, kind in OUTCOMES.items() if not reading.has(name)]
    whole = reading.frame.with_columns(missing).select(
        pl.col(name).cast(kind) for name, kind in OUTCOMES.items()
    )
    return Outcomes(whole.sort(ORDER, nulls_last=False), tuple(reading.notes), source)


def _require_columns(reading: _Reading, columns: str) -> None:
    if reading.frame.is_empty():
        raise TableError("The table has no rows. Every answer of a system to an item needs one.")
    for role, what in (("system", "the system that answered"), ("task", "the task")):
        if not reading.has(role):
            raise TableError(
                f"No column was recognised as {what} among {columns}. Every answer needs it. Say which with "
                f"--column {role}=NAME."
            )
    if not any(reading.has(role) for role in _MEASURES):
        raise TableError(
            f"No column was recognised as the outcome of an answer among {columns}. One of {', '.join(_MEASURES)} "
            "is needed. Say which with, for example, --column correct=NAME."
        )


def _name_cells(reading: _Reading) -> None:
    """Give every checkpoint a name; systems and tasks are text."""
    if not reading.has("checkpoint"):
        tokens = pl.col("train_tokens").cast(pl.String) if reading.has("train_tokens") else pl.lit("final")
        reading.add("checkpoint", tokens)
    for name in ("system", "checkpoint", "task"):
        empty = reading.frame[name].null_count()
        if empty:
            raise TableError(
                f"{empty:,} rows have no {name}. Every answer needs one. Fill them in or leave these rows out."
            )
        reading.add(name, pl.col(name).cast(pl.String))


def _name_skills(reading: _Reading, skills_of: Path | None) -> None:
    if skills_of is not None:
        _join_skills(reading, skills_of)
    if not reading.has("skills"):
        reading.notes.append("No skills were given: every task is taken for one skill of its own.")
        reading.add("skills", pl.concat_list("task"))
    elif not isinstance(reading.frame.schema["skills"], pl.List):
        reading.add("skills", _split(pl.col("skills")))
    empty = reading.frame.filter(pl.col("skills").list.len().fill_null(0) == 0)
    if empty.height:
        raise TableError(
            f"{empty.height:,} rows have no skills, first in the task {empty['task'][0]!r}. Every item needs one at "
            "least. Name them, or leave the column out to take each task for one skill."
        )


def _join_skills(reading: _Reading, skills_of: Path) -> None:
    table = read_table(str(skills_of))
    if not {"task", "skills"} <= set(table.columns):
        raise TableError(
            f"{skills_of} has the columns {listed(table)}. A table of skills needs the columns task and skills. "
            "Rename them."
        )
    named = table.select(pl.col("task").cast(pl.String), "skills").unique()
    twice = named.filter(pl.col("task").is_duplicated())["task"]
    if twice.len():
        raise TableError(
            f"{skills_of} gives the task {twice[0]!r} two sets of skills. Keep one row for each."
        )
    reading.frame = reading.frame.drop("skills", strict=False).join(
        named, on="task", how="left", maintain_order="left"
    )
    lost = reading.frame.filter(pl.col("skills").is_null())["task"].unique().sort()
    if lost.len():
        raise TableError(
            f"{skills_of} has no skills for {lost.len()} tasks, first {lost[0]!r}. Every task needs them. Add a "
            "row for each."
        )


def _split(text: pl.Expr) -> pl.Expr:
    """Return the parts of `a+b`, `a, b`, `a; b`, `a|b`, or `["a", "b"]`."""
    bare = text.cast(pl.String).str.replace_all(r"""[\[\]"']""", "")
    return bare.str.replace_all(SEPARATORS, "+").str.strip_chars(" +").replace("", None).str.split("+")


def _read_flags(reading: _Reading) -> None:
    """Turn right or wrong, however it is written, into flags."""
    if not reading.has("correct") or reading.frame.schema["correct"] == pl.Boolean:
        return
    kind = reading.frame.schema["correct"]
    text = pl.col("correct").cast(pl.String).str.to_lowercase().str.strip_chars()
    if kind.is_float():
        text = text.str.strip_suffix(".0")
    odd = reading.frame.filter(pl.col("correct").is_not_null() & ~text.is_in(list(_FLAGS)))["correct"]
    if odd.len():
        raise TableError(
            f"Got {odd[0]!r} in the column of right and wrong answers ({odd.len():,} such rows). An answer is right or "
            "wrong: true and false, or 1 and 0. Give a row for each answer, or name shares of credit with "
            "--column score=NAME."
        )
    reading.add("correct", text.replace_strict(_FLAGS, return_dtype=pl.Boolean))


def _read_numbers(reading: _Reading) -> None:
    """Turn columns of numbers into their types; NaN is missing."""
    for name in reading.frame.columns:
        kind = OUTCOMES.get(name, pl.Float64)
        if not kind.is_numeric():
            continue
        try:
            numbers = reading.frame[name].cast(pl.Float64).fill_nan(None)
            if kind.is_integer():
                numbers = numbers.round().cast(pl.Int64)
        except pl.exceptions.PolarsError as error:
            raise TableError(
                f"The column read as {name} has a value that is no number: {str(error).splitlines()[0][:150]}. Write "
                f"7000000000 or 7e9, not 7B, or choose another column with --column {name}=NAME."
            ) from error
        reading.frame = reading.frame.with_columns(numbers.alias(name))


def _name_pieces(reading: _Reading) -> None:
    """Give every item a name, the same wherever it was answered, and number repeated answers to it."""
    if reading.has("piece"):
        reading.add("piece", pl.col("piece").cast(pl.String))
    elif reading.has("input"):
        parts = [pl.col("input").cast(pl.String)]
        parts += [pl.col("target").cast(pl.String)] if reading.has("target") else []
        reading.add("piece", pl.concat_str(parts, separator=" → ", ignore_nulls=True))
    else:
        reading.notes.append(
            "Items have no names: the n-th answer to a task is taken for the same item at all checkpoints."
        )
        reading.add("piece", pl.int_range(pl.len()).over("system", "checkpoint", "task").cast(pl.String))
    lost = reading.frame["piece"].null_count()
    if lost:
        raise TableError(
            f"{lost:,} rows have no item. Every answer is one to an item. Name them all or none."
        )
    if not reading.has("sample"):
        reading.add("sample", pl.int_range(pl.len()).over("system", "checkpoint", "task", "piece"))


def _derive_flops(reading: _Reading) -> None:
    if not reading.has("params", "train_tokens"):
        return
    rule = FLOPS_PER_PARAMETER_AND_TOKEN * pl.col("params").cast(pl.Float64) * pl.col("train_tokens")
    given = pl.col("flops") if reading.has("flops") else pl.lit(None, pl.Float64)
    if not reading.has("flops") or reading.frame["flops"].null_count():
        reading.notes.append("Compute is taken for 6 FLOP for each parameter and training token.")
    reading.add("flops", pl.coalesce(given, rule))


def _derive_losses(reading: _Reading) -> None:
    """Derive nats and cloze losses from what there is of them."""
    if not reading.has("nats"):
        if reading.has("nats_per_token", "answer_tokens"):
            # An infinite cost of an answer without tokens stays infinite, and is not a number otherwise.
            reading.add("nats", (pl.col("nats_per_token") * pl.col("answer_tokens")).fill_nan(float("inf")))
        elif reading.has("probability"):
            reading.add("nats", -pl.col("probability").log())
    if reading.has("cloze_loss"):
        return
    if reading.has("probability"):
        reading.notes.append("Each answer is taken for one cloze question with the probability given.")
        reading.add("cloze_loss", 1 - pl.col("probability"))
        return
    if not reading.has("nats_per_token") and reading.has("nats", "answer_tokens"):
        reading.add("nats_per_token", pl.col("nats") / pl.col("answer_tokens"))
    if reading.has("nats_per_token"):
        reading.notes.append(
            "Each token of the right answer is taken for one cloze question, with the geometric mean of their "
            "probabilities for each: single tokens were not given."
        )
        reading.add("cloze_loss", 1 - (-pl.col("nats_per_token")).exp())
