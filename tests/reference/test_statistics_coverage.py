"""Do 95 % intervals hold the truth 95 times in 100? By exact sums where they exist, else by simulation.

A simulated share of R intervals has a standard error of sqrt(.95 * .05 / R), .005 at R = 2000; the limits
below leave four of them.
"""

import numpy as np
import polars as pl
import pytest
from scipy import special, stats

from emergelab.analysis import intervals
from emergelab.analysis.aggregate import CELLS, curves_from_scores, scores_from_items
from emergelab.analysis.estimate import ratio
from emergelab.rng import stream
from emergelab.scores.tables import ITEMS

SIMULATIONS = 2000


def covered(interval: tuple[np.ndarray, np.ndarray], truth: float) -> np.ndarray:
    return (interval[0] <= truth) & (truth <= interval[1])


def mean_coverage(values: np.ndarray, truth: float) -> dict[str, float]:
    n = values.shape[1]
    moments = (values.mean(1), values.std(1, ddof=1), stats.skew(values, axis=1))
    skewed = intervals.skewed_mean(*moments, np.full(len(values), n))
    plain = intervals.student(moments[0], moments[1] ** 2 / n, np.full(len(values), n - 1))
    return {"skewed": covered(skewed, truth).mean(), "plain": covered(plain, truth).mean()}


def test_wilson_covers_exactly_computed():
    """Sum the binomial law over the outcomes whose interval holds the share, over many shares."""
    for n in (30, 100, 500):
        outcomes = np.arange(n + 1)
        interval = intervals.wilson(outcomes / n, np.full(n + 1, n))
        shares = np.linspace(0.02, 0.98, 97)
        coverage = [stats.binom.pmf(outcomes, n, p) @ covered(interval, p) for p in shares]
        assert np.mean(coverage) == pytest.approx(0.95, abs=0.008)
        assert min(coverage) > 0.84  # its known dips, near 0 and 1


@pytest.mark.parametrize(("more", "less"), [(0.1, 0.1), (0.3, 0.05), (0.5, 0.0), (0.02, 0.02)])
@pytest.mark.parametrize("n", [20, 60])
def test_paired_shares_cover_exactly_computed(more: float, less: float, n: int):
    gained, lost = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = gained + lost <= n
    gained, lost = gained[possible], lost[possible]
    counts = np.stack([gained, lost, n - gained - lost], axis=1)
    law = stats.multinomial.pmf(counts, n, [more, less, 1 - more - less])
    coverage = law @ covered(intervals.paired_shares(gained, lost, np.full(len(gained), n)), more - less)
    assert 0.93 < coverage <= 1


@pytest.mark.parametrize(("n", "least"), [(30, 0.925), (100, 0.93), (500, 0.93)])
def test_the_skewed_mean_covers_exponential_nats(n: int, least: float):
    values = stream(0, "coverage", "exponential", n).generator().exponential(size=(SIMULATIONS, n))
    assert least < mean_coverage(values, 1.0)["skewed"] < 0.975


def test_the_skewed_mean_covers_where_students_does_not():
    """One answer in twenty costs much, the others nearly nothing: nats of a model that has learned."""
    generator = stream(0, "coverage", "rare").generator()
    shape = (SIMULATIONS, 100)
    dear = generator.random(shape) < 0.05
    values = np.where(dear, 0.7 + generator.exponential(4.0, shape), generator.exponential(0.01, shape))
    coverage = mean_coverage(values, 0.05 * 4.7 + 0.95 * 0.01)
    assert coverage["plain"] < 0.85
    assert coverage["skewed"] > 0.91


@pytest.mark.parametrize("later", [(0.95, 0.1), (0.5, 0.5), (0.1, 0.1)])
@pytest.mark.parametrize("n", [30, 500])
def test_the_share_of_right_steps_is_covered_whether_or_not_steps_hang_together(
    later: tuple[float, float], n: int
):
    generator = stream(0, "coverage", "steps", n).generator()
    first = generator.random((SIMULATIONS, n)) < 0.5
    second = generator.random((SIMULATIONS, n)) < np.where(first, *later)
    credit = (first.astype(float) + second) / 2
    share, trials = credit.mean(1), np.full(SIMULATIONS, n)
    trials = intervals.effective_trials(share, credit.var(1) / n, (trials, 2 * trials))
    coverage = covered(intervals.wilson(share, trials), 0.25 + np.mean(later) / 2).mean()
    assert 0.93 < coverage < 0.975


