"""The report on disk: complete, self-contained, safe with whatever users wrote, and never half written."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from emergelab.errors import ArtifactError
from emergelab.report import page, shell
from emergelab.report.content import ReportInput, Sample
from emergelab.report.page import write_report
from report_tables import Design, report_input

TINY = Design(layers=(1, 4), tokens=(3_000_000, 6_000_000), shots=2, prompts=12)
HOSTILE = "</script><img src=x onerror=alert(1)>&<!--{{7*7}}${alert`1`}'\"\u2028"
PNG_START = b"\x89PNG\r\n\x1a\n"

# One process runs all of these, so that the pages are written once.
pytestmark = pytest.mark.xdist_group("report")


class Reader(HTMLParser):
    """Collects elements, their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text: list[str] = []
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002  the parser's signature
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self._inside != "style":
            self.text.append(data)


def nothing(title: str) -> ReportInput:
    """Return what a study without any result leaves."""
    made = report_input(TINY)
    tables = {name: getattr(made, name).clear() for name in ("items", "scores", "curves", "losses")}
    return ReportInput(title=title, **tables, samples=[], run={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(report_input(TINY), tmp_path_factory.mktemp("made") / "report").parent


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    content = report_input(TINY)
    rename = {"task": pl.col("task").replace("pair", HOSTILE), "predictor": pl.lit(HOSTILE)}
    tables = {name: getattr(content, name).with_columns(**rename) for name in ("items", "scores", "curves")}
    record = {
        "study_text": HOSTILE,
        "study": {HOSTILE: HOSTILE},
        "grammar_text": HOSTILE,
        "grammar_name": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
        "machine": {HOSTILE: HOSTILE},
        "notes": [HOSTILE],
    }
    made = report_input(
        TINY,
        **tables,
        title=HOSTILE,
        run=record,
        samples=[Sample(tokens=[(HOSTILE, HOSTILE)], variant=HOSTILE)],
    )
    with pytest.MonkeyPatch.context() as patch:  # the page alone: what is beside it is not asked here
        patch.setattr(shell, "svg", lambda *_: "")
        patch.setattr(shell, "png", lambda _: b"")
        path = write_report(made, tmp_path_factory.mktemp("hostile") / "report")
    return Reader(path.read_text(encoding="utf-8"))


def test_every_figure_is_there_as_svg_png_and_csv(folder: Path):
    page_text = (folder / "index.html").read_text(encoding="utf-8")
    links = set(re.findall(r'href="(figures/[^"]+)"', page_text))
    files = {f"figures/{path.name}" for path in (folder / "figures").iterdir()}
    assert links == files
    assert {Path(name).suffix for name in files} == {".svg", ".png", ".csv"}
    assert len(files) == 8 * 3
    for path in (folder / "figures").glob("*.svg"):
        assert path.read_text(encoding="utf-8").startswith("<svg")
    for path in (folder / "figures").glob("*.png"):
        assert path.read_bytes().startswith(PNG_START)


def test_png_has_twice_the_size_of_svg(folder: Path):
    for path in (folder / "figures").glob("*.png"):
        head = path.with_suffix(".svg").read_text(encoding="utf-8")[:600]
        width = float(re.search(r'width="([\d.]+)"', head)[1])
        assert int.from_bytes(path.read_bytes()[16:20], "big") == pytest.approx(2 * width, abs=2)


def test_csv_files_hold_what_the_tables_say(folder: Path):
    shown = pl.read_csv(folder / "figures" / "training-loss.csv")
    assert shown["loss"].to_list() == pytest.approx(report_input(TINY).losses["loss"].to_list())


def test_exported_drawings_name_no_css_variable(folder: Path):
    for path in (folder / "figures").glob("*.svg"):
        assert "var(--" not in path.read_text(encoding="utf-8")


def test_the_page_asks_for_nothing_from_elsewhere(folder: Path):
    reader = Reader((folder / "index.html").read_text(encoding="utf-8"))
    sources = [
        value for _, attributes in reader.elements for name, value in attributes.items() if name == "src"
    ]
    assert sources == []
    targets = [attributes["href"] for _, attributes in reader.elements if "href" in attributes]
    assert all(re.match(r"#|figures/|data:,$", str(target)) for target in targets)


def test_the_policy_allows_these_very_scripts_and_no_connection(folder: Path):
    reader = Reader((folder / "index.html").read_text(encoding="utf-8"))
    policy = next(
        str(attributes["content"])
        for tag, attributes in reader.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    running = [text for attributes, text in reader.scripts if attributes.get("type") != "application/json"]
    digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running}
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert set(re.findall(r"'sha256-([^']+)'", rules["script-src"])) == digests
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    assert "unsafe-eval" not in policy


def test_each_chart_has_a_name_words_and_a_table(folder: Path):
    reader = Reader((folder / "index.html").read_text(encoding="utf-8"))
    charts = [attributes for _, attributes in reader.elements if "data-chart" in attributes]
    data = {
        attributes["id"] for attributes, _ in reader.scripts if attributes.get("type") == "application/json"
    }
    assert {attributes["data-chart"] for attributes in charts} == data
    assert all(
        attributes["role"] == "img" and len(str(attributes["aria-label"])) > 80 for attributes in charts
    )
    tables = [attributes for tag, attributes in reader.elements if attributes.get("class") == "data"]
    assert len(tables) == len(charts) == 8


def test_identifiers_are_unique_and_links_within_the_page_lead_somewhere(folder: Path):
    reader = Reader((folder / "index.html").read_text(encoding="utf-8"))
    names = [str(attributes["id"]) for _, attributes in reader.elements if "id" in attributes]
    inner = {
        str(attributes["href"])[1:]
        for _, attributes in reader.elements
        if str(attributes.get("href"))[0] == "#"
    }
    assert len(names) == len(set(names))
    assert inner <= set(names)


def test_what_users_wrote_makes_no_element_and_no_script(hostile: Reader):
    assert [tag for tag, _ in hostile.elements if tag == "img"] == []
    assert [name for _, attributes in hostile.elements for name in attributes if name.startswith("on")] == []
    running = [text for attributes, text in hostile.scripts if attributes.get("type") != "application/json"]
    assert len(running) == 2
    assert all("alert(1)" not in text for text in running)


def test_what_users_wrote_is_shown_as_written(hostile: Reader):
    assert HOSTILE in "".join(hostile.text)


def test_data_with_hostile_names_survive_their_embedding(hostile: Reader):
    data = [text for attributes, text in hostile.scripts if attributes.get("type") == "application/json"]
    assert data
    tasks = {
        row["task"]
        for text in data
        for rows in json.loads(text)["datasets"].values()
        for row in rows
        if "task" in row
    }
    assert tasks == {"single", HOSTILE}


def test_an_old_report_gives_way_to_a_new_one(tmp_path: Path):
    directory = tmp_path / "report"
    write_report(nothing("first"), directory)
    path = write_report(nothing("second"), directory)
    assert "<h1>second</h1>" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("broken", ["svg", "png", "render"])
def test_an_old_report_stays_when_the_new_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
):
    directory = tmp_path / "report"
    directory.mkdir()
    (directory / "index.html").write_text("old", encoding="utf-8")

    def fail(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page if broken == "render" else shell, broken, fail)
    with pytest.raises(ArtifactError, match="No space left on device"):
        write_report(report_input(TINY), directory)
    assert (directory / "index.html").read_text(encoding="utf-8") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"]


def test_an_old_report_comes_back_when_the_swap_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    directory = tmp_path / "report"
    directory.mkdir()
    (directory / "index.html").write_text("old", encoding="utf-8")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target == directory and not self.name.endswith("-old"):
            raise OSError(16, "Device or resource busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ArtifactError, match="busy"):
        write_report(nothing("new"), directory)
    assert (directory / "index.html").read_text(encoding="utf-8") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"]


def test_a_folder_with_other_things_in_it_is_not_overwritten(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years", encoding="utf-8")
    with pytest.raises(ArtifactError, match="something else than a report"):
        write_report(report_input(TINY), tmp_path)
    assert (tmp_path / "thesis.tex").read_text(encoding="utf-8") == "years"


def test_a_file_in_the_way_is_named(tmp_path: Path):
    (tmp_path / "report").write_text("", encoding="utf-8")
    with pytest.raises(ArtifactError, match="something else than a report"):
        write_report(report_input(TINY), tmp_path / "report")


def test_a_table_without_a_column_is_refused():
    content = report_input(TINY)
    with pytest.raises(ArtifactError, match="'losses' has no column loss"):
        report_input(TINY, losses=content.losses.drop("loss"))


def test_an_empty_study_still_makes_a_page(tmp_path: Path):
    text = write_report(nothing("nothing"), tmp_path / "report").read_text(encoding="utf-8")
    assert "No trained model was scored" in text
    assert "no training loss was recorded" in html.unescape(text)
    assert list((tmp_path / "report" / "figures").iterdir()) == []
