"""Studies that vary more than size: their models are told apart, drawn readably, and said to be many."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emergelab.report import account, captions, charts, facets, facts, figures, information, theme, words
from emergelab.report.information import ACCURACY
from emergelab.report.labels import rank_variants
from emergelab.report.over import DOCUMENTS, over_setting, settings_drawn
from emergelab.report.page import render
from emergelab.report.series import Prepared, prepare
from emergelab.scores.variants import settings_of
from report_tables import Design, report_input

SILENT, RATES = (0.1, 0.5, 0.9), (0.005, 0.01, 0.02, 0.04)
BASE = Design(layers=(1, 4), tokens=(3_000_000, 6_000_000), shots=2, prompts=16)
ONE = replace(BASE, variants=tuple(f"pair.silent={silent}" for silent in SILENT))
MANY = replace(
    BASE,
    tokens=(6_000_000,),
    shots=1,
    variants=tuple(f"pair.silent={silent}, rate={rate}" for rate in RATES for silent in SILENT),
)
CONTENT, CROWDED_CONTENT = report_input(ONE), report_input(MANY)
PREPARED, CROWDED = prepare(CONTENT), prepare(CROWDED_CONTENT)


def test_variants_come_in_the_order_of_their_values_not_of_their_letters():
    variants = ["batch=128", "batch=8", "batch=32", "batch=auto", None]
    ranked = rank_variants(pl.Series(variants, dtype=pl.String)).sort("variant_rank")
    assert ranked["variant"].to_list() == [None, "batch=8", "batch=32", "batch=128", "batch=auto"]


def test_what_is_varied_is_known_with_its_values():
    assert PREPARED.settings == {"pair.silent": SILENT}
    assert CROWDED.settings == {"pair.silent": SILENT, "rate": RATES}
    assert not PREPARED.only_size


def test_models_of_one_size_are_named_by_what_is_varied_alone():
    one_size = prepare(report_input(replace(ONE, layers=(4,), shots=1)))
    assert one_size.sizes == tuple(f"pair.silent={silent}" for silent in SILENT)
    assert PREPARED.sizes[0] == "1 layer, pair.silent=0.1"


def test_the_curve_over_a_setting_holds_the_last_cells_at_the_most_examples():
    shown = over_setting(PREPARED, "pair.silent").data
    expected = {
        (row["layers"], row["task"], row["form"], row["split"], settings_of(row["variant"])["pair.silent"]): (
            row["accuracy"],
            row["accuracy_lo"],
            row["accuracy_hi"],
        )
        for row in CONTENT.scores.to_dicts()
        if row["train_tokens"] == 6_000_000
        and row["shots"] == 2
        and (row["argument"], row["decoding"]) == ("fresh", "teacher_forced")
    }
    found = {
        (int(row["series"][0]), row["task"], row["form"], row["split"], row["setting_value"]): (
            row["value"],
            row["lo"],
            row["hi"],
        )
        for row in shown.to_dicts()
        if row["measure"] == ACCURACY
    }
    assert found == expected


def test_over_one_of_two_settings_a_line_is_what_differs_in_nothing_else():
    frame = over_setting(CROWDED, "rate").frame.filter(pl.col("measure") == ACCURACY)
    assert set(frame["series"]) == {f"{n}, pair.silent={s}" for n in ("1 layer", "4 layers") for s in SILENT}
    lines = frame.group_by("line", "panel").agg(pl.col("setting_value"))
    assert {tuple(sorted(values)) for values in lines["setting_value"]} == {RATES}


def test_only_numbers_are_axes():
    words_too = replace(ONE, variants=("precision=float32", "precision=bfloat16"), shots=1)
    prepared = prepare(report_input(words_too))
    assert settings_drawn(prepared) == []
    assert settings_drawn(CROWDED) == ["pair.silent", "rate"]
    assert settings_drawn(prepare(report_input(replace(BASE, shots=1)))) == []


def data_scaling() -> Prepared:
    design = replace(BASE, documents=(100, 1_000, 10_000), shots=1)
    cells = pl.DataFrame({"unique_documents": [100, 10_000, 100], "documents_read": [6_000, 6_000, 3_000]})
    return prepare(report_input(design, cells=cells))


def test_unique_documents_are_an_axis():
    prepared = data_scaling()
    assert settings_drawn(prepared) == [DOCUMENTS]
    drawn = over_setting(prepared, DOCUMENTS)
    assert set(drawn.frame["series"]) == {"1 layer", "4 layers"}
    assert set(drawn.frame["setting_value"]) == {100.0, 1_000.0, 10_000.0}
    said = captions.over_setting(drawn, prepared)
    assert "100 documents were read 60 times and 10k documents were read 0.6 times" in said


def test_up_to_eight_models_have_a_colour_each():
    shown, view = facets.arranged(information.shot_curves(PREPARED), PREPARED)
    assert shown.frame.equals(information.shot_curves(PREPARED).frame)
    assert view.sizes == PREPARED.sizes
    scales = charts.series_scales(shown.frame, view)
    assert len(set(scales.colours)) == 6


def test_more_than_eight_models_have_panels_by_variant_and_colours_by_size():
    plain = information.shot_curves(CROWDED)
    shown, view = facets.arranged(plain, CROWDED)
    assert view.sizes == ("1 layer", "4 layers")
    kept = shown.frame["variant"].unique()
    assert len(kept) == facets.IN_A_ROW
    assert {MANY.variants[0], MANY.variants[-1]} <= set(kept)
    assert shown.frame["panel"].n_unique() == len(MANY.panels) * facets.IN_A_ROW
    assert facets.left_out(plain, CROWDED) == len(MANY.variants) - facets.IN_A_ROW
    # Row by row the panels of one kind of task stand side by side.
    by_rank = shown.frame.sort("panel_rank", maintain_order=True)["panel"].unique(maintain_order=True)
    kinds = [panel.rpartition("\n")[0] for panel in by_rank]
    assert kinds == [kind for kind in dict.fromkeys(kinds) for _ in range(facets.IN_A_ROW)]


def test_no_estimate_is_lost_or_mixed_up_when_panels_are_made():
    plain = information.shot_curves(CROWDED).frame
    shown = facets.arranged(information.shot_curves(CROWDED), CROWDED)[0].frame
    kept = plain.filter(pl.col("variant").is_in(shown["variant"].unique().implode()))
    keys = ("line", "task", "form", "split", "shots", "measure", "value", "lo", "hi")
    assert sorted(shown.select(keys).rows()) == sorted(kept.select(keys).rows())


@pytest.mark.parametrize("prepared", [PREPARED, CROWDED], ids=["coloured", "crowded"])
def test_every_colour_of_every_figure_is_in_the_palette(prepared: Prepared):
    known = set(theme.palette("light", prepared.colours))
    drawn = [figure for figure in figures.figures(prepared) if figure.specification is not None]
    assert {"over-pair-silent", "shot-curves", "training-loss"} <= {figure.name for figure in drawn}
    for figure in drawn:
        text = str({**(figure.specification or {}), "datasets": None})
        used = {part.partition(")")[0] for part in text.split("var(--")[1:]}
        assert used <= known


@given(st.integers(1, 12), st.data())
def test_colours_are_spread_from_first_to_last_and_never_shared(colours: int, data: st.DataObject):
    number = data.draw(st.integers(1, colours))
    places = [theme.spread(place, number, colours) for place in range(number)]
    assert places == sorted(set(places))
    assert places[-1] == colours - 1
    assert number == 1 or places[0] == 0


@pytest.mark.parametrize(
    ("values", "geometric"),
    [
        ([0.1, 0.5, 0.9], False),
        ([0.005, 0.01, 0.02], True),
        ([16.0, 32.0, 64.0], True),
        ([0.0, 1.0, 10.0], False),
        ([1.0, 2.0], False),
        ([1.0, 100.0], True),
        ([100.0, 1_000.0, 10_000.0], True),
    ],
)
def test_an_axis_is_logarithmic_where_values_are_spaced_by_factors(*, values: list[float], geometric: bool):
    assert charts._geometric(values) is geometric


def test_the_verdict_says_what_varies_and_that_the_best_was_chosen():
    said = facts.verdict(CROWDED, {})
    assert "of 24 models" in said[0]
    assert "pair.silent (0.1, 0.5, 0.9) and rate (0.005, 0.01, 0.02, 0.04)" in said[1]
    assert "the best of many looks better than it is" in said[1]
    lead = account.account(CROWDED_CONTENT, CROWDED)["lead"]
    assert "3 settings of pair.silent (0.1, 0.5, 0.9), 4 settings of rate" in lead


def test_the_proof_of_several_corpora_is_told_of_all():
    said = " ".join(facts.verdict(PREPARED, {"overlap": 0, "held_out_tables": 27, "corpora": 3}))
    assert "None of the 27 held-out function tables, of 3 corpora together, occurs in training." in said


def test_the_summary_begins_with_the_largest_model():
    plain = account.summary(prepare(report_input(replace(BASE, layers=(1, 2, 4), shots=1))))
    assert not plain["turned"]
    assert [model["title"] for model in plain["models"]] == ["4 layers", "2 layers", "1 layer"]
    turned = account.summary(PREPARED)
    assert turned["turned"]
    assert [model["title"] for model in turned["models"]][:3] == [
        f"4 layers, pair.silent={silent}" for silent in SILENT
    ]


@pytest.mark.parametrize("turned", [False, True])
def test_a_cell_of_the_summary_is_its_models_and_its_kinds(*, turned: bool):
    prepared = PREPARED if turned else prepare(report_input(replace(BASE, shots=1)))
    table = account.summary(prepared)
    rows = facts.final_rows(prepared)
    for kind, panel in enumerate(prepared.panels):
        for model, heading in enumerate(table["models"]):
            here = rows.filter((pl.col("panel") == panel) & (pl.col("series") == heading["title"]))
            cell = table["rows"][model][kind] if turned else table["rows"][kind][model]
            assert cell["value"] == facts.reading(here)


def test_the_loss_in_the_summary_has_its_interval():
    table = account.summary(prepare(report_input(replace(BASE, shots=1))))
    loss = 2.2 - 0.12 * 4
    assert table["rows"][-1][0]["value"] == f"{loss:.2f} [{loss - 0.05:.2f}, {loss + 0.05:.2f}]"


def test_devices_wall_clock_and_cut_documents_are_on_the_page():
    cells = pl.DataFrame({"device": ["cpu", "cpu"], "precision": ["float32", "bfloat16"]})
    content = report_input(replace(BASE, shots=1), cells=cells)
    entries = dict(account.ran(content, prepare(content)))
    assert entries["Trained on"] == "cpu in bfloat16 and cpu in float32"
    assert entries["Time by the clock"] == words.duration(118.0)
    page = render(content, prepare(content), [])
    assert page.count(">cut</span>") == 1


def test_long_names_of_settings_break_behind_their_signs():
    assert charts._broken("pair\npair.silent=0.1, matrix_learning_rate=0.005").split("\n") == [
        "pair",
        "pair.silent=0.1,",
        "matrix_learning_rate=",
        "0.005",
    ]
