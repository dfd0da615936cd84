"""Two runs side by side: what they were made with, which cells correspond, and how their answers differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from emergelab.analysis.comparison import (
    COMPARISONS,
    Correspondence,
    compare_answers,
    correspondence,
    same_prompts,
)
from emergelab.errors import ArtifactError, UserError
from emergelab.recipes.run_folder import RunFolder
from emergelab.spec import Json

# What of a run's record tells how it was made.
_SECTIONS = ("study", "questions", "model", "grammar_name", "grammar_text", "versions", "machine")
_CERTAIN = 0.05
_REASONS = {
    "grammar": "their grammars differ: tasks of the same name are compared, which may ask for different things",
    "world": "their worlds come from different keys",
    "evaluation": "their prompts come from different evaluation keys",
    "shots": "their prompts are of different lengths (evaluate.shots)",
    "prompts": "they have different numbers of prompts (evaluate.prompts)",
}
_DIFFERENT_ANSWERS = (
    "the arguments or chances of prompts of the same number differ, as between versions of emergelab"
)


@dataclass(frozen=True)
class Comparison:
    """What differs between runs A and B. `table` has the rows `COMPARISONS`, the surest differences first."""

    settings: list[dict[str, Json]]  # entry, a, b: those that differ
    cells: Correspondence
    shots: int | None  # None where no cells correspond
    notes: list[str]
    table: pl.DataFrame

    @property
    def p_values(self) -> pl.Series:
        """The two-sided p of all comparisons, of accuracy and of nats."""
        return pl.concat([self.table["accuracy_p"], self.table["nats_p"]]).drop_nulls()

    @property
    def certain(self) -> int:
        """How many differences stay at 5 % with the correction for all comparisons."""
        adjusted = pl.concat([self.table["accuracy_p_adjusted"], self.table["nats_p_adjusted"]])
        return int((adjusted < _CERTAIN).sum())

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "settings": self.settings,
            "cells": {
                "corresponding": self.cells.pairs.select("cell_a", "cell_b").to_dicts(),
                "only_a": self.cells.only_a,
                "only_b": self.cells.only_b,
            },
            "shots": self.shots,
            "notes": self.notes,
            "comparisons": {
                "made": len(self.p_values),
                "p_below_5_percent": int((self.p_values < _CERTAIN).sum()),
                "expected_by_chance": _CERTAIN * len(self.p_values),
                "certain": self.certain,
                "certain_a_better": self._better[0],
                "certain_b_better": self._better[1],
            },
            "rows": self.table.to_dicts(),
        }

    @property
    def _better(self) -> tuple[int, int]:
        """How many certain differences favour A, and how many B: higher accuracy, or fewer nats."""
        favour = [
            self.table.filter(pl.col(f"{measure}_p_adjusted") < _CERTAIN)[f"{measure}_difference"] * sign
            for measure, sign in (("accuracy", 1), ("nats", -1))
        ]
        gains = pl.concat(favour)
        return int((gains < 0).sum()), int((gains > 0).sum())

    @property
    def _same_answers(self) -> bool:
        """Whether the same prompts got the same answers, as far as accuracy and nats tell."""
        differences = pl.concat([self.table["accuracy_difference"], self.table["nats_difference"]])
        return bool(self.table["paired"].all()) and bool((differences.drop_nulls() == 0).all())

    def summary(self) -> str:
        """Say how many comparisons were made, which run is better, and how much chance alone would show."""
        if self.table.is_empty():
            return "No answers of the two runs can be compared."
        if self._same_answers:
            return (
                f"All answers at {self.shots} examples have the same accuracy and the same nats in both runs."
            )
        made = len(self.p_values)
        below = int((self.p_values < _CERTAIN).sum())
        return (
            f"{made} comparisons of accuracy and nats at {self.shots} examples: {below} have p below .05, and about "
            f"{_CERTAIN * made:.0f} would by chance alone if nothing differed. With Holm's correction for all "
            f"of them {self.certain} are certain at 5 %{self._favoured()}."
        )

    def _favoured(self) -> str:
        a, b = self._better
        return f": A is better in {a} of these, B in {b}" if self.certain else ""


def compare_runs(a: RunFolder, b: RunFolder, *, shots: int | None = None) -> Comparison:
    """Compare the answers of two finished runs at `shots` examples, by default the most that both have.

    Raises ArtifactError for what is no finished run, and UserError for a number of examples that they lack.
    """
    ours, theirs = _Run(a), _Run(b)
    cells = correspondence(ours.cells, theirs.cells)
    settings = list(_differences(ours.record, theirs.record))
    if cells.pairs.is_empty():
        return Comparison(settings, cells, None, [], COMPARISONS.to_frame())
    chosen = _shots(ours, theirs, shots)
    answers_a = ours.answers(cells.pairs["cell_a"], chosen)
    answers_b = theirs.answers(cells.pairs["cell_b"], chosen)
    reasons = {
        variant: _reason(ours, theirs, pair, (answers_a, answers_b))
        for (variant,), pair in cells.pairs.group_by("variant", maintain_order=True)
    }
    verdicts = pl.Series([reasons[variant] is None for variant in cells.pairs["variant"]], dtype=pl.Boolean)
    pairs = cells.pairs.with_columns(paired=verdicts)
    table = compare_answers(answers_a, answers_b, pairs).sort(
        pl.min_horizontal("accuracy_p", "nats_p"), nulls_last=True, maintain_order=True
    )
    return Comparison(settings, cells, chosen, _notes(reasons), table)


class _Run:
    """A finished run: its record, and its tables as far as they are needed."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.record = folder.read_record()
        self._tables: Path = folder.open_tables()

    @cached_property
    def cells(self) -> pl.DataFrame:
        return pl.read_parquet(self._tables / "cells.parquet")

    @cached_property
    def most_shots(self) -> int:
        found: Any = self._items.select(pl.col("shot").max()).collect().item()
        return int(found)

    def answers(self, cells: pl.Series, shots: int) -> pl.DataFrame:
        """Return the items of some cells at one number of examples."""
        return self._items.filter((pl.col("shot") == shots) & pl.col("cell").is_in(cells.implode())).collect()

    @property
    def _items(self) -> pl.LazyFrame:
        return pl.scan_parquet(self._tables / "items.parquet")

    def questions(self, cell: str) -> dict[str, Json] | None:
        """Return what determined a cell's prompts, from its artifact; None where that cannot be read."""
        inputs = self._folder.read_manifest(self.record["tables"])["inputs"]
        own = inputs.get(f"cell {cell}")
        answered = next((key for name, key in inputs.items() if name.startswith(f"{cell} ")), None)
        if own is None and answered is None:
            return None
        try:
            key = f"cell-{own}" if own is not None else f"answers-{answered}"
            spec: Mapping[str, Any] = self._folder.read_manifest(key)["spec"]
        except ArtifactError:
            return None
        asked = spec.get("evaluate", spec)
        return {
            "grammar": spec["language"]["grammar"],
            "world": spec["language"]["key"],
            "evaluation": spec.get("evaluation_key", spec.get("key")),
            "shots": asked["shots"],
            "prompts": asked["prompts"],
        }


