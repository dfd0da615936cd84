"""Forecasts of larger models: links, scores, splits, simulated ladders, commands, bad input."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from emergelab.analysis.scaling.backtest import back_test, crps, outcomes
from emergelab.analysis.scaling.calibration import nested_splits
from emergelab.analysis.scaling.forecast import forecast, working
from emergelab.analysis.scaling.ladder import Ladder, Metric, Target
from emergelab.analysis.scaling.links import Parabolas, Scale, Sigmoids
from emergelab.analysis.scaling.shares import bits_of
from emergelab.outcomes.files import shipped_tables
from emergelab.recipes.back_testing import shipped_splits
from emergelab.recipes.ladders import TableQuestion, read_ladder
from emergelab.rng import stream
from emergelab.theory.scaling import PUBLISHED
from study_runs import command, refused

pytestmark = pytest.mark.xdist_group("forecasts")

LAW = PUBLISHED["besiroglu"]
TASKS = {"half_acc": (0.5, 1.0), "quarter_acc": (0.25, 2.0), "open_acc": (0.0, 3.0)}


def simulated(noise: float = 0.002, *, sizes: int = 5, seed: int = 0) -> Ladder:
    """Return a ladder of one law: three losses that are powers of it, three accuracies that are sigmoids of it."""
    params, multiple = (
        axis.ravel() for axis in np.meshgrid(np.geomspace(1e8, 3e9, sizes), [10.0, 20.0, 40.0, 100.0, 200.0])
    )
    tokens = params * multiple
    loss = np.log(LAW.loss(params, tokens))
    generator = stream(seed, "ladder").generator()
    losses = [np.exp(level + power * loss) for level, power in ((0.0, 1.0), (0.3, 0.9), (-0.2, 1.2))]
    shares = [floor + (1 - floor) * expit(slope * 5 * (0.85 - loss)) for floor, slope in TASKS.values()]
    values = np.stack([*losses, *shares])
    values[:3] *= np.exp(noise * generator.standard_normal((3, params.size)))
    values[3:] = np.clip(values[3:] + noise * generator.standard_normal((3, params.size)), 0, 1)
    metrics = [Metric("loss_nats", f"corpus{at}", "loss") for at in range(3)]
    metrics += [Metric("accuracy", name, "share") for name in TASKS]
    points = np.arange(params.size)
    return Ladder(points, np.zeros_like(points), params, tokens, ("all",), tuple(metrics), values)


def table(ladder: Ladder) -> pl.DataFrame:
    """Return a ladder as a table with a row for each result."""
    rows = [
        {
            "run": f"r{point}",
            "params": ladder.params[point],
            "tokens": ladder.tokens[point],
            "kind": metric.kind,
            "name": metric.name,
            "value": ladder.values[row, point],
        }
        for row, metric in enumerate(ladder.metrics)
        for point in range(ladder.params.size)
    ]
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "simulated.csv"
    table(simulated()).write_csv(path)
    return path


# Links and scores


def test_a_sigmoid_with_its_floor_is_found():
    z = np.linspace(-2, 3, 30)
    y = 0.25 + 0.75 * expit(0.4 + 1.3 * z)
    found = Sigmoids.fit(z, y[None], np.ones(30), np.array([0.003]), np.array([np.nan]))
    there = np.array([4.0, 6.0])
    np.testing.assert_allclose(found.at(there)[0], 0.25 + 0.75 * expit(0.4 + 1.3 * there), atol=0.01)
    assert found.weight[2, 0] > 0.9  # the floor 1/4


def test_a_parabola_is_least_squares_where_it_is_straight():
    generator = stream(0, "line").generator()
    z = generator.standard_normal(40)
    y = 1 - 0.3 * z + 0.01 * generator.standard_normal(40)
    weights = generator.uniform(0.5, 2, 40)
    found = Parabolas.fit(z, y[None], weights)
    slope, level = np.polyfit(z, y, 1, w=np.sqrt(weights))
    np.testing.assert_allclose(found.coefficients[0, :2], [level, slope], atol=3e-3)
    assert abs(found.coefficients[0, 2]) < 3e-3


def test_larger_runs_weigh_more():
    scale = Scale.of(np.log(np.array([3.0, 2.8, 2.5])), np.array([1e18, 1e19, 1e20]), 0.4)
    np.testing.assert_allclose(scale.weights[1:] / scale.weights[:-1], 10**0.4)
    assert scale.z(np.log(np.array([2.0]))) > scale.z(np.log(np.array([3.0])))


@pytest.mark.parametrize(("off", "deviation"), [(0.0, 1.0), (0.7, 0.3), (-2.0, 1.5)])
def test_the_score_is_its_integral(off: float, deviation: float):
    """CRPS: the integral of the squared difference between the forecast's distribution and a step at the value."""
    below, _ = quad(lambda x: norm.cdf(x, off, deviation) ** 2, -30, 0)
    above, _ = quad(lambda x: norm.sf(x, off, deviation) ** 2, 0, 30)
    assert crps(np.array([off]), np.array([deviation]))[0] == pytest.approx(below + above, rel=1e-6)


