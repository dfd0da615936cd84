"""The steps that measure skills on text-pieces: documents with the ideal predictor's laws, and a model's answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emergelab.analysis.skills.known import PieceLaw
from emergelab.corpus.documents import Corpus
from emergelab.errors import UserError
from emergelab.evaluate.pieces import Questions, find_pieces, piece_values, question_laws
from emergelab.pipeline.step import StepContext
from emergelab.recipes.oracle import exactness, ideal_predictor
from emergelab.recipes.stages import language_of
from emergelab.rng import stream
from emergelab.spec import JsonObject, canonical_json

LAW_DOCUMENTS = 1 << 15
"""Documents on which the law of pieces is measured: shares of skills have standard errors of .001 or less."""

Spec = Mapping[str, Any]
Inputs = Mapping[str, Path]


def draw_pieces(spec: Spec, inputs: Inputs, out: Path, context: StepContext) -> None:
    """Leave the pieces of documents that no run trains on, their questions, law, and what the ideal predictor says.

    There are no laws where the ideal predictor is out of reach. Raises UserError where statements need no function.
    """
    del inputs
    language = language_of(spec["language"])
    names = tuple(language.function_names())
    key = stream(spec["evaluation_key"], "evaluation")
    many = Corpus(language, key.child("law of pieces"), context=spec["context"]).sample(
        np.arange(LAW_DOCUMENTS, dtype=np.int64)
    )
    context.progress(1, 3)
    documents = Corpus(language, key.child("pieces"), context=spec["context"]).sample(
        np.arange(spec["documents"], dtype=np.int64)
    )
    pieces, questions = find_pieces(documents, names, language.objects)
    # Together, so that no piece needs a skill that the law does not know.
    law = PieceLaw.of(pl.concat([find_pieces(many, names, language.objects)[0], pieces]))
    record: JsonObject = dict(law.record())
    try:
        ideal = ideal_predictor(language, "train", name="ideal_train")
    except UserError as error:
        record["out_of_reach"] = str(error)
    else:
        context.progress(2, 3)
        record |= exactness(ideal)
        np.save(out / "laws.npy", question_laws(ideal, documents.tokens, questions), allow_pickle=False)
    np.save(out / "tokens.npy", documents.tokens, allow_pickle=False)
    pieces.write_parquet(out / "pieces.parquet", compression="zstd")
    columns = {field.name: getattr(questions, field.name) for field in fields(questions)}
    pl.DataFrame(columns).write_parquet(out / "questions.parquet", compression="zstd")
    (out / "law.json").write_text(canonical_json(record), encoding="utf-8")


def score_pieces(spec: Spec, inputs: Inputs, out: Path, context: StepContext) -> None:
    """Leave what a model makes of the pieces: `PIECES` but their cell."""
    from emergelab.evaluate.trained import TrainedPredictor  # noqa: PLC0415 - loads torch
    from emergelab.train.checkpoint import milestone_path, read_checkpoint  # noqa: PLC0415 - loads torch

    del context
    checkpoint = read_checkpoint(milestone_path(inputs["train"], spec["tokens"]))
    predictor = TrainedPredictor("model", checkpoint.spec, checkpoint.parameters)
    texts = inputs["texts"]
    asked = pl.read_parquet(texts / "questions.parquet")
    questions = Questions(**{name: asked[name].to_numpy() for name in asked.columns})
    pieces = pl.read_parquet(texts / "pieces.parquet")
    laws = question_laws(predictor, np.load(texts / "tokens.npy", allow_pickle=False), questions)
    known = texts / "laws.npy"
    ideal = np.load(known, allow_pickle=False) if known.is_file() else None
    values = piece_values(laws, ideal, questions, len(pieces))
    pieces.hstack(values).write_parquet(out / "pieces.parquet", compression="zstd")


def law_of(texts: Path) -> PieceLaw:
    """Return the law of the pieces that `draw_pieces` left."""
    return PieceLaw.from_record(json.loads((texts / "law.json").read_text(encoding="utf-8")))
