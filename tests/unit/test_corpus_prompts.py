"""Prompts: what they show, that training does not show what is held out, and what guessing scores."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from functools import cache

import numpy as np
import pytest
from scipy import stats

from emergelab.corpus.documents import Corpus
from emergelab.corpus.prompts import make_prompts
from emergelab.errors import UserError
from emergelab.grammar.language import Language
from emergelab.grammar.tasks import ground_task
from emergelab.rng import stream
from emergelab.scores.prompts import PromptSet
from small_languages import language_of

WORLD = "world {{ objects {objects} family f {count} {kind} }}\nhold out {share} of f * f\n"
RULES = """
rule Document  = Statement* stop 0.1
rule Statement = 0.9: each x ~ objects, stop 0.08 { x Value(x) ";" }
               | 0.1: some x ~ objects { x Value(x) "." }
rule Value(x)  = 0.4: let a ~ f { a(x) }
               | 0.2: let a ~ f, b ~ f { b(a(x)) }
               | 0.2: let a ~ f, b ~ f { a(x) b(a(x)) }
               | 0.2: let a ~ f { More(a(x)) }
rule More(y)   = 0.5: let b ~ f { b(y) } | 0.5: y
task single  = let a ~ f each x { x a(x) ";" }
task pair    = let a ~ f, b ~ f each x { x b(a(x)) ";" } steps { x a(x) b(a(x)) ";" } splits seen, held out
task inverse = let a ~ f each x { a(x) x ";" }
"""
EVALUATION = stream(5, "evaluation")


@cache
def language(objects: int = 6, count: int = 4, kind: str = "permutations", share: float = 0.25) -> Language:
    rules = RULES if kind == "permutations" else RULES.replace("a(x) x", "x a(x)")
    head = WORLD.format(objects=objects, count=count, kind=kind, share=share)
    return language_of(head + rules, key=3)


@cache
def sets(task: str, kind: str = "permutations", prompts: int = 400) -> dict[tuple[str, str], PromptSet]:
    made = make_prompts(language(kind=kind), task, shots=7, prompts=prompts, stream=EVALUATION)
    return {(one.form, one.split): one for one in made}


def rows_of(prompts: PromptSet) -> np.ndarray:
    width = int(prompts.stop[0, 0] - prompts.argument[0, 0])
    return prompts.tokens[:, 1:].reshape(len(prompts.tokens), -1, width)


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("single", {("direct", "seen")}),
        ("pair", {(form, split) for form in ("direct", "steps") for split in ("seen", "held_out")}),
        ("inverse", {("direct", "outside")}),
    ],
)
def test_splits_are_named_by_what_training_and_the_grammar_print(
    task: str, names: set[tuple[str, str]]
) -> None:
    assert set(sets(task)) == names


def test_rows_are_those_of_the_task() -> None:
    for (form, _), prompts in sets("pair").items():
        task = ground_task(language(), "pair")
        for tokens, instance in zip(rows_of(prompts), prompts.instance, strict=True):
            tables = task.tables(language(), np.array([int(instance)]), EVALUATION)
            every = np.arange(language().objects)[None]
            known = {tuple(row) for row in task.print_rows(task.forms[form], tables, every).tokens[0].T}
            assert {tuple(row) for row in tokens} <= known


def test_places_point_at_arguments_answers_and_ends() -> None:
    vocabulary = language().vocabulary
    for prompts in sets("pair").values():
        everyone = np.arange(len(prompts.tokens))[:, None]
        assert (prompts.tokens[:, 0] == 0).all()
        assert (prompts.tokens[everyone, prompts.argument] >= vocabulary.first_object).all()
        assert (prompts.tokens[everyone, prompts.stop - 1] == vocabulary.terminal(";")).all()
        assert (prompts.tokens[everyone, prompts.steps[..., -1]] >= vocabulary.first_object).all()
        assert prompts.stop[0, -1] == prompts.tokens.shape[1]
        np.testing.assert_array_equal(prompts.argument[:, 1:], prompts.stop[:, :-1])
        np.testing.assert_array_equal(prompts.steps[..., -1], prompts.stop - 2)


def test_forms_share_functions_and_arguments() -> None:
    for split in ("seen", "held_out"):
        direct, steps = (sets("pair")[form, split] for form in ("direct", "steps"))
        np.testing.assert_array_equal(direct.instance, steps.instance)
        np.testing.assert_array_equal(rows_of(direct)[..., 0], rows_of(steps)[..., 0])
        np.testing.assert_array_equal(rows_of(direct)[..., 1], rows_of(steps)[..., 2])
        np.testing.assert_array_equal(direct.fresh, steps.fresh)


def test_freshness_goes_by_the_arguments_token() -> None:
    for task in ("single", "pair", "inverse"):
        for prompts in sets(task).values():
            for tokens, fresh in zip(rows_of(prompts)[..., 0].tolist(), prompts.fresh.tolist(), strict=True):
                assert fresh == [token not in tokens[:place] for place, token in enumerate(tokens)]


def test_a_stream_fixes_the_prompts() -> None:
    again = make_prompts(language(), "pair", shots=7, prompts=400, stream=EVALUATION)
    other = make_prompts(language(), "pair", shots=7, prompts=400, stream=stream(6))
    for first, second, third in zip(sets("pair").values(), again, other, strict=True):
        for field in dataclasses.fields(PromptSet):
            np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))
        assert not np.array_equal(first.tokens, third.tokens)


def test_held_out_prompts_show_functions_that_are_held_out() -> None:
    first = language().vocabulary.first_object
    for form in ("direct", "steps"):
        prompts = sets("pair")[form, "held_out"]
        task = ground_task(language(), "pair")
        for tokens, instance in zip(rows_of(prompts), prompts.instance, strict=True):
            a, b = task.functions[instance]
            table = language().tables[b][language().tables[a]]
            assert table.astype(np.uint16).tobytes() in language().held_out
            assert all(table[row[0] - first] == row[-2] - first for row in tokens.astype(int))


def test_no_sampled_document_shows_a_function_that_is_held_out() -> None:
    """Read the loops of 20,000 training documents: no column of one is a held-out table's values."""
    world = language()
    documents = Corpus(world, stream(9), context=60).sample(np.arange(20_000, dtype=np.int64))
    first, objects = world.vocabulary.first_object, world.objects
    held_out = {np.frombuffer(table, dtype=np.uint16).tobytes() for table in world.held_out}
    complete = 0
    for tokens, rows, statements, length in zip(
        documents.tokens, documents.rows, documents.statements, documents.lengths, strict=True
    ):
        for statement in range(statements[length - 1] + 1):
            inside = (statements[:length] == statement) & (rows[:length] >= 0)
            shown = loop_columns(tokens[:length][inside].astype(int) - first, rows[:length][inside])
            for mapping in shown:
                if len(mapping) == objects:
                    complete += 1
                    table = np.array([mapping[x] for x in range(objects)], dtype=np.uint16)
                    assert table.tobytes() not in held_out
    assert complete > 1000


