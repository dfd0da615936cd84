"""`emergelab compare`: two small runs side by side, and a run with itself."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emergelab.analysis.aggregate import CELLS, scores_from_items
from emergelab.pipeline.step import Step
from emergelab.recipes import comparing
from emergelab.recipes.comparing import Comparison, compare_runs
from emergelab.recipes.run_folder import RunFolder
from emergelab.scores.tables import ITEMS
from emergelab.spec import JsonObject
from study_runs import command, refused

SHOTS, PROMPTS = 5, 30


def items_of(cell: str, skill: float, key: int, evaluation: int) -> pl.DataFrame:
    """Return answers to single and pair, teacher-forced and free; which arguments are fresh follows `evaluation`."""
    prompts = np.random.Generator(np.random.Philox(evaluation)).random((PROMPTS, SHOTS + 1))
    generator = np.random.Generator(np.random.Philox(key))
    parts: list[pl.DataFrame] = []
    for task, decoding in (("single", "teacher_forced"), ("single", "free"), ("pair", "teacher_forced")):
        prompt, shot = np.indices(prompts.shape).reshape(2, -1)
        part = pl.DataFrame({"prompt": prompt, "shot": shot, "fresh": prompts.ravel() < 0.8})
        nats = pl.Series(generator.exponential(size=prompts.size) * (2 - skill))
        parts.append(
            part.with_columns(
                cell=pl.lit(cell),
                predictor=pl.lit("model"),
                task=pl.lit(task),
                form=pl.lit("direct"),
                split=pl.lit("seen"),
                decoding=pl.lit(decoding),
                step=pl.lit(0),
                argument=pl.when("fresh").then(pl.lit("fresh")).otherwise(pl.lit("repeated")),
                correct=pl.Series(generator.random(prompts.size) < skill),
                nats=nats if decoding == "teacher_forced" else pl.lit(None),
                chance=pl.lit(0.2),
            ).select(pl.col(name).cast(kind) for name, kind in ITEMS.items())
        )
    return pl.concat(parts)


def made(run: RunFolder, step: Step, tables: dict[str, pl.DataFrame]) -> Step:
    """Put an artifact into the run's store as if the step had made it."""
    run.store.prepare()
    with run.store.lock(step):
        out, _ = run.store.workplace(step)
        for name, table in tables.items():
            table.write_parquet(out / f"{name}.parquet")
        run.store.adopt(step.identity, out)
    return step


def write_run(path: Path, layers: tuple[int, ...] = (1,), seeds: int = 1, **changes: object) -> Path:
    """Write a finished run's record, cells and tables. `changes` are those to its study."""
    study: dict[str, object] = {"grammar": "g", "evaluation": 1, "rate": 0.1, "versions": "1.0"}
    study |= changes
    run = RunFolder(path)
    cells: list[dict[str, object]] = []
    items: list[pl.DataFrame] = []
    inputs: dict[str, Step] = {}
    for number, (depth, seed) in enumerate((depth, seed) for depth in layers for seed in range(seeds)):
        name = f"layers={depth},seed={seed}"
        items.append(
            items_of(name, 0.3 + float(str(study["rate"])), 17 * number, int(str(study["evaluation"])))
        )
        scale = {"layers": depth, "width": 16, "train_tokens": 2000, "seed": seed}
        cells.append({"cell": name, **scale})
        spec: JsonObject = {
            "language": {"grammar": str(study["grammar"]), "name": "g", "key": 0},
            "evaluation_key": int(str(study["evaluation"])),
            "evaluate": {"shots": SHOTS, "prompts": PROMPTS},
            "cell": name,
            "rate": float(str(study["rate"])),
        }
        step = Step(name=name, kind="cell", function="m:f", version=1, spec=spec)
        inputs[f"cell {name}"] = made(run, step, {"items": items[-1]})
    described = pl.DataFrame([{name: cell.get(name) for name in CELLS} for cell in cells], schema=CELLS)
    tables = Step(name="tables", kind="tables", function="m:f", version=1, spec={}, inputs=inputs)
    answers = pl.concat(items)
    frames = {"items": answers, "cells": described, "scores": scores_from_items(answers, described)}
    made(run, tables, frames)
    run.write_record(
        {
            "name": "study",
            "command": "study.toml",
            "tables": tables.key,
            "corpus": "corpus",
            "study": {"train": {"learning_rate": float(str(study["rate"]))}, "evaluate": {"shots": SHOTS}},
            "grammar_text": str(study["grammar"]),
            "versions": {"emergelab": str(study["versions"])},
        }
    )
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        "one": write_run(folder / "one"),
        "fast": write_run(folder / "fast", rate=0.3),
        "other prompts": write_run(folder / "prompts", evaluation=5),
        "sizes": write_run(folder / "sizes", layers=(1, 2), seeds=6),
        "another grammar": write_run(folder / "grammar", grammar="h", versions="1.1"),
        "wide": write_run(folder / "deep", layers=(9,)),
    }


