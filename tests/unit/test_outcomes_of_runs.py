"""A run's tables as outcomes: which answers, under which names, and what follows from their printed objects."""

from math import exp
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from emergelab.analysis.aggregate import CELLS
from emergelab.errors import UserError
from emergelab.outcomes.checks import require_sound
from emergelab.outcomes.schema import OUTCOMES
from emergelab.recipes.outcomes_of_runs import EVALUATED, OF_DOCUMENTS, outcomes_of_run
from emergelab.recipes.run_folder import RunFolder
from emergelab.scores.tables import ITEMS, PIECES, PROMPTS

TRAINED = {
    "cell": "layers=1,keep=0,seed=0,tokens=50",
    "variant": "keep=0",
    "train_tokens": 50,
    "seed": 0,
    "params": 5000,
    "flops": 1e6,
    "loss": 2.0,
}
DRAWS = [{"cell": f"words={draw}", "params": 9000, "seed": draw} for draw in (0, 1)]


def item(cell: str, step: int, nats: float, **entries: Any) -> dict[str, Any]:
    usual = {
        "predictor": "model",
        "task": "pair",
        "form": "direct",
        "split": "seen",
        "decoding": "teacher_forced",
    }
    usual |= {"prompt": 3, "shot": 2, "argument": "fresh", "correct": step == 1, "chance": 0.1}
    return {**usual, "cell": cell, "step": step, "nats": nats, **entries}


def prompt(**entries: Any) -> dict[str, Any]:
    usual = {"variant": "keep=0", "task": "pair", "form": "direct", "split": "seen", "prompt": 3}
    return {**usual, "functions": ["f2", "f1"], **entries}


def written(folder: Path, monkeypatch: pytest.MonkeyPatch, **tables: list[dict[str, Any]]) -> Path:
    schemas = {"cells": CELLS, "items": ITEMS, "prompts": PROMPTS, "pieces": PIECES}
    for name, rows in tables.items():
        pl.DataFrame(rows, schema=schemas[name]).write_parquet(folder / f"{name}.parquet")

    def here(_folder: RunFolder) -> Path:
        return folder

    monkeypatch.setattr(RunFolder, "open_tables", here)
    return folder


def test_an_answer_is_a_row_and_its_printed_objects_are_cloze_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = str(TRAINED["cell"])
    items = [
        item(name, 0, 3.5),
        item(name, 1, 1.0),
        item(name, 2, 2.0),
        item(name, 0, 9.0, shot=1),  # not behind the most examples
        item(name, 0, 9.0, prompt=4, argument="repeated"),
        item(name, 0, None, decoding="free"),  # pyright: ignore[reportArgumentType]
        item("ideal,keep=0", 0, 9.0, predictor="ideal"),  # nothing that was trained
    ]
    (row,) = outcomes_of_run(
        written(tmp_path, monkeypatch, cells=[TRAINED], items=items, prompts=[prompt()])
    ).to_dicts()
    assert (row["system"], row["checkpoint"], row["sample"]) == ("layers=1,keep=0,seed=0", "50", 0)
    assert (row["task"], row["piece"], row["skills"]) == ("pair", "keep=0: prompt 3", ["f2", "f1"])
    assert (row["params"], row["train_tokens"], row["flops"], row["loss"], row["shots"]) == (
        5000,
        50,
        1e6,
        2.0,
        2,
    )
    assert (row["correct"], row["nats"], row["score"]) == (False, 3.5, 0.5)
    assert row["cloze_loss"] == pytest.approx(1 - (exp(-1) + exp(-2)) / 2)
    assert row["chance"] == pytest.approx(0.1)


def test_draws_of_words_are_samples_of_the_same_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    forms = {"form": "steps", "split": "held_out"}
    items = [
        item(f"words={draw}", step, 1.0, predictor="llama", **forms) for draw in (0, 1) for step in (0, 1)
    ]
    found = outcomes_of_run(
        written(tmp_path, monkeypatch, cells=DRAWS, items=items, prompts=[prompt(variant=None, **forms)])
    )
    assert found.schema == OUTCOMES
    require_sound(found)
    assert found.select("system", "checkpoint", "sample", "task", "piece").rows() == [
        ("llama", EVALUATED, sample, "pair, steps printed, held out", "prompt 3") for sample in (0, 1)
    ]


def test_statements_of_documents_are_pieces_with_their_skills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    piece = {
        "cell": TRAINED["cell"],
        "document": 7,
        "statement": 1,
        "skills": ["a", "b", "a"],
        "questions": 2,
    }
    piece |= {"chance": 0.01, "right": 1, "nats": 4.0, "cloze_loss": 0.6}
    (row,) = outcomes_of_run(
        written(tmp_path, monkeypatch, cells=[TRAINED], items=[], prompts=[], pieces=[piece])
    ).to_dicts()
    assert (row["task"], row["piece"]) == (OF_DOCUMENTS, "keep=0: document 7 statement 1")
    assert (row["skills"], row["correct"], row["score"]) == (["a", "b", "a"], False, 0.5)
    assert (row["answer_tokens"], row["cloze_loss"], row["nats"]) == (2, 0.6, 4.0)


def test_a_run_whose_prompts_draw_no_function_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cell = str(TRAINED["cell"])
    folder = written(
        tmp_path, monkeypatch, cells=[TRAINED], items=[item(cell, 0, 1.0)], prompts=[prompt(functions=[])]
    )
    with pytest.raises(UserError, match="tasks draw functions"):
        outcomes_of_run(folder)
