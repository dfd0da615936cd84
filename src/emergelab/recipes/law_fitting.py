"""A scaling law fitted to a table of results, what is known of its constants, and what scale does by it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import kendalltau

from emergelab.analysis.estimate import Estimate
from emergelab.analysis.scaling.curves import PLAIN
from emergelab.analysis.scaling.influence import Influence, influences
from emergelab.analysis.scaling.law import DELTA, FEWEST, NAMES, LawEstimate, Runs, estimate_law
from emergelab.errors import UserError
from emergelab.outcomes.columns import Columns
from emergelab.outcomes.files import TableError
from emergelab.recipes.ladders import TableQuestion, open_table, swapped
from emergelab.rng import stream
from emergelab.theory.curve_checks import counts_of, share_of
from emergelab.theory.curves import Curve, TupleKind, Tuples, failure
from emergelab.theory.scaling import (
    LINEAR_SLOPE,
    LINKS,
    PUBLISHED,
    ScalingLaw,
    Step,
    compute_of,
    failing_share,
    slingshot,
)

_COLLINEAR = 0.98
_PERPLEXITY = 14.0  # nats: more than a million equally likely tokens
_WIDE = 0.2  # of the least loss, for an interval of E
_LEVEL = (0.025, 0.975)
_FAR = 100.0  # times the most compute fitted
_LARGEST_FACTOR, _LARGEST_COMPUTE = 1e9, 1e40


class LawError(UserError):
    """A law that cannot be fitted, or a question about one that has no answer."""


@dataclass(frozen=True, kw_only=True)
class LawQuestion:
    """Which losses of which table: a column, or the name of a metric of a table with a row for each result."""

    table: TableQuestion
    loss: str
    delta: float = DELTA
    samples: int = 1000


@dataclass(frozen=True)
class FittedLaw:
    """The estimate, the labels of the points, what a few points do to it, and what to be warned of."""

    estimate: LawEstimate
    labels: tuple[str, ...]
    influences: list[Influence]
    warnings: tuple[str, ...]


def fitted_law(question: LawQuestion) -> FittedLaw:
    """Fit the law to a table. Raises TableError or LawError."""
    if not (np.isfinite(question.delta) and question.delta > 0):
        raise LawError(f"Got --delta {question.delta:g}. It is a residual of log L, above 0. Give 0.001.")
    runs, labels, lost = _read_runs(question)
    warnings = [f"{lost} rows have no finite numbers and were left out."] if lost else []
    warnings += [*swapped(runs.params, runs.tokens), *_about_runs(runs)]
    estimate = estimate_law(runs, stream(0, "law"), samples=question.samples, delta=question.delta)
    found = influences(estimate)
    warnings += about_constants(estimate)
    warnings += [_hanging(one, labels) for one in found if one.decisive]
    return FittedLaw(estimate, labels, found, tuple(warnings))


def law_of(question: LawQuestion) -> dict[str, Any]:
    """Return the fitted law as JSON values: each constant with value, lo, hi, method and n; warnings."""
    fitted = fitted_law(question)
    estimate = fitted.estimate
    return {
        "law": "L = E + A/N^a + B/D^b, nats",
        "n": int(estimate.fit.runs.losses.size),
        "runs": int(np.unique(estimate.fit.runs.run).size),
        "delta": question.delta,
        **{name: asdict(estimate.constants[name]) for name in NAMES},
        "E_bootstrap": asdict(estimate.bootstrap_of_E),
        "residual": float(np.sqrt(np.mean(estimate.fit.residuals**2))),
        "influence": [
            {
                "constant": one.parameter,
                "value": one.value,
                "without": one.without,
                "left_out": [fitted.labels[point] for point in one.points],
                "decisive": one.decisive,
            }
            for one in fitted.influences
        ],
        "warnings": list(fitted.warnings),
    }


def _read_runs(question: LawQuestion) -> tuple[Runs, tuple[str, ...], int]:
    """Return the runs, their labels, and how many rows were left out."""
    frame, columns = open_table(question.table)
    frame, value = _rows_of(frame, columns, question.loss)
    try:
        numbers = frame.select(
            params=pl.col(columns.params).cast(pl.Float64),
            tokens=pl.col(columns.tokens).cast(pl.Float64),
            loss=pl.col(value).cast(pl.Float64),
        )
    except pl.exceptions.PolarsError as error:
        raise TableError(
            f"A column of numbers holds something else: {str(error).splitlines()[0][:200]} Mend the table."
        ) from error
    labels = frame[columns.run] if columns.run else pl.Series(range(len(frame)))
    labels = labels.cast(pl.String).fill_null("")
    there = numbers.select(pl.all_horizontal(pl.all().is_finite()).fill_null(value=False)).to_series()
    _require_numbers(numbers.filter(there), question.loss)
    kept = labels.filter(there)
    _, run = np.unique(kept.to_numpy(), return_inverse=True)
    params, tokens, losses = (numbers[name].filter(there).to_numpy() for name in numbers.columns)
    return Runs(params, tokens, losses, run.astype(np.int64)), tuple(kept), int((~there).sum())


def _rows_of(frame: pl.DataFrame, columns: Columns, loss: str) -> tuple[pl.DataFrame, str]:
    """Return the rows of a metric and the column of its values."""
    if loss in frame.columns:
        return frame, loss
    if columns.long and columns.name and columns.value:
        rows = frame.filter(pl.col(columns.name) == loss)
        if not rows.is_empty():
            _require_one_corpus(rows, columns)
            return rows, columns.value
    raise LawError(
        f"The table has neither a column nor a metric {loss[:100]!r}. Its columns are {', '.join(frame.columns[:12])}. "
        "Name one of losses with --loss."
    )


def _require_one_corpus(rows: pl.DataFrame, columns: Columns) -> None:
    if columns.group is None or rows[columns.group].n_unique() == 1:
        return
    known = sorted(rows[columns.group].cast(pl.String).unique().to_list())
    raise LawError(
        f"The runs were trained on {len(known)} corpora ({', '.join(known[:5])}), and a law holds for one. Choose with "
        f"--where {columns.group}={known[0]}."
    )


def _require_numbers(numbers: pl.DataFrame, loss: str) -> None:
    if numbers.height < FEWEST:
        raise LawError(
            f"There are {numbers.height} points with finite numbers. The law has {PLAIN} constants and needs {FEWEST} "
            "points at least. Add runs."
        )
    for name in ("params", "tokens"):
        if (numbers[name] <= 0).any():
            raise LawError(
                f"The smallest of {name} is {numbers[name].min()}. Both must be above 0. Mend these rows."
            )
        if numbers[name].n_unique() == 1:
            raise LawError(
                f"All points have the same {name}, {numbers[name][0]:g}. The law needs two sizes and two numbers of "
                "tokens at least. Add runs."
            )
    if numbers["loss"].n_unique() == 1:
        raise LawError(
            f"{loss!r} is {numbers['loss'][0]:g} at all points. A law needs losses that fall. Check the column."
        )
    if (numbers["loss"] <= 0).any():
        raise LawError(
            f"{loss!r} has the value {numbers['loss'].min():g}. Losses are above 0 nats. If these are "
            "log-likelihoods, change their sign; else leave such runs out."
        )


def _about_runs(runs: Runs) -> list[str]:
    warnings: list[str] = []
    with np.errstate(invalid="ignore"):
        together = float(np.corrcoef(np.log(runs.params), np.log(runs.tokens))[0, 1])
        falls = float(kendalltau(runs.params * runs.tokens, runs.losses)[0])  # pyright: ignore[reportArgumentType]
    if abs(together) > _COLLINEAR:
        warnings.append(
            f"Parameters and tokens change together (correlation of logarithms {together:.3f}): what each does alone "
            "cannot be told."
        )
    if not falls < 0:
        warnings.append(
            "The losses do not fall with compute. Check that the column holds losses, and which column is which."
        )
    if runs.losses.max() > _PERPLEXITY:
        warnings.append(
            f"The largest loss is {runs.losses.max():.3g} nats, more than guessing among a million tokens costs. Take "
            "the logarithm if these are perplexities."
        )
    return warnings


def about_constants(estimate: LawEstimate) -> list[str]:
    """Return what to be warned of where the runs hardly tell E."""
    E, runs = estimate.constants["E"], estimate.fit.runs
    lowest = float(runs.losses.min())
    lo, hi = E.lo or 0.0, lowest if E.hi is None else E.hi
    if lo <= 0:
        return [
            f"The runs do not tell E from 0: any E up to {hi:.3g} fits them. Forecasts far ahead depend on it."
        ]
    if hi - lo > _WIDE * lowest:
        known = f"E is known between {lo:.3g} and {hi:.3g} only."
        return [f"{known} What remains of the loss above it is as uncertain: carry the interval on."]
    return []


def _hanging(one: Influence, labels: tuple[str, ...]) -> str:
    left = ", ".join(labels[point] for point in one.points)
    return (
        f"{one.parameter} hangs on {len(one.points)} points: {one.value:.4g} with all, {one.without:.4g} without "
        f"{left} (interval with all: {one.lo:.4g} to {one.hi:.4g}). Look at these runs."
    )


@dataclass(frozen=True, kw_only=True)
class ScaleQuestion:
    """From which point (parameters and tokens, or the optimum of a compute) to scale by `factor`; which curve.

    The curve is the failure of the worst share `alpha` of tuples of `tuples` skills, in pieces that need `k` skills.
    `largest` is the most compute that the law was fitted to.
    """

    factor: float = 10.0
    params: float | None = None
    tokens: float | None = None
    compute: float | None = None
    alpha: float = 0.2
    k: int = 8
    tuples: int = 1
    slope: float = LINEAR_SLOPE
    largest: float | None = None


def slingshot_of(law: ScalingLaw, draws: list[ScalingLaw], question: ScaleQuestion) -> dict[str, Any]:
    """Return what more parameters, tokens and compute do by a law, with intervals over `draws` of its constants."""
    _require_scale(question)
    params, tokens = _point(law, question)
    steps = slingshot(law, params, tokens, question.factor)
    drawn = [slingshot(draw, params, tokens, question.factor) for draw in draws]
    return {
        "law": asdict(law),
        "params": params,
        "tokens": tokens,
        "factor": question.factor,
        "alpha": question.alpha,
        "k": question.k,
        "tuples": question.tuples,
        "kind": TupleKind.concatenated.value,
        "slope": question.slope,
        "steps": [
            _told(step, [one[at].divided_by for one in drawn], question) for at, step in enumerate(steps)
        ],
        "warnings": _about_reach(params, tokens, question),
    }


def _about_reach(params: float, tokens: float, question: ScaleQuestion) -> list[str]:
    """Return what to be warned of where a law is asked far beyond the runs that it was fitted to."""
    compute = float(compute_of(params, tokens))
    if question.largest is None or compute * question.factor <= _FAR * question.largest:
        return []
    times = f"{compute / question.largest:,.3g} times the most compute that the law was fitted to"
    told = f"The point to start from takes {times}, and a factor of {question.factor:g} comes on top."
    return [f"{told} What the law says there was never seen: take the intervals for too narrow."]


def fitted_slingshot_of(question: LawQuestion, scale: ScaleQuestion) -> dict[str, Any]:
    """Return what scale does by a law that is fitted to a table, with intervals over its runs drawn again."""
    estimate = fitted_law(question).estimate
    runs = estimate.fit.runs
    largest = float(np.max(compute_of(runs.params, runs.tokens)))
    return slingshot_of(estimate.fit.law, estimate.draws, replace(scale, largest=largest))


def published_law(name: str) -> ScalingLaw:
    """Return a published law. Raises LawError for a name that there is not."""
    if name not in PUBLISHED:
        raise LawError(f"There is no published law {name[:100]!r}. There are {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]


def _told(step: Step, drawn: list[float], question: ScaleQuestion) -> dict[str, Any]:
    n = len(drawn)
    lo, hi = (float(one) for one in np.quantile(drawn, _LEVEL)) if n else (None, None)
    method = "bootstrap over runs" if n else "none: published constants"
    return {
        "step": step.name,
        "params": step.params,
        "tokens": step.tokens,
        "excess_before": step.before,
        "excess_after": step.after,
        "divided_by": asdict(Estimate(step.divided_by, lo, hi, n, method)),
        "links": {link: _through(link, step, question) for link in LINKS},
    }


def _through(link: Any, step: Step, question: ScaleQuestion) -> dict[str, float]:
    """Return θ and the failure of the worst tuples, before and after, under one link."""
    before, after = (failing_share(excess, link, question.slope) for excess in (step.before, step.after))
    return {
        "theta_before": before,
        "theta_after": after,
        "failure_before": _worst(before, question),
        "failure_after": _worst(after, question),
    }


def _worst(theta: float, question: ScaleQuestion) -> float:
    """Return the exact failure of the worst share of tuples of joined pieces."""
    tuples = Tuples(size=question.tuples, kind=TupleKind.concatenated)
    joined = float(tuples.theta(theta)) if theta < 1 else 1.0
    return joined if joined in {0.0, 1.0} else float(failure(Curve.exact, joined, question.alpha, question.k))


def _point(law: ScalingLaw, question: ScaleQuestion) -> tuple[float, float]:
    if question.compute is not None:
        if question.params is not None or question.tokens is not None:
            raise LawError("Got --compute with --params or --tokens. Give the point either way, not both.")
        return law.optimum(question.compute)
    if question.params is None or question.tokens is None:
        raise LawError(
            "The point to start from is not known. Give --params and --tokens, or --compute for its optimum."
        )
    return question.params, question.tokens


def _require_scale(question: ScaleQuestion) -> None:
    share_of("alpha", question.alpha)
    counts_of("k", question.k)
    counts_of("tuples", question.tuples)
    above = {
        "--params": (question.params, "Give 7e9, for example."),
        "--tokens": (question.tokens, "Give 4e12, for example."),
        "--compute": (question.compute, "Give 1e22, for example."),
        "--slope": (question.slope, "Give 2, or what was measured."),
    }
    for name, (value, remedy) in above.items():
        if value is not None and not 0 < value <= _LARGEST_COMPUTE:
            raise LawError(
                f"Got {name} {value:g}. It must be above 0, and {_LARGEST_COMPUTE:g} at most. {remedy}"
            )
    if not 1 < question.factor <= _LARGEST_FACTOR:
        raise LawError(
            f"Got --factor {question.factor:g}. It must be above 1, and {_LARGEST_FACTOR:g} at most. Give 10, say."
        )
