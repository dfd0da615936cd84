"""Three gains of printed steps and free generation, against hand-made items, NumPy, SciPy and exact enumeration."""

import itertools
import math
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emergelab.analysis import estimate
from emergelab.analysis.aggregate import CELLS
from emergelab.analysis.decodings import DECODINGS, decodings
from emergelab.analysis.gains import (
    CUMULATIVE_GAINS,
    GAINS,
    NOT_COMPUTED,
    Known,
    cumulative_gains,
    paired_gain,
    predicted_gains,
)
from emergelab.corpus.prompts import make_prompts
from emergelab.evaluate.shots import score_prompts
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import Language
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.grammar.notation import parse
from emergelab.recipes.oracle import OracleQuestion, bounds, ideal_predictor
from emergelab.rng import stream
from emergelab.scores.prompts import PromptSet
from emergelab.scores.tables import BOUNDS, ITEMS

PROMPTS, SHOTS = 40, 2
SHAPE = (PROMPTS, SHOTS + 1)


def answers(cell: str, form: str, right: np.ndarray, **given: object) -> pl.DataFrame:
    """Return items: `right` [prompts, rows, steps]; the whole is right if all steps are, and costs 1 nat more."""
    prompt, shot, step = np.indices((*right.shape[:2], right.shape[2] + 1))
    whole = np.concatenate([right.all(2, keepdims=True), right], axis=2)
    nats = np.asarray(given.pop("nats", np.zeros(right.shape)), dtype=np.float64)
    costs = np.concatenate([nats.sum(2, keepdims=True) + 1, nats], axis=2)
    decoding = given.pop("decoding", "teacher_forced")
    frame = pl.DataFrame(
        {
            "prompt": prompt.ravel(),
            "shot": shot.ravel(),
            "step": step.ravel(),
            "correct": whole.ravel(),
            "nats": costs.ravel() if decoding == "teacher_forced" else [None] * costs.size,
        }
    )
    names = {"cell": cell, "predictor": cell.partition(" ")[0], "task": "pair", "form": form, "split": "seen"}
    names |= {"decoding": decoding, "argument": "fresh", "chance": 0.1} | given
    frame = frame.with_columns(pl.lit(value).alias(name) for name, value in names.items())
    return frame.select(pl.col(name).cast(kind) for name, kind in ITEMS.items())


@cache
def drawn() -> dict[str, np.ndarray]:
    """Return verdicts and nats of a model and of an ideal predictor, of both forms."""
    random = stream(3, "gains").generator()
    return {
        **{f"right {who} {form}": random.random((*SHAPE, steps)) < share
           for who, share in (("model", 0.4), ("ideal", 0.8)) for form, steps in (("direct", 1), ("steps", 2))},
        **{f"nats {who} {form}": random.exponential(scale, (*SHAPE, steps)).astype(np.float32)
           for who, scale in (("model", 2.0), ("ideal", 0.5)) for form, steps in (("direct", 1), ("steps", 2))},
    }  # fmt: skip


def both() -> pl.DataFrame:
    """Return the items of a model and of the ideal predictor on the same prompts."""
    found = drawn()
    return pl.concat(
        answers(who, form, found[f"right {who} {form}"], nats=found[f"nats {who} {form}"])
        for who in ("model", "ideal")
        for form in ("direct", "steps")
    )


CELL = pl.DataFrame([{"cell": "model", "layers": 2, "params": 7, "seed": 0}, {"cell": "ideal"}], schema=CELLS)
KNOWN = Known(cells=CELL, against={"model": "ideal"})


def last(name: str) -> np.ndarray:
    """Return what was drawn of the last step, float64[prompts, rows]."""
    return drawn()[name][..., -1].astype(np.float64)


def hall(values: np.ndarray) -> tuple[float, float, float]:
    found = estimate.mean(values)
    assert found.value is not None
    assert found.lo is not None
    assert found.hi is not None
    return found.value, found.lo, found.hi


def row(table: pl.DataFrame, **names: object) -> dict[str, object]:
    return table.row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in names.items()), named=True)


