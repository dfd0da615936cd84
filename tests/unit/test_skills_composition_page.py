"""The section on composition and its command: what they say of tables of every kind."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from composites import asked, simulated, table
from emergelab.analysis.skills.composed import composed
from emergelab.cli import app
from emergelab.errors import UserError
from emergelab.outcomes.screens import unfit
from emergelab.recipes.composing import composition_of
from emergelab.recipes.outcome_tables import OutcomesFile
from emergelab.report.outcomes.composition import section
from emergelab.report.outcomes.composition_words import findings, surely_more
from emergelab.report.sections import Head, write_sections_page

NONE = pl.DataFrame(schema={"task": pl.String, "reason": pl.String})
PAIRS = tuple(combinations("abcd", 2))


def small(*, systems: int = 2, checkpoints: int = 5) -> pl.DataFrame:
    rates = [
        {name: 0.15 + 0.07 * place + 0.17 * rank for rank, name in enumerate("abcd")}
        for place in range(checkpoints)
    ]
    return simulated(lambda rates: float(np.prod(rates)), PAIRS, rates, items=60, systems=systems)


def said(frame: pl.DataFrame, left_out: pl.DataFrame = NONE) -> str:
    return "\n".join(findings(composed(frame, left_out)))


def test_the_verdict_names_the_law_with_its_numbers() -> None:
    text = said(small())
    assert "6 of 6 composites have all parts measured" in text
    assert "“product” predicts composites best" in text
    assert "6 composites in 60 measurements" in text
    assert "below the union bound in" in text
    assert "Best by system: s0 “product”" in text


def test_few_measurements_outside_of_limits_are_chance() -> None:
    """Of 3 measurements one lies outside in 7 of 100 tables, of 40 four do in 2, of 2000 101 in none."""
    assert [surely_more(*counts) for counts in ((1, 3), (4, 40), (5, 40), (101, 2000))] == [
        False,
        False,
        True,
        True,
    ]


def test_missing_composites_are_named_and_counted() -> None:
    extra = [*asked("az", ["a", "z"], [True, False], system="s0", checkpoint="c00", train_tokens=1)]
    frame = pl.concat([small(systems=1, checkpoints=1), table(extra)])
    content = composed(frame, NONE)
    assert "6 of 7 composites" in findings(content)[0]
    assert "z (in 1)" in findings(content)[0]
    last = section(content).tables[-1]
    assert last.rows == [("az", "a + z", "never asked alone: z", "1")]


def test_composites_that_verdicts_leave_out_are_told_with_their_reason() -> None:
    left = pl.DataFrame(
        {"task": ["a-b", "a-c", "elsewhere"], "reason": ["idle skill", "constant target", "x"]}
    )
    frame = small(systems=1, checkpoints=1)
    found = composed(frame, left)
    assert found.left_out.rows() == [("a-b", "idle skill"), ("a-c", "constant target")]
    assert found.fit is not None
    kept = found.fit.predictions["composite"].unique().sort().to_list()
    assert kept == ["a-d", "b-c", "b-d", "c-d"]
    assert found.whole.predictions["composite"].n_unique() == 6
    assert "2 of these 6 do not show what they are named for" in findings(found)[1]
    all_left = pl.DataFrame({"task": ["-".join(pair) for pair in PAIRS], "reason": ["idle skill"] * 6})
    assert "No law is judged" in said(frame, all_left)


@pytest.mark.parametrize(
    "frame",
    [
        table(asked("a", ["a"], [True, False])),
        table(asked("ab", ["a", "b"], [True, False])),
        small(systems=1, checkpoints=1),
        small(systems=1, checkpoints=2).with_columns(train_tokens=pl.lit(None, pl.Int64)),
        small(systems=1, checkpoints=2).filter(pl.col("task").is_in(["a", "b", "a-b"])),
        small(systems=1, checkpoints=2).with_columns(correct=pl.lit(value=True)),
        small(systems=1, checkpoints=2).with_columns(correct=pl.lit(value=False)),
    ],
    ids=[
        "no composites",
        "no parts",
        "one checkpoint",
        "no tokens",
        "one composite",
        "all right",
        "all wrong",
    ],
)
def test_the_section_says_what_can_be_said(frame: pl.DataFrame) -> None:
    content = composed(frame, NONE)
    made = section(content)
    assert findings(content)
    assert made.text
    for figure in made.figures:
        assert figure.figure().specification is not None
    for one in made.tables:
        assert all(len(row) == len(one.columns) for row in one.rows)


def test_the_section_goes_onto_a_page(tmp_path: Path) -> None:
    made = section(composed(small(checkpoints=2), NONE))
    head = Head(mark="m", title="t", lead="l", found_title="f", found={"": ["x"]})
    page = write_sections_page(head, [made], tmp_path / "page")
    assert page.exists()
    laws = pl.read_csv(tmp_path / "page" / "tables" / "composition-laws.csv")
    assert {"law", "crps", "crps_lo", "crps_hi"} <= set(laws.columns)


def test_the_recipe_reads_a_file_and_returns_json_values(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.parquet"
    small(systems=1, checkpoints=2).write_parquet(path)
    found = composition_of(OutcomesFile(file=str(path)))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {row["law"] for row in found["laws"]} >= {"product", "minimum", "union bound", "concatenated"}
    frame = pl.read_parquet(path)
    assert len(found["composites"]) == len(PAIRS)
    assert found["left_out"] == unfit(frame).filter(pl.col("task").str.contains("-")).to_dicts()


def test_a_table_without_composites_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.parquet"
    table(asked("a", ["a"], [True, False])).write_parquet(path)
    with pytest.raises(UserError, match=r"needs two skills or more.*--skills FILE"):
        composition_of(OutcomesFile(file=str(path)))


def test_the_command_prints_laws_and_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "outcomes.parquet"
    small(systems=1, checkpoints=2).write_parquet(path)
    with pytest.raises(SystemExit) as stopped:
        app(["skills", "compose", str(path)])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "union bound" in printed
    assert "composites have all parts measured" in printed


def test_large_tables_are_thinned_and_cut_and_say_so() -> None:
    names = [f"k{place:02}" for place in range(11)]
    pairs = list(combinations(names, 2))
    rates = [{name: 0.5 + 0.03 * rank for rank, name in enumerate(names)}] * 8
    frame = simulated(lambda rates: float(np.prod(rates)), pairs, rates, items=4)
    frame = frame.with_columns(input=pl.col("piece").str.extract(r"(\d)$"), target=pl.lit("t"))
    made = section(composed(frame, NONE))
    scatter = made.figures[0].figure()
    assert "About 400 dots" in scatter.caption
    assert (
        scatter.information.frame.filter(pl.col("mark") == "point")["panel"].value_counts()["count"].max()
        <= 400
    )
    gates = next(one for one in made.tables if one.name == "composition-gates")
    assert len(gates.rows) == 40
    assert "The first 40 of 55 are here" in gates.note
    assert gates.whole is not None
    assert gates.whole["composite"].n_unique() == 55
