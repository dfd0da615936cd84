"""Studies: what is read as what, and that every mistake has one message with value, rule and remedy."""

import os
import tomllib
from pathlib import Path

import pytest

from emergelab.errors import GrammarError, StudyError
from emergelab.recipes.grid import Grid, build_grid
from emergelab.recipes.study import find_study, read_study
from emergelab.recipes.study_spec import Study
from study_runs import GRAMMAR, STUDY, refused, write_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path)


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
    "train.precision=half": ('"half"', "'float32'"),
    "train.compile=true": ("true", "'yes'"),
    "train=3": ("train = 3", "table", "tokens ="),
    "model=3": ("model = 3", "table"),
    "model.width=1000000000": ("1000000000", "at most 65,536"),
    "model={width=65536, heads=4, layers=1000}": ("parameters", "1e+10", "smaller"),
    "model.width=15": ("width = 15", "multiple of the heads"),
    "model.heads=16": ("width = 16 and heads = 16", "even"),
    "model.heads=[1,2]": ("[1, 2]", "whole number"),
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
    "grammar=nope": ("'nope'", "functions"),
    "grammar=.": ("folder", ".cag"),
    'grammar="a\\u0000b"': ("null byte",),
    "grammar.x=3": ("grammar holds a value",),
    "foo": ("'foo'", "name=value"),
    "=3": ("'=3'", "name=value"),
    "train..tokens=3": ("name=value",),
    "x=" + "[" * 100_000: ("x is no entry",),
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


def test_every_run_and_cell_of_the_grid_is_a_step_of_its_own(study: Path):
    grid = grid_of(study, "model.width=[8,16]", "train.seeds=3", "train.documents=[10,20]")
    names = set(grid.tables.inputs)
    assert grid.cells == 2 * 2 * 2 * 3 * 2
    assert len([name for name in names if name.startswith("cell ")]) == grid.cells
    assert len([name for name in names if name.startswith("run ")]) == 24
    assert len({step.key for step in grid.tables.inputs.values()}) == len(names)
