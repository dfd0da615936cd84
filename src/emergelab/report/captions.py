"""One paragraph for each figure: how to look at it, and what its data say."""

from __future__ import annotations

import polars as pl

from emergelab.report import against_words, facts, words
from emergelab.report.information import ACCURACY, GAINED, Information
from emergelab.report.labels import panel_words
from emergelab.report.over import DOCUMENTS
from emergelab.report.series import MODELS, Prepared

_LISTED = 3
WORLD = (
    "World knowledge goes some way too: a model that only remembers how often each object answers each argument, "
    "and strikes off what was shown, can beat chance without finding out which function is asked."
)


def shot_curves(information: Information, prepared: Prepared) -> str:
    """Say what learning from examples looks like, and where the largest model ends."""
    chance = (
        "The dashed line is chance, the best guess among the answers that the prompt leaves open; it rises where "
        "answers can be struck off. "
        if information.frame["guess"].is_not_null().any()
        else ""
    )
    return (
        f"{chance}A curve above it does better than that guess. {WORLD} A curve that "
        "starts high knew the answer from training. Without examples neither the task nor its form, silent or "
        f"printed, is known, so part of the first step is recognising them. {_ends(prepared)}"
        f"{against_words.references(information)}"
        f"{_interval_words(information)}"
    )


def emergence_over_tokens(information: Information, prepared: Prepared) -> str:
    """Say where the largest step lies, and whether nats move with accuracy."""
    general = (
        "A jump in accuracy can come from the measure alone, so the same cells are shown in nats, a measure "
        "without a threshold. Between the points nothing was measured. "
        f"{facts.decay_words(prepared)}"
    )
    step = facts.largest_step(facts.over_tokens(prepared))
    if step is None:
        return f"{general}{_interval_words(information)}"
    before, after = step
    tokens = [words.count(rows["train_tokens"][0]) for rows in step]
    also = "a clear fall too" if facts.nats_agree(before, after) else "no clear fall"
    return (
        f"{general}The largest step of {prepared.leading} is on {panel_words(after['panel'][0])}: "
        f"{facts.reading(before)} at {tokens[0]} tokens, {facts.reading(after)} at {tokens[1]}. "
        f"In nats it is {facts.reading(before, 'nats')} and {facts.reading(after, 'nats')}, {also}."
        f"{facts.decays_there(prepared, after)}"
    )


def emergence_over_size(information: Information, prepared: Prepared) -> str:
    """Say how many sizes there are and how many kinds of task each answers above both marks."""
    tokens = [words.count(count) for count in information.frame["train_tokens"].unique().sort()]
    differing = [
        *(["the training tokens"] if len(tokens) > 1 else []),
        *(["the corpus"] if prepared.corpora > 1 else []),
        *prepared.settings,
    ]
    differs = (
        f"so that {words.listing(differing)} may differ as well as the size"
        if differing
        else "so that only size differs"
    )
    lines = "" if prepared.only_size else "A line joins sizes that differ in nothing else. "
    sizes = words.plural(information.frame["params"].n_unique(), "size")
    return (
        f"Each size after its last training token ({words.listing(tokens)}), {differs}. {lines}"
        f"{facts.by_size(prepared)} {sizes} show where a change lies, not its shape."
    )


def over_setting(information: Information, prepared: Prepared) -> str:
    """Say what a line joins, what else may differ, and how the leading model's line goes."""
    frame = information.frame
    setting = str(frame["setting"][0])
    tokens = [words.count(count) for count in frame["train_tokens"].unique().drop_nulls().sort()]
    epochs = f"{_epochs(prepared)} " if setting == DOCUMENTS else ""
    return (
        f"Each model after its last training token ({words.listing(tokens)}), {facts.shots_words(frame)}. A line "
        f"joins models that differ in {setting} alone; between its points nothing was measured. {epochs}"
        f"{_along(frame.filter(MODELS))}{against_words.references(information)}{_interval_words(information)}"
    )


