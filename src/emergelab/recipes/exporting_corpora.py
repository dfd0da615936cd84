"""A corpus as a folder of Parquet files with a card, as Hugging Face's `datasets` loads it; or as one file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emergelab.corpus.documents import ROLES, Corpus
from emergelab.corpus.export import MEANINGS, Shard, features, holds, shards_of, write_shard
from emergelab.corpus.tokenizer import tokenizer_files
from emergelab.errors import UserError
from emergelab.grammar.holdout import prove_no_overlap
from emergelab.grammar.language import Language
from emergelab.grammar.notation import render
from emergelab.grammar.sites import LawName
from emergelab.grammar.syntax import GrammarSyntax
from emergelab.pipeline.files import make_folder, storage_errors, write_text
from emergelab.recipes.cards import code_span, fenced, front_matter, licence_of, made_with, sections, table
from emergelab.recipes.stages import data_stream, language_of
from emergelab.recipes.studied import chosen_run, runs_of_study
from emergelab.rng import stream
from emergelab.spec import Json, canonical_json
from emergelab.train.spec import TrainSpec, milestone_steps

RECORD = "emergelab.json"
WORLD = "world.json"
DATA = "data"
_KIND = "corpus"
_FORMAT = 1
_POSITIONS_PER_FILE = 1 << 22
_MOST_POSITIONS_PER_FILE = 1 << 26
_MOST_FILES = 99_999

Told = Callable[[int, int], None]
"""Called with the documents written and all of them."""


@dataclass(frozen=True, kw_only=True)
class CorpusSpec:
    """Which documents: `train` of a seed's stream, and `validation` from the stream of the evaluation.

    `language` is the grammar as text, its name and the key of its world. `context` is how many positions a model
    reads; documents are cut at one token more, which is only ever predicted. `unique` is the size of a finite
    corpus, whose documents are written once, however often training reads them.
    """

    language: Mapping[str, Json]
    data_key: int
    evaluation_key: int
    seed: int
    context: int
    law: LawName = "train"
    train: int
    validation: int
    unique: int | None = None

    def document(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {
            "language": self.language,
            "data_key": self.data_key,
            "evaluation_key": self.evaluation_key,
            "seed": self.seed,
            "context": self.context,
            "law": self.law,
            "train": self.train,
            "validation": self.validation,
            "unique": self.unique,
        }


@dataclass(frozen=True)
class Wishes:
    """How a corpus is written: in how many training files, under which licence, asked for by which command."""

    command: str
    files: int | None = None
    licence: str | None = None


def grammar_language(grammar: GrammarSyntax, key: int) -> dict[str, Json]:
    """Return a grammar as `CorpusSpec.language` has it."""
    return {"grammar": render(grammar), "name": grammar.name, "key": key}


def documents_for(language: Mapping[str, Json], tokens: int, *, key: int, context: int, law: LawName) -> int:
    """Return how many documents hold about so many predicted tokens, by the mean of the first 4,096."""
    corpus = Corpus(language_of(language), data_stream(key, 0), context=context, law=law)
    return max(1, math.ceil(tokens / corpus.mean_targets()))


def export_corpus(spec: CorpusSpec, out: Path, wishes: Wishes, told: Told = lambda _done, _all: None) -> int:
    """Write a corpus and return how many of its files were there already.

    `out` is a folder, or a file whose name ends in `.parquet`, which takes the training documents alone. Files
    come into being whole; the same call goes on where another one stopped. Raises UserError where `out` holds
    something else.
    """
    language = language_of(spec.language)
    licence = licence_of(language.syntax.name, str(spec.language["grammar"]), wishes.licence)
    if out.suffix == ".parquet":
        return _export_file(spec, language, out, told)
    shards = _shards(spec, language, wishes.files)
    record = canonical_json({"format": _FORMAT, "kind": _KIND, "corpus": spec.document()}) + "\n"
    _require_free(out, record, {shard.name for shard in shards})
    texts = {
        **tokenizer_files(language.vocabulary, spec.context),
        WORLD: _world(language),
        "README.md": _card(spec, language, shards, (wishes.command, licence)),
    }
    write_text(out / RECORD, record)
    kept = _write_all(spec, shards, out / DATA, told)
    for name, text in texts.items():
        write_text(out / name, text)
    return kept


def _export_file(spec: CorpusSpec, language: Language, out: Path, told: Told) -> int:
    shard = Shard(out.name, _corpus(spec, language), 0, spec.train)
    _require_bounded([shard])
    if out.exists() and not holds(out, _identity(spec, shard)):
        raise UserError(f"{out} is there already and holds something else. Remove it, or give another --out.")
    return _write_all(spec, [shard], out.parent, told)


def _shards(spec: CorpusSpec, language: Language, files: int | None) -> list[Shard]:
    # As many documents in a file whatever the number of all, so that a longer corpus has the shorter one's first.
    count = files or max(1, math.ceil(spec.train * (spec.context + 1) / _POSITIONS_PER_FILE))
    if not 1 <= count <= min(_MOST_FILES, spec.train):
        raise UserError(
            f"Got {count:,} files for {spec.train:,} documents. A file holds at least one document, and a split has "
            f"{_MOST_FILES:,} files at most. Give another number with --shards."
        )
    shards = shards_of(_corpus(spec, language), spec.train, "train", count)
    if spec.validation:
        held = Corpus(
            language, stream(spec.evaluation_key, "evaluation").child("documents"), context=spec.context
        )
        shards += shards_of(held, spec.validation, "validation", 1)
    _require_bounded(shards)
    return shards


def _require_bounded(shards: list[Shard]) -> None:
    """Refuse files too large for the memory, which holds a file's documents while it is written."""
    most = max((shard.last - shard.first) * (shard.corpus.context + 1) for shard in shards)
    if most > _MOST_POSITIONS_PER_FILE:
        raise UserError(
            f"A file of the export would hold {most:,} positions. A file holds {_MOST_POSITIONS_PER_FILE:,} at most. "
            "Write a folder of more files: --out FOLDER, and --shards if you choose their number."
        )


