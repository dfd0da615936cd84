"""Do skills occur independently of one another? How much more often than that k of them occur together.

In a corpus of texts with sets of skills, the *lift* of order k is the mean share of the k-subsets of all skills that a
text shows, over what it would be if skills occurred independently with the frequencies that they have:

    lift_k = mean over texts of C(n, k) / e_k(p)

n is the number of skills of a text, p the frequencies, e_k the elementary symmetric polynomial. Texts that gather
skills, since they are long or on a theme, have lifts that grow with k, and bounds that assume independence are low by
that factor. Intervals are the jackknife's over texts; the test shuffles each skill among the texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy import special

from emergelab.analysis.intervals import normal_quantile
from emergelab.errors import UserError
from emergelab.rng import Stream

SHUFFLES = 999
_FEWEST_TEXTS = 10
_BLOCKS = 200


@dataclass(frozen=True, kw_only=True)
class Lift:
    """The lift of order `k` with its interval, and the p-value of independence; `n` texts, `skills` skills.

    `pieces` is the lift's numerator, the mean share of subsets that a text shows, `independent` its denominator.
    """

    k: int
    value: float
    lo: float
    hi: float
    n: int
    skills: int
    pieces: float
    independent: float
    p: float
    method: str = "jackknife over texts; shuffled skills"


def lifts(
    presence: Bool[np.ndarray, "texts skills"], orders: range, stream: Stream, shuffles: int = SHUFFLES
) -> list[Lift]:
    """Return the lift of each order. Skills that no text has are left out.

    Raises `UserError` for fewer than ten texts, and where there are fewer skills than the highest order.
    """
    presence = presence[:, presence.any(axis=0)]
    texts, skills = presence.shape
    if texts < _FEWEST_TEXTS:
        raise UserError(f"There are {texts} texts. Intervals need {_FEWEST_TEXTS} or more. Take more texts.")
    if skills < max(orders):
        raise UserError(
            f"The texts have {skills} skills and combinations of {max(orders)} are asked for. There must be as many "
            "skills. Ask for smaller combinations."
        )
    shuffled = _shuffled_counts(presence, stream, shuffles)
    return [_lift(presence, k, shuffled) for k in orders]


def symmetric(frequencies: Float64[np.ndarray, "*sets skills"], k: int) -> Float64[np.ndarray, "*sets"]:
    """Return the elementary symmetric polynomial of order k: the sum over k-subsets of their products."""
    sums = np.zeros((k + 1, *frequencies.shape[:-1]))
    sums[0] = 1.0
    for skill in range(frequencies.shape[-1]):
        sums[1:] = sums[1:] + sums[:-1] * frequencies[..., skill]
    return np.asarray(sums[k])


def gamma_lift(variance: float, k: int) -> float:
    """Return the lift of texts whose skills are independent given a gamma-distributed density of mean 1."""
    shape = 1 / variance
    return float(np.exp(special.gammaln(shape + k) - special.gammaln(shape) - k * np.log(shape)))


def dense_texts(
    texts: int, frequencies: Float64[np.ndarray, " skills"], variance: float, stream: Stream
) -> Bool[np.ndarray, "texts skills"]:
    """Draw texts each of which has all skills more or less often, by a gamma density of mean 1 and this variance.

    With variance 0 skills are independent. Probabilities above 1 count as 1, so keep the frequencies small.
    """
    generator = stream.generator()
    density = generator.gamma(1 / variance, variance, texts) if variance else np.ones(texts)
    return generator.random((texts, len(frequencies))) < density[:, None] * frequencies


def _lift(
    presence: Bool[np.ndarray, "texts skills"], k: int, shuffled: Int64[np.ndarray, "shuffles texts"]
) -> Lift:
    texts, skills = presence.shape
    subsets = special.binom(skills, k)
    shown = special.binom(presence.sum(axis=1), k)
    independent = float(symmetric(presence.mean(axis=0), k))
    value = float(shown.mean()) / independent
    error = _jackknife(presence, shown, k)
    half = normal_quantile() * error
    null = special.binom(shuffled, k).mean(axis=1) / independent
    extreme = np.abs(null - null.mean()) >= abs(value - null.mean()) * (1 - 1e-12)
    return Lift(
        k=k,
        value=value,
        lo=max(0.0, value - half),
        hi=value + half,
        n=texts,
        skills=skills,
        pieces=float(shown.mean() / subsets),
        independent=independent / float(subsets),
        p=float((1 + extreme.sum()) / (1 + len(null))),
    )


def _jackknife(
    presence: Bool[np.ndarray, "texts skills"], shown: Float64[np.ndarray, " texts"], k: int
) -> float:
    """Return the standard error of the lift, leaving out blocks of texts in turn."""
    texts = len(presence)
    blocks = min(_BLOCKS, texts)
    block = np.arange(texts) * blocks // texts
    sizes = np.bincount(block)
    counts = np.stack([presence[block == one].sum(axis=0) for one in range(blocks)])
    left = (texts - sizes)[:, None]
    means = (shown.sum() - np.bincount(block, weights=shown)) / left[:, 0]
    values = means / symmetric((counts.sum(axis=0) - counts) / left, k)
    return float(np.sqrt((blocks - 1) / blocks * np.square(values - values.mean()).sum()))


def _shuffled_counts(
    presence: Bool[np.ndarray, "texts skills"], stream: Stream, shuffles: int
) -> Int64[np.ndarray, "shuffles texts"]:
    """Return how many skills texts have when each skill goes to as many texts, drawn anew."""
    generator = stream.generator()
    counts = np.zeros((shuffles, len(presence)), dtype=np.int64)
    held = presence.sum(axis=0).tolist()
    for shuffle in range(shuffles):
        for count in held:
            counts[shuffle, generator.choice(len(presence), count, replace=False, shuffle=False)] += 1
    return counts
