"""The steps' functions: each reads a spec and its inputs' folders and fills a folder.

They run in worker processes. Heavy libraries are imported where they are used, so that a worker that only
makes tables never loads torch.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from emergelab.analysis.aggregate import CELLS, curves_from_scores, scores_from_items
from emergelab.analysis.gains import paired_gain
from emergelab.corpus.documents import ROLES, Corpus
from emergelab.corpus.prompts import make_prompts
from emergelab.grammar.checks import require_valid
from emergelab.grammar.holdout import draw_language, prove_no_overlap
from emergelab.grammar.notation import parse
from emergelab.model.spec import ModelSpec
from emergelab.pipeline.step import StepContext
from emergelab.rng import Stream, stream
from emergelab.spec import Json, JsonObject, canonical_json
from emergelab.train.spec import TrainSpec

if TYPE_CHECKING:
    from emergelab.evaluate.trained import TrainedPredictor
    from emergelab.grammar.language import Language

SAMPLES = 6
LOSS_POINTS = 200

Spec = Mapping[str, Any]
Inputs = Mapping[str, Path]


def language_of(spec: Spec) -> Language:
    """Draw the language that a step's spec names by grammar text and world key."""
    text = spec["grammar"]
    grammar = parse(text, name=spec["name"])
    require_valid(grammar, spec["name"], text)
    return draw_language(grammar, stream(spec["key"], "world"))


def data_stream(key: int, seed: int) -> Stream:
    """Return the stream of the training documents of a seed."""
    return stream(key, "data", seed)


def make_corpus(spec: Spec, inputs: Inputs, out: Path, context: StepContext) -> None:
    """Draw the language, prove that training shows nothing held out, and keep some sample documents."""
    del inputs
    language = language_of(spec["language"])
    proof = prove_no_overlap(language)
    corpus = Corpus(language, data_stream(spec["data_key"], 0), context=spec["context"])
    context.progress(1, 2)
    vocabulary = language.vocabulary
    record: JsonObject = {
        "overlap": {
            "training_tables": proof.training_tables,
            "held_out_tables": proof.held_out_tables,
            "overlap": proof.overlap,
        },
        "vocabulary": list(vocabulary.texts),
        "functions": dict(zip(language.function_names(), language.tables.tolist(), strict=True)),
        "held_out": sorted(np.frombuffer(table, dtype=np.uint16).tolist() for table in language.held_out),
        "mean_targets": corpus.mean_targets(),
        "samples": _samples(corpus),
    }
    (out / "corpus.json").write_text(canonical_json(record), encoding="utf-8")


def _samples(corpus: Corpus) -> Json:
    documents = corpus.sample(np.arange(SAMPLES, dtype=np.int64))
    texts = corpus.language.vocabulary.texts
    return [
        [
            [texts[documents.tokens[i, t]], ROLES[documents.roles[i, t]]]
            for t in range(int(documents.lengths[i]))
        ]
        for i in range(SAMPLES)
    ]


def train_run(spec: Spec, inputs: Inputs, out: Path, context: StepContext) -> None:
    """Train one model; leave a checkpoint for each milestone and the log of losses."""
    from emergelab.train.loop import (  # noqa: PLC0415 - loads torch
        Run,
        choose_device,
        choose_dtype,
        train,
    )

    measured = json.loads((inputs["corpus"] / "corpus.json").read_text(encoding="utf-8"))
    settings = TrainSpec.model_validate_json(json.dumps(spec["train"]))
    model = ModelSpec.model_validate_json(json.dumps(spec["model"]))
    keys = spec["keys"]
    corpus = Corpus(
        language_of(spec["language"]),
        data_stream(keys["data"], spec["seed"]),
        context=model.context,
        documents=spec["documents"],
    )
    run = Run(
        model=model,
        train=settings,
        data=lambda step: corpus.batch(step, settings.batch),
        initialisation=stream(keys["initialisation"], "initialisation", spec["seed"]),
        tokens_per_step=settings.batch * measured["mean_targets"],
        directory=out,
        scratch=context.scratch,
    )
    with _notes_to_user(context):
        train(run, context.progress)
    device = choose_device(run.device)
    description: JsonObject = {
        "layers": model.layers,
        "width": model.width,
        "seed": spec["seed"],
        "device": str(device),
        "precision": str(choose_dtype(settings, device)).removeprefix("torch."),
    }
    (out / "run.json").write_text(canonical_json(description), encoding="utf-8")


