"""From a study to the steps of the pipeline: corpora, training runs, their cells, tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from emergelab.corpus.prompts import make_prompts
from emergelab.errors import StudyError, UserError
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import vocabulary_of
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.grammar.notation import render
from emergelab.grammar.problems import suggestion
from emergelab.grammar.shelf import SourceFile
from emergelab.grammar.syntax import GrammarSyntax
from emergelab.model.spec import ModelSpec
from emergelab.pipeline.step import Step
from emergelab.recipes.study_spec import Study
from emergelab.rng import stream
from emergelab.spec import JsonObject
from emergelab.train.spec import TrainSettings, TrainSpec

_STAGES = "emergelab.recipes.stages"
# For the order of execution and the time left only: measured on one core of a 2.6 GHz EPYC.
_FLOPS_PER_SECOND = 4e10
_SECONDS_PER_STEP = 0.004
_SECONDS_PER_PROMPT = 0.002
_MOST_PARAMETERS = 10**10


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One training run of the grid."""

    model: ModelSpec
    train: TrainSpec
    seed: int
    documents: int | None

    @property
    def name(self) -> str:
        """Return what tells the run apart, for people."""
        parts = [f"layers={self.model.layers}", f"width={self.model.width}"]
        if self.documents is not None:
            parts.append(f"documents={self.documents}")
        return ",".join([*parts, f"seed={self.seed}"])

    def cell_name(self, tokens: int) -> str:
        """Return the name of the cell that is read at a token count."""
        return f"{self.name},tokens={tokens}"


@dataclass(frozen=True)
class Grid:
    """A study with its checked grammar, the grid's runs, and the step that makes its tables."""

    name: str
    study: Study
    grammar: GrammarSyntax
    grammar_text: str
    study_text: str
    runs: tuple[RunSpec, ...]
    corpus: Step
    tables: Step

    @property
    def cells(self) -> int:
        """Return the number of cells."""
        return self.study.cells


def build_grid(file: SourceFile, study: Study) -> Grid:
    """Check the study against its grammar and lay out its steps. Raises StudyError and GrammarError."""
    source = find_grammar(study.grammar, file.folder)
    grammar = load_grammar(source)
    _require_tasks(study, grammar)
    runs = tuple(_runs(file, study, len(vocabulary_of(grammar))))
    _require_context(file, study, grammar)
    _require_splits(file, study, grammar)
    language: JsonObject = {"grammar": render(grammar), "name": grammar.name, "key": study.key_of("world")}
    corpus = _corpus_step(study, language)
    inputs: dict[str, Step] = {}
    for run in runs:
        train = _train_step(study, language, run, corpus)
        inputs[f"run {run.name}"] = train
        for tokens in study.train.tokens:
            inputs[f"cell {run.cell_name(tokens)}"] = _cell_step(study, language, run, tokens, train)
    tables = Step(
        name="tables",
        kind="tables",
        function=f"{_STAGES}:make_tables",
        version=1,
        spec={},
        inputs=inputs,
        cost=3.0 + 0.5 * len(inputs),
    )
    return Grid(file.name, study, grammar, source.text, file.text, runs, corpus, tables)


def _require_tasks(study: Study, grammar: GrammarSyntax) -> None:
    known = [task.name for task in grammar.tasks]
    for name in study.evaluate.tasks:
        if name not in known:
            raise StudyError(
                f"evaluate.tasks names {name!r}, which grammar {grammar.name} does not have. Name a task of the "
                f"grammar, or add it there. {suggestion(name, known)}"
            )


def _require_context(file: SourceFile, study: Study, grammar: GrammarSyntax) -> None:
    """Every prompt must fit into the model's context: the start token and all rows but their last token."""
    shots, context = study.evaluate.shots, study.model.context
    for task in grammar.tasks:
        if task.name not in study.evaluate.tasks:
            continue
        width = max(len(items) for items in (task.direct, task.steps or ()))
        needed, fitting = (shots + 1) * width, context // width - 1
        if needed > context:
            fewer = f", or at most {fitting} shots" if fitting >= 1 else ""
            raise StudyError(
                f"{file.source}: model.context = {context} is too short for task {task.name} with evaluate.shots = "
                f"{shots}: the model must read {needed} tokens to answer the last query. "
                f"Use a context of {needed} or more{fewer}."
            )


