"""Commands about grammars, the catalogue, help, and what happens to options that do not exist."""

import json
from contextlib import chdir
from pathlib import Path

import pytest

from study_runs import GRAMMAR, command, refused

COMMANDS = [[], ["grammar"], ["run"], ["results"], ["report"], ["list"]]
COMMANDS += [["grammar", name] for name in ("check", "show", "sample")]


@pytest.fixture
def grammar(tmp_path: Path) -> Path:
    path = tmp_path / "mine.cag"
    path.write_text(GRAMMAR, encoding="utf-8")
    return path


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_says_what_a_command_is_for(words: list[str]):
    answer = command(*words, "--help")
    assert answer.code == 0
    assert answer.errors == ""
    assert f"Usage: emergelab{''.join(f' {word}' for word in words)}" in answer.out


def test_a_good_grammar(grammar: Path):
    answer = command("grammar", "check", grammar)
    assert answer.code == 0
    assert answer.out == f"{grammar} is a valid grammar: 3 rules, tasks: single, pair, inverse.\n"


@pytest.mark.parametrize("verb", ["check", "show", "sample"])
@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", ""),
        ("import os", "mine.cag:1:1"),
        (GRAMMAR.replace("stop 0.1", "stop 1.2"), "1.2"),
        (GRAMMAR.replace("a(x) }\n", "__import__('os').system('touch made') }\n", 1), "mine.cag:6:"),
        ("world { objects " + "9" * 400 + " }", ""),
        ("(" * 50_000, "mine.cag:1:41"),
    ],
    ids=["empty", "python", "number", "code", "huge-number", "deep"],
)
def test_a_bad_grammar(grammar: Path, verb: str, text: str, part: str):
    grammar.write_text(text, encoding="utf-8")
    with chdir(grammar.parent):
        message = refused("grammar", verb, grammar)
    assert part in message
    assert [path.name for path in grammar.parent.iterdir()] == ["mine.cag"]


def test_show_as_json(grammar: Path):
    shown = json.loads(command("grammar", "show", grammar, "--json").out)
    assert shown["world"]["objects"] == 5
    probabilities = {
        rule["name"]: [way["probability"] for way in rule["productions"]] for rule in shown["rules"]
    }
    assert probabilities == {"Document": [1.0], "Statement": [1.0], "Value": [0.5, 0.3, 0.2]}
    assert "mine: 5 objects" in command("grammar", "show", grammar).out


def test_samples_as_json(grammar: Path):
    options = ("-n", "5", "--length", "20", "--json")
    texts = [command("grammar", "sample", grammar, "--seed", seed, *options).out for seed in "011"]
    assert texts[1] == texts[2] != texts[0]
    documents = json.loads(texts[0])
    assert len(documents) == 5
    for document in documents:
        labels = {name: len(document[name]) for name in ("tokens", "roles", "statements", "rows", "skills")}
        assert set(labels.values()) == {len(document["tokens"])}
        assert len(document["tokens"]) <= 20
        assert document["whole"] == (document["tokens"][-1] == "<end>")


def test_samples_for_people(grammar: Path):
    out = command("grammar", "sample", grammar, "-n", "2").out
    headings = [line.split(",")[0] for line in out.splitlines() if line.startswith("document ")]
    assert headings == ["document 0", "document 1"]
    assert "\x1b" not in out


def test_the_catalogue():
    entries = json.loads(command("list", "--json").out)
    assert {"quickstart", "functions", "pairs"} <= {entry["name"] for entry in entries["studies"]}
    assert {"functions", "pairs"} <= {entry["name"] for entry in entries["grammars"]}
    assert all(entry["about"].endswith(".") for row in entries.values() for entry in row)
    assert "quickstart" in command("list").out


def test_the_version():
    assert command("--version").out.count(".") == 2


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("nope", "nope"),
        ("run", "NAME|FILE"),
        ("run quickstart --frob", "--frob"),
        ("run quickstart --workers 0", "--workers"),
        ("run quickstart --workers many", "--workers"),
        ("results", "RUN_DIR"),
        ("results . --format xml", "xml"),
        ("grammar sample functions -n 0", "-n"),
        ("grammar sample functions --seed -1", "--seed"),
        ("grammar sample functions --length 1e9", "--length"),
    ],
)
def test_a_wrong_option(words: str, part: str):
    answer = command(*words.split())
    assert answer.code == 2
    assert answer.out == ""
    assert part in answer.errors
    assert "Traceback" not in answer.errors


def test_a_law_that_is_none():
    assert "'half'" in refused("grammar", "sample", "functions", "--law", "half")


@pytest.mark.parametrize("verb", ["results", "report"])
@pytest.mark.parametrize("name", ["nowhere", "file", ".", "file/below"])
def test_a_folder_that_is_no_run(verb: str, name: str, tmp_path: Path):
    (tmp_path / "file").touch()
    assert "is no run's folder" in refused(verb, tmp_path / name)


@pytest.mark.parametrize(
    "words",
    [("store", "list", "{}"), ("model", "list", "{}"), ("corpus", "export", "functions", "--out", "{}")],
)
def test_names_that_no_file_can_have(words: tuple[str, ...]):
    """A name has 255 bytes at most (limits.h: NAME_MAX)."""
    assert "too long" in refused(*(word.format("a" * 300) for word in words))