def test_nats_are_those_of_final_answers_paired_by_prompt():
    table = paired_gain(both(), KNOWN)
    assert table.schema == GAINS
    for shots in range(SHOTS + 1):
        model = last("nats model direct") - last("nats model steps")
        ideal = last("nats ideal direct") - last("nats ideal steps")
        found = row(table, cell="model", shots=shots)
        assert [found[f"nats_gain{end}"] for end in ("", "_lo", "_hi")] == pytest.approx(
            hall(model[:, shots])
        )
        beyond = hall((model - ideal)[:, shots])
        assert [found[f"beyond_nats{end}"] for end in ("", "_lo", "_hi")] == pytest.approx(beyond)
        assert found["nats_direct"] == pytest.approx(last("nats model direct")[:, shots].mean())
        assert found["ideal_nats_gain"] == pytest.approx(ideal[:, shots].mean())
        assert (found["seeds"], found["layers"], found["nats_gain_method"]) == (1, 2, "hall_t")


def test_beyond_the_ideal_is_a_mean_of_paired_differences_with_students_interval():
    table = paired_gain(both(), KNOWN)
    beyond = (
        last("right model steps") - last("right model direct") - last("right ideal steps") + last("right ideal direct")
    )  # fmt: skip
    for shots in range(SHOTS + 1):
        values = beyond[:, shots]
        student = stats.t.interval(0.95, PROMPTS - 1, values.mean(), stats.sem(values))
        found = row(table, cell="model", shots=shots)
        assert found["beyond"] == pytest.approx(values.mean())
        assert (found["beyond_lo"], found["beyond_hi"]) == pytest.approx(student)
        assert found["gain"] - found["ideal_gain"] == pytest.approx(found["beyond"])
        assert found["beyond_method"] == "student_t"


def test_an_ideal_predictor_is_not_held_against_itself():
    found = row(paired_gain(both(), KNOWN), cell="ideal", shots=0)
    assert (found["ideal_gain"], found["beyond"], found["beyond_method"], found["seeds"]) == (
        None,
        None,
        "none: no values",
        0,
    )


def test_nothing_that_varied_is_no_certainty():
    right = np.ones((*SHAPE, 1), dtype=bool)
    items = pl.concat(
        answers(who, form, np.repeat(right, steps, axis=2))
        for who in ("model", "ideal")
        for form, steps in (("direct", 1), ("steps", 2))
    )
    found = row(paired_gain(items, KNOWN), cell="model", shots=0)
    half = stats.t.ppf(0.975, PROMPTS - 1) * math.sqrt(2) / (PROMPTS + 2)
    assert (found["beyond"], found["beyond_lo"], found["beyond_hi"]) == pytest.approx((0.0, -half, half))


def test_first_answers_are_added_up_before_they_are_paired():
    table = cumulative_gains(both(), KNOWN)
    assert table.schema == CUMULATIVE_GAINS
    wrong = {
        name: 1 - last(f"right {name}")
        for name in ("model direct", "model steps", "ideal direct", "ideal steps")
    }
    whole = {form: drawn()[f"nats model {form}"].astype(float).sum(2) + 1 for form in ("direct", "steps")}
    for answered in range(1, SHOTS + 2):
        found = row(table, cell="model", answers=answered)
        nats = (last("nats model direct") - last("nats model steps"))[:, :answered].sum(1)
        assert [found[f"nats_gain{end}"] for end in ("", "_lo", "_hi")] == pytest.approx(hall(nats))
        saved = (wrong["model direct"] - wrong["model steps"])[:, :answered].sum(1)
        ideal = (wrong["ideal direct"] - wrong["ideal steps"])[:, :answered].sum(1)
        assert (found["errors_gain"], found["ideal_errors_gain"]) == pytest.approx(
            (saved.mean(), ideal.mean())
        )
        ends = stats.t.interval(0.95, PROMPTS - 1, (saved - ideal).mean(), stats.sem(saved - ideal))
        assert (found["beyond_errors_lo"], found["beyond_errors_hi"]) == pytest.approx(ends)
        together = (whole["direct"] - whole["steps"])[:, :answered].sum(1)
        assert found["whole_nats_gain"] == pytest.approx(together.mean(), rel=1e-6)


def test_free_generation_has_verdicts_and_no_nats():
    found = drawn()
    items = pl.concat(
        answers("model", form, found[f"right model {form}"], decoding="free") for form in ("direct", "steps")
    )
    one = row(cumulative_gains(items, KNOWN), answers=3)
    expected = last("right model steps").sum(1).mean() - last("right model direct").sum(1).mean()
    assert one["errors_gain"] == pytest.approx(expected)
    assert (one["nats_gain"], one["nats_gain_lo"], one["nats_gain_method"]) == (None, None, "none: no values")