def loop_columns(values: np.ndarray, rows: np.ndarray) -> list[dict[int, int]]:
    """Return, for each object that a loop's rows print behind the argument, the function that is shown."""
    lines = [values[rows == row] for row in range(int(rows.max(initial=-1)) + 1)]
    lines = [line for line in lines if len(line) == len(lines[0])]
    return [
        {int(line[0]): int(line[column]) for line in lines}
        for column in range(1, len(lines[0]) - 1 if lines else 1)
    ]


def test_the_full_law_shows_what_is_held_out() -> None:
    world = language()
    documents = Corpus(world, stream(9), context=60, law="full").sample(np.arange(5000, dtype=np.int64))
    first, objects = world.vocabulary.first_object, world.objects
    found = 0
    for tokens, rows, statements, length in zip(
        documents.tokens, documents.rows, documents.statements, documents.lengths, strict=True
    ):
        inside = (statements[:length] == 0) & (rows[:length] >= 0)
        for mapping in loop_columns(tokens[:length][inside].astype(int) - first, rows[:length][inside]):
            if len(mapping) == objects:
                table = np.array([mapping[x] for x in range(objects)], dtype=np.uint16)
                found += table.tobytes() in world.held_out
    assert found


# Chance


def guess(
    seen: dict[int, int], argument: int, objects: int, generator: np.random.Generator, *, injective: bool
) -> int:
    """Guess a value from the examples alone: copy, else any value that may still be."""
    if argument in seen:
        return seen[argument]
    left = [y for y in range(objects) if not injective or y not in seen.values()]
    return int(generator.choice(left))


