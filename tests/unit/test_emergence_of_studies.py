"""What emerges where in a study: simulated answers with known thresholds; brute force over rows; the command."""

import dataclasses
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import pytest

from emergelab.analysis.aggregate import CELLS, curves_from_scores, scores_from_items
from emergelab.analysis.emergence.studied import (
    FOUND,
    found_along,
    fresh_answers,
    half_way,
    most_points,
    points_along,
    study_curves,
)
from emergelab.errors import UserError
from emergelab.pipeline.step import StepContext
from emergelab.recipes.emergence import EmergenceQuestion, emergence_of
from emergelab.recipes.emergence_stages import find_emergence
from emergelab.recipes.grid import build_grid
from emergelab.recipes.run_folder import RunFolder
from emergelab.recipes.study import find_study, read_study
from emergelab.report import emerging, emerging_words
from emergelab.report.content import ReportInput
from emergelab.report.figures import threshold_figures
from emergelab.report.page import render
from emergelab.report.series import prepare
from emergelab.rng import stream
from emergelab.scores.tables import ITEMS
from report_tables import Design, report_input
from study_runs import STUDY, command, refused, write_study

pytestmark = pytest.mark.xdist_group("emergence of studies")

SIZES = {16: 3_000, 32: 10_000, 64: 36_000}
TOKENS = tuple(int(1e4 * 2**k) for k in range(8))
THRESHOLD = {16: 400_000, 32: 300_000, 64: 100_000}
"""By width, the tokens at which the task `rise` is half way from chance to certainty."""
CHANCE, PROMPTS, SEEDS, PIECES = 0.2, 150, 2, 5
KEY = 7


def cell_name(width: int, seed: int, tokens: int) -> str:
    return f"layers=1,width={width},seed={seed},tokens={tokens}"


def some_cells(widths: tuple[int, ...] = tuple(SIZES), tokens: tuple[int, ...] = TOKENS) -> pl.DataFrame:
    """Return cells whose compute is 6 FLOP per parameter and token, and whose loss falls with it."""
    return pl.DataFrame(
        [
            {
                "cell": cell_name(width, seed, count),
                "layers": 1,
                "width": width,
                "params": SIZES[width],
                "train_tokens": count,
                "flops": 6.0 * SIZES[width] * count,
                "seed": seed,
                "loss": 1 + 100 / (SIZES[width] * count) ** 0.25 + 0.001 * seed,
            }
            for width, seed, count in product(widths, range(SEEDS), tokens)
        ],
        schema=CELLS,
    )


def risen(tokens: float, width: int) -> float:
    """Return the share of right answers of `rise`: a logistic in ln tokens with a width of .3."""
    way = 1 / (1 + np.exp(-np.log(tokens / THRESHOLD[width]) / 0.3))
    return CHANCE + (0.98 - CHANCE) * way


def simulated(cells: pl.DataFrame, shots: tuple[int, ...] = (2, 4)) -> pl.DataFrame:
    """Return items of two tasks: `rise`, and `pieces`, whose tokens get better in a line from .2 to .98 each."""
    parts: list[pl.DataFrame] = []
    first, last = np.log(TOKENS[0]), np.log(TOKENS[-1])
    for row in cells.iter_rows(named=True):
        draw = stream(KEY, row["cell"]).generator()
        piece = 0.2 + 0.78 * (np.log(row["train_tokens"]) - first) / (last - first)
        for task, right in (("rise", risen(row["train_tokens"], row["width"])), ("pieces", piece**PIECES)):
            correct = draw.random(PROMPTS) < right
            nats = -np.log(right) + draw.normal(0, 0.2, PROMPTS)
            answers = pl.DataFrame(
                {"prompt": range(PROMPTS), "correct": correct, "nats": np.maximum(nats, 0.0)}
            )
            parts += [
                answers.with_columns(cell=pl.lit(row["cell"]), task=pl.lit(task), shot=pl.lit(shot))
                for shot in shots
            ]
    labels = {"predictor": "model", "form": "direct", "split": "seen", "decoding": "teacher_forced"}
    items = pl.concat(parts).with_columns(
        *(pl.lit(text).alias(name) for name, text in labels.items()),
        step=pl.lit(0),
        argument=pl.when(pl.col("prompt") < PROMPTS - 10).then(pl.lit("fresh")).otherwise(pl.lit("repeated")),
        chance=pl.lit(CHANCE),
    )
    return items.select(pl.col(name).cast(kind) for name, kind in ITEMS.items())


