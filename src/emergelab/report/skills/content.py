"""What the page of skills is made from: tables that took simulation or a corpus, and how they were made."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, kw_only=True)
class SkillsInput:
    """Tables of the page, each with the columns named here.

    `attacks`: graph, alpha, mean, exact, theorem, finite; the graphs one after the other. `kinds`: graph, kind, alpha,
    mean, exceeded. `decoded`: c, skills, texts, unknown. `board`: see `analysis.novelty.judged`. `lifts`: corpus, k,
    value, lo, hi, n, skills, p, and `known`, a closed form or null. `evaluations`: combinations, generations, graders
    and half-widths, predicted and simulated. `scaled`: law, way, factor, excess, divided, lo, hi, from a law's optimum
    of `start` floating-point operations, the factors from 1 on; lo and hi are null but for fitted laws at ten times.
    `through`: way, link, tuples, theta_before, theta_after, failure_before, failure_after for `law` at ten times.
    `settings` says how all of it was made.
    """

    theta: float
    k: int
    attacks: pl.DataFrame
    kinds: pl.DataFrame
    decoded: pl.DataFrame
    board: pl.DataFrame
    lifts: pl.DataFrame
    evaluations: pl.DataFrame
    scaled: pl.DataFrame
    through: pl.DataFrame
    law: str
    start: float
    settings: dict[str, str]
