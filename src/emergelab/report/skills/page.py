"""Writes the page of skills in theory, and each of its figures as SVG, PNG and CSV beside it."""

# ruff: noqa: RUF001 - typography and letters of the theory, for readers

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emergelab.report import words
from emergelab.report.sections import Head, Section, Table, write_sections_page
from emergelab.report.skills import figures
from emergelab.report.skills.content import SkillsInput
from emergelab.theory.curves import Curve, TupleKind, Tuples, failure, share
from emergelab.theory.decoding import jump
from emergelab.theory.needs import Wish, need
from emergelab.theory.scaling import LINKS, PUBLISHED

_BETAS = (1.5, 2.0, 3.0, 4.0, 8.0)
_SHARES = ((0.05, 8), (0.05, 16), (0.1, 4), (0.1, 8), (0.1, 16))
_TEN = 10.0
_BOTH = ("params and tokens", "linear")
_WISHES = ((0.8, 0.9, 1), (0.8, 0.9, 2), (0.8, 0.9, 4), (0.9, 0.95, 1))


def write_skills_page(content: SkillsInput, directory: Path) -> Path:
    """Write `index.html` and `figures/` into `directory` and return the page's path.

    Raises `ArtifactError` where the folder holds something else than a page, or cannot be written.
    """
    head = Head(
        mark="skills in theory",
        title="Skills in theory",
        lead="What a share of failing text-pieces says of the skills behind them, when skills emerge together, when "
        "they are learnt at once, and when a model has made something new.",
        found_title="What follows",
        found={"": _found(content)},
        settings=content.settings,
    )
    return write_sections_page(head, _sections(content), directory)


def _sections(content: SkillsInput) -> list[Section]:
    return [
        Section(
            name="curves",
            title="What failing pieces say of skills",
            text="Text-pieces need k skills each. A share θ of them fails, whichever they are, and charges "
            "all of its skills. Four "
            "curves bound the failure of the worst share α of skills: the theorem of Arora and Goyal (2023), a "
            "sharper form, the "
            "exact worst case, and what the mean alone says (Markov).",
            figures=(figures.contours_by_k(), figures.contours_by_theta(), figures.contours_of_tuples()),
            tables=[_smallest_shares(), _needs()],
        ),
        Section(
            name="slingshot",
            title="Slingshot",
            text="A scaling law says what more parameters, tokens or compute leave of the excess loss; a link, what "
            "share θ of pieces then fails; the curves, what that says of tuples of skills. A model with a k′-th part "
            "of another’s θ is as good at k′-tuples of joined pieces as the other is at single skills.\n\n"
            f"From the optimum of {content.start:.3g} floating-point operations.",
            figures=(
                figures.slingshot(content),
                figures.slingshot_theta(content),
                figures.slingshot_curves(content),
            ),
            tables=[_divisions(content), _through(content)],
        ),
        Section(
            name="simulated",
            title="Simulation",
            text="Graphs of skills and pieces, drawn at random, with failing sets of three kinds.",
            figures=[figures.simulation(content)],
            tables=[_attacks(content)],
        ),
        Section(
            name="learning",
            title="Learning as decoding",
            text="There are R texts for each skill, each with a Poisson number of skills, c in the mean. A "
            "text with one unknown skill "
            "teaches it. What stays unknown follows the density evolution of erasure codes: q = exp(−cR exp(−cq)).",
            figures=[figures.decoding(content)],
            tables=[_jumps()],
        ),
        Section(
            name="beyond",
            title="Beyond parrots",
            text="A corpus of L sentences holds a share of at most p_s^k · p_t · L of all combinations of k "
            "skills and a topic, if skills "
            "and topics occur independently. Who succeeds at more has made some that nobody wrote.\n\n"
            "What is assumed: skills and topic occur independently (tested below, and the last column of the table "
            "says how far it would have to be wrong); a success shows all k skills and the topic; combinations are "
            "drawn at random from all; and p_s, p_t and L are no smaller in truth than here.",
            figures=(figures.novelty(content), figures.cooccurrence(content)),
            tables=[_board(content), _lifts(content)],
        ),
        Section(
            name="evaluation",
            title="How large an evaluation must be",
            text="The variance of a mean mark has parts: what generations of one combination have in common, "
            "what a generation has of its "
            "own, what graders disagree on one by one, and what they disagree on in the mean.",
            figures=[figures.design(content)],
        ),
    ]


