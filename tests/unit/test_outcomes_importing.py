"""`emergelab skills import`: what it writes, what it joins, what it refuses."""

import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from emergelab.outcomes.reading import KNOWN, as_outcomes, read_outcomes
from emergelab.outcomes.schema import OUTCOMES
from emergelab.recipes import outcomes_of_runs
from study_runs import command, refused

DATA = Path(__file__).parents[1] / "data" / "outcomes"
HARNESS, INSPECT = DATA / "harness-0.4.13", DATA / "inspect-0.3.285"
IMPORT = ("skills", "import")


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_logs_and_what_they_do_not_know(tmp_path: Path):
    systems = written(
        tmp_path / "systems.csv",
        "system,checkpoint,train_tokens,loss",
        "models/tiny,step1,1e6,5.5",
        "models/tiny,step2,2e6,5.1",
    )
    skills = written(
        tmp_path / "skills.csv",
        "task,skills",
        *(
            f"{task},plural+choice"
            for task in ("plural_choice", "plural_by_text", "plural_several", "plural_mutual")
        ),
        *(f"{task},plural" for task in ("which_is_plural", "last_word", "plural_written", "whole_texts")),
    )
    out = tmp_path / "new" / "outcomes.parquet"
    answer = command(*IMPORT, "harness", HARNESS, "--out", out, "--systems", systems, "--skills", skills)
    assert (answer.code, answer.out.splitlines()[0]) == (
        0,
        "80 answers, 1 system, 2 checkpoints and 8 tasks, in",
    )
    read = read_outcomes(str(out))
    assert read.frame.schema == OUTCOMES
    places = (
        read.frame.select("checkpoint", "params", "train_tokens", "loss", "flops").unique().sort("checkpoint")
    )
    assert places.rows() == [
        ("step1", 11520, 10**6, 5.5, 6 * 11520e6),
        ("step2", 11520, 2 * 10**6, 5.1, 12 * 11520e6),
    ]
    assert set(map(tuple, read.frame["skills"].to_list())) == {("plural", "choice"), ("plural",)}
    # What was assumed is told, and stays with the table.
    for note in read.notes:
        assert f"Note: {note}" in answer.errors
    assert any("softmax" in note for note in read.notes)


def test_systems_get_new_names_and_missing_ones_are_counted(tmp_path: Path):
    systems = written(
        tmp_path / "systems.csv",
        "logged,logged_checkpoint,system,checkpoint,params",
        "models/tiny,step1,Tiny,1M,12000",
    )
    out = tmp_path / "outcomes.csv"
    said = command(*IMPORT, "harness", HARNESS, "--out", out, "--systems", systems).errors
    assert "has no row for 1 of 2 checkpoints" in said
    assert "Not known of any checkpoint: train_tokens, flops, loss." in said
    found = read_outcomes(str(out)).frame.select("system", "checkpoint", "params").unique().sort("system")
    assert found.rows() == [("Tiny", "1M", 12000), ("models/tiny", "step2", 11520)]


def test_numbers_for_all_that_is_read(tmp_path: Path):
    out = tmp_path / "outcomes.jsonl"
    told = ("--params", "7e9", "--tokens", "1e12", "--loss", "2")
    assert command(*IMPORT, "inspect", INSPECT, "--out", out, *told).code == 0
    frame = read_outcomes(str(out)).frame
    assert frame.select("params", "train_tokens", "loss", "flops").unique().rows() == [
        (7 * 10**9, 10**12, 2.0, 4.2e22)
    ]
    for option, said in (("--tokens", "2 checkpoints"), ("--loss", "2 checkpoints")):
        message = refused(*IMPORT, "harness", HARNESS, "--out", tmp_path / "b.csv", option, "5")
        assert message.startswith(f"Got {option} 5 for {said}. It is one number for one of them.")
    assert "Got --params nan." in refused(
        *IMPORT, "inspect", INSPECT, "--out", tmp_path / "b.csv", "--params", "nan"
    )


def test_several_tables_are_one(tmp_path: Path):
    first = written(tmp_path / "a.csv", "model,step,task,id,acc,skills", "a,1,t,1,1,x+y")
    second = tmp_path / "b.parquet"
    row = {"run": ["b"], "step": [2], "task": ["t"], "id": [1], "acc": [False], "skills": [["x", "y"]]}
    pl.DataFrame(row).write_parquet(second)
    out = tmp_path / "c.parquet"
    assert command(*IMPORT, "table", first, second, "--out", out).code == 0
    frame = read_outcomes(str(out)).frame.select("system", "checkpoint", "piece", "correct", "skills")
    assert frame.rows() == [("a", "1", "1", True, ["x", "y"]), ("b", "2", "1", False, ["x", "y"])]
    # What was written once is read as it is.
    again = tmp_path / "d.parquet"
    assert command(*IMPORT, "table", out, "--out", again).code == 0
    assert pl.read_parquet(again).equals(pl.read_parquet(out))


