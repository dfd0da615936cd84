"""The skill graph as a picture: tuples by skills with the places of these, and how often each came out right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from emergelab.analysis.skills.competence import Measure
from emergelab.analysis.skills.tables import CompetenceTables
from emergelab.outcomes.schema import CELL
from emergelab.report import words
from emergelab.report.outcomes.matrix import ABSENT, HEAD, PLACE, SHARE, Matrix, marks
from emergelab.report.outcomes.systems import system_colours

_MOST_TUPLES, _MOST_SKILLS = 80, 24
_NUMBERS = {1: "one skill", 2: "two skills", 3: "three skills", 4: "four skills"}
_SHARES = {"success": "right answers", "failure": "failures"}
_WHOLE = "all pieces that need the skill"


def skill_graph(tables: CompetenceTables) -> Matrix | None:
    """Return the picture; of a large graph, which pairs of the most used skills occur together."""
    graph = tables.graph
    if graph.tuples.is_empty() or tables.measure is None:
        return None
    systems = list(system_colours(tables.last["system"].to_list()))
    if graph.tuples.height > _MOST_TUPLES or graph.skills.height > _MOST_SKILLS:
        return _pairs(tables)
    return _incidence(tables, systems)


def _incidence(tables: CompetenceTables, systems: Sequence[str]) -> Matrix:
    skills = tables.graph.skills["skill"].to_list()
    columns = {("skill", skill): rank for rank, skill in enumerate(skills)}
    columns |= {("system", system): len(skills) + 1 + rank for rank, system in enumerate(systems)}
    found = _of_skills(tables, skills, systems) + _of_tuples(tables, columns, systems)
    return Matrix(
        name="skill-graph",
        title="The skill graph, and success at the last checkpoints",
        short="Skill graph",
        caption="A row is what pieces of one kind need: numbers are the order in which skills are applied. Tiles are "
        f"shares of {_SHARES[tables.measure or 'success']}: at the right to the pieces of the row, above to all pieces "
        "that need the skill of the column, alone or with others. A dash: not measured. Skills that most rows need "
        "stand first; tasks that show no skill are left out.",
        frame=marks(found),
    )


def _of_skills(
    tables: CompetenceTables, skills: Sequence[str], systems: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row for each system: success on all pieces that need the skill."""
    last = tables.skills.join(tables.last, on=CELL, how="semi").to_dicts()
    known = {(row["system"], row["skill"]): row for row in last}
    found: list[dict[str, Any]] = [_head(0, _WHOLE, skills)]
    for rank, system in enumerate(systems, start=1):
        for column, skill in enumerate(skills):
            place = {"row": system, "row_rank": rank, "column": skill, "column_rank": column}
            found.append(place | _share(known.get((system, skill)), tables.measure))
    return found


def _of_tuples(
    tables: CompetenceTables, columns: Mapping[tuple[str, str], int], systems: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row for each tuple, under titles by their number of skills."""
    known = _by_tuple(tables)
    places = tables.graph.links.partition_by("tuple", as_dict=True)
    skills = [name for kind, name in columns if kind == "skill"]
    found: list[dict[str, Any]] = []
    rank = len(systems) + 1
    for part in tables.graph.tuples.partition_by("k", maintain_order=True):
        k = int(part["k"][0])
        found.append(_head(rank, f"pieces of {_NUMBERS.get(k, f'{k} skills')}", skills))
        rank += 1
        for row in part.to_dicts():
            place = {"row": row["label"], "row_rank": rank}
            for link in places[row["tuple"],].to_dicts():
                of_skill = {"column": link["skill"], "column_rank": columns["skill", link["skill"]]}
                found.append(place | of_skill | {"kind": PLACE, "text": link["places"]})
            for system in systems:
                of_system = {"column": system, "column_rank": columns["system", system]}
                found.append(
                    place | of_system | _share(known.get((system, tuple(row["skills"]))), tables.measure)
                )
            rank += 1
    return found


def _by_tuple(tables: CompetenceTables) -> dict[tuple[str, tuple[str, ...]], dict[str, Any]]:
    last = tables.tuples.join(tables.last, on=CELL, how="semi").to_dicts()
    return {(row["system"], tuple(row["skills"])): row for row in last}


def _head(rank: int, label: str, skills: Sequence[str]) -> dict[str, Any]:
    return {"row": label, "row_rank": rank, "column": skills[0], "column_rank": 0, "kind": HEAD}


def _share(row: Mapping[str, Any] | None, measure: Measure | None) -> dict[str, Any]:
    if row is None or measure is None or row[measure] is None:
        return {"kind": ABSENT}
    ends = {end: row[f"{measure}_{end}"] for end in ("lo", "hi", "n")}
    return {"kind": SHARE, "value": row[measure], **ends}


def _pairs(tables: CompetenceTables) -> Matrix:
    """Return how often pieces came out right that need two skills, over systems."""
    skills = tables.graph.skills["skill"].head(_MOST_SKILLS).to_list()
    measure = tables.measure or "success"
    last = tables.tuples.join(tables.last, on=CELL, how="semi").drop_nulls(measure)
    answers = last.select(*CELL, "skills", share=measure, n=f"{measure}_n")
    sides = answers.with_columns(first="skills").explode("first").unique()
    both = sides.with_columns(second="skills").explode("second").unique()
    counted = both.filter(pl.col("first").is_in(skills) & pl.col("second").is_in(skills))
    shares = counted.group_by("first", "second").agg(
        value=(pl.col("share") * pl.col("n")).sum() / pl.col("n").sum(), n=pl.col("n").sum()
    )
    rank = {skill: place for place, skill in enumerate(skills)}
    found = [
        {
            "row": row["first"],
            "row_rank": rank[row["first"]],
            "column": row["second"],
            "column_rank": rank[row["second"]],
            "kind": SHARE,
            "value": row["value"],
            "n": row["n"],
        }
        for row in shares.to_dicts()
    ]
    asked = tables.graph.skills.height
    left = f" The {len(skills)} skills of most tuples of {asked} are drawn." if asked > len(skills) else ""
    return Matrix(
        name="skill-graph",
        title="Skills that pieces need together, and success at the last checkpoints",
        short="Skill graph",
        caption=f"A tile is the share of {_SHARES[measure]} to pieces that need both skills, over all systems; on the "
        f"diagonal, to all that need the skill. Without a tile no piece needs both.{left} There are "
        f"{words.plural(tables.graph.tuples.height, 'tuple')} of skills.",
        frame=marks(found),
    )
