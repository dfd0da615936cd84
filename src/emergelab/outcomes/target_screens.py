"""Screens of right answers: constant ones, empty ones, and tasks that ask for less than their skills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from emergelab.outcomes.findings import Finding, be, counted, distinct, have, named
from emergelab.outcomes.survey import Survey

NEARLY_CONSTANT = 0.5
"""Share of items with the same target from which on it is a baseline to name."""

IDLE = 0.95
"""Share of items that a skill leaves as they are, from which on it is idle."""

FEWEST = 10
"""Items below which targets may be alike by luck."""

_ABOVE_CHANCE = 0.1
_MOST_TASKS_OF_AN_INPUT = 64


def constant_targets(survey: Survey) -> Iterator[Finding]:
    """Find tasks whose right answer is the same for all items."""
    found = survey.tasks.filter((pl.col("distinct") == 1) & (pl.col("known") >= FEWEST))
    if found.is_empty():
        return
    answers = [f"{task} ({top!r})" for task, top in found.select("task", "top").iter_rows()]
    yield survey.finding(
        "constant targets",
        "fault",
        "tasks with one right answer for all items",
        tasks=found["task"].to_list(),
        message=f"{counted(found.height, 'task')} {be(found.height)} answered by one constant: {named(answers)}.",
        consequence="Competence and composition: a system that repeats the examples' answer is always right, so "
        "these tasks show no skill. Verdicts leave them out.",
        unfit="constant target",
        details=found.select("task", "skills", "items", "top", "majority"),
    )


def nearly_constant_targets(survey: Survey) -> Iterator[Finding]:
    """Find tasks most of whose items have the same right answer, and say whether anything exceeds that share."""
    chance = survey.tallies.group_by("task").agg(pl.col("chance").mean())
    found = survey.tasks.join(chance, on="task").filter(
        (pl.col("distinct") > 1)
        & (pl.col("majority") >= NEARLY_CONSTANT)
        & (pl.col("majority") > pl.col("chance").fill_null(0) + _ABOVE_CHANCE)
    )
    if found.is_empty():
        return
    best = survey.measured.group_by("task").agg(best=pl.col("accuracy").max())
    details = found.join(best, on="task", how="left").sort("task")
    shares = [
        f"{task} ({top!r} in {majority:.0%}{'' if best is None else f', best accuracy {best:.0%}'})"
        for task, top, majority, best in details.select("task", "top", "majority", "best").iter_rows()
    ]
    yield survey.finding(
        "nearly constant targets",
        "warning",
        "tasks where one answer is right for most items",
        tasks=details["task"].to_list(),
        message=f"In {counted(found.height, 'task')} one answer is right for most items: {named(shares)}.",
        consequence="Competence: the share of that answer is what guessing brings, and only accuracy above it counts.",
        details=details.select("task", "skills", "items", "top", "majority", "chance", "best"),
    )


def empty_targets(survey: Survey) -> Iterator[Finding]:
    """Find right answers that are empty, or that have no tokens."""
    empty = (pl.col("target").str.strip_chars() == "") | (pl.col("answer_tokens") == 0)
    found = (
        survey.frame.lazy()
        .filter(empty)
        .group_by("system", "task", "piece")
        .agg(rows=pl.len(), infinite=pl.col("nats").is_infinite().sum())
        .sort("system", "task", "piece")
        .collect()
    )
    if found.is_empty():
        return
    tasks = distinct(found, "task")
    rows, items = int(found["rows"].sum()), found.select("task", "piece").n_unique()
    yield survey.finding(
        "empty right answers",
        "fault",
        "items whose right answer is empty",
        tasks=tasks,
        systems=distinct(found, "system"),
        rows=rows,
        message=f"{counted(items, 'item')} of {named(tasks)} ({rows:,} rows) {'asks' if items == 1 else 'ask'} for "
        "an answer without text or tokens.",
        consequence="Competence: whether such an answer counts as right depends on the scoring and on no skill; its "
        "loss is nothing or infinite.",
        details=found,
    )


def idle_skills(survey: Survey) -> Iterator[Finding]:
    """Find composites with a skill that changes nothing: a part, or one change of letters, answers them."""
    cases = pl.concat([_by_parts(survey), _by_surface(survey)])
    order = ("task", "needed", "share", "surface", "by")
    best = cases.sort(order, descending=[name == "share" for name in order])
    found = best.unique("task", keep="first", maintain_order=True)
    if found.is_empty():
        return
    words = [f"{task} ({by})" for task, by in found.select("task", "by").iter_rows()]
    composites = survey.tasks.filter(pl.col("skills").list.len() > 1).height
    yield survey.finding(
        "idle skills",
        "fault",
        "composites that fewer skills answer",
        tasks=found["task"].to_list(),
        message=f"In {found.height} of {counted(composites, 'composite')} at least one skill changes nothing for "
        f"{IDLE:.0%} of the items or more: {named(words)}.",
        consequence="Composition: such a task measures the skills that do something, so its accuracy speaks for or "
        "against no law of composition. Verdicts leave it out.",
        unfit="idle skill",
        details=found.select("task", "skills", "items", "share", "by"),
    )


def copied_inputs(survey: Survey) -> Iterator[Finding]:
    """Find tasks of one skill whose right answer is the input itself."""
    found = _surface_shares(survey).filter(
        (pl.col("skills").list.len() == 1)
        & (pl.col("rule") == _COPY)
        & (pl.col("share") >= IDLE)
        & (pl.col("items") >= FEWEST)
    )
    if found.is_empty():
        return
    yield survey.finding(
        "copied inputs",
        "fault",
        "tasks answered by copying the input",
        tasks=found["task"].to_list(),
        message=f"The right answer of {named(found['task'].to_list())} is the input itself.",
        consequence="Competence: a system that copies is always right, so these tasks show no skill. Verdicts leave "
        "them out.",
        unfit="answered by copying",
        details=found.select("task", "skills", "items", "share"),
    )


def twin_tasks(survey: Survey) -> Iterator[Finding]:
    """Find tasks with the same right answers to the same inputs as another task."""
    pairs = _shared_inputs(survey).filter(
        (pl.col("equal") == pl.col("shared"))
        & (pl.col("shared") >= IDLE * pl.max_horizontal("items", "items_other"))
    )
    if pairs.is_empty():
        return
    groups = _connected(pairs.select("task", "other").iter_rows())
    tasks = sorted(task for group in groups for task in group)
    words = [" = ".join(group) for group in groups]
    yield survey.finding(
        "twin tasks",
        "warning",
        "tasks that ask the same",
        tasks=tasks,
        message=f"{counted(len(groups), 'group')} of tasks {have(len(groups))} the same inputs and "
        f"right answers: {named(words, 3)}.",
        consequence="Composition: these are not separate evidence, whatever skills they are said to need; differences "
        "between them are noise of the prompts.",
        details=pl.DataFrame(
            {"group": words, "tasks": groups}, schema={"group": pl.String, "tasks": pl.List(pl.String)}
        ),
    )


def repeated_items(survey: Survey) -> Iterator[Finding]:
    """Find items that stand in a task several times under other names."""
    same = ("task", "input", "target")
    found = (
        survey.items.drop_nulls(["input"])
        .group_by(same)
        .agg(pieces=pl.len())
        .filter(pl.col("pieces") > 1)
        .sort(same)
    )
    if found.is_empty():
        return
    tasks = distinct(found, "task")
    yield survey.finding(
        "repeated items",
        "warning",
        "items that stand in a task more than once",
        tasks=tasks,
        rows=int(found["pieces"].sum()),
        message=f"{counted(found.height, 'pair')} of input and target {have(found.height)} several names in a task, "
        f"{int(found['pieces'].sum()):,} items in all, in {named(tasks)}.",
        consequence="Competence: intervals are too narrow where the same item counts several times.",
        details=found,
    )


_COPY = "the input itself"


def _surface_rules() -> Mapping[str, pl.Expr]:
    """Return changes of letters that a prompt's examples show at a glance."""
    text = pl.col("input").str.strip_chars()
    return {
        _COPY: text,
        "the input in lower case": text.str.to_lowercase(),
        "the input in upper case": text.str.to_uppercase(),
        "the input's first letter": text.str.head(1),
        "the input's last letter": text.str.tail(1),
        "the input reversed": text.str.reverse(),
    }


