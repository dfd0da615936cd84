"""Tables of the page of skills in theory, small ones made by hand and by closed forms."""

from __future__ import annotations

import polars as pl

from emergelab.analysis.novelty import TextCorpus, judged
from emergelab.recipes.skill_page import leaderboard
from emergelab.report.skills.content import SkillsInput
from emergelab.theory.scaling import LINKS, PUBLISHED, slingshot

WAYS = ("params", "tokens", "params and tokens", "compute, optimum to optimum")


def scaled() -> pl.DataFrame:
    """Return divisions of the excess by both published laws, one of them with an interval."""
    frames: list[pl.DataFrame] = []
    for name, law in PUBLISHED.items():
        for factor in (2.0, 10.0):
            steps = {step.name: step for step in slingshot(law, *law.optimum(5.76e23), factor)}
            told = factor == 10 and name == "besiroglu"
            frames.append(
                pl.DataFrame(
                    {
                        "law": [name] * len(WAYS),
                        "way": WAYS,
                        "factor": factor,
                        "excess": [steps[way].after for way in WAYS],
                        "divided": [steps[way].divided_by for way in WAYS],
                        "lo": [1.1 if told else None] * len(WAYS),
                        "hi": [1.9 if told else None] * len(WAYS),
                    },
                    schema_overrides={"lo": pl.Float64, "hi": pl.Float64},
                )
            )
    return pl.concat(frames)


def through() -> pl.DataFrame:
    """Return what a law does under both links; larger tuples fail more."""
    return pl.DataFrame(
        {
            "way": way,
            "link": link,
            "tuples": size,
            "theta_before": 0.3,
            "theta_after": 0.14,
            "failure_before": 1 - 0.5**size,
            "failure_after": 1 - 0.7**size,
        }
        for way in WAYS
        for link in LINKS
        for size in (1, 2, 4)
    )


def content() -> SkillsInput:
    """Return small tables, one of them with a name that could break a page."""
    graphs = ["1,000 skills", "10 skills"]
    attacks = pl.DataFrame(
        {
            "graph": graph,
            "alpha": 0.2,
            "mean": 0.23 + 0.05 * rank,
            "exact": 0.23,
            "theorem": 0.31,
            "finite": None,
        }
        for rank, graph in enumerate(graphs)
    )
    kinds = pl.DataFrame(
        {"graph": graph, "kind": kind, "alpha": 0.2, "mean": 0.1, "exceeded": 0.09}
        for graph in graphs
        for kind in ("random", "correlated")
    )
    lift = {"k": 2, "value": 1.3, "lo": 1.2, "hi": 1.4, "n": 100, "skills": 9, "p": 0.001}
    lifts = pl.DataFrame(
        [{"corpus": "even", **lift, "known": 1.25}, {"corpus": "<topic>", **lift, "known": None}]
    )
    evaluations = {"combinations": [10, 50], "generations": 1, "graders": 3, "predicted": [0.2, 0.1]}
    return SkillsInput(
        theta=0.1,
        k=8,
        attacks=attacks,
        kinds=kinds,
        decoded=pl.DataFrame({"c": [2.0, 3.0], "skills": 300, "texts": 1.0, "unknown": [0.4, 0.7]}),
        board=judged(leaderboard(), TextCorpus()),
        lifts=lifts,
        evaluations=pl.DataFrame({**evaluations, "simulated": [0.21, 0.1]}),
        scaled=scaled(),
        through=through(),
        law="besiroglu",
        start=5.76e23,
        settings={"Key": "0"},
    )
