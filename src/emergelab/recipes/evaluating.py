"""Evaluating somebody else's model on a grammar: its questions as steps, its answers as a run's tables."""

from __future__ import annotations

import importlib.metadata
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergelab.analysis.seeds import FEWEST_SEEDS
from emergelab.corpus.prompts import make_prompts
from emergelab.errors import ArtifactError, UserError
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import Language, Vocabulary
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.grammar.notation import render
from emergelab.grammar.notation_numbers import number_text
from emergelab.grammar.problems import suggestion
from emergelab.grammar.rows import row_width
from emergelab.grammar.shelf import SourceFile
from emergelab.pipeline import manifest
from emergelab.pipeline.events import Reporter
from emergelab.pipeline.files import storage_errors
from emergelab.pipeline.runner import run
from emergelab.pipeline.step import Step
from emergelab.recipes.evaluation_stages import words_stream
from emergelab.recipes.results import Rows, query
from emergelab.recipes.run_folder import RunFolder
from emergelab.recipes.running import available_cores, machine
from emergelab.rng import stream
from emergelab.spec import Json, JsonObject, fingerprint

if TYPE_CHECKING:
    from emergelab.evaluate.pretrained import ModelFolder, Placement
    from emergelab.evaluate.wording import Lexicon

_STAGES = "emergelab.recipes.evaluation_stages"
_MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_FLOPS_PER_SECOND = {"cpu": 4e10, "cuda": 1e14}  # for the time left only
_READINGS = 4  # of every token: once for its score, and again and again where it is a prefix
_ON_SCREEN = (
    "task",
    "form",
    "split",
    "shots",
    "n",
    "accuracy",
    "accuracy_lo",
    "accuracy_hi",
    "accuracy_free",
    "chance",
    "nats",
    "nats_lo",
    "nats_hi",
)


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What a model is asked: tasks of a grammar (all if none is named), with 0 to `shots` examples.

    `parameters` are values for parameters of the grammar. `key` draws the world, the prompts and the words, as a
    study's key does. `renderings` draws of words are taken; one, or at least five.
    """

    grammar: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    shots: int = 10
    prompts: int = 128
    key: int = 0
    renderings: int = FEWEST_SEEDS


@dataclass(frozen=True)
class EvaluationRequest:
    """A checked evaluation: questions, model, steps, and the folder that takes the answers."""

    questions: Questions
    folder: RunFolder
    record: JsonObject
    tables: Step

    @property
    def pooled(self) -> bool:
        """Whether there are several draws of words to be taken together."""
        return len(self._draws) > 1

    @property
    def scope(self) -> str:
        """What the intervals hold for, in words."""
        if self.pooled:
            return f"over {len(self._draws)} draws of words"
        return "in the model's own words" if _OWN in self._draws else "for these words alone"

    @property
    def _draws(self) -> list[str]:
        words: Any = self.record["words"]
        return list(words)


def prepare_evaluation(
    model: Path, questions: Questions, *, device: str = "auto", out: Path | None = None
) -> EvaluationRequest:
    """Check model, grammar and questions, and lay out the steps. Raises UserError for all that cannot be done."""
    from emergelab.evaluate.pretrained import ModelFolder, choose_placement  # noqa: PLC0415 - loads torch
    from emergelab.evaluate.wording import Lexicon  # noqa: PLC0415

    _require_renderings(questions.renderings)
    source = find_grammar(questions.grammar)
    language = draw_language(load_grammar(source, questions.parameters), stream(questions.key, "world"))
    tasks = _tasks(language, questions)
    opened = ModelFolder.open(model)
    placement = choose_placement(device)
    lexicon = Lexicon(opened.tokenizer, opened.name)
    words = _words(lexicon, language.vocabulary, questions)
    _require_context(opened, lexicon, language, tasks, questions)
    plan = _Plan(opened, placement, language, questions, tasks, tuple(words))
    folder = RunFolder(out or Path("runs") / f"evaluate-{opened.name}-{source.name}")
    tables = plan.tables()
    record = {**plan.record(source, folder, tables), "words": words, "words_to_choose_from": lexicon.size}
    return EvaluationRequest(questions, folder, record, tables)


def evaluate_model(request: EvaluationRequest, *, reporter: Reporter) -> RunFolder:
    """Let the model answer, or go on with it; return the folder, whose tables are those of a run.

    Raises what `pipeline.runner.run` raises.
    """
    folder, record = request.folder, request.record
    _require_own_folder(folder, str(record["name"]))
    with storage_errors(folder.path):
        folder.write_record(record)
    # One model in memory: tasks one after the other, each with all cores.
    run([request.tables], folder.store, workers=1, reporter=reporter, threads=available_cores())
    folder.write_record({**record, "finished": datetime.now(UTC).isoformat(timespec="seconds")})
    return folder


def evaluation_rows(request: EvaluationRequest, *, headlines: bool) -> Rows:
    """Return accuracy and nats by task and number of examples, over all draws of words where there are several.

    With `headlines` the columns, and the numbers of examples, that a screen has room for: fresh arguments, the
    answers with the true tokens before them, and beside them the accuracy of those that the model wrote itself.
    """
    rows = "select * from curves where seed is null" if request.pooled else "select * from curves"
    if not headlines:
        return query(request.folder, f"{rows} order by all")
    names = ", ".join(f"forced.{name}" if name != "accuracy_free" else name for name in _ON_SCREEN)
    return query(
        request.folder,
        f"with answers as ({rows}) select {names} from answers forced left join "  # noqa: S608 - names listed here
        "(select task, form, split, shots, argument, accuracy as accuracy_free from answers where decoding = 'free') "
        "using (task, form, split, shots, argument) where decoding = 'teacher_forced' and argument = 'fresh' and "
        f"shots in ({_shown_shots(request.questions.shots)}) order by task, form, forced.split desc, shots",
    )


def _shown_shots(shots: int) -> str:
    powers = {0, shots} | {2**n for n in range(shots.bit_length())}
    return ", ".join(str(number) for number in sorted(powers) if number <= shots)


@dataclass(frozen=True)
class _Plan:
    """The steps of an evaluation, one for each task and draw of words."""

    model: ModelFolder
    placement: Placement
    language: Language
    questions: Questions
    tasks: tuple[str, ...]
    renderings: tuple[str, ...]

    def tables(self) -> Step:
        digest = model_digest(self.model.path)
        inputs: dict[str, Step] = {}
        cells: dict[str, Json] = {}
        for rendering, name in enumerate(self.renderings):
            for task in self.tasks:
                inputs[f"{name} {task}"] = self._answers(rendering, name, task, digest)
                cells[f"{name} {task}"] = self._cell(rendering, name)
        spec: JsonObject = {
            "cells": cells,
            **self._asked(),
            "tasks": list(self.tasks),
            "digest": digest,
            "device": self.placement.device,
            "precision": self.placement.precision,
        }
        return Step(
            name="tables",
            kind="tables",
            function=f"{_STAGES}:make_tables",
            version=3,
            spec=spec,
            inputs=inputs,
            cost=2.0 + 0.2 * len(inputs),
        )

    def _cell(self, rendering: int, name: str) -> Json:
        own = name == _OWN
        return {
            "cell": name,
            "rendering": rendering,
            "seed": None if own else rendering,
            "layers": self.model.layers,
            "width": self.model.width,
        }

    def _answers(self, rendering: int, name: str, task: str, digest: str) -> Step:
        return Step(
            name=f"answer {task}, {name}",
            kind="answers",
            function=f"{_STAGES}:answer_task",
            version=1,
            spec={
                "cell": name,
                "predictor": self.model.name,
                "folder": str(self.model.path.absolute()),
                "digest": digest,
                "device": self.placement.device,
                "precision": self.placement.precision,
                **self._asked(),
                "task": task,
                "rendering": rendering,
            },
            cost=self._cost(task),
        )

    def _asked(self) -> JsonObject:
        """Return what the prompts follow from, but for their task."""
        grammar, asked = self.language.syntax, self.questions
        return {
            "language": {"grammar": render(grammar), "name": grammar.name, "key": asked.key},
            "shots": asked.shots,
            "prompts": asked.prompts,
            "key": asked.key,
        }

    def _cost(self, task: str) -> float:
        tokens = self.questions.prompts * _length(self.language, (task,), self.questions.shots)
        parameters = self.model.weight_bytes / 2
        speed = _FLOPS_PER_SECOND[self.placement.device]
        return 1.0 + 2 * parameters * tokens * _READINGS / speed

    def record(self, source: SourceFile, folder: RunFolder, tables: Step) -> JsonObject:
        """Return what was evaluated, on what, and how."""
        asked = self.questions
        return {
            "name": f"{self.model.name} on {source.name}",
            "verb": "evaluate",
            "command": _command(self.model.path, asked, folder.path, self.placement.device),
            "settings": [],
            "model": {
                "folder": str(self.model.path.absolute()),
                "digest": model_digest(self.model.path),
                "type": self.model.config.model_type,
                "context": self.model.context,
                "device": self.placement.device,
                "precision": self.placement.precision,
            },
            "questions": {
                "grammar": source.name,
                "parameters": dict(asked.parameters),
                "tasks": list(self.tasks),
                "shots": asked.shots,
                "prompts": asked.prompts,
                "key": asked.key,
                "renderings": len(self.renderings),
            },
            "grammar_name": source.name,
            "grammar_text": source.text,
            "tables": tables.key,
            "corpus": "",
            "versions": _versions(),
            "machine": machine(),
        }


_OWN = "own names"


def _words(lexicon: Lexicon, vocabulary: Vocabulary, questions: Questions) -> dict[str, Json]:
    """Return by the name of each draw how objects and terminals are written. Raises UserError for too few words."""
    if lexicon.owns(vocabulary):
        return {_OWN: list(vocabulary.texts)}
    drawn = (
        lexicon.wording(vocabulary, words_stream(questions.key, number))
        for number in range(questions.renderings)
    )
    return {f"words={number}": list(wording.texts) for number, wording in enumerate(drawn)}


def model_digest(folder: Path) -> str:
    """Return the fingerprint of all files of a model that what it answers can depend on."""
    files = sorted({path for pattern in _MODEL_FILES for path in folder.glob(pattern) if path.is_file()})
    return fingerprint({path.name: manifest.record(path)["blake2b"] for path in files})


def _tasks(language: Language, questions: Questions) -> tuple[str, ...]:
    known = [task.name for task in language.syntax.tasks]
    for name in questions.tasks:
        if name not in known:
            raise UserError(
                f"Grammar {language.syntax.name} has no task {name!r}. Ask for tasks of the grammar. "
                f"{suggestion(name, known)}"
            )
    tasks = tuple(dict.fromkeys(questions.tasks or known))
    if not tasks:
        raise UserError(
            f"Grammar {language.syntax.name} has no tasks. A model is asked tasks. Add one to the grammar."
        )
    for task in tasks:  # every split that a task declares must have prompts: found out now
        make_prompts(language, task, shots=questions.shots, prompts=1, stream=stream(0, "evaluation"))
    return tasks


def _require_renderings(renderings: int) -> None:
    if 1 < renderings < FEWEST_SEEDS:
        raise UserError(
            f"Got --renderings {renderings}. Take one draw of words, whose interval then holds for these words, or at "
            f"least {FEWEST_SEEDS}: an interval over fewer would rest on nothing."
        )


def _require_context(
    model: ModelFolder, lexicon: Lexicon, language: Language, tasks: Sequence[str], questions: Questions
) -> None:
    prefix = len(lexicon.wording(language.vocabulary, words_stream(questions.key, 0)).prefix)
    needed = _length(language, tasks, questions.shots) + prefix
    if model.context is not None and needed > model.context:
        raise UserError(
            f"{model.name} reads at most {model.context} tokens, and prompts with {questions.shots} examples need "
            f"{needed}. A prompt must fit. Use fewer examples with --shots."
        )


def _length(language: Language, tasks: Sequence[str], shots: int) -> int:
    """Return how many words a model must read before the last token of the longest prompt."""
    asked = [task for task in language.syntax.tasks if task.name in tasks]
    widths = [row_width(items) for task in asked for items in (task.direct, task.steps) if items is not None]
    return (shots + 1) * max(widths) - 1


def _command(model: Path, asked: Questions, out: Path, device: str) -> str:
    tasks = [part for task in asked.tasks for part in ("--task", task)]
    values = asked.parameters.items()
    settings = [part for name, value in values for part in ("--set", f"{name}={number_text(value)}")]
    numbers = {name: getattr(asked, name) for name in ("shots", "prompts", "key", "renderings")}
    options = [part for name, value in numbers.items() for part in (f"--{name}", str(value))]
    return shlex.join(
        [
            *(str(model), "--grammar", asked.grammar, *settings, *tasks, *options),
            *("--device", device, "--out", str(out)),
        ]
    )


def _versions() -> dict[str, Json]:
    versions: dict[str, Any] = dict(manifest.installed_versions())
    for name in ("transformers", "tokenizers", "safetensors"):
        versions[name] = importlib.metadata.version(name)
    return {name: version or "not installed" for name, version in versions.items()}


def _require_own_folder(folder: RunFolder, name: str) -> None:
    """Refuse a folder that holds something else. Raises UserError."""
    path = folder.path
    if path.exists() and not path.is_dir():
        raise UserError(
            f"{path} is a file. An evaluation needs a folder of its own. Give another one with --out."
        )
    if not path.is_dir() or not any(path.iterdir()):
        return
    try:
        found = folder.read_record()["name"]
    except ArtifactError:
        found = None if (path / "store").is_dir() else "something else"
    if found not in {None, name}:
        raise UserError(
            f"{path} holds {found}, not {name}. An evaluation needs a folder of its own. Give another one with --out."
        )
