"""Scoring predictors: trained models, ideal ones and a user's own, all by the same code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from emergelab.analysis.aggregate import CELLS, scores_from_items
from emergelab.analysis.gains import paired_gain
from emergelab.api.checks import whole
from emergelab.api.grammars import Grammar, load_grammar
from emergelab.recipes.scoring import items_of, losses_of, require_law, require_vocabulary
from emergelab.scores.predictor import Predictor
from emergelab.scores.prompts import PromptSet

_MOST_LENGTH = 32_000


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a predictor made of its prompts, as the tables that a run has, too."""

    items: pl.DataFrame = field(repr=False)
    """One row for each answer, and for each printed step of it."""

    @cached_property
    def scores(self) -> pl.DataFrame:
        """Accuracy and nats, with 95 % intervals, by task, form, split, kind of argument and number of examples."""
        cells = self.items.select("cell").unique(maintain_order=True)
        unknown = [pl.lit(None, kind).alias(name) for name, kind in CELLS.items() if name != "cell"]
        return scores_from_items(self.items, cells.with_columns(unknown))

    @cached_property
    def gains(self) -> pl.DataFrame:
        """What printing the steps gains over answering at once, on the same prompts."""
        return paired_gain(self.items)


def score(
    predictor: Predictor,
    grammar: Grammar | str | Path,
    *,
    tasks: str | Iterable[str] | None = None,
    shots: int = 10,
    prompts: int = 512,
) -> Evaluation:
    """Ask a predictor the tasks of a grammar (all if none is named), with 0 to `shots` examples.

    `grammar` is one that `load_grammar` read, or a name or path for it. There are `prompts` prompts for each
    form and split of a task. An answer is right when each of its tokens is strictly likelier than every other
    token. Raises UserError for tasks that there are not, for numbers that the grammar cannot serve, and for
    what is no predictor of the grammar's tokens.
    """
    asked = grammar if isinstance(grammar, Grammar) else load_grammar(grammar)
    sets = asked.prompts(tasks, shots=shots, prompts=prompts)
    require_vocabulary(predictor, len(asked.vocabulary))
    return score_prompts(predictor, sets)


def score_prompts(predictor: Predictor, prompts: PromptSet | Sequence[PromptSet]) -> Evaluation:
    """Ask a predictor these prompts: `Grammar.prompts` makes them.

    Raises UserError for what is no predictor: see `Predictor`.
    """
    sets = [prompts] if isinstance(prompts, PromptSet) else list(prompts)
    for one in sets:
        require_law(predictor, one)
    return Evaluation(items_of(predictor, sets, cell=predictor.name))


def measure_losses(
    predictor: Predictor, grammar: Grammar | str | Path, *, documents: int = 512, length: int = 48
) -> pl.DataFrame:
    """Return the nats per token on documents of the training law, in all (role null) and by the tokens' role.

    Columns: role, n (documents), tokens, nats with a 95 % interval over documents, and its method. The
    documents are cut at `length` tokens, and no run trains on them. Raises UserError as `score` does.
    """
    asked = grammar if isinstance(grammar, Grammar) else load_grammar(grammar)
    require_vocabulary(predictor, len(asked.vocabulary))
    return losses_of(
        predictor,
        asked.language,
        asked.evaluation_stream,
        documents=whole("documents", documents),
        context=whole("length", length, most=_MOST_LENGTH),
    )
