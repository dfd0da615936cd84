"""Rates drawn again over items that checkpoints, systems and tasks share, all of them at once.

Every input has one exponential weight in each draw, wherever it was asked: the Bayesian bootstrap (Rubin 1981, Ann.
Statist. 9:130). A weighted rate of one group of answers then varies as the rate would over other inputs, and rates
of groups that share inputs vary together as they should: two checkpoints, or a composite and its part.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Integer

from emergelab.rng import Stream

DRAWS = 300
"""They give standard errors, to about 1 / sqrt(2 · 300) of themselves."""
FEWEST_DRAWS = 100
_MOST_NUMBERS = 20_000_000  # of one array of sums by group and draw
_CHUNK = 4096

Sums = Float64[np.ndarray, "groups draws"]


def draws_for(groups: int) -> int:
    """Return how many draws so many groups have room for."""
    return int(np.clip(_MOST_NUMBERS // max(1, groups), FEWEST_DRAWS, DRAWS))


def weighted_sums(
    place: tuple[Integer[np.ndarray, " rows"], Integer[np.ndarray, " rows"]],
    values: Mapping[str, Float64[np.ndarray, " rows"]],
    shape: tuple[int, int],
    source: Stream,
) -> dict[str, Sums]:
    """Return for each column of `values` the sums by group, in each draw of the inputs' weights.

    `place` is the group and the cluster (input) of each row; `shape` is the number of groups and that of draws. The
    same cluster has the same weights whenever it is asked with the same `source` and number of draws.
    """
    from scipy.sparse import csr_array  # noqa: PLC0415 - the laws alone need no sparse arrays

    group, cluster = place
    groups, draws = shape
    order = np.argsort(cluster, kind="stable")
    ends = np.searchsorted(cluster[order], np.arange(0, int(cluster.max(initial=-1)) + 1 + _CHUNK, _CHUNK))
    sums = {name: np.zeros((groups, draws)) for name in values}
    for chunk, (start, end) in enumerate(pairwise(ends)):
        if start == end:
            continue
        weights = source.generator(chunk).standard_exponential((_CHUNK, draws))
        rows = order[start:end]
        at = group[rows], cluster[rows] - chunk * _CHUNK
        for name, column in values.items():
            sums[name] += csr_array((column[rows], at), shape=(groups, _CHUNK)) @ weights
    return sums


def spread(draws: np.ndarray) -> np.ndarray:
    """Return the standard deviation over the last axis, without missing draws; NaN below two."""
    present = ~np.isnan(draws)
    n = present.sum(axis=-1)
    filled = np.where(present, draws, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=-1) / n
        squares = np.where(present, (filled - mean[..., None]) ** 2, 0.0).sum(axis=-1)
        return np.where(n > 1, np.sqrt(squares / (n - 1)), np.nan)
