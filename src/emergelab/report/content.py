"""What a report is made of: the tables that a study left behind, and a record of what was run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import polars as pl

from emergelab.analysis.confronting import CUMULATIVE, GAPS
from emergelab.analysis.decodings import DECODINGS
from emergelab.analysis.emergence.studied import FOUND
from emergelab.analysis.gains import CUMULATIVE_GAINS
from emergelab.errors import ArtifactError
from emergelab.scores.tables import BOUNDS, CURVES, ITEMS, SCORES, VERDICTS

LOSSES = pl.Schema(
    {
        "run": pl.String,
        "layers": pl.Int32,
        "width": pl.Int32,
        "unique_documents": pl.Int64,
        "variant": pl.String,
        "seed": pl.Int32,
        "tokens": pl.Int64,
        "loss": pl.Float64,  # nats per token
    }
)


class Overlap(TypedDict, total=False):
    """The proof that nothing held out was trained on; the numbers count function tables, of all corpora together."""

    held_out_tables: int
    training_tables: int
    overlap: int
    corpora: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A document as (token text, role) pairs; `cut` where the context ended it, `variant` what its corpus is set to."""

    tokens: Sequence[tuple[str, str]]
    cut: bool = False
    variant: str | None = None


class RunRecord(TypedDict, total=False):
    """What was run. Every entry may be left out; the page then says nothing of it."""

    study_text: str
    study: Mapping[str, object]  # resolved: every default filled in
    grammar_name: str
    grammar_text: str
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    times: Mapping[str, float]  # seconds by stage, of all processes together
    elapsed: float  # seconds by the clock on the wall
    finished: str
    overlap: Overlap
    notes: Sequence[str]
    out_of_reach: Sequence[str]  # why ideal predictors could not be computed
    dropped_hypotheses: Sequence[str]  # fixed in an earlier run of the folder, and no more in the study


@dataclass(frozen=True, kw_only=True)
class ReportInput:
    """Everything that a report shows.

    `items`, `scores` and `curves` have the schemas of `scores.tables`, `losses` the one above; of the items those of
    `last_queries` are enough; `cells` may have
    any of the columns of the table of cells. `bounds`, `cumulative` and `gaps` are what the theory says beside
    what was measured, `cumulative_gains` and `decodings` what printed steps gain, `verdicts` those on hypotheses,
    `links`, `skills` and `weak` what is measured on text-pieces, where the study does so;
    None where a run of an earlier version has no such tables. Raises `ArtifactError` where a table lacks a column.
    """

    title: str
    items: pl.DataFrame
    scores: pl.DataFrame
    curves: pl.DataFrame
    losses: pl.DataFrame
    samples: Sequence[Sample]
    run: RunRecord
    cells: pl.DataFrame = field(default_factory=pl.DataFrame)
    bounds: pl.DataFrame | None = None
    cumulative: pl.DataFrame | None = None
    gaps: pl.DataFrame | None = None
    cumulative_gains: pl.DataFrame | None = None
    decodings: pl.DataFrame | None = None
    verdicts: pl.DataFrame | None = None
    emergence: pl.DataFrame | None = None
    links: pl.DataFrame | None = None
    skills: pl.DataFrame | None = None
    weak: pl.DataFrame | None = None

    def __post_init__(self) -> None:
        tables = {"items": ITEMS, "scores": SCORES, "curves": CURVES, "losses": LOSSES}
        for name, schema in tables.items():
            _require_columns(name, getattr(self, name), schema)
        theory = {"bounds": BOUNDS, "cumulative": CUMULATIVE, "gaps": GAPS, "verdicts": VERDICTS}
        theory |= {"emergence": FOUND}
        theory |= {"cumulative_gains": CUMULATIVE_GAINS, "decodings": DECODINGS}
        for name, schema in theory.items():
            table: pl.DataFrame | None = getattr(self, name)
            if table is not None:
                _require_columns(name, table, schema)


def last_queries(items: pl.LazyFrame) -> pl.LazyFrame:
    """Return the items of queries behind the most examples, of those with fresh arguments the most among these.

    Single answers are many times as many; no figure shows others.
    """
    panel = ["task", "form", "split"]
    fresh = pl.col("shot").filter(pl.col("argument") == "fresh").max().alias("most_fresh")
    most = items.group_by(panel).agg(pl.col("shot").max().alias("most"), fresh)
    last = (pl.col("shot") == pl.col("most")) | (pl.col("shot") == pl.col("most_fresh"))
    return items.join(most, on=panel, maintain_order="left").filter(last).drop("most", "most_fresh")


def _require_columns(name: str, table: pl.DataFrame, columns: Iterable[str]) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ArtifactError(
            f"The table '{name}' has no column {', '.join(missing)}. A report needs all of its schema. "
            "Run the study again to make the table anew."
        )
