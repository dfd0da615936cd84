"""The page in a real browser: drawn, silent, offline, fit for a phone and for the dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import chromium
from emergelab.report.content import ReportInput, Sample
from emergelab.report.page import write_report
from report_tables import Design, report_input, with_theory

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        chromium.find() is None, reason="no Chromium here: the page was not looked at in a browser"
    ),
    pytest.mark.xdist_group("page"),  # one process runs all of these, so that the pages are written once
]

TINY = Design(layers=(1, 2, 4), tokens=(3_000_000, 6_000_000), shots=3, prompts=12)
HOSTILE = "</script><img src=https://example.org/x onerror=alert(1)>&<!--'\"\u2028"
MARKS = "[...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('svg [role=graphics-symbol]').length)"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def written(content: ReportInput, folder: Path) -> Path:
    """Write the page and no figures beside it: the browser draws its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emergelab.report.shell.svg", lambda *_: "")
        patch.setattr("emergelab.report.shell.png", lambda _: b"")
        return write_report(content, folder)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(report_input(TINY), tmp_path_factory.mktemp("page") / "report")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = report_input(TINY)
    rename = pl.col("task").replace("pair", HOSTILE)
    tables = {
        name: getattr(content, name).with_columns(task=rename) for name in ("items", "scores", "curves")
    }
    made = report_input(
        TINY, **tables, title=HOSTILE, samples=[Sample(tokens=[(HOSTILE, HOSTILE)], variant=HOSTILE)]
    )
    return written(made, tmp_path_factory.mktemp("hostile") / "report")


@pytest.mark.parametrize("width", [1280, 768, 390])
def test_every_chart_is_drawn_in_silence_and_nothing_is_fetched(
    page: chromium.Page, report: Path, width: int
):
    page.events.clear()
    page.open(report, width=width)
    marks = page.value(MARKS)
    assert len(marks) == 8
    assert all(count > 0 for count in marks)
    assert page.complaints() == []
    assert page.requests() == [report.as_uri()]


@pytest.mark.parametrize("crowded", [False, True])
def test_studies_of_settings_are_drawn_in_silence_and_fit_a_phone(
    page: chromium.Page, tmp_path: Path, *, crowded: bool
):
    silent, rates = (0.1, 0.9), (0.005, 0.01, 0.02, 0.04) if crowded else (0.01, 0.02)
    variants = tuple(f"pair.silent={a}, matrix_learning_rate={b}" for a in silent for b in rates)
    design = Design(layers=(1, 4), tokens=(3_000_000,), shots=1, prompts=8, variants=variants)
    path = written(report_input(design), tmp_path / "report")
    for width in (1280, 390):
        page.events.clear()
        page.open(path, width=width)
        marks = page.value(MARKS)
        assert len(marks) == 9  # of the eight, all but that over tokens; two over settings
        assert all(count > 0 for count in marks)
        assert page.complaints() == []
        assert page.value(OVERFLOW) == 0


@pytest.mark.parametrize("apart", [False, True])
def test_ideal_predictors_bounds_and_gaps_are_drawn_in_silence_and_fit_a_phone(
    page: chromium.Page, tmp_path: Path, *, apart: bool
):
    variants = ("pair.silent=0.1", "pair.silent=0.9") if apart else (None,)
    design = Design(layers=(1, 4), tokens=(3_000_000, 6_000_000), shots=2, prompts=8, variants=variants)
    path = written(with_theory(design, alike=not apart), tmp_path / "report")
    for width in (1280, 390):
        page.events.clear()
        page.open(path, width=width)
        marks = page.value(MARKS)
        assert len(marks) == 11 + apart  # the eight, three of the theory, one over the setting
        assert all(count > 0 for count in marks)
        assert page.complaints() == []
        assert page.value(OVERFLOW) == 0
        rows = page.value("document.querySelectorAll('table.tasks tbody tr').length")
        assert rows == len(design.panels) * len(variants)


