"""Hypotheses in study files: what is refused, what is asked of which models, and when each was fixed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emergelab.analysis.emergence import breaks, rises
from emergelab.errors import ArtifactError, StudyError
from emergelab.grammar.shelf import SourceFile
from emergelab.pipeline.step import Step
from emergelab.recipes.fixing import dropped, fixed_grid
from emergelab.recipes.grid import Grid, build_grid
from emergelab.recipes.hypotheses import POINTS
from emergelab.recipes.run_folder import RunFolder
from emergelab.recipes.study import find_study, read_study
from emergelab.recipes.study_spec import Study
from study_runs import STUDY, write_study

WIDE = STUDY.replace("width = 16", "width = [16, 32]").replace(
    "tokens = [2e3, 4e3]", "tokens = [1e3, 2e3, 3e3, 4e3]"
)
FIRST = """
test = "difference"
of = { task = "single" }
minus = "chance"
above = 0.3
"""


def hypothesis(entries: str, name: str = "H1") -> str:
    return f"""
[[hypotheses]]
name = "{name}"
claim = "It is so."
{entries}"""


def file_with(folder: Path, *hypotheses: str) -> SourceFile:
    return find_study(str(write_study(folder, WIDE + "".join(hypotheses))))


def grid_with(folder: Path, *hypotheses: str) -> Grid:
    file = file_with(folder, *hypotheses)
    return build_grid(file, read_study(file))


def asked(folder: Path, entries: str) -> dict[str, Any]:
    """Return what a hypothesis asks, made definite."""
    return dict(grid_with(folder, hypothesis(entries)).hypotheses[0])


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ('test = "difference"\nof = { task = "sngle" }\nabove = 0', "Did you mean 'single'?"),
        (
            'test = "difference"\nof = { task = "single", form = "steps" }\nabove = 0',
            "not asked in form steps",
        ),
        ('test = "difference"\nof = { task = "inverse" }\nabove = 0', "direct, outside"),
        ('test = "difference"\nof = { task = "single", shots = 6 }\nabove = 0', "Use at most 5"),
        ('test = "difference"\nof = { task = "single", answers = 2 }\nabove = 0', "Leave answers out"),
        ('test = "difference"\nof = { task = "single" }\nabove = 0\nbelow = 1', "both above and below"),
        ('test = "difference"\nof = { task = "single" }', "neither above nor below"),
        (
            'test = "difference"\nof = { task = "single" }\nminus = "bound"\nabove = 0',
            'measure = "total_nats"',
        ),
        (
            'test = "difference"\nof = { task = "single" }\nminus = "luck"\nabove = 0',
            "'ideal_train' or 'bound'",
        ),
        (
            'test = "difference"\nof = { task = "single" }\nminus = { task = "single" }\nabove = 0',
            "changes nothing",
        ),
        (
            'test = "difference"\nof = { task = "single" }\nmore_than = {}\nabove = 0',
            "more_than changes nothing",
        ),
        ('test = "difference"\nof = { task = "single" }\nmodels = { layers = 3 }\nabove = 0', "(1, 2)"),
        ('test = "difference"\nof = { task = "single" }\nmodels = { depth = 3 }\nabove = 0', "models.depth"),
        (
            'test = "difference"\nof = { task = "single" }\nmodels = { seed = 0 }\nabove = 0',
            "all of which count",
        ),
        (
            'test = "difference"\nof = { task = "single", decoding = "free" }\nmeasure = "nats"\nabove = 0',
            "no nats",
        ),
        ('test = "difference"\nof = { tusk = "single" }\nabove = 0', "Did you mean 'task'?"),
        ('test = "differ"\nabove = 0', "one of difference, bound, rank, threshold, jump"),
        ("above = 0", "test is missing"),
        ('test = "rank"\nabove = 0\nof = { task = "pair" }\nunit = "tasks"', "needs 5"),
        ('test = "rank"\nabove = 0\nunit = "choices"\nmeasure = "examples"', "Measure errors"),
        ('test = "threshold"\nof = { task = "single" }\naxis = "tokens"\nlevel = 1.5', "between 0 and 1"),
        (
            'test = "threshold"\nof = { task = "single" }\naxis = "tokens"\nmodels = { tokens = 1e3 }',
            "has 1 point.",
        ),
        (
            'test = "threshold"\nof = { task = "single" }\naxis = "tokens"\nmodels = { layers = "all" }',
            "several models",
        ),
        ('test = "threshold"\nof = { task = ["single", "pair"] }\naxis = "tokens"', "A curve is of one task"),
        ('test = "jump"\nof = { task = "single" }\naxis = "tokens"\nexpected = "no jump"', "needs 6"),
        ('test = "skills"\naspect = "exact"\nbelow = 0', "write [skills]"),
        ('test = "skills"\naspect = "exakt"\nbelow = 0', "'exact'"),
        ('test = "skills"\naspect = "exact"', "neither above nor below"),
        ('test = "skills"\naspect = "linear"\nbeta = 2\nbelow = 0', "beta with aspect"),
        ('test = "skills"\naspect = "exact"\nbeta = 1\nbelow = 0', "above 1"),
        ('test = "skills"\naspect = "slingshot"\nsize = 1\nbelow = 0', "two skills or more"),
        ('test = "skills"\naspect = "markov"\nlevels = 0.1\nbelow = 0', "levels with aspect"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(tmp_path: Path, entries: str, said: str):
    with pytest.raises(StudyError) as caught:
        grid_with(tmp_path, hypothesis(entries))
    assert said in str(caught.value)
    assert "tiny.toml: hypothesis" in str(caught.value)


def test_all_faults_of_all_hypotheses_are_told_together(tmp_path: Path):
    wrong = 'test = "difference"\nof = { task = "sngle", shots = 9 }\nminus = "bound"\nabove = 0'
    with pytest.raises(StudyError) as caught:
        grid_with(tmp_path, hypothesis(wrong), hypothesis(wrong, "H2"))
    assert len(str(caught.value).splitlines()) == 6
    with pytest.raises(StudyError, match="Several hypotheses are called 'H1'"):
        grid_with(tmp_path, hypothesis(FIRST), hypothesis(FIRST))


def test_models_of_all_tokens_take_part_where_runs_are_asked_and_the_last_otherwise(tmp_path: Path):
    study = "skills = { documents = 8 }\n" + WIDE
    entries = 'test = "skills"\naspect = "{}"\nbelow = 0'

    def cells(aspect: str) -> list[str]:
        file = find_study(str(write_study(tmp_path, study + hypothesis(entries.format(aspect)))))
        (one,) = build_grid(file, read_study(file)).hypotheses
        return list(one["cells"])  # pyright: ignore[reportArgumentType]

    last = "layers=2,width=32,seed=0,tokens=4000"
    assert cells("exact") == [last]
    assert len(cells("slope")) == len(cells("slingshot")) == 4
    assert last in cells("slope")


def test_as_few_points_are_asked_for_as_the_statistics_need():
    assert POINTS["jump"] == breaks.FEWEST_POINTS
    assert POINTS["level"] == rises.FEWEST_POINTS


def test_the_largest_model_at_its_end_is_meant_unless_another_is_named(tmp_path: Path):
    (side,) = asked(tmp_path, FIRST)["sides"]
    assert side["cells"] == ["layers=2,width=32,seed=0,tokens=4000"]
    (question,) = side["questions"]
    assert (question["form"], question["split"], question["shots"]) == ("direct", "seen", 5)
    named = FIRST + 'models = { width = 16, layers = "all", tokens = "first" }'
    (side,) = asked(tmp_path, named)["sides"]
    assert side["cells"] == [f"layers={layers},width=16,seed=0,tokens=1000" for layers in (1, 2)]


def test_a_difference_of_differences_changes_what_it_names_alone(tmp_path: Path):
    entries = """
