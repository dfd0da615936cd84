"""The documentation says what the code does: commands, entries of studies, columns of tables, pages and pictures."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emergelab.recipes.grid import build_grid
from emergelab.recipes.hypothesis_spec import TESTS
from emergelab.recipes.study import find_study, read_study, shipped_studies
from emergelab.recipes.study_spec import Study
from pages import DOCS, commands_page

ROOT = DOCS.parent
SITE = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
STUDIES = (DOCS / "studies.md").read_text(encoding="utf-8")
SCHEMA = Study.model_json_schema()
# The grammar is a text or a table of names that it chooses itself: told in words.
APART = {"grammar", "grammar.name"}
BOUNDS = {
    "least": ("ge", "minimum"),
    "most": ("le", "maximum"),
    "above": ("gt", "exclusiveMinimum"),
    "below": ("lt", "exclusiveMaximum"),
}


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of the rows of tables whose first cell is code."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


# The command line


def test_the_page_on_the_command_line_is_what_the_commands_say():
    """`make pages` writes it anew."""
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == commands_page()


# Studies


def entries() -> dict[str, list[str]]:
    """Return what the code says of each entry: value, default, whether it is an axis."""
    found: dict[str, list[str]] = {}
    for name, schema in SCHEMA["properties"].items():
        if name == "hypotheses":  # they have a page of their own
            found[name] = ["tables", "none", ""]
            continue
        table = SCHEMA["$defs"].get(schema.get("$ref", "").rpartition("/")[2])
        if table is None:
            found[name] = described(name, schema)
            continue
        optional = "default" in schema
        found[name] = ["table", "" if optional else "needed", ""]
        found |= {
            f"{name}.{entry}": described(f"{name}.{entry}", one)
            for entry, one in table["properties"].items()
            if one["title"] != "Parameters"
        }
    return found


def described(name: str, schema: dict[str, Any]) -> list[str]:
    """Return value, default and axis of one entry."""
    (kind,) = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    several = kind["type"] == "array"
    default = schema.get("default")
    if several and default is not None:
        (default,) = default
    # Token counts are read along one run, tasks are asked of every model.
    axis = "yes" if several and name not in {"train.tokens", "evaluate.tasks"} else ""
    return [value(kind["items"] if several else kind), told_default(schema, default), axis]


def told_default(schema: dict[str, Any], default: Any) -> str:
    """Return what holds if the entry is left out."""
    if "default" not in schema:
        return "needed"
    return "none" if default is None else f"`{toml(default)}`"


def value(kind: dict[str, Any]) -> str:
    """Return in words what a value is."""
    if "enum" in kind:
        *first, last = (f'`"{word}"`' for word in kind["enum"])
        return f"{', '.join(first)} or {last}"
    if kind["type"] == "array":
        return f"two numbers {limits(kind['prefixItems'][0])}"
    words = {"integer": "whole number, ", "number": "number ", "string": "text"}[kind["type"]]
    return f"{words}{limits(kind)}".replace("number at least", "number, at least")


def limits(kind: dict[str, Any]) -> str:
    """Return the bounds of a number in words."""
    bound = {
        name: next((kind[word] for word in words if word in kind), None) for name, words in BOUNDS.items()
    }
    least, most, above, below = (bound[name] for name in ("least", "most", "above", "below"))
    if least is not None and most is not None:
        return f"{least:,} to {most:,}"
    low = f"from {least}" if least is not None and below is not None else f"at least {least}"
    low = f"above {above}" if above is not None else low if least is not None else ""
    high = f"below {below}" if below is not None else f"at most {most}" if most is not None else ""
    return ", ".join(part for part in (low, high) if part)


def toml(default: Any) -> str:
    """Write a default as a study does."""
    return f'"{default}"' if isinstance(default, str) else str(default)


def test_every_entry_of_a_study_stands_in_its_page_with_value_and_default():
    told = {cells[0].strip("`"): cells[1:4] for cells in rows(STUDIES)}
    said = entries()
    assert set(told) == set(said)
    assert {name: cells for name, cells in told.items() if name not in APART} == {
        name: cells for name, cells in said.items() if name not in APART
    }


def test_every_entry_has_a_meaning():
    assert all(len(cells) == 5 and cells[4] for cells in rows(STUDIES))


def test_the_example_of_a_study_has_the_cells_that_the_page_counts(tmp_path: Path):
    (example,) = re.findall(r"```toml\n(grammar = .*?)```", STUDIES, re.DOTALL)
    (tmp_path / "mine.toml").write_text(example, encoding="utf-8")
    study = read_study(find_study(str(tmp_path / "mine.toml")))
    assert f"{study.cells} *cells*" in STUDIES
    assert len(study.model.layers) * study.train.seeds * len(study.train.tokens) == study.cells


def test_the_examples_of_hypotheses_can_be_read_and_laid_out(tmp_path: Path):
    """The page's examples, in one study that has what they name."""
    page = (DOCS / "hypotheses.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    study = (
        'grammar = { name = "pairs", pair.silent = [0.1, 0.9] }\nmodel = { width = 16, heads = 2 }\n'
        "train = { tokens = [1e3, 2e3, 3e3, 4e3, 4.5e3, 6e3] }\n"
        'evaluate = { tasks = ["single", "pair"] }\nskills = { documents = 8 }\n'
    )
    one = "models = { pair.silent = 0.1 }\n"  # a curve is of one setting
    texts = [text + one if "axis" in text else text for text in examples]
    (tmp_path / "mine.toml").write_text(study + "\n".join(texts), encoding="utf-8")
    file = find_study(str(tmp_path / "mine.toml"))
    tests = [str(asked["kind"]) for asked in build_grid(file, read_study(file)).hypotheses]
    assert set(tests) == set(TESTS)


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_can_be_read(name: str):
    assert read_study(find_study(name)).cells > 0


# The site


def pages(nav: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the pages of a part of the navigation."""
    for entry in nav:
        for target in entry.values():
            yield from pages(target) if isinstance(target, list) else [target]


def test_every_page_stands_in_the_navigation_once():
    there = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert sorted(pages(SITE["nav"])) == there


def test_every_picture_of_a_page_is_there():
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"!\[[^\]]*\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"


def test_pages_take_nothing_from_other_servers():
    assert SITE["theme"]["font"] is False
    assert not any(
        name.startswith("http") for name in [*SITE.get("extra_css", []), *SITE.get("extra_javascript", [])]
    )
