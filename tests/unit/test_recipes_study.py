"""Studies: what is read as what, and that every mistake has one message with value, rule and remedy."""

import json
import math
import os
import re
import tempfile
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emergelab.errors import GrammarError, StudyError
from emergelab.recipes.grid import Grid, build_grid
from emergelab.recipes.study import find_study, read_study
from emergelab.recipes.study_spec import SCALE_AXES, Study, TrainAxes
from emergelab.scores.variants import settings_of, variant_of
from emergelab.train.spec import TrainSettings
from study_runs import GRAMMAR, STUDY, command, refused, write_study

# The tiny grammar with two of its numbers as parameters.
PARAMETERS = "parameter pair.silent = 0.3\nparameter kept = 0.3\n" + GRAMMAR.replace(
    "hold out 0.3", "hold out kept"
).replace("| 0.3:", "| pair.silent:").replace("| 0.2:", "| 0.5 - pair.silent:")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path, grammar=PARAMETERS)


def read(study: Path, *settings: str) -> Study:
    return read_study(find_study(str(study)), settings)


def grid_of(study: Path, *settings: str) -> Grid:
    return build_grid(find_study(str(study)), read(study, *settings))


def test_the_study_as_written(study: Path):
    written = tomllib.loads(STUDY)
    found = read(study).model_dump()
    assert found["train"]["tokens"] == (2000, 4000)
    assert found["model"]["width"] == (16,)
    assert found["evaluate"] == {**written["evaluate"], "tasks": tuple(written["evaluate"]["tasks"])}


def test_a_setting_changes_one_entry(study: Path):
    changed = read(study, "train.tokens=[1e6, 2.5e6]", "keys.data=7", "evaluate.tasks=single").model_dump()
    assert changed["train"]["tokens"] == (1_000_000, 2_500_000)
    assert changed["keys"]["data"] == 7
    assert changed["evaluate"]["tasks"] == ("single",)
    assert changed["model"] == read(study).model_dump()["model"]


def test_the_last_of_two_settings_counts(study: Path):
    assert read(study, "key=1", "key=2").key == 2


def test_numbers_written_in_two_ways_are_one_study(study: Path):
    one, other = (grid_of(study, f"train.tokens={text}") for text in ("[2000, 4000]", "[2e3, 4e3]"))
    assert one.tables.key == other.tables.key