@pytest.fixture(scope="module")
def study() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return items and cells of a study of three sizes, eight token counts and two seeds."""
    cells = some_cells()
    return simulated(cells), cells


@pytest.fixture(scope="module")
def found(study: tuple[pl.DataFrame, pl.DataFrame]) -> pl.DataFrame:
    """Return what is found of all curves."""
    items, cells = study
    curves = study_curves(fresh_answers(items.lazy(), cells), cells)
    return pl.concat([found_along(curve, stream(KEY)) for curve in curves])


class Finished(RunFolder):
    """The folder of a run that is finished, with its tables beside it."""

    def read_record(self) -> dict[str, Any]:
        return {"study": {"key": KEY}, "name": "simulated"}

    def open_tables(self) -> Path:
        return self.path


@pytest.fixture(scope="module")
def folder(
    study: tuple[pl.DataFrame, pl.DataFrame], found: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """Return a run with the simulated tables."""
    items, cells = study
    path = tmp_path_factory.mktemp("run")
    scores = scores_from_items(items, cells)
    kept = {"items": items, "cells": cells, "scores": scores, "emergence": found}
    for name, table in kept.items():
        table.write_parquet(path / f"{name}.parquet")
    return Finished(path)


# Which curves there are


def test_answers_are_fresh_forced_whole_and_behind_the_most_examples(
    study: tuple[pl.DataFrame, pl.DataFrame],
):
    """Row by row."""
    items, cells = study
    others = items.head(40).with_columns(cell=pl.lit("ideal"))
    free = items.head(40).with_columns(decoding=pl.lit("free"))
    steps = items.head(40).with_columns(step=pl.lit(1, dtype=pl.Int16))
    every = pl.concat([items, others, free, steps])
    wanted = [
        row
        for row in every.iter_rows(named=True)
        if row["argument"] == "fresh"
        and row["decoding"] == "teacher_forced"
        and row["step"] == 0
        and row["cell"] != "ideal"
        and row["shot"] == 4
    ]
    assert fresh_answers(every.lazy(), cells).rows(named=True) == wanted
    assert set(fresh_answers(every.lazy(), cells, shots=2)["shot"]) == {2}


def test_curves_are_counted_by_hand(study: tuple[pl.DataFrame, pl.DataFrame]):
    """Three sizes over eight token counts; no curve over three sizes alone; all 24 cells over compute and loss."""
    items, cells = study
    curves = study_curves(fresh_answers(items.lazy(), cells), cells)
    axes = [(curve.names["task"], curve.axis, curve.names.get("width")) for curve in curves]
    over_tokens = [("tokens", width) for width in SIZES]
    assert axes == [
        (task, *along)
        for task in ("rise", "pieces")
        for along in [*over_tokens, ("compute", None), ("loss", None)]
    ]
    assert [most_points(cells, axis) for axis in ("tokens", "parameters", "compute", "loss")] == [
        8,
        3,
        24,
        24,
    ]


def test_parameters_are_taken_at_the_last_token_count(study: tuple[pl.DataFrame, pl.DataFrame]):
    items, cells = study
    further = cells.filter(pl.col("width") == 16).with_columns(
        width=pl.lit(24, pl.Int32), params=pl.lit(5000, pl.Int64), cell=pl.col("cell") + "+"
    )
    four = pl.concat([cells, further])
    answers = fresh_answers(items.lazy(), cells)
    small = answers.filter(pl.col("cell").str.contains("width=16", literal=True))
    copied = small.with_columns(pl.col("cell") + "+")
    (curve,) = [
        curve
        for curve in study_curves(pl.concat([answers, copied]), four, ("parameters",))
        if curve.names["task"] == "rise"
    ]
    assert curve.names["train_tokens"] == TOKENS[-1]
    assert set(curve.cells["train_tokens"]) == {TOKENS[-1]}
    assert set(curve.answers["cell"]) == set(curve.cells["cell"])


def test_variants_and_corpora_are_apart_and_places_that_coincide_are_no_curve():
    cells = some_cells((16,))
    two = pl.concat([cells.with_columns(variant=pl.lit(name)) for name in ("batch=8", "batch=16")])
    assert most_points(two, "compute") == len(TOKENS)
    twice = pl.concat([cells, cells.with_columns(width=pl.lit(17, pl.Int32))])
    assert points_along(twice, "compute") == 0


def test_the_level_is_half_way_from_chance_to_certainty(study: tuple[pl.DataFrame, pl.DataFrame]):
    """(1 + c) / 2, and -ln(c) / 2 nats."""
    items, _ = study
    level = half_way(items)
    assert level == pytest.approx({"accuracy": 0.6, "probability": 0.6, "nats": 0.8047}, abs=1e-4)
    assert half_way(items.with_columns(chance=pl.lit(1.0))) == {}
    assert half_way(items.with_columns(chance=pl.lit(None, dtype=pl.Float32))) == {}


# What is found of them


def crossing(width: int) -> float:
    """Return the tokens at which `rise` has an accuracy of .6, by inverting the logistic."""
    way = (0.6 - CHANCE) / (0.98 - CHANCE)
    return THRESHOLD[width] * float(np.exp(0.3 * np.log(way / (1 - way))))


def test_thresholds_of_a_study_are_where_it_was_simulated(found: pl.DataFrame):
    assert found.schema == FOUND
    rows = found.filter(
        (pl.col("task") == "rise") & (pl.col("axis") == "tokens") & (pl.col("metric") == "accuracy")
    )
    assert rows["width"].to_list() == list(SIZES)
    for row in rows.iter_rows(named=True):
        assert row["threshold_lo"] < crossing(row["width"]) < row["threshold_hi"]
        assert row["threshold_hi"] / row["threshold_lo"] < 8
        assert (row["measured_lo"], row["measured_hi"]) == (TOKENS[0], TOKENS[-1])
        assert (row["points"], row["seeds"], row["n"]) == (8, SEEDS, 8 * SEEDS * (PROMPTS - 10))


def test_an_answer_of_many_tokens_is_an_artefact_of_the_metric(found: pl.DataFrame):
    """Each of five tokens gets better in a line: exact match jumps at most by its metric, never in nats."""
    rows = found.filter((pl.col("task") == "pieces") & (pl.col("axis") == "tokens"))
    assert set(rows.filter(pl.col("metric") == "nats")["jump"]) == {"no jump"}
    assert "jump" not in set(rows["verdict"])
    assert "artefact of the metric" in set(rows["verdict"])


def test_a_curve_has_its_own_stream(study: tuple[pl.DataFrame, pl.DataFrame], found: pl.DataFrame):
    """Whatever else a study asks, what is found of a curve is the same."""
    items, cells = study
    alone = items.filter(pl.col("task") == "pieces")
    curves = study_curves(fresh_answers(alone.lazy(), cells), cells, ("compute",))
    (rows,) = [found_along(curve, stream(KEY)) for curve in curves]
    assert rows.equals(found.filter((pl.col("task") == "pieces") & (pl.col("axis") == "compute")))


# The step


def write_cells(items: pl.DataFrame, cells: pl.DataFrame, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write what the steps of cells leave, in a folder for each."""
    for number, record in enumerate(cells.iter_rows(named=True)):
        path = folder / str(number)
        path.mkdir()
        own = items.filter(pl.col("cell") == record["cell"]).with_columns(cell=pl.lit("by its scale"))
        own.write_parquet(path / "items.parquet")
        (path / "cell.json").write_text(json.dumps(record | {"cell": "by its scale"}), encoding="utf-8")
        yield f"cell {record['cell']}", path


