"""The part of the page on courses over training: what emerged, in which order, how far apart, and what lies ahead."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from emergelab.analysis.skills.along_training import AlongTraining
from emergelab.analysis.skills.shifts import LATEST, MEAN
from emergelab.report import words
from emergelab.report.forest import FRAME, Forest
from emergelab.report.outcomes.emerging_tables import tables
from emergelab.report.outcomes.emerging_words import explained, findings, metric_words
from emergelab.report.outcomes.systems import COLOURS, colours_of, system_colours
from emergelab.report.plots import LINE, POINT, Axis, Plot, rows
from emergelab.report.sections import Drawn, Section

_BOTH = Axis(title="as each panel says", form="~r")
_MARGIN = 1.4  # beyond the first and the last point, as a factor
_MOST = 3  # panels side by side
_MOST_ROWS = 24
_ALONE, _COMPOSITE = "skill alone", "composite"
_MEASURED = {"accuracy": 0, "nats": 1, "score": 1}


def section(found: AlongTraining) -> Section:
    """Return the part of the page, or what can be said of it with few checkpoints or one system."""
    drawn = (
        _by_k(found),
        _chosen(found, 1),
        _chosen(found, 2),
        _thresholds(found),
        _shifts(found),
        _ahead(found),
    )
    figures: list[Drawn] = [figure for figure in drawn if figure is not None]
    return Section(
        name="emergence",
        title="What emerged, and when",
        text=explained(found),
        found=[said for answers in findings(found).values() for said in answers],
        figures=figures,
        tables=tables(found),
    )


def _by_k(found: AlongTraining) -> Plot | None:
    """Draw accuracy above the continuous score, side by side by the number of skills."""
    points = found.emerging.points.filter((pl.col("kind") == "k") & (pl.col("train_tokens") > 0))
    names = points.sort("k")["name"].unique(maintain_order=True).to_list()
    kept = names if len(names) <= _MOST else [*names[: _MOST - 1], names[-1]]
    return _small_multiples(
        found,
        points.filter(pl.col("name").is_in(kept)),
        kept,
        words_of=(
            "courses-by-k",
            "Accuracy and continuous score over training, by number of skills",
            "By k",
            (
                "Means over the items of the tasks that a system answered at all of its checkpoints; they differ "
                "between systems, so that heights of different systems do not compare. 95 % intervals over items."
            ),
        ),
    )


def _chosen(found: AlongTraining, k: int) -> Plot | None:
    """Draw the tasks of one skill, or of more, whose accuracy changed most behind the second checkpoint."""
    several = k > 1
    points = found.emerging.points.filter(
        (pl.col("kind") == "task")
        & (pl.col("train_tokens") > 0)
        & ((pl.col("k") > 1) if several else (pl.col("k") == 1))
    )
    names = _most_changed(points)
    what = "composites" if several else "skills alone"
    return _small_multiples(
        found,
        points.filter(pl.col("name").is_in(names)),
        names,
        words_of=(
            f"courses-of-{'composites' if several else 'skills'}",
            f"Accuracy and continuous score over training, {what}",
            what.capitalize(),
            (
                f"The {len(names)} of {words.plural(points['name'].n_unique(), 'task')} whose accuracy changes most "
                "between the second trained checkpoint and the last, where checkpoints are dense enough to see how; "
                "all others are in courses.csv. 95 % intervals over items."
            ),
        ),
    )


def _most_changed(points: pl.DataFrame) -> list[str]:
    """Return the tasks whose accuracy spreads most behind the second checkpoint, the largest of all systems."""
    place = pl.col("train_tokens").rank("dense").over("system", "name")
    late = points.filter((pl.col("metric") == "accuracy") & (place > 1))
    spread = late.group_by("system", "name").agg(
        (pl.col("value").max() - pl.col("value").min()).alias("spread")
    )
    most = (
        spread.group_by("name").agg(pl.col("spread").max()).sort("spread", "name", descending=[True, False])
    )
    return most["name"].head(_MOST).to_list()


def _small_multiples(
    found: AlongTraining, points: pl.DataFrame, names: list[str], *, words_of: tuple[str, str, str, str]
) -> Plot | None:
    """Return panels by metric, accuracy above, and within it by name."""
    known = points.filter(pl.col("metric").is_in(list(_MEASURED)) & pl.col("value").is_not_null())
    metrics = sorted(known["metric"].unique(), key=lambda metric: _MEASURED[metric])
    if known.is_empty() or known.group_by("system", "name", "metric").len()["len"].max() == 1:
        return None
    colours = colours_of(known, [system.name for system in found.panels.systems])
    frames: list[pl.DataFrame] = []
    for line, metric in enumerate(metrics):
        for rank, name in enumerate(names):
            panel = (f"{name}\n{metric_words(metric)}", line * len(names) + rank)
            part = known.filter((pl.col("metric") == metric) & (pl.col("name") == name))
            frames += [
                frame
                for system in colours
                for frame in _course(part.filter(pl.col("system") == system), panel, system)
            ]
    name, title, short, caption = words_of
    return Plot(
        name=name,
        title=title,
        short=short,
        caption=caption + _relative(found),
        frame=pl.concat(frames),
        x=_tokens(known["train_tokens"]),
        y=_BOTH,
        colours=colours,
        own_heights=True,
    )


def _course(part: pl.DataFrame, panel: tuple[str, int], system: str) -> list[pl.DataFrame]:
    along = part.sort("train_tokens")
    line = {"x": along["train_tokens"], "y": along["value"]}
    return [
        rows(*panel, system, LINE, line),
        rows(*panel, system, POINT, line | {"lo": along["lo"], "hi": along["hi"]}),
    ]


def _tokens(values: pl.Series) -> Axis:
    """Return the axis of tokens with room for whole marks at its ends."""
    known = values.drop_nulls().to_numpy()
    ends = (float(known.min()) / _MARGIN, float(known.max()) * _MARGIN)
    return Axis(title="training tokens", scale="log", form="~s", ends=ends)


def _relative(found: AlongTraining) -> str:
    odd = [system.name for system in found.panels.systems if not system.losses_fit]
    if not odd:
        return ""
    return (
        f" The losses of {words.listing(odd)} do not measure the answers: nats compare checkpoints of one system, and "
        "mean nothing by themselves."
    )


def _thresholds(found: AlongTraining) -> Forest | None:
    """Draw the interval of each task's threshold in accuracy, skills alone and composites in one order."""
    kept = found.emerging.found.filter(
        (pl.col("kind") == "task")
        & (pl.col("axis") == "tokens")
        & (pl.col("metric") == "accuracy")
        & (pl.col("threshold_lo").is_not_null() | pl.col("threshold_hi").is_not_null())
    )
    if kept.is_empty():
        return None
    placed = kept.with_columns(
        lo=pl.col("threshold_lo").fill_null(pl.col("measured_lo")),
        hi=pl.col("threshold_hi").fill_null(pl.col("measured_hi")),
    ).with_columns(x=pl.coalesce("threshold", (pl.col("lo") * pl.col("hi")).sqrt()))
    order = placed.group_by("name").agg(pl.col("x").log().mean()).sort("x", "name")["name"].to_list()
    shown = order if len(order) <= _MOST_ROWS else _spread(order)
    rank = {name: place for place, name in enumerate(shown)}
    frame = placed.filter(pl.col("name").is_in(shown)).select(
        panel="system",
        panel_rank=pl.col("system").rank("dense").cast(pl.Int64),
        row="name",
        row_rank=pl.col("name").replace_strict(rank, return_dtype=pl.Int64),
        series=pl.when(pl.col("k") > 1).then(pl.lit(_COMPOSITE)).otherwise(pl.lit(_ALONE)),
        x="x",
        lo="lo",
        hi="hi",
        n=pl.col("items").cast(pl.Int64),
    )
    left = f" {len(shown)} of {len(order)} tasks are drawn." if len(shown) < len(order) else ""
    return Forest(
        name="thresholds-of-tasks",
        title="Where tasks cross half way from what takes no skill to certainty",
        short="Thresholds",
        caption=(
            "95 % intervals of thresholds in accuracy. A bar between two checkpoints says that nothing is known of the "
            "order within it; one that reaches an end of what was measured is open there, and a dot at the last "
            f"checkpoint is a task that was not acquired.{left}"
        ),
        frame=frame.cast(dict(FRAME)),  # pyright: ignore[reportArgumentType]
        x=_tokens(pl.concat([frame["lo"], frame["hi"]])),
        colours={_ALONE: "mode-0", _COMPOSITE: "mode-1"},
    )