@pytest.mark.parametrize("width", [1280, 768, 390, 320])
def test_nothing_overflows(page: chromium.Page, report: Path, width: int):
    page.open(report, width=width)
    assert page.value(OVERFLOW) == 0
    beyond = (
        "[...document.querySelectorAll('.chart')].map(c => c.firstElementChild.scrollWidth - c.clientWidth)"
    )
    assert max(page.value(beyond)) <= 1


def test_charts_fill_the_width_they_are_given_again_when_it_changes(page: chromium.Page, report: Path):
    widths = (
        "[...document.querySelectorAll('.chart svg')].map(s => Math.round(s.getBoundingClientRect().width))"
    )
    page.open(report, width=1280)
    wide = page.value(widths)
    page.resize(390)
    page.wait(f"Math.max(...{widths}) < 390")
    narrow = page.value(widths)
    assert min(wide) > 800
    assert min(narrow) > 240


def test_the_dark_changes_page_and_charts_with_no_redrawing(page: chromium.Page, report: Path):
    page.open(report)
    colours = (
        "[getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('.chart svg .mark-symbol path')).fill,"
        " getComputedStyle(document.querySelector('.chart svg text')).fill]"
    )
    page.value("document.querySelector('.chart svg').dataset.same = 'yes'")
    light = page.value(colours)
    page.scheme("dark")
    dark = page.value(colours)
    assert all(first != second for first, second in zip(light, dark, strict=True))
    assert page.value("document.querySelector('.chart svg').dataset.same") == "yes"
    assert all(colour.startswith("rgb(") for colour in light + dark)


def test_the_button_overrides_what_the_system_prefers(page: chromium.Page, report: Path):
    background = "getComputedStyle(document.body).backgroundColor"
    page.open(report, scheme="dark")
    dark = page.value(background)
    page.value("document.getElementById('theme').click()")
    light = page.value(background)
    page.value("document.getElementById('theme').click()")
    assert page.value(background) == dark != light


def test_a_hover_tells_the_numbers_of_a_point(page: chromium.Page, report: Path):
    page.open(report)
    page.value("document.querySelector('#emergence-over-size').scrollIntoView({behavior: 'instant'})")
    place = page.value(
        "(() => { const point = document.querySelector('#emergence-over-size .role-mark.mark-symbol path');"
        " const b = point.getBoundingClientRect();"
        " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    for x in (place[0] - 3, place[0]):
        page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=place[1])
    page.wait("document.getElementById('vg-tooltip-element')?.classList.contains('visible')")
    said = page.value("document.getElementById('vg-tooltip-element').innerText")
    assert "1 layer" in said
    assert "95 % from" in said
    assert page.complaints() == []


def test_names_that_users_wrote_run_nothing_in_charts_and_tooltips(page: chromium.Page, hostile: Path):
    page.events.clear()
    page.open(hostile)
    assert all(count > 0 for count in page.value(MARKS))
    assert page.value("document.images.length") == 0
    assert page.value(
        "[...document.querySelectorAll('svg text')].some(t => t.textContent.includes('</script>'))"
    )
    assert page.complaints() == []
    assert page.requests() == [hostile.as_uri()]


def test_the_policy_stops_what_would_reach_the_network(page: chromium.Page, report: Path):
    page.open(report)
    tried = "fetch('https://example.org/').then(() => 'reached', () => 'stopped')"
    assert page.value(tried) == "stopped"
    reasons = [str(event) for event in page.complaints()]
    assert any("Content Security Policy" in reason for reason in reasons)
    page.events.clear()


def test_everything_is_reached_by_keyboard_and_every_chart_has_a_table(page: chromium.Page, report: Path):
    page.open(report)
    page.value("document.querySelector('#shot-curves summary').focus()")
    for kind in ("keyDown", "keyUp"):
        page.send(
            "Input.dispatchKeyEvent",
            type=kind,
            key="Enter",
            code="Enter",
            windowsVirtualKeyCode=13,
            text="\r",
        )
    page.wait("document.querySelector('#shot-curves details').open")
    assert page.value("document.querySelectorAll('#shot-curves table tbody tr').length") > 50