def not_drawn(variants: int) -> str:
    """Say how much of a figure is left out."""
    return (
        f" {words.plural(variants, 'more setting')} not drawn: the CSV file has them all." if variants else ""
    )


def printed_gain(information: Information, prepared: Prepared) -> str:
    """Say what the gain is made of."""
    frame = information.frame.filter(pl.col("measure") == GAINED)
    return (
        "Above the dashed line printing the steps helps, below it harms. A printed answer is right only when "
        f"all its steps are. {facts.decay_words(prepared)}{_largest_gain(frame, prepared)}Three things are in "
        "a difference in nats, and the figure does not part them: the description lengths of the two forms, "
        "the gain that an ideal predictor itself has from printing, and how much better the model has learned "
        "one form than the other. Description lengths bound nats, not accuracy."
    )


def grid(information: Information, prepared: Prepared) -> str:
    """Say what a cell is."""
    shots = information.frame["shots"].drop_nulls().unique().sort().to_list()
    seeds = int(str(information.frame["seeds"].max()))
    empty = information.frame["value"].null_count()
    parts = [
        f"Share of right answers at {words.listing([str(count) for count in shots])} examples.",
        f"Each number is the mean of up to {seeds} seeds." if seeds > 1 else "",
        f"{words.plural(empty, 'cell')} without a number: not run, or not scored." if empty else "",
        facts.decay_words(prepared, "The last column").strip(),
        facts.by_size(prepared),
    ]
    return " ".join(part for part in parts if part)


def training_loss(information: Information, prepared: Prepared) -> str:
    """Say where each size ends: the range over its runs' last rows."""
    runs = information.frame.group_by("series", "series_rank", "run").agg(
        last=pl.col("loss").sort_by("tokens").last()
    )
    last = pl.col("last")
    ends = runs.group_by("series", "series_rank").agg(low=last.min(), high=last.max(), runs=pl.len())
    listed = [
        f"{series} {words.nats(low)}" + (f" to {words.nats(high)}" if high > low else "")
        for series, low, high in ends.sort("series_rank").select("series", "low", "high").iter_rows()
    ]
    return (
        "Each point is a mean over the tokens of a stretch of training steps, on the batches trained on. "
        "Arguments drawn at random cannot be foretold, so the loss cannot reach zero. The learning rate decays "
        f"to zero at the end{facts.over_share(prepared)}, and the loss falls with it. "
        f"{_last_losses(listed, ends, prepared)}"
    )


def _last_losses(listed: list[str], ends: pl.DataFrame, prepared: Prepared) -> str:
    """List the last losses; of many, and of those with settings in their names, the lowest and the highest."""
    if len(listed) > facts.MOST_SIZES or prepared.settings:
        low, high = words.nats(float(str(ends["low"].min()))), words.nats(float(str(ends["high"].max())))
        return f"The last values lie between {low} and {high} nats per token."
    seeds = ", lowest to highest of the seeds" if ends["runs"].max() != 1 else ""
    return f"Last values, in nats per token{seeds}: {words.listing(listed)}."


def free_generation(information: Information, prepared: Prepared) -> str:
    """Say how far the two ways of scoring agree on whole answers."""
    del prepared
    return (
        "Teacher forcing scores every token after the right ones; free generation lets the model go on from "
        "its own tokens, taking the likeliest each time. A whole answer that is right in one way is then right "
        f"in the other, so whole answers are a check: {_agreement(information.frame)}. Single steps may differ: "
        "after a wrong step the next one starts from the wrong place."
    )


