"""Running studies, and reading what they found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from emergelab.api.checks import chosen, one_of, whole
from emergelab.api.grammars import Grammar, parse_grammar
from emergelab.api.notebooks import reporter
from emergelab.api.settings import written
from emergelab.errors import UserError
from emergelab.recipes import results, running
from emergelab.recipes.catalogue import catalogue
from emergelab.recipes.comparing import Comparison, compare_runs
from emergelab.recipes.keep import Keep
from emergelab.recipes.models import Models, study_of
from emergelab.recipes.run_folder import RunFolder
from emergelab.recipes.trackers import Tracker
from emergelab.recipes.tracking import tracked
from emergelab.scores.predictor import Predictor
from emergelab.scores.prompts import PromptSet
from emergelab.spec import Json

if TYPE_CHECKING:
    import altair as alt

    from emergelab.api.scoring import Evaluation

__all__ = ["Comparison", "Run", "catalogue", "compare", "open_run", "plan", "run", "score_pretrained"]

_MOST_WORKERS = 10_000
_MOST_SHOTS = 32_000
_DEVICES = ("auto", "cpu", "cuda")


def run(
    study: str | Path,
    *,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    workers: int | None = None,
    keep: Literal["all", "last", "best"] = "all",
    track: str | Iterable[str] = (),
    progress: bool = True,
) -> Run:
    """Run a study, or go on with it: train its models, score them, and make the report.

    `study` is the name of a shipped one or the path of a `.toml` file, `out` the run's folder (`runs/<study>`
    if not given). `settings` are entries put in place of the study's own: `{"train.tokens": [1e5, 2e5]}`.
    There is one worker process for each core if `workers` does not say. `keep` says which models stay once
    they are scored: all, or of each training run the last one or the one of lowest loss. With `progress` there
    is a live view in terminals and notebooks, and lines of text elsewhere, on standard error. `track` names
    trackers that metrics are sent to while training goes on: tensorboard, mlflow, wandb.

    What is finished already is not made again. An interruption (KeyboardInterrupt) keeps everything that is
    finished, and what running steps have saved; the same call goes on from there. Raises StudyError,
    GrammarError and other UserErrors for what the user can mend.
    """
    one_of("keep", keep, list(Keep))
    request = replace(_request(study, settings, out), keep=Keep(keep))
    slots = running.available_cores() if workers is None else whole("workers", workers, most=_MOST_WORKERS)
    trackers = (track,) if isinstance(track, str) else tuple(track)
    for name in trackers:
        one_of("track", name, list(Tracker))
    shown = tracked(
        reporter(progress=progress), [Tracker(name) for name in trackers], request.grid, request.folder
    )
    running.run_study(request, workers=slots, reporter=shown)
    return open_run(request.folder.path)


def plan(
    study: str | Path, *, out: str | Path | None = None, settings: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """Return the steps that `run` would take, and do nothing. Raises as `run` does.

    Columns: step, state (`finished`, `to do`, …), seconds (a rough estimate for one core).
    """
    steps = running.plan_study(_request(study, settings, out))
    schema = {"step": pl.String, "state": pl.String, "seconds": pl.Float64}
    return pl.DataFrame([(step.name, str(state), step.cost) for step, state in steps], schema, orient="row")


def open_run(folder: str | Path) -> Run:
    """Return the run that a folder holds, finished or not. Raises ArtifactError where there is none."""
    path = Path(folder)
    return Run(path, RunFolder(path).read_record())


def compare(a: Run | str | Path, b: Run | str | Path, *, shots: int | None = None) -> Comparison:
    """Say what differs between two finished runs: settings, cells, and the answers of corresponding models.

    Answers are compared at `shots` examples, by default the most that both runs have, prompt by prompt where both
    asked the same. Raises ArtifactError for what is no finished run and UserError for a number of examples that
    they lack.
    """
    number = None if shots is None else whole("shots", shots, least=0, most=_MOST_SHOTS)
    ours, theirs = (RunFolder(one.folder if isinstance(one, Run) else Path(one)) for one in (a, b))
    return compare_runs(ours, theirs, shots=number)


def _request(
    study: str | Path, settings: Mapping[str, Any] | None, out: str | Path | None
) -> running.Request:
    return running.prepare_request(str(study), written(settings or {}), None if out is None else Path(out))


def score_pretrained(
    model: str | Path,
    grammar: str | Path,
    *,
    parameters: Mapping[str, float] | None = None,
    tasks: str | Iterable[str] | None = None,
    shots: int = 10,
    prompts: int = 128,
    key: int = 0,
    renderings: int = 5,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    out: str | Path | None = None,
    progress: bool = True,
) -> Run:
    """Ask a Hugging Face causal language model the tasks of a grammar, in words of its own vocabulary.

    `model` is the model's folder, `grammar` a name or path, and `parameters` are values for parameters that the
    grammar names. Objects are written as words, which are drawn `renderings` times: once, or at least five times for
    intervals over words. The answers lie in the folder `out` (`runs/evaluate-<model>-<grammar>` if not given), from
    where the same call goes on. The run that is returned has tables, and no study or models of its own. Needs the
    extra `huggingface`; raises UserError for what cannot be asked.
    """
    from emergelab.recipes.evaluating import Questions, evaluate_model, prepare_evaluation  # noqa: PLC0415

    if device not in _DEVICES:
        raise UserError(
            f"Got device={device!r}. A device is one of {', '.join(_DEVICES)}. Choose one of them."
        )
    named = () if tasks is None else (tasks,) if isinstance(tasks, str) else tuple(tasks)
    numbers = {
        "shots": whole("shots", shots, most=_MOST_SHOTS),
        "prompts": whole("prompts", prompts),
        "key": whole("key", key, least=0, most=2**53 - 1),
        "renderings": whole("renderings", renderings, most=1_000),
    }
    questions = Questions(grammar=str(grammar), parameters=parameters or {}, tasks=named, **numbers)
    request = prepare_evaluation(
        Path(model), questions, device=device, out=None if out is None else Path(out)
    )
    return open_run(evaluate_model(request, reporter=reporter(progress=progress)).path)


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """What a study found. Made by `run` and `open_run`.

    The tables are Polars data frames; missing is null, every estimate has an interval, its n and its method.
    All of them raise ArtifactError where the run is not finished, or was damaged.
    """

    folder: Path
    record: Mapping[str, Any]
    """What was run: the study with all its settings, the grammar's text, versions, machine, times."""

    def __repr__(self) -> str:
        return f"Run({self.name!r}, folder={str(self.folder)!r})"

    @property
    def name(self) -> str:
        """The study's name."""
        return self.record["name"]

    @property
    def study(self) -> Mapping[str, Any]:
        """The study, every default filled in. Raises UserError for answers of a model from elsewhere."""
        return study_of(self.record, self.folder)

    @cached_property
    def scores(self) -> pl.DataFrame:
        """Accuracy and nats of every model, by task, form, split, decoding, argument and number of examples."""
        return self._table("scores")

    @cached_property
    def curves(self) -> pl.DataFrame:
        """The scores over seeds: a row for each seed, and, from five seeds on, one for all."""
        return self._table("curves")

    @cached_property
    def items(self) -> pl.DataFrame:
        """Every single answer, and each printed step of it."""
        return self._table("items")

    @cached_property
    def gains(self) -> pl.DataFrame:
        """What printing the steps gains over answering at once, on the same prompts: predicted, ideal, the model's."""
        return self._table("gains")

    @cached_property
    def cumulative_gains(self) -> pl.DataFrame:
        """What printing the steps gains on the first answers of a prompt together."""
        return self._table("cumulative_gains")

    @cached_property
    def decodings(self) -> pl.DataFrame:
        """Final answers behind printed steps, written by the model itself or given, and whence the wrong ones come."""
        return self._table("decodings")

    @cached_property
    def losses(self) -> pl.DataFrame:
        """Training losses over tokens, in nats per token."""
        return self._table("losses")

    @cached_property
    def cells(self) -> pl.DataFrame:
        """The models: sizes, tokens, seeds, arithmetic, loss on documents that no run trained on."""
        return self._table("cells")

    @cached_property
    def bounds(self) -> pl.DataFrame:
        """What the theory says of each task: description lengths, bounds, by number of answers."""
        return self._table("bounds")

    @cached_property
    def cumulative(self) -> pl.DataFrame:
        """What the first answers of a prompt cost together, of models and ideal predictors."""
        return self._table("cumulative")

    @cached_property
    def gaps(self) -> pl.DataFrame:
        """What models pay more than the ideal predictors, by role of the token and by task."""
        return self._table("gaps")

    @cached_property
    def prompt_table(self) -> pl.DataFrame:
        """The prompts that the models were asked: the functions that each draws, and its description length D."""
        return self._table("prompts")

    @cached_property
    def verdicts(self) -> pl.DataFrame:
        """What was found on each hypothesis of the study: effect with interval, verdict, and when it was fixed."""
        return self._table("verdicts")

    @cached_property
    def emergence(self) -> pl.DataFrame:
        """Where tasks emerge: thresholds, sharpness and jumps of every curve with points enough."""
        return self._table("emergence")

    def ask_emergence(
        self,
        task: str | None = None,
        *,
        form: str | None = None,
        split: str | None = None,
        axis: Literal["tokens", "parameters", "compute", "loss"] | None = None,
        metric: Literal["accuracy", "probability", "nats"] | None = None,
        shots: int | None = None,
        level: float | None = None,
        span: float | None = None,
    ) -> pl.DataFrame:
        """Ask any curve of the run where it crosses a level and whether it jumps; the columns are those of `emergence`.

        What is left out is all that there is: `shots` the most examples, `level` half way from chance to certainty.
        A level is one of `metric`, by default of accuracy. `span` is how far a smooth rise reaches, in natural
        logarithms of the axis (nats for loss), by default half of what was measured. Raises UserError for what the
        run was not asked, and for an axis along which no curve has points enough: four token counts or sizes, or
        six of both along compute and loss.
        """
        from emergelab.recipes.emergence import EmergenceQuestion, emergence_of  # noqa: PLC0415 - slow to import

        question = EmergenceQuestion(
            task=task, form=form, split=split, axis=axis, metric=metric, shots=shots, level=level, span=span
        )
        return emergence_of(self._folder, question)

    def query(self, sql: str) -> pl.DataFrame:
        """Return the answer to an SQL query (DuckDB's) over the tables; it sees nothing else.

        Raises UserError with DuckDB's message for a query that fails, and for two columns of one name.
        """
        return results.frame_of(results.query(self._folder, sql))

    @property
    def report(self) -> Path:
        """The page of the report, to be opened in a browser; made again where it is missing."""
        page = self._folder.page
        return page if page.is_file() else running.make_report(self._folder)

    @cached_property
    def figures(self) -> Mapping[str, alt.TopLevelMixin]:
        """The figures of the report that the study's tables allow, by name, as Altair charts.

        A notebook draws them; `.save("name.svg")` and `.to_dict()` work as for every chart.
        """
        from emergelab.report.figures import charts_of  # noqa: PLC0415 - slow to import

        return charts_of(running.read_content(self._folder))

    def model(self, **which: Json) -> Predictor:
        """Return the trained model with these entries: `layers`, `width`, `seed`, `tokens` and the like.

        Entries are those of the table `cells` and of the settings that the study varies. Without `tokens` it
        is the model that was trained longest. It predicts on the CPU in float32. Raises UserError where there
        is no such model or more than one, ArtifactError where it was not kept.
        """
        from emergelab.evaluate.trained import TrainedPredictor  # noqa: PLC0415 - loads torch

        cell = self._models.choose(which)
        return TrainedPredictor.load(self._models.checkpoint(cell), cell)

    @property
    def models(self) -> pl.DataFrame:
        """The models: what tells them apart, their loss, and the file of each (null where it was not kept)."""
        from emergelab.recipes.exporting_models import list_models  # noqa: PLC0415

        return list_models(self._folder_of_study)

    def export_model(self, out: str | Path, *, licence: str | None = None, **which: Json) -> Path:
        """Write the model with these entries as a folder for Hugging Face's `transformers`: weights, tokenizer, card.

        Without entries it is the largest model with the most training tokens, of the first seed. Returns `out`;
        raises UserError where that holds something else, and as `model` does.
        """
        from emergelab.api.exports import export_trained  # noqa: PLC0415

        return export_trained(self._folder_of_study, Path(out), which, licence)

    def export_corpus(
        self, out: str | Path, *, run: str | None = None, seed: int | None = None, licence: str | None = None
    ) -> Path:
        """Write the documents that a training run read, and those of its loss, as `Grammar.export` does.

        `run` is its name, needed where the runs of a seed (by default the first) read different documents. Returns
        `out`; raises UserError as `Grammar.export` does, and for a run that there is not.
        """
        from emergelab.api.exports import export_training  # noqa: PLC0415

        return export_training(self._folder_of_study, Path(out), run, seed, licence)

    def grammar(self, **which: Json) -> Grammar:
        """Return the grammar that the models with these entries were trained on, its world drawn as for them.

        Without entries it is that of all models. Raises UserError where models differ in their grammar.
        """
        language = self._models.language(which)
        key, own = self.study["key"], self.study["keys"]
        document_key, prompt_key = (
            key if own[name] is None else own[name] for name in ("data", "evaluation")
        )
        read = parse_grammar(language["grammar"], name=language["name"], key=language["key"])
        return replace(read, document_key=document_key, prompt_key=prompt_key)

    def prompts(self, tasks: str | Iterable[str] | None = None, **which: Json) -> list[PromptSet]:
        """Return the prompts that the run's models were asked: a set for each form and split of each task.

        `which` is needed where models differ in their grammar only. Raises UserError as `grammar` does, and
        for tasks that the study does not ask.
        """
        asked = self.study["evaluate"]
        names = chosen(tasks, asked["tasks"], f"The study {self.name}")
        return self.grammar(**which).prompts(names, shots=asked["shots"], prompts=asked["prompts"])

    def score(
        self, predictor: Predictor, tasks: str | Iterable[str] | None = None, **which: Json
    ) -> Evaluation:
        """Ask a predictor just what the run's models were asked, prompt by prompt. Raises as `prompts` does."""
        from emergelab.api.scoring import score_prompts  # noqa: PLC0415

        return score_prompts(predictor, self.prompts(tasks, **which))

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(self.folder)

    @property
    def _folder_of_study(self) -> Path:
        _ = self.study  # refuses what is no study's
        return self.folder

    @cached_property
    def _models(self) -> Models:
        return Models(RunFolder(self._folder_of_study))

    @cached_property
    def _tables(self) -> Path:
        return self._folder.open_tables()

    def _table(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self._tables / f"{name}.parquet")
