"""From scored tokens to the `ITEMS` table: what a whole answer is, and what each printed step of it is.

Teacher-forced scoring and free generation fill the same two arrays, whether each token of each answer is
right and what it costs. Everything behind that is common, so that the two cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Int32

from emergelab.scores.prompts import PromptSet
from emergelab.scores.tables import ITEMS


@dataclass(frozen=True)
class AnswerPlaces:
    """Where answers stand: that of row s of prompt p is the tokens from `first` up to, without, `stop`."""

    first: Int32[np.ndarray, "prompts rows"]
    stop: Int32[np.ndarray, "prompts rows"]

    @classmethod
    def of(cls, prompts: PromptSet) -> AnswerPlaces:
        """Return the places of the whole answers. Raises ValueError on an empty or misplaced answer."""
        places = cls((prompts.argument + 1).astype(np.int32), prompts.stop)
        printed = prompts.steps >= 0
        before = prompts.steps < places.first[..., None]
        behind = prompts.steps >= places.stop[..., None]
        if (places.first >= places.stop).any() or (printed & (before | behind)).any():
            raise ValueError(f"Every answer of {prompts.task!r} must have a token and hold its own steps.")
        return places

    @property
    def width(self) -> int:
        """The number of tokens of the longest answer."""
        return int((self.stop - self.first).max(initial=0))

    @cached_property
    def inside(self) -> Bool[np.ndarray, "prompts rows width"]:
        """Whether the answer has that many tokens."""
        return np.arange(self.width) < (self.stop - self.first)[..., None]

    def take(self, values: np.ndarray) -> np.ndarray:
        """Return what `values` [prompts, length] holds at the answers' places, [prompts, rows, width].

        Beyond an answer's end its last token is repeated; `inside` tells which entries count.
        """
        place = self.first[..., None] + np.arange(self.width)
        place = np.minimum(place, self.stop[..., None] - 1)
        return np.take_along_axis(values[:, None, :], place, axis=2)


@dataclass(frozen=True, kw_only=True)
class ScoredAnswers:
    """What a predictor made of the answers, token by token; entries beyond an answer's end mean nothing."""

    predictor: str
    decoding: str
    right: Bool[np.ndarray, "prompts rows width"]
    nats: Float32[np.ndarray, "prompts rows width"] | None  # None in free generation


def item_table(prompts: PromptSet, scored: ScoredAnswers, *, cell: str) -> pl.DataFrame:
    """Return the `ITEMS` rows in the order prompt, shot, step. Step 0 is the whole answer."""
    exists = _with_whole(prompts.steps >= 0, np.True_)
    prompt, shot, step = np.nonzero(exists)
    chance = _with_whole(prompts.step_chance, prompts.chance)
    frame = pl.DataFrame(
        {
            "prompt": prompt,
            "shot": shot,
            "step": step,
            "fresh": prompts.fresh[prompt, shot],
            "correct": _correct(prompts, scored.right)[exists],
            "nats": pl.Series(_nats(prompts, scored.nats)[exists], nan_to_null=True),
            "chance": pl.Series(chance[exists], nan_to_null=True),
        }
    )
    argument = pl.when("fresh").then(pl.lit("fresh")).otherwise(pl.lit("repeated"))
    frame = frame.with_columns(argument=argument, **_labels(prompts, scored, cell))
    return frame.select(pl.col(name).cast(kind) for name, kind in ITEMS.items())


def _labels(prompts: PromptSet, scored: ScoredAnswers, cell: str) -> dict[str, pl.Expr]:
    labels = {"cell": cell, "predictor": scored.predictor, "decoding": scored.decoding}
    labels |= {"task": prompts.task, "form": prompts.form, "split": prompts.split}
    return {name: pl.lit(value) for name, value in labels.items()}


def _correct(prompts: PromptSet, right: np.ndarray) -> np.ndarray:
    whole = (right | ~AnswerPlaces.of(prompts).inside).all(axis=2)
    return _with_whole(_at_steps(prompts, right), whole)


def _nats(prompts: PromptSet, nats: np.ndarray | None) -> np.ndarray:
    if nats is None:
        return _with_whole(np.full(prompts.steps.shape, np.nan), np.nan)
    # Summed in double precision: the bounds compare these sums with exact ones.
    whole = np.where(AnswerPlaces.of(prompts).inside, nats, 0.0).sum(axis=2, dtype=np.float64)
    return _with_whole(_at_steps(prompts, nats).astype(np.float64), whole)


def _at_steps(prompts: PromptSet, values: np.ndarray) -> np.ndarray:
    offset = np.maximum(prompts.steps - prompts.argument[..., None] - 1, 0)
    return np.take_along_axis(values, offset, axis=2)


def _with_whole(steps: np.ndarray, whole: np.ndarray | np.bool | float) -> np.ndarray:
    """Put the whole answer's value before those of its steps, as step 0."""
    column = np.broadcast_to(np.asarray(whole), steps.shape[:2])[..., None]
    return np.concatenate([column, steps], axis=2)
