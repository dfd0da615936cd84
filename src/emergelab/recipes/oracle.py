"""What theory says of a grammar: scores of the ideal predictor, entropy rate of the corpus, bounds by task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Float64, Int32, UInt16

from emergelab.analysis import estimate
from emergelab.analysis.aggregate import CELLS, scores_from_items
from emergelab.analysis.estimate import Estimate
from emergelab.corpus.documents import Corpus
from emergelab.corpus.prompts import make_prompts, split_members
from emergelab.errors import UserError
from emergelab.evaluate.shots import batches, score_prompts
from emergelab.grammar.arguments import prompt_arguments
from emergelab.grammar.language import Language
from emergelab.grammar.problems import suggestion
from emergelab.grammar.sites import LawName
from emergelab.grammar.tasks import Task, ground_task
from emergelab.rng import stream
from emergelab.scores.predictor import Predictor
from emergelab.scores.prompts import PromptSet
from emergelab.theory.accounts import PromptAccount, account_of
from emergelab.theory.bounds import TaskDescription, describe, examples_needed
from emergelab.theory.fresh import FreshFiltering, FreshIdeal, fresh_ideal
from emergelab.theory.ideal import Filtering, Ideal
from emergelab.theory.limits import HYPOTHESES
from emergelab.theory.statements import enumerate_statements, needs_document_functions

if TYPE_CHECKING:
    from emergelab.spec import JsonObject

NO_DERIVATION = "no derivation prints this"
NOT_ENUMERATED = "nothing that was enumerated prints this"
NOT_SO_MANY = "no loop that prints this prints so many rows"
NOT_TWICE = "prompts may repeat an object, and no loop that prints this does"
_ERROR_RATES = (0.5, 0.2, 0.1)
_MOST_EXAMPLES = 1000
_CELL = "ideal"
_PROMPTS, _DOCUMENTS, _FEW = 512, 2048, 16
_EXACT = 1e-9
_Found = TypeVar("_Found")


Told: TypeAlias = Callable[[int, int], None]
"""Is told how many prompts and documents have been read, and of how many."""


@dataclass(frozen=True, kw_only=True)
class OracleQuestion:
    """What is asked of the theory about a language.

    `form` None asks for all forms of the task. Prompts have 0 to `shots` examples; `key` is the evaluation
    key, with which come the very prompts and documents of a study. Where documents draw functions of their own at
    most `hypotheses` are weighed at a time, which is slow: then `prompts` and `documents` None are few.
    """

    task: str
    form: str | None = None
    shots: int = 10
    law: LawName = "full"
    prompts: int | None = None
    documents: int | None = None
    context: int = 48
    key: int = 0
    hypotheses: int = HYPOTHESES


def ideal_predictor(language: Language, law: LawName, *, name: str = "ideal") -> Ideal:
    """Return the ideal predictor. Raises UserError where it is out of reach, and says why."""
    return Ideal(enumerate_statements(language, law), name=name)


def exact_predictor(language: Language, law: LawName, *, hypotheses: int) -> Ideal | FreshIdeal:
    """Return the ideal predictor: by enumeration, or by hypotheses where documents draw functions of their own."""
    if needs_document_functions(language):
        return fresh_ideal(language, law, most_hypotheses=hypotheses)
    return ideal_predictor(language, law)


def ideal_scores(
    language: Language, asked: OracleQuestion, told: Told = lambda _done, _all: None
) -> JsonObject:
    """Return accuracy and nats of the ideal predictor by number of examples, and the corpus's entropy rate."""
    slow = needs_document_functions(language)
    asked = replace(
        asked,
        prompts=asked.prompts or (_FEW if slow else _PROMPTS),
        documents=asked.documents or (_FEW if slow else _DOCUMENTS),
    )
    questions = list(_prompts(language, asked))
    ideal = exact_predictor(language, asked.law, hypotheses=asked.hypotheses)
    reading = _Reading(ideal, told, sum(len(one.tokens) for one in questions) + (asked.documents or 0))
    items = pl.concat([score_prompts(reading, one, cell=_CELL, batch=reading.batch) for one in questions])
    cells = pl.DataFrame([{"cell": _CELL}], schema=CELLS)
    scores = scores_from_items(items, cells).select(
        "task", "form", "split", "argument", "shots", "n",
        "accuracy", "accuracy_lo", "accuracy_hi", "accuracy_method",
        "nats", "nats_lo", "nats_hi", "nats_method",
    )  # fmt: skip
    known: JsonObject = (
        {"hypotheses": asked.hypotheses} if isinstance(ideal, FreshIdeal) else exactness(ideal)
    )
    return {
        "law": asked.law,
        "key": asked.key,
        "exactness": known,
        "entropy_rate": entropy_rate(reading, language, asked),
        "scores": scores.to_dicts(),
    }


