"""The link from loss to a task's accuracy fitted to a table: in two steps through a loss, and in one from compute."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from emergelab.analysis.scaling.common import common_values, losslike
from emergelab.analysis.scaling.ladder import Ladder
from emergelab.analysis.scaling.law import DELTA, FEWEST, NAMES, Runs, estimate_law
from emergelab.analysis.scaling.shares import bits_of
from emergelab.analysis.scaling.task_links import LinkEstimate, LinkPoints, estimate_link
from emergelab.recipes.ladders import LadderTable, TableQuestion, find_metric, read_ladder
from emergelab.recipes.law_fitting import LawError, about_constants
from emergelab.rng import Stream, stream

FROM_LOSS = "share = floor + (1 - floor) / (1 + exp(-slope (middle - x)))"
FROM_COMPUTE = "share = floor + (1 - floor) / (1 + exp(-slope (log10 C - middle)))"
_UNKNOWN_FLOOR = 0.1  # width of its interval
_BELOW = 0.5  # of the runs below chance
_LIKELY = 0.05


@dataclass(frozen=True, kw_only=True)
class LinkQuestion:
    """Which share of which table, through which loss (None: the task's bits per byte, else the mean of losses).

    `chance` is the floor, None where it is to be fitted.
    """

    table: TableQuestion
    metric: str
    through: str | None = None
    kind: str | None = None
    chance: float | None = None
    samples: int = 1000


@dataclass(frozen=True)
class _Measured:
    """A share and the loss that it goes through, at the runs that have both."""

    ladder: Ladder
    shares: np.ndarray
    losses: np.ndarray
    through: str


def link_of(question: LinkQuestion) -> dict[str, Any]:
    """Return the links as JSON values: constants with value, lo, hi (95 %), residuals, warnings.

    Raises TableError or LawError.
    """
    _require_chance(question.chance)
    asked = [question.metric] + ([question.through] if question.through else [])
    table = read_ladder(question.table, *asked)
    measured = _measured(table, question)
    runs = Runs(measured.ladder.params, measured.ladder.tokens, measured.losses, measured.ladder.run)
    law = estimate_law(runs, stream(0, "law"), samples=question.samples, delta=DELTA)
    key = stream(0, "link")
    step = _estimate(measured, measured.losses, question, key.child("two"), falling=True)
    compute = np.log10(measured.ladder.compute)
    one = _estimate(measured, compute, question, key.child("one"), falling=False)
    told = np.asarray(law.fit.law.loss(measured.ladder.params, measured.ladder.tokens))
    both = float(np.sqrt(np.mean((step.fit.at(told) - measured.shares) ** 2)))
    return {
        "metric": question.metric,
        "through": measured.through,
        "chance": question.chance,
        "n": int(measured.shares.size),
        "runs": int(np.unique(measured.ladder.run).size),
        "two_step": {
            "law": {name: asdict(law.constants[name]) for name in NAMES},
            **_told(step, FROM_LOSS),
            "residual_with_law": both,
        },
        "one_step": _told(one, FROM_COMPUTE),
        "warnings": [
            *table.warnings,
            *_about_link(measured, step, question.chance),
            *about_constants(law),
        ],
    }


def _told(estimate: LinkEstimate, form: str) -> dict[str, Any]:
    constants = {name: asdict(one) for name, one in estimate.constants.items()}
    return {"form": form, **constants, "residual": estimate.residual}


def _estimate(
    measured: _Measured, x: np.ndarray, question: LinkQuestion, key: Stream, *, falling: bool
) -> LinkEstimate:
    points = LinkPoints(x, measured.shares, measured.ladder.run, falling)
    return estimate_link(points, question.chance, key, samples=question.samples)


def _measured(table: LadderTable, question: LinkQuestion) -> _Measured:
    ladder = table.ladder
    row = find_metric(ladder, question.metric, question.kind)
    if ladder.metrics[row].sort != "share":
        raise LawError(
            f"The metric {question.metric!r} is a {ladder.metrics[row].sort}. A link leads to a share, such as an "
            "accuracy. Name one, or fit a law to it with `fit-law`."
        )
    logs, through = _intermediate(ladder, row, question)
    known = ~np.isnan(ladder.values[row]) & ~np.isnan(logs)
    part = ladder.at(known)
    losses = np.exp(logs[known])
    _require_runs(part, losses, table, question)
    return _Measured(part, ladder.values[row][known], losses, through)


def _intermediate(ladder: Ladder, row: int, question: LinkQuestion) -> tuple[np.ndarray, str]:
    """Return the logarithm of the loss that the share goes through, and its name."""
    if question.through is not None:
        chosen = find_metric(ladder, question.through, None)
        if ladder.metrics[chosen].sort == "share":
            raise LawError(
                f"The metric {question.through!r} is a share. A link goes through a loss or bits per byte, which fall. "
                "Name one with --through."
            )
        return losslike(ladder, chosen), question.through
    bits = bits_of(ladder, row)
    if bits is not None:
        return losslike(ladder, bits), ladder.metrics[bits].name
    kinds = [ladder.metrics[one].kind for one in ladder.of_sort("loss")]
    if not kinds:
        raise LawError(
            "The table has no loss that the share could go through. A link needs one, or bits per byte. Name a metric "
            "or a column with --through."
        )
    kind = max(set(kinds), key=kinds.count)
    rows = [one for one in ladder.of_sort("loss") if ladder.metrics[one].kind == kind]
    return common_values(ladder, rows), f"geometric mean of {len(rows)} losses"


def _require_chance(chance: float | None) -> None:
    if chance is not None and not 0 <= chance < 1:
        remedy = f"{chance:g} % is {chance / 100:g}." if 1 < chance <= 100 else "Give 0.25 for four choices."  # noqa: PLR2004
        raise LawError(
            f"Got --chance {chance:g}. It is the share right by guessing, from 0 to below 1. {remedy}"
        )


def _require_runs(ladder: Ladder, losses: np.ndarray, table: LadderTable, question: LinkQuestion) -> None:
    present = sorted({ladder.groups[group] for group in ladder.group.tolist()})
    if len(present) > 1:
        raise LawError(
            f"The runs were trained on {len(present)} corpora ({', '.join(present[:5])}), and a law holds for one. "
            f"Choose with --where {table.group_column}={present[0]}."
        )
    if ladder.params.size < FEWEST:
        raise LawError(
            f"There are {ladder.params.size} points that have both {question.metric!r} and a loss. The law behind the "
            f"link has five constants and needs {FEWEST} at least. Add runs."
        )
    if np.unique(losses).size == 1:
        raise LawError(
            f"The loss between is {losses[0]:g} at all points. A link needs one that falls. Name one with --through."
        )
    for name, values in (("parameters", ladder.params), ("tokens", ladder.tokens)):
        if np.unique(values).size == 1:
            raise LawError(
                f"All runs have the same {name}, {values[0]:g}. The law behind the link needs two sizes and two "
                "numbers of tokens at least. Add runs."
            )


def _about_link(measured: _Measured, step: LinkEstimate, chance: float | None) -> list[str]:
    found = kendalltau(measured.losses, measured.shares)
    together, p = (float(one) for one in found)  # pyright: ignore[reportArgumentType, reportGeneralTypeIssues]
    warnings: list[str] = []
    if not (together < 0 and p < _LIKELY):
        warnings.append(
            f"The share does not rise as {measured.through!r} falls (Kendall's tau {together:.2f}, p {p:.2g}): the "
            "runs may all be at chance, and the link says little."
        )
    elif step.constants["middle"].lo is None:
        warnings.append(
            "The share moves too little over these runs to tell where it will rise: they may all be near chance."
        )
    floor = step.constants["floor"]
    if chance is not None:
        below = float(np.mean(measured.shares < chance))
        if below > _BELOW:
            warnings.append(f"{below:.0%} of the runs lie below the chance of {chance:g}. Check it.")
    elif floor.lo is not None and floor.hi is not None and floor.hi - floor.lo > _UNKNOWN_FLOOR:
        known = (
            f"The floor is known between {floor.lo:.3g} and {floor.hi:.3g} only, for few runs are near it."
        )
        warnings.append(f"{known} If chance is known, give it with --chance.")
    return warnings
