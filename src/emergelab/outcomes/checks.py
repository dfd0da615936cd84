"""Refuses tables of outcomes whose numbers are impossible in the units that their columns have."""

from __future__ import annotations

import polars as pl

from emergelab.outcomes.files import TableError
from emergelab.outcomes.ordering import answered_twice
from emergelab.outcomes.schema import CELL, SCALE

_FEWEST_PARAMS = 1000
_MOST_PARAMS = 10**14
_FRACTIONS = ("chance", "cloze_loss", "probability", "score")
_NATS = ("loss", "nats", "nats_per_token")
_COUNTS = {
    "train_tokens": 1e17,
    "flops": 1e32,
    "answer_tokens": 2**31 - 1,
    "shots": 2**31 - 1,
    "sample": 2**31 - 1,
}
_WHOLE = ("answer_tokens", "shots", "sample")
_FEWEST_TOKENS = 1e-4  # per parameter, at the last checkpoint; the first of Pythia 12B has as many
_MOST_STEPS = 10**8  # of a training, and a step reads one token at least
_MOST_LOSS = 20.0  # nats per token: a uniform guess among 500 million tokens


def require_sound(frame: pl.DataFrame) -> None:
    """Raise TableError for values that are impossible, and for checkpoints that stand at two places.

    Columns are roles, see `outcomes.reading`; those that are missing are not looked at.
    """
    _require_fractions(frame)
    _require_nats(frame)
    _require_counts(frame)
    _require_one_place(frame)
    _require_enough_tokens(frame)
    _require_one_unit(frame)
    _require_two_scales(frame)


def plausibility_notes(frame: pl.DataFrame) -> list[str]:
    """Return what is possible, but odd enough that somebody should look: `OUTCOMES` in, sentences out."""
    said = (_about_loss(frame), _about_tokens(frame), _about_items(frame))
    return [note for note in said if note is not None]


def _require_fractions(frame: pl.DataFrame) -> None:
    for name in _present(frame, _FRACTIONS):
        odd = frame.filter(~pl.col(name).is_between(0, 1))[name]
        if odd.len() == 0:
            continue
        hint = " They look like percent: divide by 100." if odd.max() <= 100 and odd.min() >= 0 else ""  # pyright: ignore[reportOperatorIssue, reportOptionalOperand] # noqa: PLR2004
        raise TableError(
            f"Got {odd[0]:g} in the column read as {name} ({odd.len():,} such rows). It is a fraction, 0 to 1."
            f"{hint or ' Mend these rows or choose another column with --column ' + name + '=NAME.'}"
        )


def _require_nats(frame: pl.DataFrame) -> None:
    for name in _present(frame, _NATS):
        odd = frame.filter(pl.col(name) < 0)[name]
        if odd.len():
            raise TableError(
                f"Got {odd[0]:g} in the column read as {name} ({odd.len():,} such rows). A cost in nats is at least 0. "
                "Turn the sign of log-probabilities."
            )


def _require_counts(frame: pl.DataFrame) -> None:
    for name, most in _COUNTS.items():
        if name not in frame.columns:
            continue
        odd = frame.filter(~pl.col(name).is_between(0, most))[name]
        if odd.len():
            raise TableError(
                f"Got {odd[0]:g} in the column read as {name} ({odd.len():,} such rows). It is at least 0 and at most "
                f"{most:.3g}. Mend these rows, or choose another column with --column {name}=NAME."
            )
    for name in _present(frame, _WHOLE):
        odd = frame.filter(pl.col(name) != pl.col(name).round())[name]
        if odd.len():
            raise TableError(
                f"Got {odd[0]:g} in the column read as {name} ({odd.len():,} such rows). It is a whole number. Mend "
                f"these rows, or choose another column with --column {name}=NAME."
            )
    if "params" in frame.columns:
        _require_params(frame["params"].cast(pl.Float64))


def _require_params(params: pl.Series) -> None:
    few, many = params.filter(params < _FEWEST_PARAMS), params.filter(params > _MOST_PARAMS)
    if few.len():
        raise TableError(
            f"Got {few[0]:g} parameters ({few.len():,} such rows). They are counted one by one, and a transformer "
            f"has {_FEWEST_PARAMS:,} at least. Write 6.9 billion as 6900000000 or 6.9e9."
        )
    if many.len():
        raise TableError(
            f"Got {many[0]:.3g} parameters ({many.len():,} such rows), more than {_MOST_PARAMS:.0e}. They may be "
            "training tokens or compute. Say which column holds parameters with --column params=NAME."
        )


