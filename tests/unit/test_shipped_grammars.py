"""The grammars and studies that come with emergelab: complete, described, fit for one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from emergelab.grammar.holdout import draw_language, prove_no_overlap
from emergelab.grammar.language import Language
from emergelab.grammar.library import find_grammar, load_grammar, shipped_grammars
from emergelab.grammar.syntax import Each, GrammarSyntax, If, Let, Repeat, Some, walk
from emergelab.recipes.catalogue import catalogue
from emergelab.recipes.study import find_study, read_study, shipped_studies
from emergelab.rng import stream

PAGE = Path(__file__).resolve().parents[2] / "docs" / "grammars.md"


def grammar(name: str) -> GrammarSyntax:
    return load_grammar(find_grammar(name))


def language(name: str) -> Language:
    return draw_language(grammar(name), stream(0, "world"))


def test_there_are_at_least_eight_each_with_a_study() -> None:
    assert len(shipped_grammars()) >= 8
    assert set(shipped_grammars()) <= set(shipped_studies())


@pytest.mark.parametrize("name", shipped_grammars())
def test_the_page_describes_every_grammar_with_its_tasks_and_command(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |") and " | H" in line]
    tasks = row.split("|")[4]
    assert [task.strip() for task in tasks.split(",")] == [task.name for task in grammar(name).tasks]
    assert f"`emergelab run {name} --workers 2`" in page


@pytest.mark.parametrize("name", shipped_grammars())
def test_the_study_of_a_grammar_asks_all_its_tasks(name: str) -> None:
    study = read_study(find_study(name))
    assert study.grammar.name == name
    assert list(study.evaluate.tasks) == [task.name for task in grammar(name).tasks]


def test_every_file_says_what_it_is_in_one_sentence() -> None:
    for kind, entries in catalogue().items():
        for entry in entries:
            assert 20 < len(entry["about"]) < 160, (kind, entry)
            assert entry["about"][-1] in ".?", (kind, entry)


def test_together_they_show_every_construct() -> None:
    grammars = [grammar(name) for name in shipped_grammars()]
    items = [
        item
        for one in grammars
        for rule in one.rules
        for production in rule.productions
        for item in walk(production.items)
    ]
    loops = [item for item in items if isinstance(item, Each)]
    families = [family for one in grammars for family in one.world.families]
    assert {loop.law.name for loop in loops} == {"stop", "power", "all", "uniform"}
    assert {loop.distinct for loop in loops} == {True, False}
    assert {loop.weights.name for loop in loops} == {"uniform", "power"}
    assert {family.scope for family in families} == {"corpus", "document"}
    assert {family.kind for family in families} >= {"permutation", "predicate"}
    assert any(family.power for family in families)
    for kind in (If, Let, Repeat, Some):
        assert any(isinstance(item, kind) for item in items)
    tasks = [task for one in grammars for task in one.tasks]
    assert {len(task.draws) for task in tasks} >= {1, 2, 3}
    assert any("held_out" in task.splits for task in tasks)
    assert any(any(isinstance(item, If) for item in walk(task.direct)) for task in tasks)


@pytest.mark.parametrize("name", [name for name in shipped_grammars() if grammar(name).hold_outs])
def test_no_training_document_can_show_what_is_held_out(name: str) -> None:
    proof = prove_no_overlap(language(name))
    assert proof.held_out_tables > 0
    assert proof.training_tables
    assert proof.overlap == 0
