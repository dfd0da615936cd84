"""Sentences with numbers, computed from the tables: nothing is said that was not measured."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from emergelab.report import words
from emergelab.report.content import Overlap
from emergelab.report.information import GAINED, printed_gain
from emergelab.report.labels import panel_words
from emergelab.report.series import FRESH, TRAINED, Prepared, at_most_shots
from emergelab.report.standing import marks, standing

_MOST_LISTED = 4
MOST_SIZES = 12  # that a sentence lists


def reading(rows: pl.DataFrame, measure: str = "accuracy") -> str:
    """Return '0.93 [0.89, 0.96]' for one estimate, the range '0.91-0.95' over seeds, a dash for none."""
    known = rows.filter(pl.col(measure).is_not_null())
    say = words.share if measure == "accuracy" else words.nats
    if known.is_empty():
        return words.MISSING
    if known.height > 1:
        return words.span(*(say(known[measure].sort()[place]) for place in (0, -1)))
    value, lo, hi = known.select(measure, f"{measure}_lo", f"{measure}_hi").row(0)
    return say(value) if lo is None or hi is None else f"{say(value)} [{say(lo)}, {say(hi)}]"


def verdict(prepared: Prepared, overlap: Overlap, further: Sequence[str] = ()) -> list[str]:
    """Return the few sentences that a reader should take away, each with its numbers; `further` ones at the end."""
    if prepared.leading is None or final_rows(prepared, prepared.leading).is_empty():
        return ["No trained model was scored on a query with a fresh argument."]
    sentences = [
        _headline(prepared),
        _varied(prepared),
        _learned(prepared),
        _not_learned(prepared),
        _held_out(prepared, overlap),
        _printed(prepared),
        _largest_step(prepared),
        *further,
    ]
    return [sentence for sentence in sentences if sentence]


def final_rows(prepared: Prepared, series: str | None = None) -> pl.DataFrame:
    """Return the final fresh answers at the largest number of examples, of one series or of all."""
    rows = at_most_shots(prepared.final.filter(FRESH))
    return rows if series is None else rows.filter(pl.col("series") == series)


def chance_words(rows: pl.DataFrame) -> str:
    """Return 'chance 0.17', or nothing where it is not known."""
    chance = rows["chance"].mean()
    return f"chance {words.share(float(str(chance)))}" if chance is not None else ""


def subject(prepared: Prepared) -> str:
    """Return what sentences call the model that they are about."""
    if len(prepared.sizes) == 1:
        return "the model"
    if prepared.leading == prepared.largest and prepared.only_size:
        return "the largest model"
    return f"the best model here ({prepared.leading})"


def shots_words(rows: pl.DataFrame) -> str:
    """Return 'at 10 examples', or 'at the largest number of examples' where panels differ."""
    shots = rows["shots"].unique()
    if shots.len() != 1:
        return "at the largest number of examples"
    return f"at {words.plural(int(shots[0]), 'example')}"


def _panels(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    return [(str(key[0]), part) for key, part in rows.group_by("panel", maintain_order=True)]


def _headline(prepared: Prepared) -> str:
    first_named = prepared.largest if prepared.only_size else prepared.leading
    rows = final_rows(prepared, first_named)
    at, tokens = shots_words(rows), words.count(float(str(rows["train_tokens"].max())))
    counts = above_by_size(prepared)
    if counts is None:
        return f"{first_named}, after {tokens} training tokens, was scored {at}; chance is not known."
    largest_first = counts[::-1]
    (series, above, kinds), *smaller = sorted(largest_first, key=lambda found: found[0] != first_named)
    if prepared.settings or (not prepared.only_size and len(smaller) > _MOST_LISTED):
        return _headline_of_many((above, kinds), smaller, prepared, f"{at}, after {tokens} training tokens")
    others = [f"{name} on {number or 'none'}" for name, number, _ in smaller[:_MOST_LISTED]]
    left, noun = len(smaller) - len(others), "more size" if prepared.only_size else "more model"
    others += [f"{words.plural(left, noun)} on {max(c[1] for c in smaller[-left:])} at most"] if left else []
    first = (
        f"{series} ({tokens} training tokens) on {above or 'none'} of {words.plural(kinds, 'kind')} of task"
    )
    return f"Above {marks(prepared)}, {at}: {', '.join([first, *others])}."


def _headline_of_many(
    first: tuple[int, int], others: list[tuple[str, int, int]], prepared: Prepared, at: str
) -> str:
    """Say what the leading model is found to answer, and the range of all others."""
    above, kinds = first
    counts = [number for _, number, _ in others]
    low, high = min(counts), max(counts)
    span = str(low or "none") if low == high else f"{low} to {high}"
    rest = f"the other {words.plural(len(others), 'model')} on {span}"
    return (
        f"Above {marks(prepared)}, {at}: the best of {len(others) + 1} models on {above or 'none'} of "
        f"{words.plural(kinds, 'kind')} of task, {rest}."
    )


def _varied(prepared: Prepared) -> str:
    """Say what is varied besides the scale, and that the best of many was chosen after the fact."""
    if not prepared.settings:
        return ""
    models = len(prepared.sizes)
    return (
        f"Besides the scale the study varies {settings_words(prepared)}. Of {models} models the best here, by the "
        f"mean accuracy over all kinds of task, is {prepared.leading}; the best of many looks better than it is."
    )


def settings_words(prepared: Prepared) -> str:
    """Return 'pair.silent (0.1, 0.5, 0.9) and batch (32, 64)'."""
    listed = [
        f"{name} ({', '.join(words.setting(value) for value in values)})"
        for name, values in prepared.settings.items()
    ]
    return words.listing(listed)


def _learned(prepared: Prepared) -> str:
    panels = _panels(final_rows(prepared, prepared.leading))
    found = _leading_standing(prepared)
    known = any(state is not None for state in found.values())
    shown = [(name, part) for name, part in panels if found[name]] if known else panels
    if not shown:
        return f"Nothing that {subject(prepared)} answers here is found above {marks(prepared)}."
    listed = [
        f"{_without_examples(prepared, name)}to {_reached(name, part)}" for name, part in shown[:_MOST_LISTED]
    ]
    to = shots_words(final_rows(prepared, prepared.leading)).removeprefix("at ")
    said = _with_chance(listed, [part for _, part in shown[:_MOST_LISTED]])
    return f"From no example to {to}, {subject(prepared)} goes {said}.{_more(shown)}"


def _not_learned(prepared: Prepared) -> str:
    panels = _panels(final_rows(prepared, prepared.leading))
    found = _leading_standing(prepared)
    below = [(name, part) for name, part in panels if found[name] is False]
    if not below:
        return ""
    listed = [_reached(name, part) for name, part in below[:_MOST_LISTED]]
    said = _with_chance(listed, [part for _, part in below[:_MOST_LISTED]])
    return f"Not found above {marks(prepared)}: {said}.{_more(below)}"


def _leading_standing(prepared: Prepared) -> dict[str, bool | None]:
    """Return by panel whether the leading model is found above both marks."""
    return {
        panel: state for (series, panel), state in standing(prepared).items() if series == prepared.leading
    }


def _reached(name: str, part: pl.DataFrame) -> str:
    return f"{reading(part)} on {panel_words(name)}"


def _more(panels: list[tuple[str, pl.DataFrame]]) -> str:
    left = len(panels) - _MOST_LISTED
    return f" The summary table lists {left} more." if left > 0 else ""


def _with_chance(listed: list[str], parts: list[pl.DataFrame]) -> str:
    """Name the guess once where all parts share it, else beside each."""
    chances = [chance_words(part) for part in parts]
    if len(set(chances)) == 1:
        return words.listing(listed) + (f"; {chances[0]}" if chances[0] else "")
    return words.listing([f"{text} ({chance})" for text, chance in zip(listed, chances, strict=True)])


def _without_examples(prepared: Prepared, name: str) -> str:
    here = (pl.col("series") == prepared.leading) & (pl.col("panel") == name) & (pl.col("shots") == 0)
    start = prepared.final.filter(FRESH & here)["accuracy"].mean()
    return "" if start is None else f"from {words.share(float(str(start)))} "


def _held_out(prepared: Prepared, overlap: Overlap) -> str:
    rows = final_rows(prepared, prepared.leading)
    best = (
        rows.filter(pl.col("split") == "held_out").sort("accuracy", descending=True, nulls_last=True).head(1)
    )
    if best.is_empty():
        return ""
    alike = (pl.col("task") == best["task"][0]) & (pl.col("form") == best["form"][0])
    seen = rows.filter(alike & (pl.col("split") == "seen"))
    beside = f", beside {reading(seen)} on those seen" if seen.height else ""
    name = best["panel"][0]
    part = rows.filter(pl.col("panel") == name)
    return f"Held out of training, its best is {_reached(name, part)}{beside}.{_overlap(overlap)}"


def _overlap(overlap: Overlap) -> str:
    found, held = overlap.get("overlap"), overlap.get("held_out_tables")
    if found is None:
        return ""
    if found:
        return f" But {found} held-out function tables do occur in training: this is no clean test."
    corpora = overlap.get("corpora", 1)
    together = f", of {corpora} corpora together," if corpora > 1 else ""
    return f" None of the {held} held-out function tables{together} occurs in training." if held else ""


def _printed(prepared: Prepared) -> str:
    frame = printed_gain(prepared).frame.filter(
        (pl.col("series") == prepared.leading) & (pl.col("measure") == GAINED)
    )
    last = frame.filter(pl.col("train_tokens") == pl.col("train_tokens").max())
    listed = [f"{gain(part)} on {panel_words(name)}" for name, part in _panels(last)]
    if not listed:
        return ""
    return f"Printing the steps changes its share of right answers by {words.listing(listed[:_MOST_LISTED])}."


def gain(rows: pl.DataFrame) -> str:
    """Return '+0.84 [+0.69, +0.90]' for one difference, the range over seeds."""
    if rows.height > 1:
        low, high = (words.signed(rows["value"].sort()[place]) for place in (0, -1))
        return low if low == high else f"{low} to {high}"
    value, lo, hi = rows.select("value", "lo", "hi").row(0)
    return (
        words.signed(value)
        if lo is None
        else f"{words.signed(value)} [{words.signed(lo)}, {words.signed(hi)}]"
    )


def _largest_step(prepared: Prepared) -> str:
    step = largest_step(over_tokens(prepared))
    if step is None:
        return ""
    before, after = step
    tokens = [words.count(rows["train_tokens"][0]) for rows in step]
    return (
        f"The largest step of {subject(prepared)} lies between {tokens[0]} and {tokens[1]} training tokens, "
        f"on {panel_words(after['panel'][0])}: accuracy from {reading(before)} to {reading(after)}, nats from "
        f"{reading(before, 'nats')} to {reading(after, 'nats')}.{decays_there(prepared, after)}"
    )


def decays_there(prepared: Prepared, after: pl.DataFrame) -> str:
    """Return a warning where a step ends at the last token count: there the learning rate changes too."""
    last = prepared.answers.filter(TRAINED)["train_tokens"].max()
    if after["train_tokens"][0] != last:
        return ""
    return " In this stretch the learning rate decays to zero, which can raise accuracy by itself."


def decay_words(prepared: Prepared, points: str = "The last point of every curve") -> str:
    """Say that the last reading follows the decay of the learning rate and the earlier ones do not.

    Nothing is said where every model was read once.
    """
    if prepared.answers.filter(TRAINED)["train_tokens"].n_unique() < 2:  # noqa: PLR2004  one has no earlier
        return ""
    return (
        f"{points} is read after the learning rate has decayed to zero{over_share(prepared)}; earlier ones are "
        "read at the full rate. So the last step mixes more training with the decay. "
    )


def over_share(prepared: Prepared) -> str:
    """Return ', over the last 20 % of training', or nothing where that is not known."""
    share = prepared.decay_share
    return "" if share is None else f", over the last {100 * share:.3g} % of training"


def over_tokens(prepared: Prepared) -> pl.DataFrame:
    """Return the largest model's fresh answers at the largest number of examples, at every token count."""
    return at_most_shots(prepared.fresh.filter(TRAINED & (pl.col("series") == prepared.leading)))


