"""The step that joins what all cells of a study left into its tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import polars as pl

from emergelab.analysis.aggregate import CELLS, curves_from_scores, scores_from_items
from emergelab.analysis.confronting import Confronted, cumulative, document_gaps, gaps, prompt_gaps
from emergelab.analysis.decodings import decodings
from emergelab.analysis.emergence.studied import FOUND
from emergelab.analysis.gains import Known, both_gains
from emergelab.analysis.groups import CURVE, GROUP, SCALE
from emergelab.analysis.hypotheses.differences import Tables
from emergelab.analysis.hypotheses.skills import SkillEvidence
from emergelab.grammar.sites import LawName
from emergelab.pipeline.step import StepContext
from emergelab.recipes.asked_prompts import LAWS
from emergelab.recipes.cell_folders import EMERGENCE, RUN, Settings, cell_folders, cell_record, run_of
from emergelab.recipes.piece_tables import piece_answers, skill_frames, write_pieces
from emergelab.recipes.testing import Evidence, verdicts
from emergelab.scores.variants import value_text
from emergelab.spec import Json

LOSS_POINTS = 200
_CELLS_AT_ONCE = (
    16  # so many have their answers in memory together, and more where they are repetitions of one
)
_ROWS_TOGETHER = 1_000_000
_TASK = ("predictor", "task", "split")
_ORDERS: Mapping[str, Sequence[str]] = {
    "scores": GROUP,
    "curves": (*CURVE, "seeds", "seed"),
    "gains": ("cell", *_TASK, "decoding", "argument", "shots", *SCALE),
    "cumulative_gains": ("cell", *_TASK, "decoding", "answers", *SCALE),
    "decodings": ("cell", *_TASK, "argument", "shots", *SCALE),
    "cumulative": ("cell", "predictor", "task", "form", "split", "answers"),
}
_FURTHER = pl.Schema(
    {
        "counted_tokens": pl.Int64,
        "documents_read": pl.Int64,  # above `unique_documents`, documents were read repeatedly
        "device": pl.String,  # of the training
        "precision": pl.String,
    }
)

Spec = Mapping[str, Any]
Inputs = Mapping[str, Path]
Record = Mapping[str, Any]


def make_tables(spec: Spec, inputs: Inputs, out: Path, context: StepContext) -> None:
    """Join the cells' items and summarise them, beside those of the ideal predictors.

    `spec` names in `ideals`, for each run, the input that its ideal predictors left. It may have `settings`: by the
    name of a run, what the study varies besides its scale; and `hypotheses`, which the tables decide on. Answers are
    summarised some cells at a time, so that memory does not grow with the study.
    """
    # In the order of names: equal inputs make equal bytes, however the study listed them.
    inputs = dict(sorted(inputs.items()))
    settings: Settings = spec.get("settings", {})
    folders = cell_folders(inputs)
    records = [_record(cell, folder, inputs, settings) for cell, folder in folders.items()]
    cells = pl.DataFrame([{name: record[name] for name in CELLS} for record in records], schema=CELLS)
    theory = _Theory(spec["ideals"], inputs, records)
    described = pl.concat([cells, theory.cells()])
    answers = _Answers(folders, theory, described)
    answers.write(out / "items.parquet")
    parts = [answers.of_ideals()]
    blocks = list(_blocks(records))
    for done, block in enumerate(blocks):
        context.progress(done, len(blocks))
        parts.append(answers.of_models(block))
    tables = {
        name: pl.concat([part[name] for part in parts]).sort(order, nulls_last=True)
        for name, order in _ORDERS.items()
    }
    tables |= {
        "losses": _losses(inputs, {run_of(record["cell"]): record for record in records}),
        "cells": _cells(cells, records, [settings.get(run_of(record["cell"]), {}) for record in records]),
        "bounds": theory.bounds,
        "gaps": gaps([*(part["gaps"] for part in parts), *theory.document_gaps(folders)], cells),
        "prompts": theory.prompts,
        "emergence": _emergence(inputs),
    }
    hypotheses: Sequence[Mapping[str, Any]] = spec.get("hypotheses", ())
    skills = SkillEvidence({}, described)
    if "texts" in spec:
        skills = SkillEvidence(piece_answers(spec, inputs), described)
        tables |= skill_frames(skills.answers, cells)
        write_pieces(inputs, out / "pieces.parquet")
    measured = Tables(answers.asked_by(hypotheses), described, tables["bounds"])
    tables["verdicts"] = verdicts(hypotheses, Evidence(measured, tables["prompts"], skills))
    for name, table in tables.items():
        table.write_parquet(out / f"{name}.parquet", compression="zstd")


def _blocks(records: Sequence[Record]) -> Iterator[list[str]]:
    """Yield all cells, some at a time; those that differ in their seed alone stay together, for they are pooled."""
    by_scale: dict[tuple[Any, ...], list[str]] = {}
    for record in records:
        by_scale.setdefault(tuple(record[name] for name in SCALE), []).append(record["cell"])
    block: list[str] = []
    for cells in by_scale.values():
        block += cells
        if len(block) >= _CELLS_AT_ONCE:
            yield block
            block = []
    if block:
        yield block


@dataclass(frozen=True)
class _Answers:
    """The answers of all cells and ideal predictors, and the tables that summarise those of some."""

    folders: Mapping[str, Path]
    theory: _Theory
    cells: pl.DataFrame

    def write(self, path: Path) -> None:
        """Write all of them, those of models first."""
        models = [
            pl.scan_parquet(folder / "items.parquet", glob=False).with_columns(cell=pl.lit(cell))
            for cell, folder in self.folders.items()
        ]
        joined = pl.concat([*models, self.theory.items().lazy()])
        joined.sink_parquet(path, compression="zstd", row_group_size=_ROWS_TOGETHER, maintain_order=True)

    def of_models(self, block: Sequence[str]) -> dict[str, pl.DataFrame]:
        """Return the tables of some models."""
        models, ideal = self._items(block), self.theory.items(block)
        return self._summaries(models, ideal) | {"gaps": self.theory.prompt_gaps(models, ideal, block)}

    def of_ideals(self) -> dict[str, pl.DataFrame]:
        """Return the tables of the ideal predictors."""
        ideal = self.theory.items()
        return self._summaries(ideal, ideal.clear()) | {"gaps": pl.DataFrame()}

    def _items(self, cells: Sequence[str]) -> pl.DataFrame:
        return pl.concat([_items(cell, self.folders[cell]) for cell in cells])

    def _summaries(self, answers: pl.DataFrame, ideal: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """Return the tables of `answers`, which those that compare hold against the `ideal` ones."""
        scores = scores_from_items(answers, self.cells)
        both = pl.concat([answers, ideal])
        gained, added_up = both_gains(both, self.theory.known(self.cells))
        named = ideal["cell"].unique().implode()
        compared = {
            "gains": gained,
            "cumulative_gains": added_up,
            "cumulative": cumulative(both, self.cells, self.theory.confronted("full")),
        }
        theirs = pl.col("cell").is_in(named).fill_null(value=False)
        return {
            "scores": scores,
            "curves": curves_from_scores(scores, answers),
            "decodings": decodings(answers, self.cells),
        } | {name: table.filter(~theirs) for name, table in compared.items()}

    def asked_by(self, hypotheses: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        """Return the answers of the cells that hypotheses name, and those of the ideal predictors."""
        asked = sorted({cell for one in hypotheses for cell in _named_cells(one)})
        return pl.concat([*(_items(cell, self.folders[cell]) for cell in asked), self.theory.items()])


def _named_cells(asked: object) -> Iterator[str]:
    """Yield the cells that a hypothesis names, wherever in its entries."""
    if isinstance(asked, Mapping):
        entries: Mapping[str, object] = asked  # pyright: ignore[reportUnknownVariableType]
        for name, value in entries.items():
            yield from cast("Sequence[str]", value) if name == "cells" else _named_cells(value)
    elif isinstance(asked, list | tuple):
        for value in cast("Sequence[object]", asked):
            yield from _named_cells(value)


@dataclass(frozen=True)
class _Theory:
    """What the ideal predictors left, for each variant of a study, and how cells of models stand to it.

    A variant that differs from another in its training alone has the same ideal predictors under another name.
    """

    ideals: Mapping[str, str]
    inputs: Inputs
    records: Sequence[Record]

    @cached_property
    def _folders(self) -> dict[str | None, Path]:
        """Where the ideal predictors of each variant left their answers."""
        return {record["variant"]: self._folder(record) for record in self.records}

    @cached_property
    def _variants(self) -> dict[str, str | None]:
        return {record["cell"]: record["variant"] for record in self.records}

    def _folder(self, record: Record) -> Path:
        return self.inputs[self.ideals[run_of(record["cell"])]]

    def items(self, cells: Sequence[str] | None = None) -> pl.DataFrame:
        """Return their items, those that some cells are held against or all, each variant's under its own name."""
        asked = set(self._folders) if cells is None else {self._variants[cell] for cell in cells}
        return pl.concat(
            pl.read_parquet(folder / "items.parquet").with_columns(
                cell=pl.concat_str("cell", pl.lit(_suffix(variant)))
            )
            for variant, folder in self._folders.items()
            if variant in asked
        )

    def cells(self) -> pl.DataFrame:
        """Return what they are: nothing that was trained."""
        rows = [
            {"cell": f"{name}{_suffix(variant)}", "variant": variant}
            for variant in self._folders
            for name in LAWS.values()
        ]
        return pl.DataFrame(rows, schema=CELLS)

    @cached_property
    def bounds(self) -> pl.DataFrame:
        """Return the bounds of all variants."""
        return pl.concat(
            pl.read_parquet(folder / "bounds.parquet").with_columns(variant=pl.lit(variant, dtype=pl.String))
            for variant, folder in self._folders.items()
        )

    @cached_property
    def prompts(self) -> pl.DataFrame:
        """Return the prompts of all variants."""
        return pl.concat(
            pl.read_parquet(folder / "prompts.parquet").with_columns(variant=pl.lit(variant, dtype=pl.String))
            for variant, folder in self._folders.items()
        )

    def known(self, cells: pl.DataFrame) -> Known:
        """Return what the gains of printed steps are held against: the ideal predictor of the whole grammar."""
        laws = {name: law for law, name in LAWS.items()}
        return Known(cells=cells, against=self._against("full"), bounds=self.bounds, laws=laws)

    def confronted(self, law: LawName) -> Confronted:
        """Return what the models are held against under a law."""
        return Confronted(self._against(law), self.bounds.filter(pl.col("law") == law))

    def prompt_gaps(self, models: pl.DataFrame, ideal: pl.DataFrame, cells: Sequence[str]) -> pl.DataFrame:
        """Return what some models pay more for the answers of prompts, against each ideal predictor."""
        found: list[pl.DataFrame] = []
        for law, name in LAWS.items():
            suffix = pl.concat_str(pl.lit(","), "variant").fill_null("")
            prompts = self.prompts.with_columns(ideal_cell=pl.concat_str(pl.lit(name), suffix))
            against = self._against(law)
            found.append(prompt_gaps(models, ideal, {cell: against[cell] for cell in cells}, prompts))
        return pl.concat(found, how="diagonal_relaxed")

    def _against(self, law: LawName) -> dict[str, str]:
        """Return by cell of a model the cell of its ideal predictor."""
        return {record["cell"]: f"{LAWS[law]}{_suffix(record['variant'])}" for record in self.records}

    def document_gaps(self, folders: Mapping[str, Path]) -> Iterator[pl.DataFrame]:
        """Yield what models pay more per token of documents; nothing where the ideal predictor is out of reach."""
        ideals = {at: pl.read_parquet(at / "documents.parquet") for at in set(self._folders.values())}
        for record in self.records:
            ideal, cell = ideals[self._folder(record)], record["cell"]
            if not ideal.is_empty():
                documents = pl.read_parquet(folders[cell] / "documents.parquet")
                yield document_gaps(documents, ideal, cell=cell, against=LAWS["train"])