# Forecasts


def test_a_simulated_ladder_is_forecast():
    """Fitted below 2e9 parameters, the larger runs lie where the law says."""
    ladder = simulated()
    small, large = ladder.at(ladder.params < 2e9), ladder.at(ladder.params > 2e9)
    found = forecast(small, Target.of(large), stream(0, "test"), samples=50)
    off = np.abs(found.working - working(large))
    assert off[:3].mean() < 0.006
    assert off[3:].mean() < 0.03
    assert (found.spread > 0).all()


def corpora(noise: float = 0.03) -> Ladder:
    """Return two corpora, the second with losses a twentieth higher, whose tasks follow their own losses alike."""
    one, other = simulated(0.001), simulated(0.001, seed=2)
    losses = np.vstack([np.hstack([one.values[row], 1.05 * other.values[row]]) for row in range(3)])
    z = np.hstack([one.values[0], other.values[0]])
    generator = stream(0, "corpora").generator()
    tasks = np.stack([0.3 + 0.15 * (3.2 - z) + noise * generator.standard_normal(z.size) for _ in range(20)])
    metrics = [*one.metrics[:3], *(Metric("accuracy", f"task{at}", "share") for at in range(20))]
    points, group = np.arange(z.size), np.repeat([0, 1], one.params.size)
    params, tokens = (np.tile(values, 2) for values in (one.params, one.tokens))
    return Ladder(points, group, params, tokens, ("a", "b"), tuple(metrics), np.vstack([losses, tasks]))


def test_tasks_are_linked_over_corpora():
    """Noisy tasks of two corpora together are forecast better than those of each by itself."""
    ladder = corpora()
    small, large = ladder.at(ladder.params < 2e9), ladder.at(ladder.params > 2e9)
    truth = 0.3 + 0.15 * (3.2 - LAW.loss(large.params, large.tokens))

    def error(found: np.ndarray, chosen: np.ndarray) -> float:
        return float(np.abs(found[3:][:, chosen] - np.asarray(truth)[chosen]).mean())

    together = forecast(small, Target.of(large), stream(0, "test"), samples=10).working
    for group in range(2):
        chosen = large.group == group
        part = large.at(chosen)
        alone = forecast(
            small.at(small.group == group), Target.of(part), stream(0, "test"), samples=10
        ).working
        assert error(together, chosen) < 0.9 * float(np.abs(alone[3:] - np.asarray(truth)[chosen]).mean())


def test_a_back_test_covers_and_beats_the_last_value():
    ladder = simulated(0.004, seed=1)
    small, large = ladder.at(ladder.params < 2e9), ladder.at(ladder.params > 2e9)
    scored = back_test("simulated", small, large, stream(0, "back"))
    rows = {(row.method, row.kind): row for row in outcomes(scored) if row.band == "above 1"}
    for kind in ("loss_nats", "accuracy"):
        own, last = rows["emergelab", kind], rows["last value", kind]
        assert own.error < last.error
        assert own.crps < last.crps
        assert own.coverage > 0.6
    assert ("logistic in log compute", "loss_nats") not in rows


def test_nested_splits_ask_for_what_they_do_not_know():
    ladder = simulated()
    found = list(nested_splits(ladder))
    assert len(found) >= 4
    for small, large in found:
        assert set(small.run.tolist()).isdisjoint(large.run.tolist())
        assert large.compute.min() > small.compute.max()


def test_bits_per_byte_belong_to_their_task():
    names = ["arc_easy_test_5shot_acc", "arc_easy_test_5shot_bpb", "arc_easy_val_5shot_bpb"]
    metrics = tuple(
        Metric("k", name, sort) for name, sort in zip(names, ("share", "loss", "loss"), strict=True)
    )
    one = np.ones(1)
    ladder = Ladder(np.array([0]), np.array([0]), one, one, ("all",), metrics, np.ones((3, 1)))
    assert bits_of(ladder, 0) == 1


# What ships


def test_development_splits_hold_nothing_that_is_held_out():
    """No run that a held-out split scores is fitted or scored by a development split of the same table."""
    for name in ("olmo_ladder", "openlm_scaling"):
        ladder = read_ladder(TableQuestion(name)).ladder
        splits = [split for split in shipped_splits() if split.table == name]
        held = {run for one in splits if one.use == "held out" for run in one.parts(ladder)[1].run.tolist()}
        assert held
        for split in splits:
            fitted, large = split.parts(ladder)
            assert fitted.params.max() < large.params.min()
            assert held.isdisjoint(fitted.run.tolist())
            assert split.use == "held out" or held.isdisjoint(large.run.tolist())


