"""What ten times the training will bring: courses of skills and of k carried on, where their own past says how well.

A course is forecast from its checkpoints so far by four plain methods: its last value, the mean of its last three, a
power law of the error in compute, a logistic curve in the logarithm of compute, the latter two moved to the last three
values. Its spread is made of the noise between neighbouring checkpoints and of how far the later half of them lies from
the last one, its own and the median over courses, and grows with what is carried on as 1 + ln of the factor. Method and
the spreads to either side are learned from the past of all courses of the system: at every earlier checkpoint the later
ones known by then were forecast; the width holds 90 % of them (as in `analysis.scaling.calibration`), and the method is
the one with the best interval score (Gneiting and Raftery 2007), the last value unless that of another is a tenth
better. The same is then asked once more, rolling: at each checkpoint with a past, all learned from before it, forecasts
of what came after. Only where these intervals held at least `HELD` of what came, among at least
`ENOUGH` forecasts as far ahead, is anything said. More training at the same size is not a larger model: nothing is said
of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float64

from emergelab.analysis.scaling.calibration import COVERAGE
from emergelab.analysis.scaling.links import Scale, Sigmoids
from emergelab.analysis.skills.panels import Panel, Panels, System, finite_items, mean_of

FACTORS = (2.0, 4.0, 10.0)
"""How many times the last tokens are asked for; past forecasts from 2/3 to 3/2 times as far, or farther for 10."""
HELD, ENOUGH = 0.8, 20
FEWEST_POINTS = 4
LAST, LEVEL = "last value", "mean of the last three"
POWER, LOGISTIC = "power law in compute", "logistic in log compute"
ACCURACY, NATS = "accuracy", "nats"
ALL = "all"
_KINDS = ("k", "skill")

_METHODS = {ACCURACY: (LAST, LEVEL, POWER, LOGISTIC), NATS: (LAST, LEVEL, POWER)}
_BETTER = 0.9  # of the last value's score, which another method must not exceed to be preferred
_MOST_CUTS = 12
_NEAR = 1.5
_ANCHORS = 3
_LEAST_ERROR, _LEAST_SPREAD = 1e-3, 0.01
_NOISE = 0.02

Courses = Float64[np.ndarray, "courses points"]
Targets = Float64[np.ndarray, "courses targets"]

AHEAD = pl.Schema(
    {
        "system": pl.String,
        "kind": pl.String,
        "name": pl.String,
        "k": pl.Int32,
        "metric": pl.String,
        "relative": pl.Boolean,
        "now": pl.Float64,
        "factor": pl.Float64,
        "train_tokens": pl.Float64,
        "flops": pl.Float64,
        "value": pl.Float64,
        "lo": pl.Float64,
        "hi": pl.Float64,
        "method": pl.String,
        "known": pl.Boolean,
        "reason": pl.String,
    }
)
"""A row for each skill alone and each k, metric and factor of tokens; 90 % intervals, null where nothing is known."""

CHECKS = pl.Schema(
    {
        "system": pl.String,
        "metric": pl.String,
        "kind": pl.String,
        "factor": pl.Float64,
        "n": pl.Int32,
        "courses": pl.Int32,
        "held": pl.Float64,
        "error": pl.Float64,
        "half_width": pl.Float64,
        "error_of_last": pl.Float64,
    }
)
"""Back-tests of all courses, and of those of a kind (k, skill): how many intervals held what came.

