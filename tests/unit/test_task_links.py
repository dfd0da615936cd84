"""Links from loss to accuracy: known constants, SciPy as the slow twin, coverage, the command, bad input."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.optimize import least_squares
from scipy.special import expit

from emergelab.analysis.scaling.common import Sizes
from emergelab.analysis.scaling.ladder import Ladder, Metric
from emergelab.analysis.scaling.scatter import scatter
from emergelab.analysis.scaling.shares import Levels
from emergelab.analysis.scaling.task_links import LinkPoints, estimate_link
from emergelab.rng import stream
from emergelab.theory.scaling import PUBLISHED
from study_runs import command, refused

LAW = PUBLISHED["besiroglu"]
FLOOR, MIDDLE, SLOPE = 0.25, 2.6, 4.0


def shares_of(losses: np.ndarray) -> np.ndarray:
    return FLOOR + (1 - FLOOR) * expit(SLOPE * (MIDDLE - losses))


def simulated(noise: float, *names: str | int, points: int = 30) -> LinkPoints:
    losses = np.linspace(2.1, 4.2, points)
    off = noise * stream(0, "links", *names).generator().standard_normal(points)
    return LinkPoints(losses, shares_of(losses) + off, np.arange(points), falling=True)


@pytest.mark.parametrize("chance", [None, FLOOR])
def test_constants_of_a_link_are_recovered(chance: float | None):
    found = estimate_link(simulated(0.0), chance, stream(0, "draws"), samples=100)
    for name, truth in (("floor", FLOOR), ("middle", MIDDLE), ("slope", SLOPE)):
        assert found.constants[name].value == pytest.approx(truth, rel=1e-3)
    assert found.constants["floor"].method == ("bootstrap over runs" if chance is None else "none: told")
    assert found.residual < 1e-4


def test_a_link_is_the_least_squares_of_scipy():
    """Residuals are normal, so that Huber's loss is nearly their square."""
    points = simulated(0.005, "twin")

    def residuals(p: np.ndarray) -> np.ndarray:
        return p[0] + (1 - p[0]) * expit(p[2] * (p[1] - points.x)) - points.shares

    twin = least_squares(residuals, [0.2, 2.5, 3.0]).x
    found = estimate_link(points, None, stream(0, "draws"), samples=100).constants
    ours = [found[name].value or np.nan for name in ("floor", "middle", "slope")]
    np.testing.assert_allclose(ours, twin, rtol=0.05)


def test_intervals_of_a_link_hold_the_truth():
    """Twenty simulated sets: 95 % intervals of three constants miss more than 11 of 60 with less than .1 %."""
    missed = 0
    for number in range(20):
        points = simulated(0.01, "coverage", number)
        found = estimate_link(points, None, stream(0, "draws", number), samples=200).constants
        for name, truth in (("floor", FLOOR), ("middle", MIDDLE), ("slope", SLOPE)):
            one = found[name]
            assert one.lo is not None
            assert one.hi is not None
            missed += not one.lo <= truth <= one.hi
    assert missed <= 11


def test_a_share_that_stays_has_no_middle():
    points = LinkPoints(np.linspace(2, 4, 20), np.full(20, 0.25), np.arange(20), falling=True)
    found = estimate_link(points, None, stream(0, "flat"), samples=100).constants
    assert found["middle"].lo is None
    assert found["middle"].method.startswith("none")


def test_noise_is_told_from_a_rise():
    """A level is believed where values scatter about it, and not where they rise."""
    z = np.linspace(-1, 1, 40)
    noise = 0.02 * stream(0, "levels").generator().standard_normal(40)
    found = Levels.fit(z, np.stack([0.25 + noise, 0.4 + 0.1 * z + noise]))
    assert found.weight[0] < 0.5
    assert found.weight[1] > 0.999
    np.testing.assert_allclose(found.level, [0.25, 0.4], atol=0.01)
    linked = np.stack([np.full(3, 0.9), np.full(3, 0.9)])
    assert (found.mixed(linked)[0] < found.mixed(linked)[1]).all()
    np.testing.assert_allclose(found.doubt(linked)[1], 0.0, atol=0.02)


def test_errors_of_sizes_are_whitened():
    """Multiplied by what whitens, the covariance of sizes' and runs' errors is that of runs' alone."""
    sizes = Sizes.of(np.array([1e8, 1e8, 1e8, 3e8, 3e8, 1e9]))
    noise, shared = 0.004, 0.01
    covariance = noise**2 * np.eye(6) + shared**2 * sizes.member @ sizes.member.T
    matrix = sizes.whitened(np.eye(6), noise)
    np.testing.assert_allclose(matrix.T @ covariance @ matrix, noise**2 * np.eye(6), atol=1e-12)
    # The expected error of a size is that of a normal law, given the others: covariance over variance.
    residuals = np.array([0.01, 0.012, 0.009, -0.02, -0.018, 0.003])
    expected = shared**2 * sizes.member.T @ np.linalg.solve(covariance, residuals)
    np.testing.assert_allclose(sizes.offsets(residuals, noise), expected, rtol=1e-9)
    np.testing.assert_array_equal(sizes.find(np.array([3.01e8, 2e9])), [[0, 1, 0], [0, 0, 0]])