def test_the_step_finds_the_same_and_goes_on_where_it_stopped(
    study: tuple[pl.DataFrame, pl.DataFrame], found: pl.DataFrame, tmp_path: Path
):
    items, cells = study
    for name in ("cells", "scratch", "out"):
        (tmp_path / name).mkdir()
    inputs = dict(write_cells(items, cells, tmp_path / "cells"))
    told: list[tuple[float, float]] = []
    wanted = found.filter(pl.col("task") == "rise")
    for number, rows in enumerate(wanted.partition_by("axis", "width", maintain_order=True)[:4]):
        rows.write_parquet(tmp_path / "scratch" / f"{number}.parquet")
    context = StepContext(tmp_path / "scratch", lambda done, total: told.append((done, total)))
    with mock.patch("emergelab.recipes.emergence_stages.found_along", wraps=found_along) as asked:
        find_emergence({"task": "rise", "key": KEY}, inputs, tmp_path / "out", context)
    assert pl.read_parquet(tmp_path / "out" / "emergence.parquet").equals(wanted)
    assert asked.call_count == 1
    assert told == [(done, 5) for done in range(5)]


def test_a_study_has_such_steps_where_it_can_have_curves(tmp_path: Path):
    quickstart = find_study("quickstart")
    inputs = build_grid(quickstart, read_study(quickstart)).tables.inputs
    assert [name for name in inputs if name.startswith("emergence ")] == [
        "emergence single",
        "emergence pair",
    ]
    tiny = find_study(str(write_study(tmp_path, STUDY)))
    assert not [
        name for name in build_grid(tiny, read_study(tiny)).tables.inputs if name.startswith("emergence ")
    ]


