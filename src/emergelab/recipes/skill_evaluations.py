"""Answers about evaluations of k-tuples as rows of data: novelty on a leaderboard, designs, jumps of learning."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from emergelab.analysis.design import Costs, Marks, designs, power
from emergelab.analysis.novelty import TextCorpus, judged
from emergelab.errors import UserError
from emergelab.recipes.skill_page import leaderboard
from emergelab.theory.curve_checks import share_of
from emergelab.theory.decoding import jump, unknown_share

_COLUMNS = ("model", "k", "full_marks")
_DESIGNS = 10


def novelty_rows(file: Path | None, corpus: TextCorpus, generations: int) -> list[dict[str, Any]]:
    """Judge a leaderboard, by default the shipped one, against a corpus; see `analysis.novelty.judged`."""
    board = leaderboard() if file is None else _read(file)
    return judged(board, corpus, generations).to_dicts()


def design_rows(marks: Marks, half_width: float, costs: Costs, above: float | None) -> list[dict[str, Any]]:
    """Return the cheapest designs, each with the power to show a success above `above`, None where not asked."""
    if above is not None:
        share_of("above", above)
    return [
        {**asdict(design), "power": None if above is None else power(marks, design, above)}
        for design in designs(marks, half_width, costs)[:_DESIGNS]
    ]


def decoding_row(texts: float | None, skills_per_text: float) -> dict[str, Any]:
    """Return where learning jumps, and the share unknown at `texts` for each skill where that is asked."""
    found = jump(skills_per_text)
    return {
        "skills_per_text": skills_per_text,
        "jump": None if found is None else asdict(found),
        "texts": texts,
        "unknown": None if texts is None else unknown_share(texts, skills_per_text),
    }


def _read(file: Path) -> pl.DataFrame:
    try:
        board = pl.read_csv(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(
            f"{file} cannot be read as CSV: {str(error).splitlines()[0]}. Give a CSV file."
        ) from error
    missing = [name for name in _COLUMNS if name not in board.columns]
    if missing:
        raise UserError(
            f"{file} has no column {missing[0]!r}. A leaderboard has {', '.join(_COLUMNS)}. Rename its columns."
        )
    return board
