"""Teacher-forced scores of all numbers of examples of a prompt from one forward pass.

A prompt of n + 1 rows holds n + 1 prompts: up to row s it is the prompt with s examples. A predictor
never looks ahead, so one pass over the longest scores them all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, UInt16

from emergelab.evaluate.items import AnswerPlaces, ScoredAnswers, item_table
from emergelab.scores.predictor import Predictor
from emergelab.scores.prompts import PromptSet


def score_prompts(predictor: Predictor, prompts: PromptSet, *, cell: str, batch: int = 128) -> pl.DataFrame:
    """Score every answer of every prompt with the true tokens before it; return an `ITEMS` frame.

    An answer (step 0) is right when each of its tokens is strictly likelier than every other token of the
    vocabulary: a tie is wrong, or a predictor that knows nothing would score by the order of its tokens.
    `nats` is -ln P of the tokens, summed over the answer. Memory grows with `batch`, not with the prompts.
    Raises ValueError when the predictor returns NaN or a wrong shape.
    """
    parts = [_token_scores(predictor, prompts.tokens[part]) for part in batches(len(prompts.tokens), batch)]
    places = AnswerPlaces.of(prompts)
    # The score of the token at place t stands at t - 1.
    targets = AnswerPlaces(places.first - 1, places.stop - 1)
    right = targets.take(np.concatenate([part[0] for part in parts]))
    nats = targets.take(np.concatenate([part[1] for part in parts]))
    scored = ScoredAnswers(predictor=predictor.name, decoding="teacher_forced", right=right, nats=nats)
    return item_table(prompts, scored, cell=cell)


def batches(count: int, batch: int) -> Iterator[slice]:
    """Cut `count` prompts into slices of at most `batch`; no prompts are one empty slice."""
    for start in range(0, max(count, 1), batch):
        yield slice(start, min(start + batch, count))


def next_token_law(
    predictor: Predictor, tokens: UInt16[np.ndarray, "prompts length"]
) -> Float32[np.ndarray, "prompts length vocabulary"]:
    """Return the predictor's log-probabilities in nats. Raises ValueError on NaN or a wrong shape."""
    law = predictor.log_probabilities(tokens)
    expected = (*tokens.shape, predictor.vocabulary_size)
    if law.shape != expected:
        raise ValueError(f"Predictor {predictor.name!r} must return shape {expected}. Got {law.shape}.")
    if np.isnan(law).any():
        raise ValueError(f"Predictor {predictor.name!r} returned NaN, which is no probability.")
    return law


def next_token_nats(
    law: Float32[np.ndarray, "prompts length vocabulary"], tokens: UInt16[np.ndarray, "prompts length"]
) -> Float32[np.ndarray, "prompts length"]:
    """Return -ln P of each of the `tokens` under the law that stands at its place."""
    return -np.take_along_axis(law, tokens[..., None].astype(np.intp), axis=2)[..., 0]


def _token_scores(
    predictor: Predictor, tokens: UInt16[np.ndarray, "prompts length"]
) -> tuple[Bool[np.ndarray, "prompts targets"], Float32[np.ndarray, "prompts targets"]]:
    law = next_token_law(predictor, tokens[:, :-1])
    nats = next_token_nats(law, tokens[:, 1:])
    rivals = np.count_nonzero(law >= -nats[..., None], axis=2)  # the token itself is one of them
    return rivals == 1, nats
