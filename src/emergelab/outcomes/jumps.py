"""Changes of accuracy between neighbouring checkpoints, paired by item, and whether they are too large to believe."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from jaxtyping import Float64
from scipy.special import bdtrc

from emergelab.outcomes.findings import Finding, be, counted, distinct, named
from emergelab.outcomes.level_screens import untrained_cells
from emergelab.outcomes.pairs import holm, mcnemar_p
from emergelab.outcomes.schema import CELL
from emergelab.outcomes.survey import SURE, Survey

JUMP = 0.1
"""Change of accuracy below which a jump is of no interest, however sure."""

_MOST = 0.5
_SURELY = 1.645  # of the standard normal law, on one side
_FEWEST_STEPS = 20
_CURVE = ("system", "task")


def steps(survey: Survey) -> pl.DataFrame:
    """Return every step of a task's accuracy from one checkpoint to the next that answered it.

    Columns: system, task, place (number of the checkpoint in this curve), checkpoint, train_tokens, before (the
    checkpoint before it), items that both answered, gained and lost (items that became right and wrong), change, p.
    `p` is the exact two-sided one of McNemar 1947, by items; where items were answered repeatedly, gained and lost are
    sums of changes of their means, and the test is that of equally precise counts.
    """
    places = _places(survey)
    found = _changes(survey, places).collect()
    p = mcnemar_p(*(found[name].to_numpy() for name in ("gained", "lost", "squares")))
    checkpoints = places.select(*_CURVE, "place", "checkpoint", "train_tokens")
    before = places.select(*_CURVE, before="checkpoint", place=pl.col("place") + 1)
    return (
        found.with_columns(
            p=pl.Series(p, dtype=pl.Float64), change=(pl.col("gained") - pl.col("lost")) / pl.col("items")
        )
        .join(checkpoints, on=(*_CURVE, "place"))
        .join(before, on=(*_CURVE, "place"))
        .drop("squares")
        .sort(*_CURVE, "place")
    )


def implausible_jumps(survey: Survey) -> Iterator[Finding]:
    """Find checkpoints that leave their curve and come back, falls that last, unresolved rises, and noise."""
    known = steps(survey)
    if known.is_empty():
        return
    held = pl.Series(holm(known["p"].to_numpy()), dtype=pl.Float64)
    sure = (held < SURE) & (known["change"].abs() >= JUMP)
    marked = _returning(known.with_columns(p_all=held, sure=sure))
    yield from _outliers(survey, marked)
    yield from _falls(survey, marked)
    yield from _noise(survey, marked)
    yield from _unresolved(survey, marked)


def _places(survey: Survey) -> pl.DataFrame:
    """Return the checkpoints of each curve, numbered in the order of training."""
    known = survey.measured.sort(*_CURVE, "place")
    number = pl.int_range(pl.len()).over(_CURVE).cast(pl.Int64)
    return known.select(*_CURVE, "checkpoint", "train_tokens", place=number)


def _changes(survey: Survey, places: pl.DataFrame) -> pl.LazyFrame:
    answers = (
        survey.frame.lazy()
        .filter(pl.col("correct").is_not_null())
        .join(places.lazy().drop("train_tokens"), on=(*CELL, "task"))
        .select(
            *_CURVE,
            "place",
            item=pl.struct(*_CURVE, "piece").hash(),
            right=pl.col("correct").cast(pl.Float64),
        )
    )
    if survey.repeated:
        answers = answers.group_by(*_CURVE, "place", "item").agg(pl.col("right").mean())
    ordered = answers.sort("item", "place")
    follows = (pl.col("item") == pl.col("item").shift()) & (pl.col("place") == pl.col("place").shift() + 1)
    change = pl.col("right") - pl.col("right").shift()
    return (
        ordered.with_columns(change=change, follows=follows)
        .filter("follows")
        .group_by(*_CURVE, "place")
        .agg(
            items=pl.len(),
            gained=pl.col("change").clip(lower_bound=0).sum(),
            lost=-pl.col("change").clip(upper_bound=0).sum(),
            squares=pl.col("change").pow(2).sum(),
        )
        .sort(*_CURVE, "place")
    )


def _returning(known: pl.DataFrame) -> pl.DataFrame:
    """Mark steps whose checkpoint the curve leaves again, as surely, in the other direction."""
    after = known.select(*_CURVE, place=pl.col("place") - 1, next_change="change", next_sure="sure")
    opposite = pl.col("change") * pl.col("next_change") < 0
    back = (pl.col("sure") & pl.col("next_sure") & opposite).fill_null(value=False)
    return known.join(after, on=(*_CURVE, "place"), how="left").with_columns(back=back).sort(*_CURVE, "place")


def _outliers(survey: Survey, marked: pl.DataFrame) -> Iterator[Finding]:
    found = marked.filter("back")
    if found.is_empty():
        return
    at = (
        found.group_by(CELL)
        .agg(
            pl.len().alias("tasks"), (pl.col("change") < 0).sum().alias("dips"), pl.col("change").abs().max()
        )
        .sort("tasks", *CELL, descending=[True, False, False])
    )
    cases = [
        f"{checkpoint} ({counted(tasks, 'task')})"
        for checkpoint, tasks in at.select("checkpoint", "tasks").iter_rows()
    ]
    dips = int(at["dips"].sum())
    yield survey.finding(
        "implausible jumps",
        "warning",
        "checkpoints that leave their curve and come back",
        tasks=distinct(found, "task"),
        systems=distinct(found, "system"),
        rows=_rows(survey, found),
        message=f"{counted(dips, 'dip')} and {counted(found.height - dips, 'spike')} of single checkpoints, by up to "
        f"{at['change'].max():.2f}, are surely more than chance both ways: {named(cases)}.",
        consequence="Emergence and curves over tokens: such a point can make or hide a break. Look at its prompts, "
        "scoring and weights, or ask with and without it.",
        details=found.select(*_DETAILS, "next_change"),
    )


_DETAILS = ("system", "task", "before", "checkpoint", "items", "gained", "lost", "change", "p_all")


def _falls(survey: Survey, marked: pl.DataFrame) -> Iterator[Finding]:
    came_back = pl.col("back").shift().over(_CURVE).fill_null(value=False)
    found = marked.filter(pl.col("sure") & (pl.col("change") < 0) & ~pl.col("back") & ~came_back)
    if found.is_empty():
        return
    worst = found.sort("change")
    cases = [
        f"{task} of {system} at {checkpoint} ({change:+.2f})"
        for task, system, checkpoint, change in worst.select("task", *CELL, "change").iter_rows()
    ]
    yield survey.finding(
        "implausible jumps",
        "warning",
        "falls between neighbouring checkpoints",
        tasks=distinct(found, "task"),
        systems=distinct(found, "system"),
        rows=_rows(survey, found),
        message=f"Accuracy falls surely, by {JUMP:.1f} or more, in {found.height:,} of "
        f"{counted(marked.height, 'step')} between neighbouring checkpoints: {named(cases, 3)}.",
        consequence="Emergence: curves are not monotone, so thresholds depend on the checkpoint that crosses them. "
        "Forecast: a curve that only rises does not describe these tasks.",
        details=worst.select(_DETAILS),
    )


def _noise(survey: Survey, marked: pl.DataFrame) -> Iterator[Finding]:
    """Say whether neighbouring checkpoints differ by more than their items do by chance.

    Learning makes falls rarer than chance does; so too many falls show noise that is not of the items.
    """
    moved = marked.filter(pl.col("gained") + pl.col("lost") > 0)
    learned = moved.join(untrained_cells(survey), on=CELL, how="anti")
    counts = pl.concat([_fallen(learned, by) for by in _CURVE])
    counts = counts.filter(pl.col("steps") >= _FEWEST_STEPS)
    p = holm(_more_often(counts["falls"].to_numpy(), counts["steps"].to_numpy()))
    found = counts.with_columns(p=pl.Series(p, dtype=pl.Float64)).filter(pl.col("p") < SURE)
    if found.is_empty():
        return
    cases = [
        f"{name} ({falls / number:.0%} of {number:,} steps, {factor:.1f} times the variance of items)"
        for name, falls, number, factor in found.select("name", "falls", "steps", "factor").iter_rows()
    ]
    systems, tasks = (found.filter(pl.col("of") == by)["name"].to_list() for by in _CURVE)
    yield survey.finding(
        "noise between checkpoints",
        "warning",
        "checkpoints that differ by more than their items do",
        systems=systems or survey.systems,
        tasks=() if systems else tasks,
        message=f"Falls that chance alone makes in {SURE:.0%} of steps are more frequent here: {named(cases)}.",
        consequence="Emergence and forecast: intervals from items alone are too narrow; something that items share, "
        "prompts or the checkpoint itself, moves accuracy. Composition: compare within a checkpoint.",
        details=found,
    )


def _fallen(learned: pl.DataFrame, by: str) -> pl.DataFrame:
    """Count the steps of a system or a task, and those that fall with p < `SURE`; compare variances."""
    difference, moved = pl.col("gained") - pl.col("lost"), pl.col("gained") + pl.col("lost")
    counts = learned.group_by(name=by).agg(
        steps=pl.len(),
        falls=((difference < 0) & (pl.col("p") / 2 < SURE)).sum(),
        factor=(difference.pow(2) / moved).median() / _MEDIAN,
    )
    return counts.with_columns(of=pl.lit(by)).sort("name")


def _more_often(events: np.ndarray, trials: np.ndarray) -> Float64[np.ndarray, " groups"]:
    """Return the probability of so many events or more, each of them as likely as `SURE`."""
    return bdtrc(events.astype(np.float64) - 1, trials.astype(np.int64), SURE)


_MEDIAN = 0.4549364231195728  # of chi-square with one degree of freedom


def _unresolved(survey: Survey, marked: pl.DataFrame) -> Iterator[Finding]:
    """Find curves more than half of whose rise surely lies between two neighbouring checkpoints."""
    highest, lowest = pl.col("accuracy").max(), pl.col("accuracy").min()
    levels = survey.measured.group_by(_CURVE).agg(rise=highest - lowest, points=pl.len())
    curves = levels.filter((pl.col("rise") >= 2 * JUMP) & (pl.col("points") > 2))  # noqa: PLR2004  two have one step
    steepest = (
        marked.filter("sure").sort("change", descending=True).group_by(_CURVE, maintain_order=True).first()
    )
    found = steepest.join(curves, on=_CURVE).filter(_lower_limit() >= _MOST * pl.col("rise")).sort(_CURVE)
    if found.is_empty():
        return
    at = (
        found.group_by("system", "before", "checkpoint").len().sort("len", "system", descending=[True, False])
    )
    cases = [
        f"{before} to {checkpoint} ({counted(number, 'task')} of {system})"
        for system, before, checkpoint, number in at.iter_rows()
    ]
    yield survey.finding(
        "unresolved rises",
        "warning",
        "rises that lie between two neighbouring checkpoints",
        tasks=distinct(found, "task"),
        systems=distinct(found, "system"),
        rows=_rows(survey, found),
        message=f"Of {counted(curves.height, 'curve')} with a rise, {found.height:,} {be(found.height)} more than half "
        f"risen within one step: {named(cases, 3)}.",
        consequence="Emergence: a threshold is known to lie between these checkpoints and no better, and sharpness not "
        "at all: a smooth rise looks like a jump there. Checkpoints in between would decide.",
        details=found.select(*_DETAILS, "rise"),
    )


def _lower_limit() -> pl.Expr:
    """Return the lower 95 % limit of a step's change, from the items that moved."""
    variance = (pl.col("gained") + pl.col("lost")) / pl.col("items") - pl.col("change").pow(2)
    return pl.col("change") - _SURELY * (variance / pl.col("items")).sqrt()


def _rows(survey: Survey, found: pl.DataFrame) -> int:
    return int(survey.tallies.join(found, on=("task", *CELL), how="semi")["rows"].sum())