def test_shipped_tables_are_read_as_they_are():
    assert {"olmo_ladder", "openlm_scaling"} <= set(shipped_tables())
    olmo = read_ladder(TableQuestion("olmo_ladder"))
    assert olmo.ladder.params.size == 25
    assert {metric.kind: metric.sort for metric in olmo.ladder.metrics} == {
        "loss_nats": "loss",
        "downstream": "share",
        "downstream_soft": "share",
        "downstream_soft_log": "log-likelihood",
        "downstream_bpb": "loss",
    }
    openlm = read_ladder(TableQuestion("openlm_scaling"))
    assert openlm.ladder.groups == ("c4_original", "rpj", "rw_original")
    assert openlm.ladder.params.size == 101
    assert not (*olmo.warnings, *openlm.warnings)


# Commands


def test_a_law_is_fitted_to_a_column(tmp_path: Path):
    ladder = simulated(0.0)
    path = tmp_path / "wide.jsonl"
    pl.DataFrame(
        {"size": ladder.params, "seen": ladder.tokens, "ce": LAW.loss(ladder.params, ladder.tokens)}
    ).write_ndjson(path)
    asked = ("fit-law", path, "--params", "size", "--tokens", "seen", "--loss", "ce", "--samples", "100")
    found = json.loads(command(*asked, "--json").out)
    for name in ("E", "A", "B", "a", "b"):
        assert found[name]["value"] == pytest.approx(getattr(LAW, name), rel=1e-4)
        assert found[name]["lo"] <= found[name]["value"] <= found[name]["hi"]
    assert (found["n"], found["E"]["method"]) == (25, "profile likelihood")
    assert "profile likelihood" in command(*asked).out


@pytest.mark.parametrize("metric", ["corpus1", "quarter_acc"])
def test_forecast_command(results: Path, metric: str):
    found = json.loads(
        command("forecast", results, "--metric", metric, "--params", "7e9", "--tokens", "7e11", "--json").out
    )
    loss = np.log(LAW.loss(7e9, 7e11))
    truth = np.exp(0.3 + 0.9 * loss) if metric == "corpus1" else 0.25 + 0.75 * expit(10 * (0.85 - loss))
    assert found["lo"] < truth < found["hi"]
    assert found["lo"] < found["value"] < found["hi"]
    assert (found["n"], found["level"]) == (25, 0.9)
    assert found["times_compute_fitted"] == pytest.approx(7e9 * 7e11 / (3e9 * 6e11))
    assert not found["warnings"]


def test_flags_of_a_target(results: Path):
    def warned(params: str, tokens: str) -> str:
        asked = ("--metric", "corpus0", "--method", "two-step", "--params", params, "--tokens", tokens)
        return command("forecast", results, *asked).errors

    assert "interpolation" in warned("5e8", "2e10")
    assert "take the interval for too narrow" in warned("5e10", "5e12")
    assert not warned("7e9", "7e11")


def test_slingshot_command_on_a_published_law():
    found = json.loads(command("slingshot", "--law", "hoffmann", "--compute", "5.76e23", "--json").out)
    steps = {step["step"]: step for step in found["steps"]}
    assert steps["params and tokens"]["divided_by"]["value"] == pytest.approx(2.02, abs=0.005)
    linear = steps["tokens"]["links"]["linear"]
    assert linear["theta_before"] == pytest.approx(2 * steps["tokens"]["excess_before"])
    assert linear["failure_after"] < linear["failure_before"]


TARGET = ("--params", "7e9", "--tokens", "7e11")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metric", "corpus9", *TARGET), "Did you mean 'corpus"),
        (("--metric", "corpus0", "--params", "7e11", "--tokens", "7e9"), "swapped"),
        (("--metric", "corpus0", "--params", "1e13", "--tokens", "1e15"), "times the compute"),
        (("--metric", "corpus0", "--params", "-1", "--tokens", "1e10"), "1 at least"),
        (("--metric", "corpus0", "--method", "one-step", *TARGET), "shares only"),
        (("--metric", "corpus0", "--column", "size=params", *TARGET), "Roles are"),
        (("--metric", "corpus0", "--column", "params=parms", *TARGET), "Did you mean 'params'?"),
        (("--metric", "corpus0", "--where", "kind=lost", *TARGET), "No row has kind"),
    ],
)
def test_mistakes_in_a_forecast(results: Path, arguments: tuple[str, ...], said: str):
    assert said in refused("forecast", results, *arguments)


