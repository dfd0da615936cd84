"""Computes what the page of skills shows: simulated graphs, peeled graphs, corpora, the leaderboard, designs."""

# ruff: noqa: RUF001 - typography and letters of the theory, for readers

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, UInt64

from emergelab import __version__
from emergelab.analysis import design, novelty
from emergelab.analysis.cooccurrence import dense_texts, gamma_lift, lifts
from emergelab.analysis.intervals import normal_quantile
from emergelab.corpus.documents import Corpus
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.recipes.ladders import TableQuestion
from emergelab.recipes.law_fitting import LawQuestion, ScaleQuestion, fitted_law, slingshot_of
from emergelab.report.skills.content import SkillsInput
from emergelab.rng import Stream, stream
from emergelab.theory.curves import Curve, FiniteGraph, failure
from emergelab.theory.decoding import decode
from emergelab.theory.graphs import (
    Failures,
    SkillGraph,
    attack,
    fail,
    greedy_attack,
    hardnesses,
    random_target,
)
from emergelab.theory.mixtures import SkillCounts
from emergelab.theory.scaling import PUBLISHED, ScalingLaw

Told = Callable[[int, int], None]

_THETA, _K = 0.1, 8
_ALPHAS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75)
_LOADING = 0.5
_SMALL = (100, 400)
_TEXTS = tuple(np.round(np.arange(0.2, 3.01, 0.2), 2).tolist())
_MEANS = (2.0, 3.0, 4.0, 5.0)
_PEELED = (50_000, 300)
_GRAMMARS = ("functions", "topic", "pairs", "recursion")
_ORDERS = range(2, 5)
_DOCUMENTS = 2000
_CONTEXT = 64
_VARIANCES = (0.25, 1.0)
_DENSE_SKILLS, _FREQUENCY = 40, 0.03
_MARKS = design.Marks(success=0.3, alike=0.2, agreement=0.7, severity=0.03)
_DESIGNS = ((1, 1), (1, 3), (3, 1), (3, 3))
_COMBINATIONS = (10, 20, 50, 100, 200, 500)
_EVALUATIONS = 400
_PARTS = 8
_START = 5.76e23  # floating-point operations of the largest model in Hoffmann et al. 2022
_LAW = "besiroglu"
_FITTED = ("olmo_ladder", "c4_en-validation")
_FACTORS = tuple(np.geomspace(1.05, 1000.0, 60).tolist())
_TEN = 10.0
_SAMPLES = 300
_LEFT_OUT = "compute, evenly"
_TUPLES = (1, 2, 4)


@dataclass(frozen=True, kw_only=True)
class PageSize:
    """How large the simulated graph is, its key, and how many threads draw it."""

    skills: int = 1000
    pieces: int = 200_000
    key: int = 0
    threads: int = 1


def write_page(size: PageSize, directory: Path, told: Told) -> Path:
    """Compute everything and write the page; `told` hears how many parts of it are done."""
    from emergelab.report.skills.page import write_skills_page  # noqa: PLC0415 - slow to import

    source = stream(size.key, "skills in theory")
    parts: dict[str, pl.DataFrame] = {}
    makers: list[tuple[str, Callable[[], pl.DataFrame]]] = [
        ("attacks", lambda: pl.DataFrame(list(_attacks(size, source)))),
        ("kinds", lambda: pl.DataFrame(list(_kinds(size, source)))),
        ("decoded", lambda: pl.DataFrame(list(_decoded(source)))),
        ("board", lambda: novelty.judged(leaderboard(), novelty.TextCorpus())),
        ("lifts", lambda: pl.DataFrame(list(_lifts(source)), infer_schema_length=None)),
        ("evaluations", lambda: pl.DataFrame(list(_evaluations(source)))),
        ("scaled", lambda: pl.DataFrame(list(_scaled()), infer_schema_length=None)),
        ("through", lambda: pl.DataFrame(list(_through()))),
    ]
    for done, (name, make) in enumerate(makers):
        told(done, _PARTS)
        parts[name] = make()
    told(_PARTS, _PARTS)
    content = SkillsInput(theta=_THETA, k=_K, **parts, law=_LAW, start=_START, settings=_settings(size))
    return write_skills_page(content, directory)


def leaderboard() -> pl.DataFrame:
    """Return the shipped leaderboard of Skill-Mix, see `examples/README.md`."""
    text = resources.files("emergelab").joinpath("examples/skill_mix_leaderboard.csv").read_bytes()
    return pl.read_csv(text)


