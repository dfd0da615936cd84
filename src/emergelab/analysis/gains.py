"""What printing the steps gains over answering at once, on the same prompts."""

from __future__ import annotations

import polars as pl

from emergelab.analysis import estimate, intervals
from emergelab.analysis.groups import by_cell, conform, limits, numbers, with_shots
from emergelab.scores.tables import SCORES

_PROMPTS = ("cell", "predictor", "task", "split", "decoding", "argument", "shots")
_VALUES = ("direct", "steps", "gain", "gain_lo", "gain_hi")

# Of `n` pairs of prompts, the share right in the form with printed steps (`steps`), in the one without
# (`direct`), and their difference: for the final answer alone and for the whole answer.
GAINS = pl.Schema(
    {name: SCORES[name] for name in _PROMPTS}
    | {"n": pl.Int32}
    | dict.fromkeys(_VALUES, pl.Float64)
    | {f"whole_{name}": pl.Float64 for name in _VALUES}
    | {"gain_method": pl.String}
)


def paired_gain(items: pl.DataFrame) -> pl.DataFrame:
    """Compare the printed with the silent form of each task on the same prompts; return `GAINS`.

    Prompt p of one form has the functions and arguments of prompt p of the other. The final answer is the
    last step of either form; the whole answer is step 0, longer in the printed form. Pairs with a missing
    verdict on either are left out, and tasks of one form have no row. Raises ValueError where the forms
    disagree on which arguments are fresh, for they are then not the same prompts.
    """
    gains = pl.concat([_gains(part) for part in by_cell(with_shots(items))])
    return conform(gains.sort(_PROMPTS), GAINS)


def paired_verdicts(items: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each pair that `paired_gain` compares.

    The columns: cell, predictor, task, split, decoding, argument, shots, prompt, and whether the silent and
    the printed form are right on the final answer (`final`, `final_steps`) and on the whole answer
    (`whole`, `whole_steps`). Raises ValueError as `paired_gain` does.
    """
    pairs = pl.concat([_pairs(part) for part in by_cell(with_shots(items))])
    return pairs.select(*_PROMPTS, "prompt", "final", "final_steps", "whole", "whole_steps")


def _pairs(items: pl.DataFrame) -> pl.DataFrame:
    verdicts = _verdicts(items)
    names = [*(name for name in _PROMPTS if name != "argument"), "prompt"]
    direct = verdicts.filter(pl.col("form") == "direct")
    steps = verdicts.filter(pl.col("form") == "steps")
    pairs = direct.join(steps, on=names, how="inner", maintain_order="left", suffix="_steps", validate="1:1")
    if not pairs.filter(pl.col("argument") != pl.col("argument_steps")).is_empty():
        raise ValueError("The prompts of the direct and of the steps form must share their arguments.")
    return pairs


def _gains(items: pl.DataFrame) -> pl.DataFrame:
    pairs = _pairs(items)
    final, whole = _gain(pairs, "final"), _gain(pairs, "whole")
    whole = whole.select(*_PROMPTS, *(pl.col(name).alias(f"whole_{name}") for name in _VALUES))
    method = pl.lit(estimate.PAIRED_SHARES).alias("gain_method")
    return final.join(whole, on=_PROMPTS, how="left", maintain_order="left", validate="1:1").with_columns(
        method
    )


def _verdicts(items: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each answer with a verdict on the whole and on its last step."""
    keys = [*_PROMPTS, "form", "prompt"]
    whole = items.filter(pl.col("step") == 0).select(*keys, whole="correct")
    steps = items.filter(pl.col("step") > 0).group_by(keys, maintain_order=True)
    last = steps.agg(final=pl.col("correct").get(pl.col("step").arg_max()))
    both = whole.join(last, on=keys, how="inner", maintain_order="left", validate="1:1")
    return both.filter(pl.col("whole").is_not_null() & pl.col("final").is_not_null())


def _gain(pairs: pl.DataFrame, verdict: str) -> pl.DataFrame:
    silent, printed = pl.col(verdict), pl.col(f"{verdict}_steps")
    sums = pairs.group_by(_PROMPTS, maintain_order=True).agg(
        direct=silent.mean(),
        steps=printed.mean(),
        gained=(printed & ~silent).sum(),
        lost=(silent & ~printed).sum(),
        n=pl.len(),
    )
    gained, lost, n = numbers(sums, "gained", "lost", "n")
    interval = intervals.paired_shares(gained, lost, n)
    return sums.with_columns(pl.Series("gain", (gained - lost) / n), *limits("gain", interval))