def test_scatter_is_the_noise_that_was_put_in():
    """Metrics that follow the common loss but for normal noise: the mean error is √(2/π) times its deviation."""
    params, multiple = (
        axis.ravel() for axis in np.meshgrid(np.geomspace(1e8, 3e9, 6), [10.0, 20.0, 40.0, 80.0, 160.0])
    )
    loss = np.asarray(LAW.loss(params, params * multiple))
    generator = stream(0, "scatter").generator()
    losses = np.stack([loss**power for power in (1.0, 0.9, 1.1, 1.2)])
    shares = np.stack([0.3 + 0.1 * (3 - loss)] * 30) + 0.02 * generator.standard_normal((30, loss.size))
    metrics = [Metric("loss", f"corpus{at}", "loss") for at in range(4)]
    metrics += [Metric("accuracy", f"task{at}", "share") for at in range(30)]
    points = np.arange(loss.size)
    ladder = Ladder(
        points, np.zeros_like(points), params, params * multiple, ("all",), tuple(metrics),
        np.vstack([losses, shares]),
    )  # fmt: skip
    found = {one.kind: one for one in scatter(ladder)}
    assert found["loss"].error < 0.1
    assert found["accuracy"].error == pytest.approx(100 * 0.02 * np.sqrt(2 / np.pi), rel=0.2)
    assert (found["accuracy"].n, found["accuracy"].runs) == (300, 10)


# The command


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    params, tokens = (
        axis.ravel() for axis in np.meshgrid(np.geomspace(1e8, 3e9, 5), np.geomspace(2e9, 5e11, 5))
    )
    loss = LAW.loss(params, tokens)
    path = tmp_path_factory.mktemp("links") / "runs.csv"
    pl.DataFrame({"n": params, "d": tokens, "bits": loss, "acc": shares_of(np.asarray(loss))}).write_csv(path)
    return path


ASKED = ("--metric", "acc", "--through", "bits", "--samples", "100")


def test_both_steps_are_fitted(runs: Path):
    found = json.loads(command("fit-link", runs, *ASKED, "--json").out)
    two = found["two_step"]
    assert {name: two[name]["value"] for name in ("floor", "middle", "slope")} == pytest.approx(
        {"floor": FLOOR, "middle": MIDDLE, "slope": SLOPE}, rel=0.01
    )
    assert two["law"]["b"]["value"] == pytest.approx(LAW.b, rel=1e-3)
    assert two["residual_with_law"] < 1e-3
    # Size and tokens matter apart, so that compute alone says less.
    assert found["one_step"]["residual"] > 5 * two["residual_with_law"]
    told = command("fit-link", runs, *ASKED, "--chance", "0.25").out
    assert "none: told" in told
    assert "from compute in one step" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metric", "acc", "--through", "bits", "--chance", "25"), "25 % is 0.25"),
        (("--metric", "acc", "--through", "bits", "--chance", "1"), "from 0 to below 1"),
        (("--metric", "acc"), "Name a metric or a column with --through"),
        (("--metric", "bits", "--through", "acc"), "A link leads to a share"),
        (("--metric", "acc", "--through", "loss"), "no column 'loss'"),
    ],
)
def test_mistakes_in_a_link(runs: Path, arguments: tuple[str, ...], said: str):
    assert said in refused("fit-link", runs, *arguments)


def test_mistakes_in_the_table_of_a_link(runs: Path, tmp_path: Path):
    frame, path = pl.read_csv(runs), tmp_path / "mended.csv"

    def said(changed: pl.DataFrame) -> str:
        changed.write_csv(path)
        return refused("fit-link", path, *ASKED)

    assert "needs 6 at least" in said(frame.head(5))
    assert "Divide the values by 100" in said(frame.with_columns(pl.col("acc") * 100))
    assert "Losses are above 0" in said(frame.with_columns(-pl.col("bits")))
    assert "two sizes" in said(frame.with_columns(n=pl.lit(1e8)))
    assert "holds for one" in refused("fit-link", "openlm_scaling", "--metric", "hellaswag")


def test_a_task_at_chance_is_flagged(runs: Path, tmp_path: Path):
    path = tmp_path / "flat.csv"
    noise = 0.01 * stream(0, "flat").generator().standard_normal(25)
    pl.read_csv(runs).with_columns(acc=pl.Series(0.25 + noise)).write_csv(path)
    assert "at chance" in command("fit-link", path, *ASKED).errors
