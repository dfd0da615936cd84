"""Writes the page of a table of outcomes: verdict first, the evidence behind it, faults of the data named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from emergelab.analysis.skills.along_training import AlongTraining
from emergelab.analysis.skills.composed import Composed
from emergelab.analysis.skills.tables import CompetenceTables
from emergelab.outcomes.findings import Finding
from emergelab.outcomes.schema import Outcomes, cells
from emergelab.report import words
from emergelab.report.outcomes import (
    competence,
    composition,
    composition_words,
    emerging,
    emerging_words,
    screens,
    verdict,
)
from emergelab.report.sections import Head, Section, Table, write_sections_page

_TRUST = "Can the data bear conclusions?"
_HAVE = "Which skills do the systems have?"
_HOLD = "Do skills compose as theory says?"


@dataclass(frozen=True, kw_only=True)
class PageInput:
    """What the page is made from: a table, and what each analysis found in it."""

    outcomes: Outcomes
    findings: Sequence[Finding]
    competence: CompetenceTables
    composition: Composed
    training: AlongTraining
    settings: Mapping[str, str]


def write_outcomes_page(content: PageInput, directory: Path) -> Path:
    """Write `index.html`, `figures/` and `tables/` into `directory` and return the page's path.

    Raises `ArtifactError` where the folder holds something else than a page, or cannot be written.
    """
    along = emerging_words.findings(content.training)
    sections = [
        screens.section(content.findings),
        competence.section(content.competence),
        composition.section(content.composition),
        emerging.section(content.training),
        _data(content.outcomes),
    ]
    systems = content.outcomes.frame["system"].unique().sort().to_list()
    head = Head(
        mark="skills of systems",
        title=f"Skills of {words.listing(systems)}",
        lead="Which skills and which combinations of them these systems have, whether they emerged or the metric "
        "jumped, whether skills compose as theory says, and what more training will bring.",
        found_title="Verdict",
        found={
            _TRUST: verdict.trust(content.findings, content.outcomes.frame["task"].n_unique()),
            _HAVE: verdict.have(content.competence),
            _HOLD: composition_words.headlines(content.composition),
            emerging_words.EMERGED: [*along[emerging_words.EMERGED], *along[emerging_words.ORDER][:1]],
            emerging_words.AHEAD: along[emerging_words.AHEAD],
        },
        settings=content.settings,
    )
    return write_sections_page(head, sections, directory)


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
