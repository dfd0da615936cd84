"""A tiny study over a parameter of its grammar, a setting of its optimiser and two seeds, to its tables and report."""

from itertools import product
from pathlib import Path

import polars as pl
import pytest

from emergelab.recipes.run_folder import RunFolder
from emergelab.scores.variants import settings_of
from study_runs import Answer, command, process, write_study

SILENT, RATES = (0.1, 0.4), (0.01, 0.04)
GRAMMAR = """
parameter pair.silent = 0.25
world { objects 5  family f 3 permutations }
hold out 0.3 of f * f
rule Document  = Statement* stop 0.2
rule Statement = each x ~ objects, stop 0.1 { x Value(x) ";" }
rule Value(x)  = 0.5: let a ~ f { a(x) }
               | pair.silent: let a ~ f, b ~ f { b(a(x)) }
               | 0.5 - pair.silent: let a ~ f, b ~ f { a(x) b(a(x)) }
task pair    = let a ~ f, b ~ f  each x { x b(a(x)) ";" }  steps { x a(x) b(a(x)) ";" }  splits seen, held out
"""
STUDY = """
key = 1
model = { width = 16, layers = 1, heads = 2, context = 24 }
evaluate = { tasks = ["pair"], shots = 3, prompts = 20, loss_documents = 8 }

[grammar]
name = "tiny.cag"
pair.silent = [0.1, 0.4]

[train]
tokens = 2e3
batch = 8
warmup_steps = 2
precision = "float32"
compile = "no"
seeds = 2
matrix_learning_rate = [0.01, 0.04]
"""

# One process runs all of these, so that the study is trained once.
pytestmark = pytest.mark.xdist_group("study of axes")


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    folder = tmp_path_factory.mktemp("axes")
    study = write_study(folder, STUDY, GRAMMAR)
    return folder / "run", process("run", study, "--out", folder / "run", "--workers", "1")


@pytest.fixture(scope="module")
def run(answer: tuple[Path, Answer]) -> Path:
    assert answer[1].code == 0, answer[1].errors
    return answer[0]


def table(run: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(RunFolder(run).open_tables() / f"{name}.parquet")


def test_every_table_tells_the_variants_apart(run: Path):
    expected = {
        f"pair.silent={silent}, matrix_learning_rate={rate}" for silent, rate in product(SILENT, RATES)
    }
    for name in ("scores", "curves", "cells", "losses"):
        assert set(table(run, name)["variant"]) == expected
    cells = table(run, "cells")
    ideals = {f"{name},{variant}" for name in ("ideal", "ideal_train") for variant in expected}
    for name in ("items", "gains"):
        assert set(table(run, name)["cell"]) == set(cells["cell"]) | ideals
    assert cells.group_by("variant").agg(pl.col("seed").sort())["seed"].to_list() == [[0, 1]] * 4


def test_cells_have_each_setting_as_a_number(run: Path):
    cells = table(run, "cells")
    for variant, silent, rate in cells.select(
        "variant", "grammar.pair.silent", "train.matrix_learning_rate"
    ).iter_rows():
        assert settings_of(variant) == {"pair.silent": silent, "matrix_learning_rate": rate}
    assert set(cells["device"]) == {"cpu"} or "cuda" in str(cells["device"])
    assert set(cells["precision"]) == {"float32"}
    assert (cells["loss_lo"] < cells["loss"]).all()
    assert (cells["loss"] < cells["loss_hi"]).all()


def test_each_cell_was_trained_with_what_its_variant_says(run: Path):
    """The manifest of the training that a cell was scored from holds the very settings."""
    store = RunFolder(run).store
    found: set[tuple[float, float]] = set()
    for folder in store.root.glob("train-*"):
        spec = pl.read_json(folder / "manifest.json")["spec"][0]
        text = spec["language"]["grammar"]
        [silent] = [value for value in SILENT if f"{value}: let a ~ f, b ~ f {{ b(a(x)) }}" in text]
        found.add((silent, spec["train"]["matrix_learning_rate"]))
    assert found == set(product(SILENT, RATES))


def test_items_of_seeds_and_variants_are_not_mixed_up(run: Path):
    """Scores by hand, from the items of each cell."""
    whole = table(run, "items").filter(pl.col("step") == 0)
    keys = ["cell", "task", "form", "split", "decoding", "argument"]
    by_hand = whole.group_by(*keys, shots="shot").agg(by_hand=pl.col("correct").mean())
    joined = table(run, "scores").join(by_hand, on=[*keys, "shots"], how="inner", validate="1:1")
    assert joined.height == by_hand.height
    assert joined.filter((pl.col("accuracy") - pl.col("by_hand")).abs() > 1e-12).is_empty()


def test_the_screen_names_the_variant_and_sql_joins_on_the_setting(run: Path):
    assert command("results", run).out.split()[0] == "variant"
    query = 'select "grammar.pair.silent" as s, count(*) as n from cells join scores using (cell) group by s order by s'
    lines = command("results", run, "--sql", query).out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["0.1", "0.4"]


def test_the_report_draws_over_both_settings(run: Path):
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert "2 settings of pair.silent (0.1, 0.4), 2 settings of matrix_learning_rate (0.01, 0.04)" in page
    names = {path.name for path in (run / "report" / "figures").glob("over-*.csv")}
    assert names == {"over-pair-silent.csv", "over-matrix-learning-rate.csv"}
    assert "of 2 corpora together" in page
