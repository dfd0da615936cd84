"""Answers that the predictor writes itself, greedily, after examples that are true."""

from __future__ import annotations

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Int32, UInt16

from emergelab.evaluate.items import AnswerPlaces, ScoredAnswers, item_table
from emergelab.evaluate.shots import batches, next_token_law
from emergelab.scores.predictor import Branches, BranchingPredictor, Predictor
from emergelab.scores.prompts import PromptSet


def generate_answers(
    predictor: Predictor, prompts: PromptSet, *, cell: str, batch: int = 128
) -> pl.DataFrame:
    """Let the predictor write every answer token by token; return an `ITEMS` frame without nats.

    The examples before a query are the true ones; as many tokens are written as the true answer has. Step
    0 is right when all of them are, a printed step when the token at its place is, whatever was written
    before it. A token that does not lead strictly is wrong (the first of the leaders is read on from).
    A predictor with branches reads each prompt once; any other one rereads every prefix.
    """
    places = AnswerPlaces.of(prompts)
    parts = [
        # Nothing is ever written behind the last token: a model need not have room for it.
        _write(_branches(predictor, prompts.tokens[part, :-1]), places.first[part], places.width)
        for part in batches(len(prompts.tokens), batch)
    ]
    written = np.concatenate([part[0] for part in parts])
    leads = np.concatenate([part[1] for part in parts])
    right = leads & (written == places.take(prompts.tokens))
    scored = ScoredAnswers(predictor=predictor.name, decoding="free", right=right, nats=None)
    return item_table(prompts, scored, cell=cell)


class RereadPrefixes:
    """Branches for a predictor that offers none: every prefix is written out and read from its start."""

    def __init__(self, predictor: Predictor, tokens: UInt16[np.ndarray, "prompts length"]) -> None:
        self._predictor = predictor
        self._tokens = tokens

    def log_probabilities(
        self,
        stops: Int32[np.ndarray, "prompts branches"],
        continuations: UInt16[np.ndarray, "prompts branches added"],
    ) -> Float32[np.ndarray, "prompts branches vocabulary"]:
        """Return ln P(next token | the first `stops` tokens of the prompt, then the continuation)."""
        law = np.empty((*stops.shape, self._predictor.vocabulary_size), dtype=np.float32)
        for branch in range(stops.shape[1]):
            for stop in np.unique(stops[:, branch]):
                rows = np.nonzero(stops[:, branch] == stop)[0]
                prefixes = np.concatenate([self._tokens[rows, :stop], continuations[rows, branch]], axis=1)
                law[rows, branch] = next_token_law(self._predictor, prefixes)[:, -1]
        return law


def _branches(predictor: Predictor, tokens: UInt16[np.ndarray, "prompts length"]) -> Branches:
    if isinstance(predictor, BranchingPredictor):
        return predictor.branches(tokens)
    return RereadPrefixes(predictor, tokens)


def _write(
    branches: Branches, stops: Int32[np.ndarray, "prompts rows"], width: int
) -> tuple[UInt16[np.ndarray, "prompts rows width"], Bool[np.ndarray, "prompts rows width"]]:
    """Write `width` tokens behind every prefix; return them and whether each led strictly."""
    written = np.empty((*stops.shape, width), dtype=np.uint16)
    leads = np.empty((*stops.shape, width), dtype=np.bool_)
    for place in range(width):
        law = branches.log_probabilities(stops, written[..., :place])
        written[..., place], leads[..., place] = _leader(law)
    return written, leads


def _leader(
    law: Float32[np.ndarray, "prompts rows vocabulary"],
) -> tuple[UInt16[np.ndarray, "prompts rows"], Bool[np.ndarray, "prompts rows"]]:
    """Return the likeliest token and whether no other one is as likely. Raises ValueError on NaN."""
    if np.isnan(law).any():
        raise ValueError("A predictor's branches returned NaN, which is no probability.")
    token = law.argmax(axis=2).astype(np.uint16)
    best = law.max(axis=2, keepdims=True)
    return token, np.count_nonzero(law >= best, axis=2) == 1
