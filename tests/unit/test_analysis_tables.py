"""Scores, curves over seeds, gains and losses against slow twins and textbook formulas."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy import stats

from emergelab.analysis import estimate
from emergelab.analysis.aggregate import CELLS, curves_from_scores, scores_from_items
from emergelab.analysis.gains import GAINS, paired_gain
from emergelab.analysis.losses import LOSSES, losses_by_role
from emergelab.analysis.seeds import pooled_loss
from emergelab.rng import stream
from emergelab.scores.tables import CURVES, ITEMS, SCORES

TASK = {"task": "pair", "split": "seen", "decoding": "teacher_forced", "predictor": "model"}


def described(cells: list[str], *, scale: int = 1) -> pl.DataFrame:
    """Describe cells of one scale that differ in their seed alone."""
    rows = [
        {
            "cell": cell,
            "layers": scale,
            "width": 64,
            "params": 1000 * scale,
            "train_tokens": 10_000,
            "flops": 1e9 + seed,
            "seed": seed,
            "loss": 2.0 + 0.1 * seed,
            "loss_lo": 1.9 + 0.1 * seed,
            "loss_hi": 2.1 + 0.1 * seed,
            "loss_method": "cluster_t",
        }
        for seed, cell in enumerate(cells)
    ]
    return pl.DataFrame(rows, schema=CELLS)


def items_of(cell: str, form: str, right: np.ndarray, nats: np.ndarray | None = None) -> pl.DataFrame:
    """Return the items of prompts with one shot: `right` [prompts, steps], the whole being all of them."""
    steps = right.shape[1]
    whole = np.concatenate([right.all(1, keepdims=True), right], axis=1)
    prompt, step = np.divmod(np.arange(whole.size), steps + 1)
    values = {"prompt": prompt, "step": step, "correct": whole.ravel()}
    values |= {"nats": None if nats is None else np.repeat(nats, steps + 1)}
    frame = pl.DataFrame(values).with_columns(
        *(pl.lit(value).alias(name) for name, value in {**TASK, "cell": cell, "form": form}.items()),
        argument=pl.lit("fresh"),
        shot=pl.lit(1),
        chance=pl.lit(0.25),
    )
    return frame.select(pl.col(name).cast(kind) for name, kind in ITEMS.items())


def several(key: int = 0) -> pl.DataFrame:
    """Return items of two cells, both forms, with unequal numbers of prompts."""
    generator = stream(key, "items").generator()
    frames = []
    for cell, (form, steps) in itertools.product(("a", "b"), (("direct", 1), ("steps", 3))):
        right = generator.random((int(generator.integers(3, 30)), steps)) < 0.6
        frames.append(items_of(cell, form, right, generator.exponential(size=len(right)).astype(np.float32)))
    return pl.concat(frames)


def only(frame: pl.DataFrame, **names: object) -> dict[str, object]:
    return frame.row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in names.items()), named=True)


def test_scores_are_what_each_group_gives_alone():
    items = several()
    scores = scores_from_items(items, described(["a", "b"]))
    assert scores.schema == SCORES
    assert len(scores) == 4
    for row in scores.iter_rows(named=True):
        group = items.filter((pl.col("cell") == row["cell"]) & (pl.col("form") == row["form"]))
        whole = group.filter(pl.col("step") == 0)
        accuracy = estimate.proportion(int(whole["correct"].sum()), len(whole))
        nats = estimate.mean(whole["nats"].to_numpy())
        for name, expected in (("accuracy", accuracy), ("nats", nats)):
            found = [row[name], row[f"{name}_lo"], row[f"{name}_hi"]]
            assert found == pytest.approx([expected.value, expected.lo, expected.hi])
            assert row[f"{name}_method"] == expected.method
        assert (row["n"], row["chance"]) == (len(whole), pytest.approx(0.25))
        credit = [g["correct"].mean() for _, g in group.filter(pl.col("step") > 0).group_by("prompt")]
        assert row["step_accuracy"] == pytest.approx(np.mean(credit))
        assert row["step_accuracy_lo"] < row["step_accuracy"] < row["step_accuracy_hi"]


def test_one_printed_step_has_wilsons_interval():
    right = np.arange(20)[:, None] < 7
    row = only(scores_from_items(items_of("a", "direct", right), described(["a"])), cell="a")
    expected = estimate.proportion(7, 20)
    assert (row["step_accuracy_lo"], row["step_accuracy_hi"]) == pytest.approx((expected.lo, expected.hi))


def test_scores_carry_their_cells():
    scores = scores_from_items(several(), described(["a", "b"], scale=4))
    row = only(scores, cell="b", form="direct")
    assert (row["layers"], row["params"], row["seed"], row["loss"]) == (4, 4000, 1, 2.1)
    assert row["unique_documents"] is None


def test_undescribed_and_twice_described_cells_are_faults():
    with pytest.raises(ValueError, match="'b'"):
        scores_from_items(several(), described(["a"]))
    with pytest.raises(ValueError, match="once"):
        scores_from_items(several(), described(["a", "b", "b"]))


def test_prompts_scored_twice_are_a_fault():
    items = several()
    with pytest.raises(ValueError, match="once in every group"):
        scores_from_items(pl.concat([items, items.head(2)]), described(["a", "b"]))


def test_missing_verdicts_are_not_wrong_ones():
    right = np.array([[True], [False], [True]])
    items = items_of("a", "direct", right)
    missing = items.with_columns(correct=pl.when(pl.col("prompt") != 1).then("correct"))
    row = only(scores_from_items(missing, described(["a"])), cell="a")
    assert (row["n"], row["accuracy"], row["step_accuracy"]) == (2, 1.0, 1.0)
    none = items.with_columns(correct=pl.lit(None, dtype=pl.Boolean))
    row = only(scores_from_items(none, described(["a"])), cell="a")
    assert (row["n"], row["accuracy_method"]) == (0, "none: no values")
    assert all(row[name] is None for name in ("accuracy", "accuracy_lo", "accuracy_hi", "step_accuracy"))


def test_missing_and_infinite_nats_have_no_interval():
    right = np.ones((3, 1), dtype=bool)
    for nats, value, method in (
        (None, None, "none: no values"),
        (np.array([1.0, np.inf, 2.0]), np.inf, "none: infinite values"),
    ):
        row = only(scores_from_items(items_of("a", "direct", right, nats), described(["a"])), cell="a")
        found = (row["nats"], row["nats_lo"], row["nats_hi"], row["nats_method"])
        assert found == (value, None, None, method)
    alone = items_of("a", "direct", right[:1], np.array([0.5]))
    row = only(scores_from_items(alone, described(["a"])), cell="a")
    assert (row["nats"], row["nats_lo"], row["nats_method"]) == (0.5, None, "none: one value")


def test_no_items_give_no_scores():
    assert scores_from_items(ITEMS.to_frame(), described([])).equals(SCORES.to_frame())
    assert curves_from_scores(SCORES.to_frame(), ITEMS.to_frame()).equals(CURVES.to_frame())
    assert paired_gain(ITEMS.to_frame()).equals(GAINS.to_frame())


@settings(max_examples=20)
@given(st.integers(0, 50), st.randoms(use_true_random=False))
def test_the_order_of_items_changes_nothing(key: int, random: object):
    items = several(key)
    order = list(range(len(items)))
    random.shuffle(order)
    cells = described(["a", "b"])
    assert_frame_equal(scores_from_items(items[order], cells), scores_from_items(items, cells))
    assert_frame_equal(paired_gain(items[order]), paired_gain(items))
    scores = scores_from_items(items, cells)
    assert (scores["accuracy_lo"] <= scores["accuracy"]).all()
    assert (scores["accuracy"] <= scores["accuracy_hi"]).all()
    assert (scores["nats_lo"] >= 0).all()


# Curves.


def runs(values: np.ndarray, nats: np.ndarray | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (scores, items) of one run for each row of `values` [seeds, prompts]."""
    names = [f"run{seed}" for seed in range(len(values))]
    items = pl.concat(
        items_of(name, "direct", row[:, None], None if nats is None else nats[seed])
        for seed, (name, row) in enumerate(zip(names, values, strict=True))
    )
    return scores_from_items(items, described(names)), items


