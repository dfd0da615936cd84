"""The section of the page on composition: what tuples of skills do, beside what single skills would have them do."""

# ruff: noqa: RUF001 - typography and letters of the theory, for readers

from __future__ import annotations

from typing import Any

import polars as pl

from emergelab.analysis.skills.composed import Composed
from emergelab.analysis.skills.composition import ALL, OTHERS
from emergelab.report.forest import FRAME, Forest
from emergelab.report.outcomes.composition_words import TITLES, findings, tables
from emergelab.report.outcomes.systems import colours_of
from emergelab.report.plots import LINE, POINT, Axis, Plot, rows
from emergelab.report.sections import Drawn, Section

_PANELS = ("product", "minimum", "union bound", "item by item", "concatenated", OTHERS)
_OVER_TRAINING = ("product", "minimum", "union bound", OTHERS)
_LAW_COLOURS = {"product": "accent", "minimum": "mode-1", "union bound": "other-1", OTHERS: "guess"}
_EQUAL = "as predicted"
_RATE = Axis(title="predicted", ends=(0.0, 1.0), form=".1~f")
_OBSERVED = Axis(title="observed", ends=(0.0, 1.0), form=".1~f")
_CRPS = "CRPS (0 is best)"
_MOST_POINTS = 400  # of a system in a panel
_MOST_COMPOSITES = 40


def section(found: Composed) -> Section:
    """Return the section: its words, figures and tables; without figures where no composite has all parts."""
    return Section(
        name="composition",
        title="Composition: tuples of skills from single skills",
        text=_text(found),
        figures=_figures(found),
        tables=tables(found),
        found=findings(found),
    )


def _text(found: Composed) -> str:
    if found.whole.predictions.is_empty():
        return "Nothing can be said of composition. " + findings(found)[0]
    return (
        "Every law predicts the success rate of a composite from the rates of its single skills, measured by the same "
        "system at the same checkpoint. Laws with a number to fit learn it from other composites only. Product: "
        "skills succeed independently. Minimum and union bound: the most and the least that is possible if skills "
        "do in company what they do alone. Item by item: the parts as they came out on the same input. The theorem "
        "knows the mean failure of all single skills and no more.\n\n"
        "Scores are proper: no law gains by saying anything but what it means. Of two laws one predicts better only if "
        "the difference on the same composites is more than composites and items vary, after correction for all "
        "pairs."
    )


def _figures(found: Composed) -> list[Drawn]:
    if found.whole.predictions.is_empty():
        return []
    drawn: list[Drawn | None] = [_predicted(found), _scores(found), _over_training(found), _prices(found)]
    return [one for one in drawn if one is not None]


def _systems(found: Composed) -> dict[str, str]:
    return colours_of(found.whole.predictions, found.parts.cells["system"].unique().to_list())


def _predicted(found: Composed) -> Plot:
    """Draw observed against predicted rates, a panel for each law."""
    colours = _systems(found)
    laws = [law for law in _PANELS if law in found.whole.predictions["law"]]
    frames = [
        part
        for rank, law in enumerate(laws)
        for part in (
            rows(TITLES[law], rank, _EQUAL, LINE, {"x": [0.0, 1.0], "y": [0.0, 1.0]}),
            *(rows(TITLES[law], rank, system, POINT, _points(found, law, system)) for system in colours),
        )
    ]
    return Plot(
        name="composites-predicted",
        title="Observed success of composites against each law’s prediction",
        short="observed against predicted",
        caption="A dot is a composite at a checkpoint of a system. On the line the law is right; below it composites "
        "do worse than predicted. No dot can lie above the minimum or below the union bound, but for chance, if "
        f"skills do in company what they do alone.{_thinned(found)}",
        frame=pl.concat(frames).with_columns(series_rank=pl.lit(0)),
        x=_RATE,
        y=_OBSERVED,
        colours={_EQUAL: "guess", **colours},
        dashed=(_EQUAL,),
    )


def _thinned(found: Composed) -> str:
    """Say what is not drawn."""
    cases = found.whole.predictions.filter(pl.col("law") == "product")
    said = ""
    if cases["system"].n_unique() > len(_systems(found)):
        said += f" Only the first {len(_systems(found))} systems are drawn."
    if cases.group_by("system").len()["len"].max() > _MOST_POINTS:  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]
        said += f" About {_MOST_POINTS} dots of each system are drawn, evenly; the table of laws counts all."
    return said


