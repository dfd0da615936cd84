"""A tiny study run, read and asked again from Python: the same as on the command line, table by table."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import emergelab as el
from emergelab.recipes.run_folder import TABLES
from study_runs import command

# One process runs all of these, so that the study is trained once.
pytestmark = pytest.mark.xdist_group("tiny study")


@pytest.fixture(scope="module")
def run(run: Path, tmp_path_factory: pytest.TempPathFactory) -> el.Run:
    """Return a copy of what the command line made."""
    return el.open_run(Path(shutil.copytree(run, tmp_path_factory.mktemp("api") / "run")))


def table_of(run: el.Run, name: str) -> pl.DataFrame:
    """Return a table; `run.prompts` is the way to the prompts themselves."""
    return run.prompt_table if name == "prompts" else getattr(run, name)


def test_tables_are_those_of_the_command_line(run: el.Run):
    for name in TABLES:
        printed = json.loads(command("results", run.folder, "--table", name, "--format", "json").out)
        table = table_of(run, name)
        assert len(printed) == table.height
        assert {tuple(row) for row in printed} <= {tuple(table.columns)}


def test_a_query_has_the_answer_of_the_command_line(run: el.Run):
    sql = "select layers, count(*) as n, max(nats) as nats from scores group by all order by all"
    printed = json.loads(command("results", run.folder, "--sql", sql, "--format", "json").out)
    # JSON has no infinity: it is spelled out.
    assert json.loads(json.dumps(run.query(sql).to_dicts()).replace("Infinity", '"Infinity"')) == printed


@pytest.mark.parametrize("sql", ["select", "drop table scores", "select 1 as a, 2 as a"])
def test_a_wrong_query_is_refused(run: el.Run, sql: str):
    with pytest.raises(el.UserError):
        run.query(sql)


def test_a_finished_study_is_not_run_again(run: el.Run, study: Path, capfd: pytest.CaptureFixture[str]):
    before = {path: path.stat().st_mtime_ns for path in (run.folder / "store").rglob("manifest.json")}
    again = el.run(study, out=run.folder, workers=1)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert again.scores.equals(run.scores)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "0 steps to do" in printed.err


def test_a_run_is_opened_by_its_folder(run: el.Run):
    opened = el.open_run(str(run.folder))
    assert (opened.name, opened.study, repr(opened)) == (run.name, run.study, repr(run))
    assert opened.cells.equals(run.cells)


def test_a_folder_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(el.ArtifactError, match="is no run's folder"):
        el.open_run(tmp_path)


def test_the_report_is_made_again_where_it_is_missing(run: el.Run):
    page = run.report
    page.unlink()
    assert run.report == page
    assert page.is_file()


@pytest.mark.slow
def test_figures_are_charts_with_the_reports_names(run: el.Run):
    files = {path.stem for path in (run.report.parent / "figures").glob("*.svg")}
    assert set(run.figures) == files
    assert all("var(--" not in json.dumps(chart.to_dict()) for chart in run.figures.values())


def test_a_model_that_is_asked_again_answers_the_same(run: el.Run):
    model = run.model(layers=2, tokens=2e3)
    items = run.score(model).items
    there = run.items.filter(cell=model.name)
    names = ["task", "form", "split", "decoding", "prompt", "shot", "step"]
    assert items.drop("predictor").sort(names).equals(there.drop("predictor").sort(names))


def test_scores_of_a_model_that_is_asked_again_are_those_of_the_run(run: el.Run):
    model = run.model(layers=1)
    columns = ["task", "form", "split", "decoding", "argument", "shots", "n", "accuracy", "nats_hi", "chance"]
    there = run.scores.filter(cell=model.name).select(columns)
    assert run.score(model).scores.select(columns).equals(there)


def test_a_model_is_the_longest_trained_if_nothing_is_said(run: el.Run):
    assert run.model(layers=1).name.endswith("tokens=4000")


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ({}, "Say which: layers = 1 or 2"),
        ({"layers": 1, "tokens": 3}, "Choose tokens = 2000 or 4000"),
        ({"layer": 1}, "Did you mean 'layers'"),
        ({"layers": "one"}, "Choose layers = 1 or 2"),
    ],
)
def test_what_describes_no_single_model_is_refused(run: el.Run, which: dict, message: str):
    with pytest.raises(el.UserError, match=message):
        run.model(**which)


def test_a_runs_grammar_draws_the_runs_world(run: el.Run):
    corpus = json.loads(next((run.folder / "store").glob("corpus-*/corpus.json")).read_text(encoding="utf-8"))
    language = run.grammar().language
    named = dict(zip(language.function_names(), language.tables.tolist(), strict=True))
    assert named == corpus["functions"]
    first, *_ = run.grammar().sample(1, length=24)
    assert list(first.tokens) == [text for text, _ in corpus["samples"][0]][: len(first.tokens)]


def test_the_loss_of_a_model_is_that_of_its_cell(run: el.Run):
    model = run.model(layers=2)
    measured = el.measure_losses(model, run.grammar(), documents=16, length=24)
    (row,) = run.cells.filter(cell=model.name).to_dicts()
    assert measured.filter(pl.col("role").is_null())["nats"].item() == pytest.approx(row["loss"], rel=1e-6)


def test_prompts_are_those_that_were_asked(run: el.Run):
    sets = run.prompts("pair")
    assert {len(one.tokens) for one in sets} == {40}
    forced = run.items.filter(task="pair", form="direct", split="seen", decoding="teacher_forced", step=0)
    fresh = forced.filter(cell=forced["cell"][0]).sort("prompt", "shot")["argument"] == "fresh"
    (direct,) = (one for one in sets if (one.form, one.split) == ("direct", "seen"))
    assert np.array_equal(fresh.to_numpy().reshape(40, -1), direct.fresh)


def test_a_task_that_was_not_asked_is_refused(run: el.Run):
    with pytest.raises(el.UserError, match="The study tiny has no task 'pairs'"):
        run.prompts("pairs")


def test_models_are_listed_as_on_the_command_line(run: el.Run):
    printed = json.loads(command("model", "list", run.folder, "--json").out)
    assert run.models.to_dicts() == printed


def test_a_model_is_exported_as_by_the_command_that_its_card_names(run: el.Run, tmp_path: Path):
    out = run.export_model(tmp_path / "model", layers=1, tokens=2e3, licence="mit")
    (line,) = re.findall(
        r"^emergelab (model .*)$", (out / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    there = {path.name: path.read_bytes() for path in out.iterdir()}
    shutil.rmtree(out)
    assert command(*shlex.split(line), "--license", "mit").code == 0
    again = {path.name: path.read_bytes() for path in out.iterdir()}
    # Only the card's own command says the licence on the command line.
    assert {name for name in there if there[name] != again[name]} <= {"README.md"}


def test_the_documents_of_a_run_are_exported(run: el.Run, tmp_path: Path):
    out = run.export_corpus(tmp_path / "corpus", licence="mit")
    files = sorted(path.name for path in (out / "data").iterdir())
    table = pl.read_parquet(out / "data" / files[0])
    first = run.grammar().sample(1, length=24)[0]
    assert table["text"][0].startswith(" ".join(first.tokens[1:]))


def test_the_documents_of_a_grammar_are_exported(tmp_path: Path):
    grammar = el.load_grammar("functions")
    out = grammar.export(tmp_path / "some.parquet", documents=5, length=20, licence="mit")
    text = pl.read_parquet(out)["text"]
    assert len(text) == 5
    assert all(
        one.startswith(" ".join(document.tokens[1:]))
        for one, document in zip(text, grammar.sample(5, length=20), strict=True)
    )


def test_prompts_are_exported_as_on_the_command_line(tmp_path: Path):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    assert el.load_grammar("functions").export_prompts(one, tasks="pair", shots=2, prompts=3) == one
    asked = ("--task", "pair", "--shots", "2", "--prompts", "3")
    assert command("corpus", "prompts", "functions", "--out", other, *asked).code == 0
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("asked", [{"documents": 0}, {"law": "half"}, {"seed": -1}])
def test_wrong_exports_are_refused(tmp_path: Path, asked: dict):
    with pytest.raises(el.UserError, match=str(*asked.values())):
        el.load_grammar("functions").export(tmp_path / "out", **asked)


def test_models_from_elsewhere_have_no_study(tmp_path: Path):
    record = {"format": 1, "name": "a model on functions", "command": "x", "tables": "tables-x", "corpus": ""}
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    run = el.open_run(tmp_path)
    for ask in (
        run.model,
        run.grammar,
        run.prompts,
        lambda: run.models,
        lambda: run.export_model(tmp_path / "x"),
    ):
        with pytest.raises(el.UserError, match="was not trained here"):
            ask()


def test_a_device_or_policy_that_is_none_is_refused():
    with pytest.raises(el.UserError, match="device='tpu'"):
        el.score_pretrained("nowhere", "functions", device="tpu")  # pyright: ignore[reportArgumentType]
    with pytest.raises(el.UserError, match="keep='some'"):
        el.run("quickstart", keep="some")  # pyright: ignore[reportArgumentType]


def test_a_run_does_not_differ_from_itself(run: el.Run):
    comparison = el.compare(run, str(run.folder), shots=3)
    printed = command("compare", run.folder, run.folder, "--shots", "3", "--format", "json")
    assert comparison.as_json() == json.loads(printed.out)
    assert comparison.certain == 0
    assert comparison.table["accuracy_difference"].drop_nulls().unique().to_list() == [0.0]


def test_an_unknown_tracker_is_refused():
    with pytest.raises(el.UserError, match="track='paper'"):
        el.run("quickstart", track="paper")


def test_the_page_on_tables_names_their_columns(run: el.Run):
    page = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
    told = {
        name: re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
        for name, text in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    }
    assert told == {name: table_of(run, name).columns for name in TABLES}


def test_the_store_of_a_run(run: el.Run):
    store = el.open_store(run.folder)
    kinds = store.artifacts["kind"].to_list()
    assert kinds.count("cell") == run.cells.height
    asked = store.query("select count(*) as n from artifacts where kind = 'cell'")
    assert asked["n"].to_list() == [run.cells.height]
    assert store.check() == []
    assert store.leftovers() == store.clean()
    with pytest.raises(el.UserError, match="Several columns"):
        store.query("select kind, kind from artifacts")
    with pytest.raises(el.ArtifactError, match="neither a run's folder nor a store"):
        el.open_store(run.folder / "report")


def test_a_damaged_artifact_is_named(run: el.Run, tmp_path: Path):
    copy = tmp_path / "store"
    shutil.copytree(run.folder / "store", copy)
    spoiled = next(copy.glob("tables-*/scores.parquet"))
    content = bytearray(spoiled.read_bytes())
    content[len(content) // 2] ^= 1
    spoiled.write_bytes(content)
    (damage,) = el.open_store(copy).check()
    assert spoiled.parent.name in damage


def test_a_checkpoint_without_its_run_is_exported(run: el.Run, tmp_path: Path):
    path = run.models["path"][0]
    lone = tmp_path / "lone.safetensors"
    shutil.copy(path, lone)
    grammar = tmp_path / "own.cag"
    grammar.write_text(run.record["grammar_text"])
    out = el.export_checkpoint(lone, tmp_path / "out", grammar=grammar, key=run.study["key"])
    assert json.loads((out / "config.json").read_text())["vocab_size"] == len(run.grammar().vocabulary)
