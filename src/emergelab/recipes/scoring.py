"""Putting a predictor to the questions of a grammar: one way for trained models and for everything else."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from emergelab.analysis.losses import losses_by_role
from emergelab.corpus.documents import ROLES, Corpus
from emergelab.errors import UserError
from emergelab.evaluate.generation import generate_answers
from emergelab.evaluate.losses import Documents, losses_by_document
from emergelab.evaluate.shots import score_prompts
from emergelab.grammar.language import Language
from emergelab.rng import Stream
from emergelab.scores.predictor import Predictor
from emergelab.scores.prompts import PromptSet

_TRIED = 4  # prompts on which a predictor is tried out
_SLACK = 0.01  # in probabilities: what rounding in 16 bits may come to


def items_of(predictor: Predictor, prompts: Iterable[PromptSet], *, cell: str) -> pl.DataFrame:
    """Return the `ITEMS` of all prompts, each answered teacher-forced and in free generation."""
    tables: list[pl.DataFrame] = []
    for one in prompts:
        tables += [score_prompts(predictor, one, cell=cell), generate_answers(predictor, one, cell=cell)]
    return pl.concat(tables)


def losses_of(
    predictor: Predictor, language: Language, key: Stream, *, documents: int, context: int
) -> pl.DataFrame:
    """Return the `LOSSES`, nats per token as a whole and by role, of `document_losses`."""
    return losses_by_role(document_losses(predictor, language, key, documents=documents, context=context))


def document_losses(
    predictor: Predictor, language: Language, key: Stream, *, documents: int, context: int
) -> pl.DataFrame:
    """Return the `DOCUMENT_LOSSES` on documents of the training law.

    `key` names the evaluation's source of randomness: the documents have a stream of their own, which no
    run trains on.
    """
    sample = Corpus(language, key.child("documents"), context=context).sample(
        np.arange(documents, dtype=np.int64)
    )
    read = Documents(
        tokens=sample.tokens,
        lengths=sample.lengths,
        roles=sample.roles,
        role_names=ROLES,
        skills=sample.skills,
        skill_names=tuple(language.function_names()),
    )
    return losses_by_document(predictor, read)


def require_vocabulary(predictor: object, vocabulary: int) -> None:
    """Refuse what is no predictor, or none of these tokens. Raises UserError."""
    if not isinstance(predictor, Predictor):
        raise UserError(
            f"Got {predictor!r:.80} for a predictor. A predictor has a name, a vocabulary_size and the method "
            "log_probabilities(tokens). Write a class with these three."
        )
    if predictor.vocabulary_size != vocabulary:
        raise UserError(
            f"The predictor {predictor.name!r} knows {predictor.vocabulary_size} tokens, and the grammar has "
            f"{vocabulary}. A predictor gives every token of the grammar a probability. "
            "Use a predictor made for this grammar."
        )


def require_law(predictor: Predictor, prompts: PromptSet) -> None:
    """Try a predictor on a few prompts: it must give laws of the next token, and not look ahead.

    That all numbers of examples are scored in one pass rests on it. Raises UserError.
    """
    tokens = prompts.tokens[:_TRIED, :-1]
    law = _probabilities(predictor, tokens)
    half = tokens.shape[1] // 2
    changed = tokens.copy()
    changed[:, half:] = changed[::-1, half:][:, ::-1]
    if np.abs(law - _probabilities(predictor, changed))[:, :half].max(initial=0.0) > _SLACK:
        raise UserError(
            f"The predictor {predictor.name!r} says something else about a place when only tokens behind it differ. A "
            "predictor does not look ahead, and says the same each time. Use the tokens up to and with a place only."
        )


def _probabilities(predictor: Predictor, tokens: np.ndarray) -> np.ndarray:
    law = np.asarray(predictor.log_probabilities(tokens))
    expected = (*tokens.shape, predictor.vocabulary_size)
    if law.shape != expected:
        raise UserError(
            f"The predictor {predictor.name!r} returned the shape {law.shape} for {tokens.shape[0]} prompts of "
            f"{tokens.shape[1]} tokens. It returns a log-probability of every token behind every place. "
            f"Return {expected}."
        )
    probabilities = np.exp(law.astype(np.float64))
    sums = probabilities.sum(axis=2)
    worst = float(sums.flat[np.argmax(np.abs(sums - 1.0))]) if sums.size else 1.0
    # Written so that NaN is refused, too.
    if not abs(worst - 1.0) <= _SLACK:
        raise UserError(
            f"The probabilities of the predictor {predictor.name!r} sum to {worst:.4g} at some place. They sum to 1. "
            "Return natural logarithms of probabilities, -inf for 0."
        )
    return probabilities
