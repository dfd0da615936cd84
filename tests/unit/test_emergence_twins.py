"""What the statistics of emergence compute with little work is, to the bit, what a plain way computes."""

from __future__ import annotations

import numpy as np
import pytest

from emergelab.analysis.emergence import curves, rises, shapes
from emergelab.analysis.emergence.curves import Curve, Scale
from emergelab.rng import stream


def drawn_plainly(
    run: rises._Run, grid: rises._Grid, fit: rises._Fit, generator: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Draw everything for every node that is tried, and keep what is possible."""
    place, width, _ = grid.nodes()
    law = np.exp(fit.weight - fit.weight.max())
    node = generator.choice(law.size, size=rises._TRIED * rises._DRAWS, p=law / law.sum())
    noise = generator.standard_normal((node.size, 2))
    ends = fit.plateaus[node] + np.einsum("nij,nj->ni", fit.factor[node], noise)
    within = generator.random((node.size, 2)) - 0.5
    steps = np.diff(grid.places[:2]), np.diff(np.log(grid.widths[:2]))
    kept = np.flatnonzero(rises._possible(run, ends))[: rises._DRAWS]
    places, widths = place[node] + within[:, 0] * steps[0], width[node] * np.exp(within[:, 1] * steps[1])
    return places[kept], widths[kept], ends[kept, 0], ends[kept, 1]


def simulated(seed: int, *, shares: bool) -> Curve:
    generator = stream(seed, "twins").generator()
    points = int(generator.integers(4, 20))
    x = np.sort(np.exp(generator.uniform(20, 28, points)))
    rate = 0.1 + 0.8 / (1 + np.exp(-(np.log(x) - generator.uniform(21, 27)) * generator.uniform(0.3, 5)))
    answers = (generator.random((points, 1, 100)) < rate[:, None, None]).astype(float)
    if not shares:
        answers = generator.gamma(2, size=answers.shape) * (2 - rate)[:, None, None]
    return curves.of_answers(Scale(x, "tokens"), answers, rising=shares)


@pytest.mark.parametrize("shares", [True, False])
def test_draws_of_rises_are_those_of_the_plain_way(*, shares: bool):
    for seed in range(5):
        curve = simulated(seed, shares=shares)
        upward = curve.upward()
        prior = rises._prior(curve, rises.Plateaus())
        run = rises._Run(
            upward.scale.positions(), upward.runs[:, 0], upward.run_variances()[:, 0], prior, curve.shares
        )
        rough = rises._everything(run)
        grid = rises._narrowed(rough, rises._fitted(run, rough).weight)
        fit = rises._fitted(run, grid)
        expected = drawn_plainly(run, grid, fit, stream(seed, "draws").generator())
        found = rises._drawn(run, grid, fit, stream(seed, "draws").generator())
        for values, name in zip(expected, ("place", "width", "start", "end"), strict=True):
            np.testing.assert_array_equal(getattr(found, name), values)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_shapes_of_diminishing_returns_are_smooth_and_others_judged_by_their_change(share: float):
    u = np.sort(stream(0, "positions").generator().uniform(0, 7, 9))
    reach = float(u[-1] - u[0])
    found = shapes.shapes_over(u, share * reach)
    fine = np.linspace(u[0], u[-1], 401)
    kinds = [*shapes._powers(u, reach), *shapes._bent(u, share * reach)]
    for name, _, drawn in kinds:
        sudden = shapes._sudden(drawn(fine), share) & (name not in shapes._DIMINISHING)
        for families, chosen in ((found.smooth, ~sudden), (found.broken, sudden)):
            held = [family.shapes for family in families if family.names[0] == name]
            assert bool(held) == bool(chosen.any())
            if held:
                np.testing.assert_array_equal(held[0], drawn(u)[chosen])
