"""What counts as above: chance and the model's own start, corrected for all comparisons."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from emergelab.analysis import seeds
from emergelab.report.series import prepare
from emergelab.report.standing import marks, standing
from report_tables import Design, report_input

PANELS = (("copy", "direct", "seen"), ("sort", "direct", "seen"))
DESIGN = Design(layers=(1, 4), tokens=(6_000_000,), shots=1, prompts=8, panels=PANELS)
CONTENT = report_input(DESIGN)
N = 200
KEYS = {(series, panel) for series in ("1 layer", "4 layers") for panel in ("copy", "sort")}


def studied(last: tuple[int, int] = (60, N), start: tuple[int, int] = (0, N), chance: float | None = 0.1):
    """Return the curves of a study with these counts of right answers everywhere, intervals by SciPy."""
    rows = CONTENT.curves
    for shots, (right, n) in ((1, last), (0, start)):
        limits = stats.binomtest(right, n).proportion_ci(method="wilson")
        numbers = {"accuracy": right / n, "accuracy_lo": limits.low, "accuracy_hi": limits.high}
        rows = rows.with_columns(
            pl.when(pl.col("shots") == shots).then(number).otherwise(name).alias(name)
            for name, number in numbers.items()
        )
    return rows.with_columns(chance=pl.lit(chance, dtype=pl.Float64), n=pl.lit(N, dtype=pl.Int64))


def found(curves: pl.DataFrame, design: Design = DESIGN) -> set[bool | None]:
    said = standing(prepare(report_input(design, curves=curves)))
    assert set(said) == KEYS
    return set(said.values())


def test_the_mark_is_wilsons_limit_at_the_level_of_bonferroni():
    # Four comparisons: of a chance just below and just above the corrected limit, one is cleared.
    limit = stats.binomtest(60, N).proportion_ci(0.95 + 0.05 * 3 / 4, method="wilson").low
    assert found(studied(chance=limit - 1e-6)) == {True}
    assert found(studied(chance=limit + 1e-6)) == {False}


def test_rows_over_seeds_have_students_quantile():
    # Wilson's score test: at the limit (share - limit) over its error at the limit is the quantile.
    number, usual, corrected = 5, float(stats.t.ppf(0.975, 4)), float(stats.t.ppf(1 - 0.025 / 4, 4))
    share, trials = 0.5, 100

    def limit(quantile: float) -> float:
        square = quantile**2 / trials
        return float(min(np.roots([1 + square, -(2 * share + square), share**2])))

    pooled = studied().with_columns(
        accuracy=pl.when(pl.col("shots") == 1).then(share).otherwise("accuracy"),
        accuracy_lo=pl.when(pl.col("shots") == 1).then(limit(usual)).otherwise("accuracy_lo"),
        accuracy_hi=pl.when(pl.col("shots") == 1).then(1 - limit(usual)).otherwise("accuracy_hi"),
        accuracy_method=pl.lit(seeds.POOLED_SHARE),
        seeds=pl.lit(number, dtype=pl.Int32),
        seed=pl.lit(None, dtype=pl.Int32),
    )
    at = limit(corrected)
    assert found(pooled.with_columns(chance=pl.lit(at - 1e-6))) == {True}
    assert found(pooled.with_columns(chance=pl.lit(at + 1e-6))) == {False}


def test_an_accuracy_that_the_model_had_without_examples_does_not_count():
    assert found(studied(last=(120, N), start=(118, N))) == {False}
    assert found(studied(last=(120, N), start=(20, N))) == {True}


def test_without_answers_before_the_first_example_only_the_guess_counts():
    curves = studied(start=(118, N), last=(120, N)).filter(pl.col("shots") == 1)
    assert found(curves) == {True}
    assert marks(prepare(report_input(DESIGN, curves=curves))) == "chance"


@pytest.mark.parametrize("column", ["chance", "accuracy_lo"])
def test_where_a_number_is_missing_nothing_is_told(column: str):
    missing = studied().with_columns(pl.lit(None, dtype=pl.Float64).alias(column))
    if column == "accuracy_lo":
        missing = missing.with_columns(accuracy_hi=pl.lit(None, dtype=pl.Float64))
    assert found(missing) == {None}


def test_an_unknown_start_is_not_taken_for_none():
    unknown = studied().with_columns(
        pl.when(pl.col("shots") == 0).then(None).otherwise(name).alias(name)
        for name in ("accuracy_lo", "accuracy_hi")
    )
    assert found(unknown) == {None}


def test_every_seed_must_be_above():
    other = studied(last=(21, N)).with_columns(seed=pl.lit(1, dtype=pl.Int32))
    assert found(pl.concat([studied(), other])) == {False}


def test_world_knowledge_alone_reaches_what_the_page_says():
    # Twelve permutations of twelve objects; the guesser knows them, copies nothing, strikes off what was
    # shown and takes the most frequent answer left, without finding out which permutation is asked.
    rng = np.random.default_rng(0)
    remembered, uniform = [], []
    for _ in range(4_000):
        world = np.array([rng.permutation(12) for _ in range(12)])
        asked, query = world[rng.integers(12)], rng.integers(12)
        shown = asked[rng.choice(np.delete(np.arange(12), query), 10)]
        votes = np.bincount(world[:, query], minlength=12)
        votes[shown] = 0
        best = np.flatnonzero(votes == votes.max())
        remembered.append((asked[query] in best) / best.size)
        uniform.append(1 / (12 - np.unique(shown).size))
    assert np.mean(remembered) == pytest.approx(0.46, abs=0.02)
    assert np.mean(uniform) == pytest.approx(0.20, abs=0.02)
