"""Learning gaps and sums over first answers, against plain loops, SciPy and NumPy."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from emergelab.analysis import estimate
from emergelab.analysis.aggregate import CELLS
from emergelab.analysis.confronting import (
    CUMULATIVE,
    GAPS,
    Confronted,
    cumulative,
    document_gaps,
    gaps,
    prompt_gaps,
)
from emergelab.evaluate.losses import DOCUMENT_LOSSES
from emergelab.rng import stream
from emergelab.scores.tables import ITEMS

PROMPTS, SHOTS = 30, 3
RANDOM = stream(4, "confronting").generator()


def items(cell: str, predictor: str, nats: np.ndarray, wrong: np.ndarray) -> pl.DataFrame:
    """Return the items of whole answers, prompts by numbers of examples."""
    prompt, shot = np.indices(nats.shape)
    argument = np.where((prompt + shot) % 3 == 0, "repeated", "fresh")
    frame = pl.DataFrame(
        {
            "prompt": prompt.ravel(),
            "shot": shot.ravel(),
            "argument": argument.ravel().tolist(),
            "correct": ~wrong.ravel(),
            "nats": nats.ravel(),
        }
    ).with_columns(
        cell=pl.lit(cell), predictor=pl.lit(predictor), task=pl.lit("single"), form=pl.lit("direct"),
        split=pl.lit("seen"), decoding=pl.lit("teacher_forced"), step=pl.lit(0), chance=pl.lit(0.1),
    )  # fmt: skip
    return frame.select(pl.col(name).cast(kind) for name, kind in ITEMS.items())


SHAPE = (PROMPTS, SHOTS + 1)
MODEL, IDEAL = (
    RANDOM.exponential(size=SHAPE).astype(np.float32),
    RANDOM.exponential(0.5, size=SHAPE).astype(np.float32),
)
WRONG = RANDOM.random(SHAPE) < 0.4
CELL = pl.DataFrame([{"cell": "layers=1", "layers": 1, "params": 10}, {"cell": "ideal"}], schema=CELLS)


def test_first_answers_are_added_up():
    table = cumulative(items("layers=1", "model", MODEL, WRONG), CELL)
    assert table.schema == CUMULATIVE
    for row in table.iter_rows(named=True):
        n = row["answers"]
        assert row["nats"] == pytest.approx(MODEL[:, :n].sum(axis=1).mean(), rel=1e-6)
        assert row["errors"] == pytest.approx(WRONG[:, :n].sum(axis=1).mean())
        assert row["nats_lo"] < row["nats"] < row["nats_hi"]
        assert (row["n"], row["layers"]) == (PROMPTS, 1)
    assert table["answers"].to_list() == [1, 2, 3, 4]


def test_intervals_of_nats_and_of_wrong_answers_stay_where_these_can_be():
    """Three prompts of which one is wrong: Hall's interval leaves the possible on both sides without the cut."""
    nats, wrong = np.array([[0.0], [0.1], [4.0]]), np.array([[False], [False], [True]])
    free = estimate.mean(nats[:, 0])
    assert free.lo is not None
    assert free.lo < 0
    (row,) = cumulative(items("layers=1", "model", nats, wrong), CELL).iter_rows(named=True)
    assert (row["nats_lo"], row["nats_hi"]) == (0.0, pytest.approx(free.hi, rel=1e-6))
    assert 0 <= row["errors_lo"] <= row["errors"] <= row["errors_hi"] <= 1


def test_infinite_nats_are_told_and_not_averaged():
    nats = MODEL.copy()
    nats[3, 1] = np.inf
    table = cumulative(items("ideal", "ideal", nats, WRONG), CELL)
    methods = dict(table.select("answers", "nats_method").iter_rows())
    assert methods == {1: "hall_t"} | dict.fromkeys((2, 3, 4), "none: infinite values")
    assert table.filter(pl.col("answers") > 1)["nats"].null_count() == 3
    assert table["errors"].null_count() == 0


