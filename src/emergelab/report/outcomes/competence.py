"""The part of the page on competence: its figures and tables."""

# ruff: noqa: RUF001 - typography and letters of the theory, for readers

from __future__ import annotations

from typing import Any

import polars as pl

from emergelab.analysis.skills.competence import Measure
from emergelab.analysis.skills.failing import CLOZE
from emergelab.analysis.skills.tables import KEPT, OFTEN, CompetenceTables
from emergelab.outcomes.schema import CELL
from emergelab.report import words
from emergelab.report.outcomes.competence_words import explained, findings
from emergelab.report.outcomes.skill_graph import skill_graph
from emergelab.report.outcomes.systems import (
    COLOURS,
    along,
    colours_of,
    panel_name,
    system_colours,
    with_interval,
)
from emergelab.report.plots import LINE, POINT, Axis, Plot, rows
from emergelab.report.sections import Drawn, Section, Table

_TITLES = {"success": "Right answers", "failure": "Failures"}
_AXES = {"success": "answers right (share)", "failure": "failing edges of the skill (share)"}
_MOST_PANELS = 15
_MOST_ROWS = 25
_SHARE = (0.0, 1.0)
_THEORY = {
    "theorem": "bound-1",
    "exact": "ideal-1",
    "markov": "guess",
    "worst in this graph": "origin-3",
}
_WORST = "worst skills"
_APART = "worst on one half, measured on the other"
_RAW, _CORRECTED = "as observed", "corrected for noise"


def section(tables: CompetenceTables) -> Section:
    """Return the part of the page, or what can be said of it with one checkpoint, one system or one skill."""
    figures: list[Drawn] = [
        figure
        for figure in (_by_tokens(tables), _failure_and_success(tables), skill_graph(tables))
        if figure is not None
    ]
    figures += [figure for figure in (_against_theory(tables), _weak(tables)) if figure is not None]
    return Section(
        name="competence",
        title="Competence by skill",
        text=explained(tables),
        found=findings(tables),
        figures=figures,
        tables=[
            table
            for table in (_levels(tables), _theory_table(tables), _weak_table(tables), _apart(tables))
            if table.rows
        ],
    )


def _by_tokens(tables: CompetenceTables) -> Plot | None:
    """Draw success by skill along the training: on all pieces, and on those that need the skill alone."""
    place, measure = along(tables.steady), tables.measure
    if place is None or measure is None:
        return None
    column, axis = place
    known = tables.steady.filter((pl.col(column) > 0) & pl.col(measure).is_not_null())
    if known.is_empty():
        return None
    colours = _colours(tables, known)
    skills = _weakest(tables, known)[:_MOST_PANELS]
    frames: list[pl.DataFrame] = []
    for rank, skill in enumerate(skills):
        for system in colours:
            part = known.filter((pl.col("skill") == skill) & (pl.col("system") == system)).sort(column)
            frames += _course(part, (measure, column), (skill, rank, system))
    alone = {f"{system}, alone": colour for system, colour in colours.items()}
    return Plot(
        name="competence-over-training",
        title=f"{_TITLES[measure]} by skill, over training",
        short="Competence",
        caption=_course_caption(tables, len(skills), len(colours)),
        frame=pl.concat(frames),
        x=axis,
        y=Axis(title=_AXES[measure], ends=_SHARE),
        colours=colours | alone,
        dashed=tuple(alone),
    )


def _colours(tables: CompetenceTables, found: pl.DataFrame) -> dict[str, str]:
    return colours_of(found, tables.last["system"].to_list())


