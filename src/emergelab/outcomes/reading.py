"""Reads a table of outcomes that somebody wrote: which column is what, and what follows from the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from emergelab.outcomes.checks import plausibility_notes, require_sound
from emergelab.outcomes.columns import listed, recognised
from emergelab.outcomes.conversions import as_flags, as_numbers, as_skills, as_text
from emergelab.outcomes.files import TableError, read_notes, read_table
from emergelab.outcomes.ordering import in_order, repeated
from emergelab.outcomes.schema import CELL, FLOPS_PER_PARAMETER_AND_TOKEN, OUTCOMES, Outcomes

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
_ITEM = (*CELL, "task", "piece", "sample")


@dataclass
class _Reading:
    """A table on its way to `OUTCOMES`, and what was assumed."""

    frame: pl.DataFrame
    notes: list[str] = field(default_factory=list[str])

    def has(self, *names: str) -> bool:
        return all(name in self.frame.columns for name in names)

    def add(self, name: str, value: pl.Expr | pl.Series) -> None:
        self.frame = self.frame.with_columns(value.alias(name))


def read_outcomes(
    name_or_path: str, told: Mapping[str, str] | None = None, skills_of: Path | None = None
) -> Outcomes:
    """Read a table of outcomes: one that comes with emergelab, or a Parquet, CSV or JSON-lines file.

    `told` says which column has which role of `KNOWN`; others are known by their names. `skills_of` is a table with
    the columns task and skills. Raises TableError for what cannot be read or is impossible.
    """
    frame, columns = read_roles(name_or_path, told or {})
    read = as_outcomes(frame, name_or_path, skills_of, columns=columns)
    kept = read_notes(name_or_path)
    return Outcomes(read.frame, tuple(dict.fromkeys((*kept, *read.notes))), read.source)


def read_roles(name_or_path: str, told: Mapping[str, str]) -> tuple[pl.DataFrame, str]:
    """Return a table's columns by their roles of `KNOWN`, and the names that they had. Raises TableError."""
    raw = read_table(name_or_path, as_text=True)
    found = recognised(raw, KNOWN, told)
    picked = raw.select(pl.col(column).alias(role) for role, column in found.items() if column is not None)
    return picked, listed(raw)


def as_outcomes(
    frame: pl.DataFrame, source: str, skills_of: Path | None = None, *, columns: str | None = None
) -> Outcomes:
    """Return a table whose columns are roles of `KNOWN` as `OUTCOMES`.

    What is missing and follows from other columns is derived, and told in the notes. Raises TableError.
    """
    reading = _Reading(frame)
    _require_columns(reading, columns or listed(frame))
    _read_values(reading)
    _name_cells(reading)
    _name_skills(reading, skills_of)
    _name_pieces(reading)
    require_sound(reading.frame)
    _derive_flops(reading)
    _derive_losses(reading)
    missing = [pl.lit(None, kind).alias(name) for name, kind in OUTCOMES.items() if not reading.has(name)]
    whole = reading.frame.with_columns(missing)
    reading.frame = in_order(whole.select(_cast(name) for name in OUTCOMES))
    _number_samples(reading)
    reading.notes += plausibility_notes(reading.frame)
    return Outcomes(reading.frame, tuple(reading.notes), source)


def _cast(name: str) -> pl.Expr:
    kind = OUTCOMES[name]
    return (pl.col(name).round() if kind.is_integer() else pl.col(name)).cast(kind)


def _require_columns(reading: _Reading, columns: str) -> None:
    if reading.frame.is_empty():
        raise TableError("The table has no rows. Every answer of a system to an item needs one. Add rows.")
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


def _read_values(reading: _Reading) -> None:
    """Turn columns into flags, numbers and texts."""
    for name in reading.frame.columns:
        column = reading.frame[name]
        kind = OUTCOMES.get(name, pl.Float64())
        if name == "skills":
            reading.add(name, as_skills(column))
        elif kind == pl.Boolean:
            reading.add(name, as_flags(column))
        elif kind.is_numeric():
            reading.add(name, as_numbers(column, name))
        else:
            reading.add(name, as_text(column, name))


