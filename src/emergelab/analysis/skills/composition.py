"""Which law of composition predicts tuples of skills from single skills, out of sample, by proper scores.

Every law predicts the success rate of every composite in every cell where all of its parts were asked alone. Laws with
a number to fit get it from other composites (or from other checkpoints, or other systems) only. Two references need
no parts: the mean rate of the other composites in the cell, and the composite's own rate at the checkpoint before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from emergelab.analysis import intervals
from emergelab.analysis.skills.cases import Cases, Rated, believed_rates
from emergelab.analysis.skills.items import item_predictions
from emergelab.analysis.skills.laws import LAWS, out_of_sample, with_numbers
from emergelab.analysis.skills.parts import Parts, as_table
from emergelab.analysis.skills.proper import Ensemble, Mean, Scored, brier, log_score, mean_over, ratio_over
from emergelab.outcomes.pairs import holm
from emergelab.outcomes.schema import CELL, SCALE
from emergelab.rng import Stream

ITEM_BY_ITEM = "item by item"
"""The law of independence between items: an item's parts as they came out on the same input, where they were asked."""
OTHERS, BEFORE = "other composites", "checkpoint before"
REFERENCES = (OTHERS, BEFORE)
HELD_OUT = ("composite", "checkpoint", "system")
"""What a fitted law did not see of a case: its composite, its checkpoint, or its system."""
BETTER, WORSE, UNDECIDED = "predicts better", "predicts worse", "undecided"
LAW_AGAINST_LAW, FITTED_AGAINST_PRODUCT = "law against law", "fitted law against product"
AGAINST_OTHERS, AGAINST_BEFORE = "law against other composites", "law against checkpoint before"
CRPS, BRIER = "crps", "brier"
ALL = "all"
GROUPS = (ALL, "system", "checkpoint", "k")
_SIGNIFICANT = 0.05
_BELIEFS = 200


def _with_ends(*names: str) -> dict[str, Any]:
    return {f"{name}{end}": pl.Float64 for name in names for end in ("", "_lo", "_hi")}


PREDICTIONS = pl.Schema(
    dict.fromkeys(CELL, pl.String)
    | {"params": pl.Int64, "train_tokens": pl.Int64, "flops": pl.Float64, "loss": pl.Float64}
    | {"composite": pl.String, "skills": pl.List(pl.String), "k": pl.UInt32, "n": pl.UInt32}
    | _with_ends("rate")
    | {"law": pl.String, "held_out": pl.String, "number": pl.Float64}
    | _with_ends("predicted")
    | dict.fromkeys(("brier", "log_score", "crps"), pl.Float64)
)  # fmt: skip
"""One row for each case and law. `rate` is observed, with Wilson's limits; `predicted` has the limits between which
the rate should lie in 95 of 100 cases: the singles' own uncertainty and the composite's items are in them."""

SCORES = pl.Schema(
    {"group": pl.String, "system": pl.String, "checkpoint": pl.String, "train_tokens": pl.Int64, "k": pl.UInt32}
    | {"law": pl.String, "held_out": pl.String, "cases": pl.UInt32, "composites": pl.UInt32}
    | _with_ends("brier", "log_score", "crps", "bias", "skill_others", "skill_before")
    | dict.fromkeys(("distance", "covered", "number", "number_least", "number_most"), pl.Float64)
)  # fmt: skip
"""Mean scores of a law over cases, smaller is better. `group` is all, system, checkpoint or k. `bias` is predicted less
observed rate, `distance` the mean of its size, `covered` the share of rates within their 95 % limits. Skill is 1 less
the CRPS over that of a reference, on the same cases. `number` is the mean of a fitted law's numbers."""

COMPARISONS = pl.Schema(
    {"group": pl.String, "system": pl.String, "question": pl.String, "measure": pl.String}
    | {"first": pl.String, "second": pl.String, "cases": pl.UInt32, "composites": pl.UInt32}
    | _with_ends("difference")
    | {"p": pl.Float64, "p_adjusted": pl.Float64, "verdict": pl.String}
)  # fmt: skip
"""Score of the first law less that of the second on the same cases: below 0 the first is better. Holm's correction is
for all pairs of a question, in one group and by one measure; the verdict is about the first law."""


