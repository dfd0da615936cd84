"""Tests behind the screens: against SciPy, by brute force, and how often they cry wolf."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from emergelab import rng
from emergelab.outcomes.jumps import steps
from emergelab.outcomes.level_screens import before_learning, chance_level
from emergelab.outcomes.pairs import holm, mcnemar_p
from emergelab.outcomes.screens import screen
from emergelab.outcomes.survey import Survey
from sound_tables import SKILLS, Design, conform, found, only, sound

TABLES = 60
S0A = (pl.col("system") == "s0") & (pl.col("task") == "a")


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test(gained: int, lost: int):
    p = mcnemar_p(np.array([gained]), np.array([lost]))[0]
    moved = gained + lost
    assert p == pytest.approx(binomtest(gained, moved, 0.5).pvalue if moved else 1.0)


def test_mcnemar_of_scaled_changes_keeps_their_variance():
    # Ten times as many pairs that change by a tenth: sums are those of single answers, variance a tenth.
    whole, parts = (mcnemar_p(*(np.array([x]) for x in (30.0, 12.0, squares)))[0] for squares in (42.0, 4.2))
    assert parts < whole
    assert parts == pytest.approx(binomtest(300, 420, 0.5).pvalue)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_stepwise_bonferroni(p: list[float]):
    adjusted = holm(np.array(p))
    order = np.argsort(p)
    slow = [max(min(1.0, (len(p) - i) * p[j]) for i, j in enumerate(order[: k + 1])) for k in range(len(p))]
    assert adjusted[order] == pytest.approx(slow)


def test_steps_count_what_a_slow_reader_counts():
    frame = sound(Design(systems=1, items=20)).filter(
        ~((pl.col("piece") == "i3") & (pl.col("checkpoint") == "step200"))
    )
    fast = steps(Survey(frame))
    answers = {(row["task"], row["checkpoint"], row["piece"]): row["correct"] for row in frame.to_dicts()}
    for row in fast.to_dicts():
        pairs = [
            (answers[row["task"], row["before"], f"i{i}"], answers[row["task"], row["checkpoint"], f"i{i}"])
            for i in range(20)
            if (row["task"], row["before"], f"i{i}") in answers
            and (row["task"], row["checkpoint"], f"i{i}") in answers
        ]
        assert row["items"] == len(pairs)
        assert row["gained"] == sum(now and not then for then, now in pairs)
        assert row["lost"] == sum(then and not now for then, now in pairs)
    assert fast.height == 6 * 5


def test_repeated_answers_are_paired_by_their_means():
    frame = sound(Design(systems=1, items=30))
    again = frame.with_columns(sample=pl.lit(1, pl.Int32))
    once, twice = (steps(Survey(conform(part))) for part in (frame, pl.concat([frame, again])))
    assert once.select("items", "gained", "lost", "p").equals(twice.select("items", "gained", "lost", "p"))


def test_a_dip_is_found_and_named():
    dip = S0A & (pl.col("checkpoint") == "step1600")
    frame = sound().with_columns(correct=pl.when(dip).then(pl.col("piece") == "i1").otherwise("correct"))
    outlier = only(frame, "implausible jumps")
    assert "1 dip and 0 spikes" in outlier.message
    assert outlier.details.select("system", "task", "checkpoint").rows() == [("s0", "a", "step1600")]
    assert (outlier.rows, outlier.systems) == (60, ("s0",))


def test_a_lasting_fall_is_found_and_named():
    late = S0A & pl.col("checkpoint").is_in(["step1600", "step3200"])
    frame = sound().with_columns(correct=pl.when(late).then(pl.col("piece") == "i1").otherwise("correct"))
    assert "a of s0 at step1600" in only(frame, "implausible jumps").message


def test_a_rise_within_one_step_is_not_resolved():
    frame = sound(Design(levels=(0.05, 0.05, 0.9, 0.92, 0.94, 0.96)))
    rises = only(frame, "unresolved rises")
    assert rises.details.height == 4 * len(SKILLS)
    assert "step200 to step400" in rises.message


def test_common_noise_is_told_from_that_of_items():
    levels = tuple(0.5 + 0.25 * (-1) ** (i // 2 % 2) for i in range(12))
    noisy = only(sound(Design(levels=levels, items=100)), "noise between checkpoints")
    assert set(noisy.systems) == {"s0", "s1", "s2", "s3"}


def false_alarms(levels: tuple[float, ...], names: set[str]) -> int:
    """Return in how many sound tables a screen of these names finds anything."""
    tables = (sound(Design(levels=levels, items=40, key=key)) for key in range(TABLES))
    return sum(bool(names & {finding.screen for finding in screen(frame)}) for frame in tables)


@pytest.mark.parametrize("levels", [(0.5,) * 6, (0.2, 0.35, 0.5, 0.6, 0.7, 0.8)])
def test_screens_of_change_seldom_cry_wolf(levels: tuple[float, ...]):
    # Each of two screens errs in a twentieth of tables at most: 60 tables have 12 false alarms with p < .02.
    assert false_alarms(levels, {"implausible jumps", "noise between checkpoints"}) < 12


def test_even_rises_are_seldom_taken_for_steps():
    # A fourth of the rise lies in each of its steps, and half of it is claimed with an error of a twentieth at most.
    assert false_alarms((0.2, 0.35, 0.5, 0.65, 0.8), {"unresolved rises"}) < 12


def guessing(key: int, accuracy: float) -> pl.DataFrame:
    """Return a sound table whose first task is right with this probability, chance being a quarter."""
    frame = sound(Design(key=key)).with_columns(chance=pl.lit(0.25))
    right = rng.stream(key, "guessing").generator().random(frame.height) < accuracy
    return frame.with_columns(
        correct=pl.when(pl.col("task") == "a").then(pl.Series(right)).otherwise("correct")
    )


def test_guessing_is_found_and_skill_is_left_in_peace():
    guessed = sum(bool(list(chance_level(Survey(guessing(key, 0.25))))) for key in range(TABLES))
    skilled = sum(bool(list(chance_level(Survey(guessing(key, 0.5))))) for key in range(TABLES))
    # A task that is guessed escapes in a twentieth of tables at most: 54 of 60 and fewer have p < .05.
    assert guessed >= 53
    assert skilled == 0


def test_untrained_checkpoints_seldom_seem_trained():
    def seen(key: int) -> set[str]:
        frame = sound(Design(key=key, systems=1)).with_columns(chance=pl.lit(0.25))
        luck = rng.stream(key, "luck").generator().random(frame.height) < 0.25
        first = pl.col("checkpoint") == "step100"
        spoiled = frame.with_columns(correct=pl.when(first).then(pl.Series(luck)).otherwise("correct"))
        return {
            name for finding in before_learning(Survey(spoiled)) for name in finding.details["checkpoint"]
        }

    assert sum("step100" in seen(key) for key in range(TABLES)) >= 53


def test_found_names_nothing_that_is_not_there():
    assert not found(sound(Design(key=9)), "implausible jumps")
