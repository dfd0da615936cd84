"""What the report says in words is what the tables hold, and no more precise."""

from __future__ import annotations

import math
import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emergelab.report import captions, facts, information, words
from emergelab.report.content import Overlap
from emergelab.report.series import Prepared, prepare
from report_tables import Design, report_input

MINUS = "\N{MINUS SIGN}"
SMALL = Design(layers=(1, 4), tokens=(3_000_000, 6_000_000), shots=3, prompts=64)
CONTENT = report_input(SMALL)
NONE_KNOWN = Design(layers=(1, 4), tokens=(6_000_000,), shots=1, prompts=8, chance=False)


def with_accuracy(
    value: float, lo: float, hi: float, chance: float | None = 0.1, *, start: float | None = None
) -> Prepared:
    """Prepare the small study with one accuracy everywhere, or another one without examples."""
    numbers = {"accuracy": value, "accuracy_lo": lo, "accuracy_hi": hi, "chance": chance}
    curves = CONTENT.curves.with_columns(
        pl.lit(number, dtype=pl.Float64).alias(name) for name, number in numbers.items()
    )
    if start is not None:
        before = {"accuracy": start, "accuracy_lo": start - 0.05, "accuracy_hi": start + 0.05}
        curves = curves.with_columns(
            pl.when(pl.col("shots") == 0).then(number).otherwise(name).alias(name)
            for name, number in before.items()
        )
    return prepare(report_input(SMALL, curves=curves))


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, words.MISSING), (0.0, "0.00"), (0.934, "0.93"), (1.0, "1.00"), (0.005001, "0.01")],
)
def test_shares_have_two_decimals(value: float | None, said: str):
    assert words.share(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, words.MISSING), (2.4849, "2.48"), (0.0342, "0.034"), (12.34, "12.3"), (-0.5, f"{MINUS}0.50")],
)
def test_nats_end_at_a_hundredth_or_for_small_ones_at_a_thousandth(value: float | None, said: str):
    assert words.nats(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (512, "512"),
        (1_500_000, "1.5M"),
        (198_912, "199k"),
        (2e9, "2B"),
        (3.2e13, "32T"),
        (None, words.MISSING),
    ],
)
def test_counts_have_prefixes(value: float | None, said: str):
    assert words.count(value) == said


@given(st.floats(1e-6, 1e6))
def test_a_figure_keeps_three_significant_digits(value: float):
    said = float(words.figure(value))
    assert math.isclose(said, value, rel_tol=0.006)
    assert len(words.figure(value).replace(".", "").strip("0")) <= 7


