"""Skills of text-pieces: pieces against what documents print, failures against counts by hand, tests against rules."""

from collections import Counter
from dataclasses import replace
from itertools import combinations
from math import log

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emergelab.analysis.hypotheses.skills import (
    NO_CLAIM,
    NO_IDEAL,
    NO_PAIR,
    SkillEvidence,
    SkillQuestion,
    assumption,
    slingshots,
)
from emergelab.analysis.skills.known import (
    PieceAnswers,
    PieceLaw,
    bootstrap_weights,
    curve_share,
    tuples_of,
)
from emergelab.analysis.skills.studied import PAIRS, SINGLES, skill_tables
from emergelab.corpus.documents import Corpus
from emergelab.errors import UserError
from emergelab.evaluate.pieces import Questions, find_pieces, piece_values, question_laws
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import Language
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.recipes.oracle import ideal_predictor
from emergelab.rng import stream
from emergelab.scores.tables import PIECES
from emergelab.theory.curves import Curve, TupleKind, Tuples
from emergelab.theory.mixtures import SkillCounts

NAMES = ("a1", "b1", "c1", "d1", "p1", "q1", "r1", "s1")
WITHIN, JOINED = PAIRS[TupleKind.within], PAIRS[TupleKind.concatenated]


def language(**values: float) -> Language:
    return draw_language(load_grammar(find_grammar("known_skills", None), values), stream(0, "world"))


def pieces_of(spoken: Language, documents: int = 300, context: int = 40) -> tuple[pl.DataFrame, Questions]:
    sample = Corpus(spoken, stream(0, "texts"), context=context).sample(np.arange(documents))
    return find_pieces(sample, tuple(spoken.function_names()), spoken.objects)


def printed(spoken: Language, documents: int, context: int) -> list[tuple[int, int, list[str], int]]:
    """Return document, statement, names and equals signs of every whole statement, as its tokens say them."""
    tokens, lengths = Corpus(spoken, stream(0, "texts"), context=context).tokens(np.arange(documents))
    texts = spoken.vocabulary.texts
    found: list[tuple[int, int, list[str], int]] = []
    for document in range(documents):
        words = [texts[token] for token in tokens[document, 1 : lengths[document]]]
        whole = " ".join(words).split(";")[:-1]  # what stands behind the last one is no whole statement
        if words[-1] != "<end>" and words[-1] == ";":
            whole = whole[:-1]  # it cannot be told from one that goes on
        for statement, text in enumerate(whole):
            said = text.split()
            found.append((document, statement, [one for one in said if one in NAMES], said.count("=")))
    return found


@pytest.mark.parametrize("context", [40, 17])
def test_a_piece_has_the_skills_that_its_statement_names_and_asks_what_it_prints(context: int):
    spoken = language()
    pieces, questions = pieces_of(spoken, 300, context)
    rows = pieces.select("document", "statement", "skills", "questions").rows()
    assert rows == printed(spoken, 300, context)
    times = Counter(questions.piece.tolist())
    assert [times[piece] for piece in range(len(pieces))] == pieces["questions"].to_list()
    assert pieces["chance"].to_list() == pytest.approx([12.0**-n for n in pieces["questions"]])


@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_the_law_of_pieces_is_that_of_the_grammar_whatever_keeps_skills_together(keep: float):
    pieces, _ = pieces_of(language(keep=keep), 4000)
    law = PieceLaw.of(pieces)
    share = {name: law.measure[number] for number, name in enumerate(law.skills)}
    zipf = np.array([12, 6, 4, 3]) / 25
    expected = dict(zip(NAMES, [*(0.9 * zipf), *(0.1 * zipf)], strict=True))
    # 36,000 edges; those of one piece depend on each other where skills are kept together.
    for name, value in expected.items():
        assert share[name] == pytest.approx(value, abs=5 * np.sqrt(3 * value / 36_000))
    assert dict(zip(law.counts.counts, law.counts.weights, strict=True)) == pytest.approx(
        {2: 1 / 3, 3: 1 / 3, 4: 1 / 3}, abs=0.02
    )
    mixed = [len({name in "a1b1c1d1" for name in skills}) == 2 for skills in pieces["skills"]]
    assert any(mixed) is (keep == 0)


