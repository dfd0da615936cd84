"""Samples of the lm-evaluation-harness, against its own aggregated results and against SciPy."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import softmax

from emergelab.outcomes.answers import answer_of
from emergelab.outcomes.harness import read_harness
from emergelab.outcomes.logs import LogChoice, LogError, Logged

DATA = Path(__file__).parents[1] / "data" / "outcomes"
VERSIONS = ("harness-0.4.13", "harness-0.4.4")
MARKS = {
    "last_word": "acc",
    "plural_by_text": "acc_norm",
    "plural_mutual": "acc_mutual_info",
    "plural_several": "acc",
}


def read(*paths: Path, **told: Any) -> Logged:
    return read_harness(paths, LogChoice(**told))


@pytest.fixture(scope="module", params=VERSIONS)
def folder(request: pytest.FixtureRequest) -> Path:
    return DATA / request.param


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the harness's own results by revision."""
    found = [json.loads(path.read_text()) for path in folder.glob("results_*.json")]
    return {one["config"]["model_revision"]: one for one in found}


def samples(folder: Path, task: str) -> list[dict[str, Any]]:
    path = min(folder.glob(f"samples_{task}_*.jsonl"))
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("metric", ["acc", "acc_norm", "acc_mutual_info", "exact_match"])
def test_shares_of_right_answers_are_the_harness_s(folder: Path, metric: str):
    frame = read(folder, correct=metric).frame
    shares = {
        (checkpoint, task): share
        for checkpoint, task, share in frame.group_by("checkpoint", "task")
        .agg(pl.col("correct").mean())
        .rows()
    }
    compared = 0
    for revision, own in results(folder).items():
        for task, metrics in own["results"].items():
            name = "exact_match,strict" if metric == "exact_match" else f"{metric},none"
            if name in metrics:
                assert shares[revision, task] == pytest.approx(metrics[name])
                compared += 1
    assert compared > 0


def test_nats_are_those_of_the_harness_s_perplexities(folder: Path):
    frame = read(folder).frame
    for revision, own in results(folder).items():
        at = frame.filter(pl.col("checkpoint") == revision)
        word = at.filter(pl.col("task") == "last_word")["nats"]
        assert math.exp(word.mean()) == pytest.approx(
            own["results"]["last_word"]["perplexity,none"], rel=1e-6
        )
        text = at.filter(pl.col("task") == "whole_texts")
        words = sum(len(target.split()) for target in text["target"])
        perplexity = own["results"]["whole_texts"]["word_perplexity,none"]
        assert math.exp(text["nats"].sum() / words) == pytest.approx(perplexity, rel=1e-6)
        assert text["correct"].null_count() == text.height


def test_cloze_losses_are_what_a_softmax_leaves_to_wrong_choices(folder: Path):
    frame = read(folder).frame.filter(pl.col("checkpoint") == "step1")
    for task, right in (
        ("plural_choice", 1),
        ("plural_several", 2),
        ("plural_by_text", 1),
        ("plural_mutual", 1),
    ):
        ours = frame.filter(pl.col("task") == task).sort("piece")
        for row, sample in zip(ours.rows(named=True), samples(folder, task), strict=True):
            asked = [
                float(resp[0][0])
                for resp, given in zip(sample["resps"], sample["arguments"].values(), strict=True)
                if given["arg_0"]
            ]
            gold = [sample["doc"]["gold"], (sample["doc"]["gold"] + 1) % 4][:right]
            assert row["cloze_loss"] == pytest.approx(1 - softmax(asked)[gold].sum(), abs=1e-12)
            assert row["nats"] == pytest.approx(-np.logaddexp.reduce(np.array(asked)[gold]))
            assert row["chance"] == right / 4
            assert row["target"] == " | ".join(sample["doc"]["choices"][at] for at in gold)


def test_choices_in_the_question(folder: Path):
    frame = read(folder).frame.filter(
        (pl.col("checkpoint") == "step1") & (pl.col("task") == "which_is_plural")
    )
    for row, sample in zip(frame.rows(named=True), samples(folder, "which_is_plural"), strict=True):
        first, second = (float(resp[0][0]) for resp in sample["resps"])
        assert row["correct"] == (second > first)
        assert row["nats"] == -second
        assert row["chance"] == 0.5
        assert row["input"] == f"Many {sample['doc']['word']} | Many {sample['doc']['plural']}"


