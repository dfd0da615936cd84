"""What the page says of composition: verdicts in sentences, and tables."""

# ruff: noqa: RUF001 - typography and letters of the theory, for readers

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from emergelab.analysis.skills import gates, items, tuples
from emergelab.analysis.skills.composed import Composed
from emergelab.analysis.skills.composition import (
    AGAINST_BEFORE,
    AGAINST_OTHERS,
    ALL,
    BEFORE,
    BETTER,
    CRPS,
    FITTED_AGAINST_PRODUCT,
    ITEM_BY_ITEM,
    LAW_AGAINST_LAW,
    OTHERS,
    UNDECIDED,
    WORSE,
    Composition,
)
from emergelab.report import words
from emergelab.report.outcomes.systems import with_interval
from emergelab.report.sections import Table

TITLES: Mapping[str, str] = {
    "product": "product",
    "minimum": "minimum",
    "union bound": "union bound",
    ITEM_BY_ITEM: "item by item",
    "concatenated": "theorem, concatenated",
    "within": "theorem, within a piece",
    "between": "between product and minimum",
    "power": "power of the product",
    "factor": "factor of the product",
    "shifted": "product, shifted logit",
    OTHERS: "mean of other composites",
    BEFORE: "itself one checkpoint before",
}
"""Laws as the page names them, in the order in which it shows them."""
_TAIL = 0.025
_SURELY_MORE = 2  # times as many as by chance
_RARE = 0.01  # of which probability chance would make as many
_MOST_ROWS = 40
_MOST_NAMES = 6


def findings(found: Composed) -> list[str]:
    """Return the verdicts on composition, each with its numbers; about what is missing first."""
    said = [_coverage(found)]
    if not found.whole.predictions.is_empty():
        said += [
            *_left_out(found),
            *_laws(found),
            *_prices(found),
            *_ties(found),
            *_gates(found),
            *_theorem(found),
        ]
    return said


def headlines(found: Composed) -> list[str]:
    """Return the most important of `findings`: whether skills compose, at what price, and which law is nearest."""
    best = best_law(found.verdicts)
    if found.whole.predictions.is_empty() or best is None:
        return findings(found)[:2]
    nearest = (
        f"The law without a fitted number that comes nearest, “{TITLES[best['law']]}”, is "
        f"{words.share(best['distance'])} off on average over {_places(best)}; {_lean(best)}."
    )
    return [*_limits(found.verdicts), *list(_prices(found))[:1], nearest]


def _coverage(found: Composed) -> str:
    composites = found.parts.composites
    if found.parts.items.is_empty():
        return "Answers are neither right nor wrong, and there are no cloze losses."
    if composites.is_empty():
        return "No composites: no task needs two skills or more."
    whole = composites.filter(pl.col("complete") > 0)
    count = words.plural(composites.height, "composite")
    begin = f"{whole.height} of {count} have all parts measured at some checkpoint."
    lacking = composites.filter(pl.col("complete") == 0)
    if lacking.is_empty():
        return begin
    counts = Counter(skill for skills in lacking["missing"] for skill in skills)
    named = words.listing([f"{skill} (in {number})" for skill, number in counts.most_common(_MOST_NAMES)])
    elsewhere = lacking.filter(pl.col("missing").list.len() == 0).height
    apart = f" {elsewhere} lack one part here and another there." if elsewhere else ""
    if not counts:
        return f"{begin}{apart}"
    return f"{begin} The others need skills that were never asked alone beside them: {named}.{apart}"


def _left_out(found: Composed) -> Iterator[str]:
    if found.left_out.is_empty():
        return
    reasons = Counter(found.left_out["reason"])
    told = words.listing([f"{reason} ({number})" for reason, number in reasons.most_common()])
    whole = found.parts.composites.filter(pl.col("complete") > 0).height
    yield (
        f"{found.left_out.height} of these {whole} do not show what they are named for: {told}. "
        f"{_judged(whole - found.left_out.height)}"
    )


def _judged(others: int) -> str:
    return (
        f"Verdicts on laws go by the other {others}; both are shown."
        if others
        else "No verdict goes by them."
    )


