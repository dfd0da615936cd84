"""Laws, gates and prices of simulated systems whose truth is known; intervals against their coverage."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from composites import asked, simulated, table
from emergelab.analysis.skills.cases import rated
from emergelab.analysis.skills.composition import (
    AGAINST_OTHERS,
    ALL,
    BETTER,
    BRIER,
    CRPS,
    LAW_AGAINST_LAW,
    WORSE,
    Composition,
    compose,
)
from emergelab.analysis.skills.gates import NEITHER, UNDECIDED, find_gates, flipped_signs
from emergelab.analysis.skills.items import APART, TOGETHER, carried
from emergelab.analysis.skills.laws import minimum, product, union_bound
from emergelab.analysis.skills.parts import find_parts
from emergelab.analysis.skills.tuples import BROKEN, HOLDS, SILENT, tuple_bounds
from emergelab.report.outcomes.composition_words import best_law, comparisons_of
from emergelab.rng import stream
from emergelab.theory.curves import Curve, TupleKind, Tuples, failure

SKILLS = ("a", "b", "c", "d", "e", "f")
PAIRS = tuple(combinations(SKILLS, 2))


def rising(checkpoints: int, seed: int = 0) -> list[dict[str, float]]:
    """Skills that rise at their own pace."""
    generator = np.random.default_rng(seed)
    low, high = generator.uniform(0.3, 0.6, len(SKILLS)), generator.uniform(0.65, 0.95, len(SKILLS))
    pace = generator.uniform(0.5, 2.0, len(SKILLS))
    return [
        dict(
            zip(
                SKILLS, (low + (high - low) * (place / max(1, checkpoints - 1)) ** pace).tolist(), strict=True
            )
        )
        for place in range(checkpoints)
    ]


def composition(law: Callable[[np.ndarray], float], **told: int) -> Composition:
    frame = simulated(law, PAIRS, rising(told.pop("checkpoints", 4)), **told)
    return compose(rated(find_parts(frame)))


TRUTHS = {"product": product, "minimum": minimum, "union bound": union_bound}


@pytest.mark.parametrize("truth", list(TRUTHS))
def test_the_law_that_made_the_answers_predicts_best(truth: str) -> None:
    found = composition(lambda rates: float(TRUTHS[truth](rates[None])[0]))
    best = best_law(found)
    assert best is not None
    # Item by item is the product here, where no item is matched.
    assert best["law"] == truth
    told = comparisons_of(found, truth, LAW_AGAINST_LAW)
    assert set(TRUTHS) - {truth} <= set(told[BETTER])
    assert not told[WORSE]
    row = found.scores.filter(pl.col("group") == ALL, pl.col("law") == truth).row(0, named=True)
    assert row["bias_lo"] < 0 < row["bias_hi"]
    assert row["covered"] > 0.88
    assert row["skill_others"] > 0.5


@pytest.mark.parametrize(
    ("law", "number", "make"),
    [
        ("power", 2.0, lambda rates: float(np.prod(rates)) ** 2),
        ("factor", 0.6, lambda rates: 0.6 * float(np.prod(rates))),
        ("between", 0.5, lambda rates: float(np.sqrt(np.prod(rates) * np.min(rates)))),
    ],
)
def test_a_fitted_law_wins_where_it_made_the_answers(
    law: str, number: float, make: Callable[[np.ndarray], float]
) -> None:
    found = composition(make, items=400)
    rows = found.scores.filter(pl.col("group") == ALL, pl.col("law") == law)
    assert rows["number"].drop_nulls().to_list() == pytest.approx([number] * 2, abs=0.12)
    against = found.comparisons.filter(
        pl.col("group") == ALL, pl.col("first") == law, pl.col("second") == "product"
    )
    assert against["verdict"].to_list() == [BETTER, BETTER]  # by CRPS and by Brier score


def test_composites_of_no_law_are_decided_for_none() -> None:
    generator = np.random.default_rng(9)
    found = composition(lambda _: float(generator.uniform(0.05, 0.95)))
    rows = found.comparisons.filter(pl.col("group") == ALL, pl.col("question") == AGAINST_OTHERS)
    assert BETTER not in rows["verdict"].to_list()


def test_numbers_of_the_table_are_what_their_names_say() -> None:
    found = composition(lambda rates: float(np.prod(rates)), checkpoints=2, items=60)
    rows = found.predictions.filter(pl.col("law") == "minimum")
    rate, predicted = rows["rate"].to_numpy(), rows["predicted"].to_numpy()
    score = found.scores.filter(pl.col("group") == ALL, pl.col("law") == "minimum").row(0, named=True)
    assert score["distance"] == pytest.approx(np.abs(rate - predicted).mean())
    assert score["bias"] == pytest.approx((predicted - rate).mean())
    assert score["brier"] == pytest.approx(np.mean(rate * (1 - predicted) ** 2 + (1 - rate) * predicted**2))
    others = found.predictions.filter(pl.col("law") == "other composites")
    first = others.row(0, named=True)
    rest = rows.filter(pl.col("checkpoint") == first["checkpoint"], pl.col("composite") != first["composite"])
    assert first["predicted"] == pytest.approx(rest["rate"].mean())


def test_the_same_key_gives_the_same_numbers_and_the_order_of_rows_changes_none() -> None:
    frame = simulated(lambda rates: float(np.prod(rates)), PAIRS[:4], rising(2), items=30)
    first, again, shuffled = (
        compose(rated(find_parts(one))).scores
        for one in (frame, frame, frame.sample(fraction=1, shuffle=True, seed=1))
    )
    assert first.equals(again)
    assert first.equals(shuffled)


def test_one_system_and_one_checkpoint_are_enough_for_laws_but_not_for_what_came_before() -> None:
    found = composition(lambda rates: float(np.prod(rates)), checkpoints=1)
    assert best_law(found) is not None
    before = found.scores.filter(pl.col("law") == "checkpoint before", pl.col("group") == ALL)
    assert before["brier"].to_list() == [None]
    left = found.scores.filter(pl.col("held_out").is_in(["checkpoint", "system"]), pl.col("group") == ALL)
    assert left["crps"].null_count() == left.height > 0


def test_one_composite_has_no_other_one_to_learn_from() -> None:
    frame = simulated(lambda rates: float(np.prod(rates)), PAIRS[:1], rising(3))
    found = compose(rated(find_parts(frame)))
    scores = found.scores.filter(pl.col("group") == ALL)
    fitted = scores.filter(pl.col("held_out") == "composite")
    assert fitted["crps"].null_count() == fitted.height
    assert scores.filter(pl.col("law") == "other composites")["crps"].to_list() == [None]
    plain = scores.filter(pl.col("law") == "product").row(0, named=True)
    assert plain["crps_lo"] < plain["crps"] < plain["crps_hi"]  # items alone vary


def test_nothing_complete_makes_empty_tables() -> None:
    whole = rated(find_parts(table(asked("ab", ["a", "b"], [True, False]))))
    found = compose(whole)
    assert found.scores.is_empty()
    assert found.comparisons.is_empty()
    assert find_gates(whole).verdicts.is_empty()
    assert tuple_bounds(whole).is_empty()
    assert carried(whole.parts, stream(0, "test")).is_empty()


@pytest.mark.slow
def test_intervals_of_differences_cover_the_truth() -> None:
    """Composites are off the product, each by its own; the truth is the mean difference over many such tables."""

    def simulate(seed: int) -> pl.DataFrame:
        generator = np.random.default_rng(seed)
        rates = {name: float(generator.uniform(0.5, 0.95)) for name in SKILLS}

        def off(parts: np.ndarray) -> float:
            level = float(np.prod(parts))
            return float(1 / (1 + np.exp(-(np.log(level / (1 - level)) + generator.normal(0, 0.6)))))

        return simulated(off, PAIRS, [rates], items=60, seed=seed)

    rows = []
    for seed in range(60):
        found = compose(rated(find_parts(simulate(seed))), (ALL,)).comparisons
        rows += found.filter(
            pl.col("group") == ALL, pl.col("first") == "product", pl.col("second") == "minimum"
        ).rows(named=True)
    for measure in (BRIER, CRPS):
        mine = [row for row in rows if row["measure"] == measure]
        truth = float(np.mean([row["difference"] for row in mine]))
        inside = np.mean([row["difference_lo"] <= truth <= row["difference_hi"] for row in mine])
        # .95 of 60 has a standard error of .03; the skills' own rates move the truth from table to table.
        assert 0.87 <= inside <= 1.0


def matched_table(
    joint: Callable[[np.random.Generator, float], tuple[bool, bool]], n: int = 300
) -> pl.DataFrame:
    """One part asked on the composite's inputs, the other elsewhere, always right."""
    generator = np.random.default_rng(3)
    rows = [
        {"task": "b", "skills": ["b"], "input": f"other{place}", "target": "x", "correct": True}
        for place in range(40)
    ]
    for checkpoint, rate in enumerate((0.4, 0.6, 0.8)):
        told = {"checkpoint": f"c{checkpoint}", "train_tokens": checkpoint}
        rows += [row | told for row in rows[:40]] if checkpoint else []
        for place in range(n):
            part, whole = joint(generator, rate)
            rows.append(
                {"task": "a", "skills": ["a"], "input": f"w{place}", "target": f"v{place}", "correct": part}
                | told
            )
            rows.append(
                {
                    "task": "ab",
                    "skills": ["a", "b"],
                    "input": f"w{place}",
                    "target": f"u{place}",
                    "correct": whole,
                }
                | told
            )
    return table(rows)


