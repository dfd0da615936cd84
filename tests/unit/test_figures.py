"""What figures show is computed apart from drawing, and is what the tables say."""

from __future__ import annotations

import math
from dataclasses import replace

import altair as alt
import numpy as np
import polars as pl
import pytest
from altair.utils.schemapi import validate_jsonschema
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy import stats

from emergelab.report import account, captions, charts, figures, information, theme
from emergelab.report.content import ReportInput
from emergelab.report.information import ACCURACY, NATS
from emergelab.report.labels import panel_words
from emergelab.report.series import prepare
from report_tables import Design, report_input

TIMES = "\N{MULTIPLICATION SIGN}"
SMALL = Design(layers=(1, 4), tokens=(3_000_000, 6_000_000), shots=3, prompts=24)
CONTENT = report_input(SMALL)
PREPARED = prepare(CONTENT)


def with_rows(content: ReportInput, **columns: object) -> ReportInput:
    """Return the content with columns of scores and curves overwritten."""
    values = {name: pl.lit(value, dtype=content.curves.schema[name]) for name, value in columns.items()}
    kept = {name: value for name, value in values.items() if name in content.scores.columns}
    return ReportInput(
        title=content.title,
        items=content.items,
        scores=content.scores.with_columns(**kept),
        curves=content.curves.with_columns(**values),
        losses=content.losses,
        samples=content.samples,
        run=content.run,
    )


def specification(drawn: figures.Figure) -> dict[str, object]:
    assert drawn.specification is not None, drawn.information.absent
    return dict(drawn.specification)


def test_shot_curves_hold_the_last_cells_of_every_size_and_fresh_arguments_only():
    shown = information.shot_curves(PREPARED).data
    expected = CONTENT.scores.filter(
        (pl.col("train_tokens") == 6_000_000)
        & (pl.col("argument") == "fresh")
        & (pl.col("decoding") == "teacher_forced")
    )
    by = ["layers", "task", "form", "split", "shots"]
    accuracy = shown.filter(pl.col("measure") == ACCURACY).with_columns(
        layers=pl.col("series").str.extract(r"^(\d+)").cast(pl.Int32)
    )
    assert_frame_equal(
        accuracy.sort(by).select(*by, value="value", lo="lo", hi="hi", guess="guess"),
        expected.sort(by).select(*by, value="accuracy", lo="accuracy_lo", hi="accuracy_hi", guess="chance"),
    )


def test_a_guess_at_chance_costs_minus_the_logarithm_of_chance():
    content = with_rows(CONTENT, chance=1 / 12)
    shown = information.shot_curves(prepare(content)).data.filter(pl.col("measure") == NATS)
    assert shown["guess"].to_list() == pytest.approx([math.log(12)] * shown.height)


def test_emergence_is_read_at_the_largest_number_of_examples():
    shown = information.emergence_over_tokens(PREPARED).data
    assert set(shown["shots"]) == {SMALL.shots}
    assert set(shown["train_tokens"]) == set(SMALL.tokens)


def test_panels_with_fewer_examples_keep_their_own_largest_number():
    fewer = (pl.col("task") == "single") & (pl.col("shots") > 1)
    content = report_input(SMALL, curves=CONTENT.curves.filter(~fewer), scores=CONTENT.scores.filter(~fewer))
    shown = information.emergence_over_size(prepare(content)).data
    largest = dict(shown.group_by("task").agg(pl.col("shots").max()).iter_rows())
    assert largest == {"single": 1, "pair": 3}


def test_gain_in_answers_is_counted_on_the_same_prompts():
    gain = information.printed_gain(PREPARED).data
    shown = gain.filter((pl.col("measure") == information.GAINED) & (pl.col("split") == "held_out"))
    assert shown.height == 4
    row = shown.filter((pl.col("series") == "4 layers") & (pl.col("train_tokens") == 6_000_000)).row(
        0, named=True
    )
    silent, printed = (
        CONTENT.items.filter(
            (pl.col("cell") == "l4-s0-t6000000")
            & (pl.col("split") == "held_out")
            & (pl.col("form") == form)
            & (pl.col("decoding") == "teacher_forced")
            & (pl.col("argument") == "fresh")
            & (pl.col("shot") == SMALL.shots)
            & (pl.col("step") == 0)
        ).sort("prompt")["correct"]
        for form in ("direct", "steps")
    )
    n, gained, lost = len(silent), int((printed & ~silent).sum()), int((silent & ~printed).sum())
    assert (row["silent"], row["printed"], row["n"]) == (silent.mean(), printed.mean(), n)
    assert row["value"] == pytest.approx((gained - lost) / n)
    # Bonett and Price 2012, Stat. Methods Med. Res. 21:623: one half added to each count, variance of the rest.
    up, down, total = gained + 1, lost + 1, n + 2
    centre = (up - down) / total
    half = stats.norm.ppf(0.975) * math.sqrt((up + down) / total - centre**2) / math.sqrt(total)
    assert row["lo"] == pytest.approx(max(-1, centre - half))
    assert row["hi"] == pytest.approx(min(1, centre + half))