@contextlib.contextmanager
def _notes_to_user(context: StepContext) -> Generator[None]:
    logger, handler = logging.getLogger("emergelab"), _NotesToUser(context)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _NotesToUser(logging.Handler):
    """Shows what a stage logs as notes of its step."""

    def __init__(self, context: StepContext) -> None:
        super().__init__(logging.WARNING)
        self._context = context

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the sentence on."""
        self._context.note(record.getMessage())


def score_cell(spec: Spec, inputs: Inputs, out: Path, context: StepContext) -> None:
    """Score one trained model on all tasks, teacher-forced and in free generation, and its loss."""
    from emergelab.evaluate.trained import TrainedPredictor  # noqa: PLC0415 - loads torch
    from emergelab.recipes.scoring import items_of  # noqa: PLC0415
    from emergelab.train.checkpoint import milestone_path, read_checkpoint  # noqa: PLC0415 - loads torch

    language = language_of(spec["language"])
    evaluate, cell = spec["evaluate"], spec["cell"]
    checkpoint = read_checkpoint(milestone_path(inputs["train"], spec["tokens"]))
    predictor = TrainedPredictor("model", checkpoint.spec, checkpoint.parameters)
    key = stream(spec["evaluation_key"], "evaluation")
    tables: list[pl.DataFrame] = []
    for done, task in enumerate(evaluate["tasks"]):
        context.progress(done, len(evaluate["tasks"]))
        prompts = make_prompts(
            language, task, shots=evaluate["shots"], prompts=evaluate["prompts"], stream=key.child("prompts")
        )
        tables.append(items_of(predictor, prompts, cell=cell))
    pl.concat(tables).write_parquet(out / "items.parquet", compression="zstd")
    model = checkpoint.spec
    record: JsonObject = {
        "cell": cell,
        "layers": model.layers,
        "width": model.width,
        "params": model.parameters(),
        "train_tokens": spec["tokens"],
        "counted_tokens": checkpoint.tokens,
        "documents_read": checkpoint.step * spec["batch"],
        "unique_documents": spec["documents"],
        "flops": float(model.training_flops(spec["tokens"])),
        "seed": spec["seed"],
        **_loss(predictor, model.context, language, (evaluate["loss_documents"], key)),
    }
    (out / "cell.json").write_text(canonical_json(record), encoding="utf-8")


def _loss(
    predictor: TrainedPredictor, context: int, language: Language, asked: tuple[int, Stream]
) -> JsonObject:
    """Return nats per token on documents of the training law, from a stream of their own, with an interval."""
    from emergelab.recipes.scoring import losses_of  # noqa: PLC0415

    documents, key = asked
    whole = losses_of(predictor, language, key, documents=documents, context=context).row(0, named=True)
    names = {"loss": "nats", "loss_lo": "nats_lo", "loss_hi": "nats_hi", "loss_method": "nats_method"}
    return {name: whole[column] for name, column in names.items()}


def make_tables(spec: Spec, inputs: Inputs, out: Path, context: StepContext) -> None:
    """Join the cells' items and summarise them: items, scores, curves, gains, and the training losses."""
    del spec
    # In the order of names: equal inputs make equal bytes, however the study listed them.
    inputs = dict(sorted(inputs.items()))
    folders = [folder for name, folder in inputs.items() if name.startswith("cell ")]
    records = [json.loads((folder / "cell.json").read_text(encoding="utf-8")) for folder in folders]
    cells = pl.DataFrame([{name: record[name] for name in CELLS} for record in records], schema=CELLS)
    items = pl.concat([pl.read_parquet(folder / "items.parquet") for folder in folders])
    context.progress(1, 3)
    scores = scores_from_items(items, cells)
    context.progress(2, 3)
    tables = {
        "items": items,
        "scores": scores,
        "curves": curves_from_scores(scores, items),
        "gains": paired_gain(items),
        "losses": _losses(inputs),
        "cells": pl.DataFrame(records).sort("layers", "width", "seed", "train_tokens", "cell"),
    }
    for name, table in tables.items():
        table.write_parquet(out / f"{name}.parquet", compression="zstd")


def _losses(inputs: Inputs) -> pl.DataFrame:
    """Return the training losses of all runs, averaged over short stretches of steps."""
    return pl.concat(
        [
            _thinned(pl.read_parquet(folder / "log.parquet")).select(
                *_columns_of_run(name, folder), "tokens", "loss"
            )
            for name, folder in inputs.items()
            if name.startswith("run ")
        ]
    )


def _columns_of_run(name: str, folder: Path) -> list[pl.Expr]:
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    sizes = [pl.lit(run[key], dtype=pl.Int32).alias(key) for key in ("layers", "width", "seed")]
    return [pl.lit(name.removeprefix("run ")).alias("run"), *sizes]


def _thinned(log: pl.DataFrame) -> pl.DataFrame:
    stretch = max(1, len(log) // LOSS_POINTS)
    return (
        log.group_by((pl.col("step") - 1) // stretch, maintain_order=True)
        .agg(pl.col("tokens").last(), pl.col("loss").cast(pl.Float64).mean())
        .select("tokens", "loss")
    )