def exactness(ideal: Ideal) -> JsonObject:
    """Return how much was enumerated, and what probability the rest has at most.

    `remainder` is that of a document's first statement, which a prompt is, being none of what was enumerated;
    `remainder_of_documents` that of any statement of a document.
    """
    statements = ideal.statements
    unknown = np.zeros(len(statements.initial))
    for one in statements.remainders:
        unknown[one.state] += one.probability
    # From a state on: its own statement is unknown, or it is not and a later one is.
    onwards = np.eye(len(unknown)) - (1 - unknown)[:, None] * statements.transition[:, :-1]
    later = np.linalg.solve(onwards, unknown) if unknown.any() else unknown
    return {
        "distinct_bodies": len(statements.body_loop),
        "remainder": float(statements.initial @ unknown),
        "remainder_of_documents": min(1.0, float(statements.initial @ later)),
    }


class _Reading:
    """An exact predictor that says how far it has read."""

    def __init__(self, ideal: Ideal | FreshIdeal, told: Told, total: int) -> None:
        self._ideal, self._told, self._total = ideal, told, total
        self._done = 0
        self.name = ideal.name
        self.vocabulary_size = ideal.vocabulary_size
        self.batch = 1 if isinstance(ideal, FreshIdeal) else 128

    def log_probabilities(
        self, tokens: UInt16[np.ndarray, "prompts length"]
    ) -> Float32[np.ndarray, "prompts length vocabulary"]:
        return self._counted(self._ideal.log_probabilities(tokens), len(tokens))

    def filtered(
        self, tokens: UInt16[np.ndarray, "documents length"], lengths: Int32[np.ndarray, " documents"]
    ) -> Filtering | FreshFiltering:
        return self._counted(self._ideal.filtered(tokens, lengths), len(tokens))

    def _counted(self, found: _Found, count: int) -> _Found:
        self._done += count
        self._told(self._done, self._total)
        return found


def entropy_rate(ideal: _Reading, language: Language, asked: OracleQuestion) -> JsonObject:
    """Return nats per token of the corpus with its interval, documents being clusters, and certified limits.

    `exact` is the share of tokens that are known to nine digits, `exact_beginning` how many of them a document begins
    with, on the mean. Where hypotheses are weighed, `hypotheses_by_token` has their number, a mean over the documents
    that are so long, for each token behind the first.
    """
    source = stream(asked.key, "evaluation").child("documents")
    corpus = Corpus(language, source, context=asked.context, law=asked.law)
    tokens, lengths = corpus.tokens(np.arange(asked.documents or _DOCUMENTS, dtype=np.int64))
    parts = [ideal.filtered(tokens[part], lengths[part]) for part in batches(len(tokens), ideal.batch)]
    nats, lo, hi = (np.concatenate([getattr(part, name) for part in parts]) for name in ("nats", "lo", "hi"))
    counted = (lengths - 1).astype(np.float64)
    rate = estimate.ratio(nats.sum(axis=1), counted)
    inside = np.arange(1, tokens.shape[1]) < lengths[:, None]
    exact = (hi - lo)[:, 1:] < _EXACT
    return {
        **_named("nats", _above_zero(rate)),
        "certified_lo": float(lo.sum() / counted.sum()),
        "certified_hi": _finite(float(hi.sum() / counted.sum())),
        "exact": float(np.mean(exact[inside])),
        "exact_beginning": float(np.mean(np.logical_and.accumulate(exact & inside, axis=1).sum(axis=1))),
        "tokens": int(counted.sum()),
        "context": asked.context,
        **_hypotheses(parts, inside),
    }


def _hypotheses(
    parts: list[Filtering | FreshFiltering], inside: Bool[np.ndarray, "documents targets"]
) -> JsonObject:
    counts = [part.hypotheses[:, 1:] for part in parts if isinstance(part, FreshFiltering)]
    if not counts:
        return {}
    sums, documents = np.where(inside, np.concatenate(counts), 0).sum(axis=0), inside.sum(axis=0)
    return {"hypotheses_by_token": [float(s / n) for s, n in zip(sums, documents, strict=True) if n]}


def bounds(language: Language, asked: OracleQuestion) -> dict[str, Any]:
    """Return bounds and the ideal predictor's means over the first `shots` answers, by form and split."""
    _task(language, asked)
    ideal = ideal_predictor(language, asked.law)
    return {
        "law": asked.law,
        "key": asked.key,
        "exactness": exactness(ideal),
        "bounds": task_bounds(ideal, asked),
    }


def task_bounds(ideal: Ideal, asked: OracleQuestion) -> list[JsonObject]:
    """Return the bounds of one task, by form and split; `ideal` is that of the law asked for."""
    language = ideal.statements.language
    task = _task(language, asked)
    return [_bound(ideal, task, prompts, asked) for prompts in _prompts(language, asked)]


def _bound(ideal: Ideal, task: Task, prompts: PromptSet, asked: OracleQuestion) -> JsonObject:
    oracle = PromptOracle.of(ideal, task, prompts)
    rows = asked.shots
    account = oracle.account
    wrong = wrong_answers(ideal, prompts, rows)
    return {
        "task": task.name,
        "form": prompts.form,
        "split": prompts.split,
        "law": asked.law,
        **oracle.bounds(rows),
        "examples_for_error_rate": {
            f"{rate:g}": examples_needed(oracle.described, rate, most=_MOST_EXAMPLES, weights=oracle.weights)
            for rate in _ERROR_RATES
        },
        **_named("ideal_nats", _above_zero(estimate.mean(account.answers[:, rows - 1]))),
        **_named("ideal_errors", _above_zero(estimate.mean(wrong))),
        **_named("argument_slack_nats", estimate.mean(account.arguments[:, rows - 1])),
        **_named("posterior_slack_nats", estimate.mean(account.posterior[:, rows - 1])),
    }