The mean error and half width are shares for accuracy, and for nats differences of logarithms.
"""


@dataclass(frozen=True)
class Ahead:
    """Forecasts, `AHEAD`, and the back-tests behind them, `CHECKS`."""

    rows: pl.DataFrame
    checks: pl.DataFrame


@dataclass(frozen=True)
class _Series:
    """Courses of one metric of one system, at trained checkpoints: shares, or logarithms of nats; NaN is missing."""

    system: System
    metric: str
    panels: tuple[Panel, ...]
    tokens: Float64[np.ndarray, " points"]
    values: Courses


@dataclass(frozen=True)
class _Told:
    """Forecasts made at one checkpoint: values by method, and spreads, [courses, targets]."""

    cut: int
    values: Mapping[str, np.ndarray]
    spreads: np.ndarray


@dataclass(frozen=True)
class _Rule:
    """What the past says: the method, and the spreads to either side that hold `COVERAGE` of what came."""

    method: str
    width: float


def ahead(given: Panels) -> Ahead:
    """Forecast accuracy and nats of skills alone and of numbers of skills, for each system, with back-tests."""
    rows: list[dict[str, object]] = []
    checks: list[dict[str, object]] = []
    for system in given.systems:
        for metric in (ACCURACY, NATS):
            series = _series(system, metric)
            if series is not None:
                found = _checked(series)
                checks += found
                rows += _rows(series, {(str(one["kind"]), float(str(one["factor"]))): one for one in found})
    return Ahead(pl.DataFrame(rows, schema=AHEAD), pl.DataFrame(checks, schema=CHECKS))


def _series(system: System, metric: str) -> _Series | None:
    """Return all courses of a system; None where none has a value. Of checkpoints at one place the last is taken."""
    trained = (system.tokens > 0) & (system.tokens != np.append(system.tokens[1:], np.nan))
    panels = tuple(
        panel
        for panel in (*system.numbers, *system.skills, *system.tasks)
        if _values(panel, metric) is not None
    )
    if not panels or not trained.any():
        return None
    place = {name: at for at, name in enumerate(system.checkpoints)}
    values = np.full((len(panels), trained.size), np.nan)
    for row, panel in enumerate(panels):
        values[row, [place[name] for name in panel.checkpoints]] = _values(panel, metric)
    return _Series(system, metric, panels, system.tokens[trained], values[:, trained])


def _values(panel: Panel, metric: str) -> np.ndarray | None:
    if metric == ACCURACY:
        return None if np.isnan(panel.right).all() else panel.accuracy
    items = finite_items(panel.nats)
    with np.errstate(divide="ignore"):
        logs = np.log(mean_of(panel.nats[:, items])) if items.any() else None
    return logs if logs is not None and np.isfinite(logs).all() else None


def _cuts(series: _Series) -> list[int]:
    """Return numbers of checkpoints after which forecasts are tried, evenly in ln tokens where there are many."""
    points = series.tokens.size
    every = np.arange(FEWEST_POINTS, points)
    if every.size <= _MOST_CUTS:
        return every.tolist()
    logs = np.log(series.tokens)
    wanted = np.linspace(logs[FEWEST_POINTS - 1], logs[-2], _MOST_CUTS)
    return sorted({int(np.searchsorted(logs, one - _TINY)) + 1 for one in wanted} & set(every.tolist()))


_TINY = 1e-9


def _forecasts(series: _Series, cut: int, tokens: np.ndarray) -> _Told:
    """Forecast all courses from their first `cut` checkpoints at `tokens`, by every method."""
    here, there = np.log(series.tokens[:cut]), np.log(tokens)
    known = series.values[:, :cut]
    values = {
        method: _carried_on(method, series.metric, known, (here, there)) for method in _METHODS[series.metric]
    }
    return _Told(cut, values, _spreads(known)[:, None] * (1 + there - here[-1]))


def _spreads(known: Courses) -> Float64[np.ndarray, " courses"]:
    late = known[:, known.shape[1] // 2 :]
    noise = _mean(np.diff(late, axis=1) ** 2) / 2
    moved = _mean((late - known[:, -1:]) ** 2)
    # What neither tells of, a wrong method, is common: means of many items are not surer of where they go.
    common = float(np.nanmedian(moved)) if (~np.isnan(moved)).any() else 0.0
    return np.maximum(np.sqrt(noise + moved + common), _LEAST_SPREAD)


def _carried_on(
    method: str, metric: str, known: Courses, places: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return a method's values at the targets; a fitted curve is moved to the last values known.

    A curve that the first checkpoints bend says little of the level reached.
    """
    last = known[:, -1:] if method == LAST else known[:, -_ANCHORS:].mean(axis=1, keepdims=True)
    if method in {LAST, LEVEL}:
        return last + 0 * places[1]
    fitted, told = _fitted(method, metric, known, places)
    return told + last - fitted[:, -_ANCHORS:].mean(axis=1, keepdims=True)


