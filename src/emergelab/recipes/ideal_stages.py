"""The step that asks the theory: ideal predictors put to a study's questions, and bounds, for one grammar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emergelab.corpus.prompts import make_prompts
from emergelab.errors import UserError
from emergelab.evaluate.losses import DOCUMENT_LOSSES
from emergelab.grammar.language import Language
from emergelab.grammar.sites import LawName
from emergelab.grammar.tasks import ground_task
from emergelab.pipeline.step import StepContext
from emergelab.recipes.asked_prompts import LAWS, prompt_rows
from emergelab.recipes.oracle import PromptOracle, exactness, ideal_predictor
from emergelab.recipes.scoring import document_losses, items_of
from emergelab.recipes.stages import language_of
from emergelab.rng import stream
from emergelab.scores.prompts import PromptSet
from emergelab.scores.tables import BOUNDS, ITEMS, PROMPTS
from emergelab.spec import JsonObject, canonical_json
from emergelab.theory.ideal import Ideal

Spec = Mapping[str, Any]


def score_ideal(spec: Spec, inputs: Mapping[str, Path], out: Path, context: StepContext) -> None:
    """Leave the items, bounds and document losses of both ideal predictors, empty where they are out of reach.

    The table of prompts is whole in any case.
    """
    del inputs
    language = language_of(spec["language"])
    prompts = list(_prompts(language, spec))
    found: list[tuple[Ideal, LawName]] = []
    record: JsonObject = {}
    for law, name in LAWS.items():
        try:
            ideal = ideal_predictor(language, law, name=name)
        except UserError as error:
            record[name] = {"out_of_reach": str(error)}
        else:
            record[name] = exactness(ideal)
            found.append((ideal, law))
    context.progress(1, 3)
    items = [ITEMS.to_frame(), *(items_of(ideal, prompts, cell=ideal.name) for ideal, _ in found)]
    context.progress(2, 3)
    asked, bounds = _theory(language, prompts, found)
    pl.concat(items).write_parquet(out / "items.parquet", compression="zstd")
    asked.write_parquet(out / "prompts.parquet", compression="zstd")
    pl.DataFrame(bounds, schema=BOUNDS).write_parquet(out / "bounds.parquet", compression="zstd")
    _losses(found, language, spec).write_parquet(out / "documents.parquet", compression="zstd")
    (out / "ideal.json").write_text(canonical_json(record), encoding="utf-8")


def _prompts(language: Language, spec: Spec) -> Iterator[PromptSet]:
    evaluate = spec["evaluate"]
    source = stream(spec["evaluation_key"], "evaluation").child("prompts")
    for task in evaluate["tasks"]:
        yield from make_prompts(
            language, task, shots=evaluate["shots"], prompts=evaluate["prompts"], stream=source
        )


def _theory(
    language: Language, sets: list[PromptSet], found: list[tuple[Ideal, LawName]]
) -> tuple[pl.DataFrame, list[JsonObject]]:
    """Return `PROMPTS` and the rows of `BOUNDS`."""
    asked, bounds = [PROMPTS.to_frame()], list[JsonObject]()
    for prompts in sets:
        task = ground_task(language, prompts.task)
        lengths: dict[LawName, np.ndarray] = {}
        for ideal, law in found:
            oracle = PromptOracle.of(ideal, task, prompts)
            lengths[law] = oracle.described.cost(1)
            bounds += _bounds(oracle, law, prompts)
        asked.append(prompt_rows(language, prompts, lengths))
    return pl.concat(asked), sorted(bounds, key=lambda row: str(row["law"]))


def _bounds(oracle: PromptOracle, law: LawName, prompts: PromptSet) -> Iterator[JsonObject]:
    """Yield a row of `BOUNDS` for each number of answers."""
    names: JsonObject = {"law": law, "task": prompts.task, "form": prompts.form, "split": prompts.split}
    for answers in range(1, prompts.stop.shape[1] + 1):
        yield {
            "variant": None,
            **names,
            **oracle.bounds(answers),
            "argument_slack_nats": _mean(oracle.account.arguments[:, answers - 1]),
            "posterior_slack_nats": _mean(oracle.account.posterior[:, answers - 1]),
            "n": len(prompts.tokens),
        }


def _mean(values: np.ndarray) -> float | None:
    mean = float(np.mean(values))
    return mean if np.isfinite(mean) else None


def _losses(found: list[tuple[Ideal, LawName]], language: Language, spec: Spec) -> pl.DataFrame:
    """Return what the documents cost that models' losses are taken from, under the law of training."""
    key = stream(spec["evaluation_key"], "evaluation")
    for ideal, law in found:
        if law == "train":
            return document_losses(
                ideal, language, key, documents=spec["evaluate"]["loss_documents"], context=spec["context"]
            )
    return DOCUMENT_LOSSES.to_frame()
