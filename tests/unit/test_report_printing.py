"""Printed steps on the page: three gains that stay apart, and what reading its own steps costs a model."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from emergelab.analysis.aggregate import CELLS
from emergelab.analysis.decodings import decodings
from emergelab.analysis.gains import Known, cumulative_gains
from emergelab.report import charts, printing, printing_words
from emergelab.report.content import ReportInput
from emergelab.report.facets import arranged
from emergelab.report.printing import IDEAL_NAME, ORIGINS, PREDICTED_NAME, SAVED_TOGETHER
from emergelab.report.series import Prepared, prepare
from report_tables import Design, report_input, with_theory

VARIANTS = ("pair.silent=0.1", "pair.silent=0.9")
DESIGN = Design(layers=(4,), tokens=(3_000_000, 6_000_000), shots=2, prompts=12, variants=VARIANTS)


def with_gains(design: Design) -> ReportInput:
    content = with_theory(design, alike=False)
    cells = content.scores.select(CELLS.names()).unique(maintain_order=True)
    models = cells.filter(pl.col("params").is_not_null())
    against = {cell: f"ideal,{variant}" for cell, variant in models.select("cell", "variant").iter_rows()}
    bounds = content.bounds
    assert bounds is not None
    # Silent pairs get rarer from the second variant to the first.
    dear = pl.when((pl.col("form") == "direct") & (pl.col("variant") == VARIANTS[0])).then(2.0).otherwise(0.0)
    bounds = bounds.with_columns(pl.col("D_nats") + dear)
    known = Known(cells=cells, against=against, bounds=bounds, laws={"ideal_train": "train"})
    return replace(
        content,
        bounds=bounds,
        cumulative_gains=cumulative_gains(content.items, known),
        decodings=decodings(content.items, cells),
    )


CONTENT = with_gains(DESIGN)
PREPARED = prepare(CONTENT)


def test_the_three_gains_stand_along_the_setting_that_moves_the_predicted_one():
    frame = printing.gains_apart(PREPARED).frame
    assert set(frame["series"]) == {"gain of the model", IDEAL_NAME, PREDICTED_NAME}
    assert frame["setting"].unique().to_list() == ["pair.silent"]
    assert sorted(frame["setting_value"].unique()) == [0.1, 0.9]
    table = CONTENT.cumulative_gains
    assert table is not None
    last = table.filter(pl.col("answers") == 3, pl.col("decoding") == "teacher_forced")
    for row in frame.filter(pl.col("measure") == SAVED_TOGETHER).iter_rows(named=True):
        here = last.filter(
            pl.col("split") == row["split"], pl.col("variant").str.ends_with(f"={row['setting_value']}")
        )
        models = here.filter(pl.col("predictor") == "model", pl.col("train_tokens") == 6_000_000)
        ideal = here.filter(pl.col("predictor") == "ideal")
        expected = {
            "model": models["nats_gain"],
            "predictor": ideal["nats_gain"],
            "predicted": models["predicted_nats"],
        }[row["mark"] if row["mark"] in {"model", "predicted"} else "predictor"]
        assert row["value"] == pytest.approx(expected[0])


def test_the_dashed_distance_ends_at_the_ideal_predictors_gain_on_the_same_prompts():
    frame = printing.gains_apart(PREPARED).frame
    linked = frame.filter("linked")
    assert set(linked["mark"]) == {"model"}
    gap = linked["value"] - linked["ideal_value"]
    assert gap.to_list() == pytest.approx(linked["beyond"].to_list(), abs=1e-9)


def test_bars_of_own_steps_hold_all_answers():
    frame = printing.own_steps(PREPARED).frame
    assert set(frame["origin"]) == set(ORIGINS.values())
    sums = frame.group_by("panel", "series").agg(pl.col("value").sum())["value"]
    assert sums.to_list() == pytest.approx([1.0] * sums.len())


@pytest.mark.parametrize(
    ("inform", "draw"),
    [(printing.gains_apart, charts.draw_gains_apart), (printing.own_steps, charts.draw_own_steps)],
)
def test_figures_are_drawn_with_every_series_in_the_legend(inform, draw):  # noqa: ANN001 - functions of either figure
    shown = inform(PREPARED)
    text = str(draw(*arranged(shown, PREPARED)).specification())
    column = "series" if "mark" in shown.frame.columns else "origin"
    assert all(name in text for name in shown.frame[column].unique())


def test_the_table_says_the_predicted_gain_with_both_lengths():
    table = printing_words.gains_table(PREPARED)
    assert table is not None
    assert len(table["rows"]) == 4
    bounds = PREPARED.printed.filter(pl.col("predictor") == "model").row(0, named=True)
    said = [row["cells"][0]["value"] for row in table["rows"]]
    assert len(set(said)) == 2
    assert all(len(row["cells"]) == 10 for row in table["rows"])
    assert any(f"{bounds['D_direct_nats']:.2f}" in row["cells"][0]["under"] for row in table["rows"])


def test_a_run_without_such_tables_has_neither_figure_nor_section():
    earlier: Prepared = prepare(report_input(DESIGN))
    assert printing_words.gains_table(earlier) is None
    assert printing_words.sentence(earlier) == ""
    assert printing.gains_apart(earlier).absent is not None
    assert printing.own_steps(earlier).absent is not None
