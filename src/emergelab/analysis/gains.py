"""What printing the steps gains over answering at once, on the same prompts: three gains, apart.

The theory predicts the difference of the description lengths, D[silent] - D[printed]: so many nats fewer does an
ideal predictor pay at most for all answers of a prompt together, printed steps included. What the ideal predictor
gains on final answers is another number, since a printed step also tells which functions are asked. What a model
gains more than that is computational: the theory does not speak of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import polars as pl

from emergelab.analysis import estimate, intervals
from emergelab.analysis.aggregate import CELLS
from emergelab.analysis.groups import SCALE, by_cell, conform, limits, numbers, with_shots
from emergelab.analysis.means import mean_columns, moments, step_columns
from emergelab.analysis.seeds import POOLED_MEAN, beside_seeds, crossed, crossed_gains, over_seeds
from emergelab.scores.tables import CURVES, SCORES

FULL = "full"
NOT_COMPUTED = "no ideal predictor was computed"
_ASKED = ("task", "split", "decoding")
_GROUP = ("cell", "predictor", *_ASKED)
_QUERY = (*_GROUP, "argument", "shots")
_FIRST = (*_GROUP, "answers")
_SIZES = {name: CURVES[name] for name in (*SCALE, "seed", "seeds")}
_PREDICTED = dict.fromkeys(("D_direct_nats", "D_steps_nats", "predicted_nats"), pl.Float64) | {
    "predicted_reason": pl.String
}


def _estimate(name: str) -> dict[str, Any]:
    return dict.fromkeys((name, f"{name}_lo", f"{name}_hi"), pl.Float64)


def _method(name: str) -> dict[str, Any]:
    return {f"{name}_method": pl.String}


def _forms(name: str) -> dict[str, Any]:
    return dict.fromkeys((f"{name}direct", f"{name}steps"), pl.Float64)


# Of `n` pairs of prompts, the share right in the form with printed steps (`steps`), in the one without
# (`direct`), and their difference: for the final answer alone and for the whole answer. Nats are those of the final
# answer; a gain in nats is nats saved. `beyond` is what a model gains more than the ideal predictor of the grammar.
GAINS = pl.Schema(
    {name: SCORES[name] for name in _QUERY}
    | {"n": pl.Int32}
    | _forms("") | _estimate("gain")
    | _forms("whole_") | _estimate("whole_gain") | _method("gain")
    | _forms("nats_") | _estimate("nats_gain") | _method("nats_gain")
    | _PREDICTED
    | {"ideal_gain": pl.Float64} | _estimate("beyond") | _method("beyond")
    | {"ideal_nats_gain": pl.Float64} | _estimate("beyond_nats") | _method("beyond_nats")
    | _SIZES
)  # fmt: skip

# The same for the first `answers` answers of a prompt together: wrong final answers and their nats, and the nats of
# whole answers, printed steps and separators included, which are what the predicted gain is about.
CUMULATIVE_GAINS = pl.Schema(
    {name: SCORES[name] for name in _GROUP}
    | {"answers": pl.Int16, "n": pl.Int32}
    | _forms("errors_") | _estimate("errors_gain") | _method("errors_gain")
    | _forms("nats_") | _estimate("nats_gain") | _method("nats_gain")
    | _forms("whole_nats_") | _estimate("whole_nats_gain") | _method("whole_nats_gain")
    | _PREDICTED
    | {"ideal_errors_gain": pl.Float64} | _estimate("beyond_errors") | _method("beyond_errors")
    | {"ideal_nats_gain": pl.Float64} | _estimate("beyond_nats") | _method("beyond_nats")
    | {"ideal_whole_nats_gain": pl.Float64} | _estimate("beyond_whole_nats") | _method("beyond_whole_nats")
    | _SIZES
)  # fmt: skip


def _no_cells() -> pl.DataFrame:
    return CELLS.to_frame()


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known besides the answers; nothing, if not told otherwise.

    `cells` have the columns `aggregate.CELLS`. `against` names for each cell of a model that of its ideal
    predictor, whose items are among the answers. `bounds` have the schema of `scores.tables.BOUNDS`; `laws` names the
    law of an ideal predictor, by its name; all others are held against the law of the whole grammar.
    """

    cells: pl.DataFrame = field(default_factory=_no_cells)
    against: Mapping[str, str] = field(default_factory=dict[str, str])
    bounds: pl.DataFrame | None = None
    laws: Mapping[str, str] = field(default_factory=dict[str, str])


