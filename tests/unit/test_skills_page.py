"""The page of skills in theory: what its figures show, and that it stands by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emergelab.errors import ArtifactError
from emergelab.recipes.skill_page import presence
from emergelab.report.skills import figures
from emergelab.report.skills.page import write_skills_page
from emergelab.theory.curves import Curve, failure
from skill_tables import content


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


def test_slingshots_are_those_of_the_laws():
    """From a compute-optimal point ten times both divide the excess by 10^a where a = b, by less where they differ."""
    frame = figures.slingshot(content()).frame
    both = frame.filter(
        (pl.col("series") == "parameters and tokens") & (pl.col("x") == 10) & (pl.col("mark") == "line")
    )
    np.testing.assert_allclose(both.sort("panel_rank")["y"].to_numpy(), [2.023, 2.272], atol=1e-3)
    assert frame.filter(pl.col("mark") == "point")["panel"].unique().to_list() == ["Besiroglu et al. 2024"]
    theta = figures.slingshot_theta(content()).frame.filter(pl.col("x") == 10).sort("panel_rank", "series")
    linear, pinsker = (
        theta.filter(pl.col("panel").str.starts_with(link))["y"].to_numpy() for link in ("linear", "pinsker")
    )
    np.testing.assert_allclose(pinsker, np.sqrt(linear))  # √(2ε) of θ = 2ε
    curves = figures.slingshot_curves(content()).frame.filter(pl.col("panel_rank") == 0)
    before, after = (
        curves.filter(pl.col("series") == name)["y"].to_numpy()
        for name in ("single skills, before", "tuples of 2, after")
    )
    assert (after <= before + 1e-12).all()  # 1 - (1 - .14)² is below .3: pairs catch up


def test_the_page_stands_by_itself(tmp_path: Path):
    path = write_skills_page(content(), tmp_path / "page")
    text = path.read_text(encoding="utf-8")
    assert "<topic>" not in text.split("<script")[0]
    assert "http://" not in text.split("<script")[0]
    names = {file.stem for file in (tmp_path / "page" / "figures").iterdir()}
    assert names == {
        *("contours-k", "contours-theta", "contours-tuples", "simulation"),
        *("slingshot", "slingshot-theta", "slingshot-curves"),
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
        write_skills_page(content(), tmp_path)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_labels_of_skills_become_presence():
    """One token needs functions 0 and 2, another function 1 and more than a label holds."""
    labels = np.array([[0, 1 | (3 << 16)], [0xFFFF << 16 | 2, 0]], dtype=np.uint64)
    assert presence(labels).tolist() == [[True, False, True], [False, True, False]]