def compared(runs: dict[str, Path], a: str, b: str, **options: int) -> Comparison:
    return compare_runs(RunFolder(runs[a]), RunFolder(runs[b]), **options)


def test_a_run_with_itself(runs: dict[str, Path]):
    found = compared(runs, "sizes", "sizes")
    assert found.settings == []
    assert found.cells.pairs.height == 12
    assert found.table["seeds"].unique().to_list() == [6]  # six seeds of a size are taken together
    assert found.table["accuracy_difference"].to_list() == [0.0] * found.table.height
    assert found.table["nats_difference"].drop_nulls().unique().to_list() == [0.0]
    assert found.table["paired"].all()
    assert found.certain == 0
    assert (
        found.summary() == "All answers at 5 examples have the same accuracy and the same nats in both runs."
    )


def test_who_is_better(runs: dict[str, Path]):
    """Fewer nats and more right answers are better: turned round, the runs change places."""
    found, turned = (compared(runs, *names) for names in (("one", "fast"), ("fast", "one")))
    told, back = (one.as_json()["comparisons"] for one in (found, turned))
    assert told["certain"] == told["certain_a_better"] + told["certain_b_better"] > 0
    assert (told["certain_a_better"], told["certain_b_better"]) == (
        back["certain_b_better"],
        back["certain_a_better"],
    )
    nats = found.table.filter(pl.col("nats_p_adjusted") < 0.05)
    shares = found.table.filter(pl.col("accuracy_p_adjusted") < 0.05)
    better = (nats["nats_b"] < nats["nats_a"]).sum() + (shares["accuracy_b"] > shares["accuracy_a"]).sum()
    assert told["certain_b_better"] == better


def test_two_learning_rates(runs: dict[str, Path]):
    """Differences are those of the two tables of scores, paired by prompt."""
    found = compared(runs, "one", "fast")
    assert [(one["entry"], one["b"]) for one in found.settings] == [("train.learning_rate", 0.3)]
    assert found.shots == 5
    scores = [
        pl.read_parquet(RunFolder(runs[name]).open_tables() / "scores.parquet") for name in ("one", "fast")
    ]
    keys = ["task", "form", "split", "decoding", "argument", "shots"]
    both = scores[0].join(scores[1], on=keys, suffix="_b").filter(pl.col("shots") == 5)
    expected = both.select(
        *keys,
        accuracy=pl.col("accuracy_b") - pl.col("accuracy"),
        nats=pl.col("nats_b") - pl.col("nats"),
    )
    table = found.table.join(expected, on=keys, how="full", coalesce=True)
    assert table.height == found.table.height == expected.height
    assert table["paired"].all()
    assert (table["accuracy_difference"] - table["accuracy"]).abs().max() == pytest.approx(0, abs=1e-9)
    assert (table["nats_difference"] - table["nats"]).abs().max() == pytest.approx(0, abs=1e-5)
    assert table.filter(pl.col("nats_difference") != 0).height > 0


