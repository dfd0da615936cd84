"""Reads what the lm-evaluation-harness writes with `--log_samples`: every answer of a model to every item.

Beside each `samples_TASK_DATE.jsonl` stands a `results_DATE.json` with the model, its arguments and the tasks' settings
(versions 0.4.3 and later; before, `ARGUMENTS_TASK.jsonl` and `results.json`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from emergelab.outcomes.answers import answer_of
from emergelab.outcomes.logs import (
    LogChoice,
    LogError,
    Logged,
    LogKind,
    choose_marks,
    fields_of,
    listed_names,
    log_files,
    mark_columns,
    name_items,
    parse_json,
)

# What a sample says of itself; everything else is a mark (logs before 0.4.5 have no list of marks).
_OWN = frozenset(
    {
        "doc_id",
        "doc",
        "target",
        "arguments",
        "resps",
        "filtered_resps",
        "filter",
        "metrics",
        "doc_hash",
        "prompt_hash",
        "target_hash",
    }
)
_NAMES = ("peft", "delta", "pretrained", "model", "path", "engine")  # as the harness itself names a model
_SCHEMA = pl.Schema(
    {
        "piece": pl.String,
        "fingerprint": pl.String,
        "correct": pl.Boolean,
        "chance": pl.Float64,
        "cloze_loss": pl.Float64,
        "nats": pl.Float64,
        "input": pl.String,
        "target": pl.String,
        "prompt": pl.String,
        "filter": pl.String,
        "sample": pl.Int32,
    }
)
_UNNAMED = "main"  # the revision that Hugging Face's hub takes where none is named


@dataclass(frozen=True)
class _Log:
    """A file of samples: what it is of, and the settings of its task."""

    path: Path
    date: str
    system: str
    checkpoint: str
    params: int | None
    task: str
    shots: int | None
    settings: Mapping[str, Any]
    known: bool  # whether results were found beside it


def read_harness(paths: Sequence[Path], choice: LogChoice) -> Logged:
    """Read files of samples, or all of those in folders.

    Of several logs of one model, task and number of examples the latest is taken. Raises LogError.
    """
    logs = _logs(log_files(paths, _SAMPLES))
    latest, notes = _latest(logs)
    frames: dict[str, list[pl.DataFrame]] = {}
    names = _task_names(latest)
    doubtful: list[str] = []
    for log in latest:
        frame, contradicted = _read(log, names[log.task, log.shots], choice)
        frames.setdefault(names[log.task, log.shots], []).append(frame)
        doubtful += [log.task] * contradicted
    tasks = [pl.concat(parts, how="diagonal") for parts in frames.values()]
    tasks, filtered = _one_filter(tasks, choice.filter)
    marked, used = choose_marks(tasks, choice)
    frame, apart = name_items(pl.concat(marked, how="diagonal"))
    notes += [*filtered, *used, *apart, *_about(latest, frame, doubtful)]
    return Logged(frame.drop("filter"), tuple(notes))


# Files


def _is_samples(path: Path) -> bool:
    if path.suffix != ".jsonl" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        begin = file.read(4096)
    return '"doc_id"' in begin and '"doc"' in begin


_SAMPLES = LogKind(
    patterns=("*.jsonl",),
    accepts=_is_samples,
    strange="no file of samples of the lm-evaluation-harness. Its lines would have doc_id, doc and resps. Give the "
    "samples_*.jsonl files that it writes with --log_samples, or their folder.",
    missing="No file of samples",
    remedy="Items are read one by one. Run the lm-evaluation-harness with --log_samples --output_path FOLDER.",
    beside=lambda path: path.name.startswith("results"),
)


def _logs(paths: Sequence[Path]) -> list[_Log]:
    """Return what each file of samples is of. Results of many tasks are read once."""
    beside = {path: _results_path(path) for path in paths}
    results = {path: _results(path) for path in set(beside.values())}
    return [_log_of(path, results[place]) for path, place in beside.items()]


def _dated(path: Path) -> re.Match[str] | None:
    return re.fullmatch(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)", path.stem)


def _results_path(path: Path) -> Path:
    dated = _dated(path)
    return path.with_name(f"results_{dated['date']}.json" if dated else "results.json")


def _log_of(path: Path, results: Mapping[str, Any]) -> _Log:
    stem, dated = path.stem, _dated(path)
    date = dated["date"] if dated else ""
    task = dated["task"] if dated else _old_task(stem, results)
    settings = _mapping(_mapping(results.get("configs")).get(task))
    system, checkpoint, params = _model(path, results)
    shots = _mapping(results.get("n-shot")).get(task, settings.get("num_fewshot"))
    return _Log(
        path, date, system, checkpoint, params, task, shots if isinstance(shots, int) else None, settings, bool(results)
    )  # fmt: skip


def _results(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    return _mapping(parse_json(path.read_bytes(), path))


def _old_task(stem: str, results: Mapping[str, Any]) -> str:
    """Return the task that a name without a date ends in."""
    tasks = [task for task in _mapping(results.get("configs")) if stem.endswith(f"_{task}") or stem == task]
    return max(tasks, key=len, default=stem.removeprefix("samples_"))


def _model(path: Path, results: Mapping[str, Any]) -> tuple[str, str, int | None]:
    """Return a model's name, its revision and its parameters; by its folder's name where nothing else is known."""
    config = _mapping(results.get("config"))
    arguments = _arguments(config.get("model_args"))
    named = next((arguments[name] for name in _NAMES if name in arguments), None)
    system = results.get("model_name") or named or config.get("model") or path.resolve().parent.name
    revision = arguments.get("revision") or config.get("model_revision") or _UNNAMED
    params = config.get("model_num_parameters")
    return str(system), str(revision), params if isinstance(params, int) and params > 0 else None


def _arguments(given: Any) -> Mapping[str, Any]:
    """Return arguments of a model, which newer versions write as a mapping and older ones as `a=1,b=2`."""
    if isinstance(given, str):
        return dict(part.split("=", 1) for part in given.split(",") if "=" in part)
    return _mapping(given)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _latest(logs: Sequence[_Log]) -> tuple[list[_Log], list[str]]:
    """Return the latest log of each model, revision, task and number of examples."""
    kept: dict[tuple[Any, ...], _Log] = {}
    for log in sorted(logs, key=lambda one: (one.date, str(one.path))):
        kept[log.system, log.checkpoint, log.task, log.shots] = log
    earlier = len(logs) - len(kept)
    notes = [f"{earlier} earlier logs of the same model, task and shots were left out."] if earlier else []
    return list(kept.values()), notes


def _task_names(logs: Sequence[_Log]) -> dict[tuple[str, int | None], str]:
    """Return a name for each task and number of examples: the task's own, unless it was asked with several."""
    asked = dict.fromkeys((log.task, log.shots) for log in logs)
    tasks = [task for task, _ in asked]
    return {
        (task, shots): task if tasks.count(task) == 1 else f"{task} ({shots}-shot)" for task, shots in asked
    }


