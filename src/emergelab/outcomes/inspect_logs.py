"""Reads logs of Inspect: `.eval` (a zip archive of JSON) and `.json`, without Inspect.

Its own reader would bring a hundred packages (model providers, a web server, a terminal interface) and seconds at
import, to read fields that have kept their names since the first logs. What is read is bounded: an archive from
elsewhere may unpack to any size.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from emergelab.outcomes.archives import Archive
from emergelab.outcomes.logs import (
    LogChoice,
    LogError,
    Logged,
    LogKind,
    as_text,
    choose_marks,
    fields_of,
    listed_names,
    log_files,
    mark_columns,
    name_items,
    parse_json,
)

_MOST_JSON = 1 << 30
_JOINED = " | "
_FINAL = "final"
_SCHEMA = pl.Schema(
    {
        "piece": pl.String,
        "fingerprint": pl.String,
        "sample": pl.Int32,
        "chance": pl.Float64,
        "input": pl.String,
        "target": pl.String,
        "prompt": pl.String,
    }
)
_REFERENCE = "attachment://"


@dataclass(frozen=True)
class _Log:
    """A log: what was asked of which model."""

    path: Path
    created: str
    system: str
    checkpoint: str
    task: str
    arguments: Mapping[str, Any]
    finished: bool

    @property
    def asked(self) -> tuple[str, str]:
        """The task and its arguments."""
        return self.task, json.dumps(self.arguments, sort_keys=True, default=str)


def read_inspect(paths: Sequence[Path], choice: LogChoice) -> Logged:
    """Read logs, or all of those in folders.

    Of several logs of one model and task, with the same arguments, the latest is taken. Raises LogError.
    """
    logs = [_log_of(path) for path in log_files(paths, _LOGS)]
    latest = {
        (log.system, log.checkpoint, log.asked): log for log in sorted(logs, key=lambda one: one.created)
    }
    names = _task_names(list(latest.values()))
    counts: Counter[str] = Counter()
    frames: dict[str, list[pl.DataFrame]] = {}
    for log in latest.values():
        frame = _read(log, names[log.asked], choice, counts)
        if frame.height:
            frames.setdefault(names[log.asked], []).append(frame)
    if not frames:
        raise LogError(
            "The logs have no samples. They may be of runs that failed at once. Give logs of others."
        )
    marked, used = choose_marks([pl.concat(parts, how="diagonal") for parts in frames.values()], choice)
    frame, apart = name_items(pl.concat(marked, how="diagonal"))
    earlier = len(logs) - len(latest)
    notes = [f"{earlier} earlier logs of the same model and task were left out."] if earlier else []
    return Logged(frame, (*notes, *used, *apart, *_about(list(latest.values()), counts)))


# Files


def _is_log(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix == ".eval":
        return True
    with path.open("rb") as file:
        begin = file.read(2048)
    return b'"version"' in begin and b'"status"' in begin and b'"eval"' in begin


_LOGS = LogKind(
    patterns=("*.eval", "*.json"),
    accepts=_is_log,
    strange="no log of Inspect. Logs end in .eval or .json and begin with their version and status. Give the files "
    "that Inspect wrote to its log folder.",
    missing="No log of Inspect",
    remedy="Logs end in .eval or .json. Give the folder that Inspect wrote them to.",
)


def _log_of(path: Path) -> _Log:
    header = _header(path)
    told = _mapping(header.get("eval"))
    if not isinstance(told.get("task"), str) or not isinstance(told.get("model"), str):
        raise LogError(
            f"{str(path)[:200]} names no task and model. A log of Inspect does. Leave this file out."
        )
    arguments = _mapping(told.get("model_args"))
    system = arguments.get("model_path") or told["model"]  # of a model on the disk the name says nothing
    revision = next((arguments[name] for name in ("revision", "checkpoint") if name in arguments), _FINAL)
    return _Log(
        path,
        str(told.get("created", "")),
        str(system),
        str(revision),
        told["task"],
        _mapping(told.get("task_args")),
        header.get("status", "started") == "success",
    )


def _header(path: Path) -> Mapping[str, Any]:
    if path.suffix != ".eval":
        return _whole(path)
    with Archive(path) as archive:
        # A run that was cut short has no header, but says at its start what it is.
        name = next((one for one in ("header.json", "_journal/start.json") if one in archive.names), None)
        if name is None:
            raise LogError(
                f"{str(path)[:200]} has neither header.json nor _journal/start.json. A log of Inspect has. Leave this "
                "file out."
            )
        return _mapping(parse_json(archive.read(name), f"{path}/{name}"))


def _whole(path: Path) -> Mapping[str, Any]:
    """Return a log in one JSON file. It is read whole, so its size is bounded."""
    size = path.stat().st_size
    if size > _MOST_JSON:
        raise LogError(
            f"{str(path)[:200]} has {size:,} bytes, more than {_MOST_JSON:,}. A JSON log is read at once. Turn it into "
            "an .eval file: inspect log convert --to eval."
        )
    return _mapping(parse_json(path.read_bytes(), path))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _task_names(logs: Sequence[_Log]) -> dict[tuple[str, str], str]:
    """Return a name for each task with its arguments: the task's, and the arguments that tell it from others."""
    names: dict[tuple[str, str], str] = {}
    for log in logs:
        others = [one.arguments for one in logs if one.task == log.task]
        varied = [
            name
            for name in dict.fromkeys(name for one in others for name in one)
            if any(one.get(name) != log.arguments.get(name) for one in others)
        ]
        told = ", ".join(f"{name}={as_text(log.arguments.get(name))}" for name in varied)
        names[log.asked] = f"{log.task} ({told})" if told else log.task
    return names


