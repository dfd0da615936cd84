"""Writes what somebody measured as a table of outcomes: from tables, logs of harnesses, and runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from emergelab.errors import UserError
from emergelab.outcomes.columns import listed, read_told
from emergelab.outcomes.conversions import as_numbers, as_skills, as_text
from emergelab.outcomes.files import NOTES, TableError, read_notes, read_table
from emergelab.outcomes.logs import LogChoice, LogError, Logged, listed_names
from emergelab.outcomes.reading import as_outcomes, read_roles
from emergelab.outcomes.schema import CELL, SCALE, Outcomes
from emergelab.pipeline.files import make_folder, storage_errors

Source = Literal["table", "harness", "inspect", "run"]
SUFFIXES = (".parquet", ".csv", ".jsonl")
_BETWEEN = "+"
_LOGGED = {"logged": "system", "logged_checkpoint": "checkpoint"}


class ImportingError(UserError):
    """Outcomes that cannot be imported as asked."""


@dataclass(frozen=True, kw_only=True)
class ImportQuestion:
    """What is read and what logs do not know.

    `columns` are ROLE=NAME, `skills_of` a table of tasks and skills, `systems` one of systems and their scale; params,
    tokens and loss are those of everything that is read.
    """

    source: Source
    files: Sequence[Path]
    columns: Sequence[str] = ()
    filter: str | None = None
    skills_of: Path | None = None
    systems: Path | None = None
    params: float | None = None
    tokens: float | None = None
    loss: float | None = None


def import_outcomes(question: ImportQuestion, out: Path, *, force: bool = False) -> Outcomes:
    """Read what is asked for, write it to `out`, and return it. Raises UserError, before it reads where it can."""
    _require_place(out, force=force)
    outcomes = read_outcomes_of(question)
    write_outcomes(outcomes, out)
    return outcomes


def read_outcomes_of(question: ImportQuestion) -> Outcomes:
    """Return the outcomes that are asked for. Raises TableError, and ArtifactError for what is no finished run."""
    logged = _logged(question)
    frame, notes = _with_systems(logged.frame, question.systems)
    frame = _with_scale(frame, question)
    source = ", ".join(str(path) for path in question.files)
    outcomes = as_outcomes(frame, source, question.skills_of)
    said = (*logged.notes, *notes, *outcomes.notes, *_about_scale(outcomes.frame))
    return Outcomes(outcomes.frame, tuple(dict.fromkeys(said)), source)


def _logged(question: ImportQuestion) -> Logged:
    told = read_told(list(question.columns))
    if question.source == "run":
        _require_untold(question)
        return _of_runs(question.files)
    if question.source == "table":
        _require_no_filter(question)
        parts = [read_roles(str(path), told)[0] for path in question.files]
        notes = dict.fromkeys(note for path in question.files for note in read_notes(str(path)))
        return Logged(_concatenated(parts), tuple(notes))
    try:
        return _of_logs(question, told)
    except OSError as error:
        raise LogError(
            f"{str(error.filename)[:200]} cannot be read: {error.strerror}. Logs are read where they lie. Make them "
            "readable, or copy them."
        ) from error


def _of_logs(question: ImportQuestion, told: Mapping[str, str]) -> Logged:
    if question.source == "inspect":
        from emergelab.outcomes.inspect_logs import read_inspect  # noqa: PLC0415 - one format is read

        _require_no_filter(question)
        return read_inspect(question.files, LogChoice.told(told))
    from emergelab.outcomes.harness import read_harness  # noqa: PLC0415 - one format is read

    return read_harness(question.files, LogChoice.told(told, question.filter))


def _of_runs(folders: Sequence[Path]) -> Logged:
    from emergelab.recipes.outcomes_of_runs import READING, outcomes_of_run  # noqa: PLC0415 - tables of runs alone need it

    return Logged(pl.concat([outcomes_of_run(folder) for folder in folders]), (READING,))


def _concatenated(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return tables below each other; columns that have another type in each become texts, and are read as such."""
    parts = [
        part.with_columns(as_skills(part["skills"]).alias("skills")) if "skills" in part.columns else part
        for part in parts
    ]
    names = dict.fromkeys(name for part in parts for name in part.columns)
    mixed = [name for name in names if len({part.schema[name] for part in parts if name in part.columns}) > 1]
    alike = [
        part.with_columns(as_text(part[name], name).alias(name) for name in mixed if name in part.columns)
        for part in parts
    ]
    try:
        return pl.concat(alike, how="diagonal")
    except pl.exceptions.PolarsError as error:
        raise TableError(
            f"The tables have columns of other types: {str(error).splitlines()[0][:150]}. They are read as one table. "
            "Import them one by one."
        ) from error