# Samples


def _read(log: _Log, task: str, choice: LogChoice) -> tuple[pl.DataFrame, bool]:
    """Return the answers of a log, and whether some contradict what the harness says of them."""
    rows: list[dict[str, Any]] = []
    marks: list[Mapping[str, Any]] = []
    contradicted = False
    filters = _Filters(log.settings)
    for sample in _samples(log.path):
        own, doubted = _row(sample, log, choice)
        rows.append(own | {"filter": filters.of(sample)})
        marks.append({name: sample.get(name) for name in sample.get("metrics", sample.keys() - _OWN)})
        contradicted |= doubted
    schema = dict(_SCHEMA) | ({"skills": pl.List(pl.String)} if "skills" in choice.fields else {})
    frame = pl.DataFrame(rows, schema=schema).with_columns(**mark_columns(marks))
    return frame.with_columns(
        system=pl.lit(log.system),
        checkpoint=pl.lit(log.checkpoint),
        params=pl.lit(log.params, pl.Int64),
        task=pl.lit(task),
        shots=pl.lit(log.shots, pl.Int32),
    ), contradicted


class _Filters:
    """Names the filters of samples in their order; before 0.4.5 the n-th sample of an item is of the n-th filter."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        listed = settings.get("filter_list") or []
        self._names = [str(_mapping(one).get("name", at)) for at, one in enumerate(listed)]
        self._seen: Counter[str] = Counter()

    def of(self, sample: Mapping[str, Any]) -> str:
        """Return the name of a sample's filter."""
        if "filter" in sample:
            return str(sample["filter"])
        item = str(sample["doc_id"])
        number = self._seen[item]
        self._seen[item] += 1
        return self._names[number] if number < len(self._names) else str(number) if number else "none"