def _fitted(
    method: str, metric: str, known: Courses, places: tuple[np.ndarray, np.ndarray]
) -> tuple[Courses, Targets]:
    """Return a method's curves at the points fitted and at the targets; NaN for courses with a missing point."""
    here, there = places
    whole = ~np.isnan(known).any(axis=1)
    fitted, told = np.full(known.shape, np.nan), np.full((len(known), there.size), np.nan)
    if whole.any():
        fitted[whole], told[whole] = _FITS[method](known[whole], metric, here, there)
    return fitted, told


def _power(known: Courses, metric: str, here: np.ndarray, there: np.ndarray) -> tuple[Courses, Targets]:
    logs = np.log(np.maximum(1 - known, _LEAST_ERROR)) if metric == ACCURACY else known
    slope, level = np.polyfit(here, logs.T, 1)
    fitted, told = (level[:, None] + slope[:, None] * place for place in (here, there))
    if metric == ACCURACY:
        return 1 - np.exp(fitted), 1 - np.exp(told)
    return fitted, told


def _logistic(known: Courses, _metric: str, here: np.ndarray, there: np.ndarray) -> tuple[Courses, Targets]:
    scale = Scale.of(-here, np.exp(here), 0.0)
    rows = len(known)
    curves = Sigmoids.fit(scale.z(-here), known, scale.weights, np.full(rows, _NOISE), np.full(rows, np.nan))
    return curves.at(scale.z(-here)), curves.at(scale.z(-there))


_FITS = {POWER: _power, LOGISTIC: _logistic}


def _checked(series: _Series) -> list[dict[str, object]]:
    """Return the rolling back-test of a metric at every factor."""
    cuts = _cuts(series)
    told = {cut: _forecasts(series, cut, series.tokens[cut:]) for cut in cuts}
    found: list[tuple[np.ndarray, ...]] = []
    for cut in cuts:
        rule = _rule(series, told, until=cut)
        if rule is not None:
            found.append(_scores(series, told[cut], rule))
    joined = tuple(np.concatenate(parts) for parts in zip(*found, strict=True)) if found else None
    return [_check(series, (kind, factor), joined) for kind in (ALL, *_KINDS) for factor in FACTORS]


def _rule(series: _Series, told: Mapping[int, _Told], *, until: int) -> _Rule | None:
    """Learn from the forecasts made and scored before checkpoint `until`; None without enough of them."""
    made = {cut: one for cut, one in told.items() if cut < until}
    known = {
        method: found
        for method in _METHODS[series.metric]
        if (found := _learned(series, made, method, until)) is not None
    }
    if not known:
        return None
    best = min(known, key=lambda method: known[method][0])
    return known[best if known[best][0] <= _BETTER * known[LAST][0] else LAST][1]


def _learned(
    series: _Series, made: Mapping[int, _Told], method: str, until: int
) -> tuple[float, _Rule] | None:
    """Return the mean interval score of a method at the width that holds `COVERAGE`, and the rule."""
    pairs: list[np.ndarray] = []
    for cut, one in made.items():
        off = np.abs(one.values[method][:, : until - cut] - series.values[:, cut:until])
        there = ~np.isnan(off)
        pairs.append(np.stack([off[there], one.spreads[:, : until - cut][there]]))
    off, spread = np.concatenate(pairs, axis=1) if pairs else np.empty((2, 0))
    if off.size < ENOUGH:
        return None
    width = float(np.quantile(off / spread, COVERAGE))
    half = width * spread
    score = float((2 * half + 2 / (1 - COVERAGE) * np.maximum(off - half, 0.0)).mean())
    return score, _Rule(method, width)


def _scores(series: _Series, told: _Told, rule: _Rule) -> tuple[np.ndarray, ...]:
    """Return factor, error, half width, the error of the last value, and the course of every forecast scored."""
    came = series.values[:, told.cut :]
    off = np.abs(told.values[rule.method] - came)
    half = rule.width * told.spreads
    plain = np.abs(told.values[LAST] - came)
    factor = np.broadcast_to(series.tokens[told.cut :] / series.tokens[told.cut - 1], off.shape)
    course = np.broadcast_to(np.arange(len(off))[:, None], off.shape)
    there = ~np.isnan(off)
    return factor[there], off[there], half[there], plain[there], course[there].astype(np.float64)