_Name = tuple[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Composition:
    """What laws predict, how well, and which of two predicts better."""

    predictions: pl.DataFrame
    scores: pl.DataFrame
    comparisons: pl.DataFrame


@dataclass(frozen=True, kw_only=True)
class _Forecast:
    """A law's predictions of all cases, drawn over items, and drawn from what is believed of the singles."""

    law: str
    held_out: str | None
    value: np.ndarray
    draws: np.ndarray
    believed: np.ndarray
    number: np.ndarray
    each: Mapping[str, Scored] | None = None  # scores that are not those of one rate for all items

    @cached_property
    def name(self) -> _Name:
        return self.law, self.held_out


@dataclass(frozen=True, kw_only=True)
class _Rates:
    """Observed rates of all groups: as they are, drawn over items, and drawn from beliefs."""

    cases: Cases
    drawn: np.ndarray
    believed: np.ndarray

    def three(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.cases.rates, self.drawn, self.believed


def compose(rated: Rated, kinds: Sequence[str] = GROUPS) -> Composition:
    """Predict all composites with all parts measured, score the predictions and compare the laws.

    All tables are empty where there is no such composite. `kinds` are the groups of `GROUPS` that are scored.
    """
    cases = rated.cases
    if not cases.group.size:
        return Composition(
            predictions=pl.DataFrame(schema=PREDICTIONS),
            scores=pl.DataFrame(schema=SCORES),
            comparisons=pl.DataFrame(schema=COMPARISONS),
        )
    rates = _Rates(cases=cases, drawn=rated.drawn, believed=believed_rates(cases, _BELIEFS, rated.source))
    forecasts = [*_of_laws(rates), *_item_by_item(rated.parts, rates), *_of_references(rates)]
    scored = _Scores(rates, forecasts, rated.source)
    return Composition(
        predictions=_predictions(scored), scores=_scores(scored, kinds), comparisons=_comparisons(scored)
    )


def _of_laws(rates: _Rates) -> Iterator[_Forecast]:
    cases = rates.cases
    known, drawn, believed = (cases.known(of) for of in rates.three())
    folds = {"composite": cases.composite, "checkpoint": cases.cell, "system": cases.system}
    for law in LAWS:
        for held_out in HELD_OUT if law.range else (None,):
            fold = folds[held_out or "composite"]
            weights = np.ones_like(cases.observed)
            value, number = out_of_sample(law, known, cases.observed, fold, weights)
            yield _Forecast(
                law=law.name,
                held_out=held_out,
                value=value,
                draws=with_numbers(law, drawn, number),
                believed=with_numbers(law, believed, number),
                number=number,
            )


def _of_references(rates: _Rates) -> Iterator[_Forecast]:
    cases = rates.cases
    for name, find in ((OTHERS, cases.others), (BEFORE, cases.earlier)):
        value, draws, believed = (find(of) for of in rates.three())
        number = np.full_like(value, np.nan)
        yield _Forecast(law=name, held_out=None, value=value, draws=draws, believed=believed, number=number)


def _item_by_item(parts: Parts, rates: _Rates) -> Iterator[_Forecast]:
    """Predict every item by what its parts came out as on the same input; parts not asked there have their rate."""
    found = item_predictions(parts, rates.cases)
    if found is None:
        return
    predicted, right, place = found
    cases = rates.cases
    count = cases.group.size
    n = np.bincount(place, minlength=count).astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(place, weights=values, minlength=count) / n

    value = mean(predicted)
    # Its rate varies as that of the product does, as far as the singles tell.
    product = LAWS[0].predict
    level, drawn, believed = (product(cases.known(of), 0.0) for of in rates.three())
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.where(level > 0, value / level, 1.0)[:, None]
    fewest = cases.fewest[place]
    yield _Forecast(
        law=ITEM_BY_ITEM,
        held_out=None,
        value=value,
        draws=np.clip(drawn * scale, 0, 1),
        believed=np.clip(believed * scale, 0, 1),
        number=np.full(count, np.nan),
        each={
            "brier": Scored(mean(brier(predicted, right))),
            "log_score": Scored(mean(log_score(predicted, right, fewest))),
        },
    )


class _Scores:
    """Scores of all forecasts, case by case."""

    def __init__(self, rates: _Rates, forecasts: Sequence[_Forecast], source: Stream) -> None:
        cases = rates.cases
        self.cases = cases
        self.rates = rates
        self.forecasts = {one.name: one for one in forecasts}
        drawn = rates.drawn[cases.group]
        self.brier = {one.name: _brier(one, cases.observed, drawn) for one in forecasts}
        self.log = {one.name: _log(one, cases, drawn) for one in forecasts}
        self.bias = {one.name: Scored(one.value - cases.observed, one.draws - drawn) for one in forecasts}
        self.limits: dict[_Name, np.ndarray] = {}
        self.crps: dict[_Name, Scored] = {}
        for one in forecasts:
            ensemble = _ensemble(one, cases, source.child("answers"))
            self.limits[one.name] = np.stack(ensemble.limits())
            self.crps[one.name] = _crps(one, ensemble, cases.observed, drawn)


def _brier(one: _Forecast, observed: np.ndarray, drawn: np.ndarray) -> Scored:
    draws = brier(one.draws, drawn)
    if one.each is None:
        return Scored(brier(one.value, observed), draws)
    # Items move the score of an item's own prediction as they move that of a rate.
    own = one.each["brier"].value
    return Scored(own, draws + (own - brier(one.value, observed))[:, None])


def _log(one: _Forecast, cases: Cases, drawn: np.ndarray) -> Scored:
    fewest = cases.fewest
    level = log_score(one.value, cases.observed, fewest)
    draws = log_score(one.draws, drawn, fewest[:, None])
    if one.each is None:
        return Scored(level, draws)
    own = one.each["log_score"].value
    return Scored(own, draws + (own - level)[:, None])


def _crps(one: _Forecast, ensemble: Ensemble, observed: np.ndarray, drawn: np.ndarray) -> Scored:
    """Return the score; other items would move what is observed, and all that is expected with the prediction."""
    moved = drawn - one.draws + one.value[:, None]
    expected = ~np.isnan(one.value)
    value, draws = np.full_like(observed, np.nan), np.full_like(drawn, np.nan)
    some = Ensemble(ensemble.ordered[expected])
    value[expected] = some.crps(observed[expected, None])[:, 0]
    draws[expected] = some.crps(moved[expected])
    return Scored(value, draws)


def _ensemble(one: _Forecast, cases: Cases, source: Stream) -> Ensemble:
    """Return draws of the rate that is to be seen: of what is believed, and of as many answers as there are."""
    generator = source.child(one.law, one.held_out or "").generator()
    believed = np.clip(np.nan_to_num(one.believed), 0.0, 1.0)
    n = cases.n.astype(np.int64)[:, None]
    seen = generator.binomial(n, believed) / n
    return Ensemble(np.sort(np.where(np.isnan(one.value)[:, None], np.nan, seen), axis=1))


def _predictions(scored: _Scores) -> pl.DataFrame:
    cases = scored.cases
    lo, hi = intervals.wilson(cases.observed, cases.n)
    base = cases.frame.select(
        *CELL, *SCALE, pl.col("name").alias("composite"), "skills", "k", "n", "rate",
        rate_lo=pl.Series(lo), rate_hi=pl.Series(hi),
    )  # fmt: skip
    frames = [
        base.with_columns(
            law=pl.lit(one.law),
            held_out=pl.lit(one.held_out, pl.String),
            number=pl.Series(one.number),
            predicted=pl.Series(one.value),
            predicted_lo=pl.Series(scored.limits[name][0]),
            predicted_hi=pl.Series(scored.limits[name][1]),
            brier=pl.Series(scored.brier[name].value),
            log_score=pl.Series(scored.log[name].value),
            crps=pl.Series(scored.crps[name].value),
        )
        for name, one in scored.forecasts.items()
    ]
    return as_table(pl.concat(frames), PREDICTIONS)


@dataclass(frozen=True)
class _Group:
    """Some of the cases, and what they are called."""

    names: dict[str, Any]
    kept: np.ndarray


def _groups(cases: Cases, kinds: Sequence[str]) -> Iterator[_Group]:
    columns = {"system": ["system"], "checkpoint": [*CELL, "train_tokens"], "k": ["k"]}
    if ALL in kinds:
        yield _Group({"group": ALL}, np.ones(cases.group.size, dtype=bool))
    for kind in kinds:
        if kind == ALL:
            continue
        keys = cases.frame.select(columns[kind]).with_row_index("row")
        for names, part in keys.group_by(columns[kind], maintain_order=True):
            kept = np.zeros(cases.group.size, dtype=bool)
            kept[part["row"].to_numpy()] = True
            yield _Group({"group": kind} | dict(zip(columns[kind], names, strict=True)), kept)


def _scores(scored: _Scores, kinds: Sequence[str]) -> pl.DataFrame:
    rows = [
        _score_row(scored, group, name)
        for group in _groups(scored.cases, kinds)
        for name in scored.forecasts
        # What was held out is of interest for all cases and for systems.
        if name[1] in (None, "composite") or group.names["group"] in (ALL, "system")
    ]
    return as_table(rows, SCORES)


def _score_row(scored: _Scores, group: _Group, name: _Name) -> dict[str, Any]:
    one, kept = scored.forecasts[name], group.kept
    means = _means(scored, group, name)
    known = ~np.isnan(one.value[kept])
    numbers = one.number[kept][~np.isnan(one.number[kept])]
    observed, limits = scored.cases.observed[kept], scored.limits[name][:, kept]
    return (
        group.names
        | {"law": one.law, "held_out": one.held_out, "cases": int(known.sum())}
        | {"composites": means["brier"].composites}
        | {column: value for measure, mean in means.items() for column, value in _ends(measure, mean)}
        | {
            "distance": _mean(np.abs(one.value[kept] - observed)[known]),
            "covered": _mean(((limits[0] <= observed) & (observed <= limits[1]))[known]),
            "number": _mean(numbers),
            "number_least": float(numbers.min()) if numbers.size else None,
            "number_most": float(numbers.max()) if numbers.size else None,
        }
    )


def _means(scored: _Scores, group: _Group, name: _Name) -> dict[str, Mean]:
    """Return mean scores by their columns; a checkpoint has too few composites for those of skill."""
    composite = scored.cases.composite[group.kept]
    of = {"brier": scored.brier, "crps": scored.crps, "bias": scored.bias}
    wide = group.names["group"] != "checkpoint"
    of |= {"log_score": scored.log} if wide else {}
    means = {column: mean_over(scores[name].at(group.kept), composite) for column, scores in of.items()}
    for reference, column in ((OTHERS, "skill_others"), (BEFORE, "skill_before")):
        if wide:
            own, its = (scored.crps[one].at(group.kept) for one in (name, (reference, None)))
            means[column] = _skill(own, its, composite)
    return means


def _skill(own: Scored, reference: Scored, composite: np.ndarray) -> Mean:
    """Return 1 less the ratio of two mean scores, on the cases that have both."""
    both = ~np.isnan(own.value) & ~np.isnan(reference.value)
    ratio = ratio_over(own.at(both), reference.at(both), composite[both])
    return Mean(1 - ratio.value, ratio.error, ratio.composites)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def _ends(name: str, mean: Mean) -> Iterator[tuple[str, float | None]]:
    found = mean.estimate()
    yield from ((name, found.value), (f"{name}_lo", found.lo), (f"{name}_hi", found.hi))


def _comparisons(scored: _Scores) -> pl.DataFrame:
    rows = [
        row
        for group in _groups(scored.cases, (ALL, "system"))
        for question, pairs in _questions(scored).items()
        for measure in (scored.crps, scored.brier)
        for row in _corrected([_pair_row(scored, group, pair, measure) for pair in pairs], question)
    ]
    decided = pl.col("p_adjusted").fill_null(1.0) < _SIGNIFICANT
    verdict = (
        pl.when(decided & (pl.col("difference") < 0))
        .then(pl.lit(BETTER))
        .when(decided & (pl.col("difference") > 0))
        .then(pl.lit(WORSE))
        .otherwise(pl.lit(UNDECIDED))
    )
    return as_table(rows, COMPARISONS).with_columns(verdict=verdict)


def _questions(scored: _Scores) -> dict[str, list[tuple[_Name, _Name]]]:
    """Return the pairs that are compared: each question is answered, and corrected, for itself."""
    names = [name for name in scored.forecasts if name[0] not in REFERENCES]
    plain = [name for name in names if name[1] is None]
    # Fitted laws take part as they were without the composite.
    fitted = [name for name in names if name[1] == "composite"]
    of_parts = [*plain, *fitted]
    return {
        LAW_AGAINST_LAW: list(combinations(plain, 2)),
        FITTED_AGAINST_PRODUCT: [(name, (LAWS[0].name, None)) for name in fitted],
        AGAINST_OTHERS: [(name, (OTHERS, None)) for name in of_parts],
        AGAINST_BEFORE: [(name, (BEFORE, None)) for name in of_parts],
    }


def _corrected(pairs: list[dict[str, Any]], question: str) -> Iterator[dict[str, Any]]:
    adjusted = holm(np.array([pair["p"] for pair in pairs]))
    for pair, p in zip(pairs, adjusted, strict=True):
        yield pair | {"question": question, "p_adjusted": p}


def _pair_row(
    scored: _Scores, group: _Group, pair: tuple[_Name, _Name], measure: Mapping[_Name, Scored]
) -> dict[str, Any]:
    first, second = pair
    composite = scored.cases.composite[group.kept]
    apart = measure[first].minus(measure[second]).at(group.kept)
    difference = mean_over(apart, composite)
    return (
        group.names
        | {"measure": CRPS if measure is scored.crps else BRIER}
        | {"first": first[0], "second": second[0], "p": difference.p()}
        | {"cases": int((~np.isnan(apart.value)).sum()), "composites": difference.composites}
        | dict(_ends("difference", difference))
    )
