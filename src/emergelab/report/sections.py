"""A page made of sections: what follows from it first, then figures and tables under their titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl
from polars import selectors

from emergelab.report import shell, theme
from emergelab.report.figures import Figure
from emergelab.report.plots import MEANINGS

_SIZES = 4


class Drawn(Protocol):
    """What becomes a figure of the page: a `Plot`, for example."""

    def figure(self) -> Figure:
        """Return the figure with its drawing."""
        ...


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the page: cells as text, the first of each row its head.

    `whole`, where there is one, is written as CSV beside the page under `name`; lists in it become `a+b`. Cells of a
    table of `prose` are sentences and wrap; a `folded` table opens on a click.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str
    name: str | None = None
    whole: pl.DataFrame | None = None
    prose: bool = False
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page; `text` has an empty line between paragraphs, `name` is its anchor.

    What was `found` stands first, a sentence each.
    """

    name: str
    title: str
    text: str
    figures: Sequence[Drawn] = ()
    tables: Sequence[Table] = ()
    found: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands above and below the sections.

    `found` comes first, sentences under the question that they answer; `settings` say how the page was made.
    """

    mark: str
    title: str
    lead: str
    found_title: str
    found: Mapping[str, Sequence[str]]
    settings: Mapping[str, str] = field(default_factory=dict[str, str])


def write_sections_page(head: Head, sections: Sequence[Section], directory: Path) -> Path:
    """Write `index.html`, `figures/` and `tables/` into `directory` and return the page's path.

    Raises `ArtifactError` where the folder holds something else than a page, or cannot be written.
    """
    return shell.replaced(directory, lambda folder: _write(head, sections, folder))


def _write(head: Head, sections: Sequence[Section], folder: Path) -> None:
    figures = folder / "figures"
    figures.mkdir()
    colours = theme.palette("light", _SIZES)
    drawn: list[dict[str, object]] = []
    for section in sections:
        made = [plot.figure() for plot in section.figures]
        for figure in made:
            shell.write_figure(figure, figures, colours)
        drawn.append(
            {
                "name": section.name,
                "title": section.title,
                "text": section.text,
                "found": section.found,
                "figures": [shell.shown(figure, MEANINGS) for figure in made],
                "tables": section.tables,
            }
        )
    _write_tables(sections, folder / "tables")
    page = shell.rendered("sections.html.j2", _SIZES, head=head, sections=drawn)
    (folder / "index.html").write_text(page, encoding="utf-8")


def _write_tables(sections: Sequence[Section], folder: Path) -> None:
    whole = {table.name: table.whole for section in sections for table in section.tables if table.name}
    if not whole:
        return
    folder.mkdir()
    for name, frame in whole.items():
        if frame is not None:
            flat = frame.with_columns(selectors.list().list.join("+"))
            flat.write_csv(folder / f"{name}.csv")
