"""The novelty bound, co-occurring skills and the design of evaluations, against closed forms and simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import resources
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from emergelab.analysis.cooccurrence import dense_texts, gamma_lift, lifts, symmetric
from emergelab.analysis.design import Costs, Marks, designs, power, simulate, standard_error
from emergelab.analysis.novelty import TextCorpus, judged, lower_limit
from emergelab.errors import UserError
from emergelab.rng import stream


def test_the_bound_at_the_papers_numbers():
    corpus = TextCorpus()
    assert corpus.expected(4) == pytest.approx(4.73, abs=5e-3)
    assert corpus.expected(5) == pytest.approx(0.0681, abs=5e-5)
    assert corpus.expected(6) == pytest.approx(0.00098, abs=5e-6)
    assert TextCorpus(lift=3).expected(5) == pytest.approx(3 * corpus.expected(5))


def test_lower_limits_are_scipys():
    for successes in (1, 8, 12, 100):
        known = stats.binomtest(successes, 100).proportion_ci(method="exact").low
        assert lower_limit(successes, 100) == pytest.approx(known)
    assert lower_limit(0, 100) == 0.0


def test_the_leaderboard():
    """At k = 4 the bound is vacuous, at 5 GPT-4 does not exceed it for sure, at 6 it does."""
    text = resources.files("emergelab").joinpath("examples/skill_mix_leaderboard.csv").read_text("utf-8")
    rows = judged(pl.read_csv(text.encode()), TextCorpus())
    gpt4 = {row["k"]: row for row in rows.filter(pl.col("model") == "GPT-4").to_dicts()}
    assert gpt4[4]["bound"] == 1.0
    assert [gpt4[k]["novel"] for k in (2, 3, 4, 5, 6)] == [False, False, False, False, True]
    assert gpt4[5]["lift_needed"] == pytest.approx(gpt4[5]["lo"] / 0.0681, rel=1e-2)
    assert rows.filter(pl.col("model") != "GPT-4")["novel"].any() is False
    assert rows["rate"].null_count() == 0


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (lambda: TextCorpus(skill=1.44), "1.44 % is 0.0144"),
        (lambda: TextCorpus(sentences=-1), "sentences is -1"),
        (
            lambda: judged(pl.DataFrame({"model": ["a"], "k": [2], "full_marks": [40.0]}), TextCorpus()),
            "rate is 40",
        ),
        (
            lambda: judged(pl.DataFrame({"model": ["a"], "k": [2], "full_marks": [0.4]}), TextCorpus(), 0),
            "Give 100",
        ),
        (lambda: Marks(success=80), "80 % is 0.8"),
        (lambda: Marks(success=0.5, alike=0.5, agreement=0.4), "correlation of graders is 0.4"),
        (lambda: designs(Marks(success=0.5, severity=0.1), 0.01, Costs()), "allow no less than 0.0653"),
        (lambda: Costs(grading=0), "grading is 0"),
        (lambda: lifts(np.ones((5, 3), dtype=np.bool_), range(2, 3), stream(0, "x")), "There are 5 texts"),
        (lambda: lifts(np.ones((50, 3), dtype=np.bool_), range(2, 5), stream(0, "x")), "have 3 skills"),
    ],
)
def test_refusals(question: Callable[[], object], said: str):
    with pytest.raises(UserError, match=said):
        question()


def test_symmetric_polynomials_by_all_subsets():
    values = np.array([0.1, 0.4, 0.3, 0.9, 0.2])
    for k in range(6):
        known = sum(math.prod(chosen) for chosen in combinations(values.tolist(), k))
        assert float(symmetric(values, k)) == pytest.approx(known)


@pytest.mark.parametrize("variance", [0.25, 1.0])
def test_correlated_texts_have_the_lift_of_their_density(variance: float):
    assert gamma_lift(variance, 2) == pytest.approx(1 + variance)
    presence = dense_texts(6000, np.full(40, 0.03), variance, stream(1, "texts"))
    for found in lifts(presence, range(2, 4), stream(1, "shuffles"), 199):
        known = gamma_lift(variance, found.k)
        assert found.lo - 0.02 <= known <= found.hi + 0.02
        assert found.p == pytest.approx(1 / 200)


def test_lift_counts_subsets():
    """Two skills in every second text together: the pair is there half of the time, by chance a quarter."""
    presence = np.tile(np.array([[True, True], [False, False]]), (10, 1))
    (found,) = lifts(presence, range(2, 3), stream(0, "shuffles"))
    assert (found.value, found.pieces, found.independent) == (2.0, 0.5, 0.25)


def test_independence_is_refused_as_often_as_it_should():
    refused = [
        lifts(
            dense_texts(60, np.full(8, 0.3), 0.0, stream(seed, "texts")), range(2, 3), stream(seed, "p"), 99
        )[0]
        for seed in range(60)
    ]
    assert sum(found.p <= 0.1 for found in refused) <= stats.binom.isf(1e-3, 60, 0.1)
    assert sum(found.p > 0.5 for found in refused) >= stats.binom.ppf(1e-3, 60, 0.5)


@pytest.mark.parametrize(
    ("marks", "generations", "graders"),
    [
        (Marks(success=0.3, alike=0.3, agreement=0.7), 3, 2),
        (Marks(success=0.5, alike=0.0, agreement=1.0), 1, 1),
        (Marks(success=0.4, alike=0.1, agreement=0.6, severity=0.05), 2, 3),
    ],
)
def test_standard_errors_are_those_of_simulated_evaluations(marks: Marks, generations: int, graders: int):
    design = next(
        one
        for one in designs(marks, 0.07, Costs())
        if (one.generations, one.graders) == (generations, graders)
    )
    means = simulate(marks, design, 3000, stream(0, "evaluations"))
    predicted = standard_error(marks, design.combinations, generations, graders)
    assert means.std() == pytest.approx(predicted, rel=0.06)
    assert means.mean() == pytest.approx(marks.success, abs=4 * predicted / math.sqrt(3000))
    assert design.half_width <= 0.07
    assert np.mean(np.abs(means - marks.success) <= 1.96 * predicted) == pytest.approx(0.95, abs=0.02)


def test_one_generation_and_one_grader_are_a_binomial():
    marks = Marks(success=0.2, alike=0.2, agreement=0.7)
    assert standard_error(marks, 100, 1, 1) == pytest.approx(math.sqrt(0.2 * 0.8 / 100))
    cheapest = designs(marks, 0.05, Costs(generation=1, grading=5))[0]
    assert cheapest.graders == 1
    assert power(marks, cheapest, 0.2) == pytest.approx(0.025, abs=1e-3)
    assert power(marks, cheapest, 0.05) > 0.99
