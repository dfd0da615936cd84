"""Sentences with numbers, computed from the tables: nothing is said that was not measured."""

from __future__ import annotations

import polars as pl

from emergelab.report import words

from emergelab.report.information import at_most_shots, printed_gain
from emergelab.report.series import FRESH, TRAINED, Prepared, panel_words

_MOST_LISTED = 4


def reading(rows: pl.DataFrame, measure: str = "accuracy") -> str:
    """Return '0.93 [0.89, 0.96]' for one estimate, '0.91 to 0.95 over 3 seeds' for some, a dash for none."""
    known = rows.filter(pl.col(measure).is_not_null())
    say = words.share if measure == "accuracy" else words.nats
    if known.is_empty():
        return "–"
    if known.height > 1:
        low, high = say(known[measure].min()), say(known[measure].max())  # pyright: ignore[reportArgumentType]
        return f"{low} to {high} over {known.height} seeds"
    value, lo, hi = known.select(measure, f"{measure}_lo", f"{measure}_hi").row(0)
    return say(value) if lo is None or hi is None else f"{say(value)} [{say(lo)}, {say(hi)}]"


def above_chance(rows: pl.DataFrame) -> bool | None:
    """Tell whether every line's interval lies above chance; None where that is not known."""
    known = rows.select("accuracy_lo", "chance").drop_nulls()
    if known.is_empty() or known.height < rows.height:
        return None
    return bool((known["accuracy_lo"] > known["chance"]).all())


def verdict(prepared: Prepared) -> list[str]:
    """Return the few sentences that a reader should take away, each with its numbers."""
    if prepared.largest is None:
        return ["No trained model was scored."]
    sentences = [
        _learned(prepared),
        _not_learned(prepared),
        _held_out(prepared),
        _printed(prepared),
        _steepest(prepared),
        by_size(prepared),
    ]
    return [sentence for sentence in sentences if sentence]


def final_rows(prepared: Prepared, series: str | None = None) -> pl.DataFrame:
    """Return the final answers to fresh queries at the largest number of examples, of one series or of all."""
    rows = at_most_shots(prepared.final.filter(FRESH))
    return rows if series is None else rows.filter(pl.col("series") == series)


def chance_words(rows: pl.DataFrame) -> str:
    """Return 'chance 0.17', or nothing where chance is not known."""
    chance = rows["chance"].mean()
    return f"chance {words.share(float(str(chance)))}" if chance is not None else ""


def largest_cell(prepared: Prepared) -> str:
    """Return '4 layers after 6M training tokens'."""
    rows = final_rows(prepared, prepared.largest)
    tokens = rows["train_tokens"].max()
    return f"{prepared.largest} after {words.count(float(str(tokens)))} training tokens"


def shots_words(rows: pl.DataFrame) -> str:
    """Return 'at 10 examples', or 'at the largest number of examples' where panels differ."""
    shots = rows["shots"].unique()
    if shots.len() != 1:
        return "at the largest number of examples"
    return f"at {words.plural(int(shots[0]), 'example')}"


