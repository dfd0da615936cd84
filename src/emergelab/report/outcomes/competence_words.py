"""What the page says of competence: its findings, and what stands above the figures."""

# ruff: noqa: RUF001 - typography and letters of the theory, for readers

from __future__ import annotations

from typing import Any

import polars as pl

from emergelab.analysis.skills.failing import CLOZE
from emergelab.analysis.skills.tables import KEPT, OFTEN, CompetenceTables
from emergelab.report import words
from emergelab.report.outcomes.systems import cell_name, with_interval

_CERTAIN = 0.05
_NAMED = 3
_MOST_SYSTEMS = 6
_NOTABLE = 0.1


def findings(tables: CompetenceTables) -> list[str]:
    """Return what follows, two or three sentences for each system, with numbers and intervals."""
    said: list[str] = []
    if tables.measure is None:
        return [
            "Nothing is known of competence: answers are neither right nor wrong, and there are no cloze losses."
        ]
    if not tables.relied:
        said.append(
            "No task shows skill, as far as the screens tell: what is said of competence is of answers alone."
        )
    for cell in tables.last.head(_MOST_SYSTEMS).to_dicts():
        of_cell = (pl.col("system") == cell["system"]) & (pl.col("checkpoint") == cell["checkpoint"])
        levels = " ".join(part for part in (_levels(tables, cell, of_cell), _weak(tables, of_cell)) if part)
        said += [levels, _moved(tables, cell), _against(tables, cell, of_cell)]
    left = tables.last.height - _MOST_SYSTEMS
    if left > 0:
        said.append(f"{words.plural(left, 'system')} more: see the tables of competence.")
    return [sentence for sentence in said if sentence]


def explained(tables: CompetenceTables) -> str:
    """Return the paragraphs above the figures."""
    parts = [_measured(tables), _rule(tables), _assumed(tables)]
    return "\n\n".join(part for part in parts if part)


def _measured(tables: CompetenceTables) -> str:
    said = (
        "The competence of a skill is the share of right answers to all pieces that need it, alone or with other "
        "skills. Pieces of one item, such as one word in several tasks, are drawn together: intervals are for new "
        "items of the same tasks. Checkpoints are compared on the same pieces."
    )
    if tables.unfit.height and tables.relied:
        said += (
            f" {words.plural(tables.unfit.height, 'task')} that {'shows' if tables.unfit.height == 1 else 'show'} no "
            "skill, as any right answer to them may have come without, are left out and stand apart below."
        )
    return said


def _rule(tables: CompetenceTables) -> str:
    rules = tables.skills.select("system", "fails_by").unique().sort("system")
    by_loss = rules.filter(pl.col("fails_by") == CLOZE)["system"].to_list()
    by_answer = rules.filter(pl.col("fails_by") != CLOZE)["system"].to_list()
    said: list[str] = []
    if by_loss:
        said.append(
            f"A piece fails for {words.listing(by_loss)} when its cloze loss, the probability not given to the right "
            "answer, is one half or more: then all of its skills are charged."
        )
    if by_answer:
        said.append(
            f"For {words.listing(by_answer)} a piece fails when its answer is wrong: there are no losses, or they "
            "contradict the answers, so that failure is not the theory’s but one minus success, by edges."
        )
    return " ".join(said)


def _assumed(tables: CompetenceTables) -> str:
    if tables.curves.is_empty():
        return ""
    return (
        "The theory says how badly the worst skills can fail when a share θ of all pieces fails, whichever these are. "
        "It assumes that each piece draws its k skills independently from one law. Tasks that somebody designed do "
        "not: some skills are asked together, others never, and few make up most. So failures below a curve do not "
        "confirm the theory, and failures above it do not refute it, but show how far these tasks are from "
        "independent draws. What the tasks themselves allow is drawn beside it. The theory speaks of small θ and of "
        "pieces that need many skills: with many failures and few skills its curves allow nearly everything."
    )


def _levels(tables: CompetenceTables, cell: dict[str, Any], of_cell: pl.Expr) -> str:
    measure = tables.measure or "success"
    skills = tables.skills.filter(of_cell).drop_nulls(measure)
    skills = skills.sort(measure, "skill", descending=[measure == "failure", False])
    if skills.is_empty():
        return ""
    worst, best = skills.row(0, named=True), skills.row(-1, named=True)
    said = f"{cell_name(cell)}: weakest skill {_of_skill(worst, measure)}"
    if skills.height > 1:
        said += f", strongest {_of_skill(best, measure)}"
    return f"{said}.{_alone(tables.solved.filter(of_cell))}"


def _of_skill(row: dict[str, Any], measure: str) -> str:
    share = f"{with_interval(row, measure)} of {words.plural(row[f'{measure}_n'], 'piece')}"
    return f"{row['skill']}, {'right' if measure == 'success' else 'failing'} on {share}"


