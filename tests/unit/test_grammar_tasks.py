"""Tasks: rows by brute force, printable bodies by enumeration, splits, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from emergelab.errors import GrammarError, UserError
from emergelab.grammar.bodies import printable, row_tables
from emergelab.grammar.checks import check
from emergelab.grammar.language import Language
from emergelab.grammar.notation import parse
from emergelab.grammar.rows import cases_of, places_of, row_width
from emergelab.grammar.sites import LawName
from emergelab.grammar.tasks import Task, ground_task, shown_in_training
from emergelab.rng import stream
from small_languages import language_of

WORLD = "world { objects 4 family f 3 permutations power 1 family g 2 maps }\n"
HOLD = "hold out 0.4 of f * f\n"
RULES = """
rule Document = Line* stop 0.5
rule Line = 0.5: each x ~ objects, stop 0.3 { x Value(x) ";" }
          | 0.3: some x ~ objects { x Value(x) "." }
          | 0.2: each x ~ objects, stop 0.3 { let a ~ g { x ":" a(x) ";" } }
rule Value(x) = 0.4: let a ~ f { a(x) }
              | 0.4: let a ~ f { a(x) More(a(x)) }
              | 0.2: let a ~ f, b ~ f { b(a(x)) }
rule More(y) = 0.5: let b ~ f { b(y) } | 0.5: some z ~ objects { z y }
"""
TASKS = """
task single = let a ~ f each x { x a(x) ";" }
task colon = let a ~ g each x { x ":" a(x) ";" }
task pair = let a ~ f, b ~ f each x { x b(a(x)) ";" } steps { x a(x) b(a(x)) ";" } splits seen, held out
task inverse = let a ~ f each x { a(x) x ";" }
task behind = let a ~ g, b ~ f each x { a(x) b(a(x)) ";" }
"""
TEXT = WORLD + HOLD + RULES + TASKS


@pytest.fixture(scope="module")
def language() -> Language:
    return language_of(TEXT, key=5)


def row(language: Language, *items: int | str) -> list[int]:
    """Return the tokens of objects, given by number, and terminals."""
    names = language.vocabulary.texts
    return [names.index(item) if isinstance(item, str) else names.index(f"o{item + 1}") for item in items]


def rows_of(language: Language, task: Task, form: str) -> np.ndarray:
    """Return the tokens of all rows, [instances, objects, width]."""
    instances = np.arange(len(task.functions))
    every = np.tile(np.arange(language.objects), (len(instances), 1))
    tables = task.tables(language, instances, stream(0, "tables"))
    return task.print_rows(task.forms[form], tables, every).tokens.swapaxes(1, 2)


def digest(rows: list[list[int]]) -> bytes:
    """Return the row table of rows given for every object in turn."""
    tokens = np.array(rows, dtype=np.uint16).T
    return row_tables(tokens[None, :, None, :])[0]


def function(language: Language, family: str, number: int) -> list[int]:
    return language.tables[language.functions(family)[number]].tolist()


def test_rows_are_what_the_task_says(language: Language) -> None:
    pair = ground_task(language, "pair")
    direct, steps = (rows_of(language, pair, form) for form in ("direct", "steps"))
    for i, (m, n) in enumerate(itertools.product(range(3), range(3))):
        a, b = function(language, "f", m), function(language, "f", n)
        for x in range(4):
            assert direct[i, x].tolist() == row(language, x, b[a[x]], ";")
            assert steps[i, x].tolist() == row(language, x, a[x], b[a[x]], ";")
    weights = np.array([1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(pair.probabilities, np.outer(weights, weights).ravel() / weights.sum() ** 2)


def test_steps_are_the_objects_behind_the_argument(language: Language) -> None:
    def steps(task: str, form: str) -> tuple[tuple[int, ...], ...]:
        return ground_task(language, task).forms[form].steps

    assert steps("pair", "direct") == ((1,),)
    assert steps("pair", "steps") == ((1, 2),)
    assert steps("colon", "direct") == ((2,),)
    assert steps("inverse", "direct") == ((1,),)
    assert steps("behind", "direct") == ((1,),)


def test_held_out_pairs_are_those_whose_table_is_held_out(language: Language) -> None:
    pair = ground_task(language, "pair")
    for i, (m, n) in enumerate(itertools.product(range(3), range(3))):
        a, b = function(language, "f", m), function(language, "f", n)
        table = np.array([b[a[x]] for x in range(4)], dtype=np.uint16).tobytes()
        assert pair.held_out[i] == (table in language.held_out)
    assert pair.held_out.any()
    assert not ground_task(language, "single").held_out.any()


def test_held_out_is_the_function_from_the_argument_whatever_the_variable() -> None:
    # Rows a(x) b(x) show the function b a^-1, whose table is that of a pair where a^-1 is in the family.
    text = (
        "world { objects 3 family f 6 permutations }\nhold out 0.4 of f * f\n"
        'rule Document = each x ~ objects, stop 0.3 { let a ~ f, b ~ f { x b(a(x)) ";" } }\n'
        'task turned = let a ~ f, b ~ f each x { a(x) b(x) ";" }'
    )
    found = 0
    for key in range(30):
        try:
            world = language_of(text, key)
        except GrammarError:
            continue
        turned = ground_task(world, "turned")
        for i, (m, n) in enumerate(itertools.product(range(6), range(6))):
            a, b = world.tables[m], world.tables[n]
            shown = dict(zip(a.tolist(), b.tolist(), strict=True))
            table = np.array([shown[x] for x in range(3)], dtype=np.uint16).tobytes()
            assert turned.held_out[i] == (table in world.held_out)
            found += turned.held_out[i]
    assert found


def brute_force_bodies(language: Language, law: str) -> set[bytes]:
    """Return the row tables of every loop of TEXT, read off its text by hand."""
    f = [function(language, "f", n) for n in range(3)]
    g = [function(language, "g", n) for n in range(2)]
    held = language.held_out if law == "train" else frozenset()

    def kept(table: list[int]) -> bool:
        return np.array(table, dtype=np.uint16).tobytes() not in held

    rows = []
    for a in f:
        rows.append([row(language, x, a[x], ";") for x in range(4)])
        for b in f:
            if kept([b[a[x]] for x in range(4)]):
                rows.append([row(language, x, b[a[x]], ";") for x in range(4)])
                rows.append([row(language, x, a[x], b[a[x]], ";") for x in range(4)])
    rows += [[row(language, x, ":", a[x], ";") for x in range(4)] for a in g]
    return set(map(digest, rows))


@pytest.mark.parametrize("law", ["train", "full"])
def test_printable_bodies_are_those_of_all_derivations(language: Language, law: LawName) -> None:
    assert printable(language, law) == brute_force_bodies(language, law)
    assert brute_force_bodies(language, "train") < brute_force_bodies(language, "full")


def test_printable_bodies_of_a_recursion_come_to_an_end() -> None:
    text = (
        "world { objects 3 family f 2 permutations }\n"
        'rule Document = each x ~ objects, stop 0.3 { x Chain(x) ";" }\n'
        "rule Chain(x) = 0.5: let a ~ f { Chain(a(x)) } | 0.5: x\n"
        'task single = let a ~ f each x { x a(x) ";" }'
    )
    language = language_of(text)
    generated, waiting = set(), [(0, 1, 2)]
    while waiting:
        table = waiting.pop()
        if table not in generated:
            generated.add(table)
            waiting += [tuple(int(one[x]) for x in table) for one in language.tables]
    expected = {digest([row(language, x, table[x], ";") for x in range(3)]) for table in generated}
    assert printable(language, "full") == expected


def test_bodies_are_told_apart_by_their_rows_in_any_order_and_padding() -> None:
    rows = [[5, 9, 2], [4, 8, 2], [6, 7, 2]]
    assert digest(rows) == digest([rows[2], rows[0], rows[1]])
    assert digest(rows) == digest([[*one, 0] for one in rows])
    assert digest(rows) != digest([*rows[:2], [6, 8, 2]])
    assert digest(rows) != digest([*rows[:2], [6, 7, 0]])


def test_an_argument_that_determines_nothing_is_refused() -> None:
    text = TEXT.replace("task inverse = let a ~ f", "task inverse = let a ~ g")
    (problem,) = check(parse(text, name="checked"))
    assert "begins with a(x), which does not determine the rest of the row" in problem.found
    assert "Begin with 'x'" in problem.remedy


def test_unknown_tasks_and_forms_are_refused(language: Language) -> None:
    with pytest.raises(UserError, match=r"no task 'double'\. Its tasks are single, colon, pair"):
        ground_task(language, "double")
    with pytest.raises(UserError, match="no form 'steps'"):
        ground_task(language, "single").form("steps")
    assert ground_task(language, "pair").form("steps").name == "steps"


# Rows that ask

ASKING = """
world { objects 4 family f 2 permutations predicate p 2 density 0.25 }
rule Document = Line* stop 0.5
rule Line = 0.4: each x ~ objects, stop 0.3 { x let q ~ p { if q(x) { "yes" } else { "no" } } ";" }
          | 0.3: each x ~ objects, stop 0.3 { x Way(x) ";" }
          | 0.3: some x ~ objects { let a ~ f { x a(x) ";" } }
