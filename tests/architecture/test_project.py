"""What the project's files say of it agrees."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import emergelab

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# What is for development takes the other extras in by the project's own name; fuzzing stands apart.
NEEDED = [line for name, lines in EXTRAS.items() if name != "fuzz" for line in lines]
REQUIREMENTS = [
    requirement
    for requirement in map(Requirement, [*PROJECT["dependencies"], *NEEDED])
    if requirement.name != "emergelab"
]
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = [Requirement(line) for line in LINES if line and not line.startswith("#")]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_a_dependency_is_pinned_within_its_bounds(requirement: Requirement):
    pins = [pin for pin in PINS if canonicalize_name(pin.name) == canonicalize_name(requirement.name)]
    versions = [next(iter(pin.specifier)) for pin in pins]
    assert [version.operator for version in versions] == ["=="]
    assert requirement.specifier.contains(versions[0].version)


def test_every_pin_is_exact_and_names_a_release_of_any_platform():
    specifiers = [list(pin.specifier) for pin in PINS]
    assert all(
        len(each) == 1 and each[0].operator == "==" and "+" not in each[0].version for each in specifiers
    )


def test_the_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = re.search(r"^version: (\S+)$", citation, re.MULTILINE)
    assert cited is not None
    assert PROJECT["version"] == emergelab.__version__ == cited[1]


def test_the_makefile_says_what_each_target_does():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE)) == set(phony[1].split())
