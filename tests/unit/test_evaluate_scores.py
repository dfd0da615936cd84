"""Teacher-forced and free scores against closed forms and against one trimmed prompt at a time."""

import dataclasses
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from emergelab.evaluate.generation import generate_answers
from emergelab.evaluate.shots import score_prompts
from emergelab.scores.predictor import Predictor
from emergelab.scores.prompts import PromptSet
from emergelab.scores.tables import ITEMS
from small_predictors import BranchingErratic, Copier, Erratic, Oracle, Uniform, prompt_set, vocabulary_of

Score = Callable[..., pl.DataFrame]


def by_hand(predictor: Predictor, prompts: PromptSet):
    """Score every answer from the trimmed prompt that ends just before each of its tokens."""
    rows = []
    for p, s in np.ndindex(*prompts.argument.shape):
        right, nats = {}, {}
        for place in range(prompts.argument[p, s] + 1, prompts.stop[p, s]):
            law = predictor.log_probabilities(prompts.tokens[p : p + 1, :place])[0, -1]
            token = prompts.tokens[p, place]
            right[place] = all(law[token] > law[other] for other in range(len(law)) if other != token)
            nats[place] = -float(law[token])
        rows.append((p, s, 0, all(right.values()), sum(nats.values())))
        for k, place in enumerate(prompts.steps[p, s], start=1):
            if place >= 0:
                rows.append((p, s, k, right[place], nats[place]))
    return pl.DataFrame(rows, ["prompt", "shot", "step", "correct", "nats"], orient="row")


def written_by_hand(predictor: Predictor, prompts: PromptSet):
    rows = []
    for p, s in np.ndindex(*prompts.argument.shape):
        first, stop = prompts.argument[p, s] + 1, prompts.stop[p, s]
        text = list(prompts.tokens[p, :first])
        while len(text) < stop:
            text.append(int(predictor.log_probabilities(np.array([text], dtype=np.uint16))[0, -1].argmax()))
        right = {place: text[place] == prompts.tokens[p, place] for place in range(first, stop)}
        rows.append((p, s, 0, all(right.values())))
        rows += [(p, s, k, right[place]) for k, place in enumerate(prompts.steps[p, s], 1) if place >= 0]
    return pl.DataFrame(rows, ["prompt", "shot", "step", "correct"], orient="row")


def compared(items: pl.DataFrame, expected: pl.DataFrame):
    assert_frame_equal(
        items.select(expected.columns).with_columns(pl.col("prompt", "shot", "step").cast(pl.Int64)),
        expected,
        check_dtypes=False,
        rel_tol=1e-5,
        abs_tol=1e-6,
    )


def ragged(prompts: PromptSet):
    """Shorten the answers of odd rows by their separator and take the last step of the first row away."""
    stop, steps, step_chance = prompts.stop.copy(), prompts.steps.copy(), prompts.step_chance.copy()
    stop[:, 1::2] -= 1
    steps[:, 0, -1], step_chance[:, 0, -1] = -1, np.nan
    return dataclasses.replace(prompts, stop=stop, steps=steps, step_chance=step_chance)


@pytest.mark.parametrize("printed", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 4, 128])
def test_one_pass_equals_trimmed_prompts(printed: int, batch: int):
    prompts = prompt_set(objects=2, printed=printed, rows=4, prompts=5)
    predictor = Erratic(vocabulary_of(prompts))
    expected = by_hand(predictor, prompts)
    assert 0 < expected["correct"].sum() < len(expected)
    compared(score_prompts(predictor, prompts, cell="c", batch=batch), expected)


def test_answers_of_unequal_length_and_missing_steps():
    prompts = ragged(prompt_set(objects=2, printed=2, rows=4, prompts=5))
    predictor = Erratic(vocabulary_of(prompts))
    compared(score_prompts(predictor, prompts, cell="c"), by_hand(predictor, prompts))
    compared(generate_answers(predictor, prompts, cell="c"), written_by_hand(predictor, prompts))


