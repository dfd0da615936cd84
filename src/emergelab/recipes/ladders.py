"""Tables of results as ladders of runs: which metrics there are, what they mean, and what looks wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from emergelab.analysis.scaling.ladder import Ladder, Metric, Sort
from emergelab.grammar.problems import suggestion
from emergelab.outcomes.columns import Columns, find_columns, read_told, require_column
from emergelab.outcomes.files import TableError, read_table

_LOSSES = ("loss", "nats", "bpb", "bits", "perplexity", "ppl", "entropy", "nll")
_SHARES = ("acc", "exact", "match", "f1", "downstream", "pass@", "rate", "share", "correct")
_ALL = "all runs"
_FEW_TOKENS = 1.0  # per parameter; below it the columns may be swapped
_POINT = ("__run", "__group", "__params", "__tokens")
_NO_KIND = "metric"


@dataclass
class TableQuestion:
    """How a table is to be read: columns by role, rows to keep (COLUMN=VALUE), and what a metric is if told.

    A `frame` is read in place of the file.
    """

    file: str
    columns: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    sort: Sort | None = None
    frame: pl.DataFrame | None = None


@dataclass(frozen=True)
class LadderTable:
    """A ladder, the labels of its runs, what its groups are, and what its reader should know of the table."""

    ladder: Ladder
    runs: tuple[str, ...]
    group_column: str | None
    warnings: tuple[str, ...]


def open_table(question: TableQuestion) -> tuple[pl.DataFrame, Columns]:
    """Return the rows that are asked for, and which column is what. Raises TableError."""
    frame = read_table(question.file) if question.frame is None else question.frame
    for condition in question.where:
        frame = _where(frame, condition)
    return frame, find_columns(frame, read_told(question.columns))


def _where(frame: pl.DataFrame, condition: str) -> pl.DataFrame:
    column, equals, value = condition.partition("=")
    if not equals:
        raise TableError(f"Got --where {condition!r}. A condition is COLUMN=VALUE, for example dataset=c4.")
    require_column(frame, column)
    kept = frame.filter(pl.col(column).cast(pl.String) == value)
    if kept.is_empty():
        known = frame[column].cast(pl.String).drop_nulls().unique().to_list()
        raise TableError(f"No row has {column} = {value!r}. {suggestion(value, known)}")
    return kept


def read_ladder(question: TableQuestion, *asked: str) -> LadderTable:
    """Read a table; of a wide one the columns `asked`, of a long one all of its metrics. Raises TableError.

    `question.sort` says what the first metric asked for is.
    """
    frame, columns = open_table(question)
    long = _long(frame, columns, asked)
    long, warnings = _clean(long)
    points = long.select(_POINT).unique().sort("__params", "__tokens", "__group", "__run")
    names = long.select("kind", "name").unique().sort("kind", "name")
    values, averaged = _matrix(long, points, names)
    if averaged:
        warnings.append(
            f"{averaged} results stand in the table more than once with different values; their means were taken."
        )
    metrics, kept, dropped = _metrics(names, values, asked, question.sort)
    if dropped:
        warnings.append(
            f"{len(dropped)} metrics were left out, neither losses nor shares: {', '.join(dropped[:5])}."
        )
    groups = sorted(points["__group"].unique().to_list())
    runs = sorted(points["__run"].unique().to_list())
    ladder = Ladder(
        run=np.array([runs.index(run) for run in points["__run"]], dtype=np.int64),
        group=np.array([groups.index(group) for group in points["__group"]], dtype=np.int64),
        params=points["__params"].to_numpy().astype(np.float64),
        tokens=points["__tokens"].to_numpy().astype(np.float64),
        groups=tuple(groups),
        metrics=metrics,
        values=values[kept],
    )
    warnings += swapped(ladder.params, ladder.tokens)
    return LadderTable(ladder, tuple(runs), columns.group, tuple(warnings))


def _long(frame: pl.DataFrame, columns: Columns, asked: tuple[str, ...]) -> pl.DataFrame:
    """Return the table with one row for each result and columns of our own names."""
    if columns.long:
        kind = pl.col(columns.kind) if columns.kind else pl.lit(_NO_KIND)
        return _selected(frame, columns, (pl.col(columns.name or ""), pl.col(columns.value or ""), kind))
    if not asked:
        raise TableError(
            "The table has no columns of names and values, so that each metric is a column of its own. Name the "
            "one to forecast with --metric."
        )
    for metric in asked:
        require_column(frame, metric)
    own = [(pl.lit(metric), pl.col(metric), pl.lit(_NO_KIND)) for metric in asked]
    return pl.concat([_selected(frame, columns, one) for one in own])


def _selected(
    frame: pl.DataFrame, columns: Columns, metric: tuple[pl.Expr, pl.Expr, pl.Expr]
) -> pl.DataFrame:
    name, value, kind = metric
    run = pl.col(columns.run) if columns.run else pl.int_range(pl.len())
    group = pl.col(columns.group) if columns.group else pl.lit(_ALL)
    try:
        return frame.select(
            __run=run.cast(pl.String),
            __group=group.cast(pl.String).fill_null(_ALL),
            __params=pl.col(columns.params).cast(pl.Float64),
            __tokens=pl.col(columns.tokens).cast(pl.Float64),
            kind=kind.cast(pl.String).fill_null(_NO_KIND),
            name=name.cast(pl.String),
            value=value.cast(pl.Float64),
        )
    except pl.exceptions.PolarsError as error:
        raise TableError(
            f"A column of numbers holds something else: {str(error).splitlines()[0][:200]} Mend the table."
        ) from error


def _clean(long: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows with numbers; raises TableError for parameters and tokens that no run can have."""
    for column, noun in (("__params", "parameters"), ("__tokens", "tokens")):
        bad = long.filter(~(pl.col(column).is_finite() & (pl.col(column) > 0)) | pl.col(column).is_null())
        if not bad.is_empty():
            raise TableError(
                f"{bad.height} rows have no {noun} above 0, the first of them {bad[column][0]}. Every run needs them. "
                "Mend these rows or leave them out."
            )
    there = long.filter(pl.col("value").is_finite() & pl.col("name").is_not_null())
    lost = long.height - there.height
    if there.is_empty():
        raise TableError("No row of the table has a finite value. Check which column holds the values.")
    return there, [f"{lost} rows have no finite value and were left out."] if lost else []