def test_what_a_sample_was_asked(folder: Path):
    frame = read(folder).frame
    assert set(frame["system"]) == {"models/tiny"}
    assert set(frame["params"]) == {11520}
    assert set(frame["checkpoint"]) == {"step1", "step2"}
    asked = (
        (pl.col("task") == "plural_written") & (pl.col("piece") == "2") & (pl.col("checkpoint") == "step1")
    )
    row = frame.row(by_predicate=asked, named=True)
    assert row["shots"] == 2
    assert row["target"] == "oxen"
    assert row["prompt"].endswith("ox ->")
    assert row["prompt"].count("->") == 1 + row["prompt"].count("\n\n")
    assert row["nats"] is None
    if row["prompt"].count("->") == 3:  # in version 0.4.4 an example may be the item, and is left out
        assert row["input"] == "ox ->"


def test_filters_and_fields_are_chosen(folder: Path):
    strict, letters = read(folder), read(folder, filter="letters")
    assert strict.frame.height == letters.frame.height == 80
    assert any("`strict` was taken in plural_written" in note for note in strict.notes)
    assert any("`letters` was taken in plural_written" in note for note in letters.notes)
    found = read(
        next(iter(folder.glob("samples_last_word*"))), fields={"skills": "choices", "piece": "word"}
    ).frame
    assert found["skills"][0].to_list() == ["cats", "cat", "cati", "catren"]
    assert found["piece"].to_list() == ["cat", "dog", "ox", "fox", "mouse"]
    for told, said in (
        ({"correct": "f1"}, "No task has the mark 'f1'"),
        ({"filter": "lax"}, "No task has the filter 'lax'"),
        ({"fields": {"skills": "skill"}}, "has no field 'skill'"),
        ({"fields": {"skills": "gold"}}, "Got '0' in the field 'gold'"),
    ):
        with pytest.raises(LogError, match=said):
            read(folder, **told)


# Made by hand: what the files of the tests do not have.


def sample(**changes: Any) -> dict[str, Any]:
    return {
        "doc_id": 0,
        "doc": {"question": "q"},
        "target": "1",
        "arguments": [["Q:", " no"], ["Q:", " yes"]],  # as before version 0.4.3
        "resps": [[[-2.0, False]], [[-1.0, True]]],
        "filtered_resps": [[-2.0, False], [-1.0, True]],
        "acc": 1.0,
    } | changes


