"""Loop laws as probabilities: how many rows a loop prints."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from emergelab.grammar.syntax import Law


def at_least(law: Law | None, *, objects: int | None, most: int) -> Float64[np.ndarray, " rows_and_one"]:
    """Return P(N >= n) for n = 0, 1, ..., `most`, of the number N of a loop's rows; P(N >= 0) = 1.

    `law` None is exactly one row. `objects` truncates N where they are drawn without replacement, else it is
    None; the law `all` prints each of them. Source: `docs/grammar.md`, loop laws.
    """
    n = np.arange(1, most + 1, dtype=np.float64)
    shares = np.concatenate([[1.0], _survival(law, n, objects)])
    if objects is not None:
        shares[objects + 1 :] = 0.0
    return shares


def _survival(law: Law | None, n: Float64[np.ndarray, " rows"], objects: int | None) -> np.ndarray:
    if law is None:
        return (n <= 1).astype(np.float64)
    match law.name:
        case "stop":
            return (1 - law.numbers[0]) ** (n - 1)
        case "power":
            return n ** -law.numbers[0]
        case "uniform":
            low, high = law.numbers
            return np.clip((high - n + 1) / (high - low + 1), 0.0, 1.0)
        case "all":
            if objects is None:
                raise ValueError("the law `all` draws without replacement: it needs the number of objects")
            return np.ones_like(n)


def goes_on(shares: Float64[np.ndarray, " rows_and_one"]) -> Float64[np.ndarray, " rows"]:
    """Return P(N >= n + 1 | N >= n) for n = 0, 1, ... from P(N >= n); 0 where n rows are never reached."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(shares[:-1] > 0, shares[1:] / shares[:-1], 0.0)