def _spread(names: list[str]) -> list[str]:
    """Return names evenly from first to last."""
    places = np.unique(np.linspace(0, len(names) - 1, _MOST_ROWS).round().astype(int))
    return [names[place] for place in places]


def _shifts(found: AlongTraining) -> Forest | None:
    """Draw by which factor of training composites are later than their parts."""
    rows_of = found.shifts.rows
    known = rows_of.filter((pl.col("axis") == "tokens") & pl.col("shift").is_not_null())
    if known.is_empty():
        return None
    order = (
        known.group_by("composite")
        .agg(pl.col("shift").mean())
        .sort("shift", "composite")["composite"]
        .to_list()
    )
    rank = {name: place for place, name in enumerate(order)}
    frame = known.select(
        panel="system",
        panel_rank=pl.col("system").rank("dense").cast(pl.Int64),
        row="composite",
        row_rank=pl.col("composite").replace_strict(rank, return_dtype=pl.Int64),
        series="against",
        x="factor",
        lo="factor_lo",
        hi="factor_hi",
        n=pl.col("items").cast(pl.Int64),
    )
    return Forest(
        name="shifts-of-composites",
        title="By which factor of training composites are later than their parts",
        short="Shifts",
        caption=(
            "Horizontal distances between accuracy curves, a mean over the levels that both cross between checkpoints "
            "at most a factor of three apart; 95 % intervals over items. Right of the line the composite is later. "
            "The factor is one of tokens and, at the same size, of compute."
        ),
        frame=frame.cast(dict(FRAME)),  # pyright: ignore[reportArgumentType]
        x=Axis(title="times the training", scale="log"),
        colours={LATEST: "mode-1", MEAN: "mode-0"},
        mark=1.0,
    )


