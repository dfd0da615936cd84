"""The page of skills in theory: what its figures show, and that it stands by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emergelab.analysis.novelty import TextCorpus, judged
from emergelab.errors import ArtifactError
from emergelab.recipes.skill_page import leaderboard, presence
from emergelab.report.skills import figures
from emergelab.report.skills.content import SkillsInput
from emergelab.report.skills.page import write_skills_page
from emergelab.theory.curves import Curve, failure


def _content() -> SkillsInput:
    graphs = ["1,000 skills", "10 skills"]
    attacks = pl.DataFrame(
        {
            "graph": graph,
            "alpha": 0.2,
            "mean": 0.23 + 0.05 * rank,
            "exact": 0.23,
            "theorem": 0.31,
            "finite": None,
        }
        for rank, graph in enumerate(graphs)
    )
    kinds = pl.DataFrame(
        {"graph": graph, "kind": kind, "alpha": 0.2, "mean": 0.1, "exceeded": 0.09}
        for graph in graphs
        for kind in ("random", "correlated")
    )
    lift = {"k": 2, "value": 1.3, "lo": 1.2, "hi": 1.4, "n": 100, "skills": 9, "p": 0.001}
    lifts = pl.DataFrame(
        [{"corpus": "even", **lift, "known": 1.25}, {"corpus": "<topic>", **lift, "known": None}]
    )
    evaluations = {"combinations": [10, 50], "generations": 1, "graders": 3, "predicted": [0.2, 0.1]}
    return SkillsInput(
        theta=0.1,
        k=8,
        attacks=attacks,
        kinds=kinds,
        decoded=pl.DataFrame({"c": [2.0, 3.0], "skills": 300, "texts": 1.0, "unknown": [0.4, 0.7]}),
        board=judged(leaderboard(), TextCorpus()),
        lifts=lifts,
        evaluations=pl.DataFrame({**evaluations, "simulated": [0.21, 0.1]}),
        settings={"Key": "0"},
    )


def test_contours_are_the_curves():
    frame = figures.contours_by_k(0.1).frame.filter(
        (pl.col("panel") == "exact") & (pl.col("series") == "k = 8")
    )
    known = failure(Curve.exact, 0.1, 1 - frame["x"].to_numpy(), 8)
    np.testing.assert_allclose(frame["y"].to_numpy(), known)
    assert figures.contours_by_theta().frame["y"].null_count() > 0  # where the theorem says nothing


def test_tuples_have_panels_by_kind():
    frame = figures.contours_of_tuples().frame
    assert set(frame["panel"]) == {"of concatenated pieces", "within one piece"}
    single = frame.filter(pl.col("series") == "single skills").sort("panel", "x")
    first, second = (single.filter(pl.col("panel_rank") == rank)["y"].to_list() for rank in (0, 1))
    assert first == second


def test_the_page_stands_by_itself(tmp_path: Path):
    path = write_skills_page(_content(), tmp_path / "page")
    text = path.read_text(encoding="utf-8")
    assert "<topic>" not in text.split("<script")[0]
    assert "http://" not in text.split("<script")[0]
    names = {file.stem for file in (tmp_path / "page" / "figures").iterdir()}
    assert names == {
        *("contours-k", "contours-theta", "contours-tuples", "simulation"),
        *("decoding", "novelty", "lifts", "design"),
    }
    for name in names:
        assert f'id="data-{name}"' in text
        csv = pl.read_csv(tmp_path / "page" / "figures" / f"{name}.csv")
        assert csv.columns == ["panel", "series", "mark", "x", "y", "lo", "hi"]
    start = text.index(">", text.index('id="data-design"')) + 1
    chart = json.loads(text[start : text.index("</script>", start)])
    assert len(chart["datasets"]["rows"]) == 4
    assert "within 0.0000; in one of 10 skills it passes it by up to 0.050" in text
    assert "GPT-4 at k = 6" in text


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ArtifactError, match="holds something else"):
        write_skills_page(_content(), tmp_path)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_labels_of_skills_become_presence():
    """One token needs functions 0 and 2, another function 1 and more than a label holds."""
    labels = np.array([[0, 1 | (3 << 16)], [0xFFFF << 16 | 2, 0]], dtype=np.uint64)
    assert presence(labels).tolist() == [[True, False, True], [False, True, False]]
