"""Commands that hand documents and prompts to other tools."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from emergelab.cli.options import GrammarArgument, ParametersOption, new_group
from emergelab.errors import UserError

if TYPE_CHECKING:
    from emergelab.grammar.sites import LawName
    from emergelab.recipes.exporting_corpora import CorpusSpec

corpus_app = new_group("Write documents and prompts for other tools.")

_MOST_CONTEXT = 32_000
_CONTEXT = 48
_DOCUMENTS = 10_000
_VALIDATION = 512

GrammarChoice = Annotated[
    str | None, typer.Argument(metavar="[NAME|FILE]", help="A shipped grammar's name or a .cag file.")
]
StudyOption = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE|RUN_DIR", help="Take what a study takes, or a run of it took."),
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Set a parameter of the grammar, or an entry of the study."
    ),
]
KeyOption = Annotated[int | None, typer.Option(min=0, help="The key of all randomness; by default 0.")]
LicenceOption = Annotated[
    str | None, typer.Option("--license", help="The licence on the card, such as cc-by-4.0.")
]


@corpus_app.command("export")
def corpus_export(
    out: Annotated[Path, typer.Option(metavar="DIR|FILE.parquet", help="What to write.")],
    grammar: GrammarChoice = None,
    study: StudyOption = None,
    run: Annotated[str | None, typer.Option(help="Which training run of the study, by its name.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The seed of the documents; by default 0.")] = None,
    documents: Annotated[int | None, typer.Option(min=1, help="How many for training.")] = None,
    tokens: Annotated[
        float | None, typer.Option(min=1, help="As many as hold about so many predicted tokens.")
    ] = None,
    validation: Annotated[
        int | None, typer.Option(min=0, help="How many for validation, from a stream of their own.")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option("--context", "--length", min=1, max=_MOST_CONTEXT, help="Positions that a model reads."),
    ] = None,
    law: Annotated[
        str | None, typer.Option(help="`train` leaves out what is held out; `full` does not.")
    ] = None,
    key: KeyOption = None,
    shards: Annotated[int | None, typer.Option(min=1, help="How many files for training.")] = None,
    settings: SettingsOption = None,
    licence: LicenceOption = None,
) -> None:
    """Write documents as Parquet that Hugging Face's datasets loads, with the labels of every token and a card.

    World and documents are those on which a study with the same key trains.
    """
    from emergelab.cli.progress import counting  # noqa: PLC0415
    from emergelab.recipes.exporting_corpora import Wishes, export_corpus  # noqa: PLC0415

    if documents is not None and tokens is not None:
        raise UserError(
            "Got --documents and --tokens. One of them says how much to write. Leave the other one out."
        )
    if study is not None:
        fixed = {"--key": key, "--context": context, "--law": law}
        _refuse_beside_study(grammar, fixed)
        spec = _spec_of_study(study, settings, run, seed)
    else:
        spec = _spec_of_grammar(
            grammar, settings, run, (key or 0, seed or 0, context or _CONTEXT, law or "train")
        )
    spec = _sized(spec, documents, tokens, validation, by_study=study is not None)
    wishes = Wishes(shlex.join(sys.argv[1:]), shards, licence)
    with counting("documents") as told:
        kept = export_corpus(spec, out, wishes, told)
    written = f"{spec.train:,} documents" + (
        f", {spec.validation:,} for validation" if spec.validation else ""
    )
    before = f" ({kept} files were there already)" if kept else ""
    typer.echo(f"{written}, in{before}\n{out.absolute()}")


def _refuse_beside_study(grammar: str | None, options: Mapping[str, object]) -> None:
    given = [name for name, value in options.items() if value is not None]
    if grammar is not None:
        given.insert(0, f"the grammar {grammar}")
    if given:
        raise UserError(
            f"Got --study and {', '.join(given)}. A study says these itself. Leave them out, or change the study with "
            "--set."
        )


def _spec_of_study(study: str, settings: list[str] | None, run: str | None, seed: int | None) -> CorpusSpec:
    from emergelab.recipes.exporting_corpora import study_corpus  # noqa: PLC0415

    return study_corpus(study, settings or [], run, seed)


def _spec_of_grammar(
    grammar: str | None, settings: list[str] | None, run: str | None, rest: tuple[int, int, int, str]
) -> CorpusSpec:
    from emergelab.grammar.library import find_grammar, load_grammar  # noqa: PLC0415
    from emergelab.grammar.notation_numbers import read_settings  # noqa: PLC0415
    from emergelab.recipes.exporting_corpora import CorpusSpec, grammar_language  # noqa: PLC0415

    if grammar is None:
        raise UserError(
            "Got neither a grammar nor a study. Documents are those of one of them. "
            "Write for example: emergelab corpus export functions --out corpus"
        )
    key, seed, context, law = rest
    if run is not None:
        raise UserError(
            f"Got --run {run!r} without a study. A run is one of a study's. Name the study with --study."
        )
    if law not in {"train", "full"}:
        raise UserError(f"Got the law {law!r}. A law is 'train' or 'full'. Choose one of the two.")
    syntax = load_grammar(find_grammar(grammar), read_settings(settings or []))
    return CorpusSpec(
        language=grammar_language(syntax, key),
        data_key=key,
        evaluation_key=key,
        seed=seed,
        context=context,
        law=cast("LawName", law),
        train=_DOCUMENTS,
        validation=_VALIDATION,
    )


def _sized(
    spec: CorpusSpec, documents: int | None, tokens: float | None, validation: int | None, *, by_study: bool
) -> CorpusSpec:
    """Put in how much was asked for. A finite corpus has no more documents than its study says."""
    from dataclasses import replace  # noqa: PLC0415

    from emergelab.recipes.exporting_corpora import documents_for  # noqa: PLC0415

    train = documents
    if tokens is not None:
        train = documents_for(
            spec.language, int(tokens), key=spec.data_key, context=spec.context, law=spec.law
        )
    train = spec.train if train is None else train
    if by_study and spec.unique is not None and train > spec.unique:
        raise UserError(
            f"{train:,} documents were asked for, and the study's corpus has {spec.unique:,}. "
            "Ask for fewer, or for all by asking for no number."
        )
    return replace(spec, train=train, validation=spec.validation if validation is None else validation)


@corpus_app.command("prompts")
def corpus_prompts(
    grammar: GrammarArgument,
    out: Annotated[Path, typer.Option(metavar="FILE.parquet|FILE.jsonl", help="The file to write.")],
    tasks: Annotated[list[str] | None, typer.Option("--task", help="Which task; by default all.")] = None,
    prompts: Annotated[int, typer.Option(min=1, max=100_000, help="How many of each form and split.")] = 512,
    shots: Annotated[int, typer.Option(min=0, max=1_000, help="Ask with 0 to so many examples.")] = 10,
    key: Annotated[int, typer.Option(min=0, help="The key of world and prompts.")] = 0,
    settings: ParametersOption = None,
) -> None:
    """Write the questions that a study with this key asks, with answers and chance, for other tools."""
    from emergelab.grammar.library import find_grammar, load_grammar  # noqa: PLC0415
    from emergelab.grammar.notation_numbers import read_settings  # noqa: PLC0415
    from emergelab.recipes.exporting_corpora import grammar_language  # noqa: PLC0415
    from emergelab.recipes.exporting_prompts import Asked, export_prompts  # noqa: PLC0415

    syntax = load_grammar(find_grammar(grammar), read_settings(settings or []))
    language = grammar_language(syntax, key)
    rows = export_prompts(language, out, Asked(tasks=tasks or (), prompts=prompts, shots=shots, key=key))
    typer.echo(f"{rows:,} questions, in\n{out.absolute()}")
