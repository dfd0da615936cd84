"""Writes a report: one self-contained page, and each figure as SVG, PNG and CSV beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emergelab.report import (
    account,
    against_words,
    emerging_words,
    facts,
    printing_words,
    shell,
    tasks,
    theme,
)
from emergelab.report.content import ReportInput
from emergelab.report.figures import Figure, figures, threshold_figures
from emergelab.report.information import MEANINGS
from emergelab.report.known import skill_figures
from emergelab.report.plots import MEANINGS as PLOTTED
from emergelab.report.series import Prepared, prepare


def write_report(content: ReportInput, directory: Path) -> Path:
    """Write `index.html` and `figures/` into `directory` and return the page's path.

    The report is made in a folder beside it and takes the place of an old one only when it is whole. Raises
    `ArtifactError` where the folder holds something else than a report, or cannot be written.
    """
    return shell.replaced(directory, lambda folder: _write(content, folder))


def render(
    content: ReportInput,
    prepared: Prepared,
    drawn: list[Figure],
    thresholds: Sequence[Figure] = (),
    known: Sequence[Figure] = (),
) -> str:
    """Return the page's HTML. Everything that users wrote is escaped, in the embedded data too.

    `known` are the figures of skills on text-pieces, before those `drawn`; `thresholds` those of what emerges where.
    """
    return shell.rendered(
        "page.html.j2",
        prepared.colours,
        **account.account(content, prepared),
        verdict=facts.verdict(
            prepared,
            content.run.get("overlap", {}),
            [against_words.gap_sentence(prepared), printing_words.sentence(prepared)],
        ),
        printing=printing_words.gains_table(prepared),
        figures=[
            *(shell.shown(figure, PLOTTED) for figure in known),
            *(shell.shown(figure, MEANINGS) for figure in drawn),
        ],
        emerging=_emerging(content, prepared, [*known, *drawn], thresholds),
        absent=[
            {"title": figure.information.title, "reason": figure.information.absent}
            for figure in drawn
            if figure.specification is None
        ],
    )


def _emerging(
    content: ReportInput, prepared: Prepared, drawn: list[Figure], thresholds: Sequence[Figure]
) -> dict[str, Any] | None:
    """Return the section on what emerges where, its figures numbered behind the others."""
    section = emerging_words.section(content, prepared)
    if section is None:
        return None
    before = sum(figure.specification is not None for figure in drawn)
    return {
        **section,
        "figures": [shell.shown(figure, MEANINGS) for figure in thresholds],
        "first": before + 1,
    }


def _write(content: ReportInput, folder: Path) -> None:
    prepared = prepare(content)
    drawn, thresholds = figures(prepared), threshold_figures(prepared)
    known = skill_figures(content)
    page = render(content, prepared, drawn, thresholds, known)
    (folder / "index.html").write_text(page, encoding="utf-8")
    (folder / "figures").mkdir()
    colours = theme.palette("light", prepared.colours)
    for figure in (*known, *drawn, *thresholds):
        if figure.specification is not None:
            shell.write_figure(figure, folder / "figures", colours)
    if content.emergence is not None and content.emergence.height:
        content.emergence.write_csv(folder / "figures" / "emergence.csv")
    table = tasks.tasks(prepared)
    if table.height:
        table.select(tasks.COLUMNS).write_csv(folder / "figures" / "tasks.csv")