def two_way_variance(values: np.ndarray) -> float:
    """Return the variance of the mean of a crossed layout from its mean squares (a textbook's table)."""
    seeds, prompts = values.shape
    grand, by_seed, by_prompt = values.mean(), values.mean(1), values.mean(0)
    rest = values - by_seed[:, None] - by_prompt + grand
    mean_square = (rest**2).sum() / ((seeds - 1) * (prompts - 1))
    between_seeds, between_prompts = by_seed.var(ddof=1) / seeds, by_prompt.var(ddof=1) / prompts
    return between_seeds + max(between_prompts - mean_square / (seeds * prompts), 0)


def test_below_five_seeds_each_stands_alone():
    values = stream(0, "few").generator().random((4, 30)) < 0.5
    curves = curves_from_scores(*runs(values))
    assert curves.schema == CURVES
    assert curves["seed"].to_list() == [0, 1, 2, 3]
    assert curves["seeds"].to_list() == [1, 1, 1, 1]
    np.testing.assert_allclose(curves["accuracy"], values.mean(1))


@pytest.mark.parametrize("shared", [0.0, 2.0])
def test_pooled_nats_have_the_two_way_layouts_interval(shared: float):
    generator = stream(0, "layout").generator()
    nats = generator.gamma(2, size=(6, 40)) + shared * generator.gamma(2, size=40)
    nats = nats.astype(np.float32)
    curves = curves_from_scores(*runs(nats > 1, nats))
    row = only(curves.filter(pl.col("seed").is_null()), seeds=6)
    half = stats.t.ppf(0.975, 5) * np.sqrt(two_way_variance(nats.astype(float)))
    expected = [nats.mean(dtype=float) + sign * half for sign in (0, -1, 1)]
    assert [row["nats"], row["nats_lo"], row["nats_hi"]] == pytest.approx(expected, rel=1e-5)
    assert (row["n"], row["loss"], row["chance"]) == (240, pytest.approx(2.25), pytest.approx(0.25))
    assert row["flops"] == 1e9 + 2.5