def _surface_shares(survey: Survey) -> pl.DataFrame:
    """Return for each task and rule the share of items that it answers."""
    rules = _surface_rules()
    answered = survey.items.drop_nulls(["input", "target"]).select(
        "task", *((pl.col("target").str.strip_chars() == rule).alias(name) for name, rule in rules.items())
    )
    shares = answered.group_by("task").agg(pl.col(*rules).mean())
    long = shares.unpivot(index="task", variable_name="rule", value_name="share")
    return survey.tasks.select("task", "skills", "items", "distinct").join(long, on="task")


_CASES = ("task", "skills", "items", "share", "needed", "surface", "by")


def _by_surface(survey: Survey) -> pl.DataFrame:
    """Return composites that one change of the input's letters answers; copying needs no skill at all."""
    found = _surface_shares(survey).filter(
        (pl.col("skills").list.len() > 1)
        & (pl.col("items") >= FEWEST)
        & (pl.col("share") >= IDLE)
        & (pl.col("distinct") > 1)
    )
    needed = (pl.col("rule") != _COPY).cast(pl.Int32)
    return found.with_columns(needed=needed, surface=pl.lit(value=True), by="rule").select(_CASES)


def _by_parts(survey: Survey) -> pl.DataFrame:
    """Return composites that have the right answers of a task of fewer of their skills, in the same order."""
    pairs = _shared_inputs(survey)
    turned = {"task": "other", "other": "task", "items": "items_other", "items_other": "items"}
    both = pl.concat([pairs, pairs.rename(turned).select(pairs.columns)])
    skills = survey.tasks.select("task", "skills", "distinct")
    alike = both.filter(
        (pl.col("equal") >= IDLE * pl.col("shared")) & (2 * pl.col("shared") >= pl.col("items"))
    )
    cases = alike.join(skills.filter(pl.col("distinct") > 1), on="task").join(
        skills.select(other="task", part="skills"), on="other"
    )
    kept = [_within(part, whole) for part, whole in cases.select("part", "skills").iter_rows()]
    return (
        cases.filter(pl.Series(kept, dtype=pl.Boolean))
        .with_columns(
            share=pl.col("equal") / pl.col("shared"),
            needed=pl.col("part").list.len().cast(pl.Int32),
            surface=pl.lit(value=False),
            by=pl.lit("as ") + pl.col("other"),
        )
        .select(_CASES)
    )


