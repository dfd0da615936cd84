"""From a study to the steps of the pipeline: corpora, training runs, their cells, tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

from pydantic import ValidationError

from emergelab.analysis.emergence.names import FEWEST_POINTS, Axis
from emergelab.corpus.prompts import make_prompts
from emergelab.errors import GrammarError, StudyError, UserError
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import vocabulary_of
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.grammar.notation import render
from emergelab.grammar.problems import suggestion
from emergelab.grammar.rows import row_width
from emergelab.grammar.shelf import SourceFile
from emergelab.grammar.syntax import GrammarSyntax
from emergelab.model.spec import ModelSpec
from emergelab.pipeline.step import Step
from emergelab.recipes.cell_folders import CELL, EMERGENCE, PIECES, TEXTS
from emergelab.recipes.hypotheses import Asking, Cell, Kind, resolve
from emergelab.recipes.study_spec import Study
from emergelab.rng import stream
from emergelab.scores.variants import value_text, variant_of, variant_parts
from emergelab.spec import Json, JsonObject
from emergelab.train.spec import TrainSettings, TrainSpec

_STAGES = "emergelab.recipes.stages"
_PIECES = "emergelab.recipes.piece_stages"
# For the order of execution and the time left only: measured on one core of a 2.6 GHz EPYC.
_FLOPS_PER_SECOND = 4e10
_SECONDS_PER_STEP = 0.004
_SECONDS_PER_PROMPT = 0.002
_SECONDS_PER_IDEAL_PROMPT = 0.01
_SECONDS_PER_RUN_OF_CURVES = 0.4
_SECONDS_PER_DOCUMENT = 0.002
_MOST_PARAMETERS = 10**10


@dataclass(frozen=True, kw_only=True)
class GrammarSetting:
    """One setting of the grammar's parameters: what it makes of the grammar, its corpus and its ideal predictor."""

    parameters: Mapping[str, float]
    syntax: GrammarSyntax
    language: JsonObject
    corpus: Step
    ideal: Step

    @property
    def vocabulary(self) -> int:
        """Return how many tokens there are."""
        return len(vocabulary_of(self.syntax))


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One training run of the grid. `settings` has by whole name what the study varies besides the scale."""

    grammar: GrammarSetting
    model: ModelSpec
    train: TrainSpec
    seed: int
    documents: int | None
    settings: Mapping[str, Json]

    @property
    def name(self) -> str:
        """Return what tells the run apart, for people."""
        return ",".join([*self._scale, *variant_parts(self.settings), f"seed={self.seed}"])

    def cell_name(self, tokens: int) -> str:
        """Return the name of the cell that is read at a token count."""
        return f"{self.name},tokens={tokens}"

    def measured_name(self, tokens: int) -> str:
        """Return the name of that cell by its scale alone.

        A cell is scored under this name, so that one that is scored already is known again when the study
        comes to vary something else. The tables give it its whole name.
        """
        return ",".join([*self._scale, f"seed={self.seed}", f"tokens={tokens}"])

    @property
    def _scale(self) -> list[str]:
        parts = [f"layers={self.model.layers}", f"width={self.model.width}"]
        return parts if self.documents is None else [*parts, f"documents={self.documents}"]


@dataclass(frozen=True)
class Grid:
    """A study with its checked grammars, the grid's runs, and the step that makes its tables."""

    name: str
    study: Study
    grammars: tuple[GrammarSetting, ...]
    grammar_text: str
    study_text: str
    runs: tuple[RunSpec, ...]
    tables: Step
    hypotheses: tuple[JsonObject, ...] = ()

    @property
    def cells(self) -> int:
        """Return the number of cells."""
        return self.study.cells

    @property
    def grammar(self) -> GrammarSyntax:
        """Return the grammar, in the first of its settings."""
        return self.grammars[0].syntax

    @property
    def corpus(self) -> Step:
        """Return the corpus of the first setting of the grammar."""
        return self.grammars[0].corpus

    @property
    def corpora(self) -> dict[str, Step]:
        """Return the corpora by what is set in the grammar: `pair.silent=0.1`, nothing where nothing varies."""
        varied = [axis for axis in self.study.varied if axis.startswith("grammar.")]
        return {
            variant_of({axis: setting.parameters[axis.removeprefix("grammar.")] for axis in varied}) or "": (
                setting.corpus
            )
            for setting in self.grammars
        }