def presence(labels: UInt64[np.ndarray, "documents length"]) -> Bool[np.ndarray, "documents functions"]:
    """Return which functions each document's tokens need, from their packed labels of skills.

    A label that holds more than four tells the first ones.
    """
    fields = (labels[None] >> (16 * np.arange(4, dtype=np.uint64))[:, None, None]) & np.uint64(0xFFFF)
    numbered = np.where(fields == 0xFFFF, 0, fields).astype(np.int64)  # noqa: PLR2004 - "more than these"
    shown = np.zeros((len(labels), int(numbered.max()) + 1), dtype=np.bool_)
    shown[np.broadcast_to(np.arange(len(labels))[None, :, None], numbered.shape), numbered] = True
    return shown[:, 1:]


def _graph(source: Stream, skills: int, pieces: int, power: float = 0.0) -> SkillGraph:
    counts = SkillCounts((_K,), (1.0,))
    names = ("graph", skills, pieces, str(power))
    return SkillGraph(stream=source.child(*names), skills=skills, pieces=pieces, counts=counts, power=power)


def _graphs(size: PageSize, source: Stream) -> Iterator[tuple[str, SkillGraph]]:
    for power in (0.0, 1.0):
        law = " by\nZipf’s law" if power else ""
        yield (
            f"{size.skills:,} skills{law},\n{size.pieces:,} pieces",
            _graph(source, size.skills, size.pieces, power),
        )
    yield f"{_SMALL[0]:,} skills,\n{_SMALL[1]:,} pieces", _graph(source, *_SMALL)


def _attacks(size: PageSize, source: Stream) -> Iterator[dict[str, Any]]:
    for name, graph in _graphs(size, source):
        for alpha in _ALPHAS:
            reached, found = _attacked(graph, alpha, source, size.threads)
            finite = FiniteGraph(skills=graph.skills, pieces=graph.pieces, alike=graph.power == 0)
            bound = float(failure(Curve.theorem, _THETA, reached, _K, finite))
            theorem = float(failure(Curve.theorem, _THETA, reached, _K))
            yield {
                "graph": name,
                "alpha": reached,
                "mean": found,
                "exact": float(failure(Curve.exact, _THETA, reached, _K)),
                "theorem": None if np.isnan(theorem) else theorem,
                "finite": None if np.isnan(bound) else bound,
            }


def _attacked(graph: SkillGraph, alpha: float, source: Stream, threads: int) -> tuple[float, float]:
    """Return the share of skills that an adversary is after, and their mean failure.

    In a small graph the adversary looks for the skills, too.
    """
    if graph.pieces <= _SMALL[1]:
        return alpha, greedy_attack(graph, _THETA, alpha, threads=threads).worst(alpha)[1]
    target = random_target(graph, alpha, source.child("target", str(alpha)))
    share = float(graph.measure[target].sum())
    rates = attack(graph, _THETA, target, threads=threads).rates
    return share, float((graph.measure * rates)[target].sum() / share)


def _kinds(size: PageSize, source: Stream) -> Iterator[dict[str, Any]]:
    for name, graph in _graphs(size, source):
        hardness = hardnesses(graph, source.child("hardness"))
        for kind, loading in (("random", 0.0), ("correlated", _LOADING)):
            found: Failures = fail(graph, _THETA, hardness, loading, threads=size.threads)
            for alpha in _ALPHAS:
                exceeded, mean = found.worst(alpha)
                yield {"graph": name, "kind": kind, "alpha": alpha, "mean": mean, "exceeded": exceeded}


def _decoded(source: Stream) -> Iterator[dict[str, Any]]:
    for skills in _PEELED:
        for mean in _MEANS:
            for texts in _TEXTS:
                found = decode(source.child("texts", skills, str(mean), str(texts)), skills, texts, mean)
                yield {"c": mean, "skills": skills, "texts": texts, "unknown": found.unknown}


def _lifts(source: Stream) -> Iterator[dict[str, Any]]:
    for variance in _VARIANCES:
        name = f"variance of density {variance:g}"
        frequencies = np.full(_DENSE_SKILLS, _FREQUENCY)
        texts = dense_texts(3 * _DOCUMENTS, frequencies, variance, source.child("dense", str(variance)))
        for row in _lift_rows(name, texts, source):
            yield {**row, "known": gamma_lift(variance, row["k"])}
    for grammar in _GRAMMARS:
        language = draw_language(load_grammar(find_grammar(grammar), {}), source.child("world"))
        corpus = Corpus(language, source.child("documents"), context=_CONTEXT)
        labels = corpus.sample(np.arange(_DOCUMENTS, dtype=np.int64)).skills
        for row in _lift_rows(grammar, presence(labels), source):
            yield {**row, "known": None}