def _within(part: list[str], whole: list[str]) -> bool:
    """Whether `part` is `whole` with one skill or more left out."""
    rest = iter(whole)
    return len(part) < len(whole) and all(skill in rest for skill in part)


def _shared_inputs(survey: Survey) -> pl.DataFrame:
    """Return pairs of tasks with inputs in common: task < other, items of both, shared items, those with equal targets.

    Inputs that very many tasks share are left out: there is no use in comparing all with all.
    """
    asked = survey.items.drop_nulls(["input", "target"]).select("task", "piece", "input", "target")
    asked = asked.filter(pl.col("task").n_unique().over("input").is_between(2, _MOST_TASKS_OF_AN_INPUT))
    sizes = survey.tasks.select("task", "items")
    return (
        asked.lazy()
        .join(asked.lazy().select("input", other="task", answer="target"), on="input")
        .filter(pl.col("task") < pl.col("other"))
        .group_by("task", "piece", "other")
        .agg(equal=(pl.col("target") == pl.col("answer")).any())
        .group_by("task", "other")
        .agg(shared=pl.len(), equal=pl.col("equal").sum())
        .filter(pl.col("shared") >= FEWEST)
        .join(sizes.lazy(), on="task")
        .join(sizes.lazy().rename({"task": "other", "items": "items_other"}), on="other")
        .sort("task", "other")
        .collect()
    )


def _connected(pairs: Iterator[tuple[str, str]]) -> list[list[str]]:
    """Return the groups that pairs connect, sorted."""
    groups: dict[str, set[str]] = {}
    for one, other in pairs:
        joined = groups.get(one, {one}) | groups.get(other, {other})
        groups.update(dict.fromkeys(joined, joined))
    unique = {id(group): group for group in groups.values()}
    return sorted(sorted(group) for group in unique.values())
