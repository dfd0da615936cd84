"""Differences between two runs' answers, against closed forms, SciPy and a bootstrap."""

import numpy as np
import polars as pl
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from emergelab.analysis import estimate
from emergelab.analysis.comparison import (
    COMPARISONS,
    CROSSED,
    CROSSED_PAIRS,
    compare_answers,
    correspondence,
    fisher_p,
    holm,
    mcnemar_p,
    newcombe,
    same_prompts,
    student_p,
)
from emergelab.scores.tables import ITEMS

PROMPTS = 60


def answers(key: int, seeds: int, skill: float, prompts: int = PROMPTS, ease: float = 1.0) -> pl.DataFrame:
    """Return items of one group; prompts are easy or hard for all seeds and keys alike."""
    easy = np.random.Generator(np.random.Philox(9)).normal(size=prompts) * ease
    generator = np.random.Generator(np.random.Philox(key))
    ability = skill + generator.normal(size=(seeds, 1)) / 4
    chance = 1 / (1 + np.exp(-(ability + easy)))
    right = generator.random((seeds, prompts)) < chance
    nats = generator.exponential(size=(seeds, prompts)) * (2 - chance)
    seed, prompt = np.nonzero(np.ones((seeds, prompts)))
    frame = pl.DataFrame({"seed": seed, "prompt": prompt, "correct": right.ravel(), "nats": nats.ravel()})
    labels = {"predictor": "model", "task": "pair", "form": "direct", "split": "seen", "argument": "fresh"}
    labels |= {"decoding": "teacher_forced"}
    named = frame.with_columns(
        **{name: pl.lit(value) for name, value in labels.items()},
        cell=pl.format("seed={}", "seed"),
        shot=pl.lit(4),
        step=pl.lit(0),
        chance=pl.lit(0.1),
    )
    return named.select(pl.col(name).cast(kind) for name, kind in ITEMS.items())


def cells(seeds: int, **changes: object) -> pl.DataFrame:
    scale = {
        "layers": 2,
        "width": 16,
        "params": 100,
        "train_tokens": 1000,
        "unique_documents": None,
        "variant": None,
    }
    return pl.DataFrame([{"cell": f"seed={s}", **scale, **changes, "seed": s} for s in range(seeds)])


def pairs(seeds: int, *, paired: bool) -> pl.DataFrame:
    return correspondence(cells(seeds), cells(seeds)).pairs.with_columns(paired=pl.lit(paired))


def compared(a: pl.DataFrame, b: pl.DataFrame, seeds: int, *, paired: bool) -> dict[str, object]:
    table = compare_answers(a, b, pairs(seeds, paired=paired))
    assert dict(table.schema) == dict(COMPARISONS)
    return table.row(0, named=True)


@pytest.mark.parametrize("seeds", [1, 3, 5])
@pytest.mark.parametrize("paired", [True, False])
def test_a_run_with_itself_has_no_differences(seeds: int, paired: bool):  # noqa: FBT001 - of the test
    a = answers(1, seeds, 0.3)
    table = compare_answers(a, a, pairs(seeds, paired=paired))
    assert table.height == (1 if seeds == 5 else seeds)
    for measure in ("accuracy", "nats"):
        assert table[f"{measure}_difference"].to_list() == [0.0] * table.height
        assert table[f"{measure}_p"].to_list() == [1.0] * table.height
        assert (table[f"{measure}_lo"] <= 0).all()
        assert (table[f"{measure}_hi"] >= 0).all()


