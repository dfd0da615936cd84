"""Text-pieces in documents: what skills each needs, and what a predictor makes of its cloze questions.

A piece is a statement of a document (Arora and Goyal 2023, arXiv 2307.15936, with the functions of a grammar for
skills). Its skills are the functions that its tokens need, in order and as often as they occur; of a loop those of its
first row, for the others repeat them. Its cloze questions are the objects and words that it prints as answers and on
the way to them: what stands there, given all that stands before?
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Float64, Int64, UInt16, UInt64

from emergelab.corpus.documents import ROLES, Documents, skills_of
from emergelab.evaluate.losses import MORE
from emergelab.evaluate.shots import batches, next_token_law
from emergelab.grammar.language import END_TOKEN
from emergelab.scores.predictor import Predictor
from emergelab.scores.tables import PIECES

_ASKED = tuple(ROLES.index(role) for role in ("intermediate", "answer"))
_CERTAIN = 1e-6  # nats of the ideal predictor's law: rounding of an answer that it knows

Laws = Float32[np.ndarray, "questions vocabulary"]
Values = Float64[np.ndarray, " questions"]


@dataclass(frozen=True, eq=False)
class Questions:
    """All cloze questions of some documents: the place of the token that is asked for, and the number of its piece."""

    document: Int64[np.ndarray, " questions"]
    place: Int64[np.ndarray, " questions"]
    piece: Int64[np.ndarray, " questions"]
    answer: UInt16[np.ndarray, " questions"]


def find_pieces(
    documents: Documents, skill_names: tuple[str, ...], objects: int
) -> tuple[pl.DataFrame, Questions]:
    """Return the pieces (columns of `PIECES` but `cell` and what a predictor makes of them) and their questions.

    A statement that a document's end cuts off is none, nor is one that asks nothing or needs no function.
    """
    document, place = np.nonzero(np.isin(documents.roles, _ASKED) & _whole(documents))
    tokens = pl.DataFrame(
        {
            "document": document.astype(np.int32),
            "statement": documents.statements[document, place],
            "skills": _named(documents.skills[document, place], skill_names),
            "first": documents.rows[document, place] <= 0,
        }
    )
    found = (
        tokens.group_by("document", "statement", maintain_order=True)
        .agg(pl.col("skills").filter("first").explode(), questions=pl.len().cast(pl.Int16))
        .filter(pl.col("skills").list.len() > 0)
    )
    numbered = found.select("document", "statement", number=pl.int_range(pl.len()))
    numbers = tokens.join(numbered, on=["document", "statement"], how="left", maintain_order="left")["number"]
    known = numbers.is_not_null().to_numpy()
    questions = Questions(
        document=document[known],
        place=place[known],
        piece=numbers.drop_nulls().to_numpy().astype(np.int64),
        answer=documents.tokens[document, place][known],
    )
    return found.with_columns(chance=(1 / objects) ** pl.col("questions").cast(pl.Float64)), questions


def _named(packed: UInt64[np.ndarray, " tokens"], skill_names: tuple[str, ...]) -> pl.Series:
    """Return the names of the functions that each token needs, as a list."""
    labels, label = np.unique(packed, return_inverse=True)  # there are few
    names = [[MORE if one < 0 else skill_names[one] for one in skills_of(int(value))] for value in labels]
    return pl.Series(names, dtype=pl.List(pl.String)).gather(label)


def _whole(documents: Documents) -> Bool[np.ndarray, "documents length"]:
    """Tell which tokens stand in statements that no end of a document cuts off."""
    last = (np.arange(len(documents.lengths)), documents.lengths - 1)
    cut = documents.tokens[last] != END_TOKEN
    return ~(cut[:, None] & (documents.statements == documents.statements[last][:, None]))


def question_laws(
    predictor: Predictor,
    tokens: UInt16[np.ndarray, "documents length"],
    questions: Questions,
    *,
    batch: int = 128,
) -> Laws:
    """Return the predictor's log-probabilities of what stands at each question, in nats.

    Raises ValueError when the predictor returns NaN or a wrong shape.
    """
    laws = np.empty((len(questions.place), predictor.vocabulary_size), dtype=np.float32)
    for part in batches(len(tokens), batch):
        inside = (questions.document >= part.start) & (questions.document < part.stop)
        law = next_token_law(predictor, tokens[part, :-1])
        laws[inside] = law[questions.document[inside] - part.start, questions.place[inside] - 1]
    return laws


def piece_values(laws: Laws, ideal: Laws | None, questions: Questions, pieces: int) -> pl.DataFrame:
    """Return what a predictor makes of each piece, the last columns of `PIECES`, from its laws and the ideal ones.

    An answer is right when it is strictly likelier than every other token.
    """
    at = (np.arange(len(laws)), questions.answer.astype(np.intp))
    nats = -laws[at].astype(np.float64)
    sums = _Sums(questions.piece, pieces)
    right = np.count_nonzero(laws >= laws[at][:, None], axis=1) == 1
    values = {
        "right": sums.total(right.astype(np.float64)),
        "nats": sums.total(nats),
        "cloze_loss": sums.mean(-np.expm1(-nats)),
    }
    if ideal is not None:
        values |= _against_ideal(laws, ideal, at, sums)
    frame = pl.DataFrame(values)
    missing = [pl.lit(None).alias(name) for name in _OF_PIECE if name not in values]
    return frame.with_columns(missing).select(pl.col(name).cast(PIECES[name]) for name in _OF_PIECE)


_OF_PIECE = ("right", "nats", "cloze_loss", "ideal_nats", "excess", "distance", "certain")


def _against_ideal(
    laws: Laws, ideal: Laws, at: tuple[np.ndarray, np.ndarray], sums: _Sums
) -> dict[str, np.ndarray]:
    log_q, log_m = laws.astype(np.float64), ideal.astype(np.float64)
    m = np.exp(log_m)
    # What cannot come adds nothing; what the predictor rules out and may come costs infinity.
    ratio = np.where(m > 0, log_m, 0.0) - np.where(m > 0, log_q, 0.0)
    excess = np.maximum((m * ratio).sum(axis=1), 0.0)
    known = -log_m[at]
    return {
        "ideal_nats": sums.total(known),
        "excess": sums.mean(excess),
        "distance": sums.mean(np.abs(np.exp(log_q) - m).sum(axis=1) / 2),
        "certain": sums.total((known > _CERTAIN).astype(np.float64)) == 0,
    }


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums and means over the questions of each piece; every piece has one at least."""

    piece: Int64[np.ndarray, " questions"]
    pieces: int

    def total(self, values: Values) -> Float64[np.ndarray, " pieces"]:
        return np.bincount(self.piece, weights=values, minlength=self.pieces)

    def mean(self, values: Values) -> Float64[np.ndarray, " pieces"]:
        return self.total(values) / np.bincount(self.piece, minlength=self.pieces)