def largest_step(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    """Return the neighbouring cells of one panel between which accuracy rises most, if intervals part."""
    single = rows.filter((pl.col("lines") == 1) & pl.col("accuracy").is_not_null()).sort(
        "panel_rank", "train_tokens"
    )
    rises = single.with_columns(
        rise=pl.col("accuracy").diff().over("panel"), before=pl.col("accuracy_hi").shift().over("panel")
    ).filter(pl.col("accuracy_lo") > pl.col("before"))
    if rises.is_empty():
        return None
    after = rises.sort("rise", descending=True).head(1)
    earlier = single.filter(
        (pl.col("panel") == after["panel"][0]) & (pl.col("train_tokens") < after["train_tokens"][0])
    )
    return earlier.tail(1), after


def nats_agree(before: pl.DataFrame, after: pl.DataFrame) -> bool:
    """Tell whether nats fall clearly, interval below interval, over the same step."""
    high, low = after["nats_hi"][0], before["nats_lo"][0]
    return high is not None and low is not None and high < low


def above_by_size(prepared: Prepared) -> list[tuple[str, int, int]] | None:
    """Return (series, kinds of task found above both marks, kinds), small to large; None: not known."""
    counts: list[tuple[str, int, int]] = []
    found = standing(prepared)
    for series in prepared.sizes:
        states = [state for (name, _), state in found.items() if name == series]
        if None in states:
            return None
        counts.append((series, sum(map(bool, states)), len(states)))
    return counts


def by_size(prepared: Prepared) -> str:
    """Return how many kinds of task each size answers above both marks, or nothing: not known, or too many."""
    counts = above_by_size(prepared) or []
    if len(counts) > MOST_SIZES or prepared.settings:
        return ""
    listed = [f"{series} {above} of {kinds}" for series, above, kinds in counts]
    each = "size" if prepared.only_size else "model"
    return (
        f"Kinds of task above {marks(prepared)} after the last token of each {each}: {words.listing(listed)}."
        if listed
        else ""
    )
