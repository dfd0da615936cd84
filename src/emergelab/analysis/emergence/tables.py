"""From the tables of a study to curves, and from what was found to a table."""

from __future__ import annotations

import numpy as np
import polars as pl

from emergelab.analysis.emergence import curves
from emergelab.analysis.emergence.curves import Scale
from emergelab.analysis.emergence.metrics import Emergence, TaskCurves
from emergelab.analysis.emergence.names import Axis
from emergelab.analysis.groups import SCALE

# The column of the table of cells that each axis is.
COLUMNS: dict[Axis, str] = {
    "parameters": "params",
    "tokens": "train_tokens",
    "compute": "flops",
    "loss": "loss",
}

_ENDS = ("", "_lo", "_hi")
_NUMBERS = {
    f"{name}{end}": pl.Float64
    for name in ("threshold", "threshold_bracket", "threshold_curve", "sharpness")
    for end in _ENDS
}

# One row for each metric and axis. Thresholds are in units of the axis, null where they lie outside what was measured;
# sharpness is in natural logarithms of x, in nats for loss.
EMERGENCE = pl.Schema(
    {
        "metric": pl.String,
        "axis": pl.String,
        "measured_lo": pl.Float64,
        "measured_hi": pl.Float64,
        "points": pl.Int32,
        "seeds": pl.Int32,
        "n": pl.Int64,
        "level": pl.Float64,
    }
    | _NUMBERS
    | {"threshold_method": pl.String, "threshold_stated": pl.String, "sharpness_method": pl.String}
    | {"jump": pl.String, "jump_reason": pl.String}
    | dict.fromkeys(("p_smooth", "p_step", "aicc_smooth", "aicc_broken"), pl.Float64)
    | {"smooth": pl.String, "broken": pl.String}
    | dict.fromkeys(("break_lo", "break_hi", "span"), pl.Float64)
    | {"jump_method": pl.String}
)


def task_curves(items: pl.DataFrame, cells: pl.DataFrame, axis: Axis) -> TaskCurves:
    """Return the curves of one task over one axis: accuracy, nats and probability of the right answer.

    `items` are `ITEMS` of one predictor, task, form, split, decoding, argument and number of shots; `cells` has
    the columns `CELLS`. Cells that differ in their seed alone are runs at one point, whose x is their mean.
    Answers without a verdict are missing. Raises ValueError where two points have the same x (more than the axis
    varies: choose), where the items are of several groups, and where nats are infinite or missing altogether.
    """
    answers = _whole(items)
    points = cells.filter(pl.col("cell").is_in(answers["cell"].unique().implode()))
    placed = points.group_by(SCALE, maintain_order=True).agg(
        x=pl.col(COLUMNS[axis]).cast(pl.Float64).mean(), cell="cell", seed="seed"
    )
    scale = Scale(placed["x"].to_numpy(), axis)
    known = placed.with_row_index("point").explode("cell", "seed").with_columns(pl.col("seed").fill_null(-1))
    rows = answers.join(known.select("cell", "seed", "point"), on="cell", how="inner", maintain_order="left")
    right, nats = (_cube(rows, name) for name in ("right", "nats"))
    return TaskCurves(
        curves.of_answers(scale, right, rising=True),
        curves.of_answers(scale, nats, rising=False),
        curves.of_answers(scale, np.exp(-nats), rising=True),
    )


def _whole(items: pl.DataFrame) -> pl.DataFrame:
    whole = items.filter(pl.col("step") == 0)
    labels = whole.select("predictor", "task", "form", "split", "decoding", "argument", "shot").unique()
    if labels.height != 1:
        raise ValueError(f"A curve is of one group of answers. Got {labels.height}.")
    if whole["nats"].null_count() == whole.height:
        raise ValueError("Nats are needed beside accuracy, and free generation has none.")
    verdict = pl.col("correct").cast(pl.Float64)
    return whole.select("cell", "prompt", verdict.alias("right"), pl.col("nats").cast(pl.Float64))


def _cube(rows: pl.DataFrame, name: str) -> np.ndarray:
    """Return values as [points, seeds, prompts], NaN where there is none."""
    where = [rows[column].rank("dense").to_numpy() - 1 for column in ("point", "seed", "prompt")]
    cube = np.full([int(index.max()) + 1 for index in where], np.nan)
    cube[tuple(where)] = rows[name].fill_null(np.nan).to_numpy()
    return cube


def emergence_table(found: list[Emergence]) -> pl.DataFrame:
    """Return `EMERGENCE`, a row for each."""
    return pl.DataFrame([_row(one) for one in found], schema=EMERGENCE)


def _row(one: Emergence) -> dict[str, object]:
    threshold, jump = one.threshold, one.jump
    estimates = {
        "threshold": threshold.hull,
        "threshold_bracket": threshold.bracket,
        "threshold_curve": threshold.curve,
        "sharpness": one.sharpness,
    }
    ends = {
        f"{name}{end}": value
        for name, estimate in estimates.items()
        for end, value in zip(_ENDS, (estimate.value, estimate.lo, estimate.hi), strict=True)
    }
    lo, hi = jump.between or (None, None)
    return {
        "metric": one.metric,
        "axis": one.curve.scale.axis,
        "measured_lo": float(one.curve.scale.x.min()),
        "measured_hi": float(one.curve.scale.x.max()),
        "points": jump.points,
        "seeds": int(one.curve.counts().max()),
        "n": one.curve.n,
        "level": threshold.level,
        **ends,
        "threshold_method": threshold.hull.method,
        "threshold_stated": threshold.stated,
        "sharpness_method": one.sharpness.method,
        "jump": jump.verdict,
        "jump_reason": jump.reason,
        **{
            name: getattr(jump, name)
            for name in ("p_smooth", "p_step", "aicc_smooth", "aicc_broken", "smooth", "broken")
        },
        "break_lo": lo,
        "break_hi": hi,
        "span": jump.span,
        "jump_method": jump.method,
    }
