"""Choosing and exporting models of a run by the command line: what there is, what is refused, what is written."""

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from emergelab.corpus.tokenizer import tokenizer_files
from emergelab.errors import GrammarError
from emergelab.grammar.language import Vocabulary
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.grammar.notation import render
from emergelab.recipes.cards import code_span, fenced, licence_of
from study_runs import command, refused, write_study

STUDY = """
grammar = "tiny.cag"
key = 1
model = { width = 16, layers = [1, 2], heads = 2, context = 24 }
train = { tokens = [1e3, 2e3], batch = 8, warmup_steps = 2, precision = "float32", compile = "no", seeds = 2 }
evaluate = { tasks = ["pair"], shots = 2, prompts = 20, loss_documents = 16 }
"""
FILES = [
    *("README.md", "config.json", "emergelab.json", "generation_config.json", "model.safetensors"),
    *("tokenizer.json", "tokenizer_config.json"),
]

# One process runs all of these, so that the study is trained once.
pytestmark = pytest.mark.xdist_group("models of a run")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    answer = command("run", write_study(folder, STUDY), "--out", folder / "run", "--workers", "1")
    assert answer.code == 0, answer
    return folder / "run"


def exported(out: Path) -> dict[str, object]:
    return json.loads((out / "emergelab.json").read_text(encoding="utf-8"))


def test_the_first_look_into_a_finished_runs_store_is_a_quick_one(run: Path):
    """The index that the run wrote holds all of it: a listing finds nothing to add."""
    before = list((run / "store" / ".index").iterdir())
    assert len(before) == 1
    assert command("store", "list", run).code == 0
    assert list((run / "store" / ".index").iterdir()) == before


def test_models_are_listed_with_loss_and_file(run: Path):
    models = json.loads(command("model", "list", run, "--json").out)
    sizes = {(m["layers"], m["seed"], m["tokens"]) for m in models}
    assert sizes == {
        (layers, seed, tokens) for layers in (1, 2) for seed in (0, 1) for tokens in (1000, 2000)
    }
    assert len(models) == 8
    assert all(0 < m["loss"] < 5 for m in models)
    for model in models:
        tensors = load_file(model["path"])
        assert len([name for name in tensors if "q_proj" in name]) == model["layers"]
        assert sum(tensor.size for tensor in tensors.values()) == model["params"]
    shown = command("model", "list", run).out
    assert all(model["cell"] in shown for model in models)


def test_without_a_choice_it_is_the_largest_longest_trained_first_seed(run: Path, tmp_path: Path):
    out = tmp_path / "out"
    answer = command("model", "export", run, "--out", out)
    assert answer.code == 0, answer
    assert answer.out.splitlines()[-1] == str(out)
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert exported(out)["name"] == "tiny: layers=2,width=16,seed=0,tokens=2000"
    config = json.loads((out / "config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"], config["vocab_size"]) == (2, 16, 8)