def _ahead(found: AlongTraining) -> Plot | None:
    """Draw accuracies by k and, where the past supports them, forecasts with their intervals."""
    ahead = found.ahead.rows.filter(
        (pl.col("kind") == "k") & (pl.col("metric") == "accuracy") & pl.col("known")
    )
    if ahead.is_empty():
        return None
    points = found.emerging.points.filter(
        (pl.col("kind") == "k") & (pl.col("metric") == "accuracy") & (pl.col("train_tokens") > 0)
    )
    names = points.sort("k")["name"].unique(maintain_order=True).to_list()[: len(COLOURS)]
    systems = ahead["system"].unique(maintain_order=True).to_list()
    frames = [
        frame
        for rank, system in enumerate(systems)
        for frame in _with_forecasts((points, ahead), (system, rank), names)
    ]
    return Plot(
        name="forecasts-by-k",
        title="What more training at the same size would bring",
        short="Forecasts",
        caption=(
            "Lines: measured. Dots beyond their ends: forecasts at 2, 4 and 10 times the training with 90 % intervals, "
            "only as far ahead as forecasts of the system's own past held. Nothing is said of larger models."
        ),
        frame=pl.concat(frames),
        x=_tokens(pl.concat([points["train_tokens"], ahead["train_tokens"]])),
        y=Axis(title="accuracy (share)", ends=(0.0, 1.0)),
        colours=system_colours(names),
    )


def _with_forecasts(
    known: tuple[pl.DataFrame, pl.DataFrame], panel: tuple[str, int], names: list[str]
) -> Iterable[pl.DataFrame]:
    measured, ahead = (frame.filter(pl.col("system") == panel[0]).sort("train_tokens") for frame in known)
    for name in names:
        past, future = (frame.filter(pl.col("name") == name) for frame in (measured, ahead))
        yield rows(*panel, name, LINE, {"x": past["train_tokens"], "y": past["value"]})
        ends = {"lo": future["lo"], "hi": future["hi"]}
        yield rows(*panel, name, POINT, {"x": future["train_tokens"], "y": future["value"]} | ends)