def test_a_grammars_path_counts_from_the_studys_folder(study: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("/")
    assert [task.name for task in grid_of(study).grammar.tasks] == ["single", "pair", "inverse"]


def test_names_in_other_scripts(tmp_path: Path):
    path = write_study(tmp_path).rename(tmp_path / "étude δ.toml")
    assert grid_of(path).name == "étude δ"


# Each setting, and what its message must hold: the value, and the rule or the remedy.
WRONG = {
    "train.toknes=1": ("train.toknes", "'tokens'"),
    "foo.bar=1": ("foo is no entry",),
    "__class__.x=1": ("__class__ is no entry",),
    "train.tokens=nan": ("nan", "whole number"),
    "train.tokens=inf": ("inf", "whole number"),
    "train.tokens=true": ("true", "whole number"),
    "train.tokens='7'": ('"7"', "whole number"),
    "train.tokens=1.5": ("1.5", "whole number"),
    "train.tokens=": ('""', "whole number"),
    "train.tokens=-1": ("-1", "at least 1"),
    "train.tokens=0": ("0", "at least 1"),
    "train.tokens=[]": ("[]", "at least one value"),
    "train.tokens=[1,1]": ("[1, 1]", "must differ", "[1]"),
    "train.tokens=[2e5,1e5]": ("rising", "[100000, 200000]"),
    "train.tokens=[[1,2]]": ("[1, 2]", "whole number"),
    "train.tokens={a=1}": ("{'a': 1}", "whole number"),
    "train.tokens=1e300": ("1e+300", "at most 1,000,000,000,000,000"),
    "train.tokens=0x" + "f" * 5000: ("a number of more than 80 digits", "at most"),
    "train.tokens=1979-05-27": ("1979-05-27", "whole number"),
    "train.tokens=[1e5,1.9e5,2e5]": ("train.tokens [190000]", "decay_share = 0.2", "160000"),
    "train.seeds=1e6": ("at most 10,000",),
    "train.seeds=9999": ("39,996 cells", "10,000", "fewer seeds"),
    "train.batch=1e9": ("at most 65,536",),
    "train.warmup_steps=-1": ("-1", "at least 0"),
    "train.documents=[10,10]": ("must differ",),
    "train.matrix_learning_rate=nan": ("nan", "finite"),
    "train.matrix_learning_rate=0": ("0", "above 0"),
    "train.matrix_learning_rate=true": ("true", "number"),
    "train.decay_share=2": ("2", "at most 1"),
    "train.batch=[32,32]": ("[32, 32]", "must differ", "[32]"),
    "train.batch=[[32]]": ("[32]", "whole number"),
    "train.momentum=[0.5,1.5]": ("1.5", "below 1"),
    "train.betas=[0.9]": ("[0.9]", "more values", "[0.9, 0.95]"),
    "train.betas=[0.9,0.95,0.99]": ("[0.9, 0.95, 0.99]", "2 values"),
    "train.betas=0.9": ("0.9", "list"),
    "train.betas=[0.9,1]": ("1", "below 1"),
    "train.compile=['yes','no']": ("['yes', 'no']", "one value, no list", '"auto"'),
    "train.seeds=[1,2]": ("[1, 2]", "one value, no list", "train.seeds = 1"),
    "train.decay_share=[0.2,0.6]": ("decay_share=0.6", "[2000]", "decay_share = 0.6"),
    "train.precision=half": ('"half"', "'float32'"),
    "train.compile=true": ("true", "'yes'"),
    "train=3": ("train = 3", "table", "tokens ="),
    "model=3": ("model = 3", "table"),
    "model.width=1000000000": ("1000000000", "at most 65,536"),
    "model={width=65536, heads=4, layers=1000}": ("parameters", "1e+10", "smaller"),
    "model.width=15": ("width = 15", "multiple of the heads"),
    "model.heads=16": ("width = 16 and heads = 16", "even"),
    "model.heads=[2,3]": ("with heads=3", "width = 16 and heads = 3", "multiple of the heads"),
    "model.context=[24,48]": ("[24, 48]", "one value, no list", "model.context = 48"),
    "model.layers=[1,1]": ("[1, 1]", "must differ"),
    "model.hidden=0": ("0", "at least 1"),
    "model.context=1e9": ("at most 32,000",),
    "model.context=23": ("context = 23", "pair", "24 tokens", "at most 4 shots"),
    "model.context=3": ("context = 3", "18 tokens"),
    "evaluate.shots=0": ("0", "at least 1"),
    "evaluate.prompts=1e12": ("at most 1,000,000",),
    "evaluate.tasks=[]": ("[]", "at least one value"),
    "evaluate.tasks=[1]": ("1", "text in quotes"),
    "evaluate.tasks=sinlge": ("'sinlge'", "'single'"),
    "evaluate.tasks=['pair','pair']": ("must differ",),
    "key=-1": ("-1", "at least 0"),
    "key=1e300": ("1e+300", "at most"),
    "key=1\nmodel=3": ("whole number",),
    "grammar=3": ("3", "text in quotes"),
    "grammar=nope": ("'nope'", "shipped grammar's name"),
    "grammar=.": ("folder", ".cag"),
    'grammar="a\\u0000b"': ("null byte",),
    "grammar.x=3": ("With x = 3", "no parameter 'x'"),
    "grammar.pair.silnet=[0.1,0.2]": ("With pair.silnet = 0.1", "'pair.silent'"),
    "grammar.pair.silent=[0.1,1.5]": ("With pair.silent = 1.5", "1.5"),
    "grammar.pair.silent=[]": ("[]", "at least one value", "grammar.pair.silent = [0.1, 0.5]"),
    "grammar.pair.silent=[0.1,0.1]": ("[0.1, 0.1]", "must differ"),
    "grammar.pair.silent=many": ('"many"', "number"),
    "grammar.pair.silent=[[0.1]]": ("[0.1]", "number"),
    "grammar.pair.silent.x=1": ("pair.silent.x", "no parameter"),
    "grammar." + "a." * 50 + "b=1": ("no parameter",),
    "grammar.kept=[0.3,0]": ("With kept = 0", "hold out"),
    "grammar.name=3": ("3", "text in quotes"),
    "grammar={pair=0.1}": ("grammar.name is missing", "functions"),
    "grammar=[1]": ("[1]", "one value, no list", '"functions"'),
    "foo": ("'foo'", "name=value"),
    "=3": ("'=3'", "name=value"),
    "train..tokens=3": ("name=value",),
    "x=" + "[" * 100_000: ("begins like a list and is none",),
    "evaluate.tasks=[single,pair]": ("[single,pair]", "double quotes"),
    "pair.silent=0.3": ("pair is no entry", "grammar.pair."),
}  # fmt: skip


@pytest.mark.parametrize("setting", WRONG, ids=lambda text: text[:40])
def test_a_wrong_entry_has_one_message(study: Path, setting: str):
    message = refused("run", study, "--set", setting, "--out", study.parent / "run")
    for part in WRONG[setting]:
        assert part in message
    assert len(message) < 1000
    assert not (study.parent / "run").exists()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "grammar is missing"),
        ("hello world", "line 1"),
        ("a = \0", "line 1"),
        ("a = " + "[" * 100_000, "too deep"),
        ("a = " + "1" * 5000, "not TOML"),
        ("[train]\ntokens = [1e5 2e5]", "line 2"),
        ("#" * 1_000_001, "1,000,000 bytes"),
        (b"\xff\xfe\0\0", "UTF-8"),
        ("import os\nos.system('touch made')", "line 1"),
        ('grammar = "$(touch made)"\ntrain.tokens = 1\nevaluate.tasks = ["`touch made`"]', "'$(touch made)'"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str | bytes, part: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "wrong.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    message = refused("run", path, "--dry-run")
    assert part in message
    assert os.listdir(tmp_path) == ["wrong.toml"]  # noqa: PTH208


@pytest.mark.parametrize("name", ["quikstart", "no/such.toml", "a\0b", "x" * 5000, "."])
def test_a_study_that_is_not_there(name: str):
    message = refused("run", name, "--dry-run")
    assert "Give" in message
    assert len(message) < 6000


def test_a_device_is_no_study():
    assert "larger than" in refused("run", "/dev/zero", "--dry-run")


def test_all_mistakes_are_told_at_once(study: Path):
    with pytest.raises(StudyError) as error:
        read(study, "train.batch=0", "model.heads=0", "keys.foo=1")
    assert len(str(error.value).splitlines()) == 3


def test_a_grammars_mistakes_are_told(tmp_path: Path):
    path = write_study(tmp_path, grammar=GRAMMAR.replace("b(a(x)) }\n", "c(a(x)) }\n", 1))
    with pytest.raises(GrammarError, match=r"tiny\.cag:\d+:\d+"):
        grid_of(path)


def test_a_split_without_functions_is_told_before_training(tmp_path: Path):
    path = write_study(tmp_path, grammar=GRAMMAR.replace("hold out 0.3", "hold out 0"))
    message = refused("run", path, "--dry-run")
    assert "tiny" in message
    assert "hold" in message


def test_prompts_longer_than_a_loop_without_replacement_are_told_before_training(tmp_path: Path):
    """Five objects without replacement make five rows: four examples and a query."""
    path = write_study(tmp_path, grammar=GRAMMAR.replace("objects, stop 0.1", "objects distinct, stop 0.1"))
    assert grid_of(path, "evaluate.shots=4").cells
    message = refused("run", path, "--dry-run", "--set", "evaluate.shots=5")
    assert "5 objects once, and the prompts need 6 rows" in message
    assert "4 shots at most" in message


def test_every_run_and_cell_of_the_grid_is_a_step_of_its_own(study: Path):
    grid = grid_of(study, "model.width=[8,16]", "train.seeds=3", "train.documents=[10,20]")
    names = set(grid.tables.inputs)
    assert grid.cells == 2 * 2 * 2 * 3 * 2
    assert len([name for name in names if name.startswith("cell ")]) == grid.cells
    assert len([name for name in names if name.startswith("run ")]) == 24
    assert len({step.key for step in grid.tables.inputs.values()}) == len(names)


# Axes.


def test_every_entry_of_training_has_the_limits_and_the_default_of_its_setting():
    for name, field in TrainSettings.model_fields.items():
        default = TrainAxes.model_fields[name].default
        assert default == (field.default if name == "compile" else (field.default,))


@pytest.mark.parametrize(
    ("written", "pairs"),
    [("[0.9,0.99]", 1), ("[[0.9,0.99]]", 1), ("[[0.9,0.95],[0.9,0.99]]", 2)],
)
def test_betas_are_one_pair_or_a_list_of_pairs(study: Path, written: str, pairs: int):
    betas = read(study, f"train.betas={written}").train.model_dump()["betas"]
    assert len(betas) == pairs
    assert betas[-1] == (0.9, 0.99)


def test_a_grammar_is_text_or_a_table_with_dots_or_tables_in_it(tmp_path: Path):
    values = {"pair.silent": (0.1, 0.4), "kept": (0.3,)}
    plain = write_study(tmp_path, grammar=PARAMETERS)
    by_settings = read(plain, "grammar.pair.silent=[0.1,0.4]", "grammar.kept=0.3")
    assert by_settings.grammar.parameters == values
    for table in (
        '{ name = "tiny.cag", pair.silent = [0.1, 0.4], kept = 0.3 }',
        '{ name = "tiny.cag", "pair.silent" = [0.1, 0.4], kept = [0.3] }',
        '{ name = "tiny.cag", pair = { silent = [0.1, 0.4] }, kept = 0.3 }',
    ):
        path = write_study(tmp_path, STUDY.replace('"tiny.cag"', table), PARAMETERS)
        assert read(path) == by_settings
        assert read(path, "grammar.pair.silent=0.2").grammar.parameters["pair.silent"] == (0.2,)
        assert read(path, "grammar=functions").grammar.parameters == {}
    assert Study.model_validate_json(by_settings.model_dump_json()) == by_settings


def test_a_parameter_set_to_its_own_value_changes_nothing(study: Path):
    one, same, other = (
        grid_of(study),
        grid_of(study, "grammar.pair.silent=0.3"),
        grid_of(study, "grammar.pair.silent=0.4"),
    )
    assert same.tables.key == one.tables.key
    assert other.corpus.key != one.corpus.key
    assert set(other.tables.inputs) == set(one.tables.inputs)


def test_each_setting_of_the_grammar_has_a_language_and_a_corpus_of_its_own(study: Path):
    grid = grid_of(study, "grammar.pair.silent=[0.1,0.4]", "train.seeds=2")
    assert list(grid.corpora) == ["pair.silent=0.1", "pair.silent=0.4"]
    assert len({step.key for step in grid.corpora.values()}) == 2
    for run in grid.runs:
        assert run.grammar.parameters["pair.silent"] == run.settings["grammar.pair.silent"]
        train = grid.tables.inputs[f"run {run.name}"]
        assert train.inputs["corpus"] == run.grammar.corpus
        assert train.spec["language"] == run.grammar.language


LISTS = {
    "grammar.pair.silent": st.lists(st.sampled_from([0.1, 0.2, 0.25, 0.4]), unique=True, min_size=1),
    "model.width": st.lists(st.sampled_from([8, 16, 24]), unique=True, min_size=1),
    "model.layers": st.lists(st.integers(1, 3), unique=True, min_size=1),
    "model.heads": st.lists(st.sampled_from([1, 2, 4]), unique=True, min_size=1),
    "model.hidden": st.lists(st.sampled_from([8, 64]), unique=True, min_size=1),
    "train.documents": st.lists(st.integers(1, 1000), unique=True, min_size=1, max_size=2),
    "train.batch": st.lists(st.integers(1, 64), unique=True, min_size=1, max_size=2),
    "train.matrix_learning_rate": st.lists(st.floats(1e-6, 1), unique=True, min_size=1, max_size=2),
    "train.warmup_steps": st.lists(st.integers(0, 9), unique=True, min_size=1, max_size=2),
    "train.betas": st.lists(
        st.tuples(st.just(0.9), st.floats(0.5, 0.99)), unique=True, min_size=1, max_size=2
    ),
    "train.precision": st.lists(st.sampled_from(["float32", "bfloat16"]), unique=True, min_size=1),
}


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), names=st.sets(st.sampled_from(sorted(LISTS)), max_size=3), seeds=st.integers(1, 2))
def test_the_grid_is_the_product_and_every_cell_tells_its_settings(
    study: Path, data: st.DataObject, names: set[str], seeds: int
):
    lists = {name: data.draw(LISTS[name], label=name) for name in sorted(names)}
    entries = [
        f"{name}={json.dumps([list(v) if isinstance(v, tuple) else v for v in values])}"
        for name, values in lists.items()
    ]
    grid = grid_of(study, *entries, f"train.seeds={seeds}")
    cells = [run.cell_name(tokens) for run in grid.runs for tokens in (2000, 4000)]
    assert grid.cells == 2 * seeds * math.prod(map(len, lists.values())) * (
        1 if "model.layers" in lists else 2
    )
    assert len(cells) == len(set(cells)) == grid.cells
    assert {f"cell {cell}" for cell in cells} == {
        name for name in grid.tables.inputs if name.startswith("cell ")
    }
    for run in grid.runs:
        said = settings_of(variant_of(run.settings))
        assert set(run.settings) == {name for name, values in lists.items() if len(values) > 1} - SCALE_AXES
        for name, value in run.settings.items():
            found = said[name.partition(".")[2]]
            assert value in lists[name]
            assert (json.loads(found) == list(value)) if isinstance(value, tuple) else (found == value)