def _course(
    part: pl.DataFrame, columns: tuple[Measure, str], place: tuple[str, int, str]
) -> list[pl.DataFrame]:
    skill, rank, system = place
    measure, column = columns
    lo, hi = (part[f"{measure}_{end}"] for end in ("lo", "hi"))
    success = {"x": part[column], "y": part[measure], "lo": lo, "hi": hi}
    alone = part.drop_nulls("alone")
    only = {"x": alone[column], "y": alone["alone"], "lo": alone["alone_lo"], "hi": alone["alone_hi"]}
    line = {name: success[name] for name in ("x", "y")}
    return [
        rows(skill, rank, system, LINE, line),
        rows(skill, rank, system, POINT, success),
        rows(skill, rank, f"{system}, alone", LINE, only),
    ]


def _course_caption(tables: CompetenceTables, panels: int, systems: int) -> str:
    asked = tables.steady["skill"].n_unique()
    left = f" The {panels} weakest of {asked} skills are drawn." if asked > panels else ""
    more = tables.last.height - systems
    others = f" {words.plural(more, 'system')} more {'is' if more == 1 else 'are'} not drawn." if more else ""
    return (
        f"Whole lines: {tables.measure} on all pieces that need the skill, whatever else they need, with 95 % "
        "intervals in which the pieces of one item count as drawn together. Dashed: right answers to pieces that need "
        "it alone. Only tasks that a system answered at all of its checkpoints, so that no line moves because tasks "
        "came or went; between systems the tasks may differ. A checkpoint before any training has no place on the axis."
        + left
        + others
    )


def _weakest(tables: CompetenceTables, found: pl.DataFrame) -> list[str]:
    """Return the skills of `found`, those first on which the last checkpoints are worst."""
    worst = (
        pl.coalesce(1 - pl.col("failure"), "success") if tables.measure == "failure" else pl.col("success")
    )
    last = found.join(tables.last, on=CELL, how="semi").group_by("skill").agg(worst.mean().alias("level"))
    return last.sort("level", "skill", nulls_last=True)["skill"].to_list()


def _failure_and_success(tables: CompetenceTables) -> Plot | None:
    """Draw both where they are two measures: where losses tell of failure."""
    last = tables.skills.join(tables.last, on=CELL, how="semi").filter(pl.col("fails_by") == CLOZE)
    known = last.drop_nulls(["success", "failure"])
    if known.is_empty():
        return None
    panel = "skills at the last checkpoint"
    colours = _colours(tables, known)
    both = "wrong where it fails, right where not"
    frames = [rows(panel, 0, both, LINE, {"x": [0.0, 1.0], "y": [1.0, 0.0]})]
    for system in colours:
        part = known.filter(pl.col("system") == system)
        values = {
            "x": part["failure"],
            "y": part["success"],
            "lo": part["success_lo"],
            "hi": part["success_hi"],
        }
        frames.append(rows(panel, 0, system, POINT, values))
    return Plot(
        name="failure-and-success",
        title="Failure and success by skill",
        short="Failure",
        caption="A piece fails when its cloze loss is one half or more, whatever the answer. Points above the line: "
        "right answers to pieces that fail; below it: wrong answers to pieces that do not.",
        frame=pl.concat(frames),
        x=Axis(title="failing edges of the skill (share)", ends=_SHARE),
        y=Axis(title="answers right (share)", ends=_SHARE),
        colours=colours | {both: "guess"},
        dashed=(both,),
    )


