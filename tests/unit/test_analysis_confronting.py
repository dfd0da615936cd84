"""Learning gaps and sums over first answers, against plain loops, SciPy and NumPy."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from emergelab.analysis.aggregate import CELLS
from emergelab.analysis.confronting import CUMULATIVE, GAPS, cumulative, document_gaps, gaps, prompt_gaps
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
    whole = whole.with_columns(role=pl.lit(None, dtype=pl.String))
    return pl.concat([whole, whole.head(5).with_columns(role=pl.lit("answer"))])


def test_gaps_of_documents_take_documents_as_clusters():
    tokens = RANDOM.integers(5, 40, size=60)
    own, best = RANDOM.exponential(20, size=60), RANDOM.exponential(15, size=60)
    found = document_gaps(
        documents(own, tokens), documents(best, tokens), cell="layers=1", against="ideal_train"
    )
    row = found.filter(pl.col("role").is_null()).row(0, named=True)
    ratio = (own - best).sum() / tokens.sum()
    assert row["gap"] == pytest.approx(ratio)
    residuals = own - best - ratio * tokens
    error = np.sqrt(60 / 59 * (residuals**2).sum()) / tokens.sum()
    half = stats.t.ppf(0.975, 59) * error
    assert (row["gap_lo"], row["gap_hi"]) == pytest.approx((ratio - half, ratio + half))
    assert row["n"] == 60
    assert found.filter(pl.col("role") == "answer")["n"].to_list() == [5]


def test_documents_must_be_the_same():
    tokens, nats = np.array([3, 4, 5, 6, 7, 8]), np.ones(6)
    other = documents(nats, tokens + 1)
    with pytest.raises(ValueError, match="not those of its ideal predictor"):
        document_gaps(documents(nats, tokens), other, cell="a", against="ideal_train")