def test_a_law_comes_back_from_its_record():
    law = PieceLaw.of(pieces_of(language(), 50)[0])
    again = PieceLaw.from_record(law.record())
    assert again.skills == law.skills
    assert again.counts == law.counts
    np.testing.assert_allclose(again.measure, law.measure)


def test_statements_without_functions_have_no_law():
    with pytest.raises(UserError, match="No whole statement"):
        PieceLaw.of(pieces_of(language(), 5)[0].clear())


# What a predictor makes of pieces


def random_laws(generator: np.random.Generator, questions: int, tokens: int, sharpness: float) -> np.ndarray:
    values = generator.normal(0, sharpness, (questions, tokens))
    return (values - np.log(np.exp(values).sum(axis=1, keepdims=True))).astype(np.float32)


def asked(pieces: list[int], answers: list[int]) -> Questions:
    nothing = np.zeros(len(pieces), dtype=np.int64)
    return Questions(nothing, nothing + 1, np.array(pieces), np.array(answers, dtype=np.uint16))


def test_values_of_pieces_are_their_definitions():
    generator = np.random.Generator(np.random.Philox(3))
    model, ideal = random_laws(generator, 3, 4, 1.0), random_laws(generator, 3, 4, 1.0)
    found = piece_values(model, ideal, asked([0, 0, 1], [2, 0, 3]), 2).to_dicts()
    q, m = np.exp(model.astype(float)), np.exp(ideal.astype(float))
    distance = [0.5 * sum(abs(q[i, v] - m[i, v]) for v in range(4)) for i in range(3)]
    excess = [sum(m[i, v] * log(m[i, v] / q[i, v]) for v in range(4)) for i in range(3)]
    assert found[0]["distance"] == pytest.approx((distance[0] + distance[1]) / 2, rel=1e-5)
    assert found[0]["excess"] == pytest.approx((excess[0] + excess[1]) / 2, rel=1e-4)
    assert found[0]["cloze_loss"] == pytest.approx(1 - (q[0, 2] + q[1, 0]) / 2, rel=1e-5)
    assert found[0]["nats"] == pytest.approx(-log(q[0, 2]) - log(q[1, 0]), rel=1e-5)
    assert found[1]["ideal_nats"] == pytest.approx(-log(m[2, 3]), rel=1e-5)
    assert found[0]["right"] == int(q[0].argmax() == 2) + int(q[1].argmax() == 0)
    assert found[0]["certain"] is False


def test_what_a_model_rules_out_and_may_come_costs_infinity_and_a_tie_is_wrong():
    model = np.log(np.array([[0.5, 0.5, 1e-45]], dtype=np.float32))
    model[0, 2] = -np.inf
    ideal = np.log(np.array([[0.25, 0.25, 0.5]], dtype=np.float32))
    (row,) = piece_values(model, ideal, asked([0], [0]), 1).to_dicts()
    assert row["excess"] == np.inf
    assert row["right"] == 0
    assert row["distance"] == pytest.approx(0.5)


def test_without_an_ideal_predictor_the_excess_is_unknown():
    model = random_laws(np.random.Generator(np.random.Philox(3)), 1, 4, 1.0)
    (row,) = piece_values(model, None, asked([0], [1]), 1).to_dicts()
    assert [row[name] for name in ("ideal_nats", "excess", "distance", "certain")] == [None] * 4
    assert row["nats"] == pytest.approx(-float(model[0, 1]))