def test_nothing_is_overwritten(tmp_path: Path):
    out = written(tmp_path / "outcomes.csv", "mine")
    message = refused(*IMPORT, "inspect", INSPECT, "--out", out)
    assert (
        message
        == f"{out} is there already. Nothing is overwritten without --force. Give another --out, or add --force."
    )
    assert out.read_text() == "mine\n"
    # A mistake in what is read leaves the old table, too.
    refused(*IMPORT, "inspect", HARNESS, "--out", out, "--force")
    assert out.read_text() == "mine\n"
    assert command(*IMPORT, "inspect", INSPECT, "--out", out, "--force").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["outcomes.csv"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("table", "composition_outcomes", "--out", "a.txt"), "Got --out a.txt. A table of outcomes ends in .parquet"),
        (("table", "compositions", "--out", "a.csv"), "There is no table 'compositions'"),
        (("table", "composition_outcomes", "--out", "a.csv", "--filter", "x"), "Only the harness has filters"),
        (("inspect", INSPECT, "--out", "a.csv", "--column", "params=x"), "Got the role 'params'. Of logs"),
        (("inspect", INSPECT, "--out", "a.csv", "--column", "correct"), "A column is told as ROLE=NAME"),
        (("run", "nowhere", "--out", "a.csv"), "is no run's folder"),
        (("run", "nowhere", "--out", "a.csv", "--column", "a=b"), "Got --column for a run"),
    ],
)  # fmt: skip
def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str | Path, ...], said: str):
    monkeypatch.chdir(tmp_path)
    assert said in refused(*IMPORT, *words)
    assert list(tmp_path.iterdir()) == []


def test_logs_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    (path,) = INSPECT.glob("*.json")
    message = refused(*IMPORT, "inspect", path, "--out", tmp_path / "a.csv")
    assert message.startswith(f"{path} cannot be read: Permission denied.")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("system,checkpoint", "models/tiny,step1"), "A table of systems has system"),
        (("checkpoint,params", "step1,1e6"), "A table of systems has system"),
        (("system,params", "tiny,1e6"), "No row of"),
        (("system,params", "models/tiny,1e6", "models/tiny,2e6"), "several rows for models/tiny"),
        (("system,params", "models/tiny,7B"), "Got '7B' in the column read as params"),
        (("system,params", "models/tiny,7"), "Got 7 parameters"),
    ],
)
def test_tables_of_systems_that_do_not_fit(tmp_path: Path, lines: tuple[str, ...], said: str):
    systems = written(tmp_path / "systems.csv", *lines)
    assert said in refused(*IMPORT, "harness", HARNESS, "--out", tmp_path / "a.csv", "--systems", systems)


# The page about outcomes

PAGE = (DATA.parents[2] / "docs" / "outcomes.md").read_text(encoding="utf-8")


def test_the_page_tells_all_columns_and_names():
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    told = {
        row[0].strip("| `"): [name.strip("` |") for name in row[2].split(", ") if name.strip("` |")]
        for row in rows
    }
    assert list(told) == list(OUTCOMES)
    assert told == {name: list(KNOWN[name][1:] if name != "loss" else KNOWN[name][:-1]) for name in OUTCOMES}
    for name in set(KNOWN) - set(OUTCOMES):
        assert all(f"`{other}`" in PAGE for other in KNOWN[name])


def test_what_the_page_shows_can_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tables = re.findall(r"`(\w+\.csv)`[^`]*```csv\n(.*?)```", PAGE, re.DOTALL)
    assert [name for name, _ in tables] == ["answers.csv", "skills.csv", "systems.csv"]
    for name, content in tables:
        (tmp_path / name).write_text(content)
    shutil.copytree(HARNESS, tmp_path / "logs" / "harness")
    shutil.copytree(INSPECT, tmp_path / "logs" / "inspect")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^    emergelab (skills import (?!run).*)$", PAGE, re.MULTILINE)
    assert len(commands) == 4
    systems = (tmp_path / "systems.csv").read_text().replace("EleutherAI/pythia-1b", "models/tiny")
    (tmp_path / "systems.csv").write_text(systems.replace("main", "step1"))
    for line in commands:
        answer = command(*line.split(), *([] if "--force" in line else ["--force"]))
        assert answer.code == 0, (line, answer)
    assert "pythia-1b" in set(read_outcomes("outcomes.parquet").frame["system"])


# Runs: what their outcomes are is tested where runs are made.


def test_outcomes_of_several_runs_are_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = {
        name: as_outcomes(
            pl.DataFrame({"system": [name], "task": ["t"], "nats": [0.5], "correct": [True]}), name
        ).frame
        for name in ("one", "two")
    }
    monkeypatch.setattr(outcomes_of_runs, "outcomes_of_run", lambda folder: made[folder.name])
    out = tmp_path / "runs.parquet"
    assert command(*IMPORT, "run", "one", "two", "--out", out).code == 0
    assert read_outcomes(str(out)).frame["system"].to_list() == ["one", "two"]


def test_a_run_of_an_earlier_version_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pl.DataFrame({"cell": ["a"], "train_tokens": [1]}).write_parquet(tmp_path / "cells.parquet")
    monkeypatch.setattr(outcomes_of_runs.RunFolder, "open_tables", lambda _: tmp_path)
    said = refused(*IMPORT, "run", "old", "--out", tmp_path / "runs.parquet")
    assert said.startswith("old lacks tables or columns")