def test_what_is_trained_and_scored_keeps_its_name_when_a_study_comes_to_vary_more(study: Path):
    small = grid_of(study, "train.batch=8")
    large = grid_of(study, "train.batch=[8,16]", "model.heads=[2,4]", "train.seeds=2")
    kept = {step.key for step in small.tables.inputs.values()}
    assert kept <= {step.key for step in large.tables.inputs.values()}


def test_a_dry_run_says_how_long_it_takes_and_how_much_there_is(study: Path):
    answer = command("run", study, "--dry-run", "--workers", "1", "--set", "train.batch=[8,16]")
    assert "4 training runs, 8 cells, 15 steps" in answer.out
    assert re.search(r"With --workers 1 it takes about \d+ (s|min)", answer.out)


@pytest.mark.parametrize("workers", ["0", "-3"])
def test_a_number_of_workers_that_can_do_nothing(study: Path, workers: str):
    message = refused("run", study, "--workers", workers, "--dry-run")
    assert message.startswith(f"Got --workers {workers}. A run needs at least 1 worker. Use 1 or more")


def test_a_dry_run_tells_of_a_folder_that_cannot_be_written(study: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    message = refused("run", study, "--dry-run", "--out", study.parent / "a" / "b")
    assert "Read-only file system" in message
    assert "--out" in message
