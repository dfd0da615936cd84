"""What differs between the answers of two runs' models: accuracy and nats, cell by cell or over seeds.

Prompts that both runs answered are paired. A run's models over seeds are pooled as scores are (see `seeds`):
seeds and prompts are two crossed sources of chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float64
from scipy.special import stdtr

from emergelab.analysis import estimate, intervals
from emergelab.analysis.groups import SCALE, TASK, conform, numbers
from emergelab.analysis.seeds import FEWEST_SEEDS, crossed, crossed_gains
from emergelab.outcomes.pairs import holm, mcnemar_p
from emergelab.scores.tables import SCORES

# What tells corresponding cells; the number of parameters follows from the rest and from the vocabulary.
CORRESPONDENCE = (*(name for name in SCALE if name != "params"), "seed")
PAIRED_MEAN = "student_t, paired"
NEWCOMBE = "newcombe"
WELCH = "welch_t"
CROSSED_PAIRS = "student_t over seeds and prompts, paired"
CROSSED = "welch_t over seeds and prompts"
EQUAL = "all values equal"

_DESCRIPTION = tuple(name for name in CORRESPONDENCE if name != "seed")
_LABELS = (*TASK, "argument", "shots")
_MEASURES = ("accuracy", "nats")
_PER_MEASURE = ("a", "b", "difference", "lo", "hi", "p", "p_adjusted")

# One row for each pair of corresponding cells (seed given), or for all seeds of a scale (seed null and `seeds`
# at least five), and each task, form, split, decoding and argument. Differences are B - A, intervals 95 %,
# `p` two-sided and `p_adjusted` by Holm over all rows and both measures. `n_a` and `n_b` count answers; where
# `paired`, they are those that both runs gave to the same prompts.
COMPARISONS = pl.Schema(
    {name: pl.String if name == "variant" else pl.Int64 for name in _DESCRIPTION}
    | {"seed": pl.Int32, "seeds": pl.Int32}
    | {name: SCORES[name] for name in _LABELS}
    | {"paired": pl.Boolean, "n_a": pl.Int64, "n_b": pl.Int64}
    | {f"{measure}_{name}": pl.Float64 for measure in _MEASURES for name in _PER_MEASURE}
    | {f"{measure}_method": pl.String for measure in _MEASURES}
)

Groups = Float64[np.ndarray, " groups"]


@dataclass(frozen=True)
class Correspondence:
    """Which cells of two runs correspond, and which have no partner.

    `pairs` has the columns `CORRESPONDENCE`, cell_a and cell_b.
    """

    pairs: pl.DataFrame
    only_a: list[str]
    only_b: list[str]


def correspondence(a: pl.DataFrame, b: pl.DataFrame) -> Correspondence:
    """Pair cells of the same layers, width, training tokens, documents, variant and seed.

    `a` and `b` describe cells; a column that they lack is null. Raises ValueError where a run has two cells
    that nothing of this tells apart.
    """
    ours, theirs = _described(a, "cell_a"), _described(b, "cell_b")
    for cells, name in ((ours, "cell_a"), (theirs, "cell_b")):
        twice = cells.filter(pl.struct(CORRESPONDENCE).is_duplicated())[name].sort().to_list()
        if twice:
            raise ValueError(
                f"Cells of a run must differ in their scale, variant or seed. These do not: {twice}."
            )
    pairs = ours.join(theirs, on=CORRESPONDENCE, how="inner", nulls_equal=True, maintain_order="left")
    alone = [
        cells.join(pairs, on=name, how="anti")[name].sort().to_list()
        for cells, name in ((ours, "cell_a"), (theirs, "cell_b"))
    ]
    return Correspondence(pairs.sort(CORRESPONDENCE), *alone)


def _described(cells: pl.DataFrame, name: str) -> pl.DataFrame:
    columns = [
        (pl.col(column) if column in cells.columns else pl.lit(None)).cast(COMPARISONS[column]).alias(column)
        for column in CORRESPONDENCE
    ]
    return cells.select(*columns, pl.col("cell").alias(name))


def same_prompts(a: pl.DataFrame, b: pl.DataFrame) -> bool:
    """Tell whether nothing in two cells' `ITEMS` contradicts that both answered the same prompts.

    A prompt's number must come with the same arguments, fresh or repeated, and the same chance in both, and
    neither cell may have prompts that the other lacks.
    """
    keys = [*TASK, "prompt", "shot", "step"]
    kept = [*keys, "argument", "chance"]
    tasks = a.select("task", "form").unique().join(b.select("task", "form").unique(), on=["task", "form"])
    ours, theirs = (
        items.join(tasks, on=["task", "form"], how="semi").select(kept).sort(keys) for items in (a, b)
    )
    return ours.equals(theirs)


def compare_answers(a: pl.DataFrame, b: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Compare the whole answers of corresponding cells; return `COMPARISONS`, in order of their labels.

    `a` and `b` are `ITEMS`; `pairs` is that of a `Correspondence` with the column `paired`, whether the two cells
    answered the same prompts. From five seeds on the seeds of a scale are taken together; the prompts are paired
    if they are for all of them. Only groups of answers that both runs have are compared.
    """
    grouped = _groups(pairs)
    ours, theirs = _answers(a, grouped, "cell_a"), _answers(b, grouped, "cell_b")
    labels = [*_ROW, *_LABELS]
    groups = (
        ours.select(labels)
        .unique(maintain_order=True)
        .join(theirs.select(labels).unique(), on=labels, how="semi", nulls_equal=True)
        .sort(labels)
        .with_row_index("group")
    )
    ours, theirs = (
        answers.join(groups, on=labels, how="inner", nulls_equal=True, maintain_order="left").drop(labels)
        for answers in (ours, theirs)
    )
    described = groups.join(
        grouped.select(*_ROW, *_DESCRIPTION, "seed", "together", "paired").unique(_ROW, maintain_order=True),
        on=list(_ROW),
        nulls_equal=True,
        maintain_order="left",
    )
    found = [_compared(kind, ours, theirs, described) for kind in _KINDS]
    compared = pl.concat([part for part in found if part.height] or [_nothing()])
    rows = described.with_columns(
        seed=pl.when("together").then(None).otherwise("seed"),
    ).join(compared, on="group", maintain_order="left")
    return conform(_adjusted(rows), COMPARISONS)