def build_grid(file: SourceFile, study: Study) -> Grid:
    """Check the study against its grammar and lay out its steps. Raises StudyError and GrammarError."""
    source = find_grammar(study.grammar.name, file.folder)
    grammars = tuple(_grammar_setting(source, study, values) for values in study.grammar.settings())
    runs = tuple(_runs(file, study, grammars))
    kinds: list[Kind] = []
    for setting in grammars:
        with _named(setting.parameters):
            _require_context(file, study, setting.syntax)
            kinds += _require_prompts(file, study, setting.syntax)
    # What every setting of the grammar has: a hypothesis may be about all of them.
    hypotheses = _hypotheses(
        file, study, runs, [kind for kind, n in Counter(kinds).items() if n == len(grammars)]
    )
    inputs: dict[str, Step] = {}
    for run in runs:
        train = _train_step(study, run)
        inputs[f"run {run.name}"] = train
        inputs[_ideal_input(grammars, run)] = run.grammar.ideal
        for tokens in study.train.tokens:
            inputs[f"cell {run.cell_name(tokens)}"] = _cell_step(study, run, tokens, train)
    inputs |= _emergence_steps(study, runs, inputs)
    inputs |= _piece_steps(study, grammars, inputs, runs)
    tables = _tables_step(study, grammars, runs, inputs)
    return Grid(file.name, study, grammars, source.text, file.text, runs, tables, hypotheses)


def _grammar_setting(source: SourceFile, study: Study, parameters: Mapping[str, float]) -> GrammarSetting:
    with _named(parameters):
        syntax = load_grammar(source, parameters) if parameters else load_grammar(source)
        _require_tasks(study, syntax)
    language: JsonObject = {"grammar": render(syntax), "name": syntax.name, "key": study.key_of("world")}
    corpus = _corpus_step(study, language, parameters)
    ideal = _ideal_step(study, language, parameters)
    return GrammarSetting(parameters=parameters, syntax=syntax, language=language, corpus=corpus, ideal=ideal)


@contextmanager
def _named(parameters: Mapping[str, float]) -> Generator[None]:
    """Say with which setting of the grammar something is wrong."""
    try:
        yield
    except UserError as error:
        if not parameters:
            raise
        said = ", ".join(f"{name} = {value_text(value)}" for name, value in parameters.items())
        kind = GrammarError if isinstance(error, GrammarError) else StudyError
        raise kind(f"With {said} in the grammar: {error}") from error


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
        width = max(map(row_width, (task.direct, task.steps or ())))
        needed, fitting = (shots + 1) * width, context // width - 1
        if needed > context:
            fewer = f", or at most {fitting} shots" if fitting >= 1 else ""
            raise StudyError(
                f"{file.source}: model.context = {context} is too short for task {task.name} with evaluate.shots = "
                f"{shots}: the model must read {needed} tokens to answer the last query. "
                f"Use a context of {needed} or more{fewer}."
            )


def _require_prompts(file: SourceFile, study: Study, grammar: GrammarSyntax) -> list[Kind]:
    """Every task must have prompts in every split that it declares, as long as they are asked for: found out now.

    Returns the tasks with the forms and splits that they have.
    """
    found: list[Kind] = []
    language = draw_language(grammar, stream(study.key_of("world"), "world"))
    for task in study.evaluate.tasks:
        try:
            sets = make_prompts(
                language, task, shots=study.evaluate.shots, prompts=1, stream=stream(0, "evaluation")
            )
        except UserError as error:
            raise StudyError(f"{file.source}: {error}") from error
        found += [(one.task, one.form, one.split) for one in sets]
    return found


def _hypotheses(
    file: SourceFile, study: Study, runs: Sequence[RunSpec], kinds: Sequence[Kind]
) -> tuple[JsonObject, ...]:
    """Return what the study's hypotheses ask of which cells. Raises StudyError with all that is wrong with them."""
    if not study.hypotheses:
        return ()
    axes = {axis.name: axis.values for axis in study.axes} | {"train.tokens": study.train.tokens}
    cells = [_cell(run, tokens) for run in runs for tokens in study.train.tokens]
    asking = Asking(
        cells=cells,
        axes=axes,
        kinds=kinds,
        shots=study.evaluate.shots,
        pieces=study.skills.documents > 0,
    )
    resolved, faults = resolve(study.hypotheses, asking)
    if faults:
        raise StudyError("\n".join(f"{file.source}: {fault}" for fault in faults))
    return tuple(resolved)


def _cell(run: RunSpec, tokens: int) -> Cell:
    sizes = {
        "width": run.model.width,
        "layers": run.model.layers,
        "documents": run.documents,
        "tokens": tokens,
    }
    settings = {name.partition(".")[2]: value for name, value in run.settings.items()}
    return Cell(
        name=run.cell_name(tokens),
        run=run.name,
        point={**settings, **run.settings, **sizes},
        params=run.model.parameters(),
        flops=float(run.model.training_flops(tokens)),
    )


