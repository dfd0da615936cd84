"""Composites beside their parts, on tables small enough to count by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from composites import asked, table
from emergelab.analysis.skills.cases import complete_cases, rated
from emergelab.analysis.skills.parts import find_parts
from emergelab.outcomes.reading import read_outcomes


def chained(task: str, skills: list[str], facts: dict[str, tuple[str, bool]], **told: object) -> list[dict]:
    return [
        {"task": task, "skills": skills, "input": given, "target": target, "correct": right} | told
        for given, (target, right) in facts.items()
    ]


def by_position(frame: pl.DataFrame) -> pl.DataFrame:
    parts = find_parts(frame)
    units = parts.units.select("unit", "name")
    return parts.matched.join(units, on="unit").sort("name", "item", "position")


def test_parts_that_were_never_asked_alone_are_named_and_the_composite_counted() -> None:
    rows = [
        *asked("a", ["a"], [True, False]),
        *asked("b", ["b"], [True]),
        *asked("ab", ["a", "b"], [True, True, False]),
        *asked("abz", ["a", "b", "z"], [False]),
        *asked("zy", ["z", "y"], [False]),
    ]
    parts = find_parts(table(rows))
    found = {row["name"]: row for row in parts.composites.to_dicts()}
    assert {name: row["missing"] for name, row in found.items()} == {"ab": [], "abz": ["z"], "zy": ["z", "y"]}
    assert [found[name]["complete"] for name in ("ab", "abz", "zy")] == [1, 0, 0]
    assert [found[name]["k"] for name in ("ab", "abz", "zy")] == [2, 3, 2]
    case = parts.complete().row(0, named=True)
    assert (case["n"], case["rate"]) == (3, pytest.approx(2 / 3))
    assert case["singles"] == [0.5, 1.0]
    assert case["singles_n"] == [2, 1]


def test_a_part_counts_only_in_the_cell_where_it_was_asked() -> None:
    rows = [
        *asked("a", ["a"], [True]),
        *asked("b", ["b"], [True], checkpoint="c1", train_tokens=1),
        *asked("ab", ["a", "b"], [True]),
        *asked("ab", ["a", "b"], [True], checkpoint="c1", train_tokens=1),
    ]
    parts = find_parts(table(rows))
    assert parts.complete().is_empty()
    assert parts.composites["missing"].to_list() == [[]]  # none is missing everywhere
    assert sorted(parts.cases["missing"].to_list()) == [["a"], ["b"]]


def test_samples_of_an_item_are_one_share_and_tasks_of_one_skill_one_single() -> None:
    rows = [
        {"task": "a1", "skills": ["a"], "piece": "x", "sample": sample, "correct": sample == 0}
        for sample in range(4)
    ]
    rows += asked("a2", ["a"], [True])
    rows += asked("aa", ["a", "a"], [True, False])
    case = find_parts(table(rows)).complete().row(0, named=True)
    assert case["singles"] == [pytest.approx((0.25 + 1) / 2)] * 2
    assert case["singles_n"] == [2, 2]


def test_a_task_of_several_tuples_is_a_composite_for_each() -> None:
    rows = [*asked("mix", ["a", "b"], [True]), *asked("mix", ["b", "c"], [False])]
    rows = [row | {"piece": f"q{place}"} for place, row in enumerate(rows)]
    assert find_parts(table(rows)).composites["name"].to_list() == ["mix: a + b", "mix: b + c"]


def test_where_right_is_unknown_what_does_not_fail_is_right() -> None:
    rows = [
        {"task": "a", "skills": ["a"], "piece": f"p{place}", "cloze_loss": loss}
        for place, loss in enumerate((0.1, 0.6, 0.49))
    ]
    items = find_parts(table(rows)).items
    assert items["right"].to_list() == [1.0, 0.0, 1.0]


def test_items_are_matched_along_the_chain_of_parts() -> None:
    rows = chained("upper", ["upper"], {"cats": ("CATS", False), "cat": ("CAT", True)})
    rows += chained("plural", ["plural"], {"cat": ("cats", True), "dog": ("dogs", False)})
    rows += chained("pu", ["plural", "upper"], {"cat": ("CATS", True), "dog": ("DOGS", False)})
    found = by_position(table(rows)).select("right", "position", "part").rows()
    # cat: plural of cat, then upper of cats; dog: upper of dogs was not asked.
    assert sorted(found) == [(0.0, 0, 0.0), (1.0, 0, 1.0), (1.0, 1, 0.0)]


def test_a_composite_of_the_first_parts_tells_what_the_next_one_sees() -> None:
    rows = chained("ab", ["a", "b"], {"1": ("3", True)})
    rows += chained("c", ["c"], {"3": ("4", True)})
    rows += chained("abc", ["a", "b", "c"], {"1": ("4", True)})
    found = by_position(table(rows)).filter(pl.col("name") == "abc")
    assert found["position"].to_list() == [2]


def test_chains_that_lead_elsewhere_and_singles_of_two_answers_are_not_matched() -> None:
    rows = chained("a", ["a"], {"1": ("2", True)}) + chained("b", ["b"], {"2": ("3", True)})
    wrong = find_parts(table(rows + chained("ab", ["a", "b"], {"1": ("9", True)})))
    assert (wrong.contradicted, wrong.matched.height) == (1, 0)
    twice = [{"task": "a", "skills": ["a"], "input": "1", "target": "7", "piece": "again", "correct": True}]
    unsure = find_parts(table(rows + twice + chained("ab", ["a", "b"], {"1": ("3", True)})))
    assert (unsure.ambiguous, unsure.matched.height) == (1, 0)


def test_without_inputs_nothing_is_matched() -> None:
    rows = [*asked("a", ["a"], [True]), *asked("aa", ["a", "a"], [True])]
    assert find_parts(table(rows)).matched.is_empty()


def test_composites_are_left_out_by_task_or_name_and_singles_stay() -> None:
    rows = [
        *asked("a", ["a"], [True]),
        *asked("aa", ["a", "a"], [True]),
        *asked("aaa", ["a", "a", "a"], [True]),
    ]
    whole = rated(find_parts(table(rows)))
    left = whole.without(frozenset({"aa", "a"}))
    assert left.parts.composites["name"].to_list() == ["aaa"]
    assert left.cases.observed.tolist() == [1.0]
    assert left.cases.known(left.cases.rates).singles.tolist() == [[1.0, 1.0, 1.0]]


def test_arrays_of_cases_are_those_of_the_table() -> None:
    rows = []
    for place in range(3):
        told = {"checkpoint": f"c{place}", "train_tokens": place}
        rows += asked("a", ["a"], [True] * place + [False], **told)
        rows += asked("b", ["b"], [True, False], **told)
        if place != 1:
            rows += asked("ab", ["a", "b"], [True, False, False], **told)
        rows += asked("aab", ["a", "a", "b"], [False] * 3 + [True] * place, **told)
    parts = find_parts(table(rows))
    cases = complete_cases(parts)
    names = cases.frame["name"].to_list()
    assert names == ["aab", "ab", "aab", "aab", "ab"]
    singles = cases.known(cases.rates).singles
    shares = [place / (place + 1) for place in (0, 0, 1, 2, 2)]
    expected = [
        [a, a, 0.5] if name == "aab" else [a, 0.5, 1.0] for a, name in zip(shares, names, strict=True)
    ]
    assert singles.tolist() == pytest.approx(np.array(expected))
    before = cases.earlier(cases.rates)
    assert before[[2, 3]].tolist() == [0.0, 0.25]
    assert np.isnan(before[[0, 1, 4]]).all()  # the first, and one that was not asked at the checkpoint before
    assert cases.others(cases.rates)[3:].tolist() == pytest.approx([1 / 3, 0.4])
    assert np.isnan(cases.others(cases.rates)[2])
    assert cases.fewest.tolist() == [1, 1, 2, 2, 2]


def test_the_shipped_table_has_18_of_41_composites_with_all_parts() -> None:
    parts = find_parts(read_outcomes("composition_outcomes").frame)
    assert parts.composites.height == 41
    whole = parts.composites.filter(pl.col("complete") > 0)
    assert whole.height == 18
    lacking = parts.composites.filter(pl.col("complete") == 0)["missing"].explode().unique().sort()
    assert lacking.to_list() == ["last_letter", "reverse"]
    assert parts.contradicted == 0
