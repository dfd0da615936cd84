"""The commands about skills in theory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study_runs import command, refused

KNOWN = {"theorem": 0.3067, "sharper": 0.2719, "exact": 0.2300, "markov": 0.5}
ASKED = ("--theta", "0.1", "--k", "8")


def test_failure_of_the_worst_fifth():
    found = json.loads(command("curve", *ASKED, "--alpha", "0.2", "--json").out)
    assert {name: found[name] for name in KNOWN} == pytest.approx(KNOWN, abs=5e-5)
    assert (found["asked"], found["tuples"], found["kind"], found["graph"]) == ("failure", 1, None, None)


def test_smallest_share_and_its_absence():
    found = json.loads(command("curve", *ASKED, "--beta", "1.5", "--json").out)
    assert found["theorem"] is None
    assert found["exact"] == pytest.approx(0.597, abs=5e-4)
    said = command("curve", *ASKED, "--beta", "1.5").out
    assert "A dash: the curve says nothing here" in said


def test_finite_graphs_keep_the_curves_of_infinite_ones_apart():
    asked = ("curve", *ASKED, "--alpha", "0.2", "--skills", "100", "--pieces", "400")
    found = json.loads(command(*asked, "--json").out)
    assert found["theorem"] > found["infinite"]["theorem"]
    assert found["exact"] is None
    assert found["infinite"] == pytest.approx(KNOWN, abs=5e-5)
    assert "which an adversary may exceed here" in command(*asked).out


def test_tuples_are_named():
    asked = ("curve", *ASKED, "--alpha", "0.2", "--tuples", "2")
    joined = json.loads(command(*asked, "--kind", "concatenated", "--json").out)
    within = json.loads(command(*asked, "--kind", "within", "--json").out)
    assert (joined["kind"], within["kind"]) == ("concatenated", "within")
    assert joined["exact"] == pytest.approx(
        json.loads(command("curve", "--theta", "0.19", "--k", "8", "--alpha", "0.2", "--json").out)["exact"]
    )
    assert within["exact"] == pytest.approx(
        json.loads(command("curve", "--theta", "0.1", "--k", "4", "--alpha", "0.2", "--json").out)["exact"]
    )
    assert "tuples of 2 skills within one piece" in command(*asked, "--kind", "within").out


def test_pieces_of_several_sizes():
    found = json.loads(
        command("curve", "--theta", "0.1", "--k", "4:0.5,12:0.5", "--alpha", "0.2", "--json").out
    )
    assert found["k"] == {"4": 0.5, "12": 0.5}
    assert found["markov"] == pytest.approx(0.75)


def test_what_a_competence_takes():
    asked = ("skills", "need", "--competence", "0.8", "--share", "0.9", "--k", "8")
    found = json.loads(command(*asked, "--json").out)
    linear, pinsker = found["needs"]
    assert (linear["link"], pinsker["link"]) == ("linear", "pinsker")
    assert linear["theta"] == pinsker["theta"]
    assert linear["compute"] < pinsker["compute"]
    back = command("curve", "--theta", str(linear["theta"]), "--k", "8", "--alpha", "0.1", "--json").out
    assert json.loads(back)["exact"] == pytest.approx(0.2)
    assert "taken for the excess per cloze answer" in command(*asked).out


def test_jumps_of_learning():
    found = json.loads(command("skills", "decode", "--c", "3", "--texts", "1.1", "--json").out)
    assert found["jump"]["texts"] == pytest.approx(1.04, abs=5e-3)
    assert found["unknown"] < found["jump"]["after"]
    assert "does not jump" in command("skills", "decode", "--c", "2").out
    assert "skills per text is -1" in refused("skills", "decode", "--c", "-1")


def test_novelty_of_a_leaderboard(tmp_path: Path):
    rows = json.loads(command("skills", "novelty", "--json").out)
    assert [(row["model"], row["k"]) for row in rows if row["novel"]] == [("GPT-4", 6)]
    assert "lift needed" in command("skills", "novelty").out
    board = tmp_path / "board.csv"
    board.write_text("model,k,full_marks\na,5,0.5\n", encoding="utf-8")
    (row,) = json.loads(command("skills", "novelty", board, "--generations", "10", "--json").out)
    assert (row["n"], row["novel"]) == (10, True)
    board.write_text("model,k\na,5\n", encoding="utf-8")
    assert "no column 'full_marks'" in refused("skills", "novelty", board)
    assert "1.44 % is 0.0144" in refused("skills", "novelty", "--skill", "1.44")


def test_designs_of_evaluations():
    asked = ("skills", "design", "--success", "0.3", "--half-width", "0.05", "--above", "0.2")
    rows = json.loads(command(*asked, "--json").out)
    assert [row["cost"] for row in rows] == sorted(row["cost"] for row in rows)
    assert all(row["half_width"] <= 0.05 and row["power"] > 0.9 for row in rows)
    assert "combinations" in command(*asked).out
    assert "30 % is 0.3" in refused("skills", "design", "--success", "30", "--half-width", "0.05")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--theta", "10", "--k", "8", "--alpha", "0.2"), "10 % is 0.1"),
        (("--theta", "0.1", "--k", "0", "--alpha", "0.2"), "k is 0"),
        (("--theta", "0.1", "--k", "2.5", "--alpha", "0.2"), "k is '2.5'"),
        (("--theta", "0.1", "--k", "8", "--alpha", "1"), "alpha is 1"),
        (("--theta", "0.1", "--k", "8", "--beta", "1"), "must be above 1"),
        (("--theta", "0.1", "--k", "8", "--beta", "10"), "beta times theta is 1"),
        (("--theta", "0.1", "--k", "8"), "Give --alpha"),
        (("--theta", "0.1", "--k", "8", "--alpha", "0.2", "--beta", "2"), "alpha is 0.2 and beta is 2"),
        (("--theta", "0.1", "--k", "8", "--alpha", "0.2", "--pieces", "9"), "Give --skills and --pieces"),
        (
            ("--theta", "0.1", "--k", "3", "--alpha", "0.2", "--tuples", "4", "--kind", "within"),
            "smaller tuples",
        ),
    ],
)
def test_bad_questions(asked: tuple[str, ...], said: str, tmp_path: Path):
    assert said in refused("curve", *asked)