def crossed_variance(values: np.ndarray) -> float:
    """Return the variance of the mean of (seeds, prompts) by the mean squares of a two-way layout."""
    seeds, prompts = values.shape
    mean = float(np.mean(values))
    by_seed = np.mean(values, axis=1, keepdims=True) - mean
    by_prompt = np.mean(values, axis=0, keepdims=True) - mean
    rest = values - mean - by_seed - by_prompt
    of_seeds = prompts * np.sum(by_seed**2) / (seeds - 1)
    of_prompts = seeds * np.sum(by_prompt**2) / (prompts - 1)
    of_rest = np.sum(rest**2) / ((seeds - 1) * (prompts - 1))
    return float((of_seeds + max(of_prompts - of_rest, 0.0)) / values.size)


def same_prompts(content: ReportInput) -> ReportInput:
    """Make some prompts hard for every seed alike: the first five are always wrong when printed."""
    hard = (pl.col("form") == "steps") & (pl.col("prompt") < 5)
    items = content.items.with_columns(correct=pl.col("correct") & ~hard)
    return replace(content, items=items)


FIVE = Design(layers=(4,), tokens=(6_000_000,), shots=1, prompts=16, seeds=tuple(range(5)))


def by_seed_and_prompt(items: pl.DataFrame) -> np.ndarray:
    return items.sort("cell", "prompt")["correct"].to_numpy().reshape(5, -1).astype(float)


def test_gain_over_five_seeds_varies_with_seeds_and_with_the_prompts_that_all_of_them_answer():
    content = same_prompts(report_input(FIVE))
    shown = information.printed_gain(prepare(content)).data
    row = shown.filter((pl.col("measure") == information.GAINED) & (pl.col("split") == "held_out"))
    asked = content.items.filter(
        (pl.col("task") == "pair")
        & (pl.col("split") == "held_out")
        & (pl.col("decoding") == "teacher_forced")
        & (pl.col("argument") == "fresh")
        & (pl.col("shot") == 1)
        & (pl.col("step") == 0)
    )
    silent, printed = (
        by_seed_and_prompt(asked.filter(pl.col("form") == form)) for form in ("direct", "steps")
    )
    gained = printed - silent
    half = stats.t.ppf(0.975, 4) * math.sqrt(crossed_variance(gained))
    assert (row["seed"].to_list(), row["n"].to_list()) == ([None], [gained.size])
    assert row.select("silent", "printed", "value").row(0) == pytest.approx(
        (silent.mean(), printed.mean(), gained.mean())
    )
    assert row.select("lo", "hi").row(0) == pytest.approx((gained.mean() - half, gained.mean() + half))
    assert half > stats.t.ppf(0.975, 4) * stats.sem(gained.mean(axis=1))  # which leaves the prompts out


def test_below_five_seeds_gains_are_those_of_single_seeds():
    few = information.printed_gain(prepare(report_input(replace(FIVE, seeds=(0, 1, 2, 3))))).data
    assert set(few["seed"]) == {0, 1, 2, 3}


def test_a_gain_that_never_varied_is_still_not_certain():
    items = report_input(FIVE).items.with_columns(correct=pl.lit(value=True))
    shown = information.printed_gain(prepare(report_input(FIVE, items=items))).data
    gains = shown.filter(pl.col("measure") == information.GAINED)
    assert set(gains["value"]) == {0.0}
    assert all(lo < 0 < hi for lo, hi in gains.select("lo", "hi").iter_rows())


def test_gain_in_nats_is_what_printing_saves():
    curves = CONTENT.curves.with_columns(
        nats=pl.when(pl.col("form") == "steps").then(0.5).otherwise(2.0),
        nats_lo=pl.when(pl.col("form") == "steps").then(0.2).otherwise(1.6),
        nats_hi=pl.when(pl.col("form") == "steps").then(0.9).otherwise(2.3),
    )
    gain = information.printed_gain(prepare(report_input(SMALL, curves=curves))).data
    shown = gain.filter(pl.col("measure") == information.SAVED).row(0, named=True)
    assert shown["value"] == pytest.approx(1.5)
    assert shown["lo"] == pytest.approx(1.5 - math.hypot(0.4, 0.4))  # 2.0 down to 1.6, 0.5 up to 0.9
    assert shown["hi"] == pytest.approx(1.5 + math.hypot(0.3, 0.3))


