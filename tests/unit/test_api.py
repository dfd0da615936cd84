"""The Python interface, as far as it trains nothing."""

import json
import math
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import emergelab as el
from emergelab.api.checks import whole
from emergelab.api.notebooks import reporter
from emergelab.api.settings import written
from emergelab.pipeline.events import Silent
from emergelab.pipeline.notebook import Notebook
from emergelab.pipeline.progress import Plain
from emergelab.recipes.study import find_study, read_study
from study_runs import command

FUNCTIONS = el.load_grammar("functions")
SIZE = len(FUNCTIONS.vocabulary)


class Uniform:
    """As likely as any other: every token."""

    name = "uniform"

    def __init__(self, vocabulary_size: int = SIZE) -> None:
        self.vocabulary_size = vocabulary_size

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        return np.full(
            (*tokens.shape, self.vocabulary_size), -math.log(self.vocabulary_size), dtype=np.float32
        )


class Changed(Uniform):
    """Uniform but for a fault."""

    def __init__(self, fault: object) -> None:
        super().__init__()
        self._fault = fault

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        return self._fault(super().log_probabilities(tokens), tokens)  # pyright: ignore[reportCallIssue]


def prophet(law: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Know the next token by looking at it."""
    law = np.full_like(law, -np.inf)
    following = np.roll(tokens, -1, axis=1).astype(np.intp)
    np.put_along_axis(law, following[..., None], 0.0, axis=2)
    return law


# Settings

LEAVES = st.one_of(st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.text())


@given(value=st.one_of(LEAVES, st.lists(LEAVES)))
def test_a_setting_is_read_back_as_it_was_given(value: object):
    (text,) = written({"train.batch": value})
    name, _, toml = text.partition("=")
    assert name == "train.batch"
    assert tomllib.loads(f"value = {toml}")["value"] == value


def test_tables_in_tables_are_dotted_names_and_numpy_has_numbers():
    settings = {"train": {"tokens": np.array([1e6]).tolist(), "seeds": np.int64(3)}, "model.width": (8, 16)}
    assert written(settings) == ("train.tokens=[1000000.0]", "train.seeds=3", "model.width=[8, 16]")


def test_settings_mean_what_they_mean_on_the_command_line():
    file = find_study("quickstart")
    assert read_study(file, written({"train": {"tokens": [1e5, 2e5]}})) == read_study(
        file, ["train.tokens=[1e5,2e5]"]
    )


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(el.StudyError, match=r"train\.batch = None"):
        el.plan("quickstart", settings={"train.batch": None})


def test_a_wrong_study_is_refused_with_the_message_of_the_command_line():
    with pytest.raises(el.StudyError) as caught:
        el.plan("quickstart", settings={"train.batch": 0})
    answer = command("run", "quickstart", "--set", "train.batch=0", "--dry-run")
    assert answer.errors == f"Error: {caught.value}\n"


def test_the_plan_is_that_of_the_command_line(tmp_path: Path):
    steps = el.plan("quickstart", out=tmp_path)
    assert steps["state"].unique().to_list() == ["to do"]
    assert f"{steps.height} steps" in command("run", "quickstart", "--dry-run", "--out", tmp_path).out


@pytest.mark.parametrize("value", [0, 1.5, -1, "3", True, math.nan, math.inf, 10**7, None])
def test_what_is_no_whole_number_is_refused(value: object):
    with pytest.raises(el.UserError, match="It must be a whole number from 1 to 1,000,000"):
        whole("prompts", value)


def test_whole_numbers_may_be_written_as_floats():
    assert (whole("prompts", 6e5), whole("prompts", np.float32(3))) == (600_000, 3)


# Grammars


def test_documents_are_those_of_the_command_line():
    documents = [
        {name: getattr(one, name) for name in ("tokens", "roles", "statements", "rows", "skills", "whole")}
        for one in FUNCTIONS.sample(3)
    ]
    assert json.loads(json.dumps(documents)) == json.loads(
        command("grammar", "sample", "functions", "-n", "3", "--json").out
    )


def test_a_description_is_that_of_the_command_line():
    shown = command("grammar", "show", "functions", "--json").out
    assert json.loads(json.dumps(FUNCTIONS.describe())) == json.loads(shown)


def test_a_document_is_printed_row_by_row():
    (document,) = FUNCTIONS.sample(1, length=6)
    a, b = document.tokens[1:3]
    assert str(document).splitlines()[:2] == ["         <start>", f"   1.1   {a} [{b}] ;"]


def test_a_document_in_a_notebook_holds_no_markup_of_its_own():
    (document,) = FUNCTIONS.sample(1, length=4)
    page = document._repr_html_()
    assert "&lt;start&gt;" in page
    assert "<start>" not in page


def test_a_grammar_is_what_its_text_says():
    read = el.parse_grammar(FUNCTIONS.text, name="functions")
    assert (read.text, str(read)) == (FUNCTIONS.text, FUNCTIONS.text.strip())
    assert read.sample(2) == FUNCTIONS.sample(2)
    assert repr(read) == "Grammar('functions', tasks=['single', 'pair'], key=0)"


def test_another_key_is_another_world():
    assert el.load_grammar("functions", key=1).sample(1) != FUNCTIONS.sample(1)


def test_a_wrong_grammar_is_refused_with_its_place():
    with pytest.raises(el.GrammarError, match=r"^<mine>:1:\d+: "):
        el.parse_grammar("world { objects 1 }", name="mine")


def test_prompts_have_a_set_for_each_form_and_split():
    sets = FUNCTIONS.prompts("pair", shots=2, prompts=7)
    asked = {(one.form, one.split) for one in sets}
    assert asked == {(form, split) for form in ("direct", "steps") for split in ("seen", "held_out")}
    assert {one.tokens.shape for one in sets} == {
        (7, 10),
        (7, 13),
    }  # the start, and three rows of 3 or 4 tokens


def test_prompts_of_all_tasks_are_those_of_each():
    together = FUNCTIONS.prompts(shots=1, prompts=3)
    apart = [one for task in FUNCTIONS.tasks for one in FUNCTIONS.prompts(task, shots=1, prompts=3)]
    assert [one.tokens.tolist() for one in together] == [one.tokens.tolist() for one in apart]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tasks": "pairs"}, "Did you mean 'pair'?"),
        ({"tasks": []}, "no task to ask for"),
        ({"tasks": ["pair", "pair"]}, "Name each once"),
        ({"shots": 0}, "shots=0"),
        ({"prompts": 0.5}, "prompts=0.5"),
    ],
)
def test_wrong_questions_are_refused(asked: dict, message: str):
    with pytest.raises(el.UserError, match=re.escape(message)):
        FUNCTIONS.prompts(**asked)


@pytest.mark.parametrize("asked", [{"count": 0}, {"length": 10**6}, {"law": "half"}])
def test_wrong_samples_are_refused(asked: dict):
    with pytest.raises(el.UserError, match=str(*asked.values())):
        FUNCTIONS.sample(**asked)


def test_a_key_that_is_none_is_refused():
    with pytest.raises(el.UserError, match="key=-1"):
        el.load_grammar("functions", key=-1)


# Scoring


def test_who_knows_nothing_scores_nothing_and_pays_for_every_token():
    scores = el.score(Uniform(), "functions", tasks="pair", shots=2, prompts=20).scores
    assert scores["accuracy"].to_list() == [0.0] * scores.height
    forced = scores.filter(decoding="teacher_forced")
    # The answer is an object and the separator, with its step one more.
    tokens = pl.when(pl.col("form") == "steps").then(3).otherwise(2)
    assert forced.select((pl.col("nats") - tokens * math.log(SIZE)).abs().max()).item() < 1e-5


def test_who_knows_the_functions_scores_all():
    """Read off the examples by brute force which function it is: six of them leave one."""
    tables, first = FUNCTIONS.language.tables, FUNCTIONS.language.vocabulary.first_object
    separator = FUNCTIONS.vocabulary.index(";")

    class Reader(Uniform):
        def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
            law = np.full((*tokens.shape, SIZE), -20.0, dtype=np.float32)
            for prompt, row in enumerate(tokens.astype(int)):
                for t in range(len(row)):
                    law[prompt, t, self.next(row[: t + 1])] = 0.0
            return law - np.log(np.exp(law).sum(axis=2, keepdims=True, dtype=np.float64)).astype(np.float32)

        def next(self, read: np.ndarray) -> int:
            if len(read) % 3 != 2:
                return separator
            pairs = read[1:-1].reshape(-1, 3)[:, :2] - first
            right = [sum(table[x % 12] == y for x, y in pairs) for table in tables]
            return int(tables[np.argmax(right), (read[-1] - first) % 12]) + first

    found = el.score(Reader(), FUNCTIONS, tasks="single", shots=6, prompts=100).scores
    last = found.filter(shots=6)
    assert last["accuracy"].min() == 1.0
    assert last.filter(decoding="teacher_forced")["nats"].max() < 1e-4


def test_forms_are_compared_on_the_same_prompts():
    gains = el.score(Uniform(), FUNCTIONS, tasks="pair", shots=1, prompts=5).gains
    assert gains["gain"].unique().to_list() == [0.0]


def test_a_set_of_prompts_is_asked_alone():
    one, *_ = FUNCTIONS.prompts("single", shots=2, prompts=9)
    assert el.score_prompts(Uniform(), one).items.equals(el.score_prompts(Uniform(), [one]).items)


def test_the_loss_of_a_uniform_law_is_the_logarithm_of_the_vocabulary():
    losses = el.measure_losses(Uniform(), "functions", documents=20, length=24)
    assert np.allclose(losses["nats"], math.log(SIZE), atol=1e-6)
    assert losses["role"].to_list()[0] is None


@pytest.mark.parametrize(
    ("predictor", "message"),
    [
        (object(), "A predictor has a name"),
        (Uniform(SIZE + 1), f"knows {SIZE + 1} tokens, and the grammar has {SIZE}"),
        (Changed(lambda law, _: law[:, :1]), "returned the shape"),
        (Changed(lambda law, _: np.exp(law)), "sum to"),
        (Changed(lambda law, _: law * np.nan), "sum to nan"),
        (Changed(prophet), "does not look ahead"),
    ],
)
def test_what_is_no_predictor_is_refused(predictor: object, message: str):
    with pytest.raises(el.UserError, match=re.escape(message)):
        el.score(predictor, FUNCTIONS, tasks="single", shots=2, prompts=8)  # pyright: ignore[reportArgumentType]


# Progress


def test_progress_is_shown_where_the_process_is():
    assert isinstance(reporter(progress=False), Silent)
    assert isinstance(reporter(progress=True), Plain)
    shown: list[str] = []
    handle = SimpleNamespace(update=shown.append)
    display = SimpleNamespace(HTML=str, display=lambda _, **_options: handle)
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    with mock.patch.dict(sys.modules, {"IPython": kernel, "IPython.display": display}):
        assert isinstance(reporter(progress=True), Notebook)
    terminal = SimpleNamespace(get_ipython=SimpleNamespace)  # IPython in a terminal has no kernel
    with mock.patch.dict(sys.modules, {"IPython": terminal}):
        assert isinstance(reporter(progress=True), Plain)


def test_the_ideal_predictor_and_its_bounds():
    """The nats of the ideal predictor on `single` are below the bound, and no predictor here pays less."""
    ideal = FUNCTIONS.ideal()
    found = el.score(ideal, FUNCTIONS, tasks="single", prompts=24).scores
    bound = FUNCTIONS.bounds("single", prompts=24, shots=4).row(0, named=True)
    assert bound["D_nats"] == pytest.approx(math.log(12 / 0.45))
    assert bound["ideal_nats"] <= bound["bound_nats"]
    last = found.filter(argument="fresh", decoding="teacher_forced").sort("shots").row(-1, named=True)
    assert last["accuracy"] == 1
    with pytest.raises(el.UserError, match="law"):
        FUNCTIONS.ideal("moral")  # pyright: ignore[reportArgumentType]
    with pytest.raises(el.UserError, match="nope"):
        FUNCTIONS.bounds("nope")


def test_the_ideal_predictor_of_functions_of_the_document():
    scopes = el.load_grammar("scopes")
    law = np.exp(
        scopes.ideal(hypotheses=50).log_probabilities(np.array([[0]], dtype=np.uint16)).astype(float)
    )
    assert law.sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(el.UserError, match="anew"):
        scopes.bounds("fresh")