# Asking a finished run


def test_the_table_answers_what_would_be_found_anew(folder: Finished, found: pl.DataFrame, tmp_path: Path):
    question = EmergenceQuestion(task="pieces", axis="loss")
    wanted = found.filter((pl.col("task") == "pieces") & (pl.col("axis") == "loss"))
    assert emergence_of(folder, question).equals(wanted)
    for name in ("items", "cells", "scores"):
        (tmp_path / f"{name}.parquet").symlink_to(folder.path / f"{name}.parquet")
    assert emergence_of(Finished(tmp_path), question).equals(wanted)


def test_another_level_moves_the_threshold_and_one_out_of_reach_is_censored(folder: Finished):
    asked = EmergenceQuestion(task="rise", axis="tokens", level=0.9)
    rows = emergence_of(folder, asked)
    assert set(rows["metric"]) == {"accuracy"}
    assert set(rows["level"]) == {0.9}
    way = (0.9 - CHANCE) / (0.98 - CHANCE)
    row = rows.row(1, named=True)
    assert row["threshold_lo"] < THRESHOLD[32] * np.exp(0.3 * np.log(way / (1 - way))) < row["threshold_hi"]
    beyond = emergence_of(folder, dataclasses.replace(asked, level=0.999))
    assert all(stated.startswith("above ") for stated in beyond["threshold_stated"])
    assert beyond["threshold_hi"].null_count() == beyond.height


