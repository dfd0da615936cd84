"""One sample of the lm-evaluation-harness: which requests were made, which of them is right, and how likely it was."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from emergelab.outcomes.logs import as_number, as_text

_JOINED = " | "


@dataclass(frozen=True)
class Answer:
    """What is known of an answer; `nats` of the whole right continuation, `picked`: whether the likeliest is right."""

    correct: bool | None = None
    chance: float | None = None
    cloze_loss: float | None = None
    nats: float | None = None
    asked: str | None = None
    target: str | None = None
    prompt: str | None = None
    picked: bool | None = None

    def contradicts(self, recorded: Any) -> bool:
        """Whether the harness recorded another outcome than the one that follows from the right choice."""
        mark = as_number(recorded)
        return self.picked is not None and mark is not None and bool(mark) != self.picked

    def without_losses(self) -> Answer:
        """Return what does not depend on which choice is right."""
        return replace(self, cloze_loss=None, nats=None, target=None, chance=None, picked=None)


@dataclass(frozen=True)
class _Request:
    """A continuation and what it continues; log-likelihood in nats (None: not asked for), greedy or not."""

    context: str
    continuation: str | None
    likelihood: float | None
    greedy: bool | None


def answer_of(sample: Mapping[str, Any], settings: Mapping[str, Any], shots: int | None) -> Answer:
    """Return what a sample says, given the settings of its task and the number of examples in its prompt."""
    requests = _requests(sample, settings)
    if not requests:
        return Answer(target=as_text(sample.get("target")))
    base = Answer(
        asked=_JOINED.join(
            dict.fromkeys(_question(request.context, settings, shots) for request in requests)
        ),
        target=(as_text(sample.get("target")) or "").strip() or None,
        prompt=requests[0].context,
    )
    if requests[0].likelihood is None:
        return base
    if requests[0].continuation is None:
        return replace(base, nats=-requests[0].likelihood, asked=None)
    return _chosen(base, requests, sample, settings) if len(requests) > 1 else _continued(base, requests[0])


def _continued(base: Answer, request: _Request) -> Answer:
    """Return the answer where one continuation was scored: the right one."""
    likelihood = request.likelihood or 0.0
    return replace(
        base, correct=request.greedy, nats=-likelihood, cloze_loss=-math.expm1(min(likelihood, 0.0))
    )


def _chosen(
    base: Answer, requests: Sequence[_Request], sample: Mapping[str, Any], settings: Mapping[str, Any]
) -> Answer:
    """Return the answer where the likeliest of several continuations counts."""
    likelihoods = [-math.inf if one.likelihood is None else one.likelihood for one in requests]
    choices = _choices(requests, settings)
    right = _right(sample, requests, choices, settings)
    if not right or any(map(math.isnan, likelihoods)):
        return replace(base, target=None) if not right else base
    whole, share = _log_sum(likelihoods), _log_sum([likelihoods[at] for at in right])
    picked = max(range(len(likelihoods)), key=likelihoods.__getitem__)
    return replace(
        base,
        chance=len(right) / len(requests),
        nats=-share,
        cloze_loss=None if math.isinf(whole) else min(max(-math.expm1(share - whole), 0.0), 1.0),
        target=_JOINED.join(dict.fromkeys(choices[at] for at in right)),
        picked=picked in right,
    )


def _requests(sample: Mapping[str, Any], settings: Mapping[str, Any]) -> list[_Request]:
    """Return the requests, without those that ask for a choice without its question (`acc_mutual_info`)."""
    arguments, resps = _arguments(sample["arguments"]), sample["resps"]
    likely = settings.get("output_type") != "generate_until"
    requests = [
        _Request(_context(given[0]), _continuation(given), *(_scored(resp) if likely else (None, None)))
        for given, resp in zip(arguments, resps, strict=False)
        if given
    ]
    asked = [one for one in requests if one.context]
    bare = [one for one in requests if not one.context]
    alike = [(one.continuation or "").strip() for one in asked] == [
        (one.continuation or "").strip() for one in bare
    ]
    return asked if asked and alike else requests


def _arguments(given: Any) -> list[list[Any]]:
    """Return the arguments of each request: mappings of mappings in newer logs, lists of lists in older ones."""
    parts = list(given.values()) if isinstance(given, dict) else list(given)
    return [list(part.values()) if isinstance(part, dict) else list(part) for part in parts]


def _context(given: Any) -> str:
    """Return a prompt as text; one that is a conversation as lines `role: content`."""
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], str):
        given = given[0]
    if isinstance(given, str) and given.startswith("[{"):
        try:
            given = json.loads(given)
        except ValueError:
            return given
    if isinstance(given, list) and all(isinstance(one, dict) for one in given):
        return "\n".join(f"{one.get('role', '')}: {as_text(one.get('content'))}" for one in given)
    return as_text(given) or ""


def _continuation(given: Sequence[Any]) -> str | None:
    return given[1] if len(given) > 1 and isinstance(given[1], str) else None


def _scored(resp: Any) -> tuple[float | None, bool | None]:
    """Return the log-likelihood of a request's first response, and whether the continuation is the greedy one."""
    first = resp[0] if isinstance(resp, list) and resp else resp
    if isinstance(first, list) and len(first) == 2:  # noqa: PLR2004 - a log-likelihood and a flag
        likelihood, greedy = _number(first[0]), str(first[1]) == "True" or first[1] is True
        return likelihood, greedy
    return _number(first), None