def _require_one_place(frame: pl.DataFrame) -> None:
    """Refuse scales that vary within a checkpoint."""
    scales = _present(frame, SCALE)
    counted = frame.group_by(CELL).agg(pl.col(scales).n_unique())
    for name in scales:
        several = counted.filter(pl.col(name) > 1)
        if several.is_empty():
            continue
        system, checkpoint = (several.sort(CELL)[column][0] for column in CELL)
        raise TableError(
            f"{system} at {checkpoint} has {several.sort(CELL)[name][0]:,} values in the column read as {name} "
            f"(none at all counts as one). A checkpoint has one.{_remedy(name)}"
        )


def _require_enough_tokens(frame: pl.DataFrame) -> None:
    """Refuse tokens counted in thousands, millions or billions: no checkpoint was trained on so few."""
    if not {"params", "train_tokens"} <= set(frame.columns):
        return
    last = frame.group_by("system").agg(pl.col("params", "train_tokens").max()).sort("system")
    odd = last.filter(
        (pl.col("train_tokens") > 0) & (pl.col("train_tokens") < _FEWEST_TOKENS * pl.col("params"))
    )
    if odd.height:
        system, params, tokens = odd.row(0)
        raise TableError(
            f"{system} has {params:.4g} parameters and was trained on {tokens:g} tokens at most. Tokens are counted "
            "one by one. Write 300 billion as 300000000000 or 3e11."
        )


def _require_one_unit(frame: pl.DataFrame) -> None:
    """Refuse tokens that some checkpoints count one by one and others in millions or billions."""
    if "train_tokens" not in frame.columns:
        return
    most = pl.col("train_tokens").max().over("system") / _MOST_STEPS  # divided, as integers would overflow
    odd = frame.filter((pl.col("train_tokens") > 0) & (pl.col("train_tokens") < most))
    if odd.height:
        first = odd.sort(CELL).row(0, named=True)
        largest = frame.filter(pl.col("system") == first["system"])["train_tokens"].max()
        raise TableError(
            f"{first['system']} has {first['train_tokens']:g} training tokens at {first['checkpoint']} and up to "
            f"{largest:g} elsewhere. No training has so many steps: units are mixed. Count tokens one by one "
            "everywhere, 42 billion as 42000000000 or 4.2e10."
        )


def _require_two_scales(frame: pl.DataFrame) -> None:
    """Refuse one column's numbers that stand for parameters as well as for training tokens."""
    if not {"params", "train_tokens"} <= set(frame.columns):
        return
    places = frame.select("params", "train_tokens").drop_nulls().unique()
    if places.height > 1 and (places["params"] == places["train_tokens"]).all():
        raise TableError(
            f"Parameters and training tokens are the same numbers at all {places.height} places, first "
            f"{places['params'].min():.4g}. One of them was read as the other. Say which columns they are with "
            "--column params=NAME and --column train_tokens=NAME, or leave one out."
        )


def _remedy(name: str) -> str:
    if name == "loss":
        return (
            " If it is the loss of single answers, say --column nats=NAME for whole answers or "
            "--column nats_per_token=NAME."
        )
    return " Name checkpoints apart with --column checkpoint=NAME, or mend these rows."


def _about_loss(frame: pl.DataFrame) -> str | None:
    most = frame["loss"].max()
    if not isinstance(most, float) or most <= _MOST_LOSS:
        return None
    return (
        f"A system's loss is {most:g} nats per token, worse than a guess among all words. If it is a perplexity, take "
        "its logarithm; if it is in bits, multiply by 0.693."
    )


def _about_tokens(frame: pl.DataFrame) -> str | None:
    last = frame.group_by("system").agg(pl.col("params", "train_tokens").max()).sort("system")
    few = last.filter((pl.col("train_tokens") > 0) & (pl.col("train_tokens") < pl.col("params")))["system"]
    if few.is_empty():
        return None
    return (
        f"{few.len()} of {last.height} systems, first {few[0]}, were trained on fewer tokens than they have "
        "parameters. Check that the two columns are not swapped."
    )


def _about_items(frame: pl.DataFrame) -> str | None:
    """Say so where no item was answered twice: its names may be those of rows."""
    if frame.select(CELL).unique().height == 1 or answered_twice(frame):
        return None
    return (
        "No item was answered at two checkpoints, so that none can be compared item by item. If the column read as "
        "piece numbers rows, choose another with --column piece=NAME."
    )


def _present(frame: pl.DataFrame, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in frame.columns]