def _corpus(spec: CorpusSpec, language: Language) -> Corpus:
    return Corpus(language, data_stream(spec.data_key, spec.seed), context=spec.context, law=spec.law)


def _identity(spec: CorpusSpec, shard: Shard) -> str:
    return canonical_json(
        {
            "format": _FORMAT,
            "first": shard.first,
            "last": shard.last,
            "corpus": spec.document(),
            "name": shard.name,
        }
    )


def _write_all(spec: CorpusSpec, shards: list[Shard], folder: Path, told: Told) -> int:
    """Write the files that are not there; return how many are."""
    total, done, kept = sum(shard.last - shard.first for shard in shards), 0, 0
    make_folder(folder)
    for shard in shards:
        path, identity = folder / shard.name, _identity(spec, shard)
        if holds(path, identity):
            kept += 1
        else:
            with storage_errors(folder):
                _write_aside(shard, path, identity, lambda more, before=done: told(before + more, total))
        done += shard.last - shard.first
        told(done, total)
    return kept


def _write_aside(shard: Shard, path: Path, identity: str, told: Callable[[int], None]) -> None:
    aside, written = path.with_name(f".{path.name}.writing"), 0

    def count(documents: int) -> None:
        nonlocal written
        written += documents
        told(written)

    try:
        write_shard(shard, aside, identity, count)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _require_free(out: Path, record: str, names: set[str]) -> None:
    """Refuse a folder that holds something else than a part of this very export."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(
            f"{out} is no folder. A corpus is written into one, or into FILE.parquet. Give another --out."
        )
    if not any(out.iterdir()):
        return
    same = (out / RECORD).is_file() and (out / RECORD).read_text(encoding="utf-8", errors="replace") == record
    strangers = {path.name for path in (out / DATA).glob("[!.]*")} - names
    if not same or strangers:
        found = f"files of another export ({min(strangers)})" if same else "something else than this export"
        raise UserError(
            f"{out} holds {found}. A folder holds one corpus, written by one command. Give another --out, or remove it."
        )


def _world(language: Language) -> str:
    """Return what the numbers in the columns stand for, and the tables of all functions, as JSON."""
    texts = language.vocabulary.texts
    names = language.function_names()
    return canonical_json(
        {
            "words": list(texts),
            "first_object": language.vocabulary.first_object,
            "roles": list(ROLES),
            "functions": names,
            "tables": dict(zip(names, language.tables.tolist(), strict=True)),
            "held_out": sorted(np.frombuffer(one, dtype=np.uint16).tolist() for one in language.held_out),
        }
    ) + "\n"  # fmt: skip


def _card(spec: CorpusSpec, language: Language, shards: list[Shard], wish: tuple[str, str]) -> str:
    command, licence = wish
    splits = list(dict.fromkeys(shard.name.partition("-")[0] for shard in shards))
    head = front_matter(
        {
            "license": licence,
            "task_categories": ["text-generation"],
            "tags": ["emergelab", "in-context-learning", "synthetic"],
            "configs": [
                {
                    "config_name": "default",
                    "data_files": [{"split": split, "path": f"{DATA}/{split}-*"} for split in splits],
                }
            ],
            "dataset_info": {"features": features(language)},
        }
    )
    name = language.syntax.name
    title = f"# Documents of the grammar {code_span(name)}\n\n{_about(spec)}\n\n"
    return (head + title) + sections(
        ("Use", _use()),
        ("Columns", table(("column", "meaning"), MEANINGS.items())),
        ("Splits", _splits(spec)),
        ("Hold-out", _proof(spec, language)),
        ("Grammar", fenced(str(spec.language["grammar"]), "cag")),
        ("Made with", made_with(command)),
    )


def _about(spec: CorpusSpec) -> str:
    finite = (
        ""
        if spec.unique is None
        else " The corpus is finite: training reads these documents again and again, in a new order each time."
    )
    return (
        "Every word is labelled: what it is, and which functions it takes to predict it. The world was drawn with "
        f"the key {spec.language['key']}, the documents with the key {spec.data_key} and the seed {spec.seed}: a "
        f"study with these keys trains on the same ones.{finite} Documents are cut at {spec.context + 1} tokens, the "
        f"last of which is only ever predicted by a model that reads {spec.context}."
    )


def _use() -> str:
    code = (
        "from datasets import load_dataset\n"
        "from transformers import AutoTokenizer\n\n"
        "documents = load_dataset(FOLDER)\n"
        "tokenizer = AutoTokenizer.from_pretrained(FOLDER)\n"
        'assert tokenizer(documents["train"][0]["text"]).input_ids == documents["train"][0]["tokens"]'
    )
    return (
        f"{fenced(code, 'python')}\n\n"
        f"`{WORLD}` names the numbers in the columns and holds the table of each function, as numbers of objects: "
        "object 0 is the word o1."
    )


def _splits(spec: CorpusSpec) -> str:
    law = "what is held out is left out" if spec.law == "train" else "nothing is left out"
    rows = [("train", f"{spec.train:,}", f"the law `{spec.law}`: {law}")]
    if spec.validation:
        rows.append(
            (
                "validation",
                f"{spec.validation:,}",
                "the law `train`, from a stream of its own: losses are measured on it",
            )
        )
    return table(("split", "documents", "drawn from"), rows)


def _proof(spec: CorpusSpec, language: Language) -> str:
    if not language.held_out:
        return "The grammar holds nothing out."
    if spec.law == "full":
        return f"The training documents may show the {len(language.held_out)} function tables that are to be held out."
    proof = prove_no_overlap(language)
    return (
        f"{proof.held_out_tables} function tables are held out. All {proof.training_tables} tables that a training "
        f"document can print were enumerated: {proof.overlap} of them are held out."
    )


def study_corpus(source: str, settings: list[str], run: str | None, seed: int | None) -> CorpusSpec:
    """Return what a training run of a study trains on: of a shipped one, a file, or a finished run's folder.

    `run` is the run's name; without it all runs of a seed, by default the first, must train on the same documents,
    of which the longest takes the most. Raises UserError that lists the runs where they do not.
    """
    study, runs = runs_of_study(source, settings)
    chosen = chosen_run(runs, run, seed, longest=_documents_read)
    return CorpusSpec(
        language=chosen["language"],
        data_key=chosen["keys"]["data"],
        evaluation_key=study.key_of("evaluation"),
        seed=chosen["seed"],
        context=chosen["model"]["context"],
        train=_documents_read(chosen),
        validation=study.evaluate.loss_documents,
        unique=chosen["documents"],
    )


def _documents_read(spec: Mapping[str, Any]) -> int:
    """Return how many different documents a training run reads."""
    if spec["documents"] is not None:
        return spec["documents"]
    train = TrainSpec.model_validate_json(json.dumps(spec["train"]))
    corpus = Corpus(
        language_of(spec["language"]), data_stream(spec["keys"]["data"], 0), context=spec["model"]["context"]
    )
    return milestone_steps(train, train.batch * corpus.mean_targets())[-1] * train.batch
