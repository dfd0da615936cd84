"""What logs of evaluation harnesses share: how marks become right or wrong, and how items keep one name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from emergelab.grammar.problems import suggestion
from emergelab.outcomes.files import TableError
from emergelab.outcomes.schema import SEPARATORS

FIELD_ROLES = ("piece", "skills", "input", "target")
"""Roles that a field of an item's own data may have."""

MARK = "mark: "
FLAG = "flag: "
_USUAL = ("acc", "exact_match", "em", "pass@1", "accuracy", "correct")
_WORDS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_LISTED = 6


class LogError(TableError):
    """A log of evaluations that cannot be read, or that lacks what an outcome needs."""


@dataclass(frozen=True)
class LogChoice:
    """What to take from logs: the marks that say right or wrong and a share of credit, the filter, fields by role."""

    correct: str | None = None
    score: str | None = None
    filter: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def told(cls, columns: Mapping[str, str], filtered: str | None = None) -> LogChoice:
        """Return the choice that ROLE=NAME settings make. Raises LogError for other roles."""
        roles = ("correct", "score", *FIELD_ROLES)
        for role in columns:
            if role not in roles:
                raise LogError(
                    f"Got the role {role[:100]!r}. Of logs, correct and score may be told (a metric or scorer), and "
                    f"{', '.join(FIELD_ROLES)} (a field of the item's data). {suggestion(role, roles)}"
                )
        fields = {role: name for role, name in columns.items() if role in FIELD_ROLES}
        return cls(columns.get("correct"), columns.get("score"), filtered, fields)


@dataclass(frozen=True, kw_only=True)
class LogKind:
    """What logs of one harness look like: names in a folder, a test of single files, and what is said of others.

    Files that `beside` accepts are no logs but may be given with them.
    """

    patterns: tuple[str, ...]
    accepts: Callable[[Path], bool]
    strange: str
    missing: str
    remedy: str
    beside: Callable[[Path], bool] = lambda _: False


def log_files(paths: Sequence[Path], kind: LogKind) -> list[Path]:
    """Return the logs among files and in folders, each once. Raises LogError for others, and where there are none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            for pattern in kind.patterns:
                found += sorted(one for one in path.rglob(pattern) if kind.accepts(one))
        elif not path.exists():
            raise LogError(f"There is no file or folder {str(path)[:200]!r}. Check its path.")
        elif kind.accepts(path):
            found.append(path)
        elif not kind.beside(path):
            raise LogError(f"{str(path)[:200]} is {kind.strange}")
    if not found:
        raise LogError(
            f"{kind.missing} is in {', '.join(str(path)[:100] for path in paths[:3])}. {kind.remedy}"
        )
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Logged:
    """A table whose columns are roles, read from logs, and what was assumed."""

    frame: pl.DataFrame
    notes: tuple[str, ...]


def parse_json(text: str | bytes, path: Path | str) -> Any:
    """Return the value that a text in JSON has; NaN and infinities are read. Raises LogError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LogError(
            f"{str(path)[:200]} holds something that is no JSON: {str(error)[:150]}. It may be cut off or of another "
            "kind. Write the log again, or leave this file out."
        ) from error


