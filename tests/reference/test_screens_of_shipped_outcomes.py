"""What is known of the shipped table of outcomes, counted here by hand, is what the screens say of it."""

from __future__ import annotations

import json
from functools import cache

import polars as pl
import pytest

from emergelab.outcomes.coherence import coherence, losses_fit
from emergelab.outcomes.findings import Finding
from emergelab.outcomes.reading import read_outcomes
from emergelab.outcomes.schema import Outcomes
from emergelab.outcomes.screens import screen, unfit, unfit_tasks
from emergelab.report.outcomes.screens import section
from study_runs import command


@cache
def outcomes() -> Outcomes:
    return read_outcomes("composition_outcomes")


@cache
def findings() -> tuple[Finding, ...]:
    return tuple(screen(outcomes().frame, outcomes().notes))


def finding(name: str, severity: str | None = None) -> Finding:
    (one,) = [one for one in findings() if one.screen == name and severity in (None, one.severity)]
    return one


def test_two_tasks_have_the_answer_g_for_every_input():
    constant = (
        outcomes().frame.group_by("task").agg(pl.col("target").n_unique()).filter(pl.col("target") == 1)
    )
    assert finding("constant targets").tasks == tuple(constant["task"].sort())
    assert "gerund_reverse_first ('g')" in finding("constant targets").message


def test_200_prompts_have_two_answers():
    one = finding("contradictory targets")
    same = ["system", "checkpoint", "task", "input"]
    assert one.details.height == outcomes().frame.select(same).is_duplicated().sum() / 2 == 200
    assert (one.rows, one.tasks) == (400, ("translate_fr_eng",))


def test_37_losses_are_infinite_and_of_empty_answers():
    assert (finding("infinite losses").rows, finding("empty right answers").rows) == (37, 37)
    assert finding("infinite losses").tasks == ("translate_eng_fr_upper_reverse",)
    assert "All of them are of answers without a token" in finding("infinite losses").message


def test_250_rows_have_four_examples():
    one = finding("uneven shots")
    assert (one.rows, one.tasks) == (250, ("first_letter",))
    assert outcomes().frame.filter(pl.col("shots") == 4).height == 250


def test_no_system_has_losses_of_its_answers():
    assert losses_fit(outcomes().frame) == frozenset()
    assert coherence(outcomes().frame)["probability"].to_numpy().max() < 0.001
    assert finding("foreign losses").systems == ("amber-7b", "olmo2-1b", "pythia-6.9b")


def test_18_of_41_composites_have_all_parts_measured():
    alone = {skills[0] for skills in outcomes().frame["skills"].unique() if len(skills) == 1}
    composites = [skills for skills in outcomes().frame["skills"].unique() if len(skills) > 1]
    whole = [skills for skills in composites if set(skills) <= alone]
    assert (len(composites), len(whole)) == (41, 18)
    message = finding("skills never alone").message
    assert message.startswith(
        "No task needs last_letter and reverse alone. Of 41 composites 18 have all parts measured"
    )


def test_reversed_words_are_never_solved():
    one = finding("never solved", "warning")
    assert len(one.tasks) == 8
    assert all(task.endswith("_reverse") for task in one.tasks)
    best = outcomes().frame.filter(pl.col("task").is_in(one.tasks)).group_by("system", "checkpoint", "task")
    assert best.agg(pl.col("correct").mean())["correct"].to_numpy().max() < 0.05


def test_single_letters_are_left_as_they_are():
    letters = {task for task in outcomes().frame["task"].unique() if task.startswith(("lower_", "upper_"))}
    assert len(letters) == 10
    assert letters < set(finding("idle skills").tasks)


def test_first_letters_of_inflected_words_need_no_inflection():
    for task in ("gerund_first", "plural_first"):
        items = outcomes().frame.filter(pl.col("task") == task)
        assert (items["target"] == items["input"].str.head(1)).all()
        assert task in finding("idle skills").tasks


def test_untrained_checkpoints_are_the_first_ones():
    first = outcomes().frame.group_by("system", maintain_order=True).agg(pl.col("checkpoint").first())
    assert (
        finding("before learning").details["checkpoint"].to_list()
        == first.sort("system")["checkpoint"].to_list()
    )


def test_holes_of_the_curves_are_all_there():
    frame = outcomes().frame
    places = frame.select("system", "checkpoint").unique()
    asked = frame.select("system", "checkpoint", "task").unique()
    every = places.join(frame.select("task").unique(), how="cross")
    holes = every.join(asked, on=["system", "checkpoint", "task"], how="anti")
    some = finding("missing checkpoints").details
    never = finding("missing tasks").details
    counted = (some["missing"] * some["task"].list.len()).sum() + never["checkpoints"].sum()
    assert counted == holes.height


def test_verdicts_leave_out_32_of_51_tasks():
    left_out = unfit(outcomes().frame)
    assert left_out.equals(unfit_tasks(findings()))
    assert left_out.height == 32
    kept = outcomes().frame.join(left_out, on="task", how="anti")
    composites = kept.filter(pl.col("skills").list.len() > 1)["task"].unique().sort().to_list()
    assert composites == [
        "first_upper",
        "gerund_upper",
        "plural_upper",
        "translate_eng_fr_first",
        "translate_eng_fr_upper",
        "translate_fr_eng_first",
        "translate_fr_eng_upper",
        "translate_sp_eng_first",
        "translate_sp_eng_upper",
    ]


def test_findings_can_be_read():
    assert len(findings()) <= 30
    assert all(len(one.message) < 600 and len(one.consequence) < 400 for one in findings())
    assert all(0 <= one.share <= 1 for one in findings())


def test_the_section_has_everything():
    made = section(findings())
    assert sum(len(table.rows) for table in made.tables if table.columns[0] == "Finding") == len(findings())
    (left,) = (table for table in made.tables if table.name == "left-out")
    assert sum(int(row[1]) for row in left.rows) == 32
    assert [table.name for table in made.tables if table.folded] == ["warnings", "notes"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_the_command_says_it(options: tuple[str, ...]):
    said = command("skills", "check", "composition_outcomes", *options)
    assert said.code == 0
    if not options:
        assert "emergence leave out 32 of 51 tasks" in said.out
        return
    found = json.loads(said.out)
    assert [one["about"] for one in found["findings"]] == [one.about for one in findings()]
    assert len(found["unfit"]) == 32
