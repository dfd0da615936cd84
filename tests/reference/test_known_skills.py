"""Skills of text-pieces where the theory's curves are sharp, and how often the bands of tests hold the truth."""

import numpy as np
import polars as pl
import pytest

from emergelab.analysis.hypotheses.skills import SkillEvidence, SkillQuestion, assumption
from emergelab.analysis.skills.known import PieceAnswers, PieceLaw, bootstrap_weights, curve_share
from emergelab.analysis.skills.studied import SINGLES
from emergelab.rng import stream
from emergelab.theory.curves import Curve, failure
from emergelab.theory.mixtures import SkillCounts

SKILLS, NEEDED, PIECES = 20, 4, 40_000
LAW = PieceLaw(
    skills=tuple(f"s{number:02}" for number in range(SKILLS)),
    measure=np.full(SKILLS, 1 / SKILLS),
    counts=SkillCounts((NEEDED,), (1.0,)),
)


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def failing(skills: np.ndarray, fails: np.ndarray, documents: np.ndarray, draws: int) -> PieceAnswers:
    """Return pieces that fail by a distance of .9, or do not by one of .1, every answer certain."""
    distance = np.where(fails, 0.9, 0.1)
    names = np.array(LAW.skills)
    frame = pl.DataFrame(
        {
            "document": documents,
            "skills": names[skills].tolist(),
            "questions": np.ones(len(skills), dtype=np.int64),
            "right": (~fails).astype(np.int64),
            "cloze_loss": distance,
            "excess": -np.log1p(-distance),
            "distance": distance,
            "certain": np.ones(len(skills), dtype=np.bool_),
        }
    )
    return PieceAnswers(frame, LAW, bootstrap_weights(int(documents.max()) + 1, draws, stream(0, "toy")))


@pytest.mark.parametrize(("theta", "alpha"), [(0.1, 0.2), (0.05, 0.3), (0.2, 0.1)])
def test_pieces_that_an_adversary_lets_fail_reach_the_exact_curve_and_no_other(theta: float, alpha: float):
    """The pieces with most of the attacked skills fail, ties at random: these skills fail as often as X8 allows."""
    drawn = generator().integers(0, SKILLS, (PIECES, NEEDED))
    attacked = round(alpha * SKILLS)
    score = (drawn < attacked).sum(axis=1) + generator(2).random(PIECES)
    fails = score >= np.sort(score)[-round(theta * PIECES)]
    answers = failing(drawn, fails, np.arange(PIECES) // 40, 2)
    allowed = float(failure(Curve.exact, theta, alpha, NEEDED))
    hurt = answers.failure[0, :attacked]
    np.testing.assert_allclose(hurt, allowed, atol=5 * np.sqrt(0.25 * SKILLS / (PIECES * NEEDED)))
    # Just below what they reach all attacked skills are weak, and no more than the curve lets be.
    beta = float(hurt.min()) / theta * 0.999
    share = answers.weak_share(SINGLES, beta * answers.theta())[0]
    assert share == pytest.approx(alpha)
    exact, markov = (
        curve_share(curve, answers.theta()[:1], beta, LAW, SINGLES)[0]
        for curve in (Curve.exact, Curve.markov)
    )
    assert exact == pytest.approx(alpha, rel=0.05)
    assert markov > exact


def test_skills_that_come_together_break_the_exact_curve_and_not_markovs():
    """A fifth of the skills has pieces of its own, a fifth of all, which all fail: they do five times as often."""
    kept = generator().random(PIECES) < 0.2
    drawn = generator(2).integers(0, SKILLS, (PIECES, NEEDED))
    drawn = np.where(kept[:, None], drawn % 4, 4 + drawn % 16)
    answers = failing(drawn, kept, np.arange(PIECES) // 40, 2)
    theta = answers.theta()
    assert answers.weak_share(SINGLES, 4.5 * theta)[0] == pytest.approx(0.2)
    assert curve_share(Curve.exact, theta[:1], 4.5, LAW, SINGLES)[0] < 0.1
    assert curve_share(Curve.markov, theta[:1], 4.5, LAW, SINGLES)[0] > 0.2


STUDIES, DOCUMENTS = 150, 150


@pytest.mark.slow
@pytest.mark.parametrize(("fewest", "most"), [(0.05, 0.3), (0.15, 0.15)])
def test_the_interval_of_the_largest_comparison_holds_the_largest_of_the_true_ones(
    fewest: float, most: float
):
    """Six models fail with rates that are known, and with them the largest of the shares less twice the excess."""
    rates = np.linspace(fewest, most, 6)
    truth = float((rates - 2 * (rates * -np.log(0.1) + (1 - rates) * -np.log(0.9))).max())
    random, held = generator(5), 0
    names = [f"c{model}" for model in range(len(rates))]
    cells = pl.DataFrame({"cell": names, "layers": range(len(rates)), "width": 8, "seed": 0}).with_columns(
        unique_documents=pl.lit(None), variant=pl.lit(None)
    )
    documents = np.repeat(np.arange(DOCUMENTS), 3)
    for _ in range(STUDIES):
        # Half of the pieces are easier or harder with their document, for all models.
        luck = np.repeat(random.random(DOCUMENTS), 3)
        drawn = random.integers(0, SKILLS, (len(documents), NEEDED))
        own = np.where(
            random.random((len(rates), len(luck))) < 0.5, luck, random.random((len(rates), len(luck)))
        )
        answers = {
            name: failing(drawn, one < rate, documents, 300)
            for name, one, rate in zip(names, own, rates, strict=True)
        }
        found = assumption(SkillEvidence(answers, cells), SkillQuestion(aspect="linear", cells=names))
        assert found.lo is not None
        assert found.hi is not None
        held += found.lo <= truth <= found.hi
    # Of 150 intervals that hold it at 95 % each, fewer than 134 do once in 1,500 times.
    assert held >= 134