def _require_splits(file: SourceFile, study: Study, grammar: GrammarSyntax) -> None:
    """Every task must have prompts in every split that it declares: found out now, not after the training."""
    language = draw_language(grammar, stream(study.key_of("world"), "world"))
    for task in study.evaluate.tasks:
        try:
            make_prompts(language, task, shots=1, prompts=1, stream=stream(0, "evaluation"))
        except UserError as error:
            raise StudyError(f"{file.source}: {error}") from error


def _runs(file: SourceFile, study: Study, vocabulary: int) -> Iterator[RunSpec]:
    axes = itertools.product(
        study.model.width, study.model.layers, study.train.documents or (None,), range(study.train.seeds)
    )
    for width, layers, documents, seed in axes:
        try:
            yield RunSpec(
                model=_model_spec(study, vocabulary, width, layers),
                train=_train_spec(study),
                seed=seed,
                documents=documents,
            )
        except ValidationError as error:
            raise StudyError(_rules(error, file.source)) from error


def _rules(error: ValidationError, source: str) -> str:
    """Return what the specifications of model and training found, in the study's own names."""
    texts = [detail["msg"].removeprefix("Value error, ") for detail in error.errors(include_url=False)]
    return "\n".join(f"{source}: {text.replace('milestones', 'train.tokens')}" for text in texts)


def _model_spec(study: Study, vocabulary: int, width: int, layers: int) -> ModelSpec:
    model = ModelSpec(
        vocabulary=vocabulary,
        width=width,
        heads=study.model.heads,
        layers=layers,
        context=study.model.context,
        hidden=study.model.hidden,
    )
    if model.parameters() > _MOST_PARAMETERS:
        raise StudyError(
            f"Got width = {width} and layers = {layers}: {model.parameters():.1e} parameters. A model has "
            f"{_MOST_PARAMETERS:.0e} at most, since one device must hold it. Use a smaller width or fewer layers."
        )
    return model


def _train_spec(study: Study) -> TrainSpec:
    settings = study.train.model_dump(include=set(TrainSettings.model_fields))
    return TrainSpec(milestones=study.train.tokens, **settings)


def _corpus_step(study: Study, language: JsonObject) -> Step:
    return Step(
        name="corpus",
        kind="corpus",
        function=f"{_STAGES}:make_corpus",
        version=1,
        spec={
            "language": language,
            "context": study.model.context,
            "data_key": study.key_of("data"),
        },
        cost=5.0,
    )


def _train_step(study: Study, language: JsonObject, run: RunSpec, corpus: Step) -> Step:
    return Step(
        name=f"train {run.name}",
        kind="train",
        function=f"{_STAGES}:train_run",
        version=1,
        spec={
            "language": language,
            "model": run.model.model_dump(),
            "train": run.train.model_dump(),
            "seed": run.seed,
            "documents": run.documents,
            "keys": {name: study.key_of(name) for name in ("data", "initialisation")},
        },
        inputs={"corpus": corpus},
        cost=_training_cost(run),
    )


def _training_cost(run: RunSpec) -> float:
    tokens = run.train.milestones[-1]
    steps = tokens / (run.train.batch * run.model.context)
    return run.model.training_flops(tokens) / _FLOPS_PER_SECOND + steps * run.model.layers * _SECONDS_PER_STEP


def _cell_step(study: Study, language: JsonObject, run: RunSpec, tokens: int, train: Step) -> Step:
    prompts = study.evaluate.prompts * len(study.evaluate.tasks)
    return Step(
        name=f"score {run.cell_name(tokens)}",
        kind="cell",
        function=f"{_STAGES}:score_cell",
        version=1,
        spec={
            "cell": run.cell_name(tokens),
            "language": language,
            "model": run.model.model_dump(),
            "tokens": tokens,
            "seed": run.seed,
            "documents": run.documents,
            "batch": run.train.batch,
            "evaluate": study.evaluate.model_dump(),
            "evaluation_key": study.key_of("evaluation"),
        },
        inputs={"train": train},
        cost=1.0 + prompts * run.model.layers * _SECONDS_PER_PROMPT,
    )