_ROW = ("scale", "alone")  # a scale, and the one seed of it that stands alone (null: all together)
_KINDS = tuple((paired, together) for paired in (True, False) for together in (False, True))


def _groups(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs with a number for their scale, and whether its seeds are together and its prompts paired."""
    scales = pairs.select(_DESCRIPTION).unique(maintain_order=True).with_row_index("scale")
    numbered = pairs.join(scales, on=_DESCRIPTION, nulls_equal=True, maintain_order="left")
    together = pl.col("seed").count().over("scale") >= FEWEST_SEEDS
    frame = numbered.with_columns(together=together & pl.col("seed").is_not_null())
    alone = pl.when("together").then(None).otherwise(pl.col("seed").fill_null(-1))
    return frame.with_columns(
        alone=alone,
        paired=pl.when("together").then(pl.col("paired").all().over("scale", "together")).otherwise("paired"),
    )


def _answers(items: pl.DataFrame, grouped: pl.DataFrame, cell: str) -> pl.DataFrame:
    whole = items.filter(pl.col("step") == 0).rename({"shot": "shots"})
    named = grouped.select(pl.col(cell).alias("cell"), *_ROW, pl.col("seed").fill_null(-1))
    joined = whole.join(named, on="cell", how="inner", maintain_order="left")
    verdict = pl.col("correct").cast(pl.Float64)
    return joined.select(*_ROW, *_LABELS, "seed", "prompt", verdict, pl.col("nats").cast(pl.Float64))


def _compared(
    kind: tuple[bool, bool], ours: pl.DataFrame, theirs: pl.DataFrame, described: pl.DataFrame
) -> pl.DataFrame:
    paired, together = kind
    chosen = described.filter((pl.col("paired") == paired) & (pl.col("together") == together)).select("group")
    a, b = (answers.join(chosen, on="group", how="semi") for answers in (ours, theirs))
    if a.is_empty() or b.is_empty():
        return _nothing()
    if paired:
        both = a.join(b, on=["group", "seed", "prompt"], how="inner", suffix="_b", maintain_order="left")
        parts = (_paired_accuracy(both, together=together), _paired_nats(both, together=together))
    elif together:
        parts = (_crossed(a, b, "correct"), _crossed(a, b, "nats"))
    else:
        parts = (_two_shares(a, b), _two_means(a, b))
    accuracy, nats = (_named(part, name) for part, name in zip(parts, _MEASURES, strict=True))
    nats = nats.drop("nats_n_a", "nats_n_b", "nats_seeds")
    counted = accuracy.rename({"accuracy_n_a": "n_a", "accuracy_n_b": "n_b", "accuracy_seeds": "seeds"})
    joined = counted.join(nats, on="group", how="left", maintain_order="left")
    joined = joined.with_columns(pl.col("nats_method").fill_null(estimate.NO_VALUES))
    return conform(joined, _nothing().schema)


def _nothing() -> pl.DataFrame:
    names = [f"{measure}_{name}" for measure in _MEASURES for name in _PER_MEASURE if name != "p_adjusted"]
    schema = {"group": pl.UInt32, "seeds": pl.Int32, "n_a": pl.Int64, "n_b": pl.Int64}
    return pl.DataFrame(schema=schema | dict.fromkeys(names, pl.Float64) | _METHODS)


_METHODS = {f"{measure}_method": pl.String for measure in _MEASURES}


def _named(part: pl.DataFrame, measure: str) -> pl.DataFrame:
    return part.rename({name: f"{measure}_{name}" for name in part.columns if name != "group"})


def _paired_accuracy(both: pl.DataFrame, *, together: bool) -> pl.DataFrame:
    present = both.filter(pl.col("correct").is_not_null() & pl.col("correct_b").is_not_null())
    sums = _pair_sums(present, "correct")
    if together:
        gain = pl.col("correct_b") - pl.col("correct")
        gains = crossed_gains(present.with_columns(value=gain)).rename({"value": "difference"})
        rows = sums.join(gains.drop("n", "seeds"), on="group", maintain_order="left")
        difference, variance, seeds, prompts = numbers(rows, "difference", "variance", "seeds", "prompts")
        lo, hi = numbers(rows, "lo", "hi")
        # As for the interval: one prompt gained and one lost are added to what varied.
        error = np.sqrt(np.maximum(variance, 2 / np.square(prompts + 2)))
        p = student_p(difference, error, seeds - 1)
        return _finished(rows, (difference, lo, hi, p), pl.lit(CROSSED_PAIRS))
    gained, lost, n = numbers(sums, "gained", "lost", "n_a")
    interval = intervals.paired_shares(gained, lost, n)
    values = ((gained - lost) / n, *interval, mcnemar_p(gained, lost))
    return _finished(sums, values, pl.lit(estimate.PAIRED_SHARES))


def _paired_nats(both: pl.DataFrame, *, together: bool) -> pl.DataFrame:
    difference = pl.col("nats_b") - pl.col("nats")
    present = both.filter(difference.is_finite()).with_columns(value=difference)
    sums = _pair_sums(present, "nats")
    if together:
        rows = sums.join(
            crossed(present).drop("n", "seeds"), on="group", maintain_order="left", suffix="_crossed"
        )
        value, variance, seeds = numbers(rows, "value", "variance", "seeds")
        interval = intervals.student(value, variance, seeds - 1)
        p = student_p(value, np.sqrt(variance), seeds - 1)
        return _finished(rows, (value, *interval, p), _method(CROSSED_PAIRS, "variance"))
    # Differences of two skewed values are hardly skewed: Hall's interval, which estimates their skewness, covers
    # .93 of 50 pairs of exponential values, Student's .95.
    mean, deviation, n = numbers(sums, "mean", "deviation", "n_a")
    with np.errstate(invalid="ignore"):
        error = deviation / np.sqrt(n)
    interval = intervals.student(mean, error**2, n - 1)
    return _finished(
        sums, (mean, *interval, student_p(mean, error, n - 1)), _method(PAIRED_MEAN, "deviation")
    )


def _pair_sums(present: pl.DataFrame, measure: str) -> pl.DataFrame:
    a, b = pl.col(measure), pl.col(f"{measure}_b")
    change = b - a
    return present.group_by("group", maintain_order=True).agg(
        a=a.mean(),
        b=b.mean(),
        n_a=pl.len(),
        n_b=pl.len(),
        seeds=pl.col("seed").n_unique(),
        gained=(change > 0).sum(),
        lost=(change < 0).sum(),
        mean=change.mean(),
        deviation=change.std(ddof=1),
    )


def _two_shares(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    """Compare shares of independent prompts: Newcombe's hybrid of two score intervals, Fisher's exact test."""
    rows = _side(a, "correct", "a").join(_side(b, "correct", "b"), on="group", maintain_order="left")
    rows = rows.with_columns(seeds=pl.lit(1))
    share_a, n_a, share_b, n_b = numbers(rows, "a", "n_a", "b", "n_b")
    interval = newcombe((share_a, n_a), (share_b, n_b))
    p = fisher_p((np.rint(share_a * n_a), n_a), (np.rint(share_b * n_b), n_b))
    return _finished(rows, (share_b - share_a, *interval, p), pl.lit(NEWCOMBE))


def _two_means(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    """Compare means of independent prompts (Welch 1947, Biometrika 34:28)."""
    rows = _side(a, "nats", "a").join(_side(b, "nats", "b"), on="group", maintain_order="left")
    rows = rows.with_columns(
        seeds=pl.lit(1),
        variance_a=pl.col("spread_a") / pl.col("n_a"),
        variance_b=pl.col("spread_b") / pl.col("n_b"),
    )
    return _welch(rows, ("n_a", "n_b"), WELCH)


def _crossed(a: pl.DataFrame, b: pl.DataFrame, measure: str) -> pl.DataFrame:
    """Compare means over seeds and prompts, which the two runs do not share."""
    sides = [
        crossed(_finite(answers.with_columns(value=pl.col(measure)))).select(
            "group",
            pl.col("value").alias(side),
            pl.col("variance").alias(f"variance_{side}"),
            pl.col("n").alias(f"n_{side}"),
            pl.col("seeds").alias(f"seeds_{side}"),
            pl.col("prompts").alias(f"prompts_{side}"),
        )
        for answers, side in ((a, "a"), (b, "b"))
    ]
    rows = sides[0].join(sides[1], on="group", maintain_order="left")
    rows = rows.with_columns(seeds=pl.min_horizontal("seeds_a", "seeds_b"))
    if measure == "correct":
        # That nothing varied this time does not say that nothing can: as if one prompt more had been either.
        floors = (
            pl.max_horizontal(f"variance_{side}", 1.0 / (pl.col(f"prompts_{side}") + 2) ** 2).alias(
                f"variance_{side}"
            )
            for side in "ab"
        )
        rows = rows.with_columns(*floors)
    found = _welch(rows, ("seeds_a", "seeds_b"), CROSSED)
    if measure == "correct":
        return found.with_columns(pl.col("lo").clip(-1.0, 1.0), pl.col("hi").clip(-1.0, 1.0))
    return found


def _welch(rows: pl.DataFrame, counts: tuple[str, str], method: str) -> pl.DataFrame:
    a, b, variance_a, variance_b = numbers(rows, "a", "b", "variance_a", "variance_b")
    count_a, count_b = numbers(rows, *counts)
    variance = variance_a + variance_b
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = variance**2 / (variance_a**2 / (count_a - 1) + variance_b**2 / (count_b - 1))
    freedom = np.where(variance == 0, np.minimum(count_a, count_b) - 1, freedom)
    interval = intervals.student(b - a, variance, freedom)
    p = student_p(b - a, np.sqrt(variance), freedom)
    rows = rows.with_columns(pl.Series("variance", variance))
    return _finished(rows, (b - a, *interval, p), _method(method, "variance"))


def _side(answers: pl.DataFrame, measure: str, side: str) -> pl.DataFrame:
    present = _finite(answers.with_columns(value=pl.col(measure))).group_by("group", maintain_order=True)
    value = pl.col("value")
    return present.agg(
        value.mean().alias(side), value.var(ddof=1).alias(f"spread_{side}"), pl.len().alias(f"n_{side}")
    )


def _finite(answers: pl.DataFrame) -> pl.DataFrame:
    return answers.filter(pl.col("value").is_finite())


def _method(method: str, spread: str) -> pl.Expr:
    """Name the method, or say why there is no interval, or none of any width."""
    known = pl.col(spread).is_not_null() & pl.col(spread).is_not_nan()
    return (
        pl.when(~known)
        .then(pl.lit(estimate.ONE_VALUE))
        .when(pl.col(spread) == 0)
        .then(pl.lit(EQUAL))
        .otherwise(pl.lit(method))
    )


def _finished(
    rows: pl.DataFrame, values: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], method: pl.Expr
) -> pl.DataFrame:
    series = [
        pl.Series(name, value, dtype=pl.Float64, nan_to_null=True)
        for name, value in zip(("difference", "lo", "hi", "p"), values, strict=True)
    ]
    named = rows.with_columns(*series, method=method)
    return named.select("group", "a", "b", "difference", "lo", "hi", "p", "n_a", "n_b", "seeds", "method")


def _adjusted(rows: pl.DataFrame) -> pl.DataFrame:
    """Add Holm's adjusted p of both measures, over all rows and both measures together."""
    names = [f"{measure}_p" for measure in _MEASURES]
    both = np.concatenate(numbers(rows, *names))
    parts = np.split(holm(both), len(names))
    return rows.with_columns(
        pl.Series(f"{name}_adjusted", part, nan_to_null=True) for name, part in zip(names, parts, strict=True)
    )


def newcombe(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> intervals.Interval:
    """Return the interval for the difference b - a of two independent shares, each given as (share, n).

    It joins the two score intervals (Newcombe 1998, Statist. Med. 17:873, method 10).
    """
    (share_a, _), (share_b, _) = a, b
    (lo_a, hi_a), (lo_b, hi_b) = intervals.wilson(*a), intervals.wilson(*b)
    difference = share_b - share_a
    lo = difference - np.sqrt((share_b - lo_b) ** 2 + (hi_a - share_a) ** 2)
    hi = difference + np.sqrt((hi_b - share_b) ** 2 + (share_a - lo_a) ** 2)
    return lo, hi


def fisher_p(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> Groups:
    """Return twice the smaller tail of Fisher's exact test that two shares, given as (right, n), are the same."""
    from scipy.stats import hypergeom  # noqa: PLC0415 - takes a second to load, for one column

    (right_a, n_a), (right_b, n_b) = a, b
    law = hypergeom(n_a + n_b, right_a + right_b, n_b)
    tail = np.minimum(law.cdf(right_b), law.sf(right_b - 1))
    return np.minimum(1.0, 2.0 * np.reshape(tail, np.shape(right_b)))


def student_p(difference: np.ndarray, error: np.ndarray, freedom: np.ndarray) -> Groups:
    """Return the two-sided p of a difference with this standard error; 1 where it and its error are 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2.0 * stdtr(freedom, -np.abs(difference) / error)
    return np.where((error == 0) & (difference == 0), 1.0, np.where(freedom > 0, p, np.nan))