@pytest.mark.parametrize(
    ("seconds", "said"), [(1.94, "1.9 s"), (59.4, "59 s"), (61.0, "1 min 1 s"), (3725.0, "1 h 2 min")]
)
def test_durations_are_read_as_said(seconds: float, said: str):
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("parts", "said"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_listings_are_joined_as_in_a_sentence(parts: list[str], said: str):
    assert words.listing(parts) == said


def test_one_estimate_is_read_with_its_interval_and_some_seeds_as_a_range():
    one = pl.DataFrame({"accuracy": [0.93], "accuracy_lo": [0.89], "accuracy_hi": [0.96]})
    three = pl.DataFrame({"accuracy": [0.93, 0.5, 0.7], "accuracy_lo": [0.0] * 3, "accuracy_hi": [1.0] * 3})
    assert facts.reading(one) == "0.93 [0.89, 0.96]"
    assert facts.reading(three) == "0.50\N{EN DASH}0.93"
    assert facts.reading(one.clear()) == words.MISSING


def test_an_estimate_without_an_interval_pretends_none():
    bare = pl.DataFrame(
        {"accuracy": [0.93], "accuracy_lo": [None], "accuracy_hi": [None]},
        schema_overrides={"accuracy_lo": pl.Float64, "accuracy_hi": pl.Float64},
    )
    assert facts.reading(bare) == "0.93"


def test_the_headline_counts_kinds_of_task_above_both_marks():
    headline = facts.verdict(with_accuracy(0.9, 0.8, 0.95, start=0.1), {})[0]
    assert headline == (
        "Above chance and the same model without examples, at 3 examples: "
        "4 layers (6M training tokens) on 5 of 5 kinds of task, 1 layer on 5."
    )


def test_what_a_model_knew_without_examples_is_not_counted():
    headline = facts.verdict(with_accuracy(0.9, 0.8, 0.95), {})[0]
    assert "on none of 5 kinds of task" in headline


def test_a_study_that_learned_nothing_says_so():
    said = facts.verdict(with_accuracy(0.1, 0.05, 0.15), {})
    both = "chance and the same model without examples"
    assert "on none of 5 kinds of task" in said[0]
    assert f"Nothing that the largest model answers here is found above {both}." in said
    assert any(
        sentence.startswith(f"Not found above {both}: 0.10 [0.05, 0.15] on single") for sentence in said
    )


def test_without_chance_nothing_is_called_above_it():
    said = " ".join(facts.verdict(prepare(report_input(NONE_KNOWN)), {}))
    assert "chance is not known" in said
    assert "bove chance" not in said


def test_without_a_held_out_split_nothing_is_said_of_it():
    design = Design(
        layers=(1, 4), tokens=(6_000_000,), shots=1, prompts=8, panels=(("copy", "direct", "seen"),)
    )
    said = " ".join(facts.verdict(prepare(report_input(design)), {"overlap": 0, "held_out_tables": 0}))
    assert "eld out" not in said
    assert "Printing" not in said


@pytest.mark.parametrize(
    ("overlap", "said"),
    [
        (
            {"overlap": 0, "held_out_tables": 36},
            "None of the 36 held-out function tables occurs in training.",
        ),
        ({"overlap": 2, "held_out_tables": 36}, "But 2 held-out function tables do occur in training"),
        ({}, ""),
    ],
)
def test_the_held_out_sentence_carries_its_proof(overlap: Overlap, said: str):
    sentence = next(text for text in facts.verdict(prepare(CONTENT), overlap) if text.startswith("Held out"))
    assert said in sentence
    assert ("function table" in sentence) is bool(said)


def test_no_trained_model_is_no_finding():
    untrained = CONTENT.curves.with_columns(train_tokens=pl.lit(None, dtype=pl.Int64))
    prepared = prepare(report_input(SMALL, curves=untrained))
    assert facts.verdict(prepared, {}) == ["No trained model was scored on a query with a fresh argument."]


def step_of(accuracies: list[float], nats: list[float]) -> Prepared:
    """Prepare a study of one kind of task read at three token counts, intervals 0.1 wide."""
    design = Design(
        layers=(4,), tokens=(1_000, 2_000, 3_000), shots=0, prompts=8, panels=(("copy", "direct", "seen"),)
    )
    content = report_input(design)
    read = pl.col("train_tokens") // 1_000 - 1
    curves = content.curves.with_columns(
        accuracy=read.replace_strict(dict(enumerate(accuracies))),
        nats=read.replace_strict(dict(enumerate(nats))),
    ).with_columns(
        accuracy_lo=pl.col("accuracy") - 0.05,
        accuracy_hi=pl.col("accuracy") + 0.05,
        nats_lo=pl.col("nats") - 0.05,
        nats_hi=pl.col("nats") + 0.05,
    )
    return prepare(report_input(design, curves=curves))


def test_the_largest_step_is_the_largest_rise_whose_intervals_part():
    prepared = step_of([0.1, 0.3, 0.9], [2.0, 1.9, 0.2])
    step = facts.largest_step(facts.over_tokens(prepared))
    assert step is not None
    assert [rows["train_tokens"][0] for rows in step] == [2_000, 3_000]
    caption = captions.emergence_over_tokens(information.emergence_over_tokens(prepared), prepared)
    assert "0.30 [0.25, 0.35] at 2k tokens, 0.90 [0.85, 0.95] at 3k" in caption
    assert "a clear fall too" in caption


def test_a_jump_of_the_measure_alone_is_told_as_such():
    prepared = step_of([0.1, 0.3, 0.9], [2.0, 1.99, 1.98])
    caption = captions.emergence_over_tokens(information.emergence_over_tokens(prepared), prepared)
    assert "no clear fall" in caption


def test_where_intervals_overlap_there_is_no_step():
    assert facts.largest_step(facts.over_tokens(step_of([0.1, 0.15, 0.2], [2.0, 1.9, 1.8]))) is None


def test_every_number_in_the_verdict_is_in_the_tables():
    said = " ".join(facts.verdict(prepare(CONTENT), {}))
    printed = information.printed_gain(prepare(CONTENT)).frame
    columns = ("accuracy", "accuracy_lo", "accuracy_hi", "chance", "nats", "nats_lo", "nats_hi")
    known = {value for name in columns for value in CONTENT.curves[name].drop_nulls()}
    known |= {value for name in ("value", "lo", "hi") for value in printed[name]}
    texts = {form(value) for value in known for form in (words.share, words.signed, words.nats)}
    found = re.findall(rf"[+{MINUS}]?\d+\.\d+(?!M)", said)
    assert found
    assert [number for number in found if number not in texts] == []


def test_captions_of_a_study_over_seeds_speak_of_the_range():
    design = Design(layers=(1, 4), tokens=(3_000_000, 6_000_000), shots=1, prompts=8, seeds=(0, 1))
    prepared = prepare(report_input(design))
    said = captions.shot_curves(information.shot_curves(prepared), prepared)
    assert "ranges run over seeds" in said
    assert "without a band" in said


def test_a_step_to_the_last_token_count_is_told_to_lie_in_the_decay():
    last = " ".join(facts.verdict(step_of([0.1, 0.3, 0.9], [2.0, 1.9, 0.2]), {}))
    earlier = " ".join(facts.verdict(step_of([0.1, 0.7, 0.9], [2.0, 1.9, 0.2]), {}))
    assert "between 2k and 3k training tokens" in last
    assert "the learning rate decays to zero" in last
    assert "between 1k and 2k training tokens" in earlier
    assert "decays" not in earlier


def test_captions_over_tokens_tell_of_the_decay_and_its_share():
    record = {"study": {"train": {"decay_share": 0.25}}}
    prepared = prepare(report_input(SMALL, run=record))
    for inform, explain in (
        (information.emergence_over_tokens, captions.emergence_over_tokens),
        (information.grid, captions.grid),
        (information.printed_gain, captions.printed_gain),
        (information.training_loss, captions.training_loss),
    ):
        assert "over the last 25 % of training" in explain(inform(prepared), prepared)


def test_models_read_once_have_no_earlier_point():
    design = Design(layers=(1, 4), tokens=(6_000_000,), shots=1, prompts=8)
    prepared = prepare(report_input(design))
    assert "decayed" not in captions.grid(information.grid(prepared), prepared)


def test_the_last_training_loss_is_the_range_over_runs_that_end_at_different_tokens():
    rows = [("a", 0, 10, 3.0), ("a", 0, 20, 1.0), ("b", 1, 10, 3.0), ("b", 1, 19, 1.5)]
    losses = pl.DataFrame(
        [(run, 1, 64, None, None, seed, tokens, loss) for run, seed, tokens, loss in rows],
        schema=CONTENT.losses.schema,
        orient="row",
    )
    prepared = prepare(report_input(SMALL, losses=losses))
    said = captions.training_loss(information.training_loss(prepared), prepared)
    assert "lowest to highest of the seeds: 1 layer 1.00 to 1.50." in said