def _lift_rows(
    name: str, texts: Bool[np.ndarray, "texts skills"], source: Stream
) -> Iterator[dict[str, Any]]:
    orders = range(_ORDERS.start, min(_ORDERS.stop, int(texts.any(axis=0).sum()) + 1))
    for found in lifts(texts, orders, source.child("shuffles", name)):
        yield {
            "corpus": name,
            "k": found.k,
            "value": found.value,
            "lo": found.lo,
            "hi": found.hi,
            "n": found.n,
            "skills": found.skills,
            "p": found.p,
        }


def _evaluations(source: Stream) -> Iterator[dict[str, Any]]:
    for generations, graders in _DESIGNS:
        for combinations in _COMBINATIONS:
            error = design.standard_error(_MARKS, combinations, generations, graders)
            one = design.Design(
                combinations=combinations,
                generations=generations,
                graders=graders,
                cost=0.0,
                half_width=normal_quantile() * error,
            )
            names = ("evaluations", generations, graders, combinations)
            means = design.simulate(_MARKS, one, _EVALUATIONS, source.child(*names))
            yield {
                "combinations": combinations,
                "generations": generations,
                "graders": graders,
                "predicted": one.half_width,
                "simulated": normal_quantile() * float(means.std()),
            }


def _scaled() -> Iterator[dict[str, Any]]:
    """Yield what factors do by published laws, and by one fitted to a shipped table, with intervals at ten times."""
    table, loss = _FITTED
    fitted = fitted_law(LawQuestion(table=TableQuestion(table), loss=loss, samples=_SAMPLES)).estimate
    laws: dict[str, tuple[ScalingLaw, list[ScalingLaw]]] = {
        name: (law, []) for name, law in PUBLISHED.items()
    }
    laws[f"fitted to {table},\n{loss}"] = fitted.fit.law, fitted.draws
    for name, (law, draws) in laws.items():
        for factor in (*_FACTORS, _TEN):
            asked = ScaleQuestion(factor=factor, compute=_START)
            for step in slingshot_of(law, draws if factor == _TEN else [], asked)["steps"]:
                if step["step"] != _LEFT_OUT:
                    divided = step["divided_by"]
                    yield {
                        "law": name,
                        "way": step["step"],
                        "factor": factor,
                        "excess": step["excess_after"],
                        "divided": divided["value"],
                        "lo": divided["lo"],
                        "hi": divided["hi"],
                    }


def _through() -> Iterator[dict[str, Any]]:
    """Yield θ and the failure of the worst fifth of tuples under both links, before and after ten times."""
    for tuples in _TUPLES:
        asked = ScaleQuestion(factor=_TEN, compute=_START, k=_K, tuples=tuples)
        for step in slingshot_of(PUBLISHED[_LAW], [], asked)["steps"]:
            if step["step"] != _LEFT_OUT:
                for link, shares in step["links"].items():
                    yield {"way": step["step"], "link": link, "tuples": tuples, **shares}


def _settings(size: PageSize) -> dict[str, str]:
    corpus = novelty.TextCorpus()
    return {
        "emergelab": __version__,
        "Key": str(size.key),
        "Large graphs": f"{size.skills:,} skills, {size.pieces:,} pieces of {_K} skills; θ = {_THETA:g}",
        "Hard skills": f"{_LOADING:.0%} of the variance of a piece’s score is its skills’",
        "Peeled graphs": " and ".join(f"{skills:,} skills" for skills in _PEELED),
        "Slingshot": f"from the optimum of {_START:g} FLOP; a law fitted to {_FITTED[1]} of {_FITTED[0]}, "
        f"{_SAMPLES} sets of runs drawn again",
        "Corpus of the bound": f"p_s = {corpus.skill:g}, p_t = {corpus.topic:g}, L = {corpus.sentences:.0e} "
        f"sentences (Yu et al. 2023)",
        "Leaderboard": f"Skill-Mix, full marks, {novelty.GENERATIONS} combinations for each model and k",
        "Corpora": f"{_DOCUMENTS:,} documents of {', '.join(_GRAMMARS)}, cut at {_CONTEXT} tokens; "
        f"{3 * _DOCUMENTS:,} simulated texts of "
        f"{_DENSE_SKILLS} skills, each in {_FREQUENCY:.0%} of texts",
        "Evaluations": f"{_EVALUATIONS} simulated for each point",
    }