@pytest.mark.parametrize(
    ("task", "form", "split", "kind"),
    [
        ("single", "direct", "seen", "permutations"),
        ("pair", "direct", "held_out", "permutations"),
        ("pair", "steps", "held_out", "permutations"),
        ("inverse", "direct", "outside", "permutations"),
        ("single", "direct", "seen", "maps"),
        ("pair", "steps", "seen", "maps"),
    ],
)
def test_chance_is_what_an_ignorant_guesser_scores(task: str, form: str, split: str, kind: str) -> None:
    """The guesser knows neither world nor functions, so functions are drawn afresh for every prompt."""
    generator = np.random.default_rng(0)
    objects = 6
    right: list[np.ndarray] = []
    chances: list[np.ndarray] = []
    for key in range(25):
        text = WORLD.format(objects=objects, count=4, kind=kind, share=0.25)
        rules = RULES if kind == "permutations" else RULES.replace("a(x) x", "x a(x)")
        world = language_of(text + rules, key)
        made = make_prompts(world, task, shots=5, prompts=40, stream=stream(key))
        prompts = next((one for one in made if (one.form, one.split) == (form, split)), None)
        if prompts is None:
            continue
        first = world.vocabulary.first_object
        injective = kind == "permutations"
        for tokens in rows_of(prompts).astype(int) - first:
            memories: list[dict[int, int]] = [{} for _ in range(prompts.steps.shape[2])]
            for row in tokens:
                hits = []
                for step, memory in enumerate(memories):
                    source, goal = int(row[step]), int(row[step + 1])
                    hits.append(guess(memory, source, objects, generator, injective=injective) == goal)
                    memory[source] = goal
                right.append(np.array(hits))
        chances.append(prompts.step_chance.reshape(-1, prompts.steps.shape[2]))
        np.testing.assert_allclose(prompts.chance, prompts.step_chance.prod(axis=2))
    chance, hit = np.concatenate(chances), np.stack(right)
    for value in np.unique(chance.round(9)):
        scored = hit[chance.round(9) == value]
        error = np.sqrt(max(value * (1 - value), 1e-12) / scored.size)
        # Rows of one prompt and prompts of one world depend on one another a little: five standard errors, doubled.
        assert abs(scored.mean() - value) < 10 * error + 1e-9


def test_chance_by_shot_of_maps_and_permutations() -> None:
    for kind, left in (("permutations", [6, 5, 4, 3, 2, 1, 1]), ("maps", [6] * 7)):
        prompts = sets("single", kind)["direct", "seen"]
        for tokens, fresh, chance in zip(
            rows_of(prompts)[..., 0].tolist(), prompts.fresh, prompts.chance, strict=True
        ):
            for place in range(8):
                expected = 1 / left[len(set(tokens[:place]))] if fresh[place] else 1.0
                assert chance[place] == pytest.approx(expected)