def fresh_and_repeated(information: Information, prepared: Prepared) -> str:
    """Say how large copying is where it is largest."""
    del prepared
    last = information.frame.filter(pl.col("shots") == pl.col("shots").max().over("panel"))
    value = pl.col("value")
    gaps = (
        last.group_by("panel", "panel_rank")
        .agg(
            fresh=value.filter(pl.col("argument") == "fresh").mean(),
            repeated=value.filter(pl.col("argument") == "repeated").mean(),
        )
        .drop_nulls()
        .sort(pl.col("repeated") - pl.col("fresh"), "panel_rank", descending=[True, False])
    )
    said = ""
    if not gaps.is_empty():
        widest = gaps.row(0, named=True)
        said = (
            f"The gap is widest on {panel_words(widest['panel'])}: {words.share(widest['repeated'])} where the "
            f"answer was already shown, {words.share(widest['fresh'])} where it was not. "
        )
    return (
        f"A query whose argument stands among the examples can be answered by copying. {said}"
        "Every other accuracy and every nat per answer on this page counts fresh arguments alone."
    )


def _epochs(prepared: Prepared) -> str:
    """Say how often the smallest and the largest corpus were read."""
    if not prepared.epochs:
        return ""
    ends = [
        (documents, prepared.epochs[documents]) for documents in (min(prepared.epochs), max(prepared.epochs))
    ]
    said = [
        f"{words.count(documents)} documents were read {words.figure(times)} times"
        for documents, times in ends
    ]
    return f"At the end, {words.listing(said)}."


def _along(frame: pl.DataFrame) -> str:
    """Say between which values accuracy, averaged over kinds of task and lines, is highest and lowest."""
    means = (
        frame.filter(pl.col("measure") == ACCURACY)
        .group_by("setting_value")
        .agg(pl.col("value").mean())
        .sort("value", "setting_value")
    )
    (low_at, low), (high_at, high) = means.row(0), means.row(-1)
    if low == high:
        return f"Averaged over all lines and kinds of task, accuracy is {words.share(low)} at each of them. "
    return (
        f"Averaged over all lines and kinds of task, accuracy is highest at {words.setting(high_at)} "
        f"({words.share(high)}) and lowest at {words.setting(low_at)} ({words.share(low)}). "
    )


def _ends(prepared: Prepared) -> str:
    rows = facts.final_rows(prepared, prepared.leading)
    ranked = rows.sort("accuracy", descending=True, nulls_last=True)["panel"].unique(maintain_order=True)
    listed: list[str] = []
    for panel in ranked.head(_LISTED):
        part = rows.filter(pl.col("panel") == panel)
        listed.append(f"{facts.reading(part)}, {facts.reading(part, 'nats')} nats, on {panel_words(panel)}")
    if not listed:
        return ""
    return f"The best of {prepared.leading} {facts.shots_words(rows)}: {'; '.join(listed)}. "


def _interval_words(information: Information) -> str:
    if information.frame["lines"].max() == 1:
        return "Bands are 95 % intervals."
    return "Below five seeds each seed is a line of its own, without a band; ranges run over seeds."


def _largest_gain(frame: pl.DataFrame, prepared: Prepared) -> str:
    """Name the largest gain of the largest model after its last training token."""
    last = frame.filter(pl.col("series") == prepared.leading)
    last = last.filter(pl.col("train_tokens") == pl.col("train_tokens").max())
    if last.is_empty():
        return ""
    panel = last.sort("value", descending=True)["panel"][0]
    part = last.filter(pl.col("panel") == panel)
    tokens = words.count(part["train_tokens"][0])
    return f"For {prepared.leading} at {tokens} tokens it is {facts.gain(part)} on {panel_words(panel)}. "


def _agreement(frame: pl.DataFrame) -> str:
    whole = frame.filter(pl.col("part") == "whole answer")
    keys = ["panel", "line"]
    forced, free = (
        whole.filter(pl.col("decoding") == mode).select(*keys, "value") for mode in ("teacher_forced", "free")
    )
    gap = forced.join(free, on=keys).select((pl.col("value") - pl.col("value_right")).abs().max()).item()
    if gap is None:
        return "here they cannot be compared"
    difference = words.share(gap)
    return "here they agree" if difference == "0.00" else f"here they differ by {difference} at most"
