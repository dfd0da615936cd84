"""A trained model as a Hugging Face folder: weights, configuration, tokenizer and card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import polars as pl

from emergelab.corpus.tokenizer import tokenizer_files
from emergelab.errors import UserError
from emergelab.grammar.language import Vocabulary, vocabulary_of
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.grammar.notation import parse, render
from emergelab.model.export import generation_config, llama_config
from emergelab.model.spec import ModelSpec
from emergelab.pipeline import manifest as manifests
from emergelab.pipeline.files import new_folder, storage_errors
from emergelab.recipes.cards import code_span, fenced, front_matter, licence_of, made_with, sections, table
from emergelab.recipes.models import Models, study_of
from emergelab.recipes.run_folder import RunFolder
from emergelab.spec import Json, canonical_json

RECORD = "emergelab.json"
_FORMAT = 1
_KIND = "model"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model in its file, and what is known about it.

    `language` is the grammar as text, its name and the key of its world. `training` holds what the training
    depended on, None where nobody knows; `scores` are those of the run's table that belong to it.
    """

    checkpoint: Path
    language: Mapping[str, Json]
    name: str
    training: Mapping[str, Json] | None = None
    scores: pl.DataFrame | None = None


def find_model(
    source: Path, which: Mapping[str, Json], *, grammar: str | None = None, key: int = 0
) -> Trained:
    """Return the model that `which` describes in a run's folder, or the one in a file.

    Without a description it is the largest model with the most tokens of the first seed. A file beside whose
    folder's manifest lies says itself what it was trained on; for another one `grammar` and the `key` of its world do.
    Raises UserError where the description fits no model or several, and ArtifactError for what cannot be read.
    """
    if not source.is_file():
        return _of_run(source, which)
    if which:
        raise UserError(
            f"{source} is the file of one model. A model is chosen among those of a run. Give the run's folder, or "
            "leave the choice out."
        )
    return _of_file(source, grammar, key)


def list_models(folder: Path) -> pl.DataFrame:
    """Return the models of a finished run, one row each.

    After what tells them apart come `loss`, in nats per token of documents that no run trains on, and `path`, the
    file of the model, null where it was not kept.
    """
    run = RunFolder(folder)
    cells = Models(run).cells
    found = pl.read_parquet(run.open_tables() / "cells.parquet").select("cell", "params", "loss")
    inputs = run.read_manifest(run.read_record()["tables"])["inputs"]
    paths = [_kept(run, inputs, cell) for cell in cells["cell"]]
    told = found.select("cell", *(name for name in found.columns[1:] if name not in cells.columns))
    listed = cells.join(told, on="cell", how="left", maintain_order="left")
    return listed.with_columns(pl.Series("path", paths, dtype=pl.String))


def export_model(model: Trained, out: Path, *, command: str, licence: str | None = None) -> ModelSpec:
    """Write the folder `out`, whole or not at all, and return the model's shape.

    `model.safetensors` has the bytes of the model's file after these were checked. Raises UserError where `out`
    holds something else than such a folder, and what `train.checkpoint.read_checkpoint` raises.
    """
    from emergelab.train.checkpoint import read_checkpoint  # noqa: PLC0415 - loads torch

    _require_free(out)
    checkpoint = read_checkpoint(model.checkpoint)
    spec = checkpoint.spec
    vocabulary = _vocabulary(model, spec)
    record: dict[str, Json] = {
        "format": _FORMAT,
        "kind": _KIND,
        "name": model.name,
        "step": checkpoint.step,
        "counted_tokens": checkpoint.tokens,
        "language": model.language,
        "training": model.training,
    }
    files = {
        "config.json": _json(llama_config(spec)),
        "generation_config.json": _json(generation_config(spec)),
        **tokenizer_files(vocabulary, spec.context),
        RECORD: _json(record),
        "README.md": _card(model, spec, record, (command, licence)),
    }
    with new_folder(out) as folder, storage_errors(out):
        (folder / "model.safetensors").write_bytes(model.checkpoint.read_bytes())
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    return spec


def _of_run(source: Path, which: Mapping[str, Json]) -> Trained:
    folder = RunFolder(source)
    models = Models(folder)
    study_of(folder.read_record(), source)
    cell = models.choose(which) if which else _largest(folder, models)
    checkpoint = models.checkpoint(cell)
    scores = pl.read_parquet(folder.open_tables() / "scores.parquet").filter(pl.col("cell") == cell)
    name = f"{folder.read_record()['name']}: {cell}"
    return replace(_of_file(checkpoint, None, 0), name=name, scores=scores)


def _largest(folder: RunFolder, models: Models) -> str:
    """Return the cell of the largest model with the most tokens of the first seed; refuse to guess between two."""
    cells = pl.read_parquet(folder.open_tables() / "cells.parquet").filter(
        pl.col("seed") == pl.col("seed").min()
    )
    for size in ("params", "train_tokens"):
        cells = cells.filter(pl.col(size) == pl.col(size).max())
    if cells.height == 1:
        return cells["cell"].item()
    return models.choose({name: cells[name][0] for name in ("seed", "layers", "width", "train_tokens")})


def _kept(run: RunFolder, inputs: Mapping[str, str], cell: str) -> str | None:
    """Return the file of a cell's model, unread: a run may have thousands."""
    from emergelab.train.checkpoint import milestone_path  # noqa: PLC0415 - loads torch

    training, _, tokens = cell.rpartition(",tokens=")
    path = milestone_path(run.store.root / f"train-{inputs[f'run {training}']}", int(tokens))
    return str(path) if path.exists() else None