test = "difference"
of = { task = "pair", split = "held_out" }
minus = { form = "steps" }
measure = "final_accuracy"
models = { layers = 1 }
more_than = { models = { width = "smallest" } }
below = 0
"""
    found = asked(tmp_path, entries)
    told = [
        (side["weight"], side["cells"][0].partition(",seed")[0], side["questions"][0]["form"])
        for side in found["sides"]
    ]
    assert told == [
        (1, "layers=1,width=32", "direct"),
        (-1, "layers=1,width=32", "steps"),
        (-1, "layers=1,width=16", "direct"),
        (1, "layers=1,width=16", "steps"),
    ]
    assert {side["questions"][0]["split"] for side in found["sides"]} == {"held_out"}
    assert found["test"] == (
        "Accuracy of the final answer on pair (direct, held out) at 5 examples, minus the same with form steps, less "
        "the same with width smallest, is below 0. Models: layers 1, width 32, tokens 4000."
    )


def test_a_study_with_hypotheses_can_be_written_and_read_again(tmp_path: Path):
    study = read_study(file_with(tmp_path, hypothesis(FIRST + "models = { width = [16, 32] }")))
    assert Study.model_validate(study.model_dump(mode="json")) == study


# When they were fixed


def keys(grid: Grid) -> dict[str, str]:
    return {name: step.key for name, step in grid.tables.inputs.items()}


def score(folder: RunFolder, step: Step) -> None:
    """Leave something where a scored cell would lie."""
    folder.store.path(step).mkdir(parents=True)


def fixed(grid: Grid, folder: RunFolder, *, write: bool = True) -> list[str]:
    told: Any = fixed_grid(grid, folder, write=write).tables.spec["hypotheses"]
    return [one["fixed"] for one in told]


def test_a_new_hypothesis_trains_nothing_again_and_makes_new_tables(tmp_path: Path):
    bare, tested = grid_with(tmp_path), grid_with(tmp_path, hypothesis(FIRST))
    assert keys(bare) == keys(tested)
    folder = RunFolder(tmp_path / "run")
    assert fixed_grid(bare, folder, write=True).tables == bare.tables
    assert not folder.path.exists()
    assert fixed_grid(tested, folder, write=True).tables.key != bare.tables.key


def test_how_much_was_scored_when_it_was_fixed_stays_as_it_was(tmp_path: Path):
    folder, grid = RunFolder(tmp_path / "run"), grid_with(tmp_path, hypothesis(FIRST))
    assert fixed(grid, folder, write=False) == ["before the first cell"]
    assert not folder.path.exists()
    assert fixed(grid, folder) == ["before the first cell"]
    assert not folder.is_used()  # a run that was killed here can begin again
    cells = [step for step in grid.tables.inputs.values() if step.kind == "cell"]
    for step in cells[:3]:
        score(folder, step)
    both = grid_with(tmp_path, hypothesis(FIRST), hypothesis(FIRST.replace("0.3", "0.2"), "H2"))
    assert fixed(both, folder) == ["before the first cell", f"after 3 of {len(cells)} cells"]
    score(folder, cells[3])
    assert fixed(both, folder) == ["before the first cell", f"after 3 of {len(cells)} cells"]


def test_whoever_changes_a_hypothesis_fixes_a_new_one_and_the_old_one_is_told(tmp_path: Path):
    folder, grid = RunFolder(tmp_path / "run"), grid_with(tmp_path, hypothesis(FIRST))
    fixed(grid, folder)
    score(folder, next(step for step in grid.tables.inputs.values() if step.kind == "cell"))
    changed = grid_with(tmp_path, hypothesis(FIRST.replace("0.3", "0.1")))
    assert fixed(changed, folder) == ["after 1 of 16 cells"]
    (told,) = dropped(folder, [str(one["digest"]) for one in changed.hypotheses])
    assert told.startswith("H1: It is so. (fixed before the first cell, ")
    # What is written out though it is the default is the same hypothesis.
    same = grid_with(tmp_path, hypothesis(FIRST + 'measure = "accuracy"'))
    assert fixed(same, folder) == ["before the first cell"]


def test_cells_of_other_settings_were_seen_too(tmp_path: Path):
    folder, grid = RunFolder(tmp_path / "run"), grid_with(tmp_path, hypothesis(FIRST))
    step = next(step for step in grid.tables.inputs.values() if step.kind == "cell")
    score(folder, replace(step, spec={**step.spec, "seed": 77}))
    assert fixed(grid, folder) == ["after 1 cell of other settings"]


def test_a_damaged_record_of_what_was_fixed_is_no_empty_one(tmp_path: Path):
    folder, grid = RunFolder(tmp_path / "run"), grid_with(tmp_path, hypothesis(FIRST))
    fixed(grid, folder)
    path = folder.path / "hypotheses.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    del entries["hypotheses"][0]["scored"]
    path.write_text(json.dumps(entries), encoding="utf-8")
    with pytest.raises(ArtifactError, match="Put it back from a copy"):
        fixed(grid, folder)