def test_pooled_accuracy_solves_wilsons_equation_with_the_measured_variance():
    """The limits are the shares p with |mean - p| = t sqrt(p (1 - p) / trials)."""
    values = stream(0, "shares").generator().random((5, 60)) < np.linspace(0.3, 0.9, 5)[:, None]
    row = only(curves_from_scores(*runs(values)).filter(pl.col("seed").is_null()), seeds=5)
    mean = values.mean()
    trials = mean * (1 - mean) / two_way_variance(values.astype(float))
    for limit in (row["accuracy_lo"], row["accuracy_hi"]):
        assert abs(mean - limit) == pytest.approx(
            stats.t.ppf(0.975, 4) * np.sqrt(limit * (1 - limit) / trials)
        )
    assert row["accuracy"] == pytest.approx(mean)
    assert (row["step_accuracy_lo"], row["step_accuracy_hi"]) == pytest.approx(
        (row["accuracy_lo"], row["accuracy_hi"])
    )


def test_runs_that_are_all_right_are_as_sure_as_their_prompts():
    row = only(curves_from_scores(*runs(np.ones((5, 50), dtype=bool))), seeds=5)
    quantile = stats.t.ppf(0.975, 4) ** 2
    assert (row["accuracy"], row["accuracy_hi"]) == (1.0, 1.0)
    assert row["accuracy_lo"] == pytest.approx(1 - quantile / (50 + quantile))


def test_each_seed_has_one_vote():
    scores, items = runs(np.repeat([[True], [False], [False], [False], [False]], 10, axis=1))
    few = items.filter((pl.col("cell") != "run0") | (pl.col("prompt") < 2))
    row = only(curves_from_scores(scores, few).filter(pl.col("seed").is_null()), seeds=5)
    assert row["accuracy"] == pytest.approx(0.2)


def test_a_predictor_without_a_seed_stands_once():
    right = np.ones((8, 1), dtype=bool)
    cells = pl.DataFrame([{"cell": "ideal"}], schema=CELLS)
    items = items_of("ideal", "direct", right)
    curves = curves_from_scores(scores_from_items(items, cells), items)
    assert curves.select("seed", "seeds", "layers").rows() == [(None, 0, None)]


def test_two_cells_of_one_scale_and_seed_are_a_fault():
    scores, items = runs(np.ones((5, 4), dtype=bool))
    with pytest.raises(ValueError, match="run0"):
        curves_from_scores(scores.with_columns(seed=pl.lit(0, dtype=pl.Int32)), items)


def test_variants_are_never_pooled_with_each_other():
    values = stream(0, "variants").generator().random((10, 30)) < 0.5
    scores, items = runs(values)
    half = pl.col("cell").str.slice(3).cast(pl.Int32)
    named = scores.with_columns(
        variant=pl.format("batch={}", pl.when(half < 5).then(8).otherwise(16)), seed=half % 5
    )
    curves = curves_from_scores(named, items).filter(pl.col("seed").is_null())
    found = dict(curves.select("variant", "accuracy").iter_rows())
    assert found == {
        "batch=8": pytest.approx(values[:5].mean()),
        "batch=16": pytest.approx(values[5:].mean()),
    }


