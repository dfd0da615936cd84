"""All that is asked of the composites of a table of outcomes, in one go."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from emergelab.analysis.skills.cases import Rated, rated
from emergelab.analysis.skills.composition import ALL, Composition, compose
from emergelab.analysis.skills.failing import WRONG, with_failures
from emergelab.analysis.skills.gates import Gates, find_gates
from emergelab.analysis.skills.items import carried
from emergelab.analysis.skills.parts import Parts, find_parts
from emergelab.analysis.skills.tuples import tuple_bounds


@dataclass(frozen=True, kw_only=True)
class Composed:
    """Composites and what was found: of all of them, and (`fit`) of those whose tasks show their skills.

    `left_out` has task and reason, of composites with all parts only. `fit` is None where nothing is left out, and
    empty where all is.
    """

    parts: Parts
    left_out: pl.DataFrame
    whole: Composition
    fit: Composition | None
    carried: pl.DataFrame
    gates: Gates
    bounds: pl.DataFrame

    @property
    def verdicts(self) -> Composition:
        """What verdicts go by: composites whose tasks show their skills."""
        return self.whole if self.fit is None else self.fit


def composed(frame: pl.DataFrame, unfit: pl.DataFrame, key: int = 0) -> Composed:
    """Return everything about the composites of `OUTCOMES`; `unfit` has task and reason, see `outcomes.screens`."""
    whole = rated(find_parts(frame), key)
    kept = whole.without(frozenset(unfit["task"]))
    complete, left = (one.parts.composites.filter(pl.col("complete") > 0) for one in (whole, kept))
    gone = complete.join(left, on="unit", how="anti", maintain_order="left")
    reasons = dict(unfit.select("task", "reason").iter_rows())
    left_out = pl.DataFrame(
        [(name, reasons.get(name) or reasons.get(name.split(": ")[0])) for name in gone["name"]],
        schema={"task": pl.String, "reason": pl.String},
        orient="row",
    )
    return Composed(
        parts=whole.parts,
        left_out=left_out,
        whole=compose(whole),
        fit=compose(kept, (ALL, "system")) if gone.height else None,
        carried=carried(whole.parts, whole.source),
        gates=find_gates(whole),
        bounds=tuple_bounds(_by_failure(frame, whole, key)),
    )


def _by_failure(frame: pl.DataFrame, whole: Rated, key: int) -> Rated:
    """Return the composites of answers that fail or not, as the theorem counts; the same where wrong ones fail."""
    failing = with_failures(frame)
    if (failing["fails_by"] == WRONG).all():
        return whole
    return rated(find_parts(failing.with_columns(correct=~pl.col("fails"))), key)
