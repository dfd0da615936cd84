"""Competence on the page: what its figures and tables show and what is concluded, for odd tables, too."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import polars as pl
import pytest

from emergelab.analysis.skills.graph import graph_tables
from emergelab.analysis.skills.pieces import pieces_of
from emergelab.analysis.skills.tables import (
    KEPT,
    NEVER_SOLVED,
    OFTEN,
    CompetenceTables,
    competence_tables,
)
from emergelab.outcomes.schema import OUTCOMES
from emergelab.outcomes.screens import unfit
from emergelab.report.figures import Figure
from emergelab.report.outcomes.competence import section
from emergelab.report.outcomes.competence_words import explained, findings
from emergelab.report.outcomes.matrix import HEAD, PLACE, SHARE
from emergelab.report.sections import Head, write_sections_page
from emergelab.rng import stream
from outcome_rows import Answer, outcomes, row_of, rows_of

NOTHING = pl.DataFrame(schema={"task": pl.String, "reason": pl.String})
SKILLS = {"f": "f", "g": "g", "f_g": "f+g", "g_f_g": "g+f+g"}
# Of twenty pieces of each task, how many come out right at the three checkpoints.
RIGHT = {"f": (2, 10, 18), "g": (4, 19, 14), "f_g": (0, 1, 4), "g_f_g": (0, 0, 0)}


def _answers(system: str = "one") -> list[Answer]:
    return [
        (system, f"step {place}", task, SKILLS[task], str(i), i < right)
        for task, course in RIGHT.items()
        for place, right in enumerate(course)
        for i in range(20)
    ]


def _frame() -> pl.DataFrame:
    answers = _answers() + _answers("two")
    tokens = [10**9 * (1 + 4 * int(answer[1][-1])) for answer in answers]
    return outcomes(answers, train_tokens=tokens)


def _tables(frame: pl.DataFrame, left: pl.DataFrame = NOTHING) -> CompetenceTables:
    return competence_tables(frame, left, stream(0, "test"))


@cache
def _whole() -> CompetenceTables:
    return _tables(_frame())


def _figures(tables: CompetenceTables) -> dict[str, Figure]:
    return {figure.name: figure for figure in (drawn.figure() for drawn in section(tables).figures)}


def test_curves_show_competence_with_intervals():
    data = _figures(_whole())["competence-over-training"].information.data
    row = row_of(data, panel="f", series="one", mark="point", x=9e9)
    # 18 of 20 alone, 4 of 20 with g, none of 20 with two g.
    assert row["y"] == pytest.approx(22 / 60)
    assert row["lo"] < row["y"] < row["hi"]
    alone = row_of(data, panel="f", series="one, alone", x=9e9)
    assert alone["y"] == pytest.approx(18 / 20)
    assert set(data["panel"]) == {"f", "g"}


def test_the_skill_graph_has_places_and_shares():
    data = _figures(_whole())["skill-graph"].information.data
    places = {row["column"]: row["text"] for row in rows_of(data, row="g_f_g", kind=PLACE)}
    assert places == {"f": "2", "g": "1, 3"}
    assert row_of(data, row="f_g", column="one", kind=SHARE)["value"] == pytest.approx(0.2)
    assert row_of(data, row="one", column="f", kind=SHARE)["value"] == pytest.approx(22 / 60)
    heads = [row["row"] for row in rows_of(data, kind=HEAD)]
    assert heads == [
        "all pieces that need the skill",
        "pieces of one skill",
        "pieces of two skills",
        "pieces of three skills",
    ]


def test_the_theory_is_drawn_beside_the_worst_skills():
    data = _figures(_whole())["failure-against-theory"].information.data
    curve = _whole().curves.filter(pl.col("checkpoint") == "step 2")
    found = data.filter(pl.col("series") == "worst skills").sort("panel", "x")
    assert found["y"].to_list() == curve.sort("system", "alpha")["failure"].to_list()
    assert {"theorem", "exact", "markov", "worst in this graph"} <= set(data["series"])


def test_weak_shares_stand_raw_and_corrected():
    data = _figures(_whole())["weak-skills"].information.data
    found = row_of(data, panel="tuples, one", series="as observed", x=9e9)
    # Of four tuples two fail more often than not at the end.
    assert found["y"] == pytest.approx(0.5)
    corrected = row_of(data, panel="tuples, one", series="corrected for noise", x=9e9)
    assert corrected["lo"] <= corrected["y"] <= corrected["hi"]


def test_failure_is_drawn_apart_only_where_losses_tell_of_it():
    assert "failure-and-success" not in _figures(_whole())
    frame = _frame()
    losses = frame.with_columns(cloze_loss=pl.when("correct").then(0.3).otherwise(0.6), nats=pl.lit(0.5))
    data = _figures(_tables(losses))["failure-and-success"].information.data
    row = rows_of(data, series="one", mark="point")[0]
    assert (row["x"], row["y"]) == (pytest.approx(38 / 60), pytest.approx(22 / 60))


def test_tables_are_short_and_whole_beside():
    levels, theory, weak = section(_whole()).tables
    assert list(levels.columns) == ["Skill", "one", "two"]
    assert levels.rows[0][0] == "g"
    assert levels.rows[1][1].startswith("0.37 [")
    assert levels.rows[1][1].endswith("(alone 0.90)")
    assert levels.whole is not None
    assert levels.whole.height == 12
    assert len(theory.rows) == 4  # two systems by items and by tasks
    assert len(weak.rows) == 2 * len(set(_whole().weak.filter(pl.col("checkpoint") == "step 2")["limit"])) * 2


def test_findings_have_numbers_and_intervals():
    said = findings(_whole())
    assert said[0].startswith("one at 9B tokens: weakest skill g, right on 0.30 [")
    assert "f falls most in company: 0.90 [" in said[0]
    assert "Failing more often than not" in said[0]
    assert "got better" in said[1]
    assert "0.55 [" in said[2]  # 80 pieces, of which 44 fail


def test_company_that_nothing_solved_is_no_fall():
    """Tasks that were never solved still fail, but say nothing of the skills in them that are there alone."""
    left = pl.DataFrame({"task": ["f_g", "g_f_g"], "reason": [NEVER_SOLVED] * 2})
    found = _tables(_frame(), left)
    assert "in company" not in findings(found)[0]
    assert row_of(found.skills, system="one", checkpoint="step 2", skill="f")["success"] == pytest.approx(
        22 / 60
    )
    assert row_of(found.solved, system="one", checkpoint="step 2", skill="f")["success"] == pytest.approx(
        18 / 20
    )


def test_a_loss_since_an_earlier_checkpoint_is_told():
    courses = {"1": (0, 0), "2": (38, 20), "3": (10, 20)}
    answers = [
        ("s", checkpoint, skill, skill, str(i), i < right)
        for checkpoint, rights in courses.items()
        for skill, right in zip("fg", rights, strict=True)
        for i in range(40)
    ]
    said = " ".join(findings(_tables(outcomes(answers))))
    assert "f was better before: −0.70 [" in said  # noqa: RUF001 - a minus sign
    assert "since 2." in said


def test_tasks_that_show_no_skill_stand_apart():
    left = pl.DataFrame({"task": ["f_g", "g_f_g"], "reason": ["constant target", NEVER_SOLVED]})
    tables = _tables(_frame(), left)
    assert tables.unfit["task"].to_list() == ["f_g"]
    assert row_of(tables.skills, system="one", checkpoint="step 2", skill="f")["success"] == pytest.approx(
        18 / 40
    )
    (apart,) = [table for table in section(tables).tables if table.name == "tasks-apart"]
    assert apart.rows == [("constant target", "f_g", "0.20")]
    over = tables.against_last.filter((pl.col("system") == "one") & (pl.col("weighting") == "items"))
    assert dict(over.select("over", "tasks").iter_rows()) == {
        KEPT: 3,
        "all tasks": 4,
        "these, but for tasks never solved": 2,
    }
    assert "1 task that shows no skill" in explained(tables)


def test_the_screens_call_tasks_never_solved_by_this_name():
    answers = [("s", "1", "t", "f", str(i), False) for i in range(200)]
    answers += [("s", "1", "u", "g", str(i), i % 2 == 0) for i in range(200)]
    found = unfit(outcomes(answers, target=[str(i) for i in range(400)]))
    assert dict(found.iter_rows()) == {"t": NEVER_SOLVED}


def test_where_all_tasks_show_nothing_all_stay_in_and_it_is_said():
    left = pl.DataFrame({"task": list(SKILLS), "reason": ["constant target"] * 4})
    tables = _tables(_frame(), left)
    assert not tables.relied
    assert findings(tables)[0].startswith("No task shows skill")
    assert all(table.name != "tasks-apart" for table in section(tables).tables)


def test_without_answers_nothing_is_said_but_that():
    frame = _frame().with_columns(correct=pl.lit(None, pl.Boolean), score=pl.lit(0.5))
    tables = _tables(frame)
    assert tables.measure is None
    assert findings(tables) == [
        "Nothing is known of competence: answers are neither right nor wrong, and there are no cloze losses."
    ]
    assert not section(tables).figures
    assert not section(tables).tables


def test_losses_alone_tell_of_failure():
    frame = _frame().with_columns(
        cloze_loss=pl.when("correct").then(0.1).otherwise(0.9), correct=pl.lit(None, pl.Boolean)
    )
    tables = _tables(frame)
    assert tables.measure == "failure"
    assert "weakest skill g, failing on" in findings(tables)[0]
    data = _figures(tables)["skill-graph"].information.data
    assert row_of(data, row="f_g", column="one", kind=SHARE)["value"] == pytest.approx(0.8)
    assert section(tables).tables[0].title.startswith("Failures by skill")


def test_one_checkpoint_has_levels_but_no_courses():
    frame = _frame().filter((pl.col("system") == "one") & (pl.col("checkpoint") == "step 2"))
    tables = _tables(frame)
    assert set(_figures(tables)) == {"skill-graph", "failure-against-theory"}
    assert len(findings(tables)) == 2


def test_checkpoints_without_tokens_keep_their_names():
    frame = _frame().with_columns(train_tokens=pl.lit(None, pl.Int64), flops=pl.lit(None, pl.Float64))
    assert findings(_tables(frame))[0].startswith("one at step 2: ")


def test_large_graphs_are_drawn_as_pairs():
    answers = [
        ("s", "1", f"t{i}", f"k{i}+k{(i + 1) % 30}", str(j), j < i % 5) for i in range(30) for j in range(4)
    ]
    tables = _tables(outcomes(answers))
    data = _figures(tables)["skill-graph"].information.data
    assert data["row"].n_unique() == 24
    pair = row_of(data, row="k1", column="k2")
    assert (pair["value"], pair["n"]) == (pytest.approx(1 / 4), 4)
    assert row_of(data, row="k2", column="k2")["value"] == pytest.approx((1 + 2) / 8)


def test_the_graph_counts_pieces_once_however_often_they_were_answered():
    graph = graph_tables(pieces_of(_frame()))
    assert row_of(graph.skills, skill="f") == {"skill": "f", "tuples": 3, "tasks": 3, "pieces": 60}
    assert row_of(graph.pairs, first="f", second="g") == {
        "first": "f",
        "second": "g",
        "tuples": 2,
        "pieces": 40,
    }
    assert graph.tuples["label"].to_list() == list(SKILLS)


def test_tuples_that_are_no_tasks_are_named_by_their_skills():
    answers = [("s", "1", "t", "f+g", "x", True), ("s", "1", "t", "g", "y", True)]
    labels = graph_tables(pieces_of(outcomes(answers))).tuples["label"].to_list()
    assert labels == ["g", "f → g"]


def test_names_cannot_break_the_page(tmp_path: Path):
    odd = "</script><b>']|\\n"
    frame = _frame().with_columns(
        system=pl.lit(odd) + pl.col("system"),
        task=pl.lit(odd) + pl.col("task"),
        skills=pl.col("skills").list.eval(pl.lit(odd) + pl.element()),
    )
    tables = _tables(frame.select(*OUTCOMES))
    head = Head(mark="m", title="t", lead="", found_title="f", found={"": findings(tables)})
    text = write_sections_page(head, [section(tables)], tmp_path / "page").read_text(encoding="utf-8")
    assert "<b>" not in text.split("<script")[0]
    assert odd not in text


def test_the_same_table_gives_the_same_tables():
    assert _whole().curves.equals(_tables(_frame()).curves)
    assert OFTEN in set(_whole().weak["limit"])