def test_gain_needs_a_task_with_both_forms():
    content = report_input(
        Design(layers=(1,), tokens=(3, 6), shots=1, prompts=8, panels=(("copy", "direct", "seen"),))
    )
    assert "no task" in str(information.printed_gain(prepare(content)).absent)


def test_grid_marks_a_cell_that_was_not_run_as_missing():
    cell = (pl.col("layers") == 4) & (pl.col("train_tokens") == 3_000_000)
    content = report_input(SMALL, curves=CONTENT.curves.filter(~cell), scores=CONTENT.scores.filter(~cell))
    shown = information.grid(prepare(content)).data
    missing = shown.filter(pl.col("value").is_null())
    assert set(missing.select("series", "train_tokens").iter_rows()) == {("4 layers", 3_000_000)}
    assert shown.height == 5 * 2 * 2


def test_single_steps_are_counted_from_the_items():
    shown = information.free_generation(PREPARED).data
    step = shown.filter(
        (pl.col("part") == "step 1") & (pl.col("split") == "held_out") & (pl.col("decoding") == "free")
    ).row(0, named=True)
    items = CONTENT.items.filter(
        (pl.col("cell") == "l4-s0-t6000000")
        & (pl.col("form") == "steps")
        & (pl.col("split") == "held_out")
        & (pl.col("decoding") == "free")
        & (pl.col("argument") == "fresh")
        & (pl.col("shot") == SMALL.shots)
        & (pl.col("step") == 1)
    )
    limits = stats.binomtest(int(items["correct"].sum()), items.height).proportion_ci(method="wilson")
    assert (step["n"], step["value"]) == (items.height, pytest.approx(items["correct"].mean()))
    assert (step["lo"], step["hi"]) == (pytest.approx(limits.low), pytest.approx(limits.high))


def test_answers_of_one_step_show_no_steps():
    shown = information.free_generation(PREPARED).data.filter(pl.col("form") == "direct")
    assert set(shown["part"]) == {"whole answer"}


def test_without_free_generation_there_is_nothing_to_compare():
    forced = pl.col("decoding") == "teacher_forced"
    content = report_input(SMALL, curves=CONTENT.curves.filter(forced), items=CONTENT.items.filter(forced))
    assert information.free_generation(prepare(content)).absent == "nothing was scored in free generation"


def test_below_five_seeds_every_seed_is_a_line_and_from_five_all_are_one():
    few = prepare(report_input(Design(layers=(4,), tokens=(6_000_000,), shots=1, prompts=8, seeds=(0, 1, 2))))
    many = prepare(
        report_input(Design(layers=(4,), tokens=(6_000_000,), shots=1, prompts=8, seeds=tuple(range(5))))
    )
    assert set(information.shot_curves(few).frame["line"]) == {
        f"4 layers {TIMES} 64, seed 0",
        f"4 layers {TIMES} 64, seed 1",
    } | {f"4 layers {TIMES} 64, seed 2"}
    assert set(information.shot_curves(many).frame["line"]) == {f"4 layers {TIMES} 64"}
    assert (
        information.shot_curves(many).data["seed"].null_count() == information.shot_curves(many).data.height
    )


def test_steps_over_five_seeds_solve_wilsons_equation_with_the_variance_of_seeds_and_prompts():
    content = same_prompts(report_input(FIVE))
    shown = information.free_generation(prepare(content)).data
    step = shown.filter(
        (pl.col("part") == "step 2") & (pl.col("split") == "held_out") & (pl.col("decoding") == "free")
    )
    right = by_seed_and_prompt(
        content.items.filter(
            (pl.col("form") == "steps")
            & (pl.col("split") == "held_out")
            & (pl.col("decoding") == "free")
            & (pl.col("argument") == "fresh")
            & (pl.col("shot") == 1)
            & (pl.col("step") == 2)
        )
    )
    mean, quantile = right.mean(), stats.t.ppf(0.975, 4)
    assert step["value"].to_list() == [pytest.approx(mean)]
    trials = min(mean * (1 - mean) / crossed_variance(right), right.size)
    for limit in step.select("lo", "hi").row(0):
        assert abs(mean - limit) == pytest.approx(quantile * math.sqrt(limit * (1 - limit) / trials))


def test_an_estimate_that_is_not_finite_is_missing():
    content = with_rows(CONTENT, nats=math.inf)
    assert set(information.shot_curves(prepare(content)).data["measure"]) == {ACCURACY}