def paired_gain(items: pl.DataFrame, known: Known | None = None) -> pl.DataFrame:
    """Compare the printed with the silent form of each task on the same prompts; return `GAINS`.

    Prompt p of one form has the functions and arguments of prompt p of the other. The final answer is the
    last step of either form; the whole answer is step 0, longer in the printed form. Pairs with a missing
    verdict on either are left out, and tasks of one form have no row. There is a row for each cell, whose intervals
    are over prompts, and from five seeds on one for all of them (cell and seed null), whose intervals are over seeds
    and prompts. Raises ValueError where the forms disagree on which arguments are fresh, for they are then not the
    same prompts.
    """
    return _of_single(paired_answers(items), known or Known())


def _of_single(answers: pl.DataFrame, known: Known) -> pl.DataFrame:
    pairs = _beside_ideal(answers, known, _GAINED)
    single = _estimated(pairs, _QUERY, ["nats_gain", "beyond", "beyond_nats"], _GAINED)
    shares = [column for name in _SHARES for column in _share_columns(single, name)]
    frame = single.with_columns(*shares, gain_method=pl.lit(estimate.PAIRED_SHARES))
    pooled = over_seeds(pairs, known.cells, _QUERY, partial(_pooled_columns, gains=_GAINED))
    return _finished([frame, pooled], _QUERY, known, GAINS)


def cumulative_gains(items: pl.DataFrame, known: Known | None = None) -> pl.DataFrame:
    """Compare the forms on the first answers of each prompt together, from the first on; return `CUMULATIVE_GAINS`.

    Fresh and repeated arguments alike. In free generation every answer stands behind true examples. Rows, intervals
    and errors are as in `paired_gain`.
    """
    return _of_first(paired_answers(items), known or Known())


