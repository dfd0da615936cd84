"""Which kinds of task a model answers above chance and above its own accuracy without examples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from scipy.special import ndtri, stdtrit

from emergelab.analysis import intervals, seeds
from emergelab.analysis.groups import numbers
from emergelab.report.series import FRESH, MODELS, Prepared, at_most_shots

LEVEL = 0.95
_KEYS = ("series", "panel")
_LINE = (*_KEYS, "line")

Standing = Mapping[tuple[str, str], bool | None]  # by (series, panel); None: not known


def standing(prepared: Prepared) -> Standing:
    """Tell for every series and panel, after its last token, whether its accuracy is above both marks.

    At the largest number of examples the whole interval must lie above chance, and the gain over
    the same model without examples above zero, for every line (seed) of the series. The intervals have the
    level that Bonferroni's correction asks for: all pairs of series and panel together err in one case of
    twenty at most. Where no answer without examples was scored, only the guess counts. Where the guess or
    an interval is not known, the answer is None. Ideal predictors are references and not asked.
    The gain's interval is Newcombe's (1998, Stat. Med. 17:873), as if the two shares
    were independent, which errs on the wide side for the same prompts.
    """
    rows = prepared.final.filter(FRESH & MODELS)
    last = at_most_shots(rows)
    comparisons = max(1, last.select(_KEYS).n_unique())
    wide, start = (_widened(part, comparisons) for part in (last, rows.filter(pl.col("shots") == 0)))
    both = wide.join(start, on=_LINE, how="left", suffix="_start", maintain_order="left")
    share, lo, before, hi = (pl.col(name) for name in ("share", "lo", "share_start", "hi_start"))
    gain = share - before - ((share - lo) ** 2 + (hi - before) ** 2).sqrt()
    no_start = pl.col("shots_start").is_null() | (pl.col("shots") == 0)
    gained = pl.when(no_start).then(pl.lit(value=True)).otherwise(gain > 0)
    guessed = lo > pl.col("chance")
    # A null beside False is False to polars; what is not known stays unknown.
    known = guessed.is_not_null() & gained.is_not_null()
    above = both.with_columns(above=pl.when(known).then(guessed & gained))
    found = above.group_by(_KEYS, maintain_order=True).agg(
        known=pl.col("above").is_not_null().all(), above=pl.col("above").all()
    )
    return {
        (series, panel): bool(over) if known else None
        for series, panel, known, over in found.select(*_KEYS, "known", "above").iter_rows()
    }


def marks(prepared: Prepared) -> str:
    """Name what an accuracy is held against, as far as it was scored."""
    shots = prepared.final.filter(FRESH & MODELS)["shots"]
    guess = "chance"
    if shots.is_empty() or 0 not in shots or shots.max() == 0:
        return guess
    return f"{guess} and the same model without examples"


def _widened(rows: pl.DataFrame, comparisons: int) -> pl.DataFrame:
    """Return each line's share with its interval at the corrected level.

    The tables hold 95 % intervals of Wilson's form. Either end tells the number of trials behind them, and
    that number gives the interval of any level.
    """
    share, lo, hi, number = numbers(rows, "accuracy", "accuracy_lo", "accuracy_hi", "seeds")
    pooled = (rows["accuracy_method"] == seeds.POOLED_SHARE).fill_null(value=False).to_numpy()
    usual, corrected = (_quantiles(level, pooled, number) for level in (LEVEL, 1 - (1 - LEVEL) / comparisons))
    end = np.where(share - lo > hi - share, lo, hi)
    with np.errstate(invalid="ignore", divide="ignore"):
        trials = np.square(usual / (end - share)) * end * (1 - end)
    below, beyond = intervals.wilson(share, trials, corrected)
    ends = {"share": share, "lo": below, "hi": beyond}
    return rows.select(*_LINE, "shots", "chance").with_columns(
        pl.Series(name, values, nan_to_null=True) for name, values in ends.items()
    )


def _quantiles(level: float, pooled: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return Student's quantile for rows over seeds, the normal one for others."""
    tail = (1 + level) / 2
    freedom = np.where(pooled & (number > 1), number - 1, 1.0)
    return np.where(pooled, stdtrit(freedom, tail), ndtri(tail))