rule Way(x) = let q ~ p, a ~ f, b ~ f { if q(x) { a(x) b(a(x)) } else { "none" } }
task verdict = let q ~ p each x { x if q(x) { "yes" } else { "no" } ";" }
task classes = let q ~ p, r ~ p
  each x { x if q(x) { if r(x) { "yes" } else { "no" } } else { "none" } ";" }
task chosen = let q ~ p, a ~ f, b ~ f
  each x { x if q(x) { b(a(x)) } else { "none" } ";" }
  steps { x if q(x) { a(x) b(a(x)) } else { "none" } ";" }
task told = let q ~ p, a ~ f, b ~ f
  each x { x if q(x) { a(x) } else { b(x) } ";" }
  steps { x if q(x) { "yes" a(x) } else { "no" b(x) } ";" }
task maybe = let q ~ p each x { x if q(x) { "yes" } ";" }
task marked = let q ~ p, a ~ f each x { x a(x) if q(x) { "yes" ";" } else { "none" } }
"""


@pytest.fixture(scope="module")
def asking() -> Language:
    return language_of(ASKING, key=2)


def test_rows_that_ask_go_as_the_predicate_says(asking: Language) -> None:
    task = ground_task(asking, "chosen")
    direct, steps = (rows_of(asking, task, form) for form in ("direct", "steps"))
    for i, (q, a, b) in enumerate(task.functions):
        for x in range(4):
            second = asking.tables[a, x]
            third = asking.tables[b, second]
            if asking.tables[q, x]:
                expected = row(asking, x, int(third), ";"), row(asking, x, int(second), int(third), ";")
            else:
                expected = row(asking, x, "none", ";"), row(asking, x, "none", ";")
            assert [token for token in direct[i, x].tolist() if token] == expected[0]
            assert [token for token in steps[i, x].tolist() if token] == expected[1]


@pytest.mark.parametrize(
    ("task", "form", "steps"),
    [
        ("verdict", "direct", {(1,), (1,)}),
        ("classes", "direct", {(1,)}),
        ("chosen", "direct", {(1,)}),
        ("chosen", "steps", {(1, 2), (1,)}),
        ("told", "direct", {(1,)}),
        ("told", "steps", {(1, 2)}),
        ("maybe", "direct", {(1,)}),  # where nothing is printed, the token behind answers
        ("marked", "direct", {(1, 2)}),
    ],
)
def test_what_answers_is_every_object_and_every_word_that_could_be_another(
    asking: Language, task: str, form: str, steps: set[tuple[int, ...]]
) -> None:
    assert set(ground_task(asking, task).forms[form].steps) == steps


def test_both_forms_end_on_the_same_token(asking: Language) -> None:
    for name in ("chosen", "told"):
        task = ground_task(asking, name)
        ends = []
        for form in ("direct", "steps"):
            instances = np.arange(len(task.functions))
            every = np.tile(np.arange(4), (len(instances), 1))
            tables = task.tables(asking, instances, stream(0))
            printed = task.print_rows(task.forms[form], tables, every)
            last = np.array([columns[-1] for columns in task.forms[form].steps])[printed.case]
            ends.append(np.take_along_axis(printed.tokens, last[:, None], axis=1))
        np.testing.assert_array_equal(*ends)


def test_loops_that_ask_are_seen_where_training_prints_their_rows(asking: Language) -> None:
    seen = {
        (name, form): shown_in_training(asking, task := ground_task(asking, name), task.forms[form])
        for name, form in [("verdict", "direct"), ("chosen", "steps"), ("classes", "direct")]
    }
    assert seen["verdict", "direct"].all()
    assert seen["chosen", "steps"].all()
    # Classes come to be verdicts or what `Way` prints where a predicate holds of nothing, or of everything.
    task = ground_task(asking, "classes")
    rows = rows_of(asking, task, "direct")
    verdicts = {
        digest([row(asking, x, "yes" if table[x] else "no", ";") for x in range(4)])
        for table in asking.tables[list(asking.functions("p"))]
    }
    silent = digest([row(asking, x, "none", ";") for x in range(4)])
    nothing = any(not asking.tables[q].any() for q in asking.functions("p"))
    for i, one in enumerate(rows):
        expected = digest(one.tolist()) in verdicts or (nothing and digest(one.tolist()) == silent)
        assert seen["classes", "direct"][i] == expected


def test_a_row_in_cases_and_places() -> None:
    task = parse(ASKING, name="asking").task("classes")
    assert task is not None
    cases = cases_of(task.direct)
    assert [case.symbols[1:] for case in cases] == [("yes", ";"), ("no", ";"), ("none", ";")]
    assert [[answer.holds for answer in case.answers] for case in cases] == [
        [True, True],
        [True, False],
        [False],
    ]
    first, *others = places_of(cases)
    assert set(first.onwards) == {"yes", "no", "none"}
    assert first.answers
    assert not any(place.answers for place in others)
    assert row_width(task.direct) == 3


def test_the_width_is_that_of_the_longest_row() -> None:
    task = parse(ASKING, name="asking").task("chosen")
    assert task is not None
    assert task.steps is not None
    assert (row_width(task.direct), row_width(task.steps)) == (3, 4)
    assert max(len(case.symbols) for case in cases_of(task.steps)) == 4


# Functions of the document

FRESH = """
world {
  objects 5 family f 2 permutations family d 2 permutations per document family m 1 map per document
  predicate p 1 density 0.5 per document
}
rule Document = Line* stop 0.5
rule Line = 0.3: each x ~ objects, stop 0.3 { let a ~ d { x a(x) ";" } }
          | 0.2: each x ~ objects, stop 0.3 { let a ~ f, b ~ d { x b(a(x)) ";" } }
          | 0.2: each x ~ objects, stop 0.3 { let a ~ m { x ":" a(x) ";" } }
          | 0.3: each x ~ objects, stop 0.3 { let q ~ p, a ~ f { x if q(x) { a(x) } else { "no" } ";" } }