def _require_untold(question: ImportQuestion) -> None:
    given = {"--column": question.columns, "--filter": question.filter, "--skills": question.skills_of}
    odd = next((name for name, value in given.items() if value), None)
    if odd is not None:
        raise ImportingError(
            f"Got {odd} for a run. A run knows its tasks, skills and answers. Leave {odd} out."
        )


def _require_no_filter(question: ImportQuestion) -> None:
    if question.filter is not None:
        raise ImportingError(
            f"Got --filter {question.filter!r} for the format {question.source}. Only the harness has filters. Leave "
            "it out."
        )


# What logs do not know


def _with_systems(frame: pl.DataFrame, systems: Path | None) -> tuple[pl.DataFrame, list[str]]:
    """Return the table with what is known of its systems; their values stand before those of logs.

    Where the table of systems has a column `logged` (and `logged_checkpoint`), it is found by that name, and its
    system and checkpoint are new names.
    """
    if systems is None:
        return frame, []
    known, keys = _read_systems(systems)
    if "checkpoint" not in frame.columns:
        frame = frame.with_columns(checkpoint=pl.lit("final"))
    frame = frame.with_columns(as_text(frame[name], name) for name in CELL)
    asked = frame.select(*CELL).unique()
    of = [_LOGGED.get(key, key) for key in keys]
    found = asked.join(known, left_on=of, right_on=keys, how="semi")
    if found.is_empty():
        raise TableError(
            f"No row of {systems} is of a system that was read: it has {listed_names(known[keys[0]])}, and there are "
            f"{listed_names(asked['system'])}. Names have to be the same. Mend them, or put those of the logs into a "
            "column `logged`."
        )
    renamed = {name: f"{name} new" for name in (*CELL, *SCALE) if name in known.columns and name not in keys}
    new = known.rename(renamed)
    joined = frame.join(new, left_on=of, right_on=keys, how="left", maintain_order="left")
    for name in (*CELL, *SCALE):
        if f"{name} new" in joined.columns:
            joined = _replaced(joined, name)
    lost = asked.height - found.height
    note = f"{systems} has no row for {lost} of {asked.height} checkpoints: what logs do not know is missing there."
    return joined, [note] if lost else []