@pytest.mark.parametrize("batch", [2, 128])
@pytest.mark.parametrize("printed", [1, 3])
def test_branches_equal_rereading_and_writing_by_hand(printed: int, batch: int):
    prompts = prompt_set(objects=2, printed=printed, rows=4, prompts=5)
    vocabulary = vocabulary_of(prompts)
    branching = BranchingErratic(vocabulary)
    free = generate_answers(branching, prompts, cell="c", batch=batch)
    assert_frame_equal(free, generate_answers(Erratic(vocabulary), prompts, cell="c", batch=batch))
    compared(free, written_by_hand(Erratic(vocabulary), prompts))
    assert branching.readings == -(-5 // batch)  # each prompt is read once


def test_a_whole_answer_is_written_right_exactly_when_it_is_right_teacher_forced():
    prompts = prompt_set(objects=2, rows=6, prompts=40)
    predictor = BranchingErratic(vocabulary_of(prompts))
    forced = score_prompts(predictor, prompts, cell="c").filter(pl.col("step") == 0)
    free = generate_answers(predictor, prompts, cell="c").filter(pl.col("step") == 0)
    assert forced["correct"].sum() > 0
    assert forced["correct"].equals(free["correct"])


def test_a_predictor_that_knows_is_right_at_no_cost():
    prompts = prompt_set(printed=2)
    items = score_prompts(Oracle(prompts), prompts, cell="c")
    assert items["correct"].all()
    # Each answer token costs -ln(1 - 1e-6); the whole answer has three.
    np.testing.assert_allclose(items.filter(pl.col("step") == 0)["nats"], 3e-6, rtol=0.1)
    assert generate_answers(Oracle(prompts), prompts, cell="c")["correct"].all()


@pytest.mark.parametrize("score", [score_prompts, generate_answers])
def test_a_predictor_that_knows_nothing_is_never_right(score: Score):
    prompts = prompt_set(printed=2)
    items = score(Uniform(vocabulary_of(prompts)), prompts, cell="c")
    assert not items["correct"].any()


def test_a_predictor_that_knows_nothing_pays_the_log_of_the_vocabulary_for_each_token():
    prompts = prompt_set(printed=2)
    items = score_prompts(Uniform(vocabulary_of(prompts)), prompts, cell="c")
    length = items["step"].replace_strict({0: 3, 1: 1, 2: 1}).to_numpy()
    np.testing.assert_allclose(items["nats"], length * np.log(vocabulary_of(prompts)), rtol=1e-6)


@pytest.mark.parametrize("token", [0, 1, 2, 3])
def test_a_tie_for_the_lead_is_wrong_wherever_it_stands(token: int):
    """Whatever pair of tokens leads, the right one among them or not, nobody is right."""

    class Torn(Uniform):
        def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
            law = np.full((*tokens.shape, self.vocabulary_size), 0.1 / (self.vocabulary_size - 2))
            law[..., [token, (token + 1) % self.vocabulary_size]] = 0.45
            return np.log(law).astype(np.float32)

    prompts = prompt_set(objects=2)
    for score in (score_prompts, generate_answers):
        assert not score(Torn(vocabulary_of(prompts)), prompts, cell="c")["correct"].any()


def test_copying_answers_repeated_arguments_and_no_fresh_ones():
    prompts = prompt_set(objects=3, rows=6, prompts=30)
    # Objects and images lie apart here, so that only an argument's own row can be copied.
    images = prompts.tokens.copy()
    images[:, 2::3] += 3
    prompts = dataclasses.replace(prompts, tokens=images)
    items = score_prompts(Copier(vocabulary_of(prompts)), prompts, cell="c").filter(pl.col("step") == 1)
    accuracy = dict(items.group_by("argument").agg(pl.col("correct").mean()).iter_rows())
    assert accuracy == {"fresh": 0.0, "repeated": 1.0}


def test_the_frame_names_what_was_scored():
    prompts = ragged(prompt_set(printed=2))
    items = score_prompts(Uniform(vocabulary_of(prompts)), prompts, cell="a-cell")
    assert items.schema == ITEMS
    assert items.select("cell", "predictor", "task", "form", "split", "decoding").unique().rows() == [
        ("a-cell", "uniform", "toy", "steps", "seen", "teacher_forced")
    ]
    assert items.select("prompt", "shot", "step").rows() == sorted(
        items.select("prompt", "shot", "step").rows()
    )
    fresh = items.select("prompt", "shot", pl.col("argument") == "fresh").unique().sort("prompt", "shot")
    assert fresh["argument"].to_list() == prompts.fresh.ravel().tolist()
    first = items.filter((pl.col("shot") == 0) & (pl.col("prompt") == 0))
    assert first["step"].to_list() == [0, 1]
    np.testing.assert_allclose(first["chance"], [1 / 16, 1 / 4])


def test_free_generation_has_no_nats_and_unknown_chance_is_null():
    prompts = prompt_set()
    prompts = dataclasses.replace(prompts, chance=np.full_like(prompts.chance, np.nan))
    items = generate_answers(Uniform(vocabulary_of(prompts)), prompts, cell="c")
    assert items["nats"].null_count() == len(items)
    whole = items.filter(pl.col("step") == 0)
    assert whole["chance"].null_count() == len(whole)


@pytest.mark.parametrize("score", [score_prompts, generate_answers])
def test_no_prompts_give_an_empty_frame(score: Score):
    prompts = prompt_set(prompts=0)
    assert score(Uniform(6), prompts, cell="c").equals(ITEMS.to_frame())


@pytest.mark.parametrize("score", [score_prompts, generate_answers])
def test_nan_and_wrong_shapes_are_faults(score: Score):
    class Broken(Uniform):
        def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
            return super().log_probabilities(tokens) * np.float32(np.nan)

    class Cut(Uniform):
        def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
            return super().log_probabilities(tokens)[..., :-1]

    prompts = prompt_set()
    with pytest.raises(ValueError, match="NaN"):
        score(Broken(6), prompts, cell="c")
    with pytest.raises(ValueError, match="shape"):
        score(Cut(6), prompts, cell="c")


def test_nan_from_branches_is_a_fault():
    class Broken(BranchingErratic):
        def next_token(self, prefix: np.ndarray) -> np.ndarray:
            return super().next_token(prefix) * np.float32(np.nan)

    with pytest.raises(ValueError, match="NaN"):
        generate_answers(Broken(6), prompt_set(), cell="c")


def test_an_answer_without_tokens_or_with_foreign_steps_is_a_fault():
    prompts = prompt_set()
    empty = dataclasses.replace(prompts, stop=prompts.argument + 1, steps=np.full_like(prompts.steps, -1))
    foreign = dataclasses.replace(prompts, steps=prompts.steps - 1)
    for wrong in (empty, foreign):
        with pytest.raises(ValueError, match="Every answer"):
            score_prompts(Uniform(6), wrong, cell="c")


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 7), st.integers(0, 3))
def test_the_order_and_the_batches_of_prompts_change_nothing(order: list[int], batch: int, key: int):
    prompts = prompt_set(objects=2, rows=2, prompts=6, key=key)
    order = np.array(order)
    names = ("tokens", "argument", "stop", "steps", "fresh", "chance", "step_chance", "instance")
    moved = dataclasses.replace(prompts, **{name: getattr(prompts, name)[order] for name in names})
    predictor = BranchingErratic(vocabulary_of(prompts))
    for score in (score_prompts, generate_answers):
        before = score(predictor, prompts, cell="c")
        after = score(predictor, moved, cell="c", batch=batch)
        back = after.with_columns(pl.Series("prompt", order[after["prompt"]], dtype=pl.Int32))
        assert_frame_equal(back.sort("prompt", "shot", "step"), before)