def test_functions_are_drawn_by_their_weights_within_the_split() -> None:
    prompts = sets("pair", prompts=4000)["direct", "seen"]
    task = ground_task(language(), "pair")
    counts = np.bincount(prompts.instance, minlength=16)
    assert not counts[task.held_out].any()
    kept = counts[counts > 0]
    assert (np.abs(kept - 4000 / len(kept)) < 5 * np.sqrt(4000 / len(kept))).all()


def test_a_split_without_functions_is_refused() -> None:
    text = WORLD.format(objects=6, count=4, kind="permutations", share=0.25) + RULES
    world = dataclasses.replace(language_of(text, key=3), held_out=frozenset())
    with pytest.raises(UserError, match="no functions in the split 'held_out'"):
        make_prompts(world, "pair", shots=2, prompts=5, stream=EVALUATION)


LOOP_LAWS = """
world { objects 6 family f 3 permutations }
rule Document = each x ~ objects %s { let a ~ f { x a(x) ";" } }
task single = let a ~ f each x { x a(x) ";" }
"""


def arguments_of(law: str, rows: int) -> np.ndarray:
    language = language_of(LOOP_LAWS % law)
    (prompts,) = make_prompts(language, "single", shots=rows - 1, prompts=4000, stream=stream(0, "laws"))
    tokens = np.take_along_axis(prompts.tokens, prompts.argument, axis=1)
    return tokens.astype(np.int64) - language.vocabulary.first_object


@pytest.mark.parametrize("law", ["distinct, uniform 2 6", ", all"])
def test_prompts_of_loops_without_replacement_repeat_nothing(law: str) -> None:
    rows = np.sort(arguments_of(law, 6), axis=1)
    assert (rows == np.arange(6)).all()


def test_prompts_follow_the_weights_of_the_loop() -> None:
    counts = np.bincount(arguments_of("power 1, stop 0.2", 3).ravel(), minlength=6)
    weights = 1 / np.arange(1, 7)
    assert stats.chisquare(counts, weights / weights.sum() * counts.sum()).pvalue > 1e-4


def test_weighted_prompts_without_replacement_follow_plackett_and_luce() -> None:
    rows = arguments_of("distinct power 1, uniform 2 6", 2)
    weights = 1 / np.arange(1, 7)
    weights /= weights.sum()
    expected = {
        (a, b): weights[a] * weights[b] / (1 - weights[a]) for a in range(6) for b in range(6) if a != b
    }
    counts = [int(((rows[:, 0] == a) & (rows[:, 1] == b)).sum()) for a, b in expected]
    assert stats.chisquare(counts, np.array(list(expected.values())) * len(rows)).pvalue > 1e-4


def test_more_rows_than_objects_are_refused_where_loops_repeat_nothing() -> None:
    with pytest.raises(UserError, match="Use 5 shots at most"):
        arguments_of(", all", 7)


# Rows that ask, and functions of the document

ASKING = """
world { objects 5 family f 3 permutations family d 2 permutations per document predicate p 2 density 0.5 }
hold out 0.4 of f * f
rule Document = Line* stop 0.3
rule Line = each x ~ objects, stop 0.2 { x Value(x) ";" }
rule Value(x) = 0.2: let a ~ f { a(x) } | 0.2: let a ~ f, b ~ f { b(a(x)) }
  | 0.2: let a ~ f, b ~ d { b(a(x)) } | 0.2: let a ~ f, b ~ d { a(x) b(a(x)) }
  | 0.2: let q ~ p, a ~ f, b ~ f { if q(x) { b(a(x)) } else { "no" } }
task chosen = let q ~ p, a ~ f, b ~ f each x { x if q(x) { b(a(x)) } else { "no" } ";" }
  steps { x if q(x) { a(x) b(a(x)) } else { "no" } ";" } splits seen, held out
task mixed = let a ~ f, b ~ d each x { x b(a(x)) ";" } steps { x a(x) b(a(x)) ";" }
"""