def _of_file(path: Path, grammar: str | None, key: int) -> Trained:
    training = _training_beside(path)
    if training is not None:
        of_training = cast("Mapping[str, Json]", training["language"])
        return Trained(checkpoint=path, language=of_training, name=path.stem, training=training)
    if grammar is None:
        raise UserError(
            f"{path} does not lie in a run's store, so nobody knows its words. A model's words are its grammar's "
            "tokens. Name the grammar with --grammar, and the key of its world with --key."
        )
    file = find_grammar(grammar)
    language: dict[str, Json] = {"grammar": render(load_grammar(file)), "name": file.name, "key": key}
    return Trained(checkpoint=path, language=language, name=path.stem)


def _training_beside(checkpoint: Path) -> Mapping[str, Json] | None:
    """Return what determined the training, as the manifest beside the model's file says."""
    try:
        manifest = manifests.parse((checkpoint.parent / manifests.NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest["spec"] if manifest["kind"] == "train" else None


def _vocabulary(model: Trained, spec: ModelSpec) -> Vocabulary:
    vocabulary = vocabulary_of(parse(str(model.language["grammar"]), name=str(model.language["name"])))
    if len(vocabulary) != spec.vocabulary:
        raise UserError(
            f"{model.checkpoint} knows {spec.vocabulary} tokens, and the grammar {model.language['name']} has "
            f"{len(vocabulary)}. They must be the same. Name the grammar that it was trained on."
        )
    return vocabulary


def _require_free(out: Path) -> None:
    """Refuse a folder whose contents are no earlier export, since it is replaced as a whole."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
        if record["kind"] == _KIND:
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(
        f"{out} holds something else than an exported model. A model is exported into a folder of its own, which is "
        "replaced as a whole. Give another one with --out."
    )


def _json(value: Mapping[str, Json]) -> str:
    return json.dumps(json.loads(canonical_json(value)), ensure_ascii=False, indent=1) + "\n"


def _card(model: Trained, spec: ModelSpec, record: Mapping[str, Json], wish: tuple[str, str | None]) -> str:
    command, licence = wish
    grammar, name = str(model.language["grammar"]), str(model.language["name"])
    head = front_matter(
        {
            "license": licence_of(name, grammar, licence),
            "library_name": "transformers",
            "pipeline_tag": "text-generation",
            "tags": ["emergelab", "in-context-learning", "synthetic"],
        }
    )
    title = f"# {model.name}\n\n{_about(spec, record)}\n\n"
    return (head + title) + sections(
        ("Use", _use(spec)),
        ("Training data", _data(model.language, grammar)),
        ("Training", _training(model.training)),
        ("Scores", _scores(model.scores)),
        ("Made with", made_with(command)),
    )


def _about(spec: ModelSpec, record: Mapping[str, Json]) -> str:
    layers = "1 layer" if spec.layers == 1 else f"{spec.layers} layers"
    return (
        f"A decoder-only transformer of the Llama shape: {layers} of width {spec.width} with {spec.heads} "
        f"heads, {spec.parameters():,} parameters, a context of {spec.context} tokens and a vocabulary of "
        f"{spec.vocabulary}. It was read after {record['step']:,} training steps on {record['counted_tokens']:,} "
        "predicted tokens."
    )


def _use(spec: ModelSpec) -> str:
    code = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        "model = AutoModelForCausalLM.from_pretrained(FOLDER)\n"
        "tokenizer = AutoTokenizer.from_pretrained(FOLDER)"
    )
    return (
        f"{fenced(code, 'python')}\n\n"
        "Text is words with spaces between them; the words are the tokens of the grammar, and another word raises an "
        "error. The tokenizer puts `<start>` in front, as every document of the training began; `<end>` is a word, and "
        f"pads. Positions beyond {spec.context} were never trained."
    )


def _data(language: Mapping[str, Json], grammar: str) -> str:
    return (
        f"Documents of the grammar {code_span(str(language['name']))}, whose world was drawn with the key "
        f"{language['key']}:\n\n{fenced(grammar, 'cag')}"
    )


def _training(training: Mapping[str, Any] | None) -> str:
    if training is None:
        return ""
    documents = training.get("documents")
    rows: dict[str, object] = {
        "seed": training["seed"],
        "keys": ", ".join(f"{name} {value}" for name, value in training["keys"].items()),
        "documents": "every one new" if documents is None else f"{documents:,}, read again and again",
        **training["train"],
    }
    return table(("setting", "value"), [(name.replace("_", " "), value) for name, value in rows.items()])


def _scores(scores: pl.DataFrame | None) -> str:
    """Return loss and, with all examples, accuracy for fresh arguments by task, form and split."""
    if scores is None or scores.is_empty():
        return ""
    asked = (pl.col("decoding") == "teacher_forced") & (pl.col("argument") == "fresh")
    group = ("task", "form", "split")
    last = scores.filter(asked).filter(pl.col("shots") == pl.col("shots").max().over(group)).sort(group)
    rows = [
        (
            *(row[name].replace("_", " ") for name in group),
            row["shots"],
            row["n"],
            f"{row['accuracy']:.3f} [{row['accuracy_lo']:.3f}, {row['accuracy_hi']:.3f}]",
            f"{row['chance']:.3f}",
            f"{row['nats']:.3f} [{row['nats_lo']:.3f}, {row['nats_hi']:.3f}]",
        )
        for row in last.iter_rows(named=True)
    ]
    heads = ("task", "form", "split", "examples", "n", "accuracy [95 %]", "chance", "nats [95 %]")
    return (
        f"Loss on documents of the training law that no run trained on: {scores['loss'][0]:.4f} nats per token.\n\n"
        "Answers to prompts whose argument stands in no earlier row, with the answer's tokens before given:\n\n"
        f"{table(heads, rows)}"
    )