@pytest.mark.parametrize(
    ("choice", "cell"),
    [
        (["--layers", "1", "--seed", "1"], "layers=1,width=16,seed=1,tokens=2000"),
        (["--layers", "2", "--seed", "0", "--tokens", "1e3"], "layers=2,width=16,seed=0,tokens=1000"),
        (["--cell", "layers=1,width=16,seed=0,tokens=1000"], "layers=1,width=16,seed=0,tokens=1000"),
        (["--where", "layers=1", "--where", "seed=1"], "layers=1,width=16,seed=1,tokens=2000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_choice_finds_its_model(run: Path, tmp_path: Path, choice: list[str], cell: str):
    answer = command("model", "export", run, "--out", tmp_path / "out", *choice)
    assert answer.code == 0, answer
    assert exported(tmp_path / "out")["name"] == f"tiny: {cell}"
    listed = {m["cell"]: m["path"] for m in json.loads(command("model", "list", run, "--json").out)}
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert weights == Path(listed[cell]).read_bytes()


@pytest.mark.parametrize(
    ("choice", "part"),
    [
        (["--layers", "7"], "1 or 2"),
        (["--layers", "1"], "seed = 0 or 1"),
        (["--cell", "layers=9"], "layers=1,width=16,seed=0,tokens=1000"),
        (["--where", "nonsense=1"], "nonsense"),
        (["--where", "layers"], "name=value"),
        (["--license", "My licence"], "cc-by-4.0"),
    ],
    ids=["unknown", "ambiguous", "cell", "entry", "no-value", "licence"],
)
def test_a_choice_that_fits_no_model_says_what_there_is(
    run: Path, tmp_path: Path, choice: list[str], part: str
):
    assert part in refused("model", "export", run, "--out", tmp_path / "out", *choice)
    assert not (tmp_path / "out").exists()


def test_an_export_is_replaced_and_nothing_else(run: Path, tmp_path: Path):
    out, other = tmp_path / "out", tmp_path / "other"
    assert command("model", "export", run, "--out", out).code == 0
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "extra").touch()
    assert command("model", "export", run, "--out", out).code == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    assert "something else" in refused("model", "export", run, "--out", other)
    assert "something else" in refused("model", "export", run, "--out", other / "thesis.tex")
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


def test_a_file_in_a_store_says_itself_what_it_is(run: Path, tmp_path: Path):
    path = json.loads(command("model", "list", run, "--json").out)[0]["path"]
    answer = command("model", "export", path, "--out", tmp_path / "out")
    assert answer.code == 0, answer
    record = exported(tmp_path / "out")
    assert isinstance(record["training"], dict)
    assert record["training"]["seed"] == 0
    assert "one model" in refused("model", "export", path, "--out", tmp_path / "two", "--layers", "1")


def test_a_file_elsewhere_needs_its_grammar(run: Path, tmp_path: Path):
    path = json.loads(command("model", "list", run, "--json").out)[0]["path"]
    lone = tmp_path / "lone.safetensors"
    lone.write_bytes(Path(path).read_bytes())
    out = tmp_path / "out"
    assert "--grammar" in refused("model", "export", lone, "--out", out)
    assert "functions" in refused("model", "export", lone, "--out", out, "--grammar", "functions")
    answer = command(
        "model", "export", lone, "--out", out, "--grammar", run.parent / "tiny.cag", "--key", "1"
    )
    assert answer.code == 0, answer
    lone.write_bytes(lone.read_bytes()[:-4])
    assert "Make it again" in refused(
        "model", "export", lone, "--out", out, "--grammar", run.parent / "tiny.cag"
    )
    assert sorted(path.name for path in out.iterdir()) == FILES


def test_the_card_tells_data_training_and_scores(run: Path, tmp_path: Path):
    assert command("model", "export", run, "--out", tmp_path / "out", "--license", "cc-by-4.0").code == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert card.startswith('---\nlicense: "cc-by-4.0"\n')
    for part in ("hold out 0.3 of f * f", "| warmup steps | 2 |", "| pair | steps | held out | 2 |", "key 1"):
        assert part in card
    assert "nats per token" in card


def test_a_licence_is_given_or_that_of_a_shipped_grammar():
    text = render(load_grammar(find_grammar("functions")))
    assert licence_of("functions", text, None) == "apache-2.0"
    assert licence_of("functions", text + "#", None) == "unknown"
    assert licence_of("mine", text, None) == "unknown"
    assert licence_of("functions", text, "mit") == "mit"


@pytest.mark.parametrize("text", ["a", "```", "x ```` y\n```", "`"])
def test_code_stays_in_its_fence(text: str):
    fence = fenced(text).splitlines()[0]
    assert set(fence) == {"`"}
    assert fence not in text


def test_code_within_a_line_may_hold_ticks():
    assert code_span("a|b") == "`a|b`"
    assert code_span("a``b`") == "``` a``b` ```"


@pytest.mark.parametrize("terminal", ["<end>", "a<end>", "<start>b", "<<end>>"])
def test_words_that_hide_the_start_or_the_end_are_refused(terminal: str):
    with pytest.raises(GrammarError, match="Write the token without it"):
        tokenizer_files(Vocabulary(("x", terminal), 2), 8)