def of_all(frame: pl.DataFrame) -> dict:
    return carried(find_parts(frame), stream(0, "test")).filter(pl.col("group") == ALL).row(0, named=True)


def test_items_that_carry_over_go_together_and_cost_nothing() -> None:
    found = of_all(matched_table(lambda generator, rate: (one := bool(generator.random() < rate), one)))
    assert found["if_right"] == 1
    assert found["if_wrong"] == 0
    assert found["price"] == pytest.approx(0)
    assert found["price_hi"] > 0
    assert found["odds_ratio"] is None  # infinite: no item tells against it
    mixed = of_all(
        matched_table(
            lambda generator, rate: (
                one := bool(generator.random() < rate),
                one if generator.random() < 0.8 else bool(generator.random() < 0.5),
            )
        )
    )
    assert mixed["tie"] == TOGETHER
    # P(right | part right) = .8 + .2 · .5 = .9, P(right | part wrong) = .1: odds ratio 81.
    assert mixed["if_right_lo"] < 0.9 < mixed["if_right_hi"]
    assert mixed["if_wrong_lo"] < 0.1 < mixed["if_wrong_hi"]
    assert mixed["odds_ratio_lo"] < 81 < mixed["odds_ratio_hi"]
    assert mixed["price_lo"] < 0.1 < mixed["price_hi"]