def test_a_shorter_span_takes_more_for_smooth(folder: Finished):
    asked = EmergenceQuestion(task="rise", axis="tokens", metric="accuracy", span=0.5)
    rows = emergence_of(folder, asked)
    assert set(rows["span"]) == {0.5}
    assert set(rows["jump"]) == {"no jump"}  # its rise takes 4.4 * .3 = 1.3


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"task": "rice"}, "Did you mean 'rise'?"),
        ({"task": "rise", "form": "steps"}, "Task rise was not asked: form 'steps'."),
        ({"split": "held_out"}, "There is only seen."),
        ({"shots": 3}, "behind 3 examples. It was asked with 2 to 4."),
        ({"axis": "tokns"}, "Did you mean 'tokens'?"),
        ({"axis": "parameters"}, "3 along parameters (of 4 that it takes)"),
        ({"metric": "loss"}, "A metric is one of"),
        ({"level": 1.0}, "between 0 and 1"),
        ({"level": float("nan")}, "between 0 and 1"),
        ({"level": -1.0, "metric": "nats"}, "above 0"),
        ({"span": 1.0}, "without an axis"),
        ({"span": 0.0, "axis": "tokens"}, "a number above 0"),
        ({"span": 9.0, "axis": "tokens"}, "here 4.85 natural logarithms of tokens"),
    ],
)
def test_what_a_run_cannot_answer_is_refused(folder: Finished, asked: dict[str, Any], said: str):
    with pytest.raises(UserError) as told:
        emergence_of(folder, EmergenceQuestion(**asked))
    assert said in str(told.value)


def test_the_command_prints_curves_and_json(folder: Finished):
    arguments = ("emergence", str(folder.path), "--task", "rise", "--axis", "tokens")
    with (
        mock.patch.object(RunFolder, "read_record", Finished.read_record),
        mock.patch.object(RunFolder, "open_tables", Finished.open_tables),
    ):
        shown = command(*arguments)
        rows = json.loads(command(*arguments, "--json").out)
        message = refused("emergence", str(folder.path), "--axis", "parameters")
    assert shown.code == 0
    assert "rise, direct, seen, 4 examples; layers 1, width 16" in shown.out
    assert "over tokens: 8 points, runs at each: 2" in shown.out
    assert [row["width"] for row in rows if row["metric"] == "nats"] == list(SIZES)
    assert list(rows[0]) == FOUND.names()
    assert "3 along parameters" in message


# The report


@pytest.fixture(scope="module")
def content(found: pl.DataFrame) -> ReportInput:
    """Return the content of a page about the simulated study."""
    cells = some_cells()
    items = simulated(cells, (4,))
    scores = scores_from_items(items, cells)
    curves = curves_from_scores(scores, items)
    small = Design(layers=(1,), tokens=(1_000,), shots=1, prompts=4)  # of what is not told here
    return report_input(small, items=items, scores=scores, curves=curves, emergence=found)


def test_the_page_draws_the_intervals_of_the_table(content: ReportInput, found: pl.DataFrame):
    prepared = prepare(content)
    assert emerging.axes_drawn(prepared) == ["tokens"]
    frame = emerging.thresholds_along(prepared, "tokens").frame.filter(pl.col("lane").is_not_null())
    drawn = frame.filter((pl.col("panel") == "rise") & (pl.col("measure") == "accuracy")).sort("lane")
    rows = found.filter(
        (pl.col("task") == "rise") & (pl.col("axis") == "tokens") & (pl.col("metric") == "accuracy")
    )
    assert drawn["from"].to_list() == rows["threshold_lo"].to_list()
    assert drawn["to"].to_list() == rows["threshold_hi"].to_list()
    figures = threshold_figures(prepared)
    page = render(content, prepared, [], figures)
    assert 'id="thresholds-over-tokens"' in page
    section = emerging_words.section(content, prepared)
    assert section is not None
    assert len(section["rows"]) == 10
    assert section["lead"].startswith("10 curves with 6 points or more: ")


def test_too_few_points_are_one_sentence_and_an_earlier_run_has_none(content: ReportInput):
    none = dataclasses.replace(content, emergence=FOUND.to_frame())
    prepared = prepare(none)
    section = emerging_words.section(none, prepared)
    assert section is not None
    assert (section["rows"], section["left_out"]) == ([], 0)
    assert "This study has 8 token counts and 3 sizes of model." in section["lead"]
    assert threshold_figures(prepared) == []
    assert emerging_words.section(dataclasses.replace(content, emergence=None), prepared) is None