@pytest.mark.parametrize("unnamed", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
def test_the_ideal_predictor_has_no_excess_and_knows_all_answers_whose_skills_are_named(unnamed: float):
    spoken = language(unnamed=unnamed)
    sample = Corpus(spoken, stream(0, "texts"), context=40).sample(np.arange(40))
    pieces, questions = find_pieces(sample, tuple(spoken.function_names()), spoken.objects)
    laws = question_laws(ideal_predictor(spoken, "train"), sample.tokens, questions, batch=16)
    values = piece_values(laws, laws, questions, len(pieces))
    assert values["excess"].abs().max() == 0
    assert values["certain"].all() is (unnamed == 0)
    assert (values["cloze_loss"].max() > 0.5) is (unnamed > 0)  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]


# Links: theorems for every pair of laws


@given(seed=st.integers(0, 10_000), sharpness=st.floats(0.1, 12.0), near=st.floats(0.0, 1.0))
def test_no_laws_whatever_break_the_links(seed: int, sharpness: float, near: float):
    generator = np.random.Generator(np.random.Philox(seed))
    ideal = random_laws(generator, 30, 5, sharpness)
    other = random_laws(generator, 30, 5, sharpness)
    model = np.log(near * np.exp(ideal) + (1 - near) * np.exp(other)).astype(np.float32)
    answers = answers_of(ideal, model)
    theta, epsilon = answers.theta()[0], answers.epsilon()[0]
    assert theta <= 2 * epsilon + 1e-5
    assert theta <= np.sqrt(2 * epsilon) + 1e-5
    one_hot = np.full_like(ideal, -np.inf)
    one_hot[np.arange(30), ideal.argmax(axis=1)] = 0
    certain = answers_of(one_hot, model)
    assert certain.certain.all()
    assert certain.theta()[0] <= certain.epsilon()[0] / log(2) + 1e-5
    assert certain.theta()[0] == certain.cloze_theta()[0]