def _found(content: SkillsInput) -> list[str]:
    """Return the page's findings, each computed from its tables."""
    first = failure(Curve.theorem, content.theta, 0.2, content.k)
    exact = failure(Curve.exact, content.theta, 0.2, content.k)
    graphs = content.attacks["graph"].unique(maintain_order=True).to_list()
    large, small = (content.attacks.filter(pl.col("graph") == graph) for graph in (graphs[0], graphs[-1]))
    off = (large["mean"] - large["exact"]).abs().max()
    over = (small["mean"] - small["exact"]).max()
    novel = content.board.filter("novel")
    shown = words.listing([f"{row['model']} at k = {row['k']}" for row in novel.to_dicts()]) or "no model"
    single, pairs = (_of_tuples(content, _BOTH, size) for size in (1, 2))
    turn = jump(3.0)
    assert turn is not None  # noqa: S101 - 3 is above e
    return [
        (
            f"When {content.theta:.0%} of pieces of {content.k} skills fail, the worst fifth of skills fails "
            f"{float(exact):.3f} at most. The "
            f"theorem allows {float(first):.3f}, and Markov’s inequality {min(1.0, content.theta / 0.2):.3f}."
        ),
        (
            "Ten times both parameters and tokens bring the worst fifth of pairs, under the linear link, from a "
            f"failure of {pairs['failure_before']:.3f} at most to {pairs['failure_after']:.3f}; for single skills it "
            f"was {single['failure_before']:.3f} before."
        ),
        (
            f"An adversary in a graph of {graphs[0]} meets the exact curve within {off:.4f}; in one of {graphs[-1]} "
            f"it passes it by up to "
            f"{over:.3f}, so that finite graphs need the theorem’s finite form."
        ),
        (
            f"With 3 skills for each text learning jumps at {turn.texts:.3f} texts for each skill: the unknown share "
            f"falls from "
            f"{turn.before:.2f} to {turn.after:.2f}. With 2 it never jumps."
        ),
        f"On the leaderboard the exact lower limit of success exceeds what a corpus can hold for {shown}.",
    ]


def _smallest_shares() -> Table:
    def cell(theta: float, k: int, beta: float) -> str:
        found = [float(share(curve, theta, beta, k)) for curve in (Curve.theorem, Curve.exact)]
        return " / ".join(words.MISSING if np.isnan(one) else f"{one:.3f}" for one in found)

    return Table(
        title="Smallest share of skills that must be left out, theorem / exact",
        columns=("θ, k", *(f"β = {beta:g}" for beta in _BETAS)),
        rows=[(f"{theta:g}, {k}", *(cell(theta, k, beta) for beta in _BETAS)) for theta, k in _SHARES],
        note="All other skills fail at most β times as often as pieces. A dash: the theorem says nothing.",
    )


def _needs() -> Table:
    law = PUBLISHED["besiroglu"]
    lines: list[tuple[str, ...]] = []
    for competence, part, size in _WISHES:
        wish = Wish(
            competence=competence, share=part, k=8, tuples=Tuples(size=size, kind=TupleKind.concatenated)
        )
        what = "single skills" if size == 1 else f"tuples of {size}"
        for link in LINKS:
            found = need(wish, link, law)
            numbers = (found.params, found.tokens, found.compute)
            lines.append(
                (
                    f"{competence:g} on {part:.0%} of {what}",
                    link,
                    f"{found.theta:.4f}",
                    f"{found.excess:.2g}",
                    *(f"{number:.1e}" for number in numbers if number is not None),
                )
            )
    return Table(
        title="What a competence takes",
        columns=("Success", "link", "θ of pieces", "excess, nats", "parameters", "tokens", "FLOP"),
        rows=lines,
        note="The exact curve with k = 8, tuples of concatenated pieces; the law of Besiroglu et al. (2024), its "
        "excess per token taken for "
        "the excess per cloze answer. Numbers this far outside of what was fitted say how strong the claim is, "
        "not what to build.",
    )


def _divisions(content: SkillsInput) -> Table:
    ten = content.scaled.filter(pl.col("factor") == _TEN)
    laws = ten["law"].unique(maintain_order=True).to_list()

    def cell(law: str, way: str) -> str:
        row = ten.row(by_predicate=(pl.col("law") == law) & (pl.col("way") == way), named=True)
        value = f"{row['divided']:.2f}"
        return value if row["lo"] is None else f"{value} ({row['lo']:.2f}–{row['hi']:.2f})"

    return Table(
        title="The excess is divided by",
        columns=("Ten times", *(figures.law_name(law).replace("\n", " ") for law in laws)),
        rows=[
            (figures.way_name(way), *(cell(law, way) for law in laws))
            for way in ten["way"].unique(maintain_order=True).to_list()
        ],
        note="In brackets 95 % intervals over resampled runs: E, which is known least, among them.",
    )