def _points(found: Composed, law: str, system: str) -> dict[str, Any]:
    here = found.whole.predictions.filter(
        pl.col("law") == law, pl.col("held_out").is_null(), pl.col("system") == system
    ).drop_nulls("predicted")
    here = here.gather_every(max(1, -(-here.height // _MOST_POINTS)))
    return {"x": here["predicted"].to_list(), "y": here["rate"].to_list()}


def _scores(found: Composed) -> Forest:
    """Draw the score of each law with its interval, over all systems and for each."""
    whole, kept = "all composites", "without those left out"
    sets = {whole: found.whole} if found.fit is None else {kept: found.fit, whole: found.whole}
    marks: list[dict[str, Any]] = []
    for series, composition in sets.items():
        shown = composition.scores.filter(
            pl.col("group").is_in([ALL, "system"]),
            pl.col("held_out").is_null() | (pl.col("held_out") == "composite"),
        )
        systems = ["", *shown["system"].drop_nulls().unique().sort()]
        marks += [
            {
                "panel": row["system"] or "all systems",
                "panel_rank": systems.index(row["system"] or ""),
                "row": TITLES[row["law"]],
                "row_rank": list(TITLES).index(row["law"]),
                "series": series,
                "x": row["crps"],
                "lo": row["crps_lo"],
                "hi": row["crps_hi"],
                "n": row["composites"],
            }
            for row in shown.iter_rows(named=True)
        ]
    frame = pl.DataFrame(marks, schema=FRAME)
    one_system = frame["panel"].n_unique() == 2  # noqa: PLR2004 - it and "all systems" are the same
    return Forest(
        name="composition-scores",
        title="How far off each law is",
        short="scores of the laws",
        caption="Mean CRPS over composites and checkpoints: about the mean distance of predicted from observed "
        "success. Bars are 95 % intervals over composites and the items that they share. Fitted laws learned "
        "their number from other composites. Compare laws by the table: intervals of one score each say "
        "less than their difference.",
        frame=frame.filter(pl.col("panel_rank") == 0) if one_system else frame,
        x=Axis(title=_CRPS, form=".2~f"),
        colours={kept: "accent", whole: "guess"} if found.fit is not None else {whole: "accent"},
    )


def _over_training(found: Composed) -> Plot | None:
    """Draw the laws' scores over training tokens; None where checkpoints have none."""
    shown = found.whole.scores.filter(
        pl.col("group") == "checkpoint", pl.col("train_tokens") > 0, pl.col("crps").is_not_null()
    )
    counted = shown.group_by("system").agg(pl.col("train_tokens").n_unique())
    systems = counted.filter(pl.col("train_tokens") > 1)["system"].sort().to_list()
    if not systems:
        return None
    frames = [
        rows(system, rank, TITLES[law], mark, _course(shown, system, law, mark))
        for rank, system in enumerate(systems)
        for law in _OVER_TRAINING
        for mark in (LINE, POINT)
    ]
    return Plot(
        name="composition-over-training",
        title="The laws’ scores over training",
        short="scores over training",
        caption="Mean CRPS over the composites of a checkpoint, all that have all parts. Checkpoints at 0 tokens are "
        "not drawn. Intervals (in the table) are over composites.",
        frame=pl.concat(frames).with_columns(series_rank=pl.lit(0)),
        x=Axis(title="training tokens", scale="log", form="~s"),
        y=Axis(title=_CRPS, form=".2~f"),
        colours={TITLES[law]: _LAW_COLOURS[law] for law in _OVER_TRAINING},
    )


def _course(shown: pl.DataFrame, system: str, law: str, mark: str) -> dict[str, Any]:
    del mark
    here = shown.filter(pl.col("system") == system, pl.col("law") == law).sort("train_tokens")
    return {"x": here["train_tokens"].to_list(), "y": here["crps"].to_list()}


def _prices(found: Composed) -> Forest | None:
    """Draw the price of composing by composite and system; None where no item is matched."""
    shown = found.carried.filter(
        pl.col("group") == "system", pl.col("complete"), pl.col("price").is_not_null()
    )
    if shown.is_empty():
        return None
    order = found.carried.filter(pl.col("group") == ALL, pl.col("price").is_not_null()).sort(
        "price", descending=True
    )["composite"]
    order = [*order[:_MOST_COMPOSITES]]
    left = set(found.left_out["task"])
    # Those that show their skills come first.
    places = {name: place for place, name in enumerate(sorted(order, key=lambda name: name in left))}
    marks = [
        {
            "panel": "",
            "panel_rank": 0,
            "row": f"{row['composite']} (left out)" if row["composite"] in left else row["composite"],
            "row_rank": places[row["composite"]],
            "series": row["system"],
            "x": row["price"],
            "lo": row["price_lo"],
            "hi": row["price_hi"],
            "n": row["items"],
        }
        for row in shown.iter_rows(named=True)
        if row["system"] in _systems(found) and row["composite"] in places
    ]
    more = f" The {len(order)} with the highest price are drawn." if len(order) == _MOST_COMPOSITES else ""
    return Forest(
        name="price-of-composing",
        title="The price of composing",
        short="price of composing",
        caption="What composites lack where the parts that were asked on the same input are right, against the rates "
        "of their other parts: 0 if composing is free. Below 0 a composite is easier than its parts were alone. "
        f"Verdicts leave out those that do not show their skills. Bars are 95 % intervals over items.{more}",
        frame=pl.DataFrame(marks, schema=FRAME),
        x=Axis(title="price (success rate)", form=".1~f"),
        colours=_systems(found),
        mark=0.0,
    )
