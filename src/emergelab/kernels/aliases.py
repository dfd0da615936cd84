"""Walker's tables: how kernels draw from any law in constant time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int32


def walker_tables(
    probabilities: Float64[np.ndarray, " n"],
) -> tuple[Float64[np.ndarray, " n"], Int32[np.ndarray, " n"]]:
    """Return (cut float64[n], alias int32[n]) of Walker's alias method, built by Vose's algorithm (1991).

    Drawing i uniformly and then i with probability cut[i], else alias[i], has the given probabilities.
    """
    n = len(probabilities)
    cut = probabilities / probabilities.sum() * n
    alias = np.arange(n, dtype=np.int32)
    small = [i for i in range(n) if cut[i] < 1.0]
    large = [i for i in range(n) if cut[i] >= 1.0]
    while small and large:
        low, high = small.pop(), large[-1]
        alias[low] = high
        cut[high] -= 1.0 - cut[low]
        if cut[high] < 1.0:
            small.append(large.pop())
    for rest in small + large:
        cut[rest] = 1.0
    return cut, alias