def _through(content: SkillsInput) -> Table:
    lines = [
        (
            figures.way_name(row["way"]),
            row["link"],
            f"{row['theta_before']:.3f} → {row['theta_after']:.3f}",
            *(_arrow(content, row, size) for size in (1, 2, 4)),
        )
        for row in content.through.filter(pl.col("tuples") == 1).to_dicts()
    ]
    return Table(
        title="What that does to pieces and to tuples, under both links",
        columns=("Ten times", "link", "θ", "worst fifth of skills", "of pairs", "of tuples of 4"),
        rows=lines,
        note=f"The law of {figures.law_name(content.law)}; failure at most, by the exact curve with k = {content.k}; "
        "tuples of joined pieces. The excess per token is taken for the excess per cloze answer.",
    )


def _arrow(content: SkillsInput, row: dict[str, Any], size: int) -> str:
    found = _of_tuples(content, (row["way"], row["link"]), size)
    return f"{found['failure_before']:.3f} → {found['failure_after']:.3f}"


def _of_tuples(content: SkillsInput, which: tuple[str, str], size: int) -> dict[str, Any]:
    """Return what a way does under a link to tuples of some size."""
    way, link = which
    same = (pl.col("way") == way) & (pl.col("link") == link) & (pl.col("tuples") == size)
    return content.through.row(by_predicate=same, named=True)


def _attacks(content: SkillsInput) -> Table:
    return Table(
        title="Mean failure of the attacked skills",
        columns=("Graph", "α", "simulated", "exact", "theorem", "theorem, finite"),
        rows=[
            (
                row["graph"],
                f"{row['alpha']:.3g}",
                *(
                    words.MISSING if row[name] is None else f"{row[name]:.4f}"
                    for name in ("mean", "exact", "theorem", "finite")
                ),
            )
            for row in content.attacks.to_dicts()
        ],
        note="Failing edges over expected edges. The finite theorem holds with probability 0.95; a dash: it says "
        "nothing.",
    )


def _jumps() -> Table:
    rows: list[tuple[str, ...]] = []
    for mean in (2.0, 2.5, 3.0, 4.0, 5.0, 8.0):
        found = jump(mean)
        if found is None:
            rows.append((f"{mean:g}", "none", words.MISSING, words.MISSING))
        else:
            rows.append((f"{mean:g}", f"{found.texts:.3f}", f"{found.before:.3f}", f"{found.after:.2g}"))
    return Table(
        title="Where learning jumps",
        columns=("Skills per text c", "texts for each skill R", "unknown before", "unknown behind"),
        rows=rows,
        note="It jumps iff c exceeds e = 2.718…",
    )


def _board(content: SkillsInput) -> Table:
    board = content.board.filter(pl.col("rate") > 0).sort("k", "rate", descending=True)
    return Table(
        title="Success against what a corpus can hold",
        columns=(
            "Model",
            "k",
            "success",
            "95 % interval",
            "corpus, at most",
            "shown to be new",
            "lift to explain it",
        ),
        rows=[
            (
                row["model"],
                str(row["k"]),
                f"{row['rate']:.2f}",
                f"{row['lo']:.3f}–{row['hi']:.3f}",
                "1 (says nothing)" if row["bound"] >= 1 else f"{row['bound']:.3g}",
                "yes" if row["novel"] else "no",
                words.figure(row["lift_needed"]),
            )
            for row in board.to_dicts()
        ],
        note=f"Exact intervals (Clopper and Pearson) of {content.board['n'][0]} combinations each. The last "
        f"column: how many times as often as by "
        "independence skills would have to occur together for the corpus to hold as many. Models without any "
        "success are left out.",
    )


def _lifts(content: SkillsInput) -> Table:
    return Table(
        title="Independence, tested",
        columns=("Texts", "k", "lift", "95 % interval", "p of independence", "texts", "skills"),
        rows=[
            (
                row["corpus"],
                str(row["k"]),
                f"{row['value']:.3f}",
                f"{row['lo']:.3f}–{row['hi']:.3f}",
                f"{row['p']:.3f}",
                f"{row['n']:,}",
                str(row["skills"]),
            )
            for row in content.lifts.to_dicts()
        ],
        note="Intervals: jackknife over texts. p: each skill shuffled among texts; 0.001 is the smallest that "
        "999 shuffles can give.",
    )
