"""Documents and models for other tools."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from emergelab.grammar.notation_numbers import number_text
from emergelab.grammar.syntax import GrammarSyntax
from emergelab.recipes.exporting_corpora import (
    CorpusSpec,
    Wishes,
    export_corpus,
    study_corpus,
)
from emergelab.recipes.exporting_models import export_model, find_model
from emergelab.spec import Json


def export_documents(spec: CorpusSpec, grammar: GrammarSyntax, out: Path, licence: str | None) -> Path:
    """Write documents of a grammar. Raises UserError."""
    settings: Json = [f"{one.name}={number_text(one.value)}" for one in grammar.parameters]
    options = {
        "key": spec.data_key,
        "seed": spec.seed,
        "documents": spec.train,
        "validation": spec.validation,
        "context": spec.context,
        "law": spec.law,
        "set": settings,
    }
    export_corpus(spec, out, Wishes(_command("corpus", grammar.name, out, options), None, licence))
    return out


def export_training(run: Path, out: Path, name: str | None, seed: int | None, licence: str | None) -> Path:
    """Write the documents that a training run read. Raises UserError."""
    spec = study_corpus(str(run), [], name, seed)
    options = {"study": str(run), "run": name, "seed": seed}
    export_corpus(spec, out, Wishes(_command("corpus", None, out, options), None, licence))
    return out


def export_trained(run: Path, out: Path, which: Mapping[str, Json], licence: str | None) -> Path:
    """Write a model of a run as a Hugging Face folder. Raises UserError and ArtifactError."""
    model = find_model(run, which)
    own = {name: value for name, value in which.items() if name in _CHOICES}
    rest = [f"{name}={value}" for name, value in which.items() if name not in _CHOICES]
    export_model(
        model, out, command=_command("model", str(run), out, {**own, "where": rest}), licence=licence
    )
    return out


def export_checkpoint(
    path: str | Path, out: str | Path, *, grammar: str | Path, key: int = 0, licence: str | None = None
) -> Path:
    """Write a model's file (`.safetensors`) that lies in no run as a folder for Hugging Face's `transformers`.

    `grammar` is the name or path of the grammar that it was trained on, `key` the key of that grammar's world. Returns
    `out`; raises UserError where that holds something else, and ArtifactError for what is no model of this grammar.
    """
    model = find_model(Path(path), {}, grammar=str(grammar), key=key)
    command = _command("model", str(path), Path(out), {"grammar": str(grammar), "key": key})
    export_model(model, Path(out), command=command, licence=licence)
    return Path(out)


_CHOICES = {"cell", "layers", "width", "tokens", "documents", "seed"}


def _command(noun: str, source: str | None, out: Path, options: Mapping[str, Json]) -> str:
    """Return the command that does the same, for the card of what was written."""
    words = [noun, "export", *([] if source is None else [source])]
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        words += [word for one in values if one is not None for word in (f"--{name}", str(one))]
    return shlex.join([*words, "--out", str(out)])
