"""The steps' functions of an evaluation: the answers of somebody else's model to one task, and the tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from emergelab.analysis.aggregate import CELLS, curves_from_scores, scores_from_items
from emergelab.analysis.confronting import GAPS, cumulative
from emergelab.analysis.decodings import decodings
from emergelab.analysis.emergence.studied import FOUND
from emergelab.analysis.gains import Known, cumulative_gains, paired_gain
from emergelab.corpus.prompts import make_prompts
from emergelab.pipeline.step import StepContext
from emergelab.recipes.asked_prompts import describe_prompts
from emergelab.recipes.saved_rows import save_rows
from emergelab.recipes.stages import language_of
from emergelab.report.content import LOSSES
from emergelab.rng import Stream, stream
from emergelab.scores.prompts import PromptSet
from emergelab.scores.tables import BOUNDS, VERDICTS
from emergelab.spec import JsonObject, canonical_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from emergelab.evaluate.wording import Lexicon
    from emergelab.grammar.language import Language

Spec = Mapping[str, Any]
Inputs = Mapping[str, Path]

_PROMPTS_AT_ONCE = 32  # so many answers are lost at most when the machine fails

# How every token of the grammar is written in each draw of words, and the model's token for it (null: none).
WORDS = pl.Schema(
    {"cell": pl.String, "rendering": pl.Int32, "token": pl.String, "word": pl.String, "number": pl.Int64}
)


@dataclass(frozen=True)
class _Opened:
    model: PreTrainedModel
    lexicon: Lexicon


def words_stream(key: int, rendering: int) -> Stream:
    """Return the stream that a draw of words comes from."""
    return stream(key, "words", rendering)


def answer_task(spec: Spec, inputs: Inputs, out: Path, context: StepContext) -> None:
    """Let the model answer all prompts of one task in one draw of words; go on where an earlier try stopped."""
    del inputs
    from emergelab.evaluate.causal import CausalPredictor  # noqa: PLC0415 - loads torch
    from emergelab.evaluate.pretrained import out_of_memory  # noqa: PLC0415 - loads torch
    from emergelab.recipes.scoring import items_of  # noqa: PLC0415

    language = language_of(spec["language"])
    opened = _open(spec["folder"], spec["digest"], spec["device"], spec["precision"])
    wording = opened.lexicon.wording(language.vocabulary, words_stream(spec["key"], spec["rendering"]))
    predictor = CausalPredictor(spec["predictor"], opened.model, wording)
    sets = _asked(language, spec, spec["task"])
    for prompts in sets:
        opened.lexicon.require_as_read(wording, prompts.tokens)
    blocks = [(prompts, first) for prompts in sets for first in range(0, spec["prompts"], _PROMPTS_AT_ONCE)]
    paths = [context.scratch / f"{number}.parquet" for number in range(len(blocks))]
    for done, ((prompts, first), path) in enumerate(zip(blocks, paths, strict=True)):
        context.progress(done, len(blocks))
        if not path.is_file():
            with out_of_memory(spec["predictor"], spec["device"]):
                items = items_of(predictor, [block_of(prompts, first)], cell=spec["cell"])
            save_rows(items.with_columns(pl.col("prompt") + first), path)
    pl.concat([pl.read_parquet(path) for path in paths]).write_parquet(
        out / "items.parquet", compression="zstd"
    )
    record: JsonObject = {
        "params": opened.model.num_parameters(),
        "words": list(wording.texts),
        "numbers": [int(number) for number in wording.numbers],
        "tokens": list(language.vocabulary.texts),
    }
    (out / "cell.json").write_text(canonical_json(record), encoding="utf-8")


def _asked(language: Language, spec: Spec, task: str) -> list[PromptSet]:
    key = stream(spec["key"], "evaluation").child("prompts")
    return make_prompts(language, task, shots=spec["shots"], prompts=spec["prompts"], stream=key)


@lru_cache(maxsize=1)
def _open(folder: str, digest: str, device: str, precision: str) -> _Opened:
    """Load the model once for all tasks of a worker."""
    del digest  # so that a model that has changed is loaded anew
    from emergelab.evaluate.pretrained import ModelFolder, Placement  # noqa: PLC0415 - loads torch
    from emergelab.evaluate.wording import Lexicon  # noqa: PLC0415

    opened = ModelFolder.open(Path(folder))
    return _Opened(opened.load(Placement(device, precision)), Lexicon(opened.tokenizer, opened.name))


def block_of(prompts: PromptSet, first: int) -> PromptSet:
    """Return some of the prompts, `first` and those behind it."""
    part = slice(first, first + _PROMPTS_AT_ONCE)
    values = {field.name: getattr(prompts, field.name) for field in fields(prompts)}
    return replace(
        prompts, **{n: value[part] for n, value in values.items() if isinstance(value, np.ndarray)}
    )


def make_tables(spec: Spec, inputs: Inputs, out: Path, context: StepContext) -> None:
    """Join the answers of all tasks and draws of words and summarise them as a study's are.

    The draw of words stands where a study has the seed: rows over all draws take words and prompts as two
    crossed sources of chance. An evaluation has no training losses.
    """
    del context
    answers = {name: inputs[name] for name in sorted(inputs)}
    records = {
        name: json.loads((path / "cell.json").read_text(encoding="utf-8")) for name, path in answers.items()
    }
    described = [{**spec["cells"][name], **records[name]} for name in answers]
    cells = _cells(described)
    items = pl.concat([pl.read_parquet(path / "items.parquet") for path in answers.values()])
    scores = scores_from_items(items, cells)
    tables = {
        "items": items,
        "scores": scores,
        "curves": curves_from_scores(scores, items),
        "gains": paired_gain(items, Known(cells=cells)),
        "cumulative_gains": cumulative_gains(items, Known(cells=cells)),
        "decodings": decodings(items, cells),
        "losses": LOSSES.to_frame(),
        "bounds": BOUNDS.to_frame(),
        "cumulative": cumulative(items, cells),
        "prompts": _prompts(spec),
        "gaps": GAPS.to_frame(),
        "emergence": FOUND.to_frame(),
        "verdicts": VERDICTS.to_frame(),
        "cells": cells.with_columns(
            **{name: pl.lit(spec[name]) for name in ("digest", "device", "precision")}
        ),
        "words": _words(described),
    }
    for name, table in tables.items():
        table.write_parquet(out / f"{name}.parquet", compression="zstd")


def _prompts(spec: Spec) -> pl.DataFrame:
    language = language_of(spec["language"])
    return describe_prompts(language, [one for task in spec["tasks"] for one in _asked(language, spec, task)])


def _cells(described: list[dict[str, Any]]) -> pl.DataFrame:
    rows = [{name: one.get(name) for name in CELLS} for one in described]
    return pl.DataFrame(rows, schema=CELLS).unique(maintain_order=True).sort("cell")


def _words(described: list[dict[str, Any]]) -> pl.DataFrame:
    rows = [
        (one["cell"], one["rendering"], token, word, None if number < 0 else number)
        for one in described
        for token, word, number in zip(one["tokens"], one["words"], one["numbers"], strict=True)
    ]
    return pl.DataFrame(rows, schema=WORDS, orient="row").unique(maintain_order=True)
