"""Tests fixed in advance: effects and intervals against closed forms and SciPy, verdicts against their rule."""

import math
from itertools import product

import numpy as np
import polars as pl
import pytest
from scipy import stats

from emergelab.analysis.estimate import mean
from emergelab.analysis.hypotheses.courses import (
    Course,
    Crossing,
    later_than,
    threshold_against,
    threshold_within,
)
from emergelab.analysis.hypotheses.differences import INFINITE, NO_BOUND, NO_IDEAL, Side, Tables, difference
from emergelab.analysis.hypotheses.excesses import largest_excess
from emergelab.analysis.hypotheses.measures import Question, per_prompt
from emergelab.analysis.hypotheses.orders import rank_correlation
from emergelab.analysis.hypotheses.verdicts import Measured, judged
from emergelab.analysis.hypotheses.verdicts import Side as LimitSide
from emergelab.rng import stream
from emergelab.scores.tables import PROMPTS
from simulated_items import SINGLE, Kind, Size, bound, cell_name, cells_of, items_of, tables

STEPS: Kind = ("single", "steps", "seen")
PROMPT_COUNT = 50


def asked(kind: Kind = SINGLE, shots: int = 0) -> Question:
    return Question(task=kind[0], form=kind[1], split=kind[2], argument="fresh", shots=shots)


def together(kind: Kind = SINGLE, answers: int = 2) -> Question:
    return Question(task=kind[0], form=kind[1], split=kind[2], answers=answers)


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def of_values(sizes: list[Size], values: dict[tuple[str, Kind], np.ndarray], *, ideal: bool = True) -> Tables:
    """Return tables with these nats; answers of fewer than 1 nat are right."""
    cells = cells_of(sizes, ideal=ideal)
    kinds = list(dict.fromkeys(kind for _, kind in values))
    items = items_of(
        cells["cell"].to_list(),
        kinds,
        len(next(iter(values.values()))),
        lambda cell, kind, _: (values[cell, kind] < 1, values[cell, kind]),
    )
    return tables(items, cells)


# Differences


def test_one_run_against_the_ideal_predictor_is_a_paired_t_test():
    model, ideal = generator(1).exponential(size=PROMPT_COUNT), generator(2).exponential(size=PROMPT_COUNT)
    cell = cell_name(1, 0, 100)
    study = of_values([Size(layers=1, seeds=(0,))], {(cell, SINGLE): model, ("ideal", SINGLE): ideal})
    found = difference(study, "nats", [Side(weight=1, cells=(cell,), questions=(asked(),), minus="ideal")])
    single = np.float32(model).astype(float) - np.float32(ideal)  # as tables keep them
    expected = stats.ttest_1samp(single, 0).confidence_interval()
    assert found.effect == pytest.approx(single.mean())
    assert (found.lo, found.hi) == pytest.approx((expected.low, expected.high))
    assert "one seed" in found.method
    assert found.n == PROMPT_COUNT


def test_forms_are_paired_prompt_by_prompt():
    difficulty = generator(1).exponential(size=PROMPT_COUNT)
    printed = difficulty / 2 + generator(2).normal(0.1, 0.01, PROMPT_COUNT)
    cell = cell_name(1, 0, 100)
    study = of_values(
        [Size(layers=1, seeds=(0,))], {(cell, SINGLE): difficulty, (cell, STEPS): printed}, ideal=False
    )
    sides = [
        Side(weight=1, cells=(cell,), questions=(asked(),)),
        Side(weight=-1, cells=(cell,), questions=(asked(STEPS),)),
    ]
    found = difference(study, "nats", sides)
    expected = stats.ttest_rel(difficulty, printed).confidence_interval()
    assert (found.lo, found.hi) == pytest.approx((expected.low, expected.high), rel=1e-4)


def test_seeds_that_answer_all_prompts_alike_are_compared_by_students_t():
    """Without any difference between prompts, only the seeds vary."""
    levels = {(layers, seed): layers + 0.1 * seed**2 for layers, seed in product((1, 2), range(4))}
    cells = {key: cell_name(*key, 100) for key in levels}
    values = {(cells[key], SINGLE): np.full(PROMPT_COUNT, level) for key, level in levels.items()}
    sizes = [Size(layers=layers, seeds=range(4)) for layers in (1, 2)]
    study = of_values(sizes, values, ideal=False)
    one = tuple(cells[1, seed] for seed in range(4))
    found = difference(study, "nats", [Side(weight=1, cells=one, questions=(asked(),))])
    expected = stats.ttest_1samp([levels[1, seed] for seed in range(4)], 0).confidence_interval()
    assert (found.lo, found.hi) == pytest.approx((expected.low, expected.high), rel=1e-5)
    # Over two sizes the variances between seeds are pooled: twice the degrees of freedom, half the variance.
    both = difference(study, "nats", [Side(weight=1, cells=tuple(cells.values()), questions=(asked(),))])
    spread = np.var([0.1 * seed**2 for seed in range(4)], ddof=1)
    half = stats.t.ppf(0.975, 6) * math.sqrt(spread / 4 / 2)
    assert both.effect == pytest.approx(1.5 + 0.1 * (0 + 1 + 4 + 9) / 4)
    assert (both.lo, both.hi) == pytest.approx((1.5 + 1.4 / 4 - half, 1.5 + 1.4 / 4 + half), rel=1e-4)
    assert "6 degrees of freedom" in both.method


