"""Figures of skills on text-pieces: their lines are those of the theory, their points those of the tables."""

import math

import numpy as np
import polars as pl
import pytest

from emergelab.analysis.skills.studied import LINKS, SKILLS, WEAK
from emergelab.report.known import charges_plot, links_plot, weak_plot


def links(cloze: float = 0.2) -> pl.DataFrame:
    rows = [
        {
            "cell": cell,
            "failing": failing,
            "link": "linear",
            "epsilon": epsilon,
            "theta": theta,
            "variant": "keep=0",
        }
        | {"theta_lo": theta / 2, "theta_hi": theta * 2}
        for cell, epsilon, theta in (("a", 0.01, 0.002), ("b", 1.0, 0.3))
        for failing in ("distance", "cloze loss")
    ]
    rows[1]["theta"] = cloze
    return pl.DataFrame(rows, schema=LINKS)


def test_links_are_drawn_from_excess_to_excess_as_far_as_they_bound_anything():
    frame = links_plot(links()).frame
    lines = {name: part for (name,), part in frame.filter(pl.col("mark") == "line").group_by("series")}
    formulas = {
        "2ε": lambda x: 2 * x,
        "certain answers": lambda x: x / math.log(2),
        "Pinsker": lambda x: np.sqrt(2 * x),
    }
    assert set(lines) == set(formulas)
    for name, formula in formulas.items():
        np.testing.assert_allclose(lines[name]["y"], formula(lines[name]["x"].to_numpy()))
        assert lines[name]["y"].to_numpy().max() <= 1
        assert lines[name]["x"].to_numpy().min() == pytest.approx(0.01)


def test_cloze_losses_are_drawn_where_they_say_something_else():
    series = set(links_plot(links()).frame["series"])
    assert "models, by cloze loss" in series
    plot = links_plot(links(cloze=0.002))
    assert "models, by cloze loss" not in set(plot.frame["series"])
    assert "models, by cloze loss" not in plot.colours


def test_models_in_which_nothing_fails_are_no_points_of_a_logarithmic_axis():
    assert links_plot(links().with_columns(theta=pl.lit(0.0))).frame.height == 0


def test_charges_are_those_of_the_largest_models():
    row = {"kind": "single", "skills": ["a"], "failure": 0.4, "wrong": 0.1}
    rows = [
        row | {"params": 10, "failure": 0.9},
        row | {"params": 20},
        row | {"params": 21, "variant": "keep=1"},
    ]
    points = charges_plot(pl.DataFrame(rows, schema=SKILLS)).frame.filter(pl.col("mark") == "point")
    assert points.select("panel", "x", "y").rows() == [("", 0.4, 0.1), ("keep=1", 0.4, 0.1)]


def test_weak_shares_stand_under_the_curves_of_the_same_models():
    row = {"beta": 4.0, "failure": 0.4, "share": 0.05, "theorem": None, "exact": 0.2, "markov": 0.25}
    rows = [row | {"kind": kind, "theta": theta} for kind in ("single", "within") for theta in (0.1, 0.05)]
    frame = weak_plot(pl.DataFrame([*rows, rows[0] | {"beta": 2.0}], schema=WEAK)).frame
    assert set(frame["panel"]) == {"single skills", "pairs of one piece"}
    exact = frame.filter(pl.col("series") == "exact curve", pl.col("panel") == "single skills")
    assert exact.select("x", "y").rows() == [(0.05, 0.2), (0.1, 0.2)]
    assert frame.filter(pl.col("mark") == "point")["y"].to_list() == [0.05] * 4