def _suffix(variant: str | None) -> str:
    return "" if variant is None else f",{variant}"


def _emergence(inputs: Inputs) -> pl.DataFrame:
    """Return what was found of each task; nothing where no curve has enough points."""
    found = [folder for name, folder in inputs.items() if name.startswith(EMERGENCE)]
    return pl.concat([FOUND.to_frame(), *(pl.read_parquet(at / "emergence.parquet") for at in found)])


def _record(cell: str, folder: Path, inputs: Inputs, settings: Settings) -> dict[str, Any]:
    trained = json.loads((inputs[RUN + run_of(cell)] / "run.json").read_text(encoding="utf-8"))
    told = {name: trained[name] for name in ("device", "precision")}
    return cell_record(cell, folder, settings) | told


def _items(cell: str, folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "items.parquet").with_columns(cell=pl.lit(cell))


def _cells(
    cells: pl.DataFrame, records: Sequence[Record], settings: Sequence[Mapping[str, Json]]
) -> pl.DataFrame:
    """Return what was trained: `CELLS`, how it was trained, and a column for each setting that varies."""
    further = pl.DataFrame([{name: record[name] for name in _FURTHER} for record in records], schema=_FURTHER)
    columns = [_setting_column(name, [of_run[name] for of_run in settings]) for name in settings[0]]
    return cells.hstack([*further, *columns]).sort("layers", "width", "seed", "train_tokens", "cell")


