"""A tiny study with hypotheses, from its file to the verdicts; one of them is added when all is scored."""

import json
from pathlib import Path

import polars as pl
import pytest

from emergelab.api.runs import open_run
from emergelab.recipes.run_folder import RunFolder
from emergelab.scores.tables import VERDICTS
from study_runs import command, process, write_study

STUDY = """
grammar = "tiny.cag"
key = 1
model = { width = 16, layers = 1, heads = 2, context = 24 }
train = { tokens = [1e3, 2e3, 3e3], batch = 8, warmup_steps = 2, precision = "float32", compile = "no" }
evaluate = { tasks = "single", shots = 5, prompts = 24, loss_documents = 16 }

[[hypotheses]]
name = "better than chance"
claim = "A model of a few steps <b>knows</b> functions."
test = "difference"
of = { task = "single" }
minus = "chance"
above = 0.95

[[hypotheses]]
name = "bound"
claim = "The ideal predictor stays below its bound."
test = "bound"

[[hypotheses]]
name = "threshold"
claim = "It is learned at once."
test = "threshold"
of = { task = "single" }
axis = "tokens"
level = 0.97
"""
LATER = """
[[hypotheses]]
name = "seen afterwards"
claim = "No model gets everything right."
test = "difference"
of = { task = "single" }
below = 0.999
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = write_study(tmp_path_factory.mktemp("tested"), STUDY)
    answer = process("run", study, "--out", study.parent / "run", "--workers", "2")
    assert answer.code == 0, answer.errors
    lines = answer.out.splitlines()
    assert lines[0] == "What was tested"
    assert lines[1].startswith("not supported  better than chance: ")
    assert lines[2].startswith("supported      bound: ")
    return study.parent


@pytest.mark.slow
@pytest.mark.xdist_group("hypotheses")
def test_a_hypothesis_that_comes_late_trains_nothing_and_says_when_it_came(folder: Path):
    kept = (folder / "run" / "hypotheses.json").read_text(encoding="utf-8")
    first = open_run(folder / "run").verdicts
    assert first.schema == VERDICTS
    assert first["fixed"].unique().to_list() == ["before the first cell"]
    assert first["verdict"].to_list() == ["not supported", "supported", "not supported"]
    study = write_study(folder, STUDY + LATER)
    answer = command("run", study, "--out", folder / "run", "--workers", "1")
    assert answer.code == 0, answer.errors
    assert "1 step to do" in answer.errors
    assert "supported      seen afterwards: " in answer.out
    assert "(fixed after 3 of 3 cells)" in answer.out
    again = open_run(folder / "run").verdicts
    assert again.head(3).equals(first)
    assert again["fixed"].to_list()[3] == "after 3 of 3 cells"
    entries = json.loads((folder / "run" / "hypotheses.json").read_text(encoding="utf-8"))["hypotheses"]
    assert entries[:3] == json.loads(kept)["hypotheses"]
    page = RunFolder(folder / "run").page.read_text(encoding="utf-8")
    assert page.index("What was tested") < page.index("What was found")
    assert "A model of a few steps &lt;b&gt;knows&lt;/b&gt; functions." in page
    assert "1 of them was fixed after cells had been scored." in page
    table = command("results", folder / "run", "--table", "verdicts", "--format", "csv").out
    assert pl.read_csv(table.encode())["verdict"].to_list() == again["verdict"].to_list()