task single = let a ~ d each x { x a(x) ";" }
task mixed = let a ~ f, b ~ d each x { x b(a(x)) ";" }
task turned = let a ~ f, b ~ d each x { x a(b(x)) ";" }
task inverse = let a ~ d each x { a(x) x ";" }
task fixed = let a ~ f each x { x a(x) ";" }
task mapped = let a ~ m each x { x ":" a(x) ";" }
task other = let a ~ m each x { x a(x) ";" }
task asked = let q ~ p, a ~ f each x { x if q(x) { a(x) } else { "no" } ";" }
task against = let q ~ p, a ~ f each x { x if q(x) { "no" } else { a(x) } ";" }
task twice = let a ~ d, b ~ d each x { x b(a(x)) ";" }
"""


@pytest.mark.parametrize(
    ("task", "seen"),
    [
        ("single", "all"),
        ("mixed", "all"),
        ("turned", "none"),  # a of a random permutation is one, but not by what a loop prints
        ("inverse", "all"),  # the inverse of a random permutation is as random
        ("fixed", "none"),
        ("mapped", "all"),
        ("other", "none"),
        ("asked", "all"),
        ("against", "none"),
        ("twice", "none"),
    ],
)
def test_functions_of_documents_are_seen_where_a_loop_prints_them_so(task: str, seen: str) -> None:
    language = language_of(FRESH, key=1)
    grounded = ground_task(language, task)
    shown = shown_in_training(language, grounded, grounded.forms["direct"])
    assert shown.all() if seen == "all" else not shown.any()


def test_each_prompt_draws_functions_of_documents_for_itself() -> None:
    language = language_of(FRESH, key=1)
    task = ground_task(language, "twice")
    instances = np.arange(len(task.functions)).repeat(200)
    tables = task.tables(language, instances, stream(3))
    same = task.functions[instances, 0] == task.functions[instances, 1]
    assert (tables[same, 0] == tables[same, 1]).all()
    assert (np.sort(tables, axis=-1) == np.arange(5)).all()
    # Every object has every value alike often: of 800 prompts 160 within five standard errors.
    for place in range(2):
        counts = (tables[:, place, :, None] == np.arange(5)).sum(axis=0)
        assert (np.abs(counts - 160) < 5 * np.sqrt(160)).all()
    # Two different permutations agree in one place on average, with variance 1.
    agreeing = (tables[~same, 0] == tables[~same, 1]).sum(axis=1)
    assert abs(agreeing.mean() - 1) < 5 / np.sqrt((~same).sum())
    np.testing.assert_array_equal(tables, task.tables(language, instances, stream(3)))


# Three functions

TRIPLE = """
world { objects 7 family f 3 permutations }
hold out 0.25 of f * f * f
rule Document = 0.5: each x ~ objects, stop 0.2 { let a ~ f, b ~ f, c ~ f { x c(b(a(x))) ";" } }
              | 0.5: each x ~ objects, stop 0.2 { let a ~ f, b ~ f, c ~ f { x a(x) b(a(x)) c(b(a(x))) ";" } }
task triple = let a ~ f, b ~ f, c ~ f
  each x { x c(b(a(x))) ";" } steps { x a(x) b(a(x)) c(b(a(x))) ";" } splits seen, held out
"""


def test_three_functions_are_composed_and_held_out() -> None:
    language = language_of(TRIPLE, key=4)
    task = ground_task(language, "triple")
    rows = {form: rows_of(language, task, form) for form in task.forms}
    shown = {form: shown_in_training(language, task, task.forms[form]) for form in task.forms}
    for i, chosen in enumerate(itertools.product(range(3), repeat=3)):
        values = [np.arange(7)]
        for number in chosen:
            values.append(language.tables[number][values[-1]])
        names = [row(language, *(int(one[x]) for one in values), ";") for x in range(7)]
        assert rows["steps"][i].tolist() == names
        assert rows["direct"][i].tolist() == [[one[0], *one[3:]] for one in names]
        held = values[-1].astype(np.uint16).tobytes() in language.held_out
        assert task.held_out[i] == held
        assert shown["direct"][i] == (not held)
    assert 0 < task.held_out.sum() < 27