def best_law(composition: Composition, group: str = ALL, system: str | None = None) -> dict[str, Any] | None:
    """Return the row of scores of the law without a fitted number that predicts best, by CRPS."""
    rows = composition.scores.filter(
        pl.col("group") == group,
        pl.col("system").eq_missing(system),
        pl.col("held_out").is_null(),
        ~pl.col("law").is_in([OTHERS, BEFORE]),
    )
    return None if rows.is_empty() else rows.sort("crps").row(0, named=True)


def _laws(found: Composed) -> Iterator[str]:
    composition = found.verdicts
    best = best_law(composition)
    if best is None:
        yield "No law is judged: no composite is left whose task shows its skills."
        return
    law = best["law"]
    yield (
        f"Of the laws that have nothing to fit, “{TITLES[law]}” predicts composites best: "
        f"{words.share(best['distance'])} off on average, {_lean(best)} (CRPS {with_interval(best, 'crps')}, "
        f"{_places(best)}). {_against(composition, law)}"
    )
    yield from _limits(composition)
    yield from _references(composition, law)
    yield from _fitted(composition)
    yield from _by_system(composition)


def _places(row: Mapping[str, Any]) -> str:
    return f"{words.plural(row['composites'], 'composite')} in {words.plural(row['cases'], 'measurement')}"


def _lean(row: Mapping[str, Any]) -> str:
    bias, lo, hi = (row[f"bias{end}"] for end in ("", "_lo", "_hi"))
    if lo is None or lo <= 0 <= hi:
        return "neither clearly too high nor too low"
    side = "too high" if bias > 0 else "too low"
    return f"{words.share(abs(bias))} {side}"


def comparisons_of(composition: Composition, law: str, question: str) -> dict[str, list[str]]:
    """Return the other sides of a law's comparisons over all cases by verdict on that law."""
    turned = {BETTER: WORSE, WORSE: BETTER, UNDECIDED: UNDECIDED}
    rows = composition.comparisons.filter(
        pl.col("group") == ALL, pl.col("measure") == CRPS, pl.col("question") == question
    )
    told: dict[str, list[str]] = {BETTER: [], WORSE: [], UNDECIDED: []}
    for first, second, verdict in rows.select("first", "second", "verdict").iter_rows():
        if first == law:
            told[verdict].append(second)
        elif second == law:
            told[turned[verdict]].append(first)
    return told


def _against(composition: Composition, law: str) -> str:
    told = comparisons_of(composition, law, LAW_AGAINST_LAW)
    parts = []
    for verdict, begin in ((BETTER, "It predicts better than"), (UNDECIDED, "undecided against")):
        names = [f"“{TITLES[name]}”" for name in told[verdict]]
        if names:
            parts.append(f"{begin} {words.listing(names)}")
    said = "; ".join(parts)
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def _limits(composition: Composition) -> Iterator[str]:
    """Say how often composites leave the limits that hold if skills do in company what they do alone."""
    rows = composition.predictions.filter(pl.col("rate").is_not_null())
    low = rows.filter(pl.col("law") == "union bound")
    below = low.filter(pl.col("rate") < pl.col("predicted_lo")).height
    above = rows.filter(pl.col("law") == "minimum", pl.col("rate") > pl.col("predicted_hi")).height
    chance = low.height * _TAIL
    begin = (
        "Skills do not do in company what they do alone: composites lie"
        if surely_more(max(below, above), low.height)
        else "Nothing shows that skills do otherwise in company than alone: composites lie"
    )
    yield (
        f"{begin} clearly below the union bound in {below} of {low.height} measurements (a composite at a checkpoint) "
        f"and clearly above the minimum in {above}; chance alone would make about {round(chance)} of each."
    )


def surely_more(outside: int, measured: int) -> bool:
    """Return whether so many measurements outside of a limit are more than chance would make."""
    from scipy.stats import binom  # noqa: PLC0415  scipy.stats takes a second to load

    as_many_by_chance = float(binom.sf(outside - 1, measured, _TAIL))
    return outside > _SURELY_MORE * measured * _TAIL and as_many_by_chance < _RARE


