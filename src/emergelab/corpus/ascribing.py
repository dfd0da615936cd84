"""Objects that one of several unknown functions has printed, and what that tells about the next object.

For each of some different arguments one of the functions was taken, independently with its probability, and
its value was printed, but not which function it was. Every function is drawn uniformly at random: a
permutation, or a map.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from jaxtyping import Float64, Int64


class Ascriptions:
    """The law of the next object, given how many objects were printed once, twice and so on.

    All ways of ascribing what was printed to the functions are summed over: a permutation that printed k
    objects did so with probability (O - k)!/O! if they differ, a map with 1/Oᵏ in any case. Ways are counted by
    how many objects each permutation has printed; the cost grows with the number of rows to the power of the
    number of permutations.
    """

    def __init__(self, functions: tuple[tuple[float, bool], ...], objects: int) -> None:
        total = math.fsum(weight for weight, _ in functions) or 1.0
        self._permutations = [weight / total for weight, is_permutation in functions if is_permutation]
        self._maps = math.fsum(weight / total for weight, is_permutation in functions if not is_permutation)
        self._objects = objects
        self._counted: dict[tuple[int, ...], tuple[np.ndarray, float]] = {
            (): (np.ones((1,) * len(self._permutations)), 0.0)
        }

    def probabilities(
        self, numbers: Int64[np.ndarray, "prompts times"], times: Int64[np.ndarray, " prompts"]
    ) -> Float64[np.ndarray, " prompts"]:
        """Return the probability that the next object is a given one that was printed `times` times.

        `numbers[:, c - 1]` counts the objects that were printed c times.
        """
        if not self._permutations:
            return np.full(len(times), self._maps / self._objects)
        if len(self._permutations) == 1 and not self._maps:
            left = np.maximum(self._objects - numbers.sum(axis=1), 1)
            return np.where(times > 0, 0.0, 1 / left)
        situations, which = np.unique(
            np.concatenate([numbers, times[:, None]], axis=1), axis=0, return_inverse=True
        )
        found = [self._probability(tuple(counts), again) for *counts, again in situations.tolist()]
        return np.array(found)[which.ravel()]

    def _probability(self, counts: tuple[int, ...], times: int) -> float:
        more = [*counts, 0]
        more[times] += 1
        if times:
            more[times - 1] -= 1
        return math.exp(self._log_ways(tuple(more)) - self._log_ways(counts))

    def _log_ways(self, counts: tuple[int, ...]) -> float:
        """Return ln of the probability of what was printed, summed over all ways of ascribing it."""
        ways, scale = self._ways(counts)
        printed = [np.arange(size) for size in ways.shape]
        logs = [self._log_arrangements(count) for count in printed]
        exponent = sum(np.ix_(*logs))
        with np.errstate(divide="ignore"):
            terms = np.log(ways) - exponent
        largest = float(terms.max())
        return scale + (
            largest + math.log(np.exp(terms - largest).sum()) if largest > -math.inf else -math.inf
        )

    def _log_arrangements(self, count: Int64[np.ndarray, " counts"]) -> Float64[np.ndarray, " counts"]:
        """Return ln O!/(O - k)!, infinite for more objects than there are."""
        factors = np.arange(self._objects, self._objects - len(count), -1, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(factors > 0, np.log(factors), np.inf)
        return np.concatenate([[0.0], np.cumsum(logs)[:-1]])

    def _ways(self, counts: tuple[int, ...]) -> tuple[np.ndarray, float]:
        """Return the weights of the ways by the objects of each permutation, times e to the power of a scale."""
        missing: list[tuple[int, ...]] = []
        counts = _stripped(counts)
        while counts not in self._counted:
            missing.append(counts)
            counts = _stripped((*counts[:-1], counts[-1] - 1))
        for one in reversed(missing):
            ways, scale = self._counted[_stripped((*one[:-1], one[-1] - 1))]
            longer = self._with_one_more(ways, len(one))
            largest = float(longer.max()) or 1.0
            self._counted[one] = longer / largest, scale + math.log(largest)
        return self._counted[missing[0] if missing else counts]

    def _with_one_more(self, ways: np.ndarray, times: int) -> np.ndarray:
        """Ascribe one more object that was printed `times` times: by each permutation once at most."""
        longer = np.zeros([size + 1 for size in ways.shape])
        for chosen in itertools.product((0, 1), repeat=ways.ndim):
            once = sum(chosen)
            if once > times or (once < times and not self._maps):
                continue
            weights = [
                weight for weight, is_chosen in zip(self._permutations, chosen, strict=True) if is_chosen
            ]
            weight = (
                math.perm(times, once) * math.prod(weights) * (self._maps / self._objects) ** (times - once)
            )
            part = tuple(slice(shift, shift + size) for shift, size in zip(chosen, ways.shape, strict=True))
            longer[part] += weight * ways
        return longer


def _stripped(counts: tuple[int, ...]) -> tuple[int, ...]:
    end = len(counts)
    while end and not counts[end - 1]:
        end -= 1
    return counts[:end]
