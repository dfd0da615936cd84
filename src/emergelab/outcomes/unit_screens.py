"""Screens of scales and units: numbers that are possible and yet look as if they were something else."""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl

from emergelab.outcomes.findings import Finding, counted, distinct, named
from emergelab.outcomes.schema import CELL
from emergelab.outcomes.survey import Survey

_LARGEST_VOCABULARY = 300_000
_LARGE = 10**7
_FEW_TOKENS = 10**6
_PERCENT_OF_FRACTION = 0.01
_OPTIONS = range(2, 7)
_ROUNDING = 0.5


def odd_scales(survey: Survey) -> Iterator[Finding]:
    """Find parameters and training tokens that are probably something else."""
    ends = (
        survey.cells.group_by("system")
        .agg(
            params=pl.col("params").max(),
            sizes=pl.col("params").n_unique(),
            tokens=pl.col("train_tokens").max(),
            places=pl.col("train_tokens").n_unique(),
        )
        .sort("system")
    )
    swapped = ends.filter(
        (pl.col("tokens") < pl.col("params")) & (pl.col("sizes") > 1) & (pl.col("places") == 1)
    )
    counted_otherwise = ends.filter(
        (pl.col("params") >= _LARGE) & pl.col("tokens").is_between(1, _FEW_TOKENS)
    )
    short = ends.filter(
        (pl.col("tokens") < pl.col("params"))
        & (pl.col("tokens") > _FEW_TOKENS)
        & (pl.col("places") >= pl.col("sizes"))
    )
    cases = (
        (
            swapped,
            "parameters vary within a system and training tokens do not",
            "Are the two columns swapped?",
        ),
        (counted_otherwise, "training tokens are very few", "Are they steps, or billions of tokens?"),
        (short, "no checkpoint has as many training tokens as parameters", "Are the columns swapped?"),
    )
    for found, what, question in cases:
        if found.height:
            yield _odd_scale(survey, found, what, question)


def odd_losses(survey: Survey) -> Iterator[Finding]:
    """Find losses per token above those of a guess among all tokens, which bits would explain."""
    limit = math.log(_LARGEST_VOCABULARY)
    per_token = pl.col("nats") / pl.col("answer_tokens")
    answers = (
        survey.frame.lazy()
        .filter(pl.col("nats").is_finite() & (pl.col("answer_tokens") > 0))
        .group_by("system")
        .agg(loss=per_token.median())
        .collect()
    )
    own = survey.cells.group_by("system").agg(pl.col("loss").max())
    found = pl.concat([answers, own]).filter(pl.col("loss") > limit).sort("system", "loss")
    if found.is_empty():
        return
    words = [f"{system} ({loss:.1f})" for system, loss in found.iter_rows()]
    yield survey.finding(
        "odd losses",
        "warning",
        "losses above those of a uniform guess",
        systems=distinct(found, "system"),
        message=f"Losses per token are above {limit:.1f} nats, the cost of a uniform guess among "
        f"{_LARGEST_VOCABULARY:,} tokens: "
        f"{named(words)}.",
        consequence="Curves of nats and over loss: these may be bits (divide by 1.4427), perplexities (take the "
        "logarithm), or "
        "whole answers taken for tokens.",
        details=found,
    )


def odd_shares(survey: Survey) -> Iterator[Finding]:
    """Find shares that look like percent divided by 100 twice."""
    top = survey.frame.select(pl.col("score").max(), pl.col("cloze_loss").max())
    small = [
        name
        for name in top.columns
        if (value := top[name][0]) is not None and 0 < value <= _PERCENT_OF_FRACTION
    ]
    if small:
        yield survey.finding(
            "odd shares",
            "warning",
            "shares that never exceed .01",
            message=f"The largest {named(small)} {'is' if len(small) == 1 else 'are'} at most {_PERCENT_OF_FRACTION}.",
            consequence="Competence and emergence: these may be shares divided by 100 once too often; then all "
            "curves of them "
            "are flat.",
        )
    hundredth = pl.any_horizontal((pl.col("chance") * 100 * options - 1).abs() < 1e-9 for options in _OPTIONS)  # noqa: PLR2004  rounding
    found = survey.tallies.filter(hundredth).join(survey.tasks.select("task", "distinct"), on="task")
    found = found.filter(pl.col("distinct").is_between(2, 2 * max(_OPTIONS)))
    if found.is_empty():
        return
    tasks = distinct(found, "task")
    yield survey.finding(
        "odd shares",
        "warning",
        "chance of a hundredth of a guess",
        tasks=tasks,
        message=f"Chance is {found['chance'][0]:g} in {named(tasks)}, which {'has' if len(tasks) == 1 else 'have'} "
        "few different "
        "right answers.",
        consequence="Competence: this may be percent of a fraction (.25 divided by 100); then everything is above "
        "chance.",
        details=found.select(*CELL, "task", "chance", "distinct"),
    )


def odd_labels(survey: Survey) -> Iterator[Finding]:
    """Find systems whose checkpoints have labels that count otherwise than their training tokens do."""
    found = _turned(survey.cells)
    if found.is_empty():
        return
    cases = [
        f"{later} of {system} has fewer training tokens than {earlier}"
        for system, earlier, later in found.select("system", "earlier", "later").iter_rows()
    ]
    yield survey.finding(
        "odd labels",
        "warning",
        "labels that contradict training tokens",
        systems=distinct(found, "system"),
        message=f"The numbers in labels of checkpoints rise where training tokens fall: {named(cases, 3)}.",
        consequence="Curves over tokens: checkpoints stand in the wrong order, by one of the two. Thresholds, "
        "jumps and forecasts "
        "are of no use until it is known which.",
        details=found,
    )


