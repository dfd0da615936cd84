"""A tiny study that measures skills on text-pieces, from its file to verdicts, tables and outcomes."""

from pathlib import Path

import polars as pl
import pytest

from emergelab.api.runs import open_run
from emergelab.outcomes.checks import require_sound
from emergelab.outcomes.schema import OUTCOMES
from emergelab.recipes.outcomes_of_runs import OF_DOCUMENTS, outcomes_of_run
from emergelab.recipes.run_folder import SKILL_TABLES, RunFolder
from emergelab.scores.tables import PIECES
from study_runs import STUDY, command, process, refused, write_study

ASPECTS = (
    *("linear", "pinsker", "certain", "cloze", "slope", "guarantee", "conservative"),
    *("theorem", "sharper", "exact", "markov", "slingshot"),
)
SKILLS = """
grammar = "tiny.cag"
key = 1
model = { width = 16, layers = [1, 2], heads = 2, context = 24 }
train = { tokens = [2e3, 4e3], seeds = 2, batch = 8, warmup_steps = 2, precision = "float32", compile = "no" }
evaluate = { tasks = ["single", "pair"], shots = 5, prompts = 20, loss_documents = 16 }
skills = { documents = 64 }
""" + "".join(
    f"""
[[hypotheses]]
name = "{aspect}"
claim = "It is so."
test = "skills"
aspect = "{aspect}"
models = {{ tokens = "all", layers = "all" }}
below = 0
"""
    for aspect in ASPECTS
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = write_study(tmp_path_factory.mktemp("known"), SKILLS)
    answer = process("run", study, "--out", study.parent / "run", "--workers", "2")
    assert answer.code == 0, answer.errors
    return study.parent


@pytest.mark.slow
@pytest.mark.xdist_group("known skills")
def test_every_assumption_has_its_verdict(folder: Path):
    verdicts = open_run(folder / "run").verdicts
    assert verdicts["name"].to_list() == list(ASPECTS)
    assert verdicts["fixed"].unique().to_list() == ["before the first cell"]
    found = dict(verdicts.select("name", "verdict").iter_rows())
    # Theorems, whatever the models are.
    assert [found[name] for name in ("linear", "pinsker", "guarantee")] == ["supported"] * 3
    page = (folder / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "the share of failing pieces less twice the excess" in page


@pytest.mark.slow
@pytest.mark.xdist_group("known skills")
def test_the_tables_of_skills_can_be_read_and_asked(folder: Path):
    run = folder / "run"
    tables = {
        name: pl.read_parquet(RunFolder(run).open_tables() / f"{name}.parquet") for name in SKILL_TABLES
    }
    assert tables["pieces"].schema == PIECES
    assert tables["pieces"]["cell"].n_unique() == 8
    assert tables["pieces"].group_by("cell").len()["len"].n_unique() == 1
    excess = tables["links"].filter(pl.col("link") == "linear", pl.col("failing") == "distance")["epsilon"]
    assert (excess > 0).all()
    for name in SKILL_TABLES:
        answer = command("results", run, "--table", name, "--format", "csv")
        assert answer.out.splitlines()[0] == ",".join(tables[name].columns)
    answer = command("results", run, "--sql", "select count(*) as n from links", "--format", "csv")
    assert answer.out.split() == ["n", str(4 * 8)]


@pytest.mark.slow
@pytest.mark.xdist_group("known skills")
def test_a_run_is_a_table_of_outcomes(folder: Path):
    outcomes = outcomes_of_run(folder / "run")
    assert outcomes.schema == OUTCOMES
    require_sound(outcomes)
    assert outcomes["system"].n_unique() == 4
    assert outcomes["checkpoint"].unique().sort().to_list() == ["2000", "4000"]
    tasks = set(outcomes["task"])
    assert tasks == {
        "single",
        "pair",
        "pair, held out",
        "pair, steps printed",
        "pair, steps printed, held out",
        OF_DOCUMENTS,
    }
    single = outcomes.filter(pl.col("task") == "single")
    assert single["skills"].list.len().unique().to_list() == [1]
    # One printed object, and the sign that ends the row: the object costs no more than both.
    assert (single["cloze_loss"] <= 1 - (-single["nats"]).exp() + 1e-6).all()
    items = open_run(folder / "run").items.filter(
        pl.col("task") == "pair",
        pl.col("form") == "steps",
        pl.col("split") == "seen",
        pl.col("decoding") == "teacher_forced",
        pl.col("argument") == "fresh",
        pl.col("shot") == 5,
        pl.col("predictor") == "model",
    )
    pair = outcomes.filter(pl.col("task") == "pair, steps printed")
    whole = items.filter(pl.col("step") == 0)
    assert (pair.height, pair["correct"].sum()) == (whole.height, whole["correct"].sum())
    assert pair["nats"].sum() == pytest.approx(whole["nats"].cast(pl.Float64).sum())
    lost = 1 - (-items.filter(pl.col("step") > 0)["nats"].cast(pl.Float64)).exp()
    assert pair["cloze_loss"].mean() == pytest.approx(lost.mean())
    # Every checkpoint answered the same pieces.
    repeated = outcomes.group_by("task", "piece").len()["len"].unique().to_list()
    assert repeated == [8]


@pytest.mark.slow
def test_a_run_without_text_pieces_says_how_to_get_them(tmp_path: Path):
    study = write_study(tmp_path, STUDY.replace("layers = [1, 2]", "layers = 1"))
    assert process("run", study, "--out", tmp_path / "run", "--workers", "1").code == 0
    said = refused("results", tmp_path / "run", "--table", "links")
    assert said.endswith("Run it with --set skills.documents=1024.")
    assert set(outcomes_of_run(tmp_path / "run")["task"]) >= {"single", "pair, held out", "inverse, outside"}
