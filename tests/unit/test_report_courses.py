"""The part of the page on courses over training: what it says, with how many systems and checkpoints."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from emergelab.analysis.skills.along_training import AlongTraining, along_training
from emergelab.report.outcomes.emerging import section
from emergelab.report.outcomes.emerging_tables import threshold
from emergelab.report.outcomes.emerging_words import AHEAD, EMERGED, ORDER, findings
from emergelab.report.sections import Head, write_sections_page
from emergelab.rng import stream
from training_courses import Course, flat, rising, trained

TWELVE = np.geomspace(1e9, 1e12, 12).round().tolist()
COURSES = {
    "f": Course(("f",), rising(1e10, top=1.0)),
    "g": Course(("g",), rising(2e10, top=1.0)),
    "fg": Course(("f", "g"), rising(2e11, top=1.0)),
    "fh": Course(("f", "h"), flat(0.02)),
}


def along(frame: pl.DataFrame, unfit: dict[str, str] | None = None) -> AlongTraining:
    return along_training(frame, stream(0, "skills"), unfit)


@pytest.fixture(scope="module")
def two_systems() -> AlongTraining:
    frames = [trained(COURSES, TWELVE, items=80, system=name) for name in ("one", "two")]
    return along(pl.concat(frames), {"nowhere": "no such task", "fh": "idle skill"})


def test_findings_have_their_numbers(two_systems: AlongTraining):
    said = findings(two_systems)
    assert list(said) == [EMERGED, ORDER, AHEAD]
    verdicts = two_systems.emerging.verdicts()
    assert said[EMERGED][0].startswith(f"Of {verdicts.height} learning curves")
    after = two_systems.order.rows.filter((pl.col("axis") == "tokens") & (pl.col("order") == "after")).height
    assert after == 2
    assert said[ORDER][0].startswith("Of 2 composites in a system with all parts measured alone, 2 cross")
    assert "2 of 2 composites are later than their latest part" in said[ORDER][1]
    ten = two_systems.ahead.rows.filter(
        (pl.col("factor") == 10) & (pl.col("kind") == "k") & (pl.col("metric") == "accuracy")
    )
    for name in ("one", "two"):
        known = ten.filter((pl.col("system") == name) & pl.col("known")).height > 0
        assert (f"{name}, accuracy at ten times" in said[AHEAD][0]) == known


def test_systems_of_whose_future_nothing_is_known_are_named_together():
    frames = [trained(COURSES, TWELVE[:5], items=20, system=name) for name in ("one", "two")]
    said = findings(along(pl.concat(frames)))[AHEAD][0]
    assert said.startswith("Of ten times the training nothing can be said for one and two:")


def test_without_tokens_courses_are_told_along_loss():
    frame = trained(COURSES, TWELVE, items=40)
    unknown = frame.with_columns(
        train_tokens=pl.lit(None, pl.Int64),
        flops=pl.lit(None, pl.Float64),
        loss=10 - pl.col("train_tokens").log10(),
    )
    said = findings(along(unknown))
    assert said[EMERGED][0].startswith("Of 4 learning curves")
    assert said[ORDER][0].startswith("Of 1 composite in a system")


def test_the_section_names_what_was_left_out(two_systems: AlongTraining):
    text = section(two_systems).text
    assert "1 task that shows no skill is left out: 1 for idle skill" in text
    assert "no such task" not in text


def test_a_page_of_it_can_be_written(two_systems: AlongTraining, tmp_path):  # noqa: ANN001 - pytest's
    made = section(two_systems)
    assert [figure.figure().name for figure in made.figures][:3] == [
        "courses-by-k",
        "courses-of-skills",
        "courses-of-composites",
    ]
    assert all(figure.figure().specification is not None for figure in made.figures)
    head = Head(mark="test", title="Courses", lead="", found_title="Verdict", found=findings(two_systems))
    # Drawing takes seconds, and other tests draw such figures.
    page = write_sections_page(head, [dataclasses.replace(made, figures=())], tmp_path / "page")
    assert "What emerged, and when" in page.read_text(encoding="utf-8")
    whole = pl.read_csv(tmp_path / "page" / "tables" / "emergence.csv", infer_schema_length=None)
    assert whole.height == two_systems.emerging.found.height
    assert {"order.csv", "shifts.csv", "forecasts.csv", "courses.csv", "forecast-checks.csv"} <= {
        path.name for path in (tmp_path / "page" / "tables").iterdir()
    }


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_checkpoints_still_make_a_section(count: int):
    found = along(trained(COURSES, [0, *TWELVE][: count + 1] if count else [0], items=30))
    made = section(found)
    assert made.text
    said = findings(found)
    if count < 4:
        assert said[EMERGED] == ["No task has trained checkpoints enough for a curve."]
    for figure in made.figures:
        assert figure.figure().specification is not None


def test_losses_that_do_not_fit_are_called_relative():
    frame = trained(COURSES, TWELVE, items=60).with_columns(nats=pl.col("nats") + 12)
    found = along(frame)
    text = section(found).text
    assert "The losses of s do not measure the answers" in text
    assert "artefact" not in " ".join(findings(found)[EMERGED])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"axis": "tokens", "threshold": 2e9, "threshold_lo": 1e9, "threshold_hi": 3e9}, "2B [1B, 3B]"),
        ({"axis": "tokens", "threshold": None, "threshold_lo": 1e9, "threshold_hi": None}, "above 1B"),
        ({"axis": "loss", "threshold": None, "threshold_lo": None, "threshold_hi": 2.5}, "below 2.5"),
        ({"axis": "loss", "threshold": None, "threshold_lo": None, "threshold_hi": None}, "not known"),
    ],
)
def test_thresholds_in_words(row: dict[str, object], said: str):
    assert threshold(row) == said
