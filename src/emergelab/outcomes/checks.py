"""Refuses tables of outcomes whose numbers are impossible in the units that their columns have."""

from __future__ import annotations

import polars as pl

from emergelab.outcomes.files import TableError
from emergelab.outcomes.schema import CELL, SCALE

_FEWEST_PARAMS = 1000
_MOST_PARAMS = 10**14
_FRACTIONS = ("chance", "cloze_loss", "probability", "score")
_NATS = ("loss", "nats", "nats_per_token")


def require_sound(frame: pl.DataFrame) -> None:
    """Raise TableError for values that are impossible, and for checkpoints that stand at two places.

    Columns are roles, see `outcomes.reading`; those that are missing are not looked at.
    """
    _require_fractions(frame)
    _require_nats(frame)
    _require_counts(frame)
    _require_one_place(frame)


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
    for name in _present(frame, ("train_tokens", "flops", "answer_tokens", "shots", "sample")):
        odd = frame.filter(pl.col(name) < 0)[name]
        if odd.len():
            raise TableError(f"Got {odd[0]} in the column read as {name}. It is at least 0. Mend these rows.")
    for name in _present(frame, ("params",)):
        few, many = (
            frame.filter(wrong)[name]
            for wrong in (pl.col(name) < _FEWEST_PARAMS, pl.col(name) > _MOST_PARAMS)
        )
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
            f"{system} at {checkpoint} has {several[name][0]:,} values in the column read as {name}. A checkpoint "
            f"has one.{_remedy(name)}"
        )


def _remedy(name: str) -> str:
    if name == "loss":
        return (
            " If it is the loss of single answers, say --column nats=NAME for whole answers or "
            "--column nats_per_token=NAME."
        )
    return " Name checkpoints apart with --column checkpoint=NAME, or mend these rows."


def _present(frame: pl.DataFrame, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in frame.columns]