def write(folder: Path, name: str, *rows: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_logs_without_results_are_named_by_their_folder(tmp_path: Path):
    write(tmp_path / "org__model", "samples_yes_no_2024-01-01T00-00-00.000001.jsonl", sample())
    logged = read(tmp_path)
    row = logged.frame.row(0, named=True)
    assert (row["system"], row["checkpoint"], row["task"], row["shots"]) == (
        "org__model",
        "main",
        "yes_no",
        None,
    )
    assert row["nats"] == 1.0
    assert any("No results file" in note for note in logged.notes)


def test_logs_of_the_first_versions(tmp_path: Path):
    write(tmp_path, "pretrained=m_a_b.jsonl", sample())
    config = {"model_args": "pretrained=org/m,revision=step5"}
    results = {"config": config, "configs": {"a_b": {}, "b": {}}, "n-shot": {"a_b": 3}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    row = read(tmp_path).frame.row(0, named=True)
    assert (row["system"], row["checkpoint"], row["task"], row["shots"]) == ("org/m", "step5", "a_b", 3)


def test_the_latest_of_several_runs_counts_and_shots_are_told_apart(tmp_path: Path):
    for date, shots, right in (("2024-01-01", 0, 0.0), ("2024-01-02", 0, 1.0), ("2024-01-03", 5, 0.0)):
        stamp = f"{date}T00-00-00.000001"
        write(tmp_path, f"samples_t_{stamp}.jsonl", sample(acc=right))
        own = {"model_name": "m", "config": {}, "configs": {"t": {}}, "n-shot": {"t": shots}}
        (tmp_path / f"results_{stamp}.json").write_text(json.dumps(own))
    logged = read(tmp_path)
    assert logged.frame.sort("task").select("task", "correct").rows() == [
        ("t (0-shot)", True),
        ("t (5-shot)", False),
    ]
    assert any(note.startswith("1 earlier logs") for note in logged.notes)


def test_items_of_changed_data_are_told_apart(tmp_path: Path):
    for model, content in (("a", "1" * 64), ("b", "2" * 64)):
        write(tmp_path / model, "samples_t_2024-01-01T00-00-00.000001.jsonl", sample(doc_hash=content))
    logged = read(tmp_path)
    assert sorted(logged.frame["piece"]) == ["0-11111111", "0-22222222"]
    assert any("not the same in all logs" in note for note in logged.notes)


def test_a_right_choice_that_the_harness_contradicts_is_not_believed(tmp_path: Path):
    write(tmp_path, "samples_t_2024-01-01T00-00-00.000001.jsonl", sample(acc=0.0), sample(doc_id=1))
    logged = read(tmp_path)
    assert logged.frame["nats"].to_list() == [None, 1.0]
    assert logged.frame["correct"].to_list() == [False, True]
    assert any("contradict the harness's own `acc`" in note for note in logged.notes)


@pytest.mark.parametrize(
    ("changes", "nats", "cloze"),
    [
        ({"resps": [[["-inf", "False"]], [["-1.0", "True"]]]}, 1.0, 0.0),
        ({"resps": [[["-1.0", "True"]], [["-inf", "False"]]]}, math.inf, 1.0),
        ({"resps": [[["-inf", "False"]], [["-inf", "False"]]]}, math.inf, None),
        ({"resps": [[["nan", "False"]], [["-1.0", "False"]]]}, None, None),
        ({"target": "yes"}, 1.0, 1 - 1 / (1 + math.exp(-1))),
        ({"target": "maybe"}, None, None),
        ({"target": "7"}, None, None),
        ({"target": "[1]"}, 1.0, 1 - 1 / (1 + math.exp(-1))),
    ],
)
def test_odd_likelihoods_and_targets(changes: dict[str, Any], nats: float | None, cloze: float | None):
    answer = answer_of(sample(**changes), {}, None)
    assert answer.nats == nats
    assert answer.cloze_loss == (None if cloze is None else pytest.approx(cloze))


def test_shares_of_credit_are_scores_and_not_right_or_wrong(tmp_path: Path):
    given = [{"bleu": 40.0, "f1": 0.5, "em": 0}, {"bleu": 50.0, "f1": 1.0, "em": 1}]
    rows = [sample(doc_id=at, acc=None, metrics=list(marks), **marks) for at, marks in enumerate(given)]
    write(tmp_path, "samples_t_2024-01-01T00-00-00.000001.jsonl", *rows)
    frame = read(tmp_path).frame.sort("piece")
    assert frame["score"].to_list() == [0.5, 1.0]
    assert frame["correct"].to_list() == [False, True]


def test_a_question_at_the_end_of_a_prompt():
    settings = {"fewshot_delimiter": "\n\n", "description": "Answer.\n\n"}
    few = sample(arguments=[["Answer.\n\na\nb\n\nc\nd\n\ne\nf", " x"]], resps=[[[-1, True]]])
    assert answer_of(few, settings, 2).asked == "e\nf"
    assert answer_of(few, settings, 1).asked == few["arguments"][0][0]  # three parts are not two alike
    talk = json.dumps([{"role": "user", "content": "hello"}])
    assert answer_of(sample(arguments=[[talk, {}]], resps=[["a"]]), {}, 0).prompt == "user: hello"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"doc_id": 0, "doc": {}', "is no JSON|no JSON"),
        ('{"doc_id": 0, "doc": {}, "resps": []}', "is no sample of the lm-evaluation-harness"),
        ("[" * 100_000 + ' "doc_id" "doc"', "No file of samples|no JSON"),
    ],
)
def test_damaged_samples(tmp_path: Path, content: str, said: str):
    (tmp_path / "samples_t_2024-01-01T00-00-00.000001.jsonl").write_text(content)
    with pytest.raises(LogError, match=said):
        read(tmp_path)


def test_files_that_are_no_samples(tmp_path: Path):
    (tmp_path / "a.txt").write_text("hello")
    for path, said in (
        (tmp_path, "No file of samples"),
        (tmp_path / "a.txt", "is no file of samples"),
        (tmp_path / "b", "There is no file or folder"),
    ):
        with pytest.raises(LogError, match=said):
            read(path)