def _name_cells(reading: _Reading) -> None:
    """Give every checkpoint a name."""
    if not reading.has("checkpoint"):
        tokens = pl.col("train_tokens").cast(pl.Int64, strict=False).cast(pl.String)
        reading.add(
            "checkpoint", tokens.fill_null("final") if reading.has("train_tokens") else pl.lit("final")
        )
    for name in (*CELL, "task"):
        empty = reading.frame[name].null_count()
        if empty:
            raise TableError(
                f"{empty:,} rows have no {name}. Every answer needs one. Fill them in or leave these rows out."
            )


def _name_skills(reading: _Reading, skills_of: Path | None) -> None:
    if skills_of is not None:
        _join_skills(reading, skills_of)
    if not reading.has("skills"):
        reading.notes.append("No skills were given: every task is taken for one skill of its own.")
        reading.add("skills", pl.concat_list("task"))
    _require_names(reading.frame)


def _require_names(frame: pl.DataFrame) -> None:
    """Raise TableError unless every item has skills and all of them have names."""
    names = frame["skills"].explode()
    if not names.null_count() and not (names == "").any():
        return
    lists = pl.col("skills").list
    nameless = lists.contains("") | (lists.drop_nulls().list.len() < lists.len())
    empty = frame.filter((lists.len().fill_null(0) == 0) | nameless)
    raise TableError(
        f"{empty.height:,} rows lack a skill's name, first in the task {empty['task'][0]!r}. Every item needs one "
        "skill at least. Name them, or leave the column out to take each task for one skill."
    )


def _join_skills(reading: _Reading, skills_of: Path) -> None:
    table = read_table(str(skills_of), as_text=True)
    if not {"task", "skills"} <= set(table.columns):
        raise TableError(
            f"{skills_of} has the columns {listed(table)}. A table of skills needs the columns task and skills. "
            "Rename them."
        )
    named = table.select(as_text(table["task"], "task"), as_skills(table["skills"])).unique()
    twice = named.filter(pl.col("task").is_duplicated())["task"]
    if twice.len():
        raise TableError(
            f"{skills_of} gives the task {twice[0]!r} two sets of skills. A task has one. Keep one row for each."
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


def _name_pieces(reading: _Reading) -> None:
    """Give every item a name, the same wherever it was answered."""
    if not reading.has("piece") and reading.has("input"):
        parts = ["input", "target"] if reading.has("target") else ["input"]
        reading.add("piece", pl.concat_str(parts, separator=" → ", ignore_nulls=True).replace("", None))
    elif not reading.has("piece"):
        reading.notes.append(
            "Items have no names: the n-th answer to a task is taken for the same item at all checkpoints."
        )
        reading.add("piece", pl.int_range(pl.len()).over(*CELL, "task").cast(pl.String))
    for name in ("piece", "sample"):
        lost = reading.frame[name].null_count() if reading.has(name) else 0
        if lost:
            raise TableError(
                f"{lost:,} rows have no {name}. Either all answers have one or none. Name them all, or leave the "
                "column out."
            )


def _number_samples(reading: _Reading) -> None:
    """Give the answers of a checkpoint to one item numbers, in the table's order, unless they have their own."""
    if reading.frame["sample"].null_count() == 0 and not repeated(reading.frame, _ITEM).any():
        return
    if reading.frame["sample"].null_count() == 0:
        reading.notes.append(
            "Answers of a checkpoint to one item share a sample's number: they were numbered anew."
        )
    again = repeated(reading.frame, _ITEM[:-1])
    rows = pl.int_range(again.len(), eager=True)
    begin = rows.set(again, None).fill_null(strategy="forward")
    reading.add("sample", (rows - begin).cast(OUTCOMES["sample"]))


def _derive_flops(reading: _Reading) -> None:
    if not reading.has("params", "train_tokens"):
        return
    rule = FLOPS_PER_PARAMETER_AND_TOKEN * pl.col("params").cast(pl.Float64) * pl.col("train_tokens")
    given = pl.col("flops") if reading.has("flops") else pl.lit(None, pl.Float64)
    derived = reading.frame.select(given.is_null() & rule.is_not_null()).to_series().any()
    if derived:
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
        tokens = pl.when(pl.col("answer_tokens") > 0).then(pl.col("answer_tokens"))
        reading.add("nats_per_token", pl.col("nats") / tokens)
    if reading.has("nats_per_token"):
        reading.notes.append(
            "Each token of the right answer is taken for one cloze question, with the geometric mean of their "
            "probabilities for each: single tokens were not given."
        )
        reading.add("cloze_loss", 1 - (-pl.col("nats_per_token")).exp())