def _samples(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            sample = parse_json(line, f"{path}, line {number},")
            if not isinstance(sample, dict) or not {"doc_id", "doc", "arguments", "resps"} <= sample.keys():
                raise LogError(
                    f"{str(path)[:200]}, line {number}, is no sample of the lm-evaluation-harness. It would have "
                    "doc_id, doc, arguments and resps. Leave this file out."
                )
            yield sample


def _row(sample: Mapping[str, Any], log: _Log, choice: LogChoice) -> tuple[dict[str, Any], bool]:
    """Return a sample as a row, and whether it contradicts what the harness says of it."""
    answer = answer_of(sample, log.settings, log.shots)
    doubted = answer.contradicts(sample.get("acc"))
    if doubted:
        answer = answer.without_losses()
    doc = _mapping(sample["doc"])
    row = {
        "piece": str(sample["doc_id"]),
        "fingerprint": str(sample.get("doc_hash", "")),
        "correct": answer.correct,
        "chance": answer.chance,
        "cloze_loss": answer.cloze_loss,
        "nats": answer.nats,
        "input": answer.asked,
        "target": answer.target,
        "prompt": answer.prompt,
        "sample": 0,
    }
    return row | fields_of(doc, choice, log.path), doubted


def _one_filter(tasks: Sequence[pl.DataFrame], told: str | None) -> tuple[list[pl.DataFrame], list[str]]:
    """Return each task with one of its filters: as told, else the first. Raises LogError where none is as told."""
    chosen: dict[str, list[str]] = {}
    kept: list[pl.DataFrame] = []
    known: set[str] = set()
    for frame in tasks:
        filters = frame["filter"].unique(maintain_order=True).to_list()
        known |= set(filters)
        name: str = told if told is not None and told in filters else filters[0]
        if len(filters) > 1:
            chosen.setdefault(name, []).append(frame["task"][0])
        kept.append(frame.filter(pl.col("filter") == name))
    if told is not None and told not in known:
        raise LogError(f"No task has the filter {told[:100]!r}. The logs have {', '.join(sorted(known))}.")
    return kept, [
        f"Of several filters `{name}` was taken in {listed_names(of)}." for name, of in chosen.items()
    ]


def _about(logs: Sequence[_Log], frame: pl.DataFrame, doubtful: Sequence[str]) -> list[str]:
    notes: list[str] = []
    if frame["cloze_loss"].null_count() < frame.height:
        notes.append(
            "Cloze losses are 1 minus the probability of the right choice among the choices (a softmax over their "
            "log-likelihoods); of tasks with one continuation, 1 minus its probability. Nats are of the whole right "
            "continuation."
        )
    if doubtful:
        notes.append(
            f"In {listed_names(doubtful)} the likelihoods of some items contradict the harness's own `acc`: their "
            "right choice is not known, and they have no nats."
        )
    unknown = [log.path.name for log in logs if not log.known]
    if unknown:
        notes.append(
            f"No results file is beside {listed_names(unknown)}: the model is named by its folder, and shots are not "
            "known."
        )
    return notes