def test_gaps_of_prompts_are_paired():
    model, ideal = items("layers=1", "model", MODEL, WRONG), items("ideal", "ideal", IDEAL, WRONG)
    found = gaps([prompt_gaps(model, ideal, {"layers=1": "ideal"})], CELL)
    assert found.schema == GAPS
    for row in found.iter_rows(named=True):
        prompt = np.arange(PROMPTS)
        repeated = (prompt + row["shots"]) % 3 == 0
        chosen = repeated if row["argument"] == "repeated" else ~repeated
        difference = (MODEL - IDEAL).astype(np.float64)[chosen, row["shots"]]
        assert row["gap"] == pytest.approx(difference.mean(), rel=1e-5)
        assert row["nats"] - row["ideal_nats"] == pytest.approx(row["gap"], rel=1e-5)
        assert row["n"] == chosen.sum()
        # Hall's interval is Student's for values without skewness, and near it for these.
        student = stats.t.interval(0.95, len(difference) - 1, difference.mean(), stats.sem(difference))
        assert row["gap_hi"] - row["gap_lo"] == pytest.approx(student[1] - student[0], rel=0.5)
        assert (row["against"], row["level"], row["role"]) == ("ideal", "prompts", None)


def test_a_predictor_has_no_gap_from_itself():
    own = items("layers=1", "model", MODEL, WRONG)
    twin = own.with_columns(cell=pl.lit("ideal"), predictor=pl.lit("ideal"))
    found = prompt_gaps(own, twin, {"layers=1": "ideal"})
    assert found["gap"].to_list() == [0.0] * found.height


def documents(nats: np.ndarray, tokens: np.ndarray) -> pl.DataFrame:
    whole = pl.DataFrame({"document": np.arange(len(nats)), "tokens": tokens, "nats": nats})
    parts = [
        whole,
        whole.head(5).with_columns(role=pl.lit("answer")),
        whole[[0, 2, 3]].with_columns(skill=pl.lit("f1")),
        whole[[4]].with_columns(skill=pl.lit("f2")),
        whole[[0, 2, 3, 4]].with_columns(needed=pl.lit(2)),
    ]
    return pl.concat([DOCUMENT_LOSSES.to_frame(), *parts], how="diagonal_relaxed").cast(DOCUMENT_LOSSES)


def test_gaps_of_documents_take_documents_as_clusters():
    tokens = RANDOM.integers(5, 40, size=60)
    own, best = RANDOM.exponential(20, size=60), RANDOM.exponential(15, size=60)
    found = document_gaps(
        documents(own, tokens), documents(best, tokens), cell="layers=1", against="ideal_train"
    )
    row = found.filter(pl.all_horizontal(pl.col("role", "skill", "needed").is_null())).row(0, named=True)
    ratio = (own - best).sum() / tokens.sum()
    assert row["gap"] == pytest.approx(ratio)
    residuals = own - best - ratio * tokens
    error = np.sqrt(60 / 59 * (residuals**2).sum()) / tokens.sum()
    half = stats.t.ppf(0.975, 59) * error
    assert (row["gap_lo"], row["gap_hi"]) == pytest.approx((ratio - half, ratio + half))
    assert row["n"] == 60
    assert found.filter(pl.col("role") == "answer")["n"].to_list() == [5]


def test_gaps_by_function_count_the_documents_that_need_it():
    """Each is Cochran's ratio over the documents that have a token of the kind; one document has no interval."""
    tokens = RANDOM.integers(5, 40, size=60)
    own, best = RANDOM.exponential(20, size=60), RANDOM.exponential(15, size=60)
    found = document_gaps(documents(own, tokens), documents(best, tokens), cell="a", against="ideal_train")
    for label, value, chosen in (("skill", "f1", [0, 2, 3]), ("needed", 2, [0, 2, 3, 4])):
        row = found.row(by_predicate=pl.col(label) == value, named=True)
        expected = estimate.ratio((own - best)[chosen], tokens[chosen].astype(float))
        assert (row["gap"], row["gap_lo"], row["gap_hi"]) == pytest.approx(
            (expected.value, expected.lo, expected.hi)
        )
        assert (row["n"], row["gap_method"]) == (len(chosen), "cluster_t")
        assert row["tokens"] == tokens[chosen].sum()
    alone = found.row(by_predicate=pl.col("skill") == "f2", named=True)
    assert alone["gap"] == pytest.approx((own - best)[4] / tokens[4])
    assert (alone["n"], alone["gap_lo"], alone["gap_hi"]) == (1, None, None)
    assert alone["gap_method"] == "none: one value"


