"""Screens of prompts: items that stand among their own examples, and prompts that hold the answer."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from emergelab.outcomes.findings import Finding, counted, distinct, named
from emergelab.outcomes.survey import Survey

_SLICE = 50_000
_MOST = 0.5
_MOSTLY = 0.9
_NO_LETTER = r"[^\p{L}\p{N}]+"


def leaking_prompts(survey: Survey) -> Iterator[Finding]:
    """Find prompts that end with their answer, or whose examples hold the item that they ask for.

    Words are compared as they are written and in lower case without punctuation.
    """
    asked = _asked(survey)
    if asked.is_empty():
        return
    found = pl.concat([_marked(part) for part in asked.iter_slices(_SLICE)])
    found = found.with_columns(
        # Where nearly all prompts hold their input, it is what they ask; one more is an example.
        holds=((pl.col("inputs") > 0).mean().over("task") >= _MOSTLY).cast(pl.Int64)
    )
    yield from _ending(survey, found)
    yield from _repeated(survey, found)


def _asked(survey: Survey) -> pl.DataFrame:
    prompts = survey.frame.lazy().drop_nulls(["prompt", "input", "target"])
    return (
        prompts.select("task", "piece", "input", "target", "prompt").unique().sort("task", "piece").collect()
    )


def _marked(part: pl.DataFrame) -> pl.DataFrame:
    """Count how often input and target stand in a prompt: exact, and in lower case without punctuation."""
    counts = {
        "inputs": _count("input", "prompt", lower=True),
        "inputs_exact": _count("input", "prompt", lower=False),
        "targets": _count("target", "prompt", lower=True) - _count("target", "input", lower=True),
    }
    ends = pl.col("prompt").str.strip_chars().str.ends_with(pl.col("target").str.strip_chars())
    asks = pl.col("prompt").str.strip_chars().str.ends_with(pl.col("input").str.strip_chars())
    return part.select("task", "piece", **counts, ends=ends & ~asks & (pl.col("target") != ""))


def _words(name: str, *, lower: bool) -> pl.Expr:
    text = pl.col(name).str.to_lowercase() if lower else pl.col(name)
    # Two spaces between words: matches that follow each other share none.
    return pl.lit(" ") + text.str.replace_all(_NO_LETTER, "  ").str.strip_chars() + pl.lit(" ")


def _count(name: str, within: str, *, lower: bool) -> pl.Expr:
    sought, text = _words(name, lower=lower), _words(within, lower=lower)
    found = text.str.count_matches(sought, literal=True).cast(pl.Int64)
    return pl.when(sought.str.strip_chars() == "").then(0).otherwise(found)


def _ending(survey: Survey, found: pl.DataFrame) -> Iterator[Finding]:
    share = found.group_by("task").agg(pl.col("ends").mean(), prompts=pl.len())
    tasks = share.filter(pl.col("ends") >= _MOST).sort("task")
    if tasks.is_empty():
        return
    names = distinct(tasks, "task")
    yield survey.finding(
        "answers in prompts",
        "fault",
        "prompts that end with their answer",
        tasks=names,
        message=f"In {counted(len(names), 'task')} prompts end with the right answer: {named(names)}.",
        consequence="Competence: if this is what the system read, it copied the answer; if the column holds "
        "prompt and answer, "
        "nothing is wrong but these screens.",
        details=tasks,
    )


def _repeated(survey: Survey, found: pl.DataFrame) -> Iterator[Finding]:
    again = found.with_columns(
        example=pl.col("inputs") > pl.col("holds"), exact=pl.col("inputs_exact") > pl.col("holds")
    ).filter("example")
    if again.is_empty():
        return
    answered = int((again["targets"] > 0).sum())
    tasks = again.group_by("task").agg(
        prompts=pl.len(), exact=pl.col("exact").sum(), with_answer=(pl.col("targets") > 0).sum()
    )
    touched = survey.frame.lazy().join(
        again.lazy().select("task", "piece").unique(), on=("task", "piece"), how="semi"
    )
    names = distinct(tasks, "task")
    yield survey.finding(
        "repeated in prompts",
        "fault" if answered else "warning",
        "items that stand among their own examples",
        tasks=names,
        rows=int(touched.select(pl.len()).collect().item()),
        message=f"{again.height:,} of {counted(found.height, 'prompt')} hold the item more than once "
        f"({int(again['exact'].sum()):,} letter "
        f"by letter), {answered:,} of them with its answer, in {named(names)}.",
        consequence="Competence: what is asked can be copied from the examples, so accuracy there shows no skill. Draw "
        "examples without the item, or leave these rows out.",
        details=tasks.sort("task"),
    )
