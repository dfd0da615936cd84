"""One pass for all numbers of examples against one pass of a trimmed prompt for each, both give the same."""

import dataclasses

import numpy as np
import polars as pl
import torch
from polars.testing import assert_frame_equal

from emergelab.corpus.prompts import make_prompts
from emergelab.evaluate.shots import score_prompts
from emergelab.evaluate.trained import TrainedPredictor
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.model.spec import ModelSpec
from emergelab.model.transformer.parameters import initialise
from emergelab.rng import stream
from emergelab.scores.prompts import PromptSet
from ratios import interleave

SHOTS = (10, 30)
PROMPTS = 64
SHARE = 0.8  # of (n + 1) / 2, by which the trimmed prompts are longer than the longest one alone


def main() -> dict[str, object]:
    """Return, for each n, how many times as fast one pass is, and the least that it should be."""
    torch.set_num_threads(1)
    return {f"shots_{shots}": compare(shots) for shots in SHOTS}


def compare(shots: int) -> dict[str, object]:
    prompts = single_function_prompts(shots)
    predictor = untrained(prompts.tokens.shape[1])
    cuts = [trimmed(prompts, row) for row in range(shots + 1)]

    def one_pass() -> pl.DataFrame:
        return score_prompts(predictor, prompts, cell="c")

    def trimmed_passes() -> pl.DataFrame:
        return pl.concat([score_prompts(predictor, cut, cell="c") for cut in cuts])

    check_agreement(one_pass(), trimmed_passes())
    return {
        "target": SHARE * (shots + 1) / 2,
        "scoring": interleave(trimmed_passes, one_pass),
        "passes_alone": interleave(
            lambda: [predictor.log_probabilities(cut.tokens[:, :-1]) for cut in cuts],
            lambda: predictor.log_probabilities(prompts.tokens[:, :-1]),
        ),
    }


def single_function_prompts(shots: int) -> PromptSet:
    language = draw_language(load_grammar(find_grammar("functions")), stream(0, "world"))
    return make_prompts(language, "single", shots=shots, prompts=PROMPTS, stream=stream(0, "prompts"))[0]


def untrained(length: int) -> TrainedPredictor:
    """Return a transformer of the size that the quickstart trains; its weights do not matter here."""
    spec = ModelSpec(vocabulary=32, width=64, heads=4, layers=4, context=length)
    return TrainedPredictor("untrained", spec, initialise(spec, [stream(0, "initialisation")]))


def trimmed(prompts: PromptSet, row: int) -> PromptSet:
    """Return the prompts with `row` examples: cut behind the answer of that row, the only one scored."""
    rows = ("argument", "stop", "steps", "fresh", "chance", "step_chance")
    cut = {name: getattr(prompts, name)[:, row : row + 1] for name in rows}
    length = int(prompts.stop[:, row].max())
    return dataclasses.replace(prompts, tokens=prompts.tokens[:, :length], **cut)


def check_agreement(whole: pl.DataFrame, parts: pl.DataFrame) -> None:
    """Fail unless both ways give the same scores, item by item."""
    shot = np.arange(len(parts)) // (len(parts) // whole["shot"].n_unique())
    parts = parts.with_columns(pl.Series("shot", shot, dtype=pl.Int16)).sort("prompt", "shot", "step")
    assert_frame_equal(whole, parts, abs_tol=1e-4)
