"""Skill curves, scaling laws and forecasts: what the commands of the same names answer, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from emergelab.api.checks import one_of, whole
from emergelab.errors import UserError
from emergelab.recipes.forecasting import ForecastQuestion, forecast_of
from emergelab.recipes.ladders import TableQuestion
from emergelab.recipes.law_fitting import (
    LawQuestion,
    ScaleQuestion,
    fitted_slingshot_of,
    law_of,
    published_law,
    slingshot_of,
)
from emergelab.recipes.link_fitting import LinkQuestion, link_of
from emergelab.recipes.skill_curves import read_graph, read_tuples
from emergelab.theory.curves import Curve, FiniteGraph, TupleKind, Tuples, failure, share
from emergelab.theory.mixtures import SkillCounts, mixed_failure, mixed_share
from emergelab.theory.scaling import ScalingLaw

Numbers = float | Sequence[float] | np.ndarray
Table = str | Path | pl.DataFrame

_KINDS = ("concatenated", "within")
_TYPES = ("loss", "share")
_CONSTANTS = ("E", "A", "B", "a", "b")
_MOST_SAMPLES = 100_000


def curve(
    theta: Numbers,
    k: int | Sequence[int] | np.ndarray | Mapping[int, float],
    *,
    alpha: Numbers | None = None,
    beta: Numbers | None = None,
    tuples: int = 1,
    kind: Literal["concatenated", "within"] = "concatenated",
    skills: int | None = None,
    pieces: int | None = None,
    confidence: float = 0.95,
    alike: bool = True,
) -> dict[str, Any]:
    """Return what the performance curves say, by name: `theorem`, `sharper`, `exact`, `markov`.

    A share `theta` of pieces that need `k` skills each fails (or a mapping from k to the share of pieces that need so
    many). With `alpha` the values are the failure that all but the worst `alpha` of skills keep to, with `beta` the
    smallest share of skills beside which all others fail at most `beta` times theta. Numbers may be arrays, which
    broadcast against each other; single numbers give floats. NaN: the curve says nothing there. With `skills` and
    `pieces` of a finite graph the theorem holds with probability `confidence`, and `sharper` and `exact`, which an
    adversary may exceed in it, are left out. Raises UserError.
    """
    one_of("kind", kind, _KINDS)
    if (alpha is None) == (beta is None):
        raise UserError(
            f"Got alpha={alpha!r} and beta={beta!r}. One of them is given, and the other asked. Give one."
        )
    of = read_tuples(whole("tuples", tuples), kind)
    asked = _Asked(of, read_graph(skills, pieces, confidence, alike=alike))
    names = [one for one in Curve if asked.graph is None or one in {Curve.theorem, Curve.markov}]
    counts = SkillCounts(tuple(k), tuple(k.values())) if isinstance(k, Mapping) else None
    if counts is None:
        found = {one: asked.single(one, theta, k, (alpha, beta)) for one in names}
    else:
        found = {one: asked.mixed(one, theta, counts, (alpha, beta)) for one in names}
    return {one.value: float(values) if values.ndim == 0 else values for one, values in found.items()}


@dataclass(frozen=True)
class _Asked:
    """Which tuples are asked of, and in which finite graph."""

    tuples: Tuples
    graph: FiniteGraph | None

    def single(self, one: Curve, theta: Numbers, k: Any, either: tuple[Any, Any]) -> np.ndarray:
        """Return a curve where all pieces need as many skills."""
        seen, among = self._seen(theta)
        if either[0] is not None:
            return failure(one, seen, either[0], self.tuples.k(k), among)
        return share(one, seen, either[1], self.tuples.k(k), among)

    def mixed(self, one: Curve, theta: Numbers, counts: SkillCounts, either: tuple[Any, Any]) -> np.ndarray:
        """Return a curve where pieces need unequal numbers of skills."""
        seen, among = self._seen(theta)
        within = self.tuples.kind is TupleKind.within
        needed = counts.within_tuples(self.tuples.size) if within else counts
        if either[0] is not None:
            return mixed_failure(one, seen, either[0], needed, among)
        return mixed_share(one, seen, either[1], needed, among)

    def _seen(self, theta: Numbers) -> tuple[np.ndarray, FiniteGraph | None]:
        if self.graph is None:
            return self.tuples.theta(theta), None
        return self.tuples.theta_in_graph(theta), self.tuples.graph(self.graph)


def fit_law(
    table: Table,
    loss: str,
    *,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, object] | None = None,
    delta: float = 1e-3,
    samples: int = 1000,
) -> dict[str, Any]:
    """Fit L = E + A/N^a + B/D^b to the losses of runs: constants with intervals, what they hang on, warnings.

    `table` is a frame, a shipped table's name or a file; `loss` a column, or a metric of a table with a row for each
    result. `columns` tells which column is `params`, `tokens`, `run`, `group`, `kind`, `name` or `value` where its name
    does not; `where` keeps rows. The values are those that `emergelab fit-law --json` prints. Raises UserError.
    """
    return law_of(_law_question(table, loss, columns, where, (delta, samples)))


def fit_link(
    table: Table,
    metric: str,
    *,
    through: str | None = None,
    chance: float | None = None,
    kind: str | None = None,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, object] | None = None,
    samples: int = 1000,
) -> dict[str, Any]:
    """Fit how a share of right answers follows from a loss (in two steps) and from compute (in one).

    `through` is the loss between, by default the task's bits per byte, else the mean of the table's losses; `chance`
    the floor, fitted if it is None. `table`, `columns` and `where` are those of `fit_law`, the values those of
    `emergelab fit-link --json`. Raises UserError.
    """
    question = LinkQuestion(
        table=_table(table, columns, where), metric=metric, through=through, kind=kind, chance=chance,
        samples=_samples(samples),
    )  # fmt: skip
    return link_of(question)


def forecast(
    table: Table,
    metric: str,
    *,
    params: float,
    tokens: float,
    method: Literal["pooled", "two-step", "one-step", "power-law", "last-value"] = "pooled",
    kind: str | None = None,
    type: Literal["loss", "share"] | None = None,  # noqa: A002 - as the command has it
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Forecast a metric of a model with so many parameters and tokens: value, lo, hi (90 %), method, warnings.

    `kind` tells metrics of one name apart, `type` says what a metric is where its values do not. `table`, `columns` and
    `where` are those of `fit_law`, the values those of `emergelab forecast --json`. Raises UserError.
    """
    if type is not None:
        one_of("type", type, _TYPES)
    question = _table(table, columns, where)
    question.sort = type
    return forecast_of(
        ForecastQuestion(
            table=question, metric=metric, params=params, tokens=tokens, kind=kind, method=method
        )
    )