def _setting_column(name: str, values: Sequence[Json]) -> pl.Series:
    """Return the values of a setting as numbers where all of them are, else as their text."""
    for kind, numeric in ((int, pl.Int64), (int | float, pl.Float64)):
        if all(isinstance(value, kind) for value in values):
            return pl.Series(name, values, dtype=numeric, strict=False)
    return pl.Series(
        name, [None if value is None else value_text(value) for value in values], dtype=pl.String
    )


def _losses(inputs: Inputs, records: Mapping[str, Record]) -> pl.DataFrame:
    """Return the training losses of all runs, averaged over short stretches of steps."""
    return pl.concat(
        [
            _thinned(pl.read_parquet(folder / "log.parquet")).select(
                pl.lit(name.removeprefix(RUN)).alias("run"),
                *_columns_of_run(records[name.removeprefix(RUN)]),
                "tokens",
                "loss",
            )
            for name, folder in inputs.items()
            if name.startswith(RUN)
        ]
    )


def _columns_of_run(record: Record) -> list[pl.Expr]:
    names = ("layers", "width", "unique_documents", "variant", "seed")
    return [pl.lit(record[name], dtype=CELLS[name]).alias(name) for name in names]


def _thinned(log: pl.DataFrame) -> pl.DataFrame:
    stretch = max(1, len(log) // LOSS_POINTS)
    return (
        log.group_by((pl.col("step") - 1) // stretch, maintain_order=True)
        .agg(pl.col("tokens").last(), pl.col("loss").cast(pl.Float64).mean())
        .select("tokens", "loss")
    )