# Samples


def _read(log: _Log, task: str, choice: LogChoice, counts: Counter[str]) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    marks: list[Mapping[str, Any]] = []
    for sample in _samples(log.path):
        rows.append(_row(sample) | fields_of(_mapping(sample.get("metadata")), choice, log.path))
        found = _marks(sample, counts)
        marks.append(found)
    schema = dict(_SCHEMA) | ({"skills": pl.List(pl.String)} if "skills" in choice.fields else {})
    return pl.DataFrame(rows, schema=schema).with_columns(
        **mark_columns(marks),
        system=pl.lit(log.system),
        checkpoint=pl.lit(log.checkpoint),
        task=pl.lit(task),
    )


def _samples(path: Path) -> Iterator[Mapping[str, Any]]:
    found = _zipped(path) if path.suffix == ".eval" else iter(_whole(path).get("samples") or [])
    for sample in found:
        if not isinstance(sample, dict) or not {"id", "epoch", "input", "target"} <= sample.keys():
            raise LogError(
                f"{str(path)[:200]} has a sample without id, epoch, input or target. All samples of Inspect have them. "
                "Leave this file out."
            )
        yield sample


def _zipped(path: Path) -> Iterator[Any]:
    """Yield the samples of an archive; where one is too large to be read, its summary."""
    with Archive(path) as archive:
        large: list[str] = []
        for name in archive.names:
            if not (name.startswith("samples/") and name.endswith(".json")):
                continue
            if archive.readable(name):
                yield parse_json(archive.read(name), f"{path}/{name}")
            else:
                large.append(name)
        if large:
            yield from _summaries(archive, path, large)


def _summaries(archive: Archive, path: Path, large: Sequence[str]) -> Iterator[Any]:
    if "summaries.json" not in archive.names:
        raise LogError(
            f"{str(path)[:200]} unpacks {large[0]} to more than {archive.most:,} bytes, and has no summaries. Samples "
            "are read up to there. Leave this file out."
        )
    for summary in parse_json(archive.read("summaries.json"), f"{path}/summaries.json"):
        if f"samples/{summary.get('id')}_epoch_{summary.get('epoch')}.json" in large:
            yield summary