def test_documents_as_clusters_cover_and_tokens_as_clusters_do_not():
    generator = stream(0, "coverage", "documents").generator()
    held = {"documents": 0, "tokens": 0}
    for _ in range(400):
        tokens = generator.integers(5, 40, size=60)
        level = generator.gamma(4, 0.25, size=60)  # what the tokens of one document share
        losses = np.repeat(level, tokens) + generator.normal(0, 0.1, tokens.sum())
        nats = np.add.reduceat(losses, np.r_[0, tokens.cumsum()[:-1]])
        for name, found in (
            ("documents", ratio(nats, tokens.astype(float))),
            ("tokens", ratio(losses, np.ones(losses.size))),
        ):
            held[name] += found.lo <= 1.0 <= found.hi
    assert held["documents"] / 400 > 0.90
    assert held["tokens"] / 400 < 0.6


SEEDS, PROMPTS, STUDIES = 5, 40, 400


def pooled(chance_of_right: np.ndarray, nats: np.ndarray) -> pl.DataFrame:
    """Return the pooled rows of many studies at once, [studies, seeds, prompts], each under a task's name."""
    studies, seeds, prompts = nats.shape
    study, seed, prompt = (index.ravel() for index in np.indices(nats.shape))
    right = stream(0, "coverage", "right").generator().random(nats.shape) < chance_of_right
    frame = pl.DataFrame({"task": study, "seed": seed, "prompt": prompt, "nats": nats.ravel()})
    frame = frame.with_columns(
        pl.Series("correct", right.ravel()),
        *(pl.lit(name).alias(name) for name in ("predictor", "form", "split", "decoding", "argument")),
        cell=pl.format("run{}", "seed"),
        shot=pl.lit(1),
        step=pl.lit(0),
        chance=pl.lit(0.1),
    )
    items = frame.select(pl.col(name).cast(kind) for name, kind in ITEMS.items())
    cells = pl.DataFrame(
        [{"cell": f"run{seed}", "layers": 1, "seed": seed} for seed in range(seeds)], schema=CELLS
    )
    curves = curves_from_scores(scores_from_items(items, cells), items).filter(pl.col("seed").is_null())
    assert (len(curves), curves["n"][0]) == (studies, seeds * prompts)
    return curves


@pytest.mark.parametrize("seeds_differ", [0.0, 0.3, 1.5])
@pytest.mark.parametrize("prompts_differ", [0.0, 1.0])
def test_pooled_intervals_cover_new_runs_and_new_prompts(seeds_differ: float, prompts_differ: float):
    """Log-odds and nats are sums of what the run is, what the prompt is (to all runs) and chance."""
    generator = stream(0, "coverage", "pooled").generator()
    run = seeds_differ * generator.normal(size=(STUDIES, SEEDS, 1))
    prompt = prompts_differ * generator.normal(size=(STUDIES, 1, PROMPTS))
    nats = 10 + run + prompt + generator.normal(size=(STUDIES, SEEDS, PROMPTS))
    curves = pooled(special.expit(1 + run + prompt), nats)
    spread = np.hypot(seeds_differ, prompts_differ)
    truth = special.expit(1 + spread * generator.normal(size=400_000)).mean()
    for name, value in (("accuracy", truth), ("nats", 10.0)):
        limits = (curves[f"{name}_lo"].to_numpy(), curves[f"{name}_hi"].to_numpy())
        assert covered(limits, value).mean() > 0.93, name
        # Covering by mere width is no art: Student's quantile of 4 is 1.42 times the normal one.
        assert np.median(limits[1] - limits[0]) < 1.5 * width_needed(curves[name].to_numpy())


def width_needed(estimates: np.ndarray) -> float:
    """Return the width that would cover 95 % with the estimate's variance known."""
    return 2 * 1.96 * float(estimates.std())
