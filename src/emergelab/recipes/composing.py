"""Composition from a table of outcomes: read, screen, compare the laws; as JSON values."""

from __future__ import annotations

from typing import Any

import polars as pl

from emergelab.analysis.skills.composed import Composed, composed
from emergelab.analysis.skills.composition import Composition
from emergelab.outcomes.files import TableError
from emergelab.recipes.outcome_tables import OutcomesFile
from emergelab.recipes.screening import screened
from emergelab.report.outcomes.composition_words import findings


def composition_of(question: OutcomesFile, key: int = 0) -> dict[str, Any]:
    """Return what is found of composition in a table, as JSON values; missing numbers are None.

    `laws` are the verdicts' scores (composites whose tasks show their skills), `laws_of_all` those of all composites
    with all parts. Raises TableError for a table that cannot be read, and where no item needs two skills.
    """
    data = screened(question)
    frame = data.outcomes.frame
    if frame["skills"].list.len().max() == 1:
        raise TableError(
            f"No item of {question.file[:200]} needs two skills or more. Laws of composition are about tuples of "
            "skills. Name the skills of each task with --skills FILE, a table of the columns task and skills."
        )
    return as_values(composed(frame, data.unfit, key)) | {"notes": list(data.outcomes.notes)}


def as_values(found: Composed) -> dict[str, Any]:
    """Return everything but single predictions as JSON values."""
    return {
        "findings": findings(found),
        "laws": _rows(_wide(found.verdicts)),
        "laws_of_all": _rows(_wide(found.whole)),
        "comparisons": _rows(found.verdicts.comparisons),
        "gates": _rows(found.gates.verdicts),
        "parts": _rows(found.gates.parts),
        "items": _rows(found.carried),
        "bounds": _rows(found.bounds),
        "composites": _rows(found.parts.composites.drop("unit")),
        "left_out": _rows(found.left_out),
    }


def _wide(composition: Composition) -> pl.DataFrame:
    """Return scores of all cases and of systems; those of checkpoints are for files."""
    return composition.scores.filter(pl.col("group").is_in(["all", "system", "k"]))


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    floats = [name for name, kind in frame.schema.items() if kind.is_float()]
    finite = [pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in floats]
    return frame.with_columns(finite).to_dicts()