def _alone(solved: pl.DataFrame) -> str:
    """Say which skill is there alone and less so in company, if one is so for certain.

    Tasks that nothing ever solved are not asked: there the company is missing, not the skill.
    """
    lost = solved.filter(pl.col("alone_lo") > pl.col("success_hi"))
    lost = lost.with_columns(loss=pl.col("alone") - pl.col("success")).filter(pl.col("loss") > _NOTABLE)
    if lost.is_empty():
        return ""
    row = lost.sort("loss", descending=True).row(0, named=True)
    return (
        f" {row['skill']} falls most in company: {with_interval(row, 'alone')} alone, {with_interval(row, 'success')} "
        "on all pieces that need it, but for tasks that were never solved."
    )


def _weak(tables: CompetenceTables, of_cell: pl.Expr) -> str:
    often = tables.weak.filter(of_cell & (pl.col("limit") == OFTEN)).drop_nulls("raw")
    parts = [
        f"{round(row['raw'] * row['n'])} of {row['n']} {row['of']} (share corrected for the noise of few pieces: "
        f"{with_interval(row, 'corrected')})"
        for row in often.to_dicts()
    ]
    return f"Failing more often than not: {words.listing(parts)}." if parts else ""


def _moved(tables: CompetenceTables, cell: dict[str, Any]) -> str:
    """Say what changed for certain from the first checkpoint to the last, and what was better in between."""
    of_system = tables.changed.filter((pl.col("system") == cell["system"]) & (pl.col("measure") == "success"))
    if of_system.is_empty():
        return ""
    first = of_system.filter(pl.col("checkpoint") == of_system["checkpoint"][0])
    certain = first.filter(pl.col("p_adjusted") < _CERTAIN)
    better = certain.filter(pl.col("change") > 0).height
    said = (
        f"{cell['system']}, from its first checkpoint to its last, on the same pieces: {better} of "
        f"{words.plural(first.height, 'skill')} got better, {certain.height - better} worse, certain at 5 % for all "
        "comparisons together."
    )
    lost = of_system.filter((pl.col("p_adjusted") < _CERTAIN) & (pl.col("change") < 0)).sort("change")
    return said if lost.is_empty() else f"{said} {_lost(lost)}"


def _lost(lost: pl.DataFrame) -> str:
    """Say which skills an earlier checkpoint had better, the worst loss first."""
    names = lost["skill"].unique(maintain_order=True).to_list()
    row = lost.row(0, named=True)
    interval = f"{words.signed(row['change'])} [{words.signed(row['lo'])}, {words.signed(row['hi'])}]"
    said = f"{row['skill']} was better before: {interval} since {_when(row)}"
    if len(names) == 1:
        return f"{said}."
    shown = names[1 : 1 + _NAMED]
    left = len(names) - 1 - len(shown)
    more = [*shown, f"{left} more"] if left else shown
    return f"{said}; so {'was' if len(more) == 1 else 'were'} {words.listing(more)}."


def _when(row: dict[str, Any]) -> str:
    tokens = row["train_tokens"]
    return str(row["checkpoint"]) if tokens is None else f"{words.count(tokens)} tokens"


def _against(tables: CompetenceTables, cell: dict[str, Any], of_cell: pl.Expr) -> str:
    rows = tables.against_last.filter(of_cell & (pl.col("over") == KEPT) & (pl.col("weighting") == "items"))
    if rows.is_empty():
        return ""
    row = rows.row(0, named=True)
    said = f"{with_interval(row, 'theta')} of pieces fail, which need {words.figure(row['k'])} skills in the mean"
    return f"{cell['system']}: {said}; {_exact(row)}; {_theorem(row)}."


def _exact(row: dict[str, Any]) -> str:
    margin = row["exact_margin"]
    if margin is None:
        return "the exact worst case allows anything"
    at = f"at the worst {words.share(row['exact_alpha'])} of skills"
    match row["exact_verdict"]:
        case "above":
            return (
                f"the worst skills fail more, by {words.share(-margin)} {at}, than independent draws of skills would "
                f"allow (in these tasks the worst case is up to {words.share(row['possible_excess'])} higher)"
            )
        case "below":
            return f"the worst skills stay below the exact worst case, by {words.share(margin)} where nearest"
        case _:
            unsettled = "whether the worst skills stay below the exact worst case is open"
            return f"{unsettled}, distance {words.signed(margin)} {at}"


def _theorem(row: dict[str, Any]) -> str:
    if row["theorem_margin"] is None:
        return "the theorem says nothing here"
    return f"{row['theorem_verdict']} the theorem’s bound, distance {words.signed(row['theorem_margin'])} where nearest"