def shown_rows(world: Language) -> set[frozenset[tuple[int, int]]]:
    """Return argument and answer of all rows of each training loop that prints a word or an object of the corpus."""
    f, p = ([world.tables[n].tolist() for n in world.functions(name)] for name in ("f", "p"))
    pairs = [[b[a[x]] for x in range(5)] for a in f for b in f]
    kept = [table for table in pairs if np.array(table, dtype=np.uint16).tobytes() not in world.held_out]
    asked = [[y if holds else -1 for y, holds in zip(b, q, strict=True)] for b in kept for q in p]
    return {frozenset(enumerate(table)) for table in (*f, *kept, *asked)}


@pytest.mark.parametrize("key", range(6))
def test_compositions_in_a_branch_are_held_out_where_training_prints_no_such_rows(key: int) -> None:
    world = language_of(ASKING, key)
    made = {
        (one.form, one.split): one
        for one in make_prompts(world, "chosen", shots=3, prompts=200, stream=EVALUATION)
    }
    assert set(made) == {
        ("direct", "seen"),
        ("steps", "outside"),
        ("direct", "held_out"),
        ("steps", "held_out"),
    }
    shown = shown_rows(world)
    for (_, split), prompts in made.items():
        for q, a, b in ground_task(world, "chosen").functions[np.unique(prompts.instance)]:
            table = world.tables[b][world.tables[a]]
            rows = frozenset((x, int(table[x]) if world.tables[q, x] else -1) for x in range(5))
            is_held_out = table.astype(np.uint16).tobytes() in world.held_out
            assert (rows in shown) == (split != "held_out")
            assert is_held_out == (split == "held_out")


def test_rows_of_different_length_are_joined_and_padded_behind() -> None:
    world = language_of(ASKING, 0)
    made = make_prompts(world, "chosen", shots=3, prompts=200, stream=EVALUATION)
    direct, steps = made[:2]
    lengths = steps.stop - steps.argument
    assert set(np.unique(lengths)) == {3, 4}
    assert (direct.stop - direct.argument == 3).all()
    assert (steps.tokens[:, 1:][np.arange(1, steps.tokens.shape[1]) >= steps.stop[:, -1:]] == 1).all()
    assert steps.tokens.shape[1] == steps.stop[:, -1].max()
    everyone = np.arange(200)[:, None]
    assert ((steps.steps[..., 1] < 0) == (lengths == 3)).all()
    assert (np.isnan(steps.step_chance[..., 1]) == (lengths == 3)).all()
    final = np.where(lengths == 3, steps.steps[..., 0], steps.steps[..., 1])
    np.testing.assert_array_equal(
        steps.tokens[everyone, final], direct.tokens[everyone, direct.steps[..., 0]]
    )


def test_forms_share_the_functions_that_a_prompt_draws_for_itself() -> None:
    world = language_of(ASKING, 0)
    direct, steps = make_prompts(world, "mixed", shots=4, prompts=300, stream=EVALUATION)
    assert (direct.split, steps.split) == ("seen", "seen")
    np.testing.assert_array_equal(rows_of(direct)[..., 0], rows_of(steps)[..., 0])
    np.testing.assert_array_equal(rows_of(direct)[..., 1], rows_of(steps)[..., 2])
    first = world.vocabulary.first_object
    drawn = defaultdict(set)
    for instance, rows in zip(steps.instance, rows_of(steps).astype(int) - first, strict=True):
        a, b = ground_task(world, "mixed").functions[instance]
        assert (world.tables[a][rows[:, 0]] == rows[:, 1]).all()
        assert len(set(rows[:, 1])) == len(set(rows[:, 2])) == len({(y, z) for y, z in rows[:, 1:3]})
        drawn[b] |= {(int(y), int(z)) for y, z in rows[:, 1:3]}
    assert all(
        len(pairs) == 25 for pairs in drawn.values()
    )  # the same function differs from prompt to prompt
