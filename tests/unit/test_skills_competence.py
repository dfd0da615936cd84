"""Failures, pieces and competence: against brute force over the rows, and against known intervals."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emergelab.analysis import estimate
from emergelab.analysis.skills.competence import Grouping, changes, competence
from emergelab.analysis.skills.failing import CLOZE, WRONG, with_failures
from emergelab.analysis.skills.pieces import pieces_of
from emergelab.outcomes.pairs import mcnemar_p
from outcome_rows import Answer, outcomes, row_of

ANSWERS: list[Answer] = [
    ("a", "1", "t", "f", "x", True),
    ("a", "1", "t", "f", "y", False),
    ("a", "1", "u", "f+g", "x", False),
    ("a", "1", "u", "f+g", "y", False),
    ("a", "1", "v", "g+g", "z", False),
    ("a", "1", "v", "g+g", "w", True),
]


def _losses(cloze: list[float | None], right: list[bool | None]) -> pl.DataFrame:
    """Return answers with cloze losses, one token each: nats follow from them."""
    answers = [("s", "1", "t", "f", str(i), one) for i, one in enumerate(right)]
    nats = [None if loss is None else -math.log1p(-loss) for loss in cloze]
    return outcomes(answers, cloze_loss=cloze, nats=nats)


def test_a_piece_fails_at_a_cloze_loss_of_one_half():
    frame = with_failures(_losses([0.49, 0.5, 0.9, None], [True, True, False, False]))
    assert frame["fails_by"].unique().to_list() == [CLOZE]
    assert frame.sort("piece")["fails"].to_list() == [False, True, True, None]


def test_losses_that_contradict_the_answers_are_not_believed():
    frame = with_failures(_losses([0.9995] * 40, [True] * 30 + [False] * 9 + [None]))
    assert frame["fails_by"].unique().to_list() == [WRONG]
    assert frame["fails"].sum() == 9
    assert frame["fails"].null_count() == 1


def test_without_losses_a_wrong_answer_fails():
    frame = with_failures(outcomes(ANSWERS))
    assert frame["fails_by"].unique().to_list() == [WRONG]
    assert frame["fails"].to_list() == [not right for right in frame["correct"]]


def test_without_answers_losses_are_all_there_is():
    frame = with_failures(_losses([0.2, 0.8], [None, None]))
    assert frame["fails_by"].unique().to_list() == [CLOZE]
    assert frame.sort("piece")["fails"].to_list() == [False, True]


def test_systems_have_rules_of_their_own():
    good, bad = _losses([0.1, 0.9] * 20, [True, False] * 20), _losses([0.9999] * 40, [True] * 40)
    both = pl.concat([good, bad.with_columns(system=pl.lit("t"))])
    rules = dict(with_failures(both).select("system", "fails_by").unique().iter_rows())
    assert rules == {"s": CLOZE, "t": WRONG}


def test_repeated_answers_are_one_piece():
    answers = [("s", "1", "t", "f", "x", right) for right in (True, True, False, None)]
    pieces = pieces_of(outcomes(answers, sample=[0, 1, 2, 3]))
    assert pieces.frame.height == 1
    assert pieces.frame["correct"][0] == pytest.approx(2 / 3)


def test_items_are_inputs_where_there_are_some_else_pieces():
    tasks = [("s", "1", task, "f", piece, True) for task in "tu" for piece in "xy"]
    shared = pieces_of(outcomes(tasks, input=["cat", "dog", "cat", None])).frame
    assert shared["item"].n_unique() == 3
    # Pieces of two tasks may be called the same and be different.
    assert pieces_of(outcomes(tasks)).frame["item"].n_unique() == 4


def test_tasks_of_every_checkpoint_are_kept_by_system():
    answers = [
        ("a", "1", "t", "f", "x", True),
        ("a", "2", "t", "f", "x", True),
        ("a", "2", "u", "f", "x", True),
    ]
    steady = pieces_of(outcomes([*answers, ("b", "1", "u", "f", "x", True)])).at_every_checkpoint()
    named = steady.frame.join(steady.tasks, on="task").join(steady.cells, on="cell")
    assert sorted(named.select("system", "name").unique().rows()) == [("a", "t"), ("b", "u")]


def test_competence_is_of_all_pieces_that_need_the_skill():
    found = competence(pieces_of(outcomes(ANSWERS)), "skill")
    f, g = (row_of(found, skill=skill) for skill in "fg")
    assert (f["success"], f["success_n"], f["tasks"]) == (pytest.approx(1 / 4), 4, 2)
    assert (g["success"], g["success_n"], g["tasks"]) == (pytest.approx(1 / 4), 4, 2)
    assert (f["alone"], f["alone_n"]) == (pytest.approx(1 / 2), 2)
    assert (g["alone"], g["alone_n"], g["alone_method"]) == (None, 0, estimate.NO_VALUES)


def test_failure_counts_edges():
    found = row_of(competence(pieces_of(outcomes(ANSWERS)), "skill"), skill="g")
    # Two failing pieces need g once, one of two that need it twice fails.
    assert found["failure"] == pytest.approx((2 * 1 + 2) / (2 * 1 + 2 * 2))


def test_tuples_are_ordered_and_sets_are_not():
    answers = [("s", "1", "t", "f+g", "x", True), ("s", "1", "u", "g+f", "x", False)]
    pieces = pieces_of(outcomes(answers))
    assert competence(pieces, "tuple")["skills"].to_list() == [["f", "g"], ["g", "f"]]
    sets = competence(pieces, "set")
    assert sets["skills"].to_list() == [["f", "g"]]
    assert sets["success"].to_list() == [0.5]
    assert competence(pieces, "k").select("k", "pieces", "tasks").rows() == [(2, 2, 2)]
    assert competence(pieces, "task")["task"].to_list() == ["t", "u"]


def test_independent_pieces_have_wilsons_interval_nearly():
    answers = [("s", "1", "t", "f", str(i), i < 30) for i in range(100)]
    found = row_of(competence(pieces_of(outcomes(answers)), "skill"), skill="f")
    known = estimate.proportion(30, 100)
    assert found["success_trials"] == pytest.approx(99)
    assert (found["success_lo"], found["success_hi"]) == pytest.approx((known.lo, known.hi), abs=0.003)


def test_pieces_that_repeat_an_item_tell_no_more_than_one():
    tasks = [f"t{j}" for j in range(4)]
    answers = [("s", "1", task, "f", str(i), i < 15) for task in tasks for i in range(50)]
    inputs = [str(i) for _ in tasks for i in range(50)]
    apart = row_of(competence(pieces_of(outcomes(answers)), "skill"), skill="f")
    shared = row_of(competence(pieces_of(outcomes(answers, input=inputs)), "skill"), skill="f")
    assert shared["success"] == apart["success"] == pytest.approx(0.3)
    assert shared["success_trials"] == pytest.approx(49)
    assert apart["success_trials"] == pytest.approx(199)


def test_all_right_is_no_certainty_and_one_item_no_interval():
    answers = [("s", "1", "t", "f", str(i), True) for i in range(20)] + [("s", "1", "u", "g", "x", True)]
    found = competence(pieces_of(outcomes(answers)), "skill")
    many, one = (row_of(found, skill=skill) for skill in "fg")
    assert many["success_hi"] == 1
    assert 0.8 < many["success_lo"] < 0.9
    assert (one["success"], one["success_lo"], one["success_method"]) == (1.0, None, estimate.ONE_VALUE)


def test_unknown_answers_are_missing_not_wrong():
    answers = [
        ("s", "1", "t", "f", "x", True),
        ("s", "1", "t", "f", "y", None),
        ("s", "1", "u", "g", "z", None),
    ]
    found = competence(pieces_of(outcomes(answers)), "skill")
    f, g = (row_of(found, skill=skill) for skill in "fg")
    assert (f["success"], f["success_n"], f["pieces"]) == (1.0, 1, 2)
    assert (g["success"], g["success_n"], g["success_method"], g["pieces"]) == (
        None,
        0,
        estimate.NO_VALUES,
        1,
    )


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.sampled_from("12"),
            st.sampled_from(["f", "g", "f+g", "g+f", "f+f"]),
            st.integers(0, 6),
            st.booleans(),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_competence_is_brute_force(drawn: list[tuple[str, str, str, int, bool]]):
    once = {(s, c, skills, piece): right for s, c, skills, piece, right in drawn}
    answers = [(s, c, skills, skills, str(piece), right) for (s, c, skills, piece), right in once.items()]
    found = competence(pieces_of(outcomes(answers)), "skill")
    right: dict[tuple[str, str, str], list[bool]] = defaultdict(list)
    edges: dict[tuple[str, str, str], list[bool]] = defaultdict(list)
    for s, c, _, skills, _, good in answers:
        for skill in set(skills.split("+")):
            right[s, c, skill].append(good)
        for skill in skills.split("+"):
            edges[s, c, skill].append(not good)
    assert found.height == len(right)
    for row in found.to_dicts():
        key = (row["system"], row["checkpoint"], row["skill"])
        assert row["success"] == pytest.approx(np.mean(right[key]))
        assert row["failure"] == pytest.approx(np.mean(edges[key]))
        if row["success_lo"] is not None:
            assert 0 <= row["success_lo"] <= row["success"] <= row["success_hi"] <= 1


@pytest.mark.parametrize("by", ["skill", "tuple", "set", "k", "task"])
def test_the_order_of_rows_does_not_matter(by: Grouping):
    frame = outcomes(ANSWERS)
    first, second = (
        competence(pieces_of(rows), by) for rows in (frame, frame.sample(fraction=1, shuffle=True, seed=1))
    )
    labels = [name for name in ("skill", "k", "skills", "task") if name in first.columns]
    assert first.sort(labels).equals(second.sort(labels))


def _course(before: Callable[[int], bool], after: Callable[[int], bool], n: int = 40) -> list[Answer]:
    return [
        ("s", checkpoint, "t", "f", str(i), right(i))
        for checkpoint, right in (("1", before), ("2", after))
        for i in range(n)
    ]


def test_changes_are_paired_by_piece():
    answers = _course(lambda i: i < 10, lambda i: 5 <= i < 30)
    row = row_of(changes(pieces_of(outcomes(answers)), "skill"), measure="success")
    known = estimate.paired_share_gain(20, 5, 40)
    assert (row["change"], row["lo"], row["hi"]) == pytest.approx((known.value, known.lo, known.hi))
    assert row["p"] == pytest.approx(mcnemar_p(np.array([20]), np.array([5]))[0])
    assert (row["before"], row["after"], row["n"], row["last"]) == (0.25, 0.625, 40, "2")
    assert row["method"] == estimate.PAIRED_SHARES


def test_only_pieces_of_both_checkpoints_are_compared():
    answers = [*_course(lambda _: True, lambda _: True), ("s", "1", "t", "f", "only here", False)]
    row = row_of(changes(pieces_of(outcomes(answers)), "skill"), measure="success")
    assert (row["before"], row["change"], row["n"]) == (1.0, 0.0, 40)
    assert row["lo"] < 0 < row["hi"]


def test_pieces_of_one_item_change_together():
    answers = [
        ("s", checkpoint, task, "f", str(i), checkpoint == "2" and i < 12)
        for checkpoint in "12"
        for task in ("t", "u", "v")
        for i in range(30)
    ]
    inputs = [str(i) for _ in range(6) for i in range(30)]
    apart, together = (
        row_of(changes(pieces_of(frame), "skill"), measure="success")
        for frame in (outcomes(answers), outcomes(answers, input=inputs))
    )
    assert apart["change"] == together["change"] == pytest.approx(0.4)
    # Thrice the pieces, but no more items: the half-width stays that of one task, about 1.96 √(.24/29) = .18.
    assert together["hi"] - together["lo"] == pytest.approx(2 * 2.045 * math.sqrt(0.24 / 29), rel=0.02)
    assert apart["hi"] - apart["lo"] < 0.65 * (together["hi"] - together["lo"])


def test_no_change_is_no_certainty():
    answers = [("s", c, task, "f", str(i), i < 9) for c in "12" for task in "tu" for i in range(18)]
    frame = outcomes(answers, input=[str(i) for _ in range(4) for i in range(18)])
    row = row_of(changes(pieces_of(frame), "skill"), measure="success")
    # As if one item of twenty had gained and one lost, Student's quantile with 17 degrees of freedom.
    assert (row["change"], row["p"]) == (0.0, 1.0)
    assert (row["lo"], row["hi"]) == pytest.approx(
        (-2.110 * math.sqrt(2) / 20, 2.110 * math.sqrt(2) / 20), rel=1e-3
    )


def test_p_values_are_adjusted_for_all_of_a_measure():
    found = changes(pieces_of(outcomes(_course(lambda _: False, lambda i: i < 8))), "skill")
    twice = [(system, *answer[1:]) for system in "ab" for answer in _course(lambda _: False, lambda i: i < 8)]
    both = changes(pieces_of(outcomes(twice)), "skill")
    assert row_of(found, measure="success")["p_adjusted"] == pytest.approx(2 * 0.5**8)
    assert row_of(both, measure="success", system="a")["p_adjusted"] == pytest.approx(4 * 0.5**8)


def test_one_checkpoint_has_no_changes():
    assert changes(pieces_of(outcomes(ANSWERS)), "tuple").height == 0