def _against_theory(tables: CompetenceTables) -> Plot | None:
    last = tables.curves.join(tables.last, on=CELL, how="semi")
    if last.is_empty():
        return None
    frames: list[pl.DataFrame] = []
    cells = tables.last.join(last, on=CELL, how="semi").head(len(COLOURS)).to_dicts()
    for rank, cell in enumerate(cells):
        panel = panel_name(cell)
        here = (pl.col("system") == cell["system"]) & (pl.col("checkpoint") == cell["checkpoint"])
        part, lines = last.filter(here), tables.lines.filter(here)
        frames += [
            rows(panel, rank, curve, LINE, {"x": lines["alpha"], "y": lines[curve]})
            for curve in ("theorem", "exact", "markov")
        ]
        frames.append(
            rows(panel, rank, "worst in this graph", LINE, {"x": part["alpha"], "y": part["possible"]})
        )
        values = {"x": part["alpha"], "y": part["failure"], "lo": part["lo"], "hi": part["hi"]}
        apart = {"x": part["alpha"], "y": part["halves"], "lo": part["halves_lo"], "hi": part["halves_hi"]}
        frames += [rows(panel, rank, _APART, LINE, apart), rows(panel, rank, _WORST, POINT, values)]
    return Plot(
        name="failure-against-theory",
        title="Failure of the worst skills against the theory, last checkpoints",
        short="Theory",
        caption="Points: mean failure of the worst skills, at the shares (of edges) at which whole skills end, with "
        "95 % intervals. Choosing the worst ones errs upwards by chance; chosen on one half of the items and measured "
        "on the other, they err downwards: the truth lies between points and their line. Other lines: no failing set "
        "of this measure fails worse if pieces draw their skills independently (theorem of Arora and Goyal 2023 for "
        "as many pieces and skills as here, where it says anything; exact worst case of infinitely many pieces); "
        "Markov’s holds by arithmetic; the worst in this graph is what any pieces of this measure could do to the "
        "same skills in these tasks.",
        frame=pl.concat(frames),
        x=Axis(title="worst share α of skills", ends=_SHARE),
        y=Axis(title="failure", ends=(0.0, 1.02)),
        colours=_THEORY | {_WORST: "mode-0", _APART: "mode-1"},
        dashed=("markov", _APART),
    )


def _weak(tables: CompetenceTables) -> Plot | None:
    """Draw raw and corrected shares of weak skills and tuples over training."""
    often = tables.weak.filter(pl.col("limit") == OFTEN).drop_nulls("raw")
    place = along(often)
    if place is None:
        return None
    column, axis = place
    frames: list[pl.DataFrame] = []
    systems = list(_colours(tables, often))
    for rank, (of, system) in enumerate((of, system) for of in ("skills", "tuples") for system in systems):
        chosen = (pl.col("of") == of) & (pl.col("system") == system) & (pl.col(column) > 0)
        part = often.filter(chosen).sort(column)
        values = {
            "x": part[column],
            "y": part["corrected"],
            "lo": part["corrected_lo"],
            "hi": part["corrected_hi"],
        }
        panel = f"{of}, {system}"
        frames.append(rows(panel, rank, _CORRECTED, POINT, values))
        frames.append(rows(panel, rank, _RAW, LINE, {"x": part[column], "y": part["raw"]}))
    return Plot(
        name="weak-skills",
        title="Share of skills and of tuples that fail more often than not",
        short="Weak skills",
        caption="With few pieces some skills seem weak by bad luck, or strong by good. Line: as observed. Points: with "
        "that noise taken out by a beta-binomial model, with 95 % intervals. A tuple is an ordered list of skills "
        "that some piece needs.",
        frame=pl.concat(frames),
        x=axis,
        y=Axis(title="weak ones (share)", ends=_SHARE),
        colours={_CORRECTED: "mode-0", _RAW: "guess"},
    )


def _levels(tables: CompetenceTables) -> Table:
    last = tables.skills.join(tables.last, on=CELL, how="semi")
    if tables.measure is None:
        last = last.clear()
    systems = list(system_colours(tables.last["system"].to_list()))
    cells = {(row["skill"], row["system"]): row for row in last.to_dicts()}
    skills = _weakest(tables, last)
    shown = [
        (skill, *(_level(cells.get((skill, system)), tables.measure) for system in systems))
        for skill in skills[:_MOST_ROWS]
    ]
    more = f" The {_MOST_ROWS} weakest of {len(skills)} are shown." if len(skills) > _MOST_ROWS else ""
    return Table(
        title=f"{_TITLES[tables.measure or 'success']} by skill at the last checkpoints",
        columns=("Skill", *systems),
        rows=shown,
        note="Of all pieces that need the skill, with 95 % intervals over items; in brackets right answers to those "
        f"that need it alone, where there are such. Weakest first.{more} Systems may have answered different tasks.",
        name="skills",
        whole=tables.skills,
    )


