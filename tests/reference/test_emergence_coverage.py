"""Do thresholds hold the truth, and are jumps called jumps? On simulated curves whose truth is known.

A share p of R simulations has a standard error of sqrt(p (1 - p) / R). Fast tests ask few curves and leave three of
them; the slow ones ask many. `tests/simulated_curves.py` prints the tables of docs/emergence-statistics.md.
"""

import numpy as np
import pytest

from simulated_curves import (
    ALONE,
    GRIDS,
    JUMPING_NATS,
    JUMPING_SHARES,
    LONG,
    PER_TOKEN,
    SMOOTH_NATS,
    SMOOTH_SHARES,
    WORLDS,
    Grid,
    World,
    coverage,
    judged,
    nats_curve,
    share_curve,
    verdicts,
)

FEW, MANY = 12, 100


def least(share: float, number: int) -> float:
    """Return what a share of this truth stays above but for three standard errors."""
    return share - 3 * np.sqrt(share * (1 - share) / number)


def most(share: float, number: int) -> float:
    """Return what a share of this truth stays below but for three standard errors."""
    return share + 3 * np.sqrt(share * (1 - share) / number)


QUICK = [
    (World("logistic", 2), Grid(12, 1)),
    (World("Gompertz", 2, 0.5), Grid(8, 3)),
    (World("step", 0, 0.7), Grid(4, 3, course=True)),
]


@pytest.mark.parametrize(("world", "grid"), QUICK, ids=str)
def test_thresholds_are_covered(world: World, grid: Grid):
    found = coverage(world, grid, FEW)
    assert found["hull"] >= least(0.95, FEW)
    assert found["width"] < np.log(1000)  # an interval without end would cover, too


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_thresholds_of_new_runs_are_covered(world: World, grid: Grid):
    assert coverage(world, grid, MANY)["hull"] >= least(0.95, MANY)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("grid", ALONE, ids=str)
@pytest.mark.parametrize("world", [world for world in WORLDS if not world.differ], ids=str)
def test_thresholds_of_single_runs_are_covered_where_runs_are_alike(world: World, grid: Grid):
    found = coverage(world, grid, MANY)
    assert found["hull"] >= least(0.95, MANY)
    assert found["sharpness"] >= least(0.95, MANY)


@pytest.mark.parametrize("name", SMOOTH_SHARES)
def test_smooth_shares_seldom_jump(name: str):
    found = verdicts(lambda one: share_curve(SMOOTH_SHARES[name], Grid(12, 2), one), FEW, 199)
    assert found["jump"] <= most(0.05, FEW)


@pytest.mark.parametrize("name", SMOOTH_NATS)
def test_smooth_nats_seldom_jump(name: str):
    found = verdicts(lambda one: nats_curve(SMOOTH_NATS[name], Grid(8, 1), one), FEW, 199)
    assert found["jump"] <= most(0.05, FEW)


@pytest.mark.parametrize("name", JUMPING_SHARES)
def test_jumps_in_shares_are_found(name: str):
    found = verdicts(lambda one: share_curve(JUMPING_SHARES[name], Grid(12, 1, 300), one), FEW, 199)
    assert found["jump"] >= 0.8


@pytest.mark.parametrize("name", JUMPING_NATS)
def test_jumps_in_nats_are_found(name: str):
    found = verdicts(lambda one: nats_curve(JUMPING_NATS[name], Grid(8, 1), one), FEW, 199)
    assert found["jump"] >= 0.8


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("grid", LONG, ids=str)
def test_the_rate_of_false_jumps(grid: Grid):
    for name, form in SMOOTH_SHARES.items():
        found = verdicts(lambda one, form=form: share_curve(form, grid, one), MANY)
        assert found["jump"] <= most(0.05, MANY), name
    for name, form in SMOOTH_NATS.items():
        found = verdicts(lambda one, form=form: nats_curve(form, grid, one), MANY)
        assert found["jump"] <= most(0.05, MANY), name


VERDICTS = {"linear": "artefact of the metric", "logistic": "artefact of the metric", "jump": "jump"}


@pytest.mark.parametrize("name", PER_TOKEN)
def test_exact_match_of_several_tokens_is_seen_through(name: str):
    """Each token's probability is smooth in two worlds, where only the metric jumps; in the third it jumps itself."""
    assert judged(PER_TOKEN[name], Grid(12, 1), 4).get(VERDICTS[name], 0.0) >= 0.75


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("grid", LONG, ids=str)
@pytest.mark.parametrize("name", PER_TOKEN)
def test_the_rate_of_artefacts_found(name: str, grid: Grid):
    assert judged(PER_TOKEN[name], grid, MANY).get(VERDICTS[name], 0.0) >= 0.7