def test_items_at_random_do_not_go_together_though_both_rise_over_training() -> None:
    """Pooled over checkpoints they would: strata take that out (Mantel and Haenszel 1959)."""
    found = of_all(
        matched_table(
            lambda generator, rate: (bool(generator.random() < rate), bool(generator.random() < rate))
        )
    )
    assert found["odds_ratio_lo"] < 1 < found["odds_ratio_hi"]
    assert found["tie"] == UNDECIDED
    pooled = found["if_right"] / (1 - found["if_right"]) / (found["if_wrong"] / (1 - found["if_wrong"]))
    assert pooled > 1.2


def test_what_excludes_each_other_goes_apart() -> None:
    found = of_all(
        matched_table(
            lambda generator, rate: (
                one := bool(generator.random() < rate),
                bool(generator.random() < (0.3 if one else 0.7)),
            )
        )
    )
    assert found["tie"] == APART


def test_counts_of_items_by_hand() -> None:
    answers = [(1, 1), (1, 1), (1, 0), (0, 1), (0, 0), (0, 0), (1, 1), (0, 1)]
    rows = [
        {"task": "b", "skills": ["b"], "input": f"o{place}", "target": "x", "correct": place < 3}
        for place in range(4)
    ]
    for place, (part, whole) in enumerate(answers):
        rows.append(
            {"task": "a", "skills": ["a"], "input": f"w{place}", "target": "v", "correct": bool(part)}
        )
        rows.append(
            {"task": "ab", "skills": ["a", "b"], "input": f"w{place}", "target": "u", "correct": bool(whole)}
        )
    found = of_all(table(rows))
    assert (found["items"], found["answers"], found["n_right"], found["n_wrong"]) == (8, 8, 4, 4)
    assert found["if_right"] == pytest.approx(3 / 4)
    assert found["if_wrong"] == pytest.approx(2 / 4)
    assert found["expected"] == pytest.approx(3 / 4)
    assert found["price"] == pytest.approx(0)
    assert found["gap"] == pytest.approx(0.5 * 0.75 - 5 / 8)
    expected = stats.contingency.odds_ratio(np.array([[3, 1], [2, 2]]), kind="sample").statistic
    assert found["odds_ratio"] == pytest.approx(expected)