def as_number(value: Any) -> float | None:
    """Return a mark as a number: C, I, P, N (correct, incorrect, partial, no answer) as Inspect counts them.

    None for what is no number, and for NaN, which stands for an answer that was not scored.
    """
    if isinstance(value, str):
        value = _WORDS.get(value, _WORDS.get(value.lower(), value))
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def as_flag(value: Any) -> bool | None:
    """Return whether a mark in words says right; partial credit is not right. None for numbers: they may be shares."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and (value in _WORDS or value.lower() in _WORDS):
        return as_number(value) == 1.0
    return None


def mark_columns(marks: Sequence[Mapping[str, Any]]) -> dict[str, pl.Series]:
    """Return the marks of answers as columns: a number for each, and a flag for those in words.

    `marks` holds those of one answer by name.
    """
    names = dict.fromkeys(name for one in marks for name in one)
    columns: dict[str, pl.Series] = {}
    for name in names:
        values = [one.get(name) for one in marks]
        columns[MARK + name] = pl.Series([as_number(value) for value in values], dtype=pl.Float64)
        flags = pl.Series([as_flag(value) for value in values], dtype=pl.Boolean)
        if flags.null_count() < flags.len():
            columns[FLAG + name] = flags
    return columns


def choose_marks(frames: Sequence[pl.DataFrame], choice: LogChoice) -> tuple[list[pl.DataFrame], list[str]]:
    """Return the frames of single tasks with `correct` and `score` in the place of all marks, and notes.

    Raises LogError where a mark was told that no task has.
    """
    known = list(dict.fromkeys(name for frame in frames for name in _marks(frame)))
    for told in (choice.correct, choice.score):
        if told is not None and told not in known:
            raise LogError(
                f"No task has the mark {told[:100]!r}. The logs have {', '.join(known[:12]) or 'no marks'}. "
                f"{suggestion(told, known)}"
            )
    chosen: list[pl.DataFrame] = []
    used: dict[str, list[str]] = {}
    for frame in frames:
        right, share = _right_mark(frame, choice), _share_mark(frame, choice)
        chosen.append(_marked(frame, right, share))
        for what, name in (("right or wrong", right), ("score", share)):
            if name is not None:
                used.setdefault(f"{what} is `{name}`", []).append(frame["task"][0])
    return chosen, _used_notes(used, chosen)


def _marks(frame: pl.DataFrame) -> list[str]:
    return [name.removeprefix(MARK) for name in frame.columns if name.startswith(MARK)]


def _right_mark(frame: pl.DataFrame, choice: LogChoice) -> str | None:
    """Return the mark of right and wrong: as told, the usual ones, else the first that has two values only."""
    names = _marks(frame)
    if choice.correct in names:
        return choice.correct
    able = [name for name in names if name != choice.score and _tells_right(frame, name)]
    return next((name for name in _USUAL if name in able), able[0] if able else None)


def _tells_right(frame: pl.DataFrame, name: str) -> bool:
    if FLAG + name in frame.columns:
        return True
    values = frame[MARK + name].drop_nulls()
    return values.len() > 0 and bool(values.is_in([0.0, 1.0]).all())


def _share_mark(frame: pl.DataFrame, choice: LogChoice) -> str | None:
    """Return the mark of partial credit: as told, else the first between 0 and 1 that has other values, too."""
    names = _marks(frame)
    if choice.score in names:
        return choice.score
    return next((name for name in names if name != choice.correct and _tells_share(frame[MARK + name])), None)


def _tells_share(marks: pl.Series) -> bool:
    values = marks.drop_nulls()
    return bool(values.is_between(0, 1).all()) and not bool(values.is_in([0.0, 1.0]).all())


def _marked(frame: pl.DataFrame, right: str | None, share: str | None) -> pl.DataFrame:
    if right is None:
        correct = pl.lit(None, pl.Boolean)
    elif FLAG + right in frame.columns:
        correct = pl.coalesce(FLAG + right, _as_flags(MARK + right))
    else:
        correct = _as_flags(MARK + right)
    score = pl.lit(None, pl.Float64) if share is None else pl.col(MARK + share)
    given = pl.col("correct") if "correct" in frame.columns else pl.lit(None, pl.Boolean)
    kept = [name for name in frame.columns if not name.startswith((MARK, FLAG)) and name != "correct"]
    return frame.select(*kept, correct=pl.coalesce(correct, given), score=score)


def _as_flags(name: str) -> pl.Expr:
    """Return right (1) and wrong (0); other numbers are neither."""
    return pl.when(pl.col(name).is_in([0.0, 1.0])).then(pl.col(name) == 1)


def _used_notes(used: Mapping[str, Sequence[str]], chosen: Sequence[pl.DataFrame]) -> list[str]:
    notes = [f"{what[0].upper()}{what[1:]} in {listed_names(tasks)}." for what, tasks in sorted(used.items())]
    unmarked = [frame["task"][0] for frame in chosen if frame["correct"].null_count() == frame.height]
    if unmarked:
        notes.append(f"Nothing says right or wrong in {listed_names(unmarked)}.")
    return notes


def listed_names(names: Iterable[str]) -> str:
    """Return the first few names, and how many more there are."""
    unique = sorted(set(names))
    more = f" and {len(unique) - _LISTED} more" if len(unique) > _LISTED else ""
    return ", ".join(unique[:_LISTED]) + more


def name_items(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return the table without `fingerprint`; items of one name and different content get names of their own.

    Logs number items by their place in the data, which is another one where the data were changed between two runs.
    """
    several = (
        frame.group_by("task", "piece")
        .agg(pl.col("fingerprint").n_unique())
        .filter(pl.col("fingerprint") > 1)
    )
    if several.is_empty():
        return frame.drop("fingerprint"), []
    tasks = several["task"].unique().to_list()
    suffixed = pl.concat_str("piece", pl.lit("-"), pl.col("fingerprint").str.head(8))
    told_apart = frame.with_columns(
        piece=pl.when(pl.col("task").is_in(tasks)).then(suffixed).otherwise(pl.col("piece"))
    )
    note = (
        f"The items of {listed_names(tasks)} are not the same in all logs; items with the same number and another "
        "content are taken for different ones."
    )
    return told_apart.drop("fingerprint"), [note]


def as_skills(value: Any, name: str) -> list[str]:
    """Return the skills that a field of an item names: a list, or names in one text. Raises LogError for others."""
    if isinstance(value, list):
        return [str(one) for one in value]
    if isinstance(value, str):
        return [part for part in re.split(SEPARATORS, value.strip()) if part]
    raise LogError(
        f"Got {str(value)[:100]!r} in the field {name!r} that was told to hold skills. Skills are a text or a list of "
        "texts. Give a table of tasks and skills with --skills instead."
    )


def fields_of(data: Mapping[str, Any], choice: LogChoice, path: Path) -> dict[str, Any]:
    """Return what the fields of an item's data say of it, by role. Raises LogError where there is no such field."""
    told: dict[str, Any] = {}
    for role, name in choice.fields.items():
        value = _field_of(data, name, path)
        told[role] = as_skills(value, name) if role == "skills" else as_text(value)
    return told


def as_text(value: Any) -> str | None:
    """Return a value as text: what is no text as JSON, None for none."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _field_of(data: Mapping[str, Any], name: str, path: Path) -> Any:
    if name not in data:
        raise LogError(
            f"An item in {str(path)[:200]} has no field {name[:100]!r}. A field that is told is one of all items. "
            f"{suggestion(name, list(data)) or 'This one has none.'}"
        )
    return data[name]
