"""Finding the trained models of a run by what they are: sizes, settings, seed, training tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, cast

import polars as pl

from emergelab.errors import ArtifactError, UserError
from emergelab.grammar.problems import suggestion
from emergelab.pipeline.manifest import Manifest
from emergelab.recipes.run_folder import RunFolder
from emergelab.scores.variants import short_names
from emergelab.spec import Json, canonical_json

_ALIASES = {"train_tokens": "tokens", "unique_documents": "documents"}
# What was found out about a model does not tell which one it is.
_FOUND = {
    "params",
    "flops",
    "loss",
    "loss_lo",
    "loss_hi",
    "loss_method",
    "counted_tokens",
    "documents_read",
    "device",
    "precision",
}
_MOST_SHOWN = 6


class LanguageSpec(TypedDict):
    """A grammar, written out in full, and the key that its world is drawn from."""

    name: str
    grammar: str
    key: int


def study_of(record: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Return the study that a run's record holds. Raises UserError for answers of a model from elsewhere."""
    if "study" not in record:
        raise UserError(
            f"{folder} holds answers of a model that was not trained here. Only a study has models, prompts and a "
            "report. Use its tables, or run a study."
        )
    return record["study"]


@dataclass(frozen=True)
class Models:
    """The models of a finished run, one for each cell of its grid."""

    folder: RunFolder

    @cached_property
    def cells(self) -> pl.DataFrame:
        """One row for each cell: what it is, in short names, with a column for each setting that the study varies."""
        study_of(self.folder.read_record(), self.folder.path)
        cells = pl.read_parquet(self.folder.open_tables() / "cells.parquet")
        cells = cells.select(name for name in cells.columns if name not in _FOUND)
        # A run of an earlier version varied nothing that needs a column of its own.
        if "variant" not in cells.columns:
            cells = cells.with_columns(variant=pl.lit(None, pl.String))
        return cells.rename(short_names(cells.columns)).rename(_ALIASES)

    def choose(self, which: Mapping[str, Json]) -> str:
        """Return the name of the one cell that `which` describes, the longest trained if it says no tokens.

        Raises UserError where there is none, or more than one.
        """
        found = self.matching(which)
        if not {"tokens", "train_tokens", "cell"} & set(which):
            found = found.filter(pl.col("tokens") == pl.col("tokens").max())
        if found.height > 1:
            raise UserError(
                f"{found.height} models of the run are {_described(which) or 'as long trained'}. One is asked for. "
                f"Say which: {_differences(found)}."
            )
        return found["cell"].item()

    def matching(self, which: Mapping[str, Json]) -> pl.DataFrame:
        """Return the rows of all cells that `which` describes. Raises UserError where there is none."""
        found = self.cells
        for name, value in which.items():
            column = _ALIASES.get(name, name)
            if column not in found.columns:
                raise UserError(
                    f"No model of the run has an entry {name!r}. Describe a model by its entries. "
                    f"{suggestion(name, found.columns)}"
                )
            there = found[column].unique().sort().to_list()
            found = found.filter(_equals(found[column], value))
            if found.is_empty():
                raise UserError(
                    f"No model of the run is {_described(which)}. A model is chosen by values that the run has. "
                    f"Choose {name} = {_listed(there)}."
                )
        return found

    def language(self, which: Mapping[str, Json]) -> LanguageSpec:
        """Return the one language that the models which `which` describes were trained on.

        Raises UserError where they differ in it.
        """
        # Models that differ in their grammar differ in their variant.
        kinds = self.matching(which).unique("variant", keep="first", maintain_order=True)
        specs = [self._manifest(cell)["spec"] for cell in kinds["cell"]]
        languages = {canonical_json(spec["language"]): spec for spec in specs}
        if len(languages) > 1:
            raise UserError(
                f"The run has models of {len(languages)} different grammars. One is asked for. Say which: "
                f"{_differences(kinds)}."
            )
        (spec,) = languages.values()
        return cast("LanguageSpec", spec["language"])

    def checkpoint(self, cell: str) -> Path:
        """Return the file of a cell's model. Raises ArtifactError where it was not kept."""
        from emergelab.train.checkpoint import milestone_path  # noqa: PLC0415 - loads torch

        manifest = self._manifest(cell)
        training = self.folder.open_artifact(f"train-{manifest['inputs']['train']}")
        tokens = manifest["spec"]["tokens"]
        assert isinstance(tokens, int)  # noqa: S101 - the manifest's digest vouches for it
        path = milestone_path(training, tokens)
        if not path.exists():
            raise ArtifactError(
                f"The model of {cell} was not kept. A model can be read while its file is there. Choose one with more "
                "training tokens, or run the study in a new folder and keep all."
            )
        return path

    @cached_property
    def _inputs(self) -> Mapping[str, str]:
        return self.folder.read_manifest(self.folder.read_record()["tables"])["inputs"]

    def _manifest(self, cell: str) -> Manifest:
        return self.folder.read_manifest(f"cell-{self._inputs[f'cell {cell}']}")


def _equals(column: pl.Series, value: Json) -> pl.Series:
    """Compare numbers as numbers, anything else as text."""
    if value is None:
        return column.is_null()
    if isinstance(value, int | float) and column.dtype.is_numeric():
        return column == value
    return column.cast(pl.String) == (value if isinstance(value, str) else canonical_json(value))


def _differences(found: pl.DataFrame) -> str:
    """Return the entries that tell models apart, with their values."""
    several = {
        name: found[name].unique().sort().to_list()
        for name in found.columns
        if name not in {"cell", "variant"} and found[name].n_unique() > 1
    }
    return "; ".join(f"{name} = {_listed(values)}" for name, values in several.items())


def _described(which: Mapping[str, Json]) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in which.items())


def _listed(values: Sequence[Any]) -> str:
    texts = ["none" if value is None else str(value) for value in values]
    *first, last = texts[:_MOST_SHOWN]
    more = f" or {len(texts) - _MOST_SHOWN} others" if len(texts) > _MOST_SHOWN else ""
    return f"{', '.join(first)} or {last}" if first and not more else ", ".join([*first, last]) + more