def test_gaps_of_prompts_by_function_are_means_over_their_answers():
    functions = [[["f1"], ["f1", "f2"], ["f2", "f2"], []][prompt % 4] for prompt in range(PROMPTS)]
    asked = pl.DataFrame(
        {"prompt": range(PROMPTS), "functions": functions}, schema_overrides={"prompt": pl.Int32}
    ).with_columns(
        ideal_cell=pl.lit("ideal"), task=pl.lit("single"), form=pl.lit("direct"), split=pl.lit("seen")
    )
    model, ideal = items("layers=1", "model", MODEL, WRONG), items("ideal", "ideal", IDEAL, WRONG)
    found = prompt_gaps(model, ideal, {"layers=1": "ideal"}, asked)
    rows = gaps([found], CELL).filter(pl.col("skill").is_not_null())
    assert rows.select("skill", "against", "shots", "argument", "layers").rows() == [
        ("f1", "ideal", None, None, 1),
        ("f2", "ideal", None, None, 1),
    ]
    difference = (MODEL - IDEAL).astype(np.float64).mean(axis=1)
    for row in rows.iter_rows(named=True):
        chosen = [row["skill"] in drawn for drawn in functions]
        expected = estimate.mean(difference[chosen])
        assert (row["gap"], row["gap_lo"], row["gap_hi"]) == pytest.approx(
            (expected.value, expected.lo, expected.hi), rel=1e-5
        )
        assert row["n"] == sum(chosen)
    without = pl.concat([found.filter(pl.col("skill").is_null())])
    assert without.drop("skill").equals(prompt_gaps(model, ideal, {"layers=1": "ideal"}))


def test_wrong_answers_of_a_model_are_bounded_by_description_and_gap():
    """B3 by hand: (D + R_n + what the model pays more than the ideal predictor) / ln 2."""
    parts = [items("layers=1", "model", MODEL, WRONG), items("ideal", "ideal", IDEAL, WRONG)]
    allowed = [3.0, 3.5, None, 5.0]
    bounds = pl.DataFrame(
        {"answers": [1, 2, 3, 4], "bound_nats": allowed, "variant": [None] * 4},
        schema_overrides={"answers": pl.Int16, "variant": pl.String},
    ).with_columns(task=pl.lit("single"), form=pl.lit("direct"), split=pl.lit("seen"))
    table = cumulative(pl.concat(parts), CELL, Confronted({"layers=1": "ideal"}, bounds))
    own = table.filter(pl.col("predictor") == "model").sort("answers")
    for row, bound in zip(own.iter_rows(named=True), allowed, strict=True):
        n = row["answers"]
        gap = estimate.mean((MODEL - IDEAL)[:, :n].astype(np.float64).sum(axis=1))
        assert (row["gap"], row["gap_lo"], row["gap_hi"]) == pytest.approx(
            (gap.value, gap.lo, gap.hi), rel=1e-5
        )
        found = [row["bound_errors"], row["bound_errors_lo"], row["bound_errors_hi"]]
        if bound is None:
            assert found == [None] * 3
        else:
            expected = [(bound + end) / np.log(2) for end in (gap.value, gap.lo, gap.hi)]
            assert found == pytest.approx(expected, rel=1e-5)
    rest = table.filter(pl.col("predictor") == "ideal").select("gap", "gap_method", "bound_errors")
    assert rest.null_count().row(0) == (4, 4, 4)


def test_documents_must_be_the_same():
    tokens, nats = np.array([3, 4, 5, 6, 7, 8]), np.ones(6)
    other = documents(nats, tokens + 1)
    with pytest.raises(ValueError, match="not those of its ideal predictor"):
        document_gaps(documents(nats, tokens), other, cell="a", against="ideal_train")