def _matrix(long: pl.DataFrame, points: pl.DataFrame, names: pl.DataFrame) -> tuple[np.ndarray, int]:
    """Return values by metric and point, NaN where missing, and how many of them had to be averaged."""
    merged = long.group_by(*_POINT, "kind", "name").agg(
        pl.col("value").mean(), spread=pl.col("value").max() - pl.col("value").min()
    )
    placed = merged.join(names.with_row_index("__row"), on=["kind", "name"]).join(
        points.with_row_index("__column"), on=list(_POINT)
    )
    values = np.full((names.height, points.height), np.nan)
    values[placed["__row"].to_numpy(), placed["__column"].to_numpy()] = placed["value"].to_numpy()
    return values, int((merged["spread"] > 0).sum())


def _metrics(
    names: pl.DataFrame, values: np.ndarray, asked: tuple[str, ...], told: Sort | None
) -> tuple[tuple[Metric, ...], list[int], list[str]]:
    """Return the metrics that can be forecast, their rows, and the names of the others."""
    metrics: list[Metric] = []
    kept: list[int] = []
    dropped: list[str] = []
    for row, (kind, name) in enumerate(names.rows()):
        known = values[row][~np.isnan(values[row])]
        wanted = name in asked
        first = name == asked[0] if asked else False
        sort, fault = _sort_of(f"{kind} {name}".lower(), known, told if first else None)
        if sort is not None:
            metrics.append(Metric(kind, name, sort))
            kept.append(row)
        elif wanted:
            raise TableError(f"The metric {name!r} {fault}")
        else:
            dropped.append(name)
    if not metrics:
        raise TableError(
            "No metric of the table is a loss (all values above 0) or a share (all between 0 and 1). Check which "
            "column holds the values."
        )
    return tuple(metrics), kept, dropped


def _sort_of(words: str, values: np.ndarray, told: Sort | None) -> tuple[Sort | None, str]:
    """Return what a metric is, by its name and its values; else None and what is wrong."""
    low, high = float(values.min()), float(values.max())
    if told is None:
        told = _named(words, low, high)
    if told == "log-likelihood" and high < 0:
        return told, ""
    if told == "loss":
        return _loss(low)
    if told == "share":
        return _share(low, high)
    return None, f"has values from {low:g} to {high:g}. Say with --type whether it is a loss or a share."


def _named(words: str, low: float, high: float) -> Sort | None:
    if any(word in words for word in _LOSSES):
        return "loss"
    if high < 0:
        return "log-likelihood"
    if any(word in words for word in _SHARES) or (low >= 0 and high <= 1):
        return "share"
    return "loss" if low > 0 else None


def _loss(low: float) -> tuple[Sort | None, str]:
    if low > 0:
        return "loss", ""
    fault = f"is a loss by its name and has the value {low:g}. Losses are above 0."
    return None, f"{fault} Leave such runs out, or change the sign if these are log-likelihoods."


def _share(low: float, high: float) -> tuple[Sort | None, str]:
    if low >= 0 and high <= 1:
        return "share", ""
    if low >= 0 and high <= 100:  # noqa: PLR2004
        return None, (
            f"has values up to {high:g}, which look like per cent. An accuracy is a share from 0 to 1. Divide the "
            "values by 100, or say --type loss if it is one."
        )
    return None, f"has values from {low:g} to {high:g}. An accuracy is a share from 0 to 1. Mend its values."


def swapped(params: np.ndarray, tokens: np.ndarray) -> list[str]:
    """Return a warning where most runs have fewer tokens than parameters."""
    ratio = float(np.median(tokens / params))
    if ratio >= _FEW_TOKENS:
        return []
    found = f"Most runs have fewer tokens than parameters ({ratio:.2g} tokens a parameter)."
    return [f"{found} Language models are trained on many more: check that the two columns are not swapped."]


def find_metric(ladder: Ladder, name: str, kind: str | None) -> int:
    """Return the row of a metric. Raises TableError for one that there is not, or that there is in several kinds."""
    rows = [row for row, one in enumerate(ladder.metrics) if one.name == name and kind in {None, one.kind}]
    if len(rows) == 1:
        return rows[0]
    if rows:
        kinds = ", ".join(ladder.metrics[row].kind for row in rows)
        raise TableError(f"The metric {name!r} stands in several kinds: {kinds}. Say which with --kind.")
    names = [metric.name for metric in ladder.metrics if kind in {None, metric.kind}]
    near = [one for one in names if name.lower() in one.lower()]
    raise TableError(f"The table has no metric {name[:100]!r}. {suggestion(name, near or names)}")