def stated_tokens(survey: Survey) -> Iterator[Finding]:
    """Find checkpoints whose label states another number of tokens, like `tokens21B`, than the column has."""
    number = pl.col("checkpoint").str.extract_groups(
        r"(?i)(?:tokens?[-_ ]?(?<a>\d+)(?<b>[MBT])|(?<c>\d+)(?<d>[MBT])[-_ ]?tokens?)"
    )
    value = pl.coalesce(number.struct.field("a"), number.struct.field("c")).cast(pl.Float64)
    unit = pl.coalesce(number.struct.field("b"), number.struct.field("d")).str.to_uppercase()
    scale = unit.replace_strict({"M": 1e6, "B": 1e9, "T": 1e12}, return_dtype=pl.Float64)
    found = (
        survey.cells.with_columns(stated=value * scale, unit=scale)
        .filter(
            (pl.col("stated") - pl.col("train_tokens")).abs()
            > pl.max_horizontal("unit", 0.1 * pl.col("stated"))
        )
        .select(*CELL, "train_tokens", "stated", "answers")
    )
    if found.is_empty():
        return
    cases = [
        f"{checkpoint} ({tokens:.3g})"
        for checkpoint, tokens in found.select("checkpoint", "train_tokens").iter_rows()
    ]
    yield survey.finding(
        "odd labels",
        "warning",
        "labels that state other training tokens",
        systems=distinct(found, "system"),
        rows=int(found["answers"].sum()),
        message=f"{counted(found.height, 'label')} of checkpoints {'states' if found.height == 1 else 'state'} "
        "another number of training "
        f"tokens than the column: {named(cases)}.",
        consequence="Curves over tokens, compute and forecasts: points stand at the wrong place, by one of the two.",
        details=found,
    )


def shared_places(survey: Survey) -> Iterator[Finding]:
    """Find checkpoints of a system that stand at the same number of training tokens."""
    place = ("system", "train_tokens")
    found = (
        survey.cells.drop_nulls(["train_tokens"])
        .group_by(place, maintain_order=True)
        .agg("checkpoint", pl.col("answers").sum())
        .filter(pl.col("checkpoint").list.len() > 1)
    )
    if found.is_empty():
        return
    cases = [
        f"{named(labels)} of {system}" for system, labels in found.select("system", "checkpoint").iter_rows()
    ]
    yield survey.finding(
        "shared places",
        "warning",
        "checkpoints at the same training tokens",
        systems=distinct(found, "system"),
        rows=int(found["answers"].sum()),
        message=f"Several checkpoints have the same number of training tokens: {named(cases, 3)}.",
        consequence="Curves over tokens, jumps and emergence: their order is that of their labels. Runs that differ in "
        "anything else than training are systems of their own.",
        details=found.drop("answers"),
    )


def _odd_scale(survey: Survey, found: pl.DataFrame, what: str, question: str) -> Finding:
    cases = [
        f"{system} ({params:.3g} parameters, {tokens:.3g} tokens at most)"
        for system, params, tokens in found.select("system", "params", "tokens").iter_rows()
    ]
    return survey.finding(
        "odd scales",
        "warning",
        "parameters and training tokens",
        systems=distinct(found, "system"),
        message=f"{what[0].upper()}{what[1:]}: {named(cases)}. {question}",
        consequence="Curves over tokens and compute, and forecasts: their axis would be wrong, by many orders of "
        "magnitude for "
        "compute.",
        details=found,
    )


def _turned(cells: pl.DataFrame) -> pl.DataFrame:
    """Return neighbours by label whose tokens fall, for the number in labels that agrees best with tokens.

    Only labels that differ in their numbers alone are compared.
    """
    numbers = (
        cells.drop_nulls(["train_tokens"])
        .with_columns(
            form=pl.col("checkpoint").str.replace_all(r"\d+", "#"),
            number=pl.col("checkpoint").str.extract_all(r"\d{1,18}").list.eval(pl.element().cast(pl.Int64)),
        )
        .with_columns(position=pl.int_ranges(pl.col("number").list.len()))
        .explode("number", "position")
        .drop_nulls(["number"])
    )
    group = ("system", "form", "position")
    ordered = numbers.sort(*group, "number", "train_tokens")
    before = (pl.col(name).shift().over(group) for name in ("checkpoint", "number", "train_tokens"))
    steps = ordered.with_columns(
        value.alias(name) for name, value in zip(("earlier", "lower", "fewer"), before, strict=True)
    )
    falls = (pl.col("lower") < pl.col("number")) & (pl.col("fewer") > pl.col("train_tokens"))
    moves = pl.col("number").n_unique().over(group) > 1
    judged = steps.filter(moves).with_columns(falls=falls.fill_null(value=False))
    score = judged.group_by(group).agg(wrong=pl.col("falls").sum()).sort("wrong", "position")
    best = score.unique(["system", "form"], keep="first", maintain_order=True)
    return (
        judged.join(best, on=group, how="semi")
        .filter("falls")
        .select("system", "earlier", later="checkpoint", earlier_tokens="fewer", later_tokens="train_tokens")
        .sort("system", "earlier")
    )