def test_other_prompts_are_not_paired(runs: dict[str, Path]):
    found = compared(runs, "one", "other prompts")
    assert not found.table["paired"].any()
    assert found.table["accuracy_method"].unique().to_list() == ["newcombe"]
    assert "evaluation keys" in found.notes[0]


def test_grammars_differ(runs: dict[str, Path]):
    found = compared(runs, "one", "another grammar")
    assert "grammars differ" in found.notes[0]
    assert not found.table["paired"].any()
    assert [one["entry"] for one in found.settings] == ["grammar_text", "versions.emergelab"]


def test_prompts_that_disagree_are_not_paired(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(comparing, "same_prompts", lambda *_: False)
    found = compared(runs, "one", "fast")
    assert not found.table["paired"].any()
    assert "versions of emergelab" in found.notes[0]


def test_cells_without_a_partner_are_named(runs: dict[str, Path]):
    found = compared(runs, "one", "sizes")
    assert found.cells.pairs.height == 1
    assert found.cells.only_a == []
    assert len(found.cells.only_b) == 11
    text = command("compare", runs["one"], runs["sizes"]).out
    assert "1 cell corresponds" in text
    assert "11 only in B: layers=1,seed=1; layers=1,seed=2" in text


def test_what_is_printed(runs: dict[str, Path]):
    answer = command("compare", runs["one"], runs["fast"])
    assert answer.code == 0, answer
    assert "train.learning_rate" in answer.out
    assert "comparisons of accuracy and nats at 5 examples" in answer.out
    assert "paired by prompt" in answer.out
    found = json.loads(command("compare", runs["one"], runs["fast"], "--shots", "2", "--format", "json").out)
    assert found["shots"] == 2
    assert found["comparisons"]["expected_by_chance"] == pytest.approx(0.05 * found["comparisons"]["made"])
    made = sum(row[name] is not None for row in found["rows"] for name in ("accuracy_p", "nats_p"))
    assert found["comparisons"]["made"] == made
    rows = list(
        csv.DictReader(io.StringIO(command("compare", runs["one"], runs["fast"], "--format", "csv").out))
    )
    assert {row["shots"] for row in rows} == {"5"}
    same = command("compare", runs["one"], runs["one"]).out
    assert "the same settings" in same


def test_wrong_requests(runs: dict[str, Path], tmp_path: Path):
    message = refused("compare", runs["one"], runs["fast"], "--shots", "6")
    assert "--shots 6" in message
    assert "0 to 5" in message
    assert "no run's folder" in refused("compare", runs["one"], tmp_path)
    unfinished = Path(shutil.copytree(runs["one"], tmp_path / "unfinished"))
    for tables in (unfinished / "store").glob("tables-*"):
        shutil.rmtree(tables)
    assert "not finished" in refused("compare", unfinished, runs["one"])


def test_no_cell_corresponds(runs: dict[str, Path]):
    found = compared(runs, "one", "wide")
    assert found.table.is_empty()
    assert found.shots is None
    assert "nothing to compare" in command("compare", runs["one"], runs["wide"]).out
    assert "can be compared" in compared(runs, "one", "wide").summary()
    assert json.loads(command("compare", runs["one"], runs["wide"], "--format", "json").out)["rows"] == []


def test_cells_whose_questions_are_gone_are_not_paired(runs: dict[str, Path], tmp_path: Path):
    bare = Path(shutil.copytree(runs["one"], tmp_path / "bare"))
    for cell in (bare / "store").glob("cell-*"):
        shutil.rmtree(cell)
    found = compare_runs(RunFolder(runs["fast"]), RunFolder(bare))
    assert not found.table["paired"].any()
    assert "cannot be read" in found.notes[0]