def _check(
    series: _Series, which: tuple[str, float], scored: tuple[np.ndarray, ...] | None
) -> dict[str, object]:
    kind, factor = which
    row: dict[str, object] = {
        "system": series.system.name,
        "metric": series.metric,
        "kind": kind,
        "factor": factor,
    }
    if scored is None:
        return row | {"n": 0, "courses": 0}
    farthest = np.inf if factor == FACTORS[-1] else factor * _NEAR
    kinds = np.array([panel.kind for panel in series.panels])[scored[4].astype(np.int64)]
    near = (scored[0] >= factor / _NEAR) & (scored[0] <= farthest) & ((kinds == kind) | (kind == ALL))
    _, off, half, plain, course = (values[near] for values in scored)
    row |= {"n": off.size, "courses": np.unique(course).size}
    if not off.size:
        return row
    return row | {
        "held": float((off <= half).mean()),
        "error": float(off.mean()),
        "half_width": float(half.mean()),
        "error_of_last": float(plain.mean()),
    }


def _rows(
    series: _Series, checks: Mapping[tuple[str, float], Mapping[str, object]]
) -> Iterator[dict[str, object]]:
    """Yield the forecasts of skills alone and of k."""
    points = series.tokens.size
    cuts = _cuts(series)
    rule = _rule(series, {cut: _forecasts(series, cut, series.tokens[cut:]) for cut in cuts}, until=points)
    targets = np.array(FACTORS) * series.tokens[-1]
    told = _forecasts(series, points, targets) if points >= FEWEST_POINTS else None
    for row, panel in enumerate(series.panels):
        if panel.kind == "task":
            continue
        for at, factor in enumerate(FACTORS):
            asked = checks[ALL, factor], checks[panel.kind, factor]
            yield _named(series, row, factor) | _forecast((told, rule), (row, at), asked, series)


def _named(series: _Series, row: int, factor: float) -> dict[str, object]:
    panel, now = series.panels[row], series.values[row, -1]
    tokens = factor * float(series.tokens[-1])
    return {
        "system": series.system.name,
        "kind": panel.kind,
        "name": panel.name,
        "k": panel.k,
        "metric": series.metric,
        "relative": series.metric == NATS and not series.system.losses_fit,
        "now": None if np.isnan(now) else _shown(series, float(now)),
        "factor": factor,
        "train_tokens": tokens,
        "flops": 6 * series.system.params * tokens if np.isfinite(series.system.params) else None,
    }


def _forecast(
    made: tuple[_Told | None, _Rule | None],
    at: tuple[int, int],
    checks: tuple[Mapping[str, object], Mapping[str, object]],
    series: _Series,
) -> dict[str, object]:
    told, rule = made
    reason = _unknown(*checks)
    if told is None or rule is None or reason:
        return {"known": False, "reason": reason or "too few checkpoints"}
    middle, half = float(told.values[rule.method][at]), rule.width * float(told.spreads[at])
    if np.isnan(middle):
        return {"known": False, "reason": "a checkpoint is missing"}
    value, lo, hi = (_shown(series, end) for end in (middle, middle - half, middle + half))
    held = float(str(checks[0]["held"]))
    said = f"back-test: {held:.0%} of {checks[0]['n']} intervals held"
    return {"value": value, "lo": lo, "hi": hi, "method": rule.method, "known": True, "reason": said}


def _shown(series: _Series, value: float) -> float:
    return float(np.clip(value, 0.0, 1.0)) if series.metric == ACCURACY else float(np.exp(value))


def _unknown(every: Mapping[str, object], of_kind: Mapping[str, object]) -> str:
    """Return why nothing can be said so far ahead; empty where something can.

    Courses of the same kind must have held, too, where there are enough of their forecasts.
    """
    n = int(str(every["n"]))
    if n < ENOUGH:
        return f"{f'only {n} forecasts' if n else 'no forecast'} of its past {'reach' if n else 'reaches'} as far"
    for check in (every, of_kind):
        held = check.get("held")
        if held is not None and int(str(check["n"])) >= ENOUGH and float(str(held)) < HELD:
            which = "" if check is every else f" of this kind ({check['kind']})"
            return (
                f"forecasts of its past{which} held only {float(str(held)):.0%} of what came, at an aim of "
                f"{COVERAGE:.0%}"
            )
    return ""


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the known values of each row; NaN without any."""
    known = np.count_nonzero(~np.isnan(values), axis=1)
    return np.where(known > 0, np.nansum(values, axis=1) / np.maximum(known, 1), np.nan)
