"""How often the interval of a difference holds the truth, in simulated studies."""

import numpy as np
import pytest

from emergelab.analysis.hypotheses.differences import Side, Tables, difference
from emergelab.analysis.hypotheses.measures import Question
from simulated_items import SINGLE, Kind, Size, cells_of, items_of, tables

PROMPTS, STUDIES, RUN_DEVIATION, TRUTH = 40, 150, 0.15, 1.0
# Of 150 studies that hold the truth at 95 % each, fewer than 134 hold it once in 1,500 times.
FEWEST = 134


def simulated(generator: np.random.Generator, sizes: list[Size], prompt_deviation: float) -> Tables:
    """Return nats about 1: runs differ, prompts are easier or harder for all runs, and answers vary."""
    cells = cells_of(sizes, ideal=False)
    run = {cell: generator.normal(0, RUN_DEVIATION) for cell in cells["cell"]}
    prompt = generator.normal(0, prompt_deviation, PROMPTS)

    def value(cell: str, kind: Kind, shot: int) -> tuple[np.ndarray, np.ndarray]:
        del kind, shot
        return np.ones(PROMPTS), TRUTH + run[cell] + prompt + generator.normal(0, 1, PROMPTS)

    return tables(items_of(cells["cell"].to_list(), [SINGLE], PROMPTS, value), cells)


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "seeds"), [(1, 2), (3, 2), (2, 4)])
@pytest.mark.parametrize("prompt_deviation", [0.3, 1.5])
def test_the_interval_holds_the_truth_for_new_runs_and_new_prompts(
    sizes: int, seeds: int, prompt_deviation: float
):
    generator = np.random.Generator(np.random.Philox(7))
    question = Question(task=SINGLE[0], form=SINGLE[1], split=SINGLE[2], argument="fresh", shots=0)
    held = 0
    for _ in range(STUDIES):
        asked = [Size(layers=layers, seeds=range(seeds)) for layers in range(1, sizes + 1)]
        study = simulated(generator, asked, prompt_deviation)
        side = Side(weight=1, cells=tuple(study.cells["cell"]), questions=(question,))
        found = difference(study, "nats", [side])
        assert found.lo is not None
        assert found.hi is not None
        held += found.lo <= TRUTH <= found.hi
    assert held >= FEWEST