@dataclass(frozen=True, eq=False)
class PromptOracle:
    """What the theory says of a set of prompts. `weights` are those of the choices of functions in its split."""

    described: TaskDescription
    account: PromptAccount
    weights: Float64[np.ndarray, " instances"]

    @staticmethod
    def of(ideal: Ideal, task: Task, prompts: PromptSet) -> PromptOracle:
        """Describe the prompts' task and work out what the ideal predictor pays."""
        language = ideal.statements.language
        described = describe(ideal.statements, task, task.form(prompts.form), prompt_arguments(language))
        members = split_members(language, task, prompts.split)
        weights = np.where(members, task.probabilities, 0.0)
        return PromptOracle(described, account_of(ideal, described, prompts), weights)

    def bounds(self, answers: int) -> JsonObject:
        """Return D, R_n and the bounds for the first `answers` answers: mean, least and most over the choices."""
        length, cost = self.described.cost(1), self.described.cost(answers)
        known, least = np.isfinite(length), self.described.least_cost(1)
        shown = self.weights > 0
        return {
            "answers": answers,
            "choices": int((self.weights > 0).sum()),
            **_over_choices("D_nats", length, self.weights),
            "D_certified_lo": _finite(np.average(least[shown], weights=self.weights[shown])),
            **_over_choices(
                "R_nats", np.where(known, cost, np.inf) - np.where(known, length, 0.0), self.weights
            ),
            **_over_choices("bound_nats", cost, self.weights),
            **_over_choices("bound_errors", cost / np.log(2), self.weights),
            "reason": self._reason(answers),
        }

    def _reason(self, answers: int) -> str | None:
        """Say why a bound is infinite, for one of the choices at least."""
        chosen = self.weights > 0
        if np.isfinite(self.described.cost(answers)[chosen]).all():
            return None
        hidden = chosen & ~np.isfinite(self.described.cost(1))
        if hidden.any():
            return NOT_ENUMERATED if self.described.unlisted[hidden].any() else NO_DERIVATION
        return NOT_TWICE if self.described.reached(answers)[chosen].all() else NOT_SO_MANY


def wrong_answers(predictor: Predictor, prompts: PromptSet, answers: int) -> Float64[np.ndarray, " prompts"]:
    """Return how many of the first `answers` answers of each prompt are wrong, teacher-forced."""
    items = score_prompts(predictor, prompts, cell=_CELL)
    first = items.filter((pl.col("step") == 0) & (pl.col("shot") < answers))
    return (
        first.group_by("prompt", maintain_order=True)
        .agg((~pl.col("correct")).sum())["correct"]
        .to_numpy()
        .astype(np.float64)
    )


def _prompts(language: Language, asked: OracleQuestion) -> Iterator[PromptSet]:
    """Yield the prompts that a study with this key asks."""
    source = stream(asked.key, "evaluation").child("prompts")
    _task(language, asked)
    for prompts in make_prompts(
        language, asked.task, shots=asked.shots, prompts=asked.prompts or _PROMPTS, stream=source
    ):
        if asked.form in {None, prompts.form}:
            yield prompts


def _task(language: Language, asked: OracleQuestion) -> Task:
    """Return the task asked for. Raises UserError for a task or form that the grammar does not have."""
    known = [task.name for task in language.syntax.tasks]
    if asked.task not in known:
        raise UserError(
            f"The grammar has no task {asked.task!r}. What is asked of the theory is one of its tasks. "
            f"{suggestion(asked.task, known)}"
        )
    task = ground_task(language, asked.task)
    if asked.form is not None:
        task.form(asked.form)
    return task


def _over_choices(
    name: str, values: Float64[np.ndarray, " instances"], weights: Float64[np.ndarray, " instances"]
) -> JsonObject:
    """Return mean, least and most over the choices of functions; null where one of them has no derivation."""
    chosen = weights > 0
    if not np.isfinite(values[chosen]).all():
        return {name: None, f"{name}_min": _finite(values[chosen].min()), f"{name}_max": None}
    return {
        name: float(np.average(values[chosen], weights=weights[chosen])),
        f"{name}_min": float(values[chosen].min()),
        f"{name}_max": float(values[chosen].max()),
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _above_zero(one: Estimate) -> Estimate:
    """Cut the interval of nats or of a count at 0."""
    return replace(one, lo=None if one.lo is None else max(one.lo, 0.0))


def _named(name: str, one: Estimate) -> JsonObject:
    """Return an estimate under a name; null for what is infinite, too: the method says so."""
    finite = None if one.value is None else _finite(one.value)
    return {
        name: finite,
        f"{name}_lo": one.lo,
        f"{name}_hi": one.hi,
        f"{name}_n": one.n,
        f"{name}_method": one.method,
    }
