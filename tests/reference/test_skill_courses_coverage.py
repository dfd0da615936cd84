"""How often intervals of courses hold what is true of simulated systems.

The standard error of a coverage of .95 in 60 systems is .03.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from emergelab.analysis.skills.emerging import emerging
from emergelab.analysis.skills.order import AFTER, BEFORE, order
from emergelab.analysis.skills.panels import panels
from emergelab.analysis.skills.shifts import LATEST, MEAN, shifts
from emergelab.rng import stream
from outcome_rows import row_of
from training_courses import Course, rising, trained

ROOT = stream(0, "coverage")
SYSTEMS = 60
FIFTEEN = np.geomspace(1e9, 1e12, 15).round().tolist()


def courses(later: float) -> dict[str, Course]:
    return {
        "f": Course(("f",), rising(4e10, width=0.8, top=1.0)),
        "g": Course(("g",), rising(2e10, width=0.8, top=1.0)),
        "fg": Course(("f", "g"), rising(later * 4e10, width=0.8, top=1.0)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("later", [1.0, 2.5])
def test_intervals_of_shifts_hold_the_shift(later: float):
    held = {LATEST: 0, MEAN: 0}
    for seed in range(SYSTEMS):
        found = shifts(panels(trained(courses(later), FIFTEEN, items=120, seed=seed)), ROOT).rows
        for against, truth in ((LATEST, math.log(later)), (MEAN, math.log(later) + math.log(2) / 2)):
            row = row_of(found, axis="tokens", against=against)
            held[against] += row["shift_lo"] <= truth <= row["shift_hi"]
    for count in held.values():
        assert count >= 0.87 * SYSTEMS


@pytest.mark.slow
def test_thresholds_hold_their_place_and_order_is_hardly_ever_wrong():
    held, wrong = 0, 0
    for seed in range(SYSTEMS // 3):
        given = panels(trained(courses(1.0), FIFTEEN, items=120, seed=seed))
        found = emerging(given, ROOT, simulations=19)
        row = row_of(found.found, kind="task", name="f", axis="tokens", metric="accuracy")
        held += row["threshold_lo"] <= 4e10 <= row["threshold_hi"]
        wrong += row_of(order(given, found).rows, axis="tokens")["order"] in {AFTER, BEFORE}
    assert held >= 0.9 * SYSTEMS / 3
    assert wrong <= 1