def test_infinite_nats_are_told_and_not_averaged():
    nats = drawn()["nats model steps"].copy()
    nats[3, 1, 1] = np.inf
    found = drawn()
    items = pl.concat(
        [
            answers("model", "direct", found["right model direct"], nats=found["nats model direct"]),
            answers("model", "steps", found["right model steps"], nats=nats),
        ]
    )
    table = paired_gain(items)
    one = row(table, shots=1)
    assert (one["nats_steps"], one["nats_gain"], one["nats_gain_method"]) == (
        None,
        None,
        "none: infinite values",
    )
    assert row(table, shots=0)["nats_gain"] is not None
    assert cumulative_gains(items)["nats_gain"].is_null().to_list() == [False, True, True]


def test_from_five_seeds_on_there_is_a_row_for_all_of_them_with_the_two_way_layouts_variance():
    random = stream(5, "seeds").generator()
    shared = random.exponential(2, size=(PROMPTS, 1, 1))
    nats = {f"model {seed}": shared + random.exponential(1, (PROMPTS, 1, 1)) for seed in range(5)}
    right = np.ones((PROMPTS, 1, 2), dtype=bool)
    items = pl.concat(
        part
        for cell, costs in nats.items()
        for part in (
            answers(cell, "direct", right[..., :1], nats=costs),
            answers(cell, "steps", right),
        )
    )
    rows = [{"cell": cell, "layers": 2, "params": 7, "seed": seed} for seed, cell in enumerate(nats)]
    table = paired_gain(items, Known(cells=pl.DataFrame(rows, schema=CELLS)))
    assert table["seeds"].to_list() == [1] * 5 + [5]
    found = table.row(5, named=True)
    values = (
        np.concatenate([costs[:, 0] for costs in nats.values()], axis=1).astype(np.float32).T.astype(float)
    )
    by_seed, by_prompt = values.mean(1), values.mean(0)
    rest = values - by_seed[:, None] - by_prompt + values.mean()
    mean_square = (rest**2).sum() / (4 * (PROMPTS - 1))
    variance = by_seed.var(ddof=1) / 5 + max(by_prompt.var(ddof=1) / PROMPTS - mean_square / (5 * PROMPTS), 0)
    half = stats.t.ppf(0.975, 4) * math.sqrt(variance)
    expected = (values.mean(), values.mean() - half, values.mean() + half)
    assert [found[f"nats_gain{end}"] for end in ("", "_lo", "_hi")] == pytest.approx(expected, rel=1e-5)
    assert (found["cell"], found["seed"], found["n"], found["gain"]) == (None, None, 5 * PROMPTS, 0.0)
    assert found["nats_gain_method"] == "student_t over seeds and prompts"


def test_without_the_theory_the_predicted_gain_is_missing_and_says_so():
    table = paired_gain(both())
    assert set(table["predicted_reason"]) == {NOT_COMPUTED}
    assert table["predicted_nats"].null_count() == table.height


# The predicted gain.


def pairs_language(silent: float) -> Language:
    return draw_language(load_grammar(find_grammar("pairs"), {"pair.silent": silent}), stream(0, "world"))


@cache
def pair_bounds(silent: float, law: str) -> pl.DataFrame:
    found = bounds(pairs_language(silent), OracleQuestion(task="pair", shots=1, law=law, prompts=2))
    return pl.DataFrame(found["bounds"], schema_overrides=BOUNDS).with_columns(
        variant=pl.lit(None, dtype=pl.String)
    )


@pytest.mark.parametrize("silent", [0.05, 0.8])
def test_the_predicted_gain_of_pairs_has_a_closed_form(silent: float):
    """A pair is silent with probability s, printed with 1 - s, and all else is the same: ln (1 - s) / s."""
    found = predicted_gains(pair_bounds(silent, "full"))
    assert found["split"].sort().to_list() == ["held_out", "seen"]
    assert found["predicted_nats"].to_list() == pytest.approx([math.log((1 - silent) / silent)] * 2)
    assert found["predicted_reason"].to_list() == [None, None]
    # Of 12 functions each, in 0.6 of the loops.
    expected = -math.log(0.6 * silent / 144)
    assert found["D_direct_nats"].to_list() == pytest.approx([expected] * 2)


