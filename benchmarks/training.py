"""Training against the plain loop over Hugging Face's Llama: same shape, same documents, one thread.

The baseline is `LlamaForCausalLM` in float32 with torch's AdamW, uncompiled. Both sides take the same batches of
documents of the grammar `functions` in turn, at three sizes. `final_loss` compares where both are after the same
steps on text with more to learn: a Markov chain over the vocabulary. The baseline's loss is that of the better of
two learning rates, ours and half of it.
"""

import os
from collections.abc import Callable

import numpy as np
import torch

from emergelab.corpus.documents import Corpus
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.model.spec import ModelSpec
from emergelab.rng import stream
from emergelab.train.loop import choose_dtype
from emergelab.train.spec import TrainSpec
from emergelab.train.step import Rule, fresh_state, loss_function, make_batch, step
from llama import PlainLoop
from ratios import interleave

BATCH = 32
WARM_UP = 3
# Layers, width, context; steps that are timed.
SIZES = {"small": (4, 64, 48, 40), "medium": (4, 128, 256, 12), "large": (8, 256, 256, 4)}
CHAIN = ModelSpec(vocabulary=64, width=128, heads=4, layers=4, context=256)
CHAIN_STEPS = 60
RATE = 4e-3  # twice the default: so short a run on a chain is a matter of embedding and head
LAST = 5  # steps over which the final loss is averaged

Data = Callable[[int], tuple[np.ndarray, np.ndarray]]


def main() -> dict[str, object]:
    """Return ratios of step times by size and precision, and of losses."""
    torch.set_num_threads(1)
    auto = choose_dtype(TrainSpec(milestones=(1,)), torch.device("cpu"))
    precisions = dict.fromkeys((auto, torch.float32))
    return {
        "batch": BATCH,
        "auto": _name(auto),
        "target": {"ratio": 1.4, "final_loss_ratio": 1.01},
        "sizes": {size: _compare(size, list(precisions)) for size in SIZES},
        "final_loss": _final_losses(auto),
    }


def _compare(size: str, precisions: list[torch.dtype]) -> dict[str, object]:
    layers, width, context, steps = SIZES[size]
    language = draw_language(load_grammar(find_grammar("functions")), stream(0, "world"))
    spec = ModelSpec(vocabulary=len(language.vocabulary), width=width, layers=layers, context=context)
    corpus = Corpus(language, stream(0, "data", 0), context=context)
    data = lambda index: corpus.batch(index, BATCH)  # noqa: E731
    tokens = corpus.mean_targets() * BATCH
    found: dict[str, object] = {"model": spec.model_dump(), "parameters": spec.parameters()}
    for dtype in precisions:
        sides = Plain(spec, data, RATE), Ours(spec, data, dtype)
        times = interleave(*sides, steps, warm_up=WARM_UP)
        speed = {
            side: tokens / times[f"{side}_seconds"]["median"]  # pyright: ignore[reportTypedDictNotRequiredAccess,reportGeneralTypeIssues]
            for side in ("baseline", "candidate")
        }
        found[_name(dtype)] = {**times, "tokens_per_second": speed}
    found["two_threads"] = _threads(Ours(spec, data, precisions[0]), steps)
    return found


def _threads(ours: "Ours", steps: int) -> dict[str, object] | None:
    """Return how many times as fast a step is on two threads; None on a single core."""
    if len(os.sched_getaffinity(0)) < 2:
        return None

    def take(threads: int) -> None:
        torch.set_num_threads(threads)
        ours()

    times = interleave(lambda: take(1), lambda: take(2), steps, warm_up=WARM_UP)
    torch.set_num_threads(1)
    return {**times}


def _final_losses(dtype: torch.dtype) -> dict[str, float]:
    plain = [_final(Plain(CHAIN, documents, rate)) for rate in (RATE, RATE / 2)]
    ours = _final(Ours(CHAIN, documents, dtype, CHAIN_STEPS))
    return {"baseline": min(plain), "candidate": ours, "ratio": ours / min(plain)}


def _final(side: "Ours | Plain") -> float:
    for _ in range(CHAIN_STEPS):
        side()
    return sum(side.losses[-LAST:]) / LAST


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def documents(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch of walks of a Markov chain in which three tokens can follow each token."""
    followers = stream(0, "chain").generator().integers(CHAIN.vocabulary, size=(CHAIN.vocabulary, 3))
    generator = stream(0, "walks", index).generator()
    tokens = np.empty((BATCH, CHAIN.context + 1), np.uint16)
    tokens[:, 0] = generator.integers(CHAIN.vocabulary, size=BATCH)
    choices = generator.integers(3, size=tokens.shape)
    for t in range(1, tokens.shape[1]):
        tokens[:, t] = followers[tokens[:, t - 1], choices[:, t]]
    return tokens, np.full(BATCH, CHAIN.context + 1, np.int32)


class Ours:
    """Steps as `emergelab.train` takes them."""

    def __init__(self, model: ModelSpec, data: Data, dtype: torch.dtype, steps: int = 1000) -> None:
        spec = TrainSpec(milestones=(1,), batch=BATCH, warmup_steps=5, other_learning_rate=RATE)
        self.rule = Rule(spec, steps, dtype, loss_function(model, dtype))
        self.state = fresh_state(model, [stream(0)])
        self.data = data
        self.losses: list[float] = []

    def __call__(self) -> None:
        self.state, loss = step(self.rule, self.state, make_batch([self.data(self.state.step)]))
        self.losses.append(float(loss))


class Plain:
    """Steps of the plain loop."""

    def __init__(self, model: ModelSpec, data: Data, rate: float) -> None:
        self.loop = PlainLoop(model, rate)
        self.data = data

    @property
    def losses(self) -> list[float]:
        """The loss of each step so far."""
        return self.loop.losses

    def __call__(self) -> None:
        self.loop.step(*self.data(len(self.losses)))
