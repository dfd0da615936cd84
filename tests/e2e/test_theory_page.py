"""The page of skills in theory in a real browser: drawn, silent, offline, fit for a phone and for the dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import chromium
from emergelab.report.skills.page import write_skills_page
from skill_tables import content

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        chromium.find() is None, reason="no Chromium here: the page was not looked at in a browser"
    ),
    pytest.mark.xdist_group("page"),
]

CHARTS = 11
MARKS = "[...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('svg [role=graphics-symbol]').length)"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BEYOND = "[...document.querySelectorAll('.chart')].map(c => c.firstElementChild.scrollWidth - c.clientWidth)"
BACKGROUND = "getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(scope="module")
def theory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emergelab.report.shell.svg", lambda *_: "")
        patch.setattr("emergelab.report.shell.png", lambda _: b"")
        return write_skills_page(content(), tmp_path_factory.mktemp("theory") / "page")


@pytest.mark.parametrize("width", [1280, 768, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_is_drawn_in_silence_and_fits(page: chromium.Page, theory: Path, width: int, scheme: str):
    page.events.clear()
    page.open(theory, width=width, scheme=scheme)
    marks = page.value(MARKS)
    assert len(marks) == CHARTS
    assert all(count > 0 for count in marks)
    assert page.complaints() == []
    assert page.requests() == [theory.as_uri()]
    assert page.value(OVERFLOW) == 0
    assert max(page.value(BEYOND)) <= 1


def test_the_dark_page_is_dark(page: chromium.Page, theory: Path):
    page.open(theory, scheme="light")
    light = sum(page.value(BACKGROUND))
    page.open(theory, scheme="dark")
    assert light > 3 * 200
    assert sum(page.value(BACKGROUND)) < 3 * 60


def test_names_are_shown_as_they_are(page: chromium.Page, theory: Path):
    page.open(theory)
    assert page.value("document.querySelectorAll('topic').length") == 0
    assert page.value("document.body.textContent.includes('<topic>')")