def _runs(file: SourceFile, study: Study, grammars: Sequence[GrammarSetting]) -> Iterator[RunSpec]:
    """Yield the product of all axes."""
    axes = [axis for axis in study.axes if not axis.name.startswith("grammar.")]
    varied = study.varied
    for grammar in grammars:
        known: dict[str, Json] = {f"grammar.{name}": value for name, value in grammar.parameters.items()}
        for values in product(*(axis.values for axis in axes)):
            point = known | dict(zip((axis.name for axis in axes), values, strict=True))
            settings = {name: point[name] for name in varied}
            try:
                model, train = _model_spec(study, grammar.vocabulary, point), _train_spec(study, point)
            except ValidationError as error:
                raise StudyError(_rules(error, file.source, settings)) from error
            for seed in range(study.train.seeds):
                yield RunSpec(
                    grammar=grammar,
                    model=model,
                    train=train,
                    seed=seed,
                    documents=cast("int | None", point["train.documents"]),
                    settings=settings,
                )


def _rules(error: ValidationError, source: str, settings: Mapping[str, Json]) -> str:
    """Return what the specifications of model and training found, in the study's own names."""
    texts = [detail["msg"].removeprefix("Value error, ") for detail in error.errors(include_url=False)]
    variant = variant_of(settings)
    place = f"{source}, with {variant}" if variant else source
    return "\n".join(f"{place}: {text.replace('milestones', 'train.tokens')}" for text in texts)


def _model_spec(study: Study, vocabulary: int, point: Mapping[str, Json]) -> ModelSpec:
    sizes: dict[str, Any] = {name: point[f"model.{name}"] for name in ("width", "layers", "heads", "hidden")}
    model = ModelSpec(vocabulary=vocabulary, context=study.model.context, **sizes)
    if model.parameters() > _MOST_PARAMETERS:
        raise StudyError(
            f"Got width = {model.width} and layers = {model.layers}: {model.parameters():.1e} parameters. A model "
            f"has {_MOST_PARAMETERS:.0e} at most, since one device must hold it. Use a smaller width or fewer layers."
        )
    return model


def _train_spec(study: Study, point: Mapping[str, Json]) -> TrainSpec:
    settings: dict[str, Any] = {
        name: point.get(f"train.{name}", getattr(study.train, name)) for name in TrainSettings.model_fields
    }
    return TrainSpec(milestones=study.train.tokens, **settings)


def _ideal_step(study: Study, language: JsonObject, parameters: Mapping[str, float]) -> Step:
    return Step(
        name=_name("ideal", parameters),
        kind="ideal",
        function="emergelab.recipes.ideal_stages:score_ideal",
        version=3,
        spec={
            "language": language,
            "context": study.model.context,
            "evaluate": study.evaluate.model_dump(),
            "evaluation_key": study.key_of("evaluation"),
        },
        cost=5.0 + study.evaluate.prompts * len(study.evaluate.tasks) * _SECONDS_PER_IDEAL_PROMPT,
    )


def _name(kind: str, parameters: Mapping[str, float]) -> str:
    """Return the name of a step that a setting of the grammar has."""
    return " ".join([kind, *variant_parts({f"grammar.{name}": value for name, value in parameters.items()})])