def test_token_counts_of_a_run_are_no_repetitions_of_it():
    """Two readings of one run add up to one value of that run, however many there are."""
    sizes = [Size(layers=1, seeds=range(3), tokens=(100, 200))]
    level = {seed: float(seed) for seed in range(3)}
    values = {
        (cell_name(1, seed, tokens), SINGLE): np.full(PROMPT_COUNT, level[seed] + tokens / 100)
        for seed, tokens in product(range(3), (100, 200))
    }
    study = of_values(sizes, values, ideal=False)
    cells = tuple(cell for cell, _ in values)
    found = difference(study, "nats", [Side(weight=1, cells=cells, questions=(asked(),))])
    expected = stats.ttest_1samp([level[seed] + 1.5 for seed in range(3)], 0).confidence_interval()
    assert (found.lo, found.hi) == pytest.approx((expected.low, expected.high), rel=1e-5)


def test_a_difference_of_differences_adds_up_with_its_signs():
    cells = [cell_name(layers, 0, 100) for layers in (1, 2)]
    means = {
        (cells[0], SINGLE): 3.0,
        (cells[0], STEPS): 2.5,
        (cells[1], SINGLE): 2.0,
        (cells[1], STEPS): 0.25,
    }
    values = {key: np.full(PROMPT_COUNT, value) for key, value in means.items()}
    study = of_values([Size(layers=layers, seeds=(0,)) for layers in (1, 2)], values, ideal=False)
    sides = [
        Side(weight=sign * (1 if layers else -1), cells=(cells[layers],), questions=(asked(kind),))
        for layers, (sign, kind) in product((0, 1), ((1, SINGLE), (-1, STEPS)))
    ]
    assert difference(study, "nats", sides).effect == pytest.approx((2.0 - 0.25) - (3.0 - 2.5))


def test_chance_and_bounds_are_taken_away():
    cell = cell_name(1, 0, 100)
    right = np.arange(PROMPT_COUNT) % 2 == 0
    cells = cells_of([Size(layers=1, seeds=(0,))])
    items = items_of([cell, "ideal"], [SINGLE], PROMPT_COUNT, lambda *_: (right, 1.0 + right), shots=2)
    study = tables(items, cells, [bound(SINGLE, 4.0, answers=2)])
    side = Side(weight=1, cells=(cell,), questions=(asked(),), minus="chance")
    assert difference(study, "accuracy", [side]).effect == pytest.approx(0.5 - 0.1)
    assert difference(study, "nats", [side]).effect == pytest.approx(1.5 + math.log(0.1))
    bounded = Side(weight=1, cells=(cell,), questions=(together(),), minus="bound")
    assert difference(study, "total_nats", [bounded]).effect == pytest.approx(2 * 1.5 - 4.0)
    assert difference(study, "errors", [bounded]).effect == pytest.approx(2 * 0.5 - 4.0 / math.log(2))
    without = tables(items, cells, [bound(SINGLE, None, answers=2)])
    assert difference(without, "total_nats", [bounded]).why_not == NO_BOUND


def test_answers_that_never_vary_leave_room_for_one_more():
    cell = cell_name(1, 0, 100)
    study = of_values([Size(layers=1, seeds=(0,))], {(cell, SINGLE): np.zeros(PROMPT_COUNT)}, ideal=False)
    found = difference(study, "accuracy", [Side(weight=1, cells=(cell,), questions=(asked(),))])
    assert found.effect == 1
    assert found.hi == 1
    assert found.lo is not None
    assert 0.9 < found.lo < 0.97


def test_what_cannot_be_said_is_said():
    cell = cell_name(1, 0, 100)
    sizes = [Size(layers=1, seeds=(0,))]
    infinite = np.array([1.0, math.inf])
    study = of_values(sizes, {(cell, SINGLE): infinite}, ideal=False)
    side = Side(weight=1, cells=(cell,), questions=(asked(),))
    assert difference(study, "nats", [side]).why_not == INFINITE
    against = Side(weight=1, cells=(cell,), questions=(asked(),), minus="ideal")
    assert difference(study, "accuracy", [against]).why_not == NO_IDEAL
    assert judged(difference(study, "nats", [side]), 0, "above").verdict == "undecided"