def _reason(
    ours: _Run, theirs: _Run, pairs: pl.DataFrame, answers: tuple[pl.DataFrame, pl.DataFrame]
) -> str | None:
    """Return why the prompts of two corresponding cells are not the same; None where they are."""
    cell_a, cell_b = pairs["cell_a"][0], pairs["cell_b"][0]
    asked_a, asked_b = ours.questions(cell_a), theirs.questions(cell_b)
    if asked_a is None or asked_b is None:
        return "what their cells were asked cannot be read"
    for name, reason in _REASONS.items():
        if asked_a[name] != asked_b[name]:
            return reason
    items_a, items_b = (
        items.filter(pl.col("cell") == cell) for items, cell in zip(answers, (cell_a, cell_b), strict=True)
    )
    return None if same_prompts(items_a, items_b) else _DIFFERENT_ANSWERS


def _notes(reasons: Mapping[Any, str | None]) -> list[str]:
    causes = dict.fromkeys(reason for reason in reasons.values() if reason is not None)
    notes = [f"The runs' prompts are not paired: {cause}." for cause in causes]
    return notes or ["The runs answered the same prompts: differences are paired by prompt."]


def _shots(ours: _Run, theirs: _Run, shots: int | None) -> int:
    most = min(ours.most_shots, theirs.most_shots)
    if shots is not None and not 0 <= shots <= most:
        raise UserError(
            f"Got --shots {shots}. Both runs have prompts with 0 to {most} examples. Choose a number of these."
        )
    return most if shots is None else shots


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[dict[str, Json]]:
    """Yield the entries of the records that differ, in order."""
    ours, theirs = _flat(a), _flat(b)
    for entry in dict.fromkeys([*ours, *theirs]):
        left, right = ours.get(entry), theirs.get(entry)
        if left != right:
            if entry == "grammar_text":
                left, right = (f"{len(str(text).splitlines())} lines" for text in (left, right))
            yield {"entry": entry, "a": left, "b": right}


def _flat(record: Mapping[str, Any]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for section in _SECTIONS:
        if section in record:
            found |= dict(_entries(section, record[section]))
    # A study names its grammar in a table or without one; an evaluation does so beside its questions.
    name = found.pop("grammar_name", None)
    found.setdefault("grammar.name", found.pop("grammar", name))
    return found


def _entries(name: str, value: Any) -> Iterator[tuple[str, Json]]:
    if isinstance(value, Mapping):
        for key, part in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _entries(f"{name}.{key}", part)
    else:
        yield name.removeprefix("study."), value
