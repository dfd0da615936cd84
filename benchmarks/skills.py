"""Skills in theory: points of performance curves a second, and edges of simulated graphs with the memory they take.

Every curve is asked at many points at once, and one by one, in turn: the ratio is what vectors gain. Graphs of a
hundred million edges run in a process of their own each, which tells its largest memory; seconds are the processor's.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from emergelab.rng import stream
from emergelab.theory.curves import Curve, TupleKind, Tuples, failure, largest_theta, share
from emergelab.theory.graphs import SkillGraph, attack, fail, hardnesses, random_target
from emergelab.theory.mixtures import SkillCounts, mixed_failure, mixed_share
from ratios import interleave, spread

POINTS, FEW = 100_000, 50
TARGET = 100_000
EDGES, K, THETA = 100_000_000, 8, 0.1
GRAPHS = {"1,000 skills alike": (1_000, 0.0), "1,000,000 skills by Zipf's law": (1_000_000, 1.0)}
MIXED = SkillCounts((4, 8, 12), (0.25, 0.5, 0.25))
Asked = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def main() -> dict[str, object]:
    """Measure curves and graphs."""
    return {"points of curves": curves(), "graphs of 100 million edges": graphs()}


def questions() -> dict[str, Asked]:
    """Return what is asked of the curves: of theta, alpha, beta and k."""
    pairs = Tuples(size=2, kind=TupleKind.concatenated)
    return {
        "failure, theorem": lambda t, a, _b, k: failure(Curve.theorem, t, a, k),
        "failure, sharper": lambda t, a, _b, k: failure(Curve.sharper, t, a, k),
        "failure, exact": lambda t, a, _b, k: failure(Curve.exact, t, a, k),
        "failure of pairs, exact": lambda t, a, _b, k: failure(Curve.exact, pairs.theta(t), a, pairs.k(k)),
        "smallest share, theorem": lambda t, _a, b, k: share(Curve.theorem, t, b, k),
        "smallest share, exact": lambda t, _a, b, k: share(Curve.exact, t, b, k),
        "theta that is needed, exact": lambda t, a, _b, k: largest_theta(Curve.exact, 4 * t * a + t, a, k),
        "failure, mixture, theorem": lambda t, a, _b, _k: mixed_failure(Curve.theorem, t, a, MIXED),
        "failure, mixture, exact": lambda t, a, _b, _k: mixed_failure(Curve.exact, t, a, MIXED),
        "smallest share, mixture, exact": lambda t, _a, b, _k: mixed_share(Curve.exact, t, b, MIXED),
    }


def curves() -> dict[str, object]:
    """Return points a second of processor time, and how many times as fast many at once are."""
    generator = stream(0, "benchmark").generator()
    theta, alpha = generator.uniform(0.02, 0.12, POINTS), generator.uniform(0.02, 0.5, POINTS)
    beta, k = generator.uniform(1.5, 8, POINTS), generator.integers(1, 33, POINTS)
    every = (theta, alpha, beta, k)
    found: dict[str, object] = {}
    for name, ask in questions().items():
        rates = spread([POINTS / processor_seconds(lambda ask=ask: ask(*every)) for _ in range(3)])
        found[name] = {"points a second": rates, "times as fast as one by one": gain(ask, every)}
    return {"target": TARGET, **found}


def gain(ask: Asked, every: tuple[np.ndarray, ...]) -> float:
    """Return the median ratio of times for a point, one by one over all at once."""
    some = tuple(values[:FEW] for values in every)

    def one_by_one() -> None:
        for at in range(FEW):
            ask(*(values[at : at + 1] for values in some))

    ratio = interleave(one_by_one, lambda: ask(*every), 3)["ratio"]["median"]
    return ratio * POINTS / FEW


def processor_seconds(work: Callable[[], object]) -> float:
    """Return the processor's seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def graphs() -> dict[str, object]:
    """Return edges a second and the largest memory, of random, correlated and adversarial failing sets."""
    found: dict[str, object] = {}
    for name in GRAPHS:
        for kind in ("random", "correlated", "adversarial"):
            command = [sys.executable, __file__, name, kind]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found[f"{name}, {kind}"] = json.loads(answer)
    return found


def simulate(name: str, kind: str) -> dict[str, float]:
    """Simulate one graph in this process and return its seconds, memory and the failure of the worst fifth."""
    skills, power = GRAPHS[name]
    key = stream(0, "graph")
    warm = SkillGraph(stream=key, skills=10, pieces=100, counts=SkillCounts((K,), (1.0,)), power=power)
    fail(warm, THETA, np.zeros(10), 0.0)
    start = time.process_time()
    graph = SkillGraph(
        stream=key, skills=skills, pieces=EDGES // K, counts=SkillCounts((K,), (1.0,)), power=power
    )
    if kind == "adversarial":
        failures = attack(graph, THETA, random_target(graph, 0.2, key.child("target")))
    else:
        loading = 0.5 if kind == "correlated" else 0.0
        failures = fail(graph, THETA, hardnesses(graph, key.child("hardness")), loading)
    seconds = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    edges = float(failures.edges.sum())
    return {
        "seconds": seconds,
        "million edges a second": edges / seconds / 1e6,
        "largest memory, GiB": memory,
        "failure of the worst fifth": failures.worst(0.2)[1],
    }


if __name__ == "__main__":
    print(json.dumps(simulate(sys.argv[1], sys.argv[2])))