def _row(sample: Mapping[str, Any]) -> dict[str, Any]:
    attachments = _mapping(sample.get("attachments"))
    target = [str(one) for one in _listed(sample["target"])]
    choices = [str(one) for one in _listed(sample.get("choices") or [])]
    content = json.dumps([sample["input"], sample["target"], choices], default=str)
    return {
        "piece": str(sample["id"]),
        "fingerprint": hashlib.sha256(content.encode(errors="replace")).hexdigest(),
        "sample": int(sample["epoch"]) - 1,
        # Several letters have to be chosen all at once; the chance of that is not told.
        "chance": 1 / len(choices) if choices and len(target) == 1 else None,
        "input": "\n".join([_messages(sample["input"], attachments), *choices]),
        "target": _JOINED.join(_spelt(one, choices) for one in target),
        "prompt": _prompt(sample, attachments),
    }


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _spelt(target: str, choices: Sequence[str]) -> str:
    """Return the choice that a letter stands for; other targets as they are."""
    at = ord(target) - ord("A") if len(target) == 1 else -1
    return choices[at] if 0 <= at < len(choices) else target


def _prompt(sample: Mapping[str, Any], attachments: Mapping[str, Any]) -> str | None:
    """Return what the model had read before its first own message."""
    messages = sample.get("messages")
    if not isinstance(messages, list) or not messages:
        return None
    own = [at for at, one in enumerate(messages) if _mapping(one).get("source") == "generate"]
    if not own:
        own = [at for at, one in enumerate(messages) if _mapping(one).get("role") == "assistant"][-1:]
    return _messages(messages[: own[0]] if own else messages, attachments)


def _messages(given: Any, attachments: Mapping[str, Any]) -> str:
    """Return a text, or a conversation as lines `role: content`; a single message of a user as its text."""
    if not isinstance(given, list):
        return _attached(as_text(given) or "", attachments)
    lines = [
        (_mapping(one).get("role", ""), _content(_mapping(one).get("content"), attachments)) for one in given
    ]
    if len(lines) == 1 and lines[0][0] == "user":
        return lines[0][1]
    return "\n".join(f"{role}: {text}" for role, text in lines)


def _content(content: Any, attachments: Mapping[str, Any]) -> str:
    if isinstance(content, list):
        parts = [_mapping(part).get("text") or f"({_mapping(part).get('type', 'part')})" for part in content]
        return "\n".join(_attached(str(part), attachments) for part in parts)
    return _attached(as_text(content) or "", attachments)


def _attached(text: str, attachments: Mapping[str, Any]) -> str:
    """Return the text that stands for a long one, which logs keep once."""
    if not text.startswith(_REFERENCE):
        return text
    return as_text(attachments.get(text.removeprefix(_REFERENCE))) or text


def _marks(sample: Mapping[str, Any], counts: Counter[str]) -> Mapping[str, Any]:
    """Return the marks of a sample by scorer, and by scorer and key; none where it failed or is invalid."""
    if sample.get("error"):
        counts["error"] += 1
        return {}
    if sample.get("invalidation"):
        counts["invalid"] += 1
        return {}
    scores = sample.get("scores") or ({"score": sample["score"]} if sample.get("score") else {})
    marks: dict[str, Any] = {}
    for scorer, score in scores.items():
        value = score.get("value") if isinstance(score, dict) else score
        marks |= _spread(str(scorer), value)
    if not marks or all(value is None or value != value for value in marks.values()):  # noqa: PLR0124 - NaN
        counts["unscored"] += 1
    for letter in ("P", "N"):
        counts[letter] += letter in marks.values()
    return marks


def _spread(scorer: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {f"{scorer}.{key}": one for key, one in value.items()}
    if isinstance(value, list):
        return {f"{scorer}.{at}": one for at, one in enumerate(value)}
    return {scorer: value}


def _about(logs: Sequence[_Log], counts: Counter[str]) -> list[str]:
    said = {
        "error": "Answers that ended in an error, missing and not wrong",
        "invalid": "Answers declared invalid, missing",
        "unscored": "Answers not scored, missing and not wrong",
        "P": "Answers with partial credit (P), not right, with a score of 0.5",
        "N": "Answers that were none (N), wrong as Inspect counts them",
    }
    notes = [f"{words}: {counts[name]:,}." for name, words in said.items() if counts[name]]
    unfinished = [log.path.name for log in logs if not log.finished]
    if unfinished:
        notes.append(f"Runs that did not end well were read as far as they went: {listed_names(unfinished)}.")
    return notes