def _level(row: dict[str, Any] | None, measure: Measure | None) -> str:
    if row is None or measure is None or row[measure] is None:
        return words.MISSING
    alone = "" if row["alone"] is None else f" (alone {words.share(row['alone'])})"
    return f"{with_interval(row, measure)}{alone}"


def _theory_table(tables: CompetenceTables) -> Table:
    return Table(
        title="Failures against the theory, last checkpoints",
        columns=("System", "tasks", "measure", "θ", "k", "exact curve", "theorem"),
        rows=[
            (
                row["system"],
                f"{row['over']} ({row['tasks']})",
                f"same for each {'piece' if row['weighting'] == 'items' else 'task'}",
                with_interval(row, "theta"),
                words.figure(row["k"]),
                _side(row, "exact"),
                _side(row, "theorem"),
            )
            for row in _accounts(tables).to_dicts()
        ],
        note="θ is the measure of failing pieces, k the mean number of skills of a piece. In brackets the least "
        "distance from the worst skills up to the curve, and the share α at which it is; negative: above the curve. "
        "Above and below are said where 95 % intervals lie on one side, at each share by itself.",
        name="against-theory",
        folded=True,
        whole=tables.against,
    )


def _accounts(tables: CompetenceTables) -> pl.DataFrame:
    """Return the accounts of each system, other weights for the tasks that show skill only."""
    chosen = (pl.col("over") == KEPT) | (pl.col("weighting") == "items")
    return tables.against_last.filter(chosen).sort("system", maintain_order=True)


def _side(row: dict[str, Any], curve: str) -> str:
    margin, alpha = row[f"{curve}_margin"], row[f"{curve}_alpha"]
    verdict = str(row[f"{curve}_verdict"])
    if margin is None:
        return "says nothing"
    return f"{verdict} ({words.signed(margin)} at {words.share(alpha)})"


def _weak_table(tables: CompetenceTables) -> Table:
    last = tables.weak.join(tables.last, on=CELL, how="semi")
    return Table(
        title="Share of weak skills and tuples, last checkpoints",
        columns=("System", "of", "that", "observed", "corrected"),
        rows=[
            (
                row["system"],
                f"{row['n']} {row['of']}",
                f"{row['limit']} (> {words.share(row['threshold'])})",
                words.share(row["raw"]),
                with_interval(row, "corrected"),
            )
            for row in last.to_dicts()
        ],
        note="Corrected: the noise of few pieces taken out, with 95 % intervals for the skills and tuples at hand.",
        name="weak-skills",
        whole=tables.weak,
    )


def _apart(tables: CompetenceTables) -> Table:
    last = tables.apart.join(tables.last, on=CELL, how="semi")
    levels = last.group_by("task").agg(lowest=pl.col("success").min(), highest=pl.col("success").max())
    reasons = tables.unfit.join(levels, on="task", how="left").sort("reason", "task")
    return Table(
        title="Tasks left out above, as right answers to them show no skill",
        columns=("Reason", "tasks", "answers right, last checkpoints"),
        rows=[
            (str(part["reason"][0]), words.listing(part["task"].to_list()), _range(part))
            for part in reasons.partition_by("reason", maintain_order=True)
            if tables.relied
        ],
        note="Tasks that were never solved stay in above: right answers can mislead, wrong ones do count as failures.",
        name="tasks-apart",
        whole=tables.apart,
        prose=True,
        folded=True,
    )


def _range(part: pl.DataFrame) -> str:
    """Return the lowest and the highest share among tasks and systems."""
    lowest, highest = part["lowest"].min(), part["highest"].max()
    if not isinstance(lowest, float) or not isinstance(highest, float):
        return words.MISSING
    return words.span(words.share(lowest), words.share(highest))
