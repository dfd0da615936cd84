"""Exported prompts: the study's own questions, answered as the sampler prints them."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emergelab.corpus.prompts import make_prompts
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.notation import parse
from emergelab.recipes.exporting_prompts import COLUMNS
from emergelab.rng import stream
from study_runs import GRAMMAR, command, refused


@pytest.fixture
def grammar(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.cag"
    path.write_text(GRAMMAR, encoding="utf-8")
    return path


def exported(grammar: Path, name: str, *options: str) -> Path:
    out = grammar.parent / name
    words = ("--prompts", "12", "--shots", "3", "--key", "1")
    answer = command("corpus", "prompts", grammar, "--out", out, *words, *options)
    assert answer.code == 0, answer
    assert answer.out.splitlines()[-1] == str(out)
    return out


def test_questions_are_those_of_a_study_and_end_in_their_answers(grammar: Path):
    table = pl.read_parquet(exported(grammar, "p.parquet", "--task", "pair"))
    assert table.schema == COLUMNS
    language = draw_language(parse(GRAMMAR, name="tiny"), stream(1, "world"))
    source = stream(1, "evaluation").child("prompts")
    sets = make_prompts(language, "pair", shots=3, prompts=12, stream=source)
    assert table.height == 4 * 12 * 4
    words = language.vocabulary.texts
    for one in sets:
        rows = table.filter(form=one.form, split=one.split)
        for row in rows.iter_rows(named=True):
            whole, shot = one.tokens[row["prompt"]].tolist(), row["shots"]
            assert whole[: one.stop[row["prompt"], shot]] == row["tokens"] + row["answer_tokens"]
            assert row["text"].split(" ") == [words[token] for token in row["tokens"][1:]]
            assert row["answer"].split(" ") == [words[token] for token in row["answer_tokens"]]
            assert row["chance"] == pytest.approx(np.prod(row["step_chance"]))
            assert all(
                row["answer_tokens"][place] >= language.vocabulary.first_object for place in row["steps"]
            )


def test_answers_follow_from_the_functions_that_are_named(grammar: Path):
    language = draw_language(parse(GRAMMAR, name="tiny"), stream(1, "world"))
    tables = dict(zip(language.function_names(), language.tables, strict=True))
    objects = language.vocabulary.first_object
    for row in pl.read_parquet(exported(grammar, "p.parquet", "--task", "pair")).iter_rows(named=True):
        first, second = (tables[name] for name in row["functions"])
        argument = row["tokens"][-1] - objects
        assert row["answer_tokens"][row["steps"][-1]] - objects == second[first[argument]]
        shown = row["tokens"][1 : -1 : 4 if row["form"] == "steps" else 3]
        assert row["fresh"] == (row["tokens"][-1] not in shown)


def test_lines_of_json_say_the_same(grammar: Path):
    table = pl.read_parquet(exported(grammar, "p.parquet"))
    lines = exported(grammar, "p.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == table.to_dicts()
    assert set(table["task"]) == {"single", "pair", "inverse"}
    assert exported(grammar, "again.parquet").read_bytes() == (grammar.parent / "p.parquet").read_bytes()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--out", "p.csv"], ".jsonl"),
        (["--out", "p.jsonl", "--task", "pear"], "pair"),
        (["--out", "p.jsonl", "--prompts", "99999", "--shots", "99"], "fewer"),
    ],
    ids=["ending", "task", "many"],
)
def test_what_cannot_be_asked(grammar: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], part: str):
    monkeypatch.chdir(grammar.parent)
    assert part in refused("corpus", "prompts", grammar, *options)
    assert [path.name for path in grammar.parent.iterdir()] == ["tiny.cag"]
