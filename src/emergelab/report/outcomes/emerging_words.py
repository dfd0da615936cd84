"""What the page says of courses over training: sentences with numbers, and how they are to be read."""

from __future__ import annotations

import math
from collections import Counter

import polars as pl

from emergelab.analysis.skills.ahead import FACTORS, LAST
from emergelab.analysis.skills.along_training import AlongTraining
from emergelab.analysis.skills.emerging import AT_ONCE, NOT_REACHED, SILENT, UNKNOWN, WITHIN
from emergelab.analysis.skills.shifts import LATEST
from emergelab.report import words

EMERGED = "Did skills emerge, or does the metric jump?"
ORDER = "Do composites emerge after their parts, and how much later?"
AHEAD = "What will ten times the training bring?"

_METRICS = {
    "accuracy": "accuracy (share)",
    "nats": "nats per answer",
    "score": "score (0 to 1)",
    "probability": "probability",
}
_READ = (
    "A curve is the mean of one task over the checkpoints of one system, on the same items at all of them. Its level "
    "is half way from what takes no skill (chance, 0 where it is not known; or always giving the most frequent target, "
    "where that is right more often) to certainty. There is one run at each checkpoint: intervals hold for these runs, "
    "over items."
)
_WIDE = 0.5  # of an interval of accuracy, which then says little
_TIMES = "\N{MULTIPLICATION SIGN}"
_WHERE = {
    AT_ONCE: "by the second trained checkpoint",
    WITHIN: "between later checkpoints",
    NOT_REACHED: "not within the training measured",
    UNKNOWN: "at a point that the intervals leave open",
}


def metric_words(metric: str) -> str:
    """Return how a metric is called, with its unit."""
    return _METRICS[metric]


def findings(found: AlongTraining) -> dict[str, list[str]]:
    """Return what follows, as sentences with numbers, by the question that they answer."""
    return {
        EMERGED: [said for said in (_crossed(found), _jumps(found)) if said],
        ORDER: [said for said in (_order(found), _shift(found)) if said],
        AHEAD: [
            said for said in (_ahead(found), "More parameters are another question: " + _sizes(found)) if said
        ],
    }