def _panels(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    return [(str(key[0]), part) for key, part in rows.group_by("panel", maintain_order=True)]


def _learned(prepared: Prepared) -> str:
    rows = final_rows(prepared, prepared.largest)
    panels = _panels(rows)
    above = [(name, part) for name, part in panels if above_chance(part)]
    at = shots_words(rows)
    if all(above_chance(part) is None for _, part in panels):
        listed = [f"{panel_words(name)} {reading(part)}" for name, part in panels[:_MOST_LISTED]]
        return f"{_cell_subject(prepared)} reaches, {at}: {words.listing(listed)}. Chance is not known."
    if not above:
        return f"{_cell_subject(prepared)} is not clearly above chance {at} in any of the {len(panels)} kinds of task scored."
    listed = [_learned_part(prepared, name, part) for name, part in above[:_MOST_LISTED]]
    more = f" Also {len(above) - _MOST_LISTED} more." if len(above) > _MOST_LISTED else ""
    return (
        f"{_cell_subject(prepared)} answers clearly above chance {at} in {len(above)} of {len(panels)} kinds of task: "
        f"{words.listing(listed)}.{more}"
    )


def _cell_subject(prepared: Prepared) -> str:
    rows = final_rows(prepared, prepared.largest)
    tokens = words.count(float(str(rows["train_tokens"].max())))
    name = "The model" if len(prepared.sizes) == 1 else "The largest model"
    return f"{name} ({prepared.largest}, {tokens} training tokens)"


def _learned_part(prepared: Prepared, name: str, part: pl.DataFrame) -> str:
    start = prepared.final.filter(
        FRESH & (pl.col("series") == prepared.largest) & (pl.col("panel") == name) & (pl.col("shots") == 0)
    )
    without = f", {words.share(float(str(start['accuracy'].mean())))} with no example" if start.height else ""
    return f"{panel_words(name)} {reading(part)} ({chance_words(part)}{without})"


def _not_learned(prepared: Prepared) -> str:
    panels = _panels(final_rows(prepared, prepared.largest))
    below = [(name, part) for name, part in panels if above_chance(part) is False]
    if not below or len(below) == len(panels):
        return ""
    listed = [f"{panel_words(name)} {reading(part)} ({chance_words(part)})" for name, part in below[:_MOST_LISTED]]
    return f"It is not clearly above chance in {words.listing(listed)}."


def _held_out(prepared: Prepared) -> str:
    rows = final_rows(prepared, prepared.largest).filter(pl.col("split") == "held_out")
    if rows.is_empty():
        return ""
    best = str(rows.sort("accuracy", descending=True, nulls_last=True)["panel"][0])
    part = rows.filter(pl.col("panel") == best)
    twin = final_rows(prepared, prepared.largest).filter(
        (pl.col("split") == "seen") & (pl.col("task") == part["task"][0]) & (pl.col("form") == part["form"][0])
    )
    beside = f", beside {reading(twin)} on those seen in training" if twin.height else ""
    return f"Of what was held out of training it does best at {panel_words(best)}: {reading(part)}{beside}."


def _printed(prepared: Prepared) -> str:
    frame = printed_gain(prepared).frame
    if frame.is_empty():
        return ""
    last = frame.filter((pl.col("series") == prepared.largest) & (pl.col("measure") == "accuracy gained"))
    last = last.filter(pl.col("train_tokens") == pl.col("train_tokens").max())
    listed = [
        f"{words.signed(gain)} [{words.signed(lo)}, {words.signed(hi)}] on {task} ({str(split).replace('_', ' ')})"
        for task, split, gain, lo, hi in last.select("task", "split", "value", "lo", "hi").iter_rows()
        if lo is not None
    ]
    if not listed or last["lines"].max() != 1:
        return ""
    return f"Printing the steps changes its share of right answers by {words.listing(listed[:_MOST_LISTED])}."


def _steepest(prepared: Prepared) -> str:
    step = steepest_step(over_tokens(prepared))
    if step is None:
        return ""
    before, after = step
    subject = f"{panel_words(after['panel'][0])} makes its largest step of the grid"
    return (
        f"{subject} between {words.count(before['train_tokens'][0])} and {words.count(after['train_tokens'][0])} tokens: "
        f"accuracy from {reading(before)} to {reading(after)}, and nats from {reading(before, 'nats')} to {reading(after, 'nats')}."
    )


def over_tokens(prepared: Prepared) -> pl.DataFrame:
    """Return the largest model's fresh answers at the largest number of examples, at every token count."""
    return at_most_shots(prepared.fresh.filter(TRAINED & (pl.col("series") == prepared.largest)))


def steepest_step(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    """Return the two neighbouring token counts of one panel between which accuracy rises most, if intervals part."""
    single = rows.filter((pl.col("lines") == 1) & pl.col("accuracy").is_not_null()).sort("panel_rank", "train_tokens")
    rises = single.with_columns(
        rise=pl.col("accuracy").diff().over("panel"), before=pl.col("accuracy_hi").shift().over("panel")
    ).filter(pl.col("accuracy_lo") > pl.col("before"))
    if rises.is_empty():
        return None
    after = rises.sort("rise", descending=True).head(1)
    earlier = single.filter((pl.col("panel") == after["panel"][0]) & (pl.col("train_tokens") < after["train_tokens"][0]))
    return earlier.tail(1), after


def by_size(prepared: Prepared) -> str:
    """Return how many kinds of task each size answers above chance, or nothing where that is not known."""
    if len(prepared.sizes) < 2:  # noqa: PLR2004  one size is no comparison
        return ""
    counts: list[str] = []
    for series in prepared.sizes:
        states = [above_chance(part) for _, part in _panels(final_rows(prepared, series))]
        if None in states:
            return ""
        counts.append(f"{series} {sum(map(bool, states))} of {len(states)}")
    return f"Kinds of task clearly above chance after each size's last token: {words.listing(counts)}."