@pytest.mark.parametrize(
    ("ends", "side", "verdict"),
    [
        ((0.4, 0.5), "above", "supported"),
        ((0.4, 0.5), "below", "not supported"),
        ((0.1, 0.2), "above", "not supported"),
        ((0.1, 0.2), "below", "supported"),
        ((0.2, 0.4), "above", "undecided"),
        ((0.2, 0.4), "below", "undecided"),
        ((0.3, 0.4), "above", "undecided"),  # it touches the limit
        ((None, None), "above", "undecided"),
        ((math.nan, math.nan), "below", "undecided"),
    ],
)
def test_only_an_interval_on_one_side_of_the_limit_decides(
    ends: tuple[float | None, float | None], side: LimitSide, verdict: str
):
    measured = Measured(effect=0.3, lo=ends[0], hi=ends[1], n=9, of_what="answers", seeds=1, method="m")
    assert judged(measured, 0.3, side).verdict == verdict


def test_sums_need_all_of_their_answers():
    items = items_of(["c"], [SINGLE], 3, lambda *_: (np.array([1, 0, 1]), np.array([1.0, 2.0, 3.0])), shots=3)
    gap = (pl.col("prompt") == 1) & (pl.col("shot") == 2) & (pl.col("step") == 0)
    holed = items.with_columns(nats=pl.when(~gap).then("nats"))
    sums = per_prompt(holed, "total_nats", together(answers=3)).sort("prompt")
    assert sums["prompt"].to_list() == [0, 2]
    assert sums["value"].to_list() == [3.0, 9.0]
    assert per_prompt(holed, "total_nats", together(answers=2)).height == 3
    assert per_prompt(items, "errors", together(answers=3)).sort("prompt")["value"].to_list() == [0, 3, 0]


# Bounds


def of_costs(costs: dict[Kind, np.ndarray], limits: dict[Kind, float | None]) -> Tables:
    cells = cells_of([Size(layers=1, seeds=(0,))])
    items = items_of(["ideal"], list(costs), PROMPT_COUNT, lambda _, kind, __: (costs[kind] < 1, costs[kind]))
    return tables(items, cells, [bound(kind, limit, answers=1) for kind, limit in limits.items()])


def test_one_excess_has_halls_interval():
    costs = generator().exponential(size=PROMPT_COUNT)
    found = largest_excess(
        of_costs({SINGLE: costs}, {SINGLE: 2.0}), "total_nats", [together(answers=1)], ["ideal"]
    )
    expected = mean(np.float32(costs).astype(float) - 2.0)
    assert (found.effect, found.lo, found.hi) == pytest.approx((expected.value, expected.lo, expected.hi))
    assert judged(found, 0, "below").verdict == "supported"


def test_several_excesses_hold_at_once_and_the_largest_counts():
    costs = {
        SINGLE: generator(1).exponential(size=PROMPT_COUNT),
        STEPS: generator(2).exponential(size=PROMPT_COUNT),
    }
    study = of_costs(costs, {SINGLE: 5.0, STEPS: 0.5, ("other", "direct", "seen"): None})
    questions = [together(kind, 1) for kind in (SINGLE, STEPS)]
    both = largest_excess(study, "total_nats", questions, ["ideal"])
    alone = largest_excess(study, "total_nats", questions[1:], ["ideal"])
    assert both.effect == alone.effect
    assert both.lo is not None
    assert alone.lo is not None
    assert both.lo < alone.lo
    assert both.n == 2
    assert judged(both, 0, "below").verdict == "not supported"


def test_wrong_answers_that_never_vary_are_not_certain():
    costs = np.full(PROMPT_COUNT, 2.0)  # all wrong
    nats = math.log(2) * 1.01  # one wrong answer and a little
    found = largest_excess(
        of_costs({SINGLE: costs}, {SINGLE: nats}), "errors", [together(answers=1)], ["ideal"]
    )
    assert found.effect == pytest.approx(-0.01)
    assert judged(found, 0, "below").verdict == "undecided"


# Thresholds


def course(layers: int = 1, kind: Kind = SINGLE, shots: int = 0, tokens: tuple[int, ...] = ()) -> Course:
    cells = tuple(cell_name(layers, seed, count) for seed, count in product((0, 1), tokens))
    return Course(question=asked(kind, shots), axis="tokens", cells=cells)


TOKENS = tuple(100 * 2**power for power in range(7))