def slingshot(
    law: str | Mapping[str, Any] | None = None,
    *,
    table: Table | None = None,
    loss: str | None = None,
    factor: float = 10.0,
    params: float | None = None,
    tokens: float | None = None,
    compute: float | None = None,
    alpha: float = 0.2,
    k: int = 8,
    tuples: int = 1,
    slope: float = 2.0,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Say what `factor` times the parameters, tokens or compute do to the excess loss, to theta, to tuples of skills.

    `law` is `hoffmann`, `besiroglu` (by default), constants E, A, B, a, b by name, or what `fit_law` returned; with
    `table` and `loss` in its place the law is fitted and the divisions have intervals. The start is `params` and
    `tokens`, or the optimum of `compute`. The values are those of `emergelab slingshot --json`. Raises UserError.
    """
    question = ScaleQuestion(
        factor=factor, params=params, tokens=tokens, compute=compute, alpha=alpha, k=whole("k", k),
        tuples=whole("tuples", tuples), slope=slope,
    )  # fmt: skip
    if table is None and loss is None:
        return slingshot_of(_known_law(law), [], question)
    if table is None or loss is None or law is not None:
        raise UserError(
            f"Got law={law!r}, loss={loss!r} and {'no' if table is None else 'a'} table. The law is given, or fitted "
            "to the losses of a table. Give a law alone, or a table and its loss."
        )
    return fitted_slingshot_of(_law_question(table, loss, columns, where), question)


def _law_question(
    table: Table,
    loss: str,
    columns: Mapping[str, str] | None,
    where: Mapping[str, object] | None,
    how: tuple[float, int] = (1e-3, 1000),
) -> LawQuestion:
    delta, samples = how
    return LawQuestion(table=_table(table, columns, where), loss=loss, delta=delta, samples=_samples(samples))


def _known_law(law: str | Mapping[str, Any] | None) -> ScalingLaw:
    if law is None or isinstance(law, str):
        return published_law(law or "besiroglu")
    missing = [name for name in _CONSTANTS if name not in law]
    if missing:
        raise UserError(
            f"The law has no constant {missing[0]!r}. It has E, A, B, a and b. Give all five, or what fit_law returned."
        )
    values = {
        name: law[name]["value"] if isinstance(law[name], Mapping) else law[name] for name in _CONSTANTS
    }
    wrong = [name for name, value in values.items() if not (np.isfinite(value) and value > 0)]
    if wrong:
        raise UserError(
            f"The law's constant {wrong[0]!r} is {values[wrong[0]]!r}. All five are above 0. Mend it, or fit the law."
        )
    return ScalingLaw(**{name: float(value) for name, value in values.items()})


def _table(
    table: Table, columns: Mapping[str, str] | None, where: Mapping[str, object] | None
) -> TableQuestion:
    told = [f"{role}={name}" for role, name in (columns or {}).items()]
    kept = [f"{name}={value}" for name, value in (where or {}).items()]
    if isinstance(table, pl.DataFrame):
        return TableQuestion("the frame", told, kept, frame=table)
    return TableQuestion(str(table), told, kept)


def _samples(samples: int) -> int:
    return whole("samples", samples, least=100, most=_MOST_SAMPLES)
