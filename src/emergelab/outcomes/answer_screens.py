"""Screens of single answers: repeated and contradictory ones, infinite and foreign losses, shots, tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl

from emergelab.outcomes.coherence import coherence
from emergelab.outcomes.findings import Finding, be, counted, distinct, have, named
from emergelab.outcomes.schema import CELL
from emergelab.outcomes.survey import Survey

_MEASURED = ("correct", "cloze_loss", "nats", "score", "prompt")
_LIKELY = math.log(2)
_OFTEN = 0.1
_MOST = 0.5
_FEWEST = 20


def infinite_losses(survey: Survey) -> Iterator[Finding]:
    """Find answers whose loss is infinite, and say where they stand."""
    found = (
        survey.frame.lazy()
        .filter(pl.col("nats").is_infinite())
        .group_by("system", "task")
        .agg(
            rows=pl.len(),
            items=pl.col("piece").n_unique(),
            checkpoints=pl.col("checkpoint").n_unique(),
            tokenless=(pl.col("answer_tokens") == 0).sum(),
        )
        .sort("system", "task")
        .collect()
    )
    if found.is_empty():
        return
    rows, tokenless = int(found["rows"].sum()), int(found["tokenless"].sum())
    tasks = distinct(found, "task")
    share = "All" if tokenless == rows else f"{tokenless:,}"
    empty = f" {share} of them are of answers without a token." if tokenless else ""
    yield survey.finding(
        "infinite losses",
        "warning",
        "infinite losses",
        tasks=tasks,
        systems=distinct(found, "system"),
        rows=rows,
        message=f"{rows:,} of the losses {be(rows)} infinite, all in {named(tasks)}.{empty}",
        consequence="Curves of nats and forecast: a mean over these items is infinite. Their probability is 0; leave "
        "them out of mean nats.",
        details=found,
    )


def foreign_losses(survey: Survey) -> Iterator[Finding]:
    """Find systems whose losses cannot be of the answers that they gave, see `coherence.coherence`."""
    known = coherence(survey.frame)
    found = known.filter(~pl.col("fits"))
    if found.is_empty():
        return
    systems = found["system"].to_list()
    cases = [
        f"{system} ({accuracy:.0%} right, mean probability {probability:.2g})"
        for system, accuracy, probability in found.select("system", "accuracy", "probability").iter_rows()
    ]
    unlikely, chosen = _about_right_answers(survey, systems)
    cause = "chosen among options" if chosen else "tokenised or prompted otherwise than when they were given"
    yield survey.finding(
        "foreign losses",
        "warning" if chosen else "fault",
        "losses that are not of the answers",
        systems=systems,
        message=f"Right answers have far too low a probability for their number: {named(cases)}. "
        f"{unlikely:.1%} of the right answers have a probability below 1/2; answers were probably {cause}.",
        consequence="Competence: losses cannot say which pieces fail, so wrong answers do. Emergence: curves of nats "
        "and of probability show their course only, not their level.",
        details=known,
    )


def unheard_losses(survey: Survey) -> Iterator[Finding]:
    """Find systems that give more than half of their probability to right answers that count as wrong."""
    wrong = survey.frame.lazy().filter(~pl.col("correct") & pl.col("nats").is_finite())
    open_answers = wrong.filter(pl.col("chance").fill_null(0) == 0)
    found = (
        open_answers.group_by("system")
        .agg(wrong=pl.len(), likely=(pl.col("nats") < _LIKELY).sum())
        .with_columns(share=pl.col("likely") / pl.col("wrong"))
        .filter((pl.col("share") >= _OFTEN) & (pl.col("likely") >= _FEWEST))
        .sort("system")
        .collect()
    )
    if found.is_empty():
        return
    cases = [
        f"{system} ({share:.0%} of wrong answers)"
        for system, share in found.select("system", "share").iter_rows()
    ]
    yield survey.finding(
        "likely answers called wrong",
        "warning",
        "answers called wrong that the system expects",
        systems=found["system"].to_list(),
        rows=int(found["likely"].sum()),
        message=f"The right answer has a probability above 1/2, and the system's own counts as wrong: {named(cases)}.",
        consequence="Competence: a decoder that takes the likeliest answer would have given it, so scoring is stricter "
        "than the loss (form, text behind the answer) or decoding draws at random. Accuracy is too low.",
        details=found,
    )


def repeated_rows(survey: Survey) -> Iterator[Finding]:
    """Find items answered repeatedly: always the same in every column, or some more often than others."""
    if not survey.repeated:
        return
    groups = (
        survey.frame.lazy()
        .group_by(*CELL, "task", "piece")
        .agg(rows=pl.len(), variants=pl.struct(_MEASURED).n_unique())
    )
    tasks = (
        groups.group_by("system", "task")
        .agg(
            repeated=(pl.col("rows") > 1).sum(),
            varied=(pl.col("variants") > 1).sum(),
            surplus=(pl.col("rows") - 1).sum(),
            fewest=pl.col("rows").min(),
            most=pl.col("rows").max(),
        )
        .sort("system", "task")
        .collect()
    )
    copies = (pl.col("varied").sum().over("system") == 0) & (pl.col("repeated") > 0)
    yield from _copies(survey, tasks.filter(copies))
    yield from _uneven(survey, tasks.filter((pl.col("fewest") < pl.col("most")) & ~copies))


def contradictory_targets(survey: Survey) -> Iterator[Finding]:
    """Find inputs with several right answers in the same task at the same checkpoint, asked with the same prompt."""
    question = ("task", "input")
    targets = survey.items.drop_nulls(["input", "target"]).group_by(question).agg(pl.col("target").n_unique())
    several = targets.filter(pl.col("target") > 1).select(question)
    found = (
        survey.frame.lazy()
        .join(several.lazy(), on=question, how="semi")
        .group_by(*CELL, *question, "prompt")
        .agg(rows=pl.len(), targets=pl.col("target").unique().sort())
        .filter(pl.col("targets").list.len() > 1)
        .sort(*CELL, *question)
        .collect()
    )
    if found.is_empty():
        return
    rows, tasks = int(found["rows"].sum()), distinct(found, "task")
    cases = found.select("input", pl.col("targets").list.join(" or ")).unique(maintain_order=True)
    words = [f"{asked!r} is {answers}" for asked, answers in cases.iter_rows()]
    yield survey.finding(
        "contradictory targets",
        "warning",
        "questions with several right answers",
        tasks=tasks,
        systems=distinct(found, "system"),
        rows=rows,
        message=f"{counted(found.height, 'prompt')} ({rows:,} rows) in {named(tasks)} {have(found.height)} "
        "different right "
        f"answers in different rows: {named(words, 2)}.",
        consequence="Competence: a system can be right in one of them only, so these tasks' best accuracy is below 1. "
        "Merge the rows to one that accepts all of its answers.",
        details=found.drop("prompt"),
    )


def shifting_items(survey: Survey) -> Iterator[Finding]:
    """Find items whose input or target is not the same everywhere."""
    found = survey.items.filter((pl.col("inputs") > 1) | (pl.col("targets") > 1))
    if found.is_empty():
        return
    tasks = distinct(found, "task")
    yield survey.finding(
        "shifting items",
        "fault",
        "items that are not the same everywhere",
        tasks=tasks,
        message=f"{counted(found.height, 'item')} of {named(tasks)} {have(found.height)} different inputs or right "
        "answers "
        "under one name.",
        consequence="All comparisons over checkpoints and systems: answers are paired by the names of items. Give "
        "different questions different names.",
        details=found.select("task", "piece", "inputs", "targets"),
    )


def uneven_shots(survey: Survey) -> Iterator[Finding]:
    """Find tasks that are asked with different numbers of examples."""
    counts = (
        survey.frame.lazy()
        .drop_nulls(["shots"])
        .group_by("task", "shots")
        .agg(rows=pl.len(), systems=pl.col("system").unique().sort())
        .sort("task", "shots")
        .collect()
    )
    usual = pl.col("rows").max().over("task")
    found = counts.filter(pl.len().over("task") > 1)
    if found.is_empty():
        return
    odd = found.filter(pl.col("rows") < usual)
    tasks, rows = distinct(found, "task"), int(odd["rows"].sum())
    shots = [str(number) for number in odd["shots"].unique().sort()]
    yield survey.finding(
        "uneven shots",
        "warning",
        "examples in the prompt",
        tasks=tasks,
        systems=odd["systems"].explode().unique().sort().to_list(),
        rows=rows,
        message=f"{counted(rows, 'row')} of {named(tasks)} {have(rows)} {named(shots)} examples in the prompt, not "
        "the number "
        "that the others of the task have.",
        consequence="Competence: fewer examples make a task harder. Curves over tokens stay sound where the same items "
        "have the same number at all checkpoints.",
        details=found.drop("systems"),
    )


def different_tokenizers(survey: Survey) -> Iterator[Finding]:
    """Find answers of which systems make different numbers of tokens."""
    answers = survey.asked.drop_nulls(["fewest"])
    yield from _moving_tokenizers(survey, answers.filter(pl.col("fewest") < pl.col("most")))
    items = answers.group_by("task", "piece").agg(
        systems=pl.len(), differ=pl.col("fewest").min() < pl.col("fewest").max()
    )
    shared = items.filter(pl.col("systems") > 1)
    found = shared.filter("differ")
    if found.is_empty():
        return
    tasks = distinct(found, "task")
    yield survey.finding(
        "different tokenizers",
        "note",
        "answers cut into different tokens",
        tasks=tasks,
        message=f"Systems cut {found.height / shared.height:.0%} of {counted(shared.height, 'shared answer')} into "
        "different "
        "numbers of tokens.",
        consequence="Curves of nats and forecast: only nats of whole answers compare between systems, nats per "
        "token do "
        "not, and neither do losses per token.",
        details=found.group_by("task").agg(items=pl.len()).sort("task"),
    )


def unknown_chance(survey: Survey) -> Iterator[Finding]:
    """Find tasks for which the accuracy of guessing is not given."""
    unknown = survey.tallies.filter(pl.col("chance").is_null() & pl.col("accuracy").is_not_null())
    tasks = distinct(unknown, "task")
    if not tasks:
        return
    share = (
        "any task"
        if len(tasks) == survey.tasks.height
        else f"{len(tasks):,} of {survey.tasks.height:,} tasks"
    )
    yield survey.finding(
        "unknown chance",
        "note",
        "chance",
        tasks=tasks,
        systems=distinct(unknown, "system"),
        rows=int(unknown["rows"].sum()),
        message=f"The accuracy of guessing is not given for {share}; the share of the most frequent right answer "
        "stands in.",
        consequence="Competence: where answers are chosen among options, accuracy near 1 / options is no skill, and "
        "nothing here can tell. Give a column chance.",
        details=survey.tasks.filter(pl.col("task").is_in(tasks)).select("task", "items", "majority", "guess"),
    )


def _copies(survey: Survey, found: pl.DataFrame) -> Iterator[Finding]:
    if found.is_empty():
        return
    rows, systems = int(found["surplus"].sum()), distinct(found, "system")
    yield survey.finding(
        "repeated rows",
        "warning",
        "rows that repeat others",
        tasks=distinct(found, "task"),
        systems=systems,
        rows=rows,
        message=f"{counted(rows, 'row')} of {named(systems)} {'repeats' if rows == 1 else 'repeat'} an answer to "
        "the same "
        "item in every column; none of the repetitions differs.",
        consequence="Competence: repetitions are the same results twice, or a decoder without chance, and add nothing. "
        "Intervals go by items and stay as they are; means weigh these items more.",
        details=found,
    )


def _uneven(survey: Survey, found: pl.DataFrame) -> Iterator[Finding]:
    if found.is_empty():
        return
    yield survey.finding(
        "uneven repetitions",
        "note",
        "items answered more often than others",
        tasks=distinct(found, "task"),
        systems=distinct(found, "system"),
        message=f"In {counted(found['task'].n_unique(), 'task')} items were answered {found['fewest'].min()} to "
        f"{found['most'].max()} times.",
        consequence="Competence: items that were answered more often weigh more in a mean over rows.",
        details=found,
    )


def _moving_tokenizers(survey: Survey, found: pl.DataFrame) -> Iterator[Finding]:
    if found.is_empty():
        return
    systems = distinct(found, "system")
    yield survey.finding(
        "different tokenizers",
        "warning",
        "answers whose tokens change within a system",
        tasks=distinct(found, "task"),
        systems=systems,
        message=f"{named(systems)} {'cuts' if len(systems) == 1 else 'cut'} {counted(found.height, 'answer')} into "
        "different "
        "numbers of tokens at different checkpoints.",
        consequence="Curves of nats over tokens: a change of tokenizer looks like a change of the system.",
        details=found.sort("system", "task", "piece"),
    )


def _about_right_answers(survey: Survey, systems: list[str]) -> tuple[float, bool]:
    """Return which share of right answers is less likely than not, and whether most have a chance to be guessed."""
    right = survey.frame.lazy().filter(
        pl.col("system").is_in(systems) & pl.col("correct") & pl.col("nats").is_finite()
    )
    unlikely, guessed = (pl.col("nats") > _LIKELY).mean(), (pl.col("chance").fill_null(0) > 0).mean()
    found = right.select(unlikely=unlikely, guessed=guessed).collect().row(0)
    return float(found[0]), bool(found[1] > _MOST)