def _number(value: Any) -> float | None:
    """Return a log-likelihood; NaN stays, since nothing is known of the other choices then either."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _choices(requests: Sequence[_Request], settings: Mapping[str, Any]) -> list[str]:
    delimiter = settings.get("target_delimiter", " ")
    delimiter = delimiter if isinstance(delimiter, str) else ""
    return [(one.continuation or "").removeprefix(delimiter) for one in requests]


def _right(
    sample: Mapping[str, Any],
    requests: Sequence[_Request],
    choices: Sequence[str],
    settings: Mapping[str, Any],
) -> list[int]:
    """Return which choices are right; none where that is not known."""
    if len(set(choices)) == 1 and len({one.context for one in requests}) > 1:
        found = _right_question(sample, settings)
    else:
        found = _right_texts(sample.get("target"), choices)
    return found if all(0 <= at < len(choices) for at in found) else []


def _right_question(sample: Mapping[str, Any], settings: Mapping[str, Any]) -> list[int]:
    """Return the right choice where choices stand in the question: `doc_to_text` names the field with its number."""
    doc, name = sample["doc"], settings.get("doc_to_text")
    number = doc.get(name) if isinstance(doc, dict) and isinstance(name, str) else None
    return [number] if isinstance(number, int) else []


def _right_texts(target: Any, choices: Sequence[str]) -> list[int]:
    """Return the choices that a target names by number, numbers, or text."""
    if isinstance(target, int):
        return [int(target)]
    text = str(target)
    try:
        named = json.loads(text)
    except ValueError:
        named = None
    if isinstance(named, int) and text.isdigit():
        return [named]
    if isinstance(named, list) and named and all(isinstance(one, int) for one in named):
        return list(dict.fromkeys(int(one) for one in named))
    stripped = [choice.strip() for choice in choices]
    return [stripped.index(text.strip())] if text.strip() in stripped else []


def _question(context: str, settings: Mapping[str, Any], shots: int | None) -> str:
    """Return the question at the end of a prompt, where it can be told from the examples; else the whole prompt.

    With n examples a prompt has n + 1 parts of equal numbers of sections.
    """
    delimiter, described = settings.get("fewshot_delimiter"), settings.get("description")
    text = context
    if isinstance(described, str) and described:
        text = text.removeprefix(described)
    if not shots or not isinstance(delimiter, str) or not delimiter:
        return text
    sections = text.split(delimiter)
    each, left = divmod(len(sections), shots + 1)
    return context if left else delimiter.join(sections[-each:])


def _log_sum(values: Sequence[float]) -> float:
    """Return the logarithm of a sum of exponentials."""
    top = max(values)
    if math.isinf(top):
        return top
    return top + math.log(math.fsum(math.exp(value - top) for value in values))