def test_one_pair_of_cells_with_the_same_prompts():
    a, b = answers(1, 1, 0.0), answers(2, 1, 1.0)
    row = compared(a, b, 1, paired=True)
    right_a, right_b = a["correct"].to_numpy(), b["correct"].to_numpy()
    gained, lost = int((right_b & ~right_a).sum()), int((right_a & ~right_b).sum())
    expected = estimate.paired_share_gain(gained, lost, PROMPTS)
    assert (row["accuracy_difference"], row["accuracy_lo"], row["accuracy_hi"]) == pytest.approx(
        (expected.value, expected.lo, expected.hi)
    )
    assert row["accuracy_p"] == pytest.approx(scipy.stats.binomtest(gained, gained + lost).pvalue)
    assert (row["accuracy_a"], row["accuracy_b"]) == pytest.approx((right_a.mean(), right_b.mean()))
    change = b["nats"].to_numpy().astype(float) - a["nats"].to_numpy()
    student = scipy.stats.ttest_1samp(change, 0)
    ends = student.confidence_interval(0.95)
    found = (row["nats_difference"], row["nats_lo"], row["nats_hi"], row["nats_p"])
    assert found == pytest.approx((change.mean(), ends.low, ends.high, student.pvalue))
    assert (row["n_a"], row["n_b"], row["seeds"], row["seed"], row["paired"]) == (
        PROMPTS,
        PROMPTS,
        1,
        0,
        True,
    )


