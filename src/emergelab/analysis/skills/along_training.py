"""All that is asked of courses over training: emergence, the order and the shift of composites, and what lies ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from emergelab.analysis.skills.ahead import Ahead, ahead
from emergelab.analysis.skills.emerging import Emerging, across_systems, emerging
from emergelab.analysis.skills.order import Order, order
from emergelab.analysis.skills.panels import Panels, panels
from emergelab.analysis.skills.shifts import Shifts, shifts
from emergelab.rng import Stream


@dataclass(frozen=True)
class AlongTraining:
    """What was found of the systems of a table, see the modules of the same names; `across` is over their sizes."""

    panels: Panels
    emerging: Emerging
    across: Emerging
    order: Order
    shifts: Shifts
    ahead: Ahead


def along_training(
    frame: pl.DataFrame, root: Stream, unfit: Mapping[str, str] | None = None, *, workers: int = 2
) -> AlongTraining:
    """Ask everything of a table of `OUTCOMES`; `unfit` names tasks to leave out, with the reason.

    The same table and `root` give the same numbers, whatever the number of `workers` (threads).
    """
    made = panels(frame, unfit)
    found = emerging(made, root, workers=workers)
    return AlongTraining(
        panels=made,
        emerging=found,
        across=across_systems(made, root),
        order=order(made, found),
        shifts=shifts(made, root),
        ahead=ahead(made),
    )