def explained(found: AlongTraining) -> str:
    """Return the text of the section, paragraphs apart by an empty line."""
    paragraphs = [
        _READ,
        _left_out(found),
        _silent(found),
        *found.emerging.notes,
        *found.across.notes,
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _left_out(found: AlongTraining) -> str:
    unfit = found.panels.unfit
    if not unfit:
        return ""
    reasons = Counter(unfit.values())
    listed = words.listing([f"{count} for {reason}" for reason, count in reasons.most_common()])
    which = "task that shows no skill is" if len(unfit) == 1 else "tasks that show no skill are"
    return f"{len(unfit)} {which} left out: {listed}."


def _silent(found: AlongTraining) -> str:
    odd = [system.name for system in found.panels.systems if not system.losses_fit]
    if not odd:
        return ""
    return (
        f"The losses of {words.listing(odd)} do not measure the answers, so that their curves in nats are relative: "
        "they have levels of their own, half way between plateaus, and cannot show that a jump in accuracy is made by "
        "the metric."
    )


def _verdicts(found: AlongTraining) -> pl.DataFrame:
    """Return the courses of tasks along tokens, or along loss where tokens are not known."""
    along = [found.emerging.verdicts("task", axis) for axis in ("tokens", "loss")]
    return next((rows for rows in along if rows.height), along[0])


def _crossed(found: AlongTraining) -> str:
    rows = _verdicts(found)
    if rows.is_empty():
        return "No task has trained checkpoints enough for a curve."
    counts = Counter(rows["crossed"].to_list())
    listed = [f"{counts[name]} {where}" for name, where in _WHERE.items() if counts[name]]
    said = (
        f"Of {words.plural(rows.height, 'learning curve')}, one for each task of a system, {_followed(rows)} crosses "
        f"its level in {words.listing(listed)}."
    )
    if counts[AT_ONCE] * 2 > rows.height:
        said += " Most had crossed by the second checkpoint: these checkpoints cannot say when."
    return said


def _followed(rows: pl.DataFrame) -> str:
    """Say whose level is crossed: accuracy, or what stands in where answers are neither right nor wrong."""
    others = sorted(set(rows["metric"]) - {"accuracy"})
    if not others:
        return "accuracy"
    if len(others) == rows["metric"].n_unique():
        return words.listing(others)
    return f"accuracy, or {words.listing(others)} where it is not known,"


def _jumps(found: AlongTraining) -> str:
    counts = Counter(_verdicts(found)["verdict"].to_list())
    if not counts:
        return ""
    parts = {
        "jump": "jump in accuracy and in the continuous score",
        "artefact of the metric": "jump in accuracy alone (an artefact of the metric)",
        SILENT: "jump in accuracy with losses that cannot tell whether the metric makes it",
        "no jump": "do not jump",
    }
    told = [f"{counts[name]} {what}" for name, what in parts.items() if counts[name]]
    rest = sum(counts.values()) - sum(counts[name] for name in parts)
    if not told:
        return f"No curve is decided: {words.plural(rest, 'curve')} undecided, unchanged or too short."
    others = f"; {rest} undecided, unchanged or too short" if rest else ""
    return f"Of these curves, {words.listing(told)}{others}."


def _order(found: AlongTraining) -> str:
    axes = found.order.rows["axis"].to_list()
    test = found.order.tests.get("tokens" if "tokens" in axes else "loss")
    missing = found.order.unmeasured
    if test is None or not axes:
        # Without curves nothing is known of order, whatever was measured alone.
        nothing = not missing or _verdicts(found).is_empty()
        return "" if nothing else "No composite with a curve has curves of all its parts alone."
    pairs = test.pairs_after + test.pairs_before + test.pairs_undecided
    said = (
        f"Of {words.plural(pairs, 'composite')} in a system with all parts measured alone, {test.pairs_after} cross "
        f"their level after the latest part, {test.pairs_before} before it, {test.pairs_undecided} undecided"
    )
    if test.p is not None:
        said += f" (sign test over {words.plural(test.after + test.before, 'composite')}: p = {words.figure(test.p)})"
    if missing:
        parts = words.listing([f"{skill} ({len(names)})" for skill, names in missing.items()])
        said += f". Others have a part that was never measured alone: {parts}"
    return said + "."


def _shift(found: AlongTraining) -> str:
    rows = found.shifts.rows.filter((pl.col("axis") == "tokens") & (pl.col("against") == LATEST))
    known = rows.drop_nulls("shift")
    if known.is_empty():
        return (
            "No composite and part cross a common level between checkpoints close enough to measure a shift."
            * bool(rows.height)
        )
    later, earlier = (known.filter(side) for side in (pl.col("shift_lo") > 0, pl.col("shift_hi") < 0))
    said = (
        f"At levels that both cross between close checkpoints, {later.height} of {known.height} composites are later "
        f"than their latest part, {earlier.height} earlier, the others not told apart"
    )
    if later.height:
        most = later.sort("shift", descending=True).row(0, named=True)
        said += (
            f"; the largest factor of training is {_TIMES}{words.figure(most['factor'])} "
            f"[{words.figure(most['factor_lo'])}, {words.figure(most['factor_hi'])}] ({most['composite']}, "
            f"{most['system']})"
        )
    return said + "." + _sure(rows) + _slingshot(known)


def _sure(rows: pl.DataFrame) -> str:
    """Say which composites lag at one half for sure, those that never get there among them."""
    sure = sorted(rows["at_least"].drop_nulls().to_list())
    if not sure:
        return ""
    least, most = (f"{_TIMES}{words.figure(math.exp(end))}" for end in (sure[0], sure[-1]))
    return (
        f" At an accuracy of one half, {len(sure)} of {rows.height} lag for sure, or never get there, by "
        f"{words.span(least, most)} at least."
    )


def _slingshot(known: pl.DataFrame) -> str:
    told = known.drop_nulls("k_implied").with_columns(pl.col("parts").list.len().alias("allowed"))
    if told.is_empty():
        return ""
    seen = sorted(told["k_implied"].to_list())
    allowed = sorted(told["allowed"].to_list())
    reached = told.filter(pl.col("k_implied_hi") >= pl.col("allowed")).height
    verdict = (
        f"{reached} of them reach this bound within their intervals"
        if reached
        else "the bound of slingshot generalisation holds, and is loose"
    )
    return (
        f" By a published scaling law these shifts divide the excess loss by "
        f"{words.span(words.figure(seen[0]), words.figure(seen[-1]))}, where the linear link allows "
        f"{words.span(str(allowed[0]), str(allowed[-1]))}: {verdict}."
    )


def _ahead(found: AlongTraining) -> str:
    rows = found.ahead.rows.filter((pl.col("kind") == "k") & (pl.col("metric") == "accuracy"))
    ten = rows.filter(pl.col("factor") == FACTORS[-1])
    if ten.is_empty():
        return "There are too few checkpoints to forecast from."
    parts = ten.partition_by("system", as_dict=True, maintain_order=True)
    told = [_told(str(system), part) for (system,), part in parts.items() if part["known"].any()]
    unknown = [str(system) for (system,), part in parts.items() if not part["known"].any()]
    return " ".join([*told, *([_unknown(unknown, rows)] if unknown else [])])


def _told(system: str, ten: pl.DataFrame) -> str:
    known = ten.filter(pl.col("known"))
    told = [
        f"{_of_skills(row['k'])} from {words.share(row['now'])} to {words.share(row['value'])} "
        f"[{words.share(row['lo'])}, {words.share(row['hi'])}]"
        for row in known.iter_rows(named=True)
    ]
    wide = known.filter(pl.col("hi") - pl.col("lo") > _WIDE).height == known.height
    said = ", too wide to tell a gain from a loss" if wide else ""
    if (known["method"] == LAST).all():
        said += "; the last value is carried on"
    return f"{system}, accuracy at ten times the training: {words.listing(told)} (90 % intervals{said})."


def _of_skills(k: int) -> str:
    return "one skill" if k == 1 else f"{k} skills together"


def _unknown(systems: list[str], rows: pl.DataFrame) -> str:
    """Say of which systems nothing is said, and how far ahead something is."""
    known = rows.filter(pl.col("known") & pl.col("system").is_in(systems))
    nearer = known.group_by("system", maintain_order=True).agg(pl.col("factor").max())
    reach = [f"{_TIMES}{factor:g} for {system}" for system, factor in nearer.iter_rows()]
    whose = "its" if len(systems) == 1 else "their"
    return (
        f"Of ten times the training nothing can be said for {words.listing(systems)}: no back-test on {whose} own past "
        f"reaches as far and holds{f'; forecasts reach {words.listing(reach)}' if reach else ''}."
    )


def _sizes(found: AlongTraining) -> str:
    sizes = {system.params for system in found.panels.systems if math.isfinite(system.params)}
    if not sizes:
        return "sizes are not known."
    if len(sizes) == 1:
        return "there is one size."
    return "systems of several sizes here differ in more than their size, and nothing is forecast over it."
