"""Writes the page of a table of outcomes: verdict first, the evidence behind it, faults of the data named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from emergelab.outcomes.schema import Outcomes, cells
from emergelab.report import words
from emergelab.report.sections import Head, Section, Table, write_sections_page


@dataclass(frozen=True, kw_only=True)
class PageInput:
    """What the page is made from."""

    outcomes: Outcomes
    settings: dict[str, str]


def write_outcomes_page(content: PageInput, directory: Path) -> Path:
    """Write `index.html`, `figures/` and `tables/` into `directory` and return the page's path.

    Raises `ArtifactError` where the folder holds something else than a page, or cannot be written.
    """
    head = Head(
        mark="skills of systems",
        title=f"Skills of {words.listing(content.outcomes.frame['system'].unique().sort().to_list())}",
        lead="",
        found_title="Verdict",
        found={},
        settings=content.settings,
    )
    return write_sections_page(head, [_data(content.outcomes)], directory)


def _data(outcomes: Outcomes) -> Section:
    """Return what was measured of whom."""
    places = cells(outcomes.frame)
    rows = [_system(part) for part in places.partition_by("system", maintain_order=True)]
    return Section(
        name="data",
        title="What was measured",
        text=" ".join(outcomes.notes),
        tables=[
            Table(
                title="Systems",
                columns=("System", "parameters", "checkpoints", "training tokens", "answers"),
                rows=rows,
                note="A checkpoint is a system at one point of its training.",
                name="checkpoints",
                whole=places,
            )
        ],
    )


def _system(part: pl.DataFrame) -> tuple[str, ...]:
    params, tokens = (sorted(set(part[name].drop_nulls())) for name in ("params", "train_tokens"))
    ends = tokens[:1] + tokens[1:][-1:]
    return (
        part["system"][0],
        words.listing([words.count(value) for value in params]) or words.MISSING,
        str(part.height),
        " to ".join(words.count(value) for value in ends) or words.MISSING,
        f"{part['answers'].sum():,}",
    )