def _references(composition: Composition, law: str) -> Iterator[str]:
    rows = composition.comparisons.filter(
        pl.col("group") == ALL,
        pl.col("measure") == CRPS,
        pl.col("first") == law,
        pl.col("question").is_in([AGAINST_OTHERS, AGAINST_BEFORE]),
    )
    scores = composition.scores.filter(
        pl.col("group") == ALL, pl.col("law") == law, pl.col("held_out").is_null()
    )
    for row in rows.iter_rows(named=True):
        if row["difference"] is None:
            continue
        column = "skill_others" if row["second"] == OTHERS else "skill_before"
        verdict = {UNDECIDED: "is undecided against"}.get(row["verdict"], row["verdict"])
        than = "" if row["verdict"] == UNDECIDED else " than"
        yield (
            f"“{TITLES[law]}” {verdict}{than} the {_reference(row['second'])} "
            f"(skill {with_interval(scores.row(0, named=True), column)})."
        )


def _reference(name: str) -> str:
    return "mean of the other composites" if name == OTHERS else "composite’s own rate one checkpoint before"


def _fitted(composition: Composition) -> Iterator[str]:
    rows = composition.comparisons.filter(
        pl.col("group") == ALL,
        pl.col("measure") == CRPS,
        pl.col("question") == FITTED_AGAINST_PRODUCT,
        pl.col("difference").is_not_null(),
    )
    if rows.is_empty():
        return
    better = rows.filter(pl.col("verdict") == BETTER)["first"].to_list()
    worse = rows.filter(pl.col("verdict") == WORSE)["first"].to_list()
    if better:
        names = words.listing([f"“{TITLES[name]}”" for name in better])
        yield f"One number learned from other composites helps: {names} predict better than the product."
        return
    tail = f"; {words.listing([f'“{TITLES[name]}”' for name in worse])} predict worse" if worse else ""
    nearest = rows.sort("difference").row(0, named=True)
    yield (
        f"No law with a number learned from other composites is clearly better than the product on a composite "
        f"that it has not seen: “{TITLES[nearest['first']]}” comes nearest, CRPS "
        f"{with_interval(nearest, 'difference')} against the product’s{tail}."
    )


def _by_system(composition: Composition) -> Iterator[str]:
    systems = composition.scores.filter(pl.col("group") == "system")["system"].unique(maintain_order=True)
    if systems.len() < 2:  # noqa: PLR2004 - one system alone has been spoken of
        return
    told: list[str] = []
    for system in systems:
        best = best_law(composition, "system", system)
        if best is not None:
            told.append(
                f"{system} “{TITLES[best['law']]}” ({words.share(best['distance'])} off, {_lean(best)})"
            )
    yield f"Best by system: {'; '.join(told)}."


def _median(values: pl.Series) -> float:
    return float(np.median(values.to_numpy()))