def test_one_pair_of_cells_with_other_prompts():
    a, b = answers(1, 1, 0.0), answers(2, 1, 1.0, prompts=90)
    row = compared(a, b, 1, paired=False)
    right_a, right_b = a["correct"].to_numpy(), b["correct"].to_numpy()
    table = [[right_b.sum(), 90 - right_b.sum()], [right_a.sum(), PROMPTS - right_a.sum()]]
    tails = [scipy.stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    assert row["accuracy_p"] == pytest.approx(min(1.0, 2 * min(tails)))
    welch = scipy.stats.ttest_ind(b["nats"].cast(pl.Float64), a["nats"].cast(pl.Float64), equal_var=False)
    ends = welch.confidence_interval(0.95)
    assert (row["nats_p"], row["nats_lo"], row["nats_hi"]) == pytest.approx(
        (welch.pvalue, ends.low, ends.high)
    )
    assert (row["n_a"], row["n_b"], row["paired"]) == (PROMPTS, 90, False)


def test_newcombes_example():
    """Newcombe 1998, table II, contrast a, method 10: 56/70 - 48/80 in [.0524, .3339]."""
    lo, hi = newcombe((np.array([48 / 80]), np.array([80])), (np.array([56 / 70]), np.array([70])))
    assert (lo[0], hi[0]) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def additive(key: int, seeds: int) -> pl.DataFrame:
    """Return items whose nats are an effect of the seed and one of the prompt, and nothing else."""
    generator = np.random.Generator(np.random.Philox(key))
    nats = 3 + generator.normal(size=(seeds, 1)) / 4 + generator.normal(size=(1, PROMPTS)) / 2
    return answers(key, seeds, 0.0).with_columns(nats=pl.Series(nats.ravel(), dtype=pl.Float32))


def bootstrap(a: pl.DataFrame, b: pl.DataFrame, *, paired: bool) -> float:
    """Return the standard error of the difference in nats by drawing seeds and prompts anew, each by itself."""
    generator = np.random.Generator(np.random.Philox(4))
    shape = (a["cell"].n_unique(), PROMPTS)
    left, right = (items["nats"].cast(pl.Float64).to_numpy().reshape(shape) for items in (a, b))

    def draw() -> tuple[np.ndarray, ...]:
        return np.ix_(*(generator.integers(size, size=size) for size in shape))

    values: list[float] = []
    for _ in range(4000):
        places = draw()
        values.append(right[places].mean() - left[places if paired else draw()].mean())
    return float(np.std(values))


@pytest.mark.parametrize("paired", [True, False])
def test_seeds_and_prompts_vary_as_in_a_bootstrap_of_both(paired: bool):  # noqa: FBT001 - of the test
    seeds = 30
    a, b = additive(1, seeds), additive(2, seeds)
    row = compared(a, b, seeds, paired=paired)
    assert (row["seed"], row["seeds"]) == (None, seeds)
    assert row["nats_method"] == (CROSSED_PAIRS if paired else CROSSED)
    lo, hi = float(row["nats_lo"]), float(row["nats_hi"])  # pyright: ignore[reportArgumentType]
    # Welch's degrees of freedom lie between those of one run and those of both.
    most, least = (
        (hi - lo) / 2 / scipy.stats.t.ppf(0.975, [seeds - 1, seeds - 1 if paired else 2 * seeds - 2])
    )
    expected = bootstrap(a, b, paired=paired)
    assert 0.95 * expected < least
    assert most < 1.08 * expected


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seeds", [1, 6])
def test_intervals_cover_in_simulations(seeds: int, paired: bool):  # noqa: FBT001 - of the test
    """Runs of one law, 500 times over: 95 % of the intervals must hold 0, with new seeds and new prompts."""
    generator = np.random.Generator(np.random.Philox(7))
    replicates, prompts = 500, 50
    ease = generator.normal(size=(2, replicates, 1, prompts))
    a, b = (
        _simulated(generator, ease[0 if paired else side], (replicates, seeds, prompts)) for side in range(2)
    )
    table = compare_answers(a, b, pairs(seeds, paired=paired))
    assert table.height == replicates
    for measure in ("accuracy", "nats"):
        covered = ((table[f"{measure}_lo"] <= 0) & (table[f"{measure}_hi"] >= 0)).mean()
        assert 0.925 <= covered <= 0.99  # pyright: ignore[reportOptionalOperand, reportOperatorIssue]
        assert 0.0 < (table[f"{measure}_p"] < 0.05).mean() < 0.075  # pyright: ignore[reportOperatorIssue]


def _simulated(generator: np.random.Generator, ease: np.ndarray, shape: tuple[int, int, int]) -> pl.DataFrame:
    # One seed is one run: what is asked is whether these two runs differ, not whether others would.
    spread = 0.4 if shape[1] > 1 else 0.0
    chance = 1 / (1 + np.exp(-(ease + spread * generator.normal(size=(*shape[:2], 1)))))
    right = generator.random(shape) < chance
    nats = generator.exponential(size=shape) * (2 - chance)
    task, seed, prompt = np.indices(shape).reshape(3, -1)
    frame = pl.DataFrame(
        {"t": task, "seed": seed, "prompt": prompt, "correct": right.ravel(), "nats": nats.ravel()}
    )
    first = answers(1, 1, 0.0).drop("cell", "task", "prompt", "correct", "nats").unique()
    named = frame.join(first, how="cross").with_columns(
        cell=pl.format("seed={}", "seed"), task=pl.col("t").cast(pl.String)
    )
    return named.select(pl.col(name).cast(kind) for name, kind in ITEMS.items())


def test_pairing_helps_where_prompts_differ_in_ease():
    a, b = answers(1, 20, 0.0, ease=4.0), answers(2, 20, 0.0, ease=4.0)
    widths = [
        row["accuracy_hi"] - row["accuracy_lo"]
        for row in (compared(a, b, 20, paired=p) for p in (True, False))
    ]  # pyright: ignore[reportOperatorIssue]
    assert widths[0] < widths[1]


def test_four_seeds_stand_alone():
    table = compare_answers(answers(1, 4, 0.0), answers(2, 4, 0.5), pairs(4, paired=True))
    assert table["seed"].to_list() == [0, 1, 2, 3]
    assert table["seeds"].to_list() == [1] * 4


def test_pairs_with_a_missing_side_are_left_out():
    a, b = answers(1, 1, 0.0), answers(2, 1, 0.0)
    gap = pl.when(pl.col("prompt") < 10).then(None)
    row = compared(
        a.with_columns(correct=gap.otherwise("correct")),
        b.with_columns(nats=pl.when(pl.col("prompt") == 1).then(float("inf")).otherwise("nats")),
        1,
        paired=True,
    )
    assert row["n_a"] == PROMPTS - 10
    assert np.isfinite(row["nats_difference"])  # pyright: ignore[reportArgumentType]


def test_no_nats_are_null():
    a = answers(1, 1, 0.0).with_columns(nats=pl.lit(None, dtype=pl.Float32))
    for paired in (True, False):
        row = compared(a, a, 1, paired=paired)
        assert row["nats_difference"] is None
        assert row["nats_method"] == estimate.NO_VALUES


def test_cells_correspond_by_scale_variant_and_seed():
    a = pl.concat([cells(2), cells(2, width=32).with_columns(cell=pl.col("cell") + "w")])
    b = cells(3).drop("variant")
    found = correspondence(a, b)
    assert found.pairs.select("cell_a", "cell_b").rows() == [("seed=0", "seed=0"), ("seed=1", "seed=1")]
    assert (found.only_a, found.only_b) == (["seed=0w", "seed=1w"], ["seed=2"])
    other = correspondence(a, cells(2, variant="batch=8"))
    assert other.pairs.is_empty()
    with pytest.raises(ValueError, match="must differ"):
        correspondence(pl.concat([b, b]), b)


def test_a_scale_without_a_seed_has_a_partner():
    alone = cells(1).with_columns(seed=pl.lit(None, dtype=pl.Int32))
    found = correspondence(alone, alone).pairs.with_columns(paired=pl.col("seed").is_null())
    table = compare_answers(answers(1, 1, 0.0), answers(2, 1, 0.0), found)
    assert table["seed"].to_list() == [None]
    assert table.height == 1


def test_same_prompts_have_the_same_arguments_and_chances():
    a = answers(1, 1, 0.0)
    assert same_prompts(a, answers(2, 1, 1.0))
    assert not same_prompts(a, a.with_columns(chance=pl.lit(0.2, dtype=pl.Float32)))
    assert not same_prompts(a, a.with_columns(argument=pl.lit("repeated")))
    assert not same_prompts(a, a.head(50))
    # A task that the other run was not asked says nothing about those that it was.
    assert same_prompts(pl.concat([a, a.with_columns(task=pl.lit("single"))]), a)


@settings(max_examples=40)
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar(gained: int, lost: int):
    (found,) = mcnemar_p(np.array([gained]), np.array([lost]))
    expected = scipy.stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert found == pytest.approx(expected)


@settings(max_examples=40)
@given(st.integers(0, 20), st.integers(1, 20), st.integers(0, 20), st.integers(1, 20))
def test_fisher(right_a: int, wrong_a: int, right_b: int, wrong_b: int):
    a, b = (
        (np.array([right]), np.array([right + wrong]))
        for right, wrong in ((right_a, wrong_a), (right_b, wrong_b))
    )
    table = [[right_a, wrong_a], [right_b, wrong_b]]
    tails = [scipy.stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    assert fisher_p(a, b)[0] == pytest.approx(min(1.0, 2 * min(tails)))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_closed_testing_with_bonferroni(p: list[float]):
    """An adjusted p is the largest Bonferroni p over the sets of comparisons that it steps down through."""
    found = holm(np.array([*p, np.nan]))
    assert np.isnan(found[-1])
    rest = sorted(range(len(p)), key=lambda i: p[i])
    expected, worst = np.zeros(len(p)), 0.0
    while rest:
        worst = max(worst, min(1.0, p[rest[0]] * len(rest)))
        expected[rest[0]] = worst
        rest = rest[1:]
    np.testing.assert_allclose(found[:-1], expected)


def test_no_error_and_no_difference_are_certainly_equal():
    found = student_p(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.5, 0.5]), np.array([3.0, 3.0, 0.0]))
    assert found[0] == 1.0
    assert found[1] == pytest.approx(2 * scipy.stats.t.sf(2, 3))
    assert np.isnan(found[2])