def test_what_has_no_derivation_has_no_predicted_gain_and_a_reason():
    held_out = row(predicted_gains(pair_bounds(0.8, "train")), split="held_out")
    never = "no derivation prints this"
    assert (held_out["predicted_nats"], held_out["D_direct_nats"]) == (None, None)
    assert held_out["predicted_reason"] == f"direct: {never}; steps: {never}"
    never_silent = row(predicted_gains(pair_bounds(0.0, "full")), split="held_out")
    assert (never_silent["predicted_nats"], never_silent["predicted_reason"]) == (None, f"direct: {never}")
    assert never_silent["D_steps_nats"] == pytest.approx(-math.log(0.6 / 144))


def test_each_predictor_is_held_against_its_own_law():
    found = pl.concat([pair_bounds(0.8, law) for law in ("full", "train")])
    items = pl.concat(
        both().with_columns(cell=pl.lit(cell), predictor=pl.lit(cell), split=pl.lit("held_out"))
        .filter(pl.col("prompt") < 3)
        .unique(["form", "prompt", "shot", "step"], maintain_order=True)
        for cell in ("model", "ideal", "ideal_train")
    )  # fmt: skip
    known = Known(bounds=found, laws={"ideal": "full", "ideal_train": "train"})
    told = dict(paired_gain(items, known).select("predictor", "predicted_nats").unique().iter_rows())
    assert told == {
        "model": pytest.approx(-math.log(4)),
        "ideal": pytest.approx(-math.log(4)),
        "ideal_train": None,
    }


# The ideal predictor's gain, by enumeration.

SMALL = """
world { objects 3  family f 2 permutations }
rule Document  = Statement
rule Statement = each x ~ objects, stop 0.3 { x Value(x) ";" }
rule Value(x)  = 0.5: let a ~ f, b ~ f { b(a(x)) }
               | 0.5: let a ~ f, b ~ f { a(x) b(a(x)) }
task pair = let a ~ f, b ~ f
            each x { x b(a(x)) ";" }
            steps  { x a(x) b(a(x)) ";" }
"""


def final_probability(language: Language, tokens: tuple[int, ...]) -> float:
    """Return P(a document begins with these tokens), summed over all choices of functions and all arguments."""
    tables = language.tables
    separator = language.vocabulary.texts.index(";")
    first = language.vocabulary.texts.index("o1")
    total = 0.0
    for a, b, printed in itertools.product(range(2), range(2), (False, True)):
        left, prior = list(tokens[1:]), 0.5 / 4
        rows = 0
        while left:
            # A row begins: the loop goes on, and an argument is drawn.
            prior *= (0.7 if rows else 1.0) / 3
            x = left[0] - first
            step = int(tables[a][x]) if 0 <= x < 3 else -1
            if step < 0:
                prior = 0.0
                break
            body = [x + first, *([step + first] if printed else []), int(tables[b][step]) + first, separator]
            if left[: len(body)] != body[: len(left)]:
                prior = 0.0
                break
            left = left[len(body) :]
            rows += 1
        total += prior
    return total


def enumerated_nats(language: Language, prompts: PromptSet) -> np.ndarray:
    """Return -ln P(final answer | prefix), prompts by rows, by sums over derivations."""
    steps = np.where(prompts.steps >= 0, prompts.steps, -1).max(axis=2)
    nats = np.empty(steps.shape)
    for (prompt, shot), place in np.ndenumerate(steps):
        tokens = tuple(prompts.tokens[prompt].tolist())
        joint, before = (final_probability(language, tokens[:end]) for end in (place + 1, place))
        nats[prompt, shot] = -math.log(joint / before)
    return nats


def test_the_ideal_predictors_own_gain_is_that_of_enumerating_all_derivations():
    language = draw_language(parse(SMALL, name="small"), stream(2, "world"))
    sets = make_prompts(language, "pair", shots=2, prompts=12, stream=stream(0, "prompts"))
    ideal = ideal_predictor(language, "full")
    items = pl.concat([score_prompts(ideal, one, cell="ideal") for one in sets])
    by_form = {one.form: enumerated_nats(language, one) for one in sets}
    gain = by_form["direct"] - by_form["steps"]
    table = cumulative_gains(items)
    for answered in range(1, 4):
        found = row(table, answers=answered)
        assert found["nats_gain"] == pytest.approx(gain[:, :answered].sum(1).mean(), abs=2e-6)
    assert abs(gain).max() > 0.1


