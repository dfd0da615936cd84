"""What was tested, on the page: words, marks, and intervals drawn against their limits."""

import re
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from emergelab.report import tested as section
from emergelab.scores.tables import VERDICTS
from report_tables import Design, report_input

ROW: dict[str, Any] = {
    "name": "H1",
    "claim": "It is so.",
    "kind": "difference",
    "test": "Accuracy is above 0.3.",
    "unit": "share of answers",
    "effect": 0.5,
    "lo": 0.4,
    "hi": 0.6,
    "limit": 0.3,
    "side": "above",
    "n": 1200,
    "of_what": "answers",
    "seeds": 2,
    "method": "student_t over seeds and prompts",
    "verdict": "supported",
    "reason": "the whole interval lies above the limit",
    "fixed": "before the first cell",
}


def shown(rows: Sequence[dict[str, Any]], dropped: Sequence[str] = ()) -> dict[str, Any] | None:
    content = report_input(
        Design(layers=(1,), tokens=(100,), prompts=4, shots=1),
        verdicts=pl.DataFrame(list(rows), schema=VERDICTS),
        run={"dropped_hypotheses": list(dropped)},
    )
    return section.tested(content)


def places(svg: str) -> dict[str, float]:
    """Return where ends, dot and limit lie."""
    line = re.search(r'class="interval" d="M([\d.]+) \d+H([\d.]+)', svg)
    dot = re.search(r'cx="([\d.]+)"', svg)
    limit = re.search(r'class="limit" d="M([\d.]+)', svg)
    assert line is not None
    found = {"lo": float(line[1]), "hi": float(line[2])}
    return found | {name: float(hit[1]) for name, hit in (("dot", dot), ("limit", limit)) if hit is not None}


def test_a_study_without_hypotheses_has_no_section():
    assert shown([]) is None
    told = shown([], ["H1: It is so. (fixed before the first cell, 2026-01-01)"])
    assert told is not None
    assert told["dropped"]


def test_the_lead_counts_verdicts_and_says_what_came_late():
    late = ROW | {"name": "H2", "verdict": "undecided", "fixed": "after 3 of 9 cells"}
    told = shown([ROW, late])
    assert told is not None
    assert told["lead"] == (
        "2 hypotheses: 1 supported and 1 undecided. 1 of them was fixed after cells had been scored."
    )
    assert [row["late"] for row in told["rows"]] == [False, True]
    assert [bool(row["why"]) for row in told["rows"]] == [False, True]
    alone = shown([ROW])
    assert alone is not None
    assert alone["lead"] == "1 hypothesis: 1 supported. All were fixed before the first cell was scored."


def test_every_verdict_has_a_mark_of_its_own_beside_its_word():
    rows = [ROW | {"name": word, "verdict": word} for word in ("supported", "not supported", "undecided")]
    told = shown(rows)
    assert told is not None
    assert len({row["mark"] for row in told["rows"]}) == len(rows)


def test_an_interval_is_drawn_in_proportion_with_its_limit():
    found = places(section.drawing(ROW))
    # 0.3, 0.4, 0.5, 0.6 are evenly apart.
    steps = [found[b] - found[a] for a, b in (("limit", "lo"), ("lo", "dot"), ("dot", "hi"))]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.11)
    assert steps[0] > 0


def test_tokens_are_drawn_by_their_logarithms():
    row = ROW | {"unit": "training tokens", "lo": 1e3, "effect": 1e4, "hi": 1e5, "limit": None, "side": None}
    found = places(section.drawing(row))
    assert found["dot"] - found["lo"] == pytest.approx(found["hi"] - found["dot"], abs=0.11)
    assert "limit" not in found


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ({"lo": None}, "below 0.60"),
        ({"hi": None}, "above 0.40"),
        ({"lo": None, "hi": None}, "0.50"),
        ({"lo": None, "hi": None, "effect": None}, "\N{EN DASH}"),
        ({"hi": float("inf")}, "0.50 [0.40, ∞]"),
    ],
)
def test_ends_that_are_not_known_are_told(ends: dict[str, float | None], said: str):
    told = shown([ROW | ends])
    assert told is not None
    assert told["rows"][0]["effect"] == said