def _shown(found: Composed, table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of composites that verdicts go by."""
    return table.filter(~pl.col("composite").is_in(found.left_out["task"].implode()))


def _kept_first(found: Composed, table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows by name, those of composites that verdicts leave out last."""
    left = pl.col("composite").is_in(found.left_out["task"].implode())
    return table.sort(left, "composite")


def _prices(found: Composed) -> Iterator[str]:
    rows = _shown(found, found.carried).filter(
        pl.col("group") == ALL, pl.col("complete"), pl.col("price").is_not_null()
    )
    if rows.is_empty():
        return
    above = rows.filter(pl.col("price_lo") > 0)
    top = rows.sort("price", descending=True).row(0, named=True)
    begin = "Composing has a price of its own" if above.height else "No price of composing is seen"
    yield (
        f"{begin}: where the parts asked on the same input are right, {above.height} of "
        f"{words.plural(rows.height, 'composite')} clearly lack{'s' if above.height == 1 else ''} success, "
        f"{words.share(_median(rows['price']))} in the median, most {top['composite']} with "
        f"{with_interval(top, 'price')}."
    )
    wrong = rows.filter(pl.col("n_wrong") >= 20).sort("if_wrong", descending=True)  # noqa: PLR2004
    if wrong.height:
        most = wrong.row(0, named=True)
        yield (
            f"And a wrong part does not forbid success: {most['composite']} is right on "
            f"{with_interval(most, 'if_wrong')} of inputs whose part is wrong."
        )


def _ties(found: Composed) -> Iterator[str]:
    rows = _shown(found, found.carried).filter(pl.col("group") == ALL, pl.col("odds_ratio").is_not_null())
    if rows.is_empty():
        return
    counts = Counter(rows["tie"])
    together = rows.filter(pl.col("tie") == items.TOGETHER)
    ratio = (
        ""
        if together.is_empty()
        else f", odds ratio {words.figure(_median(together['odds_ratio']))} in the median"
    )
    apart = f"; apart in {counts[items.APART]}" if counts[items.APART] else ""
    yield (
        f"Item by item, success on a part and on the composite go together beyond their rates in "
        f"{together.height} of {rows.height} composites where that can be told{ratio}{apart}."
    )


def _gates(found: Composed) -> Iterator[str]:
    rows = _shown(found, found.gates.verdicts).filter(pl.col("group") == ALL)
    if rows.is_empty():
        return
    gated: dict[str, list[str]] = {}
    for skill, by, composite in rows.select("gate", "by", "composite").iter_rows():
        gated.setdefault(gates.DISAGREE if by == gates.DISAGREE else skill, []).append(composite)
    named = [
        f"{skill} gates {words.listing(composites)}"
        for skill, composites in gated.items()
        if skill not in {gates.UNDECIDED, gates.NEITHER, gates.DISAGREE}
    ]
    rest = [
        f"{text} for {words.listing(gated[name])}"
        for name, text in (
            (gates.NEITHER, "no single explains more than a constant"),
            (gates.DISAGREE, "a single’s curve is followed, yet most failures fall where it is right,"),
            (gates.UNDECIDED, "undecided"),
        )
        if name in gated
    ]
    yield f"Gates: {'; '.join([*named, *rest])}."


def _theorem(found: Composed) -> Iterator[str]:
    rows = found.bounds.filter(pl.col("alpha") == tuples.WORST[0], pl.col("kind") == "concatenated")
    counts = Counter(rows["verdict"])
    if not rows.height:
        return
    spoken = found.bounds.filter(pl.col("kind") == "concatenated", pl.col("verdict") != tuples.SILENT)
    worst = spoken.filter(pl.col("worst") > pl.col("exact"))
    told = [
        f"{name} at {counts[verdict]}"
        for verdict, name in (
            (tuples.HOLDS, "holds"),
            (tuples.BROKEN, "is broken"),
            (tuples.UNDECIDED, "is undecided"),
            (tuples.SILENT, "permits all to fail"),
        )
        if counts[verdict]
    ]
    places = words.plural(rows.height, "checkpoint")
    exceeded = (
        f"the worst tuples exceed the exact curve in {worst.height} of {spoken.height} comparisons"
        if worst.height
        else "the worst tuples nowhere exceed the exact curve"
    )
    yield f"The theorem’s mean for concatenated tuples, 1 − (1−θ)^k, {words.listing(told)} of {places}; {exceeded}."


def tables(found: Composed) -> list[Table]:
    """Return the tables of the section; each goes whole into a file beside the page."""
    made = [_missing_table(found)]
    if found.whole.predictions.is_empty():
        return made
    return [
        _law_table(found),
        _comparison_table(found),
        _gate_table(found),
        _price_table(found),
        _bound_table(found),
        *made,
    ]


def _law_table(found: Composed) -> Table:
    rows = [
        (
            TITLES[row["law"]],
            _LEARNED[row["held_out"]],
            with_interval(row, "crps"),
            words.share(row["distance"]),
            with_interval(row, "bias"),
            words.share(row["covered"]),
            words.share(row["brier"]),
            with_interval(row, "skill_others"),
            _number(row),
        )
        for row in _ordered(found.verdicts.scores.filter(pl.col("group") == ALL))
    ]
    return Table(
        title="How well each law predicts composites",
        columns=("Law", "learned from", "CRPS", "off by", "too high by", "in limits", "Brier", "skill", "number"),
        rows=rows,
        note="Smaller is better for CRPS (in units of the success rate, with the singles’ own uncertainty) and the "
        "Brier score. “Off by” is the mean distance of predicted from observed rate, “in limits” the "
        "share of rates within 95 % limits, skill one less the CRPS over that of the mean of the other composites. "
        "Intervals are over composites, and over the items that these share.",
        name="composition-laws",
        whole=found.whole.scores,
    )  # fmt: skip


_LEARNED: Mapping[str | None, str] = {
    None: words.MISSING,
    "composite": "other composites",
    "checkpoint": "other checkpoints",
    "system": "other systems",
}


def _ordered(scores: pl.DataFrame) -> list[dict[str, Any]]:
    order = {name: place for place, name in enumerate(TITLES)}
    return sorted(scores.to_dicts(), key=lambda row: order[row["law"]])


def _number(row: Mapping[str, Any]) -> str:
    if row["number"] is None:
        return words.MISSING
    least, most = (words.figure(row[name]) for name in ("number_least", "number_most"))
    return least if least == most else f"{words.figure(row['number'])} ({least} to {most})"


def _comparison_table(found: Composed) -> Table:
    composition = found.verdicts
    best = best_law(composition)
    shown = composition.comparisons.filter(pl.col("group") == ALL, pl.col("measure") == CRPS)
    law = "product" if best is None else best["law"]
    of_best = shown.filter(
        (pl.col("first") == law) | (pl.col("second") == law) | (pl.col("question") == FITTED_AGAINST_PRODUCT)
    )
    rows = [
        (
            f"{TITLES[row['first']]} against {TITLES[row['second']]}",
            with_interval(row, "difference"),
            words.figure(row["p_adjusted"]),
            row["verdict"],
        )
        for row in of_best.iter_rows(named=True)
    ]
    return Table(
        title="Which law predicts better",
        columns=("Law against law", "difference of CRPS", "p, corrected", "the first"),
        rows=rows,
        note="On the same cases; below 0 the first is better. p by Holm for all pairs of a question. The best law’s "
        "comparisons and those of fitted laws; the file has all, by system and by Brier score, too.",
        name="composition-comparisons",
        whole=found.whole.comparisons,
        folded=True,
    )


def _gate_table(found: Composed) -> Table:
    named = _kept_first(found, found.gates.verdicts.filter(pl.col("group") == ALL))
    parts = found.gates.parts.filter(pl.col("group") == ALL)
    keys = ["group", "system", "composite"]
    verdicts = found.gates.verdicts.select(*keys, "gate", "by", "follows", "follows_reason", "loses_by")
    lost: dict[str, list[str]] = {}
    for row in parts.filter(pl.col("lost").is_not_null()).iter_rows(named=True):
        lost.setdefault(row["composite"], []).append(f"{row['skill']} {with_interval(row, 'lost')}")
    rows = [
        (
            row["composite"],
            row["gate"],
            row["by"] or words.MISSING,
            words.MISSING if row["follows"] == gates.UNDECIDED else row["follows"],
            "; ".join(lost.get(row["composite"], [])) or words.MISSING,
            str(row["checkpoints"]),
        )
        for row in named.head(_MOST_ROWS).iter_rows(named=True)
    ]
    return Table(
        title="Which single skill gates each composite",
        columns=("Composite", "gate", "by", "its curve follows", "failures lost by the part", "checkpoints"),
        rows=rows,
        note="A curve follows the single that predicts it best at checkpoints left out (factor times power), if by "
        "Fisher’s test of signs over blocks of checkpoints it does better than every other single and than a constant. "
        "Where that part’s failures explain less than half, it is no gate. Failures lost: the share of the composite’s "
        "failures that would not be if the part never failed on the same input; known where that was asked. Composites "
        f"that verdicts leave out are here, too.{_cut(named)}",
        name="composition-gates",
        whole=found.gates.parts.join(verdicts, on=keys, how="left", nulls_equal=True, maintain_order="left"),
        folded=True,
    )


def _price_table(found: Composed) -> Table:
    shown = _kept_first(found, found.carried.filter(pl.col("group") == ALL, pl.col("complete")))
    rows = [
        (
            row["composite"],
            " + ".join(row["skills"][position] for position in row["matched"]),
            with_interval(row, "if_right"),
            words.share(row["expected"]),
            with_interval(row, "price"),
            with_interval(row, "if_wrong"),
            _ratio(row),
        )
        for row in shown.head(_MOST_ROWS).iter_rows(named=True)
    ]
    return Table(
        title="Item by item: the price of composing",
        columns=("Composite", "parts asked on its inputs", "right if they are", "expected", "price",
                 "right if one is not", "odds ratio"),
        rows=rows,
        note="Price: what success lacks where the matched parts are right, against the rates of the other parts. Below "
        "0 the composite is easier than its parts alone, which were asked on other inputs. The odds ratio is "
        "Mantel and Haenszel’s over checkpoints: above 1, items whose part is right are right more "
        f"often.{_cut(shown)}",
        name="composition-items",
        whole=found.carried.with_columns(pl.col("matched").cast(pl.List(pl.String))),
    )  # fmt: skip


def _cut(rows: pl.DataFrame) -> str:
    return f" The first {_MOST_ROWS} of {rows.height} are here." if rows.height > _MOST_ROWS else ""


def _ratio(row: Mapping[str, Any]) -> str:
    if row["odds_ratio"] is None:
        return words.MISSING
    value, lo, hi = (words.figure(row[f"odds_ratio{end}"]) for end in ("", "_lo", "_hi"))
    return f"{value} [{lo}, {hi}]"


def _bound_table(found: Composed) -> Table:
    last = found.bounds.group_by("system", "k", "kind", "alpha", maintain_order=True).last()
    quarter = last.filter(pl.col("alpha") == 0.25)  # noqa: PLR2004 - one share is enough to read
    rows = [
        (
            row["system"],
            row["kind"],
            str(row["k"]),
            words.share(row["theta"]),
            words.share(row["permitted"]),
            with_interval(row, "failure"),
            row["verdict"],
            words.share(row["worst"]),
            words.share(row["exact"]),
            words.share(row["theorem"]),
        )
        for row in quarter.iter_rows(named=True)
    ]
    return Table(
        title="The theorem as a bound, at the last checkpoint",
        columns=("System", "tuples", "k", "θ of singles", "permitted", "composites fail", "mean", "worst quarter fails",
                 "exact curve", "theorem"),
        rows=rows,
        note="θ is the mean failure of skills asked alone. Concatenated: 1 − (1−θ)^k of tuples may fail; within one "
        "piece: θ. The worst quarter of composites is held against the exact curve and the theorem; a dash: it permits "
        "all to fail.",
        name="composition-bounds",
        whole=found.bounds,
        folded=True,
    )  # fmt: skip


def _missing_table(found: Composed) -> Table:
    composites = found.parts.composites
    rows: list[Sequence[str]] = []
    lacking = composites.filter(pl.col("complete") == 0)
    for row in lacking.head(_MOST_ROWS).iter_rows(named=True):
        why = words.listing(row["missing"]) or "one part here, another there"
        rows.append((row["name"], " + ".join(row["skills"]), f"never asked alone: {why}", str(row["asked"])))
    rows += [(task, words.MISSING, reason, words.MISSING) for task, reason in found.left_out.iter_rows()]
    more = max(0, lacking.height - _MOST_ROWS)
    note = "No law can be held against them; they count nowhere above." if lacking.height else ""
    left = " Those that verdicts leave out have all parts, and their reason." if found.left_out.height else ""
    return Table(
        title="Composites that are missing, and why",
        columns=("Composite", "skills", "why", "checkpoints"),
        rows=rows,
        note=f"{note}{left}{f' {more} more are in the file.' if more else ''}".strip(),
        name="composites",
        whole=composites,
        folded=True,
    )
