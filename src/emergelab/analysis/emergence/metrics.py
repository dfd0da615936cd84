"""One task in several metrics: whether a jump in accuracy shows in nats, or is an artefact of the metric.

Whole answers are right or wrong, and an answer of k tokens is right with the product of k probabilities. Where
every token gets better smoothly, the accuracy may stay low for long and then rise at once (Schaeffer, Miranda
and Koyejo 2023, arXiv 2304.15004). Nats add up over tokens and show the progress that accuracy hides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from emergelab.analysis import intervals
from emergelab.analysis.emergence.breaks import Break, find_break
from emergelab.analysis.emergence.curves import Curve
from emergelab.analysis.emergence.names import Metric
from emergelab.analysis.emergence.rises import Plateaus, Rise, fit_rises
from emergelab.analysis.emergence.thresholds import Threshold, sharpness_of, threshold_of
from emergelab.analysis.estimate import NO_VALUES, Estimate
from emergelab.rng import Stream

Answer = Literal["jump", "artefact of the metric", "no jump", "undecided"]

PROGRESS = "interpolated, draws of both curves"
_DRAWS = 2000
_TENTH = float(np.log(9.0))  # a logistic has risen by a tenth so many widths before its place


@dataclass(frozen=True)
class Question:
    """What is asked of a curve: the level of its threshold, its plateaus if known, the span of what is smooth."""

    level: float | None = None
    plateaus: Plateaus | None = None
    span: float | None = None


@dataclass(frozen=True)
class Emergence:
    """Threshold, sharpness (logarithms of x; nats for loss) and jump of one metric over one scale.

    `rises` are what the runs' rises were found to be.
    """

    metric: Metric
    curve: Curve
    threshold: Threshold
    sharpness: Estimate
    jump: Break
    rises: list[Rise] = field(repr=False)


@dataclass(frozen=True)
class TaskCurves:
    """The curves of one task over the same scale; the probability of the right answer may be missing."""

    accuracy: Curve
    nats: Curve
    probability: Curve | None = None


@dataclass(frozen=True)
class AcrossMetrics:
    """Whether a jump in accuracy is one, with what was found in each metric.

    `progress` is the share of the whole fall in nats that has happened where the accuracy has done a tenth of
    its rise.
    """

    verdict: Answer
    reason: str
    progress: Estimate
    metrics: tuple[Emergence, ...]


def emergence(metric: Metric, curve: Curve, random: Stream, question: Question | None = None) -> Emergence:
    """Return threshold, sharpness and the test for a jump of one curve."""
    asked = question or Question()
    rises = fit_rises(curve, random, asked.plateaus)
    return Emergence(
        metric,
        curve,
        threshold_of(curve, rises, level=asked.level),
        sharpness_of(curve, rises),
        find_break(curve, random, span=asked.span),
        rises,
    )


def across_metrics(
    curves: TaskCurves, random: Stream, questions: dict[Metric, Question] | None = None
) -> AcrossMetrics:
    """Ask the same of accuracy, nats and, if there, probability, and judge the accuracy by the nats.

    "jump": accuracy and nats both jump. "artefact of the metric": accuracy jumps, nats do not. "no jump":
    neither does. Else "undecided", also where nats jump and accuracy does not. The probability of a whole
    answer is a product as its accuracy is, and jumps with it: it is reported, and decides nothing. Raises
    ValueError if the curves differ in their scale.

    Simulated: exact match of five tokens whose probabilities rise smoothly was called an artefact in 34 to 40 of 40
    tasks on 8 and 12 points, and tokens that jump were called a jump in all. Measured by tests/simulated_curves.py.
    """
    named: dict[Metric, Curve | None] = {
        "accuracy": curves.accuracy,
        "probability": curves.probability,
        "nats": curves.nats,
    }
    there: dict[Metric, Curve] = {name: curve for name, curve in named.items() if curve is not None}
    if any(not np.array_equal(curve.scale.x, curves.nats.scale.x) for curve in there.values()):
        raise ValueError("The curves of one task must be over the same scale.")
    asked = questions or {}
    found: dict[Metric, Emergence] = {
        name: emergence(name, curve, random.child(name), asked.get(name)) for name, curve in there.items()
    }
    verdict, reason = judged(found["accuracy"].jump, found["nats"].jump)
    return AcrossMetrics(
        verdict, reason, progress(curves.nats, found["accuracy"], random), tuple(found.values())
    )


def judged(accuracy: Break, nats: Break) -> tuple[Answer, str]:
    """Return what the jumps of accuracy and of a metric that is no product say together, and why."""
    pair = (accuracy.verdict, nats.verdict)
    if pair == ("jump", "jump"):
        return "jump", "accuracy and nats both jump"
    if pair == ("jump", "no jump"):
        return "artefact of the metric", "accuracy jumps, nats fall smoothly"
    if pair == ("no jump", "no jump"):
        return "no jump", "accuracy and nats both change smoothly"
    return "undecided", f"accuracy: {pair[0]} ({accuracy.reason}); nats: {pair[1]} ({nats.reason})"


def progress(nats: Curve, accuracy: Emergence, random: Stream) -> Estimate:
    """Return the share of the whole fall in nats that has happened where accuracy has done a tenth of its rise."""
    rises = [rise for rise in accuracy.rises if rise.place.size]
    if not rises:
        return Estimate(None, None, None, nats.n, NO_VALUES)
    shares = _shares_done(nats, rises, random.child("progress").generator())
    tails = [(1 - intervals.LEVEL) / 2, 0.5, (1 + intervals.LEVEL) / 2]
    lo, value, hi = (float(end) for end in np.quantile(shares, tails))
    return Estimate(value, lo, hi, nats.n, PROGRESS)


def _shares_done(nats: Curve, rises: list[Rise], generator: np.random.Generator) -> np.ndarray:
    """Draw how much of all the fall in nats is done at the onset of the rise, from 0 to 1."""
    u, means = nats.scale.positions(), nats.means()
    onsets = np.concatenate([rise.place - _TENTH * rise.width for rise in rises])
    drawn = means + generator.standard_normal((_DRAWS, u.size)) * np.sqrt(nats.mean_variances())
    at = [
        np.interp(onset, u, row) for onset, row in zip(generator.choice(onsets, _DRAWS), drawn, strict=True)
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        done = (drawn[:, 0] - np.array(at)) / (drawn[:, 0] - drawn[:, -1])
    return np.clip(np.nan_to_num(done), 0.0, 1.0)
