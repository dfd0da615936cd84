"""`emergelab evaluate`: a model's answers as tables, gone on with after a stop, and mistakes with one message."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from emergelab.analysis.aggregate import scores_from_items
from emergelab.analysis.seeds import crossed_shares
from emergelab.corpus.prompts import make_prompts
from emergelab.errors import UserError
from emergelab.pipeline.step import StepContext, StepInterrupted
from emergelab.recipes import evaluation_stages
from emergelab.recipes.evaluating import (
    EvaluationRequest,
    Questions,
    _shown_shots,
    model_digest,
    prepare_evaluation,
)
from emergelab.recipes.evaluation_stages import answer_task, make_tables
from emergelab.recipes.run_folder import TABLES
from emergelab.rng import stream
from small_languages import language_of
from study_runs import GRAMMAR, command, refused
from tiny_models import byte_level_tokenizer, save, tiny_llama, word_level_tokenizer

# One process runs all of these, so that the model is asked once.
pytestmark = pytest.mark.xdist_group("evaluating")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = byte_level_tokenizer()
    return save(tmp_path_factory.mktemp("models") / "llama", tiny_llama(len(tokenizer)), tokenizer)


@pytest.fixture
def grammar(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.cag"
    path.write_text(GRAMMAR)
    return path


def ask(grammar: Path, **changes: object) -> Questions:
    asked = {
        "grammar": str(grammar),
        "tasks": ("pair",),
        "shots": 2,
        "prompts": 40,
        "key": 1,
        "renderings": 5,
    }
    return Questions(**{**asked, **changes})  # pyright: ignore[reportArgumentType]


def made_tables(request: EvaluationRequest, folder: Path) -> dict[str, pl.DataFrame]:
    """Run the steps in this process and return the tables."""
    inputs: dict[str, Path] = {}
    for number, (name, step) in enumerate(request.tables.inputs.items()):
        inputs[name] = folder / str(number)
        (inputs[name] / "scratch").mkdir(parents=True)
        answer_task(step.spec, {}, inputs[name], StepContext(inputs[name] / "scratch"))
    out = folder / "tables"
    out.mkdir()
    make_tables(request.tables.spec, inputs, out, StepContext(folder))
    return {path.stem: pl.read_parquet(path) for path in out.iterdir()}


@pytest.fixture(scope="module")
def tables(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    folder = tmp_path_factory.mktemp("tables")
    (folder / "tiny.cag").write_text(GRAMMAR)
    return made_tables(
        prepare_evaluation(llama, ask(folder / "tiny.cag"), out=folder / "run"), folder / "made"
    )


def test_the_tables_of_a_run(tables: dict[str, pl.DataFrame]):
    assert {*TABLES, "words"} == set(tables)
    items, cells = tables["items"], tables["cells"]
    assert cells.height == 5
    assert cells["seed"].to_list() == [0, 1, 2, 3, 4]
    assert cells["params"].unique().to_list() == [tiny_llama(len(byte_level_tokenizer())).num_parameters()]
    assert_frame_equal(tables["scores"], scores_from_items(items, cells))
    assert (
        items.group_by("cell", "form", "split", "decoding", "prompt", "shot", "step").len()["len"].max() == 1
    )
    assert items["prompt"].max() == 39


def test_words_are_a_source_of_chance_beside_prompts(tables: dict[str, pl.DataFrame]):
    """Rows over all draws of words are those of a crossed layout of draws and prompts."""
    answers = tables["items"].filter(
        (pl.col("step") == 0) & (pl.col("shot") == 2) & (pl.col("argument") == "fresh")
    )
    names = ["form", "split", "decoding"]
    seeds = tables["cells"].select("cell", "seed")
    labelled = answers.join(seeds, on="cell").with_columns(
        pl.concat_str(names).alias("group"), value=pl.col("correct").cast(pl.Float64)
    )
    expected = crossed_shares(labelled).sort("group")
    curves = tables["curves"].filter(
        pl.col("seed").is_null() & (pl.col("shots") == 2) & (pl.col("argument") == "fresh")
    )
    found = curves.with_columns(pl.concat_str(names).alias("group")).sort("group")
    assert found["seeds"].unique().to_list() == [5]
    for mine, theirs in (("accuracy", "value"), ("accuracy_lo", "lo"), ("accuracy_hi", "hi"), ("n", "n")):
        np.testing.assert_allclose(found[mine], expected[theirs])


def test_the_words_are_written_down(tables: dict[str, pl.DataFrame]):
    words, tokenizer = tables["words"], byte_level_tokenizer()
    assert words.group_by("cell").len()["len"].unique().to_list() == [8]  # start, end, ";" and five objects
    assert words.filter(pl.col("token") == ";")["word"].unique().to_list() == [";"]
    objects = words.filter(pl.col("token").str.starts_with("o"))
    assert objects.group_by("cell").agg(pl.col("word").n_unique())["word"].unique().to_list() == [5]
    assert objects.group_by("token").agg(pl.col("word").n_unique())["word"].max() > 1
    for word, number in objects.select("word", "number").iter_rows():
        assert tokenizer(f" {word}")["input_ids"] == [number]


def test_an_interrupted_task_goes_on(llama: Path, grammar: Path, tmp_path: Path):
    """Prompts that were answered before the stop are not asked again, and the table is the same."""
    request = prepare_evaluation(llama, ask(grammar, renderings=1), out=tmp_path / "run")
    (step,) = request.tables.inputs.values()
    whole, parts, scratch = tmp_path / "whole", tmp_path / "parts", tmp_path / "scratch"
    for folder in (whole, parts, scratch, tmp_path / "other"):
        folder.mkdir()
    answer_task(step.spec, {}, whole, StepContext(tmp_path / "other"))

    def stop_late(done: float, total: float) -> None:
        if done > total / 2:
            raise StepInterrupted

    with pytest.raises(StepInterrupted):
        answer_task(step.spec, {}, parts, StepContext(scratch, stop_late))
    before = {path: path.stat().st_mtime_ns for path in scratch.iterdir()}
    assert before
    assert not list(parts.iterdir())
    answer_task(step.spec, {}, parts, StepContext(scratch))
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert_frame_equal(pl.read_parquet(parts / "items.parquet"), pl.read_parquet(whole / "items.parquet"))


def test_a_models_own_words_need_no_draws(grammar: Path, tmp_path: Path):
    vocabulary = language_of(GRAMMAR, key=1).vocabulary
    model = save(tmp_path / "own", tiny_llama(len(vocabulary)), word_level_tokenizer(vocabulary))
    request = prepare_evaluation(model, ask(grammar), out=tmp_path / "run")
    assert not request.pooled
    tables = made_tables(request, tmp_path / "made")
    assert tables["cells"]["seed"].to_list() == [None]
    assert tables["words"]["word"].to_list() == list(vocabulary.texts)


def test_the_digest_is_that_of_what_answers_depend_on(llama: Path, tmp_path: Path):
    copy = Path(shutil.copytree(llama, tmp_path / "copy"))
    (copy / "README.md").write_text("words")
    assert model_digest(copy) == model_digest(llama)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    assert model_digest(copy) != model_digest(llama)


def test_blocks_are_the_prompts():
    (prompts,) = make_prompts(language_of(GRAMMAR), "single", shots=2, prompts=40, stream=stream(0))
    blocks = [evaluation_stages.block_of(prompts, first) for first in (0, 32)]
    assert [len(block.tokens) for block in blocks] == [32, 8]
    for name in ("tokens", "argument", "stop", "steps", "fresh", "chance", "step_chance", "instance"):
        parts = [getattr(block, name) for block in blocks]
        np.testing.assert_array_equal(np.concatenate(parts), getattr(prompts, name))


def test_the_command(llama: Path, grammar: Path, tmp_path: Path):
    words = ("evaluate", llama, "--grammar", grammar, "--task", "single", "--shots", "3", "--prompts", "8")
    words = (*words, "--renderings", "1", "--out", tmp_path / "run")
    answer = command(*words)
    assert answer.code == 0, answer
    assert answer.out.splitlines()[0].split()[:5] == ["task", "form", "split", "shots", "n"]
    assert "for these words alone" in answer.out
    rows = json.loads(command(*words, "--format", "json").out)
    assert {row["shots"] for row in rows} == {0, 1, 2, 3}
    assert all(row["predictor"] == "llama" and row["accuracy_lo"] <= row["accuracy"] for row in rows)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["model"]["digest"] == model_digest(llama)
    assert len(record["words"]["words=0"]) == 8
    assert record["finished"]
    assert "no study trained" in refused("report", tmp_path / "run")
    elsewhere = ("--out", tmp_path / "elsewhere")
    for source in (
        ("model", "list"),
        ("model", "export", *elsewhere),
        ("corpus", "export", *elsewhere, "--study"),
    ):
        assert "not trained here" in refused(*source, tmp_path / "run")
    # Its tables are those of a run.
    scores = json.loads(command("results", tmp_path / "run", "--format", "json").out)
    assert {row["task"] for row in scores} == {"single"}
    assert "gone.cag" in refused(*words[:3], "gone.cag")
    assert "holds llama on tiny" in refused(
        "evaluate", llama, "--grammar", "functions", "--renderings", "1", "--out", tmp_path / "run"
    )


# Options, and what the message must hold: the value, and the rule or the remedy.
WRONG = {
    ("--task", "pear"): ("'pear'", "Did you mean 'pair'?"),
    ("--set", "pear=3"): ("'pear'", "no parameter"),
    ("--renderings", "3"): ("--renderings 3", "at least 5"),
    ("--shots", "40"): ("96 tokens", "--shots"),
    ("--device", "tpu"): ("'tpu'", "auto, cpu, cuda"),
}


@pytest.mark.parametrize("options", WRONG)
def test_wrong_options(options: tuple[str, str], llama: Path, grammar: Path, tmp_path: Path):
    message = refused("evaluate", llama, "--grammar", grammar, "--out", tmp_path / "run", *options)
    for part in WRONG[options]:
        assert part in message
    assert not (tmp_path / "run").exists()


def test_parameters_of_the_grammar(llama: Path, tmp_path: Path):
    """A value given is that of the text with this number in the parameter's place, and stands in the command."""
    texts = {name: f"parameter size = {size}\n{GRAMMAR}" for name, size in (("five", 5), ("six", 6))}
    for name, text in texts.items():
        (tmp_path / f"{name}.cag").write_text(text.replace("objects 5", "objects size"))
    said, written = (
        prepare_evaluation(llama, ask(tmp_path / f"{name}.cag", **given), out=tmp_path / "run")
        for name, given in (("five", {"parameters": {"size": 6.0}}), ("six", {}))
    )
    assert said.record["words"] == written.record["words"]
    assert "--set size=6 " in str(said.record["command"])
    assert said.record["questions"]["parameters"] == {"size": 6.0}  # pyright: ignore[reportArgumentType, reportCallIssue, reportIndexIssue, reportOptionalSubscript]


def test_the_longest_prompt_that_fits(grammar: Path, tmp_path: Path):
    """Three examples and a query of four words, less the last one, fill a context of 15."""
    tokenizer = byte_level_tokenizer()
    model = save(tmp_path / "short", tiny_llama(len(tokenizer), context=15), tokenizer)
    request = prepare_evaluation(model, ask(grammar, shots=3, renderings=1, prompts=2), out=tmp_path / "run")
    assert made_tables(request, tmp_path / "made")["items"]["shot"].max() == 3
    with pytest.raises(UserError, match="at most 15 tokens, and prompts with 4 examples need 19"):
        prepare_evaluation(model, ask(grammar, shots=4), out=tmp_path / "run")


def test_a_screen_shows_few_numbers_of_examples():
    assert _shown_shots(10) == "0, 1, 2, 4, 8, 10"
    assert _shown_shots(1) == "0, 1"