def rising(places: dict[int, float]) -> Tables:
    """Return answers whose share right rises about a place, in ln tokens, for each number of layers."""
    draws = generator(5)

    def value(cell: str, kind: Kind, shot: int) -> tuple[np.ndarray, np.ndarray]:
        del kind, shot
        parts = dict(part.split("=") for part in cell.split(","))
        share = 0.05 + 0.9 / (
            1 + math.exp(-(math.log(int(parts["tokens"])) - places[int(parts["layers"])]) / 0.25)
        )
        return draws.random(200) < share, np.full(200, -math.log(share)) + draws.normal(0, 0.01, 200)

    cells = cells_of([Size(layers=layers, tokens=TOKENS) for layers in places], ideal=False)
    return tables(items_of(cells["cell"].to_list(), [SINGLE], 200, value), cells)


def test_thresholds_are_found_held_against_limits_and_against_each_other():
    study = rising({1: math.log(800), 2: math.log(1600), 3: math.log(1e9)})
    half = Crossing(level=0.5)
    courses = {layers: course(layers, tokens=TOKENS) for layers in (1, 2, 3)}
    within = threshold_within(study, courses[1], half, stream(0, "a"))
    assert within.verdict == "supported"
    assert within.lo is not None
    assert within.hi is not None
    assert within.lo <= 800 <= within.hi
    never = threshold_within(study, courses[3], half, stream(0, "b"))
    assert never.verdict == "not supported"
    held: dict[tuple[float, LimitSide], str] = {
        (100.0, "above"): "supported",
        (6000.0, "above"): "not supported",
        (800.0, "below"): "undecided",
    }
    for (limit, side), verdict in held.items():
        found = threshold_against(study, courses[1], half, (limit, side), stream(0, "c"))
        assert found.verdict == verdict, (limit, side)
    # What was never reached lies behind everything that was measured.
    assert (
        threshold_against(study, courses[3], half, (6400.0, "above"), stream(0, "d")).verdict == "supported"
    )
    assert later_than(study, (courses[3], courses[1]), half, stream(0, "e")).verdict == "supported"
    assert later_than(study, (courses[1], courses[3]), half, stream(0, "f")).verdict == "not supported"
    assert later_than(study, (courses[3], courses[3]), half, stream(0, "g")).verdict == "undecided"


# Ranks


def test_tasks_are_ranked_by_their_description_length():
    kinds = [(f"task {number}", "direct", "seen") for number in range(6)]
    cost = dict(zip(kinds, (1.0, 3.0, 2.0, 5.0, 6.0, 4.0), strict=True))
    cells = cells_of([Size(layers=1, seeds=(0,))])
    items = items_of(["ideal"], kinds, 4, lambda _, kind, __: (np.ones(4), np.full(4, cost[kind])))
    lengths = [bound(kind, 9.0, answers=1, length=float(place)) for place, kind in enumerate(kinds)]
    study = tables(items, cells, lengths)
    questions = [together(kind, 1) for kind in kinds]
    found = rank_correlation(study, "total_nats", (questions, ["ideal"]))
    assert found.effect == pytest.approx(np.asarray(stats.spearmanr(range(6), list(cost.values())))[0])
    assert found.n == 6
    assert found.of_what == "tasks"


def test_choices_of_functions_are_ranked_by_the_lengths_of_their_prompts():
    size, choices = 24, 8
    choice = np.arange(size) % choices
    cells = cells_of([Size(layers=1, seeds=(0,))])
    noise = generator().normal(0, 0.01, size)
    items = items_of(["ideal"], [SINGLE], size, lambda *_: (np.ones(size), 1.0 + choice + noise))
    prompts = pl.DataFrame(
        {
            "task": SINGLE[0],
            "form": SINGLE[1],
            "split": SINGLE[2],
            "prompt": np.arange(size),
            "functions": [[f"f{one}"] for one in choice],
            "D_nats": 2.0 + choice,
        }
    ).select(pl.lit(None, dtype=pl.String).alias("variant"), pl.all())
    named = prompts.select(pl.col(name).cast(PROMPTS[name]) for name in prompts.columns)
    found = rank_correlation(
        tables(items, cells, [bound(SINGLE, 9.0, answers=1)]),
        "total_nats",
        ([together(answers=1)], ["ideal"]),
        named,
    )
    assert found.effect == 1
    assert found.n == choices
    # All ranks agree: the interval is that of one exchanged pair of neighbours.
    near = np.asarray(stats.spearmanr(range(choices), [1, 0, *range(2, choices)]))[0]
    margin = stats.norm.ppf(0.975) * math.sqrt((1 + near**2 / 2) / (choices - 3))
    assert (found.lo, found.hi) == pytest.approx((math.tanh(math.atanh(near) - margin), 1.0))