def test_a_composite_whose_parts_are_all_matched_is_expected_to_be_right_where_they_are() -> None:
    rows = []
    for place in range(30):
        rows.append(
            {"task": "a", "skills": ["a"], "input": f"w{place}", "target": f"v{place}", "correct": True}
        )
        rows.append(
            {"task": "b", "skills": ["b"], "input": f"v{place}", "target": f"u{place}", "correct": True}
        )
        rows.append(
            {
                "task": "ab",
                "skills": ["a", "b"],
                "input": f"w{place}",
                "target": f"u{place}",
                "correct": place < 21,
            }
        )
    found = of_all(table(rows))
    assert found["matched"] == [0, 1]
    assert (found["expected"], found["price"]) == (1.0, pytest.approx(0.3))
    low, high = stats.binomtest(9, 30).proportion_ci(method="wilson")
    assert (found["price_lo"], found["price_hi"]) == pytest.approx((low, high), abs=0.02)


def curves(make: Callable[[float, float], float], checkpoints: int = 24, items: int = 300) -> pl.DataFrame:
    generator = np.random.default_rng(5)
    rows = []
    for place in range(checkpoints):
        told = {"checkpoint": f"c{place:02}", "train_tokens": place}
        first = 0.2 + 0.7 * place / checkpoints
        second = 0.6 + 0.25 * np.sin(place * 1.7)
        for task, skills, rate in (("a", "a", first), ("b", "b", second), ("ab", "ab", make(first, second))):
            rows += asked(task, skills, generator.random(items) < rate, **told)
    return table(rows)


def gate(make: Callable[[float, float], float]) -> dict:
    found = find_gates(rated(find_parts(curves(make)))).verdicts
    return found.filter(pl.col("group") == ALL).row(0, named=True)


def test_the_single_that_a_composite_follows_is_its_gate() -> None:
    assert gate(lambda first, _: 0.9 * first**2)["gate"] == "a"
    assert gate(lambda _, second: second)["gate"] == "b"


def test_a_composite_that_follows_no_single_has_no_gate() -> None:
    assert gate(lambda *_: 0.4)["gate"] in {UNDECIDED, NEITHER}
    assert gate(lambda first, second: first * second)["follows"] in {"a", UNDECIDED}


def test_singles_with_the_same_curve_are_a_tie() -> None:
    rows = []
    for place in range(12):
        told = {"checkpoint": f"c{place:02}", "train_tokens": place}
        right = [True] * (10 + 5 * place) + [False] * (90 - 5 * place)
        for task, skills in (("a", "a"), ("b", "b"), ("ab", "ab")):
            rows += asked(task, skills, right, **told)
    found = find_gates(rated(find_parts(table(rows)))).verdicts.row(0, named=True)
    assert found["gate"] == UNDECIDED
    assert "b" in found["follows_reason"]


def test_too_few_checkpoints_decide_no_gate() -> None:
    found = find_gates(rated(find_parts(curves(lambda first, _: first, checkpoints=3)))).verdicts
    assert found["gate"].to_list() == [UNDECIDED] * 2
    assert "fewer than 5 checkpoints" in found["follows_reason"][0]


def test_powers_and_factors_of_curves_are_found() -> None:
    found = find_gates(rated(find_parts(curves(lambda first, _: 0.8 * first**2, items=2000)))).parts
    row = found.filter(pl.col("group") == ALL, pl.col("skill") == "a").row(0, named=True)
    assert row["power"] == pytest.approx(2.0, rel=0.2)
    assert row["factor"] == pytest.approx(0.8, abs=0.06)
    assert row["joint_power"] == pytest.approx(2.0, abs=0.5)


def test_failures_that_a_part_explains_are_counted_by_cell() -> None:
    """12 failures of 20; 8 of 10 are right where the part is, so that 4 of 20 would fail: 8 of 12 are lost by it."""
    rows = [{"task": "b", "skills": ["b"], "input": "o", "target": "x", "correct": True}]
    for place in range(20):
        part = place < 10
        rows.append({"task": "a", "skills": ["a"], "input": f"w{place}", "target": "v", "correct": part})
        rows.append(
            {"task": "ab", "skills": ["a", "b"], "input": f"w{place}", "target": "u", "correct": place < 8}
        )
    found = find_gates(rated(find_parts(table(rows)))).parts
    row = found.filter(pl.col("group") == ALL, pl.col("skill") == "a").row(0, named=True)
    assert row["failures"] == 12
    assert row["lost"] == pytest.approx(1 - 4 / 12)