@pytest.mark.parametrize(
    ("design", "absent"),
    [
        (Design(layers=(1, 2), tokens=(6,), shots=1, prompts=8), {"emergence-over-tokens"}),
        (Design(layers=(1,), tokens=(3, 6), shots=1, prompts=8), {"emergence-over-size"}),
        (
            Design(layers=(1,), tokens=(6,), shots=0, prompts=8),
            {"emergence-over-tokens", "emergence-over-size", "grid"},
        ),
    ],
)
def test_what_cannot_be_compared_is_not_drawn(design: Design, absent: set[str]):
    drawn = figures.figures(prepare(report_input(design)))
    missing = {figure.name for figure in drawn if figure.specification is None}
    assert absent <= missing
    assert missing - absent <= {"fresh-and-repeated"}


@pytest.mark.parametrize(
    "design",
    [
        SMALL,
        Design(layers=(1, 4), tokens=(3, 6), shots=1, prompts=8, chance=False),
        Design(layers=(4,), tokens=(3, 6), shots=1, prompts=8, seeds=(0, 1)),
        Design(tokens=(6,), shots=1, prompts=8, panels=tuple((f"t{n}", "direct", "seen") for n in range(7))),
        Design(tokens=(6,), shots=1, prompts=8, panels=(("x" * 80, "steps", "outside"),)),
    ],
)
def test_every_chart_obeys_the_schema_of_vega_lite(design: Design):
    drawn = [
        figure
        for figure in figures.figures(prepare(report_input(design)))
        if figure.specification is not None
    ]
    assert drawn
    for figure in drawn:
        light = theme.resolve(specification(figure), theme.palette("light", 8))
        light["datasets"] = {name: rows[:1] for name, rows in light["datasets"].items()}
        validate_jsonschema(light, alt.load_schema())


def test_chance_is_drawn_only_where_it_is_known():
    known, unknown = (
        charts.draw_shot_curves(information.shot_curves(prepared), prepared).specification()
        for prepared in (
            PREPARED,
            prepare(report_input(Design(layers=(1,), tokens=(6,), shots=1, prompts=8, chance=False))),
        )
    )
    assert charts.GUESS in str(known)
    assert charts.GUESS not in str(unknown)


def test_long_names_of_tasks_are_broken_and_stay_apart():
    design = Design(layers=(1,), tokens=(6,), shots=1, prompts=8)
    names = [f"composition_of_three_functions_number_{number}" for number in range(3)]
    prepared = prepare(
        report_input(replace(design, panels=tuple((name, "direct", "seen") for name in names)))
    )
    drawn = charts.draw_shot_curves(information.shot_curves(prepared), prepared).specification()
    titles = {row["title"] for row in drawn["datasets"][ACCURACY]}
    assert {title.replace("\n", "") for title in titles} == set(names)
    assert max(len(line) for title in titles for line in title.split("\n")) <= 24


@given(panels=st.integers(1, 40), most=st.integers(1, 8))
def test_rows_of_panels_are_filled_evenly(panels: int, most: int):
    columns = charts.balanced(panels, most)
    rows = math.ceil(panels / most)
    assert 1 <= columns <= most
    assert columns * rows >= panels
    assert (columns - 1) * rows < panels  # one column less would need another row


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_and_marks_stand_out_as_wcag_asks(mode: str):
    colours = theme.palette(mode, 5)
    text = [
        ("ink", "paper"),
        ("ink", "card"),
        ("ink", "tint"),
        ("soft", "paper"),
        ("soft", "card"),
        ("soft", "tint"),
    ]
    text += [("accent", "paper"), ("accent", "card"), ("accent", "tint")]
    text += [("ink", f"role-{role}") for role in ("argument", "intermediate", "answer", "other")]
    text += [("soft", "role-separator"), ("soft", "role-start")]
    text += [(f"heat-ink-{step}", f"heat-{step}") for step in range(theme.HEAT_STEPS)]
    marks = [(f"size-{rank}", "card") for rank in range(5)] + [
        ("mode-0", "card"),
        ("mode-1", "card"),
        ("guess", "card"),
    ]
    marks += [(f"{kind}-{place}", "card") for kind in ("ideal", "bound") for place in (0, 1)]
    assert {
        pair: round(contrast(*(colours[name] for name in pair)), 2)
        for pair in text
        if contrast(*(colours[name] for name in pair)) < 4.5
    } == {}
    assert {
        pair: round(contrast(*(colours[name] for name in pair)), 2)
        for pair in marks
        if contrast(*(colours[name] for name in pair)) < 3
    } == {}


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("number", [2, 3, 4, 6, 8])
def test_sizes_differ_in_lightness_so_that_no_reader_needs_hue(mode: str, number: int):
    colours = theme.palette(mode, number)
    shades = [luminance(colours[f"size-{rank}"]) for rank in range(number)]
    if mode == "light":  # larger is darker on white
        assert shades == sorted(shades, reverse=True)
        assert len(set(shades)) == number


