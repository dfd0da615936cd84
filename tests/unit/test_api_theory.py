"""Curves, laws, links and forecasts in Python: the values of the commands, arrays, frames, mistakes."""

import json
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

import emergelab as el
from emergelab.theory.scaling import PUBLISHED
from study_runs import command

LAW = PUBLISHED["besiroglu"]


@pytest.fixture(scope="module")
def runs() -> pl.DataFrame:
    params, tokens = (
        axis.ravel() for axis in np.meshgrid(np.geomspace(1e8, 3e9, 5), np.geomspace(2e9, 5e11, 5))
    )
    loss = np.asarray(LAW.loss(params, tokens))
    return pl.DataFrame(
        {"size": params, "seen": tokens, "loss": loss, "acc": 0.25 + 0.75 * expit(4 * (2.6 - loss))}
    )


COLUMNS = {"params": "size", "tokens": "seen"}


def test_curves_are_those_of_the_command_and_take_arrays():
    asked = ("curve", "--theta", "0.1", "--k", "8", "--tuples", "2", "--json")
    told = json.loads(command(*asked, "--alpha", "0.2").out)
    ours = el.curve(0.1, 8, alpha=0.2, tuples=2)
    assert ours == {name: pytest.approx(told[name]) for name in ours}
    many = el.curve(np.array([[0.05], [0.1]]), [8, 16], beta=2)
    assert many["exact"].shape == (2, 2)
    np.testing.assert_allclose(many["exact"], [[0.348, 0.234], [0.286, 0.177]], atol=5e-4)
    assert np.isnan(el.curve(0.1, 4, beta=2)["theorem"])
    mixed = el.curve(0.1, {4: 0.5, 12: 0.5}, alpha=np.array([0.1, 0.2]))
    assert (np.diff(mixed["exact"]) < 0).all()
    assert list(el.curve(0.1, 8, alpha=0.2, skills=100, pieces=4000)) == ["theorem", "markov"]


def test_a_law_is_fitted_to_a_frame_and_scaled(runs: pl.DataFrame):
    found = el.fit_law(runs, "loss", columns=COLUMNS, samples=100)
    assert found["b"]["value"] == pytest.approx(LAW.b, rel=1e-4)
    by_fit = el.slingshot(found, compute=1e22)
    by_name = el.slingshot("besiroglu", compute=1e22)
    by_table = el.slingshot(table=runs, loss="loss", compute=1e22, columns=COLUMNS)
    divisions = [
        [step["divided_by"]["value"] for step in answer["steps"]] for answer in (by_fit, by_name, by_table)
    ]
    np.testing.assert_allclose(divisions[0], divisions[1], rtol=1e-3)
    np.testing.assert_allclose(divisions[2], divisions[1], rtol=1e-3)
    assert by_table["steps"][0]["divided_by"]["method"] == "bootstrap over runs"


def test_links_and_forecasts_of_a_frame(runs: pl.DataFrame):
    link = el.fit_link(runs, "acc", through="loss", columns=COLUMNS, samples=100)
    assert link["two_step"]["middle"]["value"] == pytest.approx(2.6, rel=0.01)
    found = el.forecast(runs, "loss", params=7e9, tokens=7e11, method="two-step", columns=COLUMNS)
    assert found["value"] == pytest.approx(float(LAW.loss(7e9, 7e11)), rel=1e-3)
    told = json.loads(
        command(
            *("forecast", "olmo_ladder", "--metric", "c4_en-validation", "--method", "power-law"),
            *("--params", "7e9", "--tokens", "4e12", "--where", "kind=loss_nats", "--json"),
        ).out
    )
    ours = el.forecast(
        "olmo_ladder",
        "c4_en-validation",
        params=7e9,
        tokens=4e12,
        method="power-law",
        where={"kind": "loss_nats"},
    )
    assert ours == told


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda: el.curve(10, 8, alpha=0.2), "10 % is 0.1"),
        (lambda: el.curve(0.1, 8), "Give one"),
        (lambda: el.curve(0.1, 8, beta=0.5), "above 1"),
        (lambda: el.curve(0.1, 0, alpha=0.2), "1 or more"),
        (lambda: el.curve(0.1, 8, alpha=0.2, kind="beside"), "concatenated, within"),  # pyright: ignore[reportArgumentType]
        (lambda: el.slingshot({"E": 1.0}, compute=1e22), "no constant 'A'"),
        (lambda: el.slingshot({"E": -1, "A": 1, "B": 1, "a": 1, "b": 1}, compute=1e22), "above 0"),
        (lambda: el.slingshot("hoffman", compute=1e22), "There are hoffmann, besiroglu"),
        (lambda: el.slingshot(loss="loss", compute=1e22), "a table and its loss"),
        (lambda: el.fit_law(pl.DataFrame({"n": [1]}), "loss"), "recognised as the tokens"),
        (lambda: el.fit_law("olmo_ladder", "c4_en-validation", samples=3), "from 100"),
    ],
)
def test_mistakes(mistake: Callable[[], object], said: str):
    with pytest.raises(el.UserError) as refusal:
        mistake()
    assert said in str(refusal.value)
