"""One paragraph for each figure: how to look at it, and what its data say."""

from __future__ import annotations

import polars as pl

from emergelab.report import facts, words
from emergelab.report.information import Information
from emergelab.report.series import Prepared, panel_words

_LISTED = 3


def shot_curves(information: Information, prepared: Prepared) -> str:
    """Say what learning from examples looks like, and where the largest model ends."""
    del information
    return (
        "A curve that climbs with the number of examples, away from the dashed line, is in-context learning; one that stays "
        "on the line is none, and one that starts high knew the answer from training. Chance itself rises with the "
        "examples where answers can be struck off. " + _ends(prepared) + _interval_words(prepared)
    )


def emergence_over_tokens(information: Information, prepared: Prepared) -> str:
    """Say where the largest step lies, and whether nats move with accuracy."""
    del information
    step = facts.steepest_step(facts.over_tokens(prepared))
    general = "A jump in accuracy can come from the measure alone, so the same cells stand below in nats, which move smoothly. "
    if step is None:
        return general + "No two neighbouring token counts of the largest model differ clearly in accuracy."
    before, after = step
    return (
        general + f"The largest step of {prepared.largest} is on {panel_words(after['panel'][0])}, from "
        f"{facts.reading(before)} at {words.count(before['train_tokens'][0])} tokens to {facts.reading(after)} at "
        f"{words.count(after['train_tokens'][0])}; in nats from {facts.reading(before, 'nats')} to {facts.reading(after, 'nats')}. "
        "Points are what was read; between them nothing was measured."
    )


def emergence_over_size(information: Information, prepared: Prepared) -> str:
    """Say how many sizes there are and what the counts above chance are."""
    del information
    tokens = facts.final_rows(prepared)["train_tokens"].drop_nulls().unique().sort().to_list()
    at = words.listing([words.count(count) for count in tokens])
    text = f"Each size after its last training token ({at}), so that only size differs. " if len(tokens) == 1 else (
        f"Each size after its last training token; these differ ({at}), so size is not all that changes here. "
    )
    few = f"{words.plural(len(prepared.sizes), 'size')} cannot tell a threshold's shape. "
    return text + facts.by_size(prepared) + " " + few


def printed_gain(information: Information, prepared: Prepared) -> str:
    """Say what the gain is made of."""
    del prepared
    frame = information.frame.filter(pl.col("measure") == "accuracy gained")
    part = ""
    if frame["lines"].max() == 1:
        best = frame.sort("value", descending=True).row(0, named=True)
        part = (
            f"The largest gain, {words.signed(best['value'])} [{words.signed(best['lo'])}, {words.signed(best['hi'])}], is that of "
            f"{best['series']} at {words.count(best['train_tokens'])} tokens on {best['task']} ({best['split'].replace('_', ' ')}). "
        )
    return (
        "Above the dashed line printing the steps helps, below it it hurts. A printed answer is right only when all its "
        f"steps are. {part}The difference holds two things at once: what theory predicts from the description lengths "
        "of the two forms, and how much better the model has learned the one than the other; this figure does not part them."
    )


def grid(information: Information, prepared: Prepared) -> str:
    """Say what a cell is."""
    shots = information.frame["shots"].drop_nulls().unique().sort().to_list()
    at = words.listing([str(count) for count in shots])
    seeds = information.frame["seeds"].max()
    mean = f" Each number is the mean of up to {seeds} seeds." if seeds is not None and int(str(seeds)) > 1 else ""
    empty = information.frame["value"].null_count()
    missing = f" {words.plural(empty, 'cell')} without a number: not run, or not scored." if empty else ""
    return f"Share of right answers at {at} examples, one cell for each model and token count.{mean}{missing} {facts.by_size(prepared)}"


def training_loss(information: Information, prepared: Prepared) -> str:
    """Say where each size ends."""
    del prepared
    last = information.frame.sort("tokens").group_by("series", "series_rank", maintain_order=True).agg(
        low=pl.col("loss").filter(pl.col("tokens") == pl.col("tokens").max()).min(),
        high=pl.col("loss").filter(pl.col("tokens") == pl.col("tokens").max()).max(),
    )
    ends = [
        f"{series} {words.nats(low)}" + (f" to {words.nats(high)}" if high > low else "")
        for series, low, high in last.sort("series_rank").select("series", "low", "high").iter_rows()
    ]
    return (
        "Mean over every token of the batch, predictable and unpredictable ones alike: arguments drawn at random cannot be "
        f"foretold, so the loss cannot reach zero. Last values in nats per token: {words.listing(ends)}."
    )


def free_generation(information: Information, prepared: Prepared) -> str:
    """Say how far the two ways of scoring agree on whole answers."""
    del prepared
    whole = information.frame.filter(pl.col("part") == "whole answer")
    pairs = whole.pivot("decoding", index=["panel", "line"], values="value")
    gap = None
    if {"free", "teacher_forced"} <= set(pairs.columns):
        gap = (pairs["free"] - pairs["teacher_forced"]).abs().max()
    said = "" if gap is None else f" Here they differ by {words.share(float(str(gap)))} at most."
    return (
        "Teacher forcing scores every token after the right ones; free generation lets the model go on from its own tokens. "
        "A whole answer that is right in one is right in the other when the likeliest token is taken each time, so whole "
        f"answers are a check.{said} Single steps may differ: after a wrong step the model's next one starts from the wrong place."
    )


def fresh_and_repeated(information: Information, prepared: Prepared) -> str:
    """Say how large copying is where it is largest."""
    del prepared
    last = information.frame.filter(pl.col("shots") == pl.col("shots").max().over("panel"))
    means = last.group_by("panel", "panel_rank", "argument").agg(pl.col("value").mean())
    pairs = means.pivot("argument", index=["panel", "panel_rank"], values="value").sort("panel_rank")
    said = ""
    if {"fresh", "repeated"} <= set(pairs.columns):
        most = pairs.with_columns(gap=pl.col("repeated") - pl.col("fresh")).sort("gap", descending=True, nulls_last=True)
        row = most.row(0, named=True)
        said = (
            f"The gap is widest on {panel_words(row['panel'])}: {words.share(row['repeated'])} where the query was answered "
            f"before, {words.share(row['fresh'])} where it was not. "
        )
    return (
        f"A query whose argument stands among the examples can be answered by copying. {said}"
        "Every other figure and number on this page therefore counts fresh arguments only."
    )


def _ends(prepared: Prepared) -> str:
    rows = facts.final_rows(prepared, prepared.largest)
    ranked = rows.sort("accuracy", descending=True, nulls_last=True)["panel"].unique(maintain_order=True).to_list()
    listed = [
        f"{panel_words(panel)} {facts.reading(part)}, {facts.reading(part, 'nats')} nats"
        for panel in ranked[:_LISTED]
        for part in [rows.filter(pl.col("panel") == panel)]
    ]
    return f"{prepared.largest} ends, {facts.shots_words(rows)}, at: {'; '.join(listed)}. " if listed else ""


def _interval_words(prepared: Prepared) -> str:
    most = prepared.fresh["lines"].max()
    if most == 1:
        return "Bands are 95 % intervals."
    return "Below five seeds each seed is a line of its own, without a band."