def _corpus_step(study: Study, language: JsonObject, parameters: Mapping[str, float]) -> Step:
    return Step(
        name=_name("corpus", parameters),
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


def _train_step(study: Study, run: RunSpec) -> Step:
    return Step(
        name=f"train {run.name}",
        kind="train",
        function=f"{_STAGES}:train_run",
        version=2,
        spec={
            "language": run.grammar.language,
            "model": run.model.model_dump(),
            "train": run.train.model_dump(),
            "seed": run.seed,
            "documents": run.documents,
            "keys": {name: study.key_of(name) for name in ("data", "initialisation")},
        },
        inputs={"corpus": run.grammar.corpus},
        cost=_training_cost(run),
    )


def _training_cost(run: RunSpec) -> float:
    tokens = run.train.milestones[-1]
    steps = tokens / (run.train.batch * run.model.context)
    return run.model.training_flops(tokens) / _FLOPS_PER_SECOND + steps * run.model.layers * _SECONDS_PER_STEP


def _cell_step(study: Study, run: RunSpec, tokens: int, train: Step) -> Step:
    prompts = study.evaluate.prompts * len(study.evaluate.tasks)
    return Step(
        name=f"score {run.cell_name(tokens)}",
        kind="cell",
        function=f"{_STAGES}:score_cell",
        version=4,
        spec={
            "cell": run.measured_name(tokens),
            "language": run.grammar.language,
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


def _emergence_steps(study: Study, runs: Sequence[RunSpec], inputs: Mapping[str, Step]) -> dict[str, Step]:
    """Return a step for each task, which asks where it emerges; none where no curve can have enough points."""
    tokens = len(study.train.tokens)
    models = {(run.documents, variant_of(run.settings), run.model.layers, run.model.width) for run in runs}
    sizes = max(Counter(model[:2] for model in models).values())
    points: dict[Axis, int] = {
        "tokens": tokens,
        "parameters": sizes,
        "compute": tokens * sizes,
        "loss": tokens * sizes,
    }
    if all(number < FEWEST_POINTS[axis] for axis, number in points.items()):
        return {}
    cells = {name: step for name, step in inputs.items() if name.startswith(CELL)}
    spec: JsonObject = {"key": study.key, **_settings(study, runs)}
    return {
        f"{EMERGENCE}{task}": Step(
            name=f"emergence of {task}",
            kind="emergence",
            function="emergelab.recipes.emergence_stages:find_emergence",
            version=2,
            spec={"task": task, **spec},
            inputs=cells,
            cost=2.0 + _SECONDS_PER_RUN_OF_CURVES * len(runs),
        )
        for task in study.evaluate.tasks
    }


def _piece_steps(
    study: Study, grammars: Sequence[GrammarSetting], inputs: Mapping[str, Step], runs: Sequence[RunSpec]
) -> dict[str, Step]:
    """Return the steps that measure skills on text-pieces; none where the study does not ask for it."""
    if not study.skills.documents:
        return {}
    texts = [_texts_step(study, setting) for setting in grammars]
    found = {f"{TEXTS}{number}": step for number, step in enumerate(texts)}
    for run in runs:
        own = texts[_number_of(grammars, run)]
        for tokens in study.train.tokens:
            found[f"{PIECES}{run.cell_name(tokens)}"] = _pieces_step(
                run, tokens, {"train": inputs[f"run {run.name}"], "texts": own}
            )
    return found


def _texts_step(study: Study, setting: GrammarSetting) -> Step:
    return Step(
        name=_name("texts", setting.parameters),
        kind="texts",
        function=f"{_PIECES}:draw_pieces",
        version=1,
        spec={
            "language": setting.language,
            "context": study.model.context,
            "documents": study.skills.documents,
            "evaluation_key": study.key_of("evaluation"),
        },
        cost=5.0 + study.skills.documents * _SECONDS_PER_DOCUMENT,
    )


def _pieces_step(run: RunSpec, tokens: int, inputs: Mapping[str, Step]) -> Step:
    documents = inputs["texts"].spec["documents"]
    assert isinstance(documents, int)  # noqa: S101 - written above
    return Step(
        name=f"pieces of {run.cell_name(tokens)}",
        kind="pieces",
        function=f"{_PIECES}:score_pieces",
        version=1,
        spec={"cell": run.measured_name(tokens), "tokens": tokens},
        inputs=inputs,
        cost=1.0 + documents * run.model.layers * _SECONDS_PER_DOCUMENT / 4,
    )


def _settings(study: Study, runs: Sequence[RunSpec]) -> JsonObject:
    """Return what each run's settings are, if any vary."""
    return {"settings": {run.name: dict(run.settings) for run in runs}} if study.varied else {}


def _ideal_input(grammars: Sequence[GrammarSetting], run: RunSpec) -> str:
    """Return what the tables call the ideal predictors of a run: the same whatever its parameters are called."""
    return f"ideal {_number_of(grammars, run)}"


def _number_of(grammars: Sequence[GrammarSetting], run: RunSpec) -> int:
    """Return which setting of the grammar a run has."""
    return next(number for number, one in enumerate(grammars) if one is run.grammar)


def _texts(grammars: Sequence[GrammarSetting], study: Study, runs: Sequence[RunSpec]) -> JsonObject:
    """Return which pieces each run's models are asked, if any are."""
    if not study.skills.documents:
        return {}
    return {"texts": {run.name: f"{TEXTS}{_number_of(grammars, run)}" for run in runs}, "key": study.key}


def _tables_step(
    study: Study, grammars: Sequence[GrammarSetting], runs: Sequence[RunSpec], inputs: Mapping[str, Step]
) -> Step:
    """Return the step that joins all cells. Its specification says what each run's settings are, if any vary."""
    ideals = {id(step): name for name, step in inputs.items()}
    spec: JsonObject = {
        "ideals": {run.name: ideals[id(run.grammar.ideal)] for run in runs},
        **_settings(study, runs),
        **_texts(grammars, study, runs),
    }
    return Step(
        name="tables",
        kind="tables",
        function="emergelab.recipes.joining:make_tables",
        version=7,
        spec=spec,
        inputs=inputs,
        cost=3.0 + 0.5 * len(inputs),
    )