def _replaced(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the table with new values of a column where there are some."""
    old = pl.lit(None)
    if name in frame.columns:
        old = as_numbers(frame[name], name).cast(pl.Float64) if name in SCALE else pl.col(name)
    return frame.with_columns(pl.coalesce(pl.col(f"{name} new"), old).alias(name)).drop(f"{name} new")


def _read_systems(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """Return a table of systems and the columns by which its rows are found. Raises TableError."""
    table = read_table(str(path), as_text=True)
    keys = [name for name in _LOGGED if name in table.columns] or [
        name for name in CELL if name in table.columns
    ]
    scale = [name for name in SCALE if name in table.columns]
    if keys[:1] not in (["system"], ["logged"]) or not (scale or "logged" in keys):
        raise TableError(
            f"{path} has the columns {listed(table)}. A table of systems has system, or system and checkpoint, and "
            f"some of {', '.join(SCALE)}; and `logged` where logs name systems otherwise. Rename its columns."
        )
    names = [name for name in CELL if name in table.columns]
    texts = [as_text(table[name], name).alias(name) for name in dict.fromkeys((*keys, *names))]
    known = pl.DataFrame(
        [*texts, *(as_numbers(table[name], name).cast(pl.Float64).alias(name) for name in scale)]
    )
    twice = known.filter(known.select(keys).is_duplicated())
    if twice.height:
        raise TableError(
            f"{path} has several rows for {' at '.join(str(twice[key][0]) for key in keys)}. A checkpoint has one. "
            "Keep one, or add a column checkpoint."
        )
    return known, keys


def _with_scale(frame: pl.DataFrame, question: ImportQuestion) -> pl.DataFrame:
    """Return the table with the numbers that were told for all of it. Raises ImportingError where it has several."""
    told = {"params": question.params, "train_tokens": question.tokens, "loss": question.loss}
    for name, value in told.items():
        if value is None:
            continue
        option = "--tokens" if name == "train_tokens" else f"--{name}"
        if not math.isfinite(value):
            raise ImportingError(f"Got {option} {value}. It is a finite number. Give one, for example 7e9.")
        places = ["system"] if name == "params" else [one for one in CELL if one in frame.columns]
        if "system" in frame.columns and frame.select(places).unique().height > 1:
            raise ImportingError(
                f"Got {option} {value:g} for {frame.select(places).unique().height} "
                f"{'systems' if name == 'params' else 'checkpoints'}. It is one number for one of them. Give a table "
                "with --systems."
            )
        frame = frame.with_columns(pl.lit(value, pl.Float64).alias(name))
    return frame


def _about_scale(frame: pl.DataFrame) -> list[str]:
    """Say which part of the scale nobody knows: pages have no such axis then."""
    unknown = [name for name in SCALE if frame[name].null_count() == frame.height]
    if not unknown:
        return []
    return [f"Not known of any checkpoint: {', '.join(unknown)}. Give them with --systems."]


# Writing


def _require_place(out: Path, *, force: bool) -> None:
    if out.suffix.lower() not in SUFFIXES:
        raise ImportingError(
            f"Got --out {str(out)[:200]}. A table of outcomes ends in {', '.join(SUFFIXES)}. Give it such a name."
        )
    if out.is_dir():
        raise ImportingError(f"{out} is a folder. A table is a file. Give --out another name.")
    if out.exists() and not force:
        raise ImportingError(
            f"{out} is there already. Nothing is overwritten without --force. Give another --out, or add --force."
        )


def write_outcomes(outcomes: Outcomes, out: Path) -> None:
    """Write a table of outcomes as Parquet (with its notes), CSV or JSON lines, whole or not at all.

    Raises TableError for CSV where a skill's name has what separates skills there, and StorageError.
    """
    _require_place(out, force=True)
    kind = out.suffix.lower()
    change = {".csv": _flat, ".jsonl": _finite}.get(kind)
    frame = outcomes.frame if change is None else change(outcomes.frame)
    make_folder(out.absolute().parent)
    temporary = out.with_name(f".{out.name}.part")
    with storage_errors(out):
        try:
            if kind == ".parquet":
                frame.write_parquet(
                    temporary, compression="zstd", metadata={NOTES: "\n".join(outcomes.notes)}
                )
            elif kind == ".csv":
                frame.write_csv(temporary)
            else:
                frame.write_ndjson(temporary)
            temporary.replace(out)
        finally:
            temporary.unlink(missing_ok=True)


def _finite(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the table with texts in columns that hold infinities: JSON has no number for them."""
    infinite = [
        name for name, kind in frame.schema.items() if kind.is_float() and frame[name].is_infinite().any()
    ]
    return frame.with_columns(pl.col(infinite).cast(pl.String))


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the table with skills in one text each."""
    names = frame["skills"].explode().unique()
    odd = names.filter(names.str.contains(r"[+;,|\[\]]") | (names.str.strip_chars("\"' ") != names))
    if odd.len():
        raise TableError(
            f"Got a skill named {odd[0]!r}. In CSV skills stand in one text, with + between them. Write .parquet or "
            ".jsonl, or name it otherwise."
        )
    return frame.with_columns(pl.col("skills").list.join(_BETWEEN))