def answers_of(ideal: np.ndarray, model: np.ndarray) -> PieceAnswers:
    """Return ten pieces of three questions each, answered as the ideal law likes best."""
    questions = asked([n // 3 for n in range(30)], ideal.argmax(axis=1).tolist())
    values = piece_values(model, ideal, questions, 10)
    frame = pl.DataFrame({"document": range(10), "skills": [["f"]] * 10, "questions": [3] * 10})
    law = PieceLaw(skills=("f",), measure=np.ones(1), counts=SkillCounts((1,), (1.0,)))
    return PieceAnswers(frame.hstack(values), law, np.ones((1, 10)))


# Failures of skills and tuples, by hand


TOY = [  # document, skills, distance, share of right answers
    (0, ["a", "b"], 0.9, 0.0),
    (0, ["a", "a"], 0.1, 1.0),
    (1, ["b", "c", "c"], 0.5, 0.5),
    (2, ["a", "c"], 0.49, 1.0),
    (3, ["b", "a", "c"], 0.0, 1.0),
]
TOY_LAW = PieceLaw(
    skills=("a", "b", "c"),
    measure=np.array([0.5, 0.25, 0.25]),
    counts=SkillCounts((2, 3), (0.6, 0.4)),
)


def toy(pieces: list[tuple[int, list[str], float, float]] = TOY, draws: int = 50) -> PieceAnswers:
    distance = np.array([one[2] for one in pieces])
    frame = pl.DataFrame(
        {
            "document": [one[0] for one in pieces],
            "statement": [0] * len(pieces),
            "skills": [one[1] for one in pieces],
            "questions": [2] * len(pieces),
            "chance": [0.1] * len(pieces),
            "right": [round(2 * one[3]) for one in pieces],
            "nats": -2 * np.log1p(-distance),
            "cloze_loss": distance,
            "ideal_nats": [0.0] * len(pieces),
            "excess": -np.log1p(-distance),
            "distance": distance,
            "certain": [True] * len(pieces),
        }
    )
    documents = max(one[0] for one in pieces) + 1
    return PieceAnswers(frame, TOY_LAW, bootstrap_weights(documents, draws, stream(0, "toy")))


def test_failure_success_and_wrong_answers_by_skill_are_counts_of_edges():
    answers = toy()
    assert answers.theta()[0] == pytest.approx(2 / 5)
    # a: edges in pieces 1, 2 (twice), 4, 5; b: 1, 3, 5; c: 3 (twice), 4, 5.
    np.testing.assert_allclose(answers.failure[0], [1 / 5, 2 / 3, 2 / 4])
    np.testing.assert_allclose(answers.success[0], [1 - (0.9 + 0.2 + 0.49) / 5, 1 - 1.4 / 3, 1 - 1.49 / 4])
    np.testing.assert_allclose(answers.wrong[0], [1 / 5, 1.5 / 3, 1 / 4])
    assert answers.weak_share(SINGLES, 0.5)[0] == pytest.approx(0.25)  # b alone fails more often than that
    assert answers.mean_failure(SINGLES)[0] == pytest.approx(0.5 / 5 + 0.25 * 2 / 3 + 0.25 / 2)


def test_tuples_within_a_piece_are_choices_of_its_places():
    answers, listed = toy(), tuples_of(TOY_LAW, 2)
    failing: Counter[tuple[str, ...]] = Counter()
    every: Counter[tuple[str, ...]] = Counter()
    for _, skills, distance, _ in TOY:
        for chosen in combinations(sorted(skills), 2):
            every[chosen] += 1
            failing[chosen] += distance >= 0.5
    failure, measure = answers.tuple_failure(WITHIN)
    for number, members in enumerate(listed.members.tolist()):
        names = tuple(TOY_LAW.skills[member] for member in members)
        expected = failing[names] / every[names] if every[names] else np.nan
        np.testing.assert_allclose(failure[0, number], expected)
    np.testing.assert_allclose(measure.sum(), 1)


def test_a_tuple_of_joined_pieces_fails_if_any_part_does():
    answers = toy()
    failure, measure = answers.tuple_failure(JOINED)
    a, b, c = answers.failure[0]
    expected = [1 - (1 - x) * (1 - y) for x, y in ((a, a), (a, b), (a, c), (b, b), (b, c), (c, c))]
    np.testing.assert_allclose(failure[0], expected)
    np.testing.assert_allclose(measure, [0.25, 0.25, 0.25, 0.0625, 0.125, 0.0625])
    # The mean over independent parts is that of the product.
    kept = 1 - answers.mean_failure(SINGLES)[0]
    assert answers.mean_failure(JOINED)[0] == pytest.approx(1 - kept**2)


def test_tuples_too_many_to_list_are_refused():
    many = replace(TOY_LAW, skills=tuple(map(str, range(500))), measure=np.full(500, 1 / 500))
    with pytest.raises(UserError, match="smaller tuples"):
        tuples_of(many, 3)


def test_draws_weigh_documents_not_pieces():
    weights = np.array([[1.0, 1, 1, 1], [0, 2, 1, 1]])
    answers = PieceAnswers(toy().pieces, TOY_LAW, weights)
    np.testing.assert_allclose(answers.theta(), [2 / 5, 2 / 4])


# Curves


def test_curves_of_pieces_are_those_of_the_theory():
    law = replace(TOY_LAW, counts=SkillCounts((8,), (1.0,)))
    theta = np.array([0.1, 0.0, 0.6])
    shares = {curve: curve_share(curve, theta, 2.0, law, SINGLES) for curve in Curve}
    # docs/skills-theory.md has them for θ = .1, k = 8, β = 2; no piece fails, or β·θ is above 1: no claim.
    expected = {Curve.theorem: 0.433, Curve.sharper: 0.373, Curve.exact: 0.286, Curve.markov: 0.5}
    for curve, value in expected.items():
        assert shares[curve][0] == pytest.approx(value, abs=5e-4)
        assert np.isnan(shares[curve][1:]).all()
    half = replace(TOY_LAW, counts=SkillCounts((4,), (1.0,)))
    np.testing.assert_allclose(
        curve_share(Curve.exact, theta, 2.0, law, WITHIN), curve_share(Curve.exact, theta, 2.0, half, SINGLES)
    )
    assert np.isnan(
        curve_share(Curve.exact, theta, 2.0, TOY_LAW, Tuples(size=3, kind=TupleKind.within))
    ).all()


def test_pieces_that_hold_as_many_tuples_count_together():
    assert SkillCounts((2, 3, 4), (0.25, 0.25, 0.5)).within_tuples(2) == SkillCounts((1, 2), (0.5, 0.5))


@given(theta=st.floats(1e-5, 0.3), beta=st.sampled_from([1.5, 2.0, 3.0]))
def test_the_exact_curve_is_never_above_markovs(theta: float, beta: float):
    exact, markov = (
        curve_share(curve, np.array([theta]), beta, TOY_LAW, SINGLES)[0]
        for curve in (Curve.exact, Curve.markov)
    )
    assert exact <= markov + 1e-9 or (np.isnan(exact) and np.isnan(markov))


# Tests


def cells_of(names: list[str], seeds: list[int]) -> pl.DataFrame:
    tokens = [int(name.rpartition("=")[2]) for name in names]
    return pl.DataFrame(
        {
            "cell": names,
            "layers": 1,
            "width": 8,
            "params": 1000,
            "train_tokens": tokens,
            "unique_documents": None,
            "variant": None,
            "seed": seeds,
        },
        schema_overrides={"unique_documents": pl.Int64, "variant": pl.String},
    )


def scaled(by: float) -> PieceAnswers:
    return toy([(document, skills, by * distance, right) for document, skills, distance, right in TOY])


def test_a_slingshot_starts_at_the_nearest_model_that_is_good_enough():
    excess = {"x": 1.0, "y": 0.5, "z": 0.4, "last": 0.0}
    assert slingshots(excess, 2) == [("x", "y"), ("y", "last"), ("z", "last")]
    assert slingshots(excess, 3) == [("x", "last"), ("y", "last"), ("z", "last")]


def evidence() -> SkillEvidence:
    names = ["tokens=1", "tokens=2", "tokens=3"]
    answers = dict(zip(names, (scaled(1.0), scaled(0.6), scaled(0.1)), strict=True))
    return SkillEvidence(answers, cells_of(names, [0, 0, 0]))


def ask(aspect: str, **entries: object) -> SkillQuestion:
    return SkillQuestion(aspect=aspect, cells=("tokens=1", "tokens=2", "tokens=3"), **entries)  # pyright: ignore[reportArgumentType]


def test_the_largest_of_all_comparisons_is_what_decides():
    found = assumption(evidence(), ask("certain"))
    answers = evidence().answers.values()
    assert found.effect == pytest.approx(max(one.theta()[0] - one.epsilon()[0] / log(2) for one in answers))
    assert found.lo is not None
    assert found.effect is not None
    assert found.hi is not None
    assert found.lo <= found.effect <= found.hi
    assert found.n == 3


def test_accounts_are_compared_skill_by_skill():
    wrong, failure = toy().wrong[0], toy().failure[0]
    only = replace(ask("conservative"), cells=("tokens=1",))
    assert assumption(evidence(), only).effect == pytest.approx((wrong - failure).max())
    owed = (1 - toy().failure[0]) / 2 - toy().success[0]
    found = assumption(evidence(), replace(ask("guarantee"), cells=("tokens=1",)))
    assert found.effect == pytest.approx(owed.max())


def test_tuples_of_the_better_model_are_held_against_skills_of_the_other():
    found = assumption(evidence(), ask("slingshot", tuples=JOINED, levels=(0.25, 0.5), over="mean"))
    first, second, third = evidence().answers.values()
    pairs = slingshots({name: float(one.epsilon()[0]) for name, one in evidence().answers.items()}, 2)
    assert pairs == [("tokens=1", "tokens=2"), ("tokens=2", "tokens=3")]
    expected = [
        better.weak_share(JOINED, level)[0] - worse.weak_share(SINGLES, level)[0]
        for worse, better in ((first, second), (second, third))
        for level in (0.25, 0.5)
    ]
    assert found.effect == pytest.approx(np.mean(expected))
    lonely = replace(ask("slingshot", tuples=JOINED, levels=(0.5,)), cells=("tokens=1",))
    assert assumption(evidence(), lonely).why_not == NO_PAIR


def test_where_the_theory_claims_nothing_nothing_is_found():
    nothing_fails = replace(ask("exact", beta=(2.0,)), cells=("tokens=3",))
    assert assumption(evidence(), nothing_fails).why_not == NO_CLAIM


def test_without_the_ideal_predictor_no_assumption_can_be_tested():
    known = evidence()
    pieces = known.answers["tokens=1"].pieces.with_columns(distance=pl.lit(None, dtype=pl.Float64))
    blind = replace(known, answers={"tokens=1": PieceAnswers(pieces, TOY_LAW, np.ones((1, 4)))})
    assert assumption(blind, replace(ask("linear"), cells=("tokens=1",))).why_not == NO_IDEAL


def test_the_mean_over_seeds_has_students_interval():
    names = [f"seed={seed},tokens=1" for seed in range(4)]
    answers = {
        name: PieceAnswers(scaled(by).pieces, TOY_LAW, np.ones((3, 4)))
        for name, by in zip(names, (1.0, 0.9, 0.8, 0.7), strict=True)
    }
    question = SkillQuestion(aspect="linear", cells=tuple(names), over="mean")
    found = assumption(SkillEvidence(answers, cells_of(names, [0, 1, 2, 3])), question)
    values = [one.theta()[0] - 2 * one.epsilon()[0] for one in answers.values()]
    lo, hi = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.lo, found.effect, found.hi) == pytest.approx((lo, np.mean(values), hi))
    assert found.seeds == 4


# Tables


def test_tables_of_skills_have_a_row_for_each_link_skill_pair_and_ratio():
    known = evidence()
    tables = skill_tables(known.answers, known.cells)
    assert tables.links["link"].to_list() == ["linear", "pinsker", "certain", "linear"] * 3
    first = tables.links.row(0, named=True)
    assert (first["theta"], first["n"], first["documents"]) == (pytest.approx(0.4), 5, 4)
    assert first["beyond"] == pytest.approx(first["theta"] - 2 * first["epsilon"])
    singles = tables.skills.filter(pl.col("kind") == "single", pl.col("cell") == "tokens=1")
    np.testing.assert_allclose(singles["failure"], [1 / 5, 2 / 3, 1 / 2])
    np.testing.assert_allclose(singles["lift"], np.array([5, 3, 4]) / 12 / TOY_LAW.measure)
    weak = tables.weak.filter(pl.col("kind") == "single", pl.col("beta") == 1.5, pl.col("cell") == "tokens=1")
    assert weak["share"][0] == pytest.approx(0.25)  # more than .6: b
    assert set(PIECES) == {"cell", *toy().pieces.columns}


def test_documents_without_a_whole_piece_leave_tables_without_numbers():
    none = PieceAnswers(toy().pieces.clear(), TOY_LAW, toy().weights)
    names = ["tokens=1"]
    tables = skill_tables({"tokens=1": none}, cells_of(names, [0]))
    assert tables.links["theta"].null_count() == tables.links.height == 4
    assert tables.skills["failure"].null_count() == tables.skills.height
    assert tables.weak["share"].null_count() == tables.weak.height
    found = assumption(
        SkillEvidence({"tokens=1": none}, cells_of(names, [0])), replace(ask("linear"), cells=("tokens=1",))
    )
    assert found.why_not == NO_CLAIM