def test_mistakes_in_a_table(tmp_path: Path):
    whole = table(simulated(sizes=3))
    path = tmp_path / "results.parquet"

    def said(frame: pl.DataFrame, metric: str = "quarter_acc") -> str:
        frame.write_parquet(path)
        return refused("forecast", path, "--metric", metric, *TARGET)

    value = pl.col("value")
    assert "Divide the values by 100" in said(whole.with_columns(value * 100))
    minus = pl.when(pl.col("run") == "r0").then(-value).otherwise(value)
    assert "Losses are above 0" in said(whole.with_columns(value=minus), "corpus0")
    assert "Every run needs them" in said(whole.with_columns(tokens=pl.lit(0.0)))
    assert "A forecast needs 7" in said(whole.filter(pl.col("run").is_in(["r0", "r1", "r2", "r3", "r4"])))
    assert "--column params=NAME" in said(whole.rename({"params": "thing"}))
    assert "has no rows" in said(whole.head(0))


def test_mistakes_in_a_fit(tmp_path: Path):
    path = tmp_path / "runs.csv"
    frame = pl.DataFrame(
        {"params": [1e8, 2e8, 4e8] * 2, "tokens": [1e9, 3e9] * 3, "loss": [3.0, 2.9, 2.8] * 2}
    )

    def said(frame: pl.DataFrame, loss: str = "loss") -> str:
        frame.write_csv(path)
        return refused("fit-law", path, "--loss", loss)

    assert "needs 6 points at least" in said(frame.head(5))
    assert "above 0 nats" in said(frame.with_columns(-pl.col("loss")))
    assert "two sizes and two numbers" in said(frame.with_columns(tokens=pl.lit(1e9)))
    assert "neither a column nor a metric" in said(frame, "losses")
    assert "--where dataset=c4_original" in refused("fit-law", "openlm_scaling", "--loss", "c4_val")
    assert "no table" in refused("fit-law", "olmo_lader", "--loss", "c4_val")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--alpha", "20"), "20 % is 0.2"),
        (("--alpha", "1"), "between 0 and 1"),
        (("--k", "0"), "1 or more"),
        (("--tuples", "0"), "1 or more"),
        (("--factor", "1"), "above 1"),
        (("--factor", "1e300"), "at most"),
        (("--slope", "-1"), "above 0"),
        (("--law", "chinchilla"), "There are hoffmann"),
        (("--params", "1e9"), "not both"),
    ],
)
def test_mistakes_in_a_slingshot(arguments: tuple[str, ...], said: str):
    assert said in refused("slingshot", "--compute", "1e22", *arguments)


def test_a_slingshot_far_beyond_its_runs_is_flagged(tmp_path: Path):
    path = tmp_path / "runs.csv"
    ladder = simulated()
    pl.DataFrame(
        {"params": ladder.params, "tokens": ladder.tokens, "loss": LAW.loss(ladder.params, ladder.tokens)}
    ).write_csv(path)
    asked = ("slingshot", path, "--loss", "loss", "--compute")
    assert "never seen" in command(*asked, "1e25").errors
    assert not command(*asked, "1e22").errors


def test_what_does_not_change_is_refused(tmp_path: Path):
    path = tmp_path / "runs.csv"
    ladder = simulated()
    pl.DataFrame({"params": ladder.params, "tokens": ladder.tokens, "loss": 3.0}).write_csv(path)
    assert "cannot be forecast" in refused("forecast", path, "--metric", "loss", *TARGET)
    assert "losses that fall" in refused("fit-law", path, "--loss", "loss")
    assert "above 0" in refused("fit-law", path, "--loss", "loss", "--delta", "nan")


def test_a_wide_table_is_tested_column_by_column(tmp_path: Path):
    path = tmp_path / "runs.csv"
    ladder = simulated(sizes=4)
    pl.DataFrame(
        {"params": ladder.params, "tokens": ladder.tokens, "loss": LAW.loss(ladder.params, ladder.tokens)}
    ).write_csv(path)
    found = json.loads(command("forecast", path, "--metric", "loss", "--back-test", "--json").out)
    assert {row["sort"] for row in found["rows"]} == {"loss"}
    assert found["scatter"][0]["error"] < 0.1
    assert "--metric" in refused("forecast", path, "--back-test")


def test_swapped_columns_are_flagged(tmp_path: Path):
    path = tmp_path / "runs.csv"
    ladder = simulated()
    pl.DataFrame(
        {"params": ladder.params, "tokens": ladder.tokens, "loss": LAW.loss(ladder.params, ladder.tokens)}
    ).write_csv(path)
    asked = (
        "fit-law",
        path,
        "--loss",
        "loss",
        "--samples",
        "100",
        "--params",
        "tokens",
        "--tokens",
        "params",
    )
    assert "not swapped" in command(*asked).errors
