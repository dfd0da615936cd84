"""Putting a predictor to the questions of a grammar: one way for trained models and for everything else."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from emergelab.analysis.losses import losses_by_role
from emergelab.corpus.documents import ROLES, Corpus
from emergelab.evaluate.generation import generate_answers
from emergelab.evaluate.losses import Documents, losses_by_document
from emergelab.evaluate.shots import score_prompts
from emergelab.grammar.language import Language
from emergelab.rng import Stream
from emergelab.scores.predictor import Predictor
from emergelab.scores.prompts import PromptSet


def items_of(predictor: Predictor, prompts: Iterable[PromptSet], *, cell: str) -> pl.DataFrame:
    """Return the `ITEMS` of all prompts, each answered teacher-forced and in free generation."""
    tables: list[pl.DataFrame] = []
    for one in prompts:
        tables += [score_prompts(predictor, one, cell=cell), generate_answers(predictor, one, cell=cell)]
    return pl.concat(tables)


def losses_of(
    predictor: Predictor, language: Language, key: Stream, *, documents: int, context: int
) -> pl.DataFrame:
    """Return the `LOSSES`, nats per token as a whole and by role, on documents of the training law.

    `key` names the evaluation's source of randomness: the documents have a stream of their own, which no
    run trains on.
    """
    sample = Corpus(language, key.child("documents"), context=context).sample(
        np.arange(documents, dtype=np.int64)
    )
    read = Documents(tokens=sample.tokens, lengths=sample.lengths, roles=sample.roles, role_names=ROLES)
    return losses_by_role(losses_by_document(predictor, read))