def test_a_panel_reads_as_one_line():
    assert [panel_words(panel) for panel in PREPARED.panels] == [
        "single",
        "pair (silent, seen)",
        "pair (silent, held out)",
        "pair (step printed, seen)",
        "pair (step printed, held out)",
    ]


def test_sizes_are_named_by_what_varies():
    wide = pl.when(pl.col("layers") == 1).then(128).otherwise(64).cast(pl.Int32)
    scores, curves = (table.with_columns(width=wide) for table in (CONTENT.scores, CONTENT.curves))
    prepared = prepare(report_input(SMALL, scores=scores, curves=curves))
    assert prepared.series == (f"1 layer {TIMES} 128", f"4 layers {TIMES} 64")


def test_the_count_of_documents_tells_corpora_apart_only_where_models_read_equally_long():
    seen = (pl.col("train_tokens") // 45).alias("unique_documents")
    scores, curves = (table.with_columns(seen) for table in (CONTENT.scores, CONTENT.curves))
    assert prepare(report_input(SMALL, scores=scores, curves=curves)).series == ("1 layer", "4 layers")
    fixed = pl.lit(1_000, dtype=pl.Int64).alias("unique_documents")
    small = scores.with_columns(fixed, cell=pl.col("cell") + "-small")
    both = prepare(
        report_input(
            SMALL, scores=pl.concat([scores, small]), curves=pl.concat([curves, curves.with_columns(fixed)])
        )
    )
    assert both.series == (
        "1 layer, 1k documents",
        "1 layer, 133k documents",
        "4 layers, 1k documents",
        "4 layers, 133k documents",
    )


def test_sizes_and_corpora_are_counted_apart():
    fixed = pl.lit(1_000, dtype=pl.Int64).alias("unique_documents")
    large = pl.lit(133_000, dtype=pl.Int64).alias("unique_documents")
    scores, curves = (
        pl.concat([table.with_columns(large), table.with_columns(fixed, *renamed)])
        for table, renamed in (
            (CONTENT.scores, [pl.col("cell") + "-small"]),
            (CONTENT.curves, []),
        )
    )
    content = report_input(SMALL, scores=scores, curves=curves)
    prepared = prepare(content)
    assert (len(prepared.sizes), prepared.shapes, prepared.corpora) == (4, 2, 2)
    assert "2 model sizes, 2 corpora, 2 token counts and 1 seed" in account.account(content, prepared)["lead"]
    shown = information.emergence_over_size(prepared)
    said = captions.emergence_over_size(shown, prepared)
    assert "so that the corpus may differ as well as the size" in said
    assert "2 sizes show" in said
    drawn = str(charts.draw_emergence_over_size(shown, prepared).chart)
    assert "'corpus" in drawn  # a line for each corpus


def test_tasks_come_in_the_order_of_the_study():
    run = {"study": {"evaluate": {"tasks": ["pair", "single"]}}}
    assert prepare(report_input(SMALL, run=run)).panels[-1] == "single"


def test_the_leading_model_is_the_best_at_its_end_and_of_equals_the_larger():
    better = pl.when(pl.col("layers") == 1).then(0.9).otherwise(0.5)
    curves = CONTENT.curves.with_columns(accuracy=better)
    assert prepare(report_input(SMALL, curves=curves)).leading == "1 layer"
    assert prepare(report_input(SMALL, curves=curves.with_columns(accuracy=0.5))).leading == "4 layers"


def test_what_was_not_trained_keeps_its_name_and_comes_last():
    ideal = CONTENT.curves.filter(
        (pl.col("layers") == 4) & (pl.col("train_tokens") == 6_000_000)
    ).with_columns(
        predictor=pl.lit("ideal"),
        **{
            name: pl.lit(None, dtype=CONTENT.curves.schema[name])
            for name in ("layers", "width", "params", "train_tokens", "seed")
        },
    )
    prepared = prepare(report_input(SMALL, curves=pl.concat([CONTENT.curves, ideal])))
    assert prepared.series == ("1 layer", "4 layers", "ideal")
    assert prepared.sizes == ("1 layer", "4 layers")
    assert "ideal" in set(information.shot_curves(prepared).frame["series"])
    assert "ideal" not in set(information.emergence_over_tokens(prepared).frame["series"])