# Free generation.


def test_where_wrong_final_answers_come_from_is_counted():
    """Six answers of two steps: what was written, and what follows the true step."""
    written = np.array([[1, 1], [1, 0], [0, 0], [0, 1], [0, 0], [1, 1]], dtype=bool)[:, None]
    forced = np.array([[1, 1], [1, 0], [0, 1], [0, 1], [0, 0], [1, 1]], dtype=bool)[:, None]
    items = pl.concat(
        [
            answers("model", "steps", forced),
            answers("model", "steps", written, decoding="free"),
            answers("model", "direct", written[..., :1], decoding="free"),
        ]
    )
    found = decodings(items, CELL).row(0, named=True)
    assert decodings(items, CELL).schema == DECODINGS
    assert (found["n"], found["forced"], found["free"]) == (6, 4 / 6, 3 / 6)
    origins = (found["wrong_after_wrong"], found["wrong_after_right"], found["right_after_wrong"])
    assert origins == pytest.approx((2 / 6, 1 / 6, 1 / 6))
    expected = estimate.paired_share_gain(0, 1, 6)
    ends = (found["difference"], found["difference_lo"], found["difference_hi"])
    assert ends == pytest.approx((expected.value, expected.lo, expected.hi))
    wilson = estimate.proportion(2, 6)
    assert (found["wrong_after_wrong_lo"], found["wrong_after_wrong_hi"]) == pytest.approx(
        (wilson.lo, wilson.hi)
    )


@given(st.integers(0, 10_000), st.integers(2, 4))
def test_the_four_origins_are_all_answers_and_one_wrong_step_is_a_wrong_step(key: int, steps: int):
    random = stream(key, "origins").generator()
    written, forced = (random.random((9, 1, steps)) < 0.6 for _ in range(2))
    items = pl.concat(
        [answers("model", "steps", forced), answers("model", "steps", written, decoding="free")]
    )
    found = decodings(items, CELL).row(0, named=True)
    stepped, final = written[:, 0, :-1].all(1), written[:, 0, -1]
    assert found["wrong_after_wrong"] == pytest.approx((~final & ~stepped).mean())
    assert found["wrong_after_right"] == pytest.approx((~final & stepped).mean())
    right = found["free"] - found["right_after_wrong"]
    assert right == pytest.approx((final & stepped).mean())
    assert found["wrong_after_wrong"] + found["wrong_after_right"] + found["free"] == pytest.approx(1.0)


def test_forms_without_printed_steps_have_no_such_row():
    items = pl.concat(
        answers("model", form, np.ones((*SHAPE, 1), dtype=bool), decoding=decoding)
        for form in ("direct", "steps")
        for decoding in ("teacher_forced", "free")
    )
    assert decodings(items, CELL).equals(DECODINGS.to_frame())
    assert decodings(ITEMS.to_frame(), CELL).equals(DECODINGS.to_frame())


def test_decodings_over_seeds_pool_what_each_seed_wrote():
    random = stream(9, "decodings").generator()
    cells = [f"model {seed}" for seed in range(5)]
    written = {cell: random.random((PROMPTS, 1, 2)) < 0.5 for cell in cells}
    items = pl.concat(
        answers(cell, "steps", right, decoding=decoding)
        for cell, right in written.items()
        for decoding in ("teacher_forced", "free")
    )
    rows = [{"cell": cell, "layers": 2, "params": 7, "seed": seed} for seed, cell in enumerate(cells)]
    table = decodings(items, pl.DataFrame(rows, schema=CELLS))
    found = table.row(5, named=True)
    assert (found["cell"], found["seeds"], found["n"], found["difference"]) == (None, 5, 5 * PROMPTS, 0.0)
    together = np.concatenate(list(written.values()))[:, 0]
    assert found["free"] == pytest.approx(together[:, -1].mean())
    assert found["wrong_after_wrong"] == pytest.approx((~together[:, 0] & ~together[:, 1]).mean())
    assert found["difference_lo"] < 0 < found["difference_hi"]