def both_gains(items: pl.DataFrame, known: Known | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return `paired_gain` and `cumulative_gains` of the same items, which are paired once."""
    answers = paired_answers(items)
    return _of_single(answers, known or Known()), _of_first(answers, known or Known())


def _of_first(answers: pl.DataFrame, known: Known) -> pl.DataFrame:
    pairs = _beside_ideal(_added_up(answers), known, _SAVED)
    names = [name for gain in _SAVED for name in (gain.name, gain.beyond) if name]
    single = _estimated(pairs, _FIRST, names, _SAVED)
    pooled = over_seeds(pairs, known.cells, _FIRST, partial(_pooled_columns, gains=_SAVED))
    return _finished([single, pooled], _FIRST, known, CUMULATIVE_GAINS)


def paired_answers(items: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each pair that `paired_gain` compares.

    The columns: cell, predictor, task, split, decoding, argument, shots, prompt, and of the silent and the
    printed form whether the final answer (`final`, `final_steps`) and the whole answer (`whole`,
    `whole_steps`) are right and what they cost (`nats`, `nats_steps`, `whole_nats`, `whole_nats_steps`; null in free
    generation). Raises ValueError as `paired_gain` does.
    """
    pairs = pl.concat([_pairs(part) for part in by_cell(with_shots(items))])
    both = [name for one in _ANSWER for name in (one, f"{one}_steps")]
    return pairs.select(*_QUERY, "prompt", *both)


_ANSWER = ("final", "whole", "nats", "whole_nats")
_SHARES = ("gain", "whole_gain")


def _pairs(items: pl.DataFrame) -> pl.DataFrame:
    answers = _answers(items)
    names = [*(name for name in _QUERY if name != "argument"), "prompt"]
    direct = answers.filter(pl.col("form") == "direct")
    steps = answers.filter(pl.col("form") == "steps")
    pairs = direct.join(steps, on=names, how="inner", maintain_order="left", suffix="_steps", validate="1:1")
    if not pairs.filter(pl.col("argument") != pl.col("argument_steps")).is_empty():
        raise ValueError("The prompts of the direct and of the steps form must share their arguments.")
    return pairs


def _answers(items: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each answer with a verdict on the whole and on its last step."""
    keys = [*_QUERY, "form", "prompt"]
    nats = pl.col("nats").cast(pl.Float64)
    whole = items.filter(pl.col("step") == 0).select(*keys, whole="correct", whole_nats=nats)
    last = (
        items.filter(pl.col("step") > 0)
        .filter(pl.col("step") == pl.col("step").max().over(keys))
        .select(*keys, final="correct", nats=nats)
    )
    both = whole.join(last, on=keys, how="inner", maintain_order="left", validate="1:1")
    return both.filter(pl.col("whole").is_not_null() & pl.col("final").is_not_null())


def _added_up(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return for each prompt what its first answers cost together: wrong final ones, their nats, nats of the whole."""
    prompt = [*_GROUP, "prompt"]
    sums = {
        **{f"errors{form}": (~pl.col(f"final{form}")).cast(pl.Float64) for form in ("", "_steps")},
        **{f"{one}{form}": pl.col(f"{one}{form}") for one in ("nats", "whole_nats") for form in ("", "_steps")},
    }  # fmt: skip
    return pairs.sort(*prompt, "shots").select(
        *prompt,
        answers=(pl.col("shots") + 1).cast(pl.Int16),
        **{name: value.cum_sum().over(prompt) for name, value in sums.items()},
    )


@dataclass(frozen=True)
class _Gain:
    """A column of gains: what is paired, whether more of it is better, and the model's beyond the ideal's."""

    paired: str
    name: str
    better: bool
    forms: str  # in front of `direct` and `steps` in the names of their means
    beyond: str | None = None

    def value(self) -> pl.Expr:
        silent, printed = (pl.col(name).cast(pl.Float64) for name in (self.paired, f"{self.paired}_steps"))
        return (printed - silent if self.better else silent - printed).alias(self.name)


_GAINED = (
    _Gain("final", "gain", better=True, forms="", beyond="beyond"),
    _Gain("whole", "whole_gain", better=True, forms="whole_"),
    _Gain("nats", "nats_gain", better=False, forms="nats_", beyond="beyond_nats"),
)
_SAVED = (
    _Gain("errors", "errors_gain", better=False, forms="errors_", beyond="beyond_errors"),
    _Gain("nats", "nats_gain", better=False, forms="nats_", beyond="beyond_nats"),
    _Gain("whole_nats", "whole_nats_gain", better=False, forms="whole_nats_", beyond="beyond_whole_nats"),
)
_COUNTS = frozenset({"beyond", "errors_gain", "beyond_errors"})  # whole numbers for each prompt


def _beside_ideal(pairs: pl.DataFrame, known: Known, gains: Sequence[_Gain]) -> pl.DataFrame:
    """Add the gains of each pair, those of the ideal predictor on the same prompt, and what is beyond them."""
    pairs = pairs.with_columns(gain.value() for gain in gains)
    place = [name for name in ("task", "split", "decoding", "argument", "shots", "answers", "prompt")
             if name in pairs.columns]  # fmt: skip
    held = [gain for gain in gains if gain.beyond]
    ideal = pairs.select(
        pl.col("cell").alias("ideal_cell"),
        *place,
        *(pl.col(one.name).alias(f"ideal_{one.name}") for one in held),
    )
    return (
        pairs.join(_links(known.against), on="cell", how="left", maintain_order="left")
        .join(ideal, on=["ideal_cell", *place], how="left", maintain_order="left", validate="m:1")
        .with_columns(
            (pl.col(one.name) - pl.col(f"ideal_{one.name}")).alias(one.beyond) for one in held if one.beyond
        )
    )


def _links(against: Mapping[str, str]) -> pl.DataFrame:
    schema = pl.Schema({"cell": pl.String, "ideal_cell": pl.String})
    return pl.DataFrame(list(against.items()), schema=schema, orient="row")


def _estimated(
    pairs: pl.DataFrame, keys: Sequence[str], names: Sequence[str], gains: Sequence[_Gain]
) -> pl.DataFrame:
    """Return the means of both forms, of gains with their intervals over prompts, and of the ideal's gains."""
    groups = pairs.group_by(keys, maintain_order=True).agg(
        pl.len().alias("n"),
        *(part for name in names for part in moments(name)),
        *(part for gain in gains for part in _both_forms(gain)),
        *(pl.col(f"ideal_{gain.name}").mean() for gain in gains if gain.beyond),
        *(part for gain in gains if gain.better for part in _won_and_lost(gain)),
    )
    columns = [
        part for name in names for part in (step_columns if name in _COUNTS else mean_columns)(groups, name)
    ]
    finite = [
        pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in _plain_means(gains)
    ]
    return groups.with_columns(*columns, *finite)


def _plain_means(gains: Sequence[_Gain]) -> list[str]:
    forms = [f"{gain.forms}{form}" for gain in gains for form in ("direct", "steps")]
    return [*forms, *(f"ideal_{gain.name}" for gain in gains if gain.beyond)]


def _both_forms(gain: _Gain) -> list[pl.Expr]:
    columns = {f"{gain.forms}direct": gain.paired, f"{gain.forms}steps": f"{gain.paired}_steps"}
    return [pl.col(column).cast(pl.Float64).mean().alias(name) for name, column in columns.items()]


def _won_and_lost(gain: _Gain) -> list[pl.Expr]:
    value = pl.col(gain.name)
    return [(value > 0).sum().alias(f"{gain.name}_won"), (value < 0).sum().alias(f"{gain.name}_lost")]


def _share_columns(sums: pl.DataFrame, name: str) -> list[pl.Series]:
    """Return a gain in shares and its interval over pairs of right-or-wrong answers."""
    won, lost, n = numbers(sums, f"{name}_won", f"{name}_lost", "n")
    return [pl.Series(name, (won - lost) / n), *limits(name, intervals.paired_shares(won, lost, n))]


def _pooled_columns(answers: pl.DataFrame, gains: Sequence[_Gain]) -> list[pl.DataFrame]:
    parts = [crossed(_valued(answers, gains[0].name)).select("group", "n", "seeds")]
    for gain in gains:
        parts += [_pooled(answers, name) for name in (gain.name, gain.beyond) if name]
        ideal = [f"ideal_{gain.name}"] if gain.beyond else []
        columns = {f"{gain.forms}direct": gain.paired, f"{gain.forms}steps": f"{gain.paired}_steps"}
        parts += [
            _mean_over_seeds(answers, column, name)
            for name, column in {**columns, **dict(zip(ideal, ideal, strict=True))}.items()
        ]
    return parts


def _valued(answers: pl.DataFrame, column: str) -> pl.DataFrame:
    return answers.with_columns(value=pl.col(column).cast(pl.Float64))


def _mean_over_seeds(answers: pl.DataFrame, column: str, name: str) -> pl.DataFrame:
    mean = crossed(_valued(answers, column))
    return mean.select("group", pl.when(pl.col("value").is_finite()).then(pl.col("value")).alias(name))


def _pooled(answers: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the mean of a gain over seeds and prompts with Student's interval; null where it is infinite."""
    valued = _valued(answers, name)
    if name in {*_SHARES, *_COUNTS}:
        pooled = crossed_gains(valued, most=1.0 if name in _SHARES else float("inf"))
        columns = {"value": name, "lo": f"{name}_lo", "hi": f"{name}_hi"}
        return pooled.select("group", *(pl.col(old).alias(new) for old, new in columns.items()),
                             pl.lit(POOLED_MEAN).alias(f"{name}_method"))  # fmt: skip
    pooled = crossed(valued)
    value, variance, seeds = numbers(pooled, "value", "variance", "seeds")
    ends = intervals.student(value, variance, seeds - 1)
    finite = pl.col("value").is_finite()
    return pooled.with_columns(*limits(name, ends)).select(
        "group",
        pl.when(finite).then(pl.col("value")).alias(name),
        *(pl.when(finite).then(pl.col(f"{name}_{end}")).alias(f"{name}_{end}") for end in ("lo", "hi")),
        pl.when(finite)
        .then(pl.lit(POOLED_MEAN))
        .otherwise(pl.lit(estimate.INFINITE))
        .alias(f"{name}_method"),
    )


def _finished(
    parts: Sequence[pl.DataFrame], keys: Sequence[str], known: Known, schema: Mapping[str, Any]
) -> pl.DataFrame:
    """Add what each cell is and what the theory predicts of it; return the columns of `schema`, sorted."""
    single, pooled = parts
    frame = _predicted(beside_seeds(single, pooled, known.cells), known)
    missing = [
        pl.lit(None, dtype=kind).alias(name) for name, kind in schema.items() if name not in frame.columns
    ]
    # Over seeds nats that were never measured have not even a group.
    methods = [pl.col(name).fill_null(estimate.NO_VALUES) for name in schema if name.endswith("_method")]
    full = frame.with_columns(missing).with_columns(methods)
    return conform(full.sort([*keys, *SCALE], nulls_last=True), schema)


def _predicted(frame: pl.DataFrame, known: Known) -> pl.DataFrame:
    """Add the description lengths of both forms and their difference, or why there is none."""
    law = pl.col("predictor").replace_strict(dict(known.laws), default=FULL, return_dtype=pl.String)
    found = frame.with_columns(law=law).join(
        predicted_gains(known.bounds),
        on=["variant", "law", "task", "split"],
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    untold = pl.col("predicted_nats").is_null() & pl.col("predicted_reason").is_null()
    return found.with_columns(
        predicted_reason=pl.when(untold).then(pl.lit(NOT_COMPUTED)).otherwise("predicted_reason")
    )


def predicted_gains(bounds: pl.DataFrame | None) -> pl.DataFrame:
    """Return D[silent] - D[printed] in nats for each variant, law, task and split that has both forms.

    Columns: these four, D_direct_nats, D_steps_nats, predicted_nats, predicted_reason. Both D are means over the same
    choices of functions by their probability, so that their difference is the mean of the differences. Where a choice
    has no derivation in one of the forms the difference is null, and the reason names the form.
    """
    names = ["variant", "law", "task", "split"]
    if bounds is None or bounds.is_empty():
        return pl.Schema(dict.fromkeys(names, pl.String) | _PREDICTED).to_frame()
    first = bounds.filter(pl.col("answers") == pl.col("answers").min()).select(
        *names, "form", "D_nats", "reason"
    )
    direct, steps = (first.filter(pl.col("form") == form).drop("form") for form in ("direct", "steps"))
    both = direct.join(steps, on=names, how="inner", nulls_equal=True, maintain_order="left", suffix="_steps")
    return both.select(
        *names,
        D_direct_nats="D_nats",
        D_steps_nats="D_nats_steps",
        predicted_nats=pl.col("D_nats") - pl.col("D_nats_steps"),
        predicted_reason=pl.concat_str(
            [
                pl.when(pl.col(f"D_nats{end}").is_null()).then(pl.format(f"{form}: {{}}", f"reason{end}"))
                for form, end in (("direct", ""), ("steps", "_steps"))
            ],
            separator="; ",
            ignore_nulls=True,
        ).replace("", None),
    )
