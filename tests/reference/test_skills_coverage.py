"""How often the intervals of competence hold the truth, in simulations where it is known."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from emergelab.analysis.skills.competence import changes, competence
from emergelab.analysis.skills.observed import observed
from emergelab.analysis.skills.pieces import pieces_of
from emergelab.outcomes.reading import as_outcomes
from emergelab.rng import stream

SYSTEMS = 400  # simulations, each a system of its own
TASKS = 3


def _simulated(chances: np.ndarray, checkpoint: str, key: int) -> pl.DataFrame:
    """Return right-or-wrong answers; `chances` are [systems, items, tasks], tasks share items."""
    right = stream(key, "answers", checkpoint).generator().random(chances.shape) < chances
    system, item, task = (index.ravel() for index in np.indices(right.shape))
    return pl.DataFrame(
        {
            "system": [f"s{i:04d}" for i in system],
            "checkpoint": checkpoint,
            "task": [f"t{i}" for i in task],
            "skills": "f",
            "piece": [str(i) for i in item],
            "input": [str(i) for i in item],
            "correct": right.ravel(),
        }
    )


def _chances(items: int, mean: float, spread: float, key: int) -> np.ndarray:
    """Return chances that tasks with one item share: logits are normal around that of `mean`."""
    logits = math.log(mean / (1 - mean)) + spread * stream(key, "items").generator().standard_normal(
        (SYSTEMS, items, 1)
    )
    return np.broadcast_to(1 / (1 + np.exp(-logits)), (SYSTEMS, items, TASKS))


def _covered(found: pl.DataFrame, ends: tuple[str, str], true: float) -> float:
    lo, hi = (found[name].to_numpy() for name in ends)
    return float(np.mean((lo <= true) & (true <= hi)))


def _true(mean: float, spread: float) -> float:
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    logits = math.log(mean / (1 - mean)) + spread * points
    return float((weights / weights.sum()) @ (1 / (1 + np.exp(-logits))))


@pytest.mark.parametrize(
    ("items", "mean", "spread"), [(20, 0.5, 2.0), (40, 0.1, 2.0), (40, 0.9, 0.0), (100, 0.3, 1.0)]
)
def test_levels_cover_what_new_items_would_show(items: int, mean: float, spread: float):
    raw = _simulated(_chances(items, mean, spread, items), "1", items)
    frame = as_outcomes(raw, "test").frame
    found = competence(pieces_of(frame), "skill")
    assert 0.92 <= _covered(found, ("success_lo", "success_hi"), _true(mean, spread)) <= 0.99


def test_without_items_levels_would_not_cover():
    raw = _simulated(_chances(40, 0.3, 3.0, 1), "1", 1).drop("input")
    found = competence(pieces_of(as_outcomes(raw, "test").frame), "skill")
    assert _covered(found, ("success_lo", "success_hi"), _true(0.3, 3.0)) < 0.88


@pytest.mark.parametrize("gain", [0.0, 0.8])
def test_changes_cover_what_new_items_would_show(gain: float):
    before = _chances(60, 0.4, 1.5, 2)
    after = 1 / (1 + np.exp(-(np.log(before / (1 - before)) + gain)))
    frames = [_simulated(chances, name, 3) for chances, name in ((before, "1"), (after, "2"))]
    found = changes(pieces_of(as_outcomes(pl.concat(frames), "test").frame), "skill")
    rows = found.filter(pl.col("measure") == "success")
    shifted = 1 / (1 + math.exp(-(math.log(0.4 / 0.6) + gain)))
    true = _true(shifted, 1.5) - _true(0.4, 1.5)
    assert 0.92 <= _covered(rows, ("lo", "hi"), true) <= 0.99
    if gain == 0:
        assert np.mean(rows["p"].to_numpy() < 0.05) <= 0.08


def test_the_truth_lies_between_the_worst_skills_and_their_halves():
    generator = stream(4, "skills").generator()
    skills, pieces, trials = 15, 12, 60
    failure = generator.beta(2, 4, (trials, skills))
    right = generator.random((trials, skills, pieces)) >= failure[:, :, None]
    trial, skill, piece = (index.ravel() for index in np.indices(right.shape))
    raw = pl.DataFrame(
        {
            "system": [f"s{i:04d}" for i in trial],
            "checkpoint": "1",
            "task": [f"t{i}" for i in skill],
            "skills": [f"k{i}" for i in skill],
            "piece": [str(i) for i in piece],
            "correct": right.ravel(),
        }
    )
    curve, _ = observed(pieces_of(as_outcomes(raw, "test").frame), stream(5, "test"))
    true = np.cumsum(-np.sort(-failure, axis=1), axis=1) / np.arange(1, skills + 1)
    # Skills have as many pieces each: whole ones end at 1/15, 2/15, ...
    found = [
        curve[name].to_numpy().reshape(trials, skills - 1)
        for name in ("failure", "halves", "halves_lo", "hi")
    ]
    raw_curve, halves, lo, hi = found
    assert ((raw_curve - true[:, :-1]).mean(axis=0)[:5] > 0.03).all()
    assert ((halves - true[:, :-1]).mean(axis=0)[:5] < 0.01).all()
    covered = (lo <= true[:, :-1]) & (true[:, :-1] <= hi)
    assert covered.mean(axis=0).min() >= 0.9
