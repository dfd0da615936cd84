"""Ideal predictors, bounds and learning gaps on the page: references beside the models, never models themselves."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import altair as alt
import numpy as np
import polars as pl
import pytest
from altair.utils.schemapi import validate_jsonschema
from scipy import stats

from emergelab.errors import ArtifactError
from emergelab.report import (
    account,
    against,
    against_words,
    captions,
    charts,
    facets,
    facts,
    figures,
    information,
    over,
    task_table,
    tasks,
    theme,
)
from emergelab.report.against import BOUND, BOUND_TRAIN, ERRORS, GAP, TOGETHER
from emergelab.report.information import ACCURACY, NATS
from emergelab.report.page import render, write_report
from emergelab.report.series import Prepared, prepare
from emergelab.report.standing import standing
from report_tables import Design, bounds_of, documents_of, report_input, with_theory

SMALL = Design(layers=(1, 4), tokens=(3_000_000, 6_000_000), shots=3, prompts=24)
CONTENT = with_theory(SMALL)
PREPARED = prepare(CONTENT)
ALONE = prepare(report_input(SMALL))
UNSORTED = pl.col("skill").is_null() & pl.col("needed").is_null()  # neither by function nor by how many
SETTINGS = replace(SMALL, shots=2, prompts=12, variants=("pair.silent=0.1", "pair.silent=0.9"))
ALIKE, APART = (prepare(with_theory(SETTINGS, alike=alike)) for alike in (True, False))
FRESH = {"argument": "fresh", "decoding": "teacher_forced"}


def only(frame: pl.DataFrame, **values: object) -> pl.DataFrame:
    return frame.filter(*(pl.col(name).eq_missing(pl.lit(value)) for name, value in values.items()))


def total(frame: pl.DataFrame, column: str) -> float:
    return float(frame[column].to_numpy().sum())


def test_ideal_predictors_have_names_for_readers_and_stand_behind_the_models():
    assert PREPARED.series == ("1 layer", "4 layers", "ideal", "ideal (training law)")
    assert PREPARED.sizes == ALONE.sizes == ("1 layer", "4 layers")
    assert ALIKE.sizes == prepare(report_input(SETTINGS)).sizes


def test_one_size_with_settings_is_named_by_them_alone_beside_ideal_predictors_too():
    prepared = prepare(with_theory(replace(SETTINGS, layers=(4,))))
    assert prepared.sizes == SETTINGS.variants


@pytest.mark.parametrize(
    ("ours", "plain"),
    [(PREPARED, ALONE), (APART, prepare(report_input(SETTINGS)))],
    ids=["plain", "settings"],
)
def test_nothing_that_is_said_of_models_changes_beside_ideal_predictors(ours: Prepared, plain: Prepared):
    assert (ours.leading, ours.largest, ours.colours) == (plain.leading, plain.largest, plain.colours)
    assert standing(ours) == standing(plain)
    assert facts.verdict(ours, {}) == facts.verdict(plain, {})
    assert facts.above_by_size(ours) == facts.above_by_size(plain)
    same = ("least", "most", "over_seeds")
    assert [account.method(ours)[name] for name in same] == [account.method(plain)[name] for name in same]


def test_what_was_run_counts_models_alone():
    ours, plain = (dict(account.ran(content, prepare(content))) for content in (CONTENT, report_input(SMALL)))
    assert ours.pop("References") == "ideal and ideal (training law)"
    assert ours == plain
    lead = account.account(CONTENT, PREPARED)["lead"]
    assert lead == account.account(report_input(SMALL), ALONE)["lead"]


@pytest.mark.parametrize(
    "inform",
    [
        information.emergence_over_tokens,
        information.emergence_over_size,
        information.grid,
        information.printed_gain,
    ],
)
def test_figures_of_what_was_trained_leave_ideal_predictors_out(
    inform: Callable[[Prepared], information.Information],
):
    ours, plain = (inform(prepared).data for prepared in (PREPARED, ALONE))
    assert ours.equals(plain)


def test_averages_over_a_setting_are_those_of_models():
    apart, plain = (
        over.over_setting(prepared, "pair.silent") for prepared in (APART, prepare(report_input(SETTINGS)))
    )
    assert set(apart.frame["series"]) == {"1 layer", "4 layers", "ideal", "ideal (training law)"}
    ours, alone = (
        re.search(r"Averaged over all lines.*?\)?\. ", captions.over_setting(shown, prepared))
        for shown, prepared in ((apart, APART), (plain, prepare(report_input(SETTINGS))))
    )
    assert ours is not None
    assert alone is not None
    assert ours[0] == alone[0]


def test_shot_curves_hold_the_ideal_predictors_with_their_intervals_and_no_infinite_nats():
    shown = information.shot_curves(PREPARED).data
    for law, name in (("ideal", "ideal"), ("ideal_train", "ideal (training law)")):
        table = only(CONTENT.curves, predictor=law, **FRESH).filter(pl.col("nats").is_finite())
        keys = ("task", "form", "split", "shots")
        assert sorted(
            shown.filter(pl.col("series") == name, pl.col("measure") == NATS)
            .select(*keys, "value", "lo", "hi")
            .rows()
        ) == sorted(table.select(*keys, "nats", "nats_lo", "nats_hi").rows())
    lost = only(shown, series="ideal (training law)", form="steps", split="held_out")
    assert set(lost["measure"]) == {ACCURACY}


def test_the_summary_puts_references_last_and_to_no_test():
    table = account.summary(PREPARED)
    plain = account.summary(ALONE)
    assert [model["title"] for model in table["models"]] == [
        "4 layers",
        "1 layer",
        "ideal",
        "ideal (training law)",
    ]
    assert [model["detail"] for model in table["models"]] == ["", "", "reference", "reference"]
    assert [row[:2] for row in table["rows"]] == plain["rows"]
    assert {cell["above"] for row in table["rows"] for cell in row[2:]} == {None}
    lost = PREPARED.panels.index("pair\nstep printed, held out")
    assert table["rows"][lost][3]["under"] == "infinite nats"
    least = documents_of("ideal").filter(pl.col("role").is_null() & UNSORTED)
    assert table["rows"][-1][3]["value"] == f"{total(least, 'nats') / total(least, 'tokens'):.2f}"


def test_the_summary_names_an_ideal_predictor_once_where_all_variants_share_it():
    alike, apart = ([model["title"] for model in account.summary(one)["models"]] for one in (ALIKE, APART))
    assert alike[-2:] == ["ideal", "ideal (training law)"]
    assert apart[-4:] == [
        f"{name}, {variant}" for variant in SETTINGS.variants for name in ("ideal", "ideal (training law)")
    ]


def test_first_answers_are_the_sums_of_every_prompts_answers():
    shown = against.first_answers(PREPARED).data
    items = only(CONTENT.items, cell="l4-s0-t6000000", task="pair", form="steps", split="held_out", step=0)
    forced = items.filter(pl.col("decoding") == "teacher_forced")
    prompts = forced.sort("shot").group_by("prompt", maintain_order=True).agg("shot", "nats", "correct")
    for measure, name in ((TOGETHER, "nats"), (ERRORS, "errors")):
        row = only(
            shown, series="4 layers", task="pair", form="steps", split="held_out", measure=measure, answers=3
        )
        sums = [
            sum(nats[:place]) if name == "nats" else place - sum(correct[:place])
            for shots, nats, correct in prompts.select("shot", "nats", "correct").iter_rows()
            if 2 in shots
            for place in [shots.index(2) + 1]
        ]
        assert row["value"].to_list() == pytest.approx([float(np.mean(sums))], rel=1e-5)
        assert row["prompts"].to_list() == [len(sums)]


@pytest.mark.parametrize(("law", "name"), [("full", "bound"), ("train", "bound (training law)")])
def test_bounds_are_those_of_their_law_with_least_and_most(law: str, name: str):
    shown = against.first_answers(PREPARED).data.filter(pl.col("series") == name)
    table = bounds_of(SMALL).filter((pl.col("law") == law) & pl.col("bound_nats").is_not_null())
    for measure, column in ((TOGETHER, "bound_nats"), (ERRORS, "bound_errors")):
        keys = ("task", "form", "split", "answers")
        drawn = shown.filter(pl.col("measure") == measure).select(*keys, "value", "lo", "hi")
        assert sorted(drawn.rows()) == sorted(
            table.select(*keys, column, f"{column}_min", f"{column}_max").rows()
        )
    held_out = shown.filter(pl.col("split") == "held_out")
    assert held_out.is_empty() is (law == "train")


def test_the_caption_says_which_panels_have_no_bound_and_gives_the_last_numbers():
    shown = against.first_answers(PREPARED)
    said = against_words.first_answers(shown, PREPARED)
    assert "there is no bound on pair (silent, held out) and pair (step printed, held out)" in said
    assert "bands go from the least to the most" in said
    bound = bounds_of(SMALL).filter(
        (pl.col("law") == "full") & (pl.col("task") == "single") & (pl.col("answers") == 4)
    )
    assert f"On single, nats: bound {bound['bound_nats'][0]:.2f}" in said.replace("on single", "On single")


def test_gaps_on_prompts_are_differences_on_the_same_prompts():
    shown = only(
        against.gap_over_tokens(PREPARED).data, level="prompts", series="4 layers", train_tokens=6_000_000
    )
    assert set(shown["shots"]) == {SMALL.shots}
    assert set(shown["against"]) == {"ideal"}
    asked = only(CONTENT.items, step=0, shot=3, task="pair", form="direct", split="seen", **FRESH).sort(
        "prompt"
    )
    model, ideal = (only(asked, cell=cell)["nats"].to_numpy() for cell in ("l4-s0-t6000000", "ideal"))
    row = only(shown, task="pair", form="direct", split="seen").row(0, named=True)
    assert row["value"] == pytest.approx(float(np.mean(model.astype(float) - ideal.astype(float))), rel=1e-6)
    assert (row["n"], row["lo"] < row["value"] < row["hi"]) == (len(model), True)


def test_gaps_on_documents_are_per_token_and_by_role():
    shown = only(against.gap_over_size(PREPARED).data, level="documents", series="1 layer")
    assert set(shown["train_tokens"]) == {6_000_000}
    assert set(shown["against"]) == {"ideal_train"}
    missing = 0.4 + 0.1 / 6
    own, ideal = documents_of("l1-s0-t6000000", missing), documents_of("ideal")
    expected = {
        role: (total(own.filter(here), "nats") - total(ideal.filter(here), "nats"))
        / total(own.filter(here), "tokens")
        for role in (None, "answer", "argument", "separator")
        for here in [pl.col("role").eq_missing(pl.lit(role, dtype=pl.String)) & UNSORTED]
    }
    assert {row["role"]: pytest.approx(row["value"]) for row in shown.to_dicts()} == expected
    panels = against.gap_over_size(PREPARED).frame["panel"].unique(maintain_order=True).to_list()
    assert panels[:4] == ["all tokens", "answers", "arguments", "separators"]


def test_the_share_of_the_gap_on_answers_is_told():
    missing = 0.4 / 4 + 0.1 / 6
    own, ideal = documents_of("l4-s0-t6000000", missing), documents_of("ideal")
    by_role = {
        role: total(own.filter(pl.col("role") == role), "nats")
        - total(ideal.filter(pl.col("role") == role), "nats")
        for role in ("answer", "argument", "separator")
    }
    share = by_role["answer"] / sum(by_role.values())
    assert f"{100 * share:.0f} % of it on answers" in against_words.gap_sentence(PREPARED)


def test_the_table_of_tasks_has_the_theory_the_ideal_predictor_and_the_best_model():
    table = tasks.tasks(PREPARED)
    assert set(table["series"]) == {"ideal", "4 layers"}
    row = only(table, series="4 layers", task="pair", form="steps", split="held_out").row(0, named=True)
    bound = only(bounds_of(SMALL), law="full", task="pair", form="steps", split="held_out", answers=4).row(
        0, named=True
    )
    assert {name: row[name] for name in ("D_nats", "R_nats", "bound_nats", "bound_errors")} == {
        name: bound[name] for name in ("D_nats", "R_nats", "bound_nats", "bound_errors")
    }
    curve = only(CONTENT.scores, cell="l4-s0-t6000000", task="pair", form="steps", split="held_out", **FRESH)
    expected = {
        name: min(
            (shots for shots, value in curve.select("shots", end).iter_rows() if value >= 0.9), default=None
        )
        for name, end in (
            ("examples", "accuracy"),
            ("examples_lo", "accuracy_hi"),
            ("examples_hi", "accuracy_lo"),
        )
    }
    assert {name: row[name] for name in expected} == expected
    ideal = only(table, series="ideal", task="pair", form="steps", split="held_out").row(0, named=True)
    assert ideal["examples"] == 2


def test_what_was_never_reached_is_told_as_such():
    never = only(CONTENT.curves, predictor="model").with_columns(
        accuracy=pl.lit(0.5), accuracy_lo=pl.lit(0.4), accuracy_hi=pl.lit(0.6)
    )
    content = replace(
        CONTENT, curves=pl.concat([never, CONTENT.curves.filter(pl.col("predictor") != "model")])
    )
    table = task_table.task_table(prepare(content))
    assert table is not None
    assert {row["cells"][9]["value"] for row in table["rows"]} == {"not within 3"}
    assert {row["cells"][8]["value"] for row in table["rows"]} == {"2"}
    assert all(row["cells"][8]["under"].startswith("[2, ") for row in table["rows"])


def test_least_and_most_stand_under_what_differs_between_choices():
    table = task_table.task_table(PREPARED)
    assert table is not None
    single, pair = table["rows"][0]["cells"], table["rows"][1]["cells"]
    assert (single[0], pair[0]) == (
        {"value": "3.00", "under": "2.75 to 3.50"},
        {"value": "4.00", "under": ""},
    )


def test_what_no_derivation_prints_has_no_bound_and_costs_the_ideal_predictor_infinitely_much():
    single = pl.col("task") == "single"
    assert CONTENT.bounds is not None
    assert CONTENT.cumulative is not None
    lost = [name for name in CONTENT.bounds.columns if "_nats" in name or "_errors" in name]
    content = replace(
        CONTENT,
        bounds=CONTENT.bounds.with_columns(pl.when(~single).then(name).alias(name) for name in lost),
        cumulative=CONTENT.cumulative.with_columns(
            pl.when(~(single & (pl.col("predictor") == "ideal"))).then("nats").alias("nats")
        ),
    )
    prepared = prepare(content)
    said = against_words.first_answers(against.first_answers(prepared), prepared)
    assert "There is no bound on single: no derivation of the grammar prints this." in said
    table = task_table.task_table(prepared)
    assert table is not None
    cells = table["rows"][0]["cells"]
    assert cells[0]["under"] == "no derivation prints this"
    assert cells[6]["value"] == "infinite"


def ordered(lengths: list[float], needed: list[int | None]) -> pl.DataFrame:
    """Return rows of the table of tasks of one predictor."""
    rows = [
        {"variant": None, "task": f"t{place}", "form": "direct", "split": "seen", "mark": "ideal", "series": "ideal",
         "D_nats": length, "examples": shots, "most_examples": 10}
        for place, (length, shots) in enumerate(zip(lengths, needed, strict=True))
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"variant": pl.String, "examples": pl.Int16})


def test_the_rank_correlation_counts_what_was_not_reached_as_most():
    lengths, needed = [2.0, 3.0, 4.0, 5.0, 6.0, 6.0], [1, 3, 2, 5, None, None]
    found = tasks.order(ordered(lengths, needed))
    [one] = found.correlations.values()
    known = stats.spearmanr(lengths, [99 if shots is None else shots for shots in needed])[0]
    assert (found.kinds, found.lengths, one.value) == (6, 5, pytest.approx(known))
    said = task_table.order_words(found, [])
    assert f"{one.value:+.2f}" in said
    assert "over 6 rows with 5 different values of D" in said


def test_below_five_description_lengths_there_is_no_correlation():
    found = tasks.order(ordered([2.0, 3.0, 4.0, 4.0, 2.0, 3.0, 5.0], [1, 2, 3, 3, 1, 2, 4]))
    assert (found.lengths, found.correlations) == (4, {})
    assert "4 different values in 7 rows: too few" in task_table.order_words(found, [])


def drawn(prepared: Prepared) -> dict[str, figures.Figure]:
    return {figure.name: figure for figure in figures.figures(prepared) if figure.specification is not None}


def test_references_are_lines_of_their_own_style_last_before_chance():
    frame = information.shot_curves(PREPARED).frame
    scales = charts.series_scales(frame, PREPARED, with_guess=True)
    assert scales.domain == ("1 layer", "4 layers", "ideal", "ideal (training law)", charts.GUESS)
    assert len(set(zip(scales.shapes, scales.dashes, strict=True))) == 5
    layers = drawn(PREPARED)["shot-curves"].specification["vconcat"][0]["spec"]["layer"]  # pyright: ignore[reportOptionalSubscript]
    model, ideal, training = (
        next(
            layer["mark"]["strokeWidth"]
            for layer in layers
            if layer["mark"]["type"] == "line" and f"'{mark}'" in str(layer.get("transform"))
        )
        for mark in ("model", "ideal", "ideal_train")
    )
    # A dotted thin line upon a broad one: both are seen where they coincide, and a model's between them.
    assert ideal > 2 * model
    assert training <= model
    assert scales.dashes[2] != scales.dashes[3]


def test_lines_of_models_are_drawn_over_the_ideal_and_under_that_of_the_training_law():
    layers = drawn(PREPARED)["shot-curves"].specification["vconcat"][0]["spec"]["layer"]  # pyright: ignore[reportOptionalSubscript]
    lines = [
        next((step["filter"] for step in layer.get("transform", []) if "filter" in step), "")
        for layer in layers
        if layer["mark"]["type"] == "line" and "strokeDash" not in layer["mark"]
    ]
    assert lines == [f"datum.mark === '{mark}'" for mark in ("ideal", "model", "ideal_train")]


def test_bounds_have_bands():
    layers = drawn(PREPARED)["first-answers"].specification["vconcat"][0]["spec"]["layer"]  # pyright: ignore[reportOptionalSubscript]
    areas = [layer["transform"][0]["filter"] for layer in layers if layer["mark"]["type"] == "area"]
    assert {f"datum.mark === '{mark}'" for mark in (BOUND, BOUND_TRAIN)} <= set(areas)


@pytest.mark.parametrize(
    "prepared",
    [*(pytest.param(one, marks=pytest.mark.slow) for one in (PREPARED, ALIKE)), APART],
    ids=["plain", "alike", "apart"],
)
def test_every_chart_obeys_the_schema_and_takes_colours_of_the_palette(prepared: Prepared):
    known = set(theme.palette("light", prepared.colours))
    found = drawn(prepared)
    assert {"first-answers", "gap-over-tokens", "gap-over-size"} <= set(found)
    for figure in found.values():
        text = json.dumps({**(figure.specification or {}), "datasets": None})
        assert {part.partition(")")[0] for part in text.split("var(--")[1:]} <= known
        light = theme.resolve(dict(figure.specification or {}), theme.palette("light", prepared.colours))
        light["datasets"] = {name: rows[:1] for name, rows in light["datasets"].items()}
        validate_jsonschema(light, alt.load_schema())


def test_each_row_of_gaps_has_panels_of_its_own():
    chart = drawn(PREPARED)["gap-over-tokens"].specification
    assert chart is not None
    assert set(chart["datasets"]) == set(GAP.values())
    assert chart["usermeta"]["panels"] == [4, 5]


def test_ideal_predictors_that_variants_share_are_one_line_and_others_have_panels_by_variant():
    for prepared, lines in ((ALIKE, 1), (APART, 2)):
        for inform in (information.shot_curves, against.first_answers):
            shown, view = facets.arranged(inform(prepared), prepared)
            names = set(shown.frame["series"]) - set(view.sizes)
            assert {name for name in names if name.startswith("ideal")} == {"ideal", "ideal (training law)"}
            kept = shown.frame.filter(pl.col("series") == "ideal")
            assert kept["line"].n_unique() == lines
            assert kept["panel"].n_unique() == lines * len(SETTINGS.panels)
            assert set(view.sizes) == (set(prepared.sizes) if lines == 1 else {"1 layer", "4 layers"})


def test_tasks_are_told_by_variant_only_where_theory_tells_variants_apart():
    alike, apart = (tasks.tasks(prepared) for prepared in (ALIKE, APART))
    assert set(alike["variant"]) == {None}
    assert set(apart["variant"]) == set(SETTINGS.variants)
    assert set(alike.filter(pl.col("mark") == "model")["series"]) == {ALIKE.leading}
    assert apart.filter(pl.col("mark") == "model").height == 2 * len(SETTINGS.panels)


def test_seeds_are_lines_of_their_own_and_ranges_in_words():
    prepared = prepare(with_theory(replace(SMALL, layers=(4,), seeds=(0, 1), prompts=12)))
    shown = against.gap_over_tokens(prepared)
    assert shown.frame["line"].n_unique() == 2
    assert "Each seed is a line of its own" in against_words.gap_over_tokens(shown, prepared)
    table = task_table.task_table(prepared)
    assert table is not None
    assert table["ranges"]


def test_a_run_of_an_earlier_version_has_its_page_without_the_theory():
    content = report_input(replace(SMALL, shots=1))
    prepared = prepare(content)
    text = render(content, prepared, figures.figures(prepared))
    assert 'id="tasks"' not in text
    assert "Learning gap" not in text
    assert "first-answers" not in drawn(prepared)


def test_where_the_ideal_predictor_is_out_of_reach_the_page_says_why():
    reason = "Every document draws functions of d anew. They cannot be enumerated. Draw them once."
    content = report_input(replace(SMALL, shots=1))
    content = replace(
        content,
        bounds=CONTENT.bounds.clear(),  # pyright: ignore[reportOptionalMemberAccess]
        gaps=CONTENT.gaps.clear(),  # pyright: ignore[reportOptionalMemberAccess]
        cumulative=CONTENT.cumulative.filter(pl.col("predictor") == "model"),  # pyright: ignore[reportOptionalMemberAccess]
    )
    told = replace(content, run={**content.run, "out_of_reach": [reason]})
    prepared = prepare(told)
    text = html.unescape(render(told, prepared, figures.figures(prepared)))
    assert (
        "for all of this study: every document draws functions of d anew; they cannot be enumerated." in text
    )
    assert "Draw them once" not in text
    assert "Learning gap over training tokens: no ideal predictor could be computed" in text
    assert "no ideal predictor could be computed" in against_words.out_of_reach(prepare(content))


def test_the_page_has_the_table_its_file_and_the_sentence(tmp_path: Path):
    text = html.unescape(write_report(CONTENT, tmp_path / "report").read_text(encoding="utf-8"))
    assert against_words.gap_sentence(PREPARED) in text
    written = pl.read_csv(tmp_path / "report" / "figures" / "tasks.csv")
    assert written.columns == list(tasks.COLUMNS)
    assert written["D_nats"].to_list() == pytest.approx(tasks.tasks(PREPARED)["D_nats"].to_list())
    links = set(re.findall(r'href="(figures/[^"]+)"', text))
    assert links == {f"figures/{path.name}" for path in (tmp_path / "report" / "figures").iterdir()}


def test_a_table_of_the_theory_without_a_column_is_refused():
    with pytest.raises(ArtifactError, match="'gaps' has no column tokens"):
        replace(CONTENT, gaps=CONTENT.gaps.drop("tokens"))  # pyright: ignore[reportOptionalMemberAccess]


def test_a_bound_that_long_loops_do_not_reach_ends_and_is_not_denied():
    single = (pl.col("task") == "single") & (pl.col("answers") == pl.col("answers").max())
    assert CONTENT.bounds is not None
    lost = ["bound_nats", "bound_errors", "R_nats"]
    content = replace(
        CONTENT, bounds=CONTENT.bounds.with_columns(pl.when(~single).then(name).alias(name) for name in lost)
    )
    prepared = prepare(content)
    said = against_words.first_answers(against.first_answers(prepared), prepared)
    assert "On single the bound ends where no loop prints so many rows" in said
    assert "There is no bound on single" not in said
