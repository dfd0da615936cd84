"""What a report is made from, read from a real run: with the theory, where it is out of reach, and without it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import emergelab as el
from emergelab.recipes.run_folder import RunFolder
from emergelab.recipes.running import read_content
from study_runs import GRAMMAR, write_study

SETTINGS = {"model": {"layers": 1}, "train": {"tokens": [1e3]}, "evaluate.prompts": 8}


# One process runs all who look at the tiny study, so that it is trained once.
pytestmark = pytest.mark.xdist_group("tiny study")


def run_of(folder: Path, grammar: str) -> RunFolder:
    study = write_study(folder, grammar=grammar)
    return RunFolder(el.run(study, out=folder / "run", settings=SETTINGS, workers=1, progress=False).folder)


def test_the_theory_reaches_the_report_and_an_earlier_run_has_none(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = RunFolder(run)
    content = read_content(folder)
    assert content.run.get("out_of_reach") == []
    for table in (content.bounds, content.cumulative, content.gaps):
        assert table is not None
        assert table.height > 0
    earlier = tmp_path / "earlier"
    shutil.copytree(folder.open_tables(), earlier)
    for name in ("bounds", "cumulative", "gaps"):
        (earlier / f"{name}.parquet").unlink()
    monkeypatch.setattr(RunFolder, "open_tables", lambda _: earlier)
    content = read_content(folder)
    assert (content.bounds, content.cumulative, content.gaps) == (None, None, None)


def test_the_reason_why_an_ideal_predictor_is_out_of_reach_reaches_the_report(tmp_path: Path):
    fresh = GRAMMAR.replace("permutations", "permutations per document", 1)
    fresh = fresh.replace("hold out 0.3 of f * f", "").replace("splits seen, held out", "")
    folder = run_of(tmp_path, fresh)
    [reason] = read_content(folder).run.get("out_of_reach", [])
    assert reason.startswith("Every document draws functions of")
    page = folder.page.read_text(encoding="utf-8")
    assert "What is best possible could not be computed for all of this study: every document draws" in page