def test_flipped_signs_are_fishers_test() -> None:
    differences = np.array([0.3, -0.1, 0.5, 0.2, 0.05, -0.02])
    expected = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", vectorized=False, n_resamples=np.inf
    )
    assert flipped_signs(differences, stream(0, "test")) == pytest.approx(expected.pvalue)
    assert flipped_signs(np.full(8, -0.2), stream(0, "test")) == pytest.approx(2 / 2**8)
    many = flipped_signs(np.random.default_rng(0).normal(0.4, 1, 30), stream(0, "test"))
    exact = stats.ttest_1samp(np.random.default_rng(0).normal(0.4, 1, 30), 0).pvalue
    assert many == pytest.approx(exact, abs=0.02)


def test_the_theorem_permits_what_its_curves_say() -> None:
    whole = rated(find_parts(simulated(lambda rates: float(np.prod(rates)), PAIRS, rising(2))))
    found = tuple_bounds(whole)
    for row in found.iter_rows(named=True):
        kind = TupleKind(row["kind"])
        assert row["permitted"] == pytest.approx(float(Tuples(size=2, kind=kind).theta(row["theta"])))
        assert row["exact"] == pytest.approx(float(failure(Curve.exact, row["permitted"], row["alpha"], 1)))
        assert row["exact"] == pytest.approx(min(1, row["permitted"] / row["alpha"]))
    assert found["composites"].unique().to_list() == [15]


def test_the_bound_is_broken_by_what_always_fails_and_holds_for_what_never_does() -> None:
    verdicts = {
        level: set(
            tuple_bounds(rated(find_parts(simulated(lambda _, level=level: level, PAIRS, rising(2)))))[
                "verdict"
            ]
        )
        for level in (0.01, 0.999)
    }
    assert verdicts[0.01] == {BROKEN}
    assert verdicts[0.999] == {HOLDS}
    none = simulated(lambda _: 0.0, PAIRS, [dict.fromkeys(SKILLS, 0.0)])
    assert set(tuple_bounds(rated(find_parts(none)))["verdict"]) == {SILENT}


def test_the_worst_tuples_are_averaged_as_far_as_their_share_reaches() -> None:
    rows = [*asked("a", ["a"], [True]), *asked("b", ["b"], [True])]
    for name, right in (("one", 4), ("two", 2), ("three", 0), ("four", 3)):
        rows += asked(name, ["a", "b"], [True] * right + [False] * (4 - right))
    found = tuple_bounds(rated(find_parts(table(rows)))).filter(pl.col("kind") == "within")
    worst = dict(found.select("alpha", "worst").iter_rows())
    # Failures 1, .5, .25, 0: a tenth of four is part of the worst alone.
    assert worst == pytest.approx({0.1: 1.0, 0.25: 1.0, 0.5: 0.75})


def test_measures_are_both_there_for_every_question() -> None:
    found = composition(lambda rates: float(np.prod(rates)), checkpoints=2, items=40)
    counts = found.comparisons.group_by("group", "system", "question", "measure").len()
    by_measure = counts.pivot(on="measure", index=["group", "system", "question"], values="len")
    assert (by_measure[CRPS] == by_measure[BRIER]).all()


def test_a_single_that_explains_few_failures_is_no_gate_though_the_curve_follows_it() -> None:
    """The composite rises with a, but fails as often where a is right: composing is what fails."""
    generator = np.random.default_rng(11)
    rows = []
    for place in range(24):
        told = {"checkpoint": f"c{place:02}", "train_tokens": place}
        rate = 0.3 + 0.025 * place
        rows += asked("b", ["b"], [True] * 5, **told)
        for item in range(100):
            part, whole = generator.random() < rate, generator.random() < rate / 3
            rows.append(
                {"task": "a", "skills": ["a"], "input": f"w{item}", "target": "v", "correct": part} | told
            )
            rows.append(
                {"task": "ab", "skills": ["a", "b"], "input": f"w{item}", "target": "u", "correct": whole}
                | told
            )
    found = find_gates(rated(find_parts(table(rows)))).verdicts.row(0, named=True)
    assert (found["follows"], found["gate"], found["by"]) == ("a", UNDECIDED, "curves, but not items")
