"""The steps' functions: each reads a spec and its inputs' folders and fills a folder.

They run in worker processes. Heavy libraries are imported where they are used, so that a worker that only
makes corpora never loads torch. The last step, which joins all tables, has a module of its own: `joining`.
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

from emergelab.analysis.losses import losses_by_role
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
    from emergelab.grammar.language import Language

SAMPLES = 6

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
        train(run, context.progress, context.measured)
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
    from emergelab.recipes.scoring import document_losses, items_of  # noqa: PLC0415
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
    losses = document_losses(
        predictor, language, key, documents=evaluate["loss_documents"], context=model.context
    )
    losses.write_parquet(out / "documents.parquet", compression="zstd")
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
        **_loss(losses),
    }
    (out / "cell.json").write_text(canonical_json(record), encoding="utf-8")


def _loss(documents: pl.DataFrame) -> JsonObject:
    """Return nats per token on all documents, with an interval."""
    whole = losses_by_role(documents).row(0, named=True)
    names = {"loss": "nats", "loss_lo": "nats_lo", "loss_hi": "nats_hi", "loss_method": "nats_method"}
    return {name: whole[column] for name, column in names.items()}
