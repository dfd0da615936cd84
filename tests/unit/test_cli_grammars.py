"""Parameters of grammars on the command line."""

import json
from pathlib import Path

import pytest

from study_runs import command, refused

NAMED = """
parameter pair.silent = 0.6
parameter size = 4
world { objects size  family f size permutations }
rule Document = Statement* stop 0.1
rule Statement = each x ~ objects, stop 0.2 { x Pair(x) ";" }
rule Pair(x) = pair.silent: let a ~ f, b ~ f { b(a(x)) } | 1 - pair.silent: let a ~ f, b ~ f { a(x) b(a(x)) }
"""
WRITTEN = """
world { objects 5  family f 5 permutations }
rule Document = Statement* stop 0.1
rule Statement = each x ~ objects, stop 0.2 { x Pair(x) ";" }
rule Pair(x) = 0.1: let a ~ f, b ~ f { b(a(x)) } | 0.9: let a ~ f, b ~ f { a(x) b(a(x)) }
"""
SETTINGS = ("--set", "size=5", "--set", "pair.silent=0.1")


@pytest.fixture
def named(tmp_path: Path) -> Path:
    path = tmp_path / "named.cag"
    path.write_text(NAMED, encoding="utf-8")
    return path


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "written.cag"
    path.write_text(WRITTEN, encoding="utf-8")
    return path


def test_documents_are_those_of_the_grammar_with_its_numbers_written_out(named: Path, written: Path):
    sample = ("grammar", "sample", "--length", "40", "--json")
    assert command(*sample, named, *SETTINGS).out == command(*sample, written).out
    assert command(*sample, named).out != command(*sample, written).out


def test_show_tells_values_and_defaults(named: Path, written: Path):
    shown = json.loads(command("grammar", "show", named, *SETTINGS, "--json").out)
    assert shown.pop("parameters") == [
        {"name": "pair.silent", "value": 0.1, "default": 0.6},
        {"name": "size", "value": 5.0, "default": 4.0},
    ]
    plain = json.loads(command("grammar", "show", written, "--json").out)
    assert plain.pop("parameters") == []
    assert shown | {"name": "written"} == plain


def test_show_as_a_table(named: Path):
    lines = command("grammar", "show", named, "--set", "size=5").out.splitlines()
    assert [line.split() for line in lines if line.startswith((" size", " pair.silent"))] == [
        ["pair.silent", "0.6"],
        ["size", "5", "4"],
    ]


@pytest.mark.parametrize("verb", ["check", "show", "sample"])
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("size=x", "A parameter is set like this: NAME=NUMBER"),
        (
            "sise=5",
            "The grammar has no parameter 'sise'. Its parameters are pair.silent, size. Did you mean 'size'?",
        ),
        ("size=5.5", "named.cag:4:17: found size = 5.5, expected a whole number."),
        ("pair.silent=2", "In force: pair.silent = 2 (by default 0.6)."),
    ],
)
def test_settings_that_do_not_fit(named: Path, verb: str, setting: str, words: str):
    assert words in refused("grammar", verb, named, "--set", setting)


def test_a_good_setting(named: Path):
    assert command("grammar", "check", named, "--set", "pair.silent=0").code == 0
