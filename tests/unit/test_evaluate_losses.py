"""Losses of documents against closed forms and against one document at a time."""

import numpy as np
import polars as pl
import pytest

from emergelab.evaluate.losses import (
    DOCUMENT_LOSSES,
    Documents,
    corpus_loss,
    losses_by_document,
    token_losses,
)
from emergelab.rng import stream
from small_predictors import Erratic, Uniform

NAMES = ("start", "argument", "answer")


def documents(lengths: list[int]):
    generator = stream(0, "documents").generator()
    shape = (len(lengths), 9)
    return Documents(
        tokens=generator.integers(5, size=shape).astype(np.uint16),
        lengths=np.array(lengths, dtype=np.int32),
        roles=generator.integers(len(NAMES), size=shape).astype(np.uint8),
        role_names=NAMES,
    )


@pytest.mark.parametrize("batch", [1, 2, 128])
def test_each_token_costs_what_it_costs_alone(batch: int):
    found = documents([9, 4, 2, 1])
    predictor = Erratic(5)
    losses = token_losses(predictor, found, batch=batch)
    for row, length in enumerate(found.lengths):
        tokens = found.tokens[row]
        alone = [-predictor.next_token(tokens[:t])[tokens[t]] for t in range(1, length)]
        np.testing.assert_allclose(losses[row, : length - 1], alone, rtol=1e-6)
        assert np.isnan(losses[row, length - 1 :]).all()


def test_padding_does_not_count():
    found = documents([9, 4, 2])
    padded = Documents(tokens=np.pad(found.tokens, ((0, 0), (0, 5))), lengths=found.lengths)
    assert corpus_loss(Erratic(5), padded) == pytest.approx(corpus_loss(Erratic(5), found), rel=1e-6)


def test_a_predictor_that_knows_nothing_loses_the_log_of_the_vocabulary():
    assert corpus_loss(Uniform(5), documents([9, 3])) == pytest.approx(np.log(5), rel=1e-6)


def test_documents_of_one_token_have_no_loss():
    assert np.isnan(corpus_loss(Uniform(5), documents([1, 1])))


def test_sums_by_document_and_role_add_up():
    found = documents([9, 4, 2, 1])
    frame = losses_by_document(Erratic(5), found)
    assert frame.schema == DOCUMENT_LOSSES
    whole = frame.filter(pl.col("role").is_null())
    assert dict(whole.select("document", "tokens").iter_rows()) == {0: 8, 1: 3, 2: 1}
    parts = frame.filter(pl.col("role").is_not_null())
    sums = parts.group_by("document").agg(pl.col("tokens", "nats").sum()).sort("document")
    np.testing.assert_allclose(sums["nats"], whole["nats"])
    assert sums["tokens"].to_list() == whole["tokens"].to_list()
    losses = token_losses(Erratic(5), found)
    answers = losses[0][found.roles[0, 1:] == 2]
    row = parts.row(by_predicate=(pl.col("document") == 0) & (pl.col("role") == "answer"), named=True)
    assert (row["tokens"], row["nats"]) == (len(answers), pytest.approx(float(answers.sum()), rel=1e-6))


def test_without_roles_there_is_one_row_for_each_document():
    found = documents([9, 4])
    frame = losses_by_document(Uniform(5), Documents(tokens=found.tokens, lengths=found.lengths))
    assert frame["role"].to_list() == [None, None]
    assert frame["nats"].sum() == pytest.approx(11 * np.log(5), rel=1e-6)


def test_functions_that_tokens_need_are_summed_by_name_and_number():
    """Against a loop over tokens: each function of a token once, and the whole of it by the number of functions."""
    found = documents([9, 9, 5])
    label = {(): 0, (0,): 1, (1, 1): 2 | 2 << 16, (2, 0): 3 | 1 << 16}
    label[0, 1, 2, -1] = 1 | 2 << 16 | 3 << 32 | 0xFFFF << 48
    drawn = stream(1, "skills").generator().integers(len(label), size=found.tokens.shape)
    needed = [[list(label)[number] for number in row] for row in drawn.tolist()]
    skilled = Documents(
        tokens=found.tokens,
        lengths=found.lengths,
        skills=np.array([[label[one] for one in row] for row in needed], dtype=np.uint64),
        skill_names=("f1", "f2", "g1"),
    )
    frame = losses_by_document(Erratic(5), skilled)
    assert frame.schema == DOCUMENT_LOSSES
    losses = token_losses(Erratic(5), skilled)
    expected: dict[tuple[int, str | None, int | None], list[float]] = {}
    for document, length in enumerate(found.lengths.tolist()):
        for place in range(1, length):
            functions, nats = needed[document][place], float(losses[document, place - 1])
            names = {{0: "f1", 1: "f2", 2: "g1", -1: "more"}[number] for number in functions}
            number = 5 if -1 in functions else len(functions)
            for key in [(document, None, None), (document, None, number)] + [
                (document, n, None) for n in names
            ]:
                expected.setdefault(key, []).append(nats)
    rows = frame.select("document", "skill", "needed", "tokens", "nats").rows()
    assert len(rows) == len(expected)
    for document, skill, number, tokens, nats in rows:
        costs = expected[document, skill, number]
        assert (tokens, nats) == (len(costs), pytest.approx(sum(costs), rel=1e-6))
