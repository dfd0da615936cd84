"""Tasks: rows by brute force, printable bodies by enumeration, splits, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from emergelab.errors import GrammarError, UserError
from emergelab.grammar.language import Language
from emergelab.grammar.tasks import ground_task, printable, row_table
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


def function(language: Language, family: str, number: int) -> list[int]:
    return language.tables[language.functions(family)[number]].tolist()


def test_rows_are_what_the_task_says(language: Language) -> None:
    pair = ground_task(language, "pair")
    for i, (m, n) in enumerate(itertools.product(range(3), range(3))):
        a, b = function(language, "f", m), function(language, "f", n)
        for x in range(4):
            assert pair.forms["direct"].rows[i, x].tolist() == row(language, x, b[a[x]], ";")
            assert pair.forms["steps"].rows[i, x].tolist() == row(language, x, a[x], b[a[x]], ";")
    weights = np.array([1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(pair.probabilities, np.outer(weights, weights).ravel() / weights.sum() ** 2)


def test_steps_are_read_off_the_nearest_object(language: Language) -> None:
    def steps(task: str, form: str) -> list[tuple[int, int, bool, bool]]:
        found = ground_task(language, task).forms[form].steps
        return [(step.column, step.source, step.injective, step.copied) for step in found]

    assert steps("pair", "direct") == [(1, 0, True, False)]
    assert steps("pair", "steps") == [(1, 0, True, False), (2, 1, True, False)]
    assert steps("colon", "direct") == [(2, 0, False, False)]
    assert steps("inverse", "direct") == [(1, 0, True, False)]
    assert steps("behind", "direct") == [(1, 0, True, False)]


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


def brute_force_bodies(language: Language, law: str) -> set[frozenset[tuple[int, ...]]]:
    """Return the sets of rows of every loop of TEXT, read off its text by hand."""
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
    return {frozenset(map(tuple, body)) for body in rows}


@pytest.mark.parametrize("law", ["train", "full"])
def test_printable_bodies_are_those_of_all_derivations(language: Language, law: str) -> None:
    expected = brute_force_bodies(language, law)
    found = set()
    for table in printable(language, law):
        tokens = np.frombuffer(table, dtype=np.uint16).reshape(4, -1)
        found.add(frozenset(map(tuple, tokens.tolist())))
    assert found == expected
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
    expected = {
        row_table(np.array([row(language, x, table[x], ";") for x in range(3)], dtype=np.uint16))
        for table in generated
    }
    assert printable(language, "full") == expected


def test_printable_bodies_are_counted_by_their_rows_in_any_order() -> None:
    rows = np.array([[5, 9, 2], [4, 8, 2], [6, 7, 2]], dtype=np.uint16)
    assert row_table(rows) == row_table(rows[[2, 0, 1]])
    assert row_table(rows) == np.array([[4, 8, 2], [5, 9, 2], [6, 7, 2]], dtype=np.uint16).tobytes()


def test_an_argument_that_determines_nothing_is_refused() -> None:
    language = language_of(TEXT.replace("task inverse = let a ~ f", "task inverse = let a ~ g"), key=5)
    assert any(len(set(function(language, "g", n))) < 4 for n in range(2))
    with pytest.raises(GrammarError, match="does not determine the rest of the row"):
        ground_task(language, "inverse")


def test_unknown_tasks_and_forms_are_refused(language: Language) -> None:
    with pytest.raises(UserError, match=r"no task 'double'\. Its tasks are single, colon, pair"):
        ground_task(language, "double")
    with pytest.raises(UserError, match="no form 'steps'"):
        ground_task(language, "single").form("steps")
    assert ground_task(language, "pair").form("steps").name == "steps"