@pytest.mark.parametrize("nothing_varies", [True, False])
def test_the_pooled_loss_counts_seeds_and_the_documents_that_they_share(*, nothing_varies: bool):
    losses = np.full(5, 2.0) if nothing_varies else np.array([2.0, 2.1, 2.3, 1.9, 2.2])
    errors = np.array([0.1, 0.2, 0.1, 0.3, 0.1])
    found = pooled_loss(losses, losses + stats.norm.ppf(0.975) * errors)
    # The seeds' mean of a normal law for each seed, all errors on documents moving together at the worst.
    half = stats.t.ppf(0.975, 4) * np.sqrt(losses.var(ddof=1) / 5 + np.mean(errors**2))
    assert (found.value, found.lo, found.hi) == pytest.approx(
        (losses.mean(), losses.mean() - half, losses.mean() + half)
    )


def test_the_pooled_loss_of_seeds_without_intervals_has_none():
    found = pooled_loss(np.array([2.0, 2.2]), np.array([2.1, np.nan]))
    assert (found.value, found.lo, found.n) == (pytest.approx(2.1), None, 2)
    assert pooled_loss(np.array([np.nan]), np.array([np.nan])).value is None


# Gains.


def test_gains_count_pairs_of_the_same_prompt():
    direct = np.array([1, 1, 0, 0, 0, 0], dtype=bool)
    final = np.array([1, 0, 1, 1, 0, 1], dtype=bool)
    middle = np.array([1, 1, 1, 0, 0, 1], dtype=bool)
    items = pl.concat(
        [items_of("a", "direct", direct[:, None]), items_of("a", "steps", np.stack([middle, final], axis=1))]
    )
    row = only(paired_gain(items), cell="a")
    expected = estimate.paired_share_gain(3, 1, 6)
    found = (row["n"], row["direct"], row["steps"], row["gain"], row["gain_lo"], row["gain_hi"])
    assert found == pytest.approx((6, 2 / 6, 4 / 6, 2 / 6, expected.lo, expected.hi))
    whole = estimate.paired_share_gain(2, 1, 6)
    found = (row["whole_direct"], row["whole_steps"], row["whole_gain"], row["whole_gain_lo"])
    assert found == pytest.approx((2 / 6, 3 / 6, 1 / 6, whole.lo))
    assert row["gain_method"] == "bonett_price"


def test_a_pair_with_a_missing_side_does_not_count():
    direct = items_of("a", "direct", np.array([[True], [False], [False]]))
    steps = items_of("a", "steps", np.array([[True, True], [True, True], [False, True]]))
    missing = steps.with_columns(correct=pl.when(pl.col("prompt") != 1).then("correct"))
    row = only(paired_gain(pl.concat([direct, missing])), cell="a")
    assert (row["n"], row["gain"], row["whole_gain"]) == (2, 0.5, 0.0)


def test_a_task_of_one_form_has_no_gain():
    assert paired_gain(items_of("a", "direct", np.ones((3, 1), dtype=bool))).is_empty()


def test_forms_with_other_arguments_are_a_fault():
    direct = items_of("a", "direct", np.ones((3, 1), dtype=bool))
    steps = items_of("a", "steps", np.ones((3, 2), dtype=bool)).with_columns(argument=pl.lit("repeated"))
    with pytest.raises(ValueError, match="share their arguments"):
        paired_gain(pl.concat([direct, steps]))


# Losses.


def test_losses_by_role_are_ratios_over_documents():
    frame = pl.DataFrame(
        {
            "document": [0, 1, 2, 0, 1, 2],
            "role": [None, None, None, "answer", "answer", "start"],
            "tokens": [10, 20, 30, 4, 6, 1],
            "nats": [12.0, 15.0, 50.0, 2.0, 1.0, 3.0],
        }
    ).with_columns(skill=pl.lit(None, dtype=pl.String), needed=pl.lit(None, dtype=pl.Int8))
    others = (
        frame.head(2).with_columns(skill=pl.lit("f1")),
        frame.head(2).with_columns(needed=pl.lit(1, pl.Int8)),
    )
    losses = losses_by_role(pl.concat([frame, *others]))
    assert losses.schema == LOSSES
    assert losses["role"].to_list() == [None, "answer", "start"]
    whole = estimate.ratio(np.array([12.0, 15.0, 50.0]), np.array([10.0, 20.0, 30.0]))
    assert losses.row(0)[1:] == (3, 60, whole.value, max(whole.lo, 0), whole.hi, "cluster_t")
    assert losses.row(1)[1:4] == (2, 10, pytest.approx(0.3))
    assert losses.row(2)[1:] == (1, 1, 3.0, None, None, "none: one value")
