"""Tokens and seconds until a function is learned in context, by our training and by the plain loop.

The model is that of the study `quickstart` with four layers, the documents are its documents, the task is its
single function at ten examples with fresh arguments. Both sides read the same batches; every 250,000 tokens both
are asked the same prompts. The plain loop is `LlamaForCausalLM` in float32 with torch's AdamW at a constant rate
after the same warm-up, at the better of several rates. Whoever answers nine of ten right has learned it. Seconds
are those of the processor, on one thread, in steps alone.
"""

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float32, UInt16

from emergelab.corpus.documents import Corpus
from emergelab.corpus.prompts import make_prompts
from emergelab.evaluate.shots import score_prompts
from emergelab.evaluate.trained import TrainedPredictor
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.model.spec import ModelSpec
from emergelab.rng import stream
from emergelab.scores.predictor import Predictor
from emergelab.train.loop import choose_dtype
from emergelab.train.spec import TrainSpec
from emergelab.train.step import Rule, fresh_state, loss_function, make_batch, step
from llama import PlainLoop

EVERY, MOST = 250_000, 6_000_000
LEARNED = 0.9
SHOTS, PROMPTS = 10, 512
RATES = (1e-3, 3e-3, 1e-2)
BATCH, WARM_UP = 32, 100
LANGUAGE = draw_language(load_grammar(find_grammar("functions")), stream(0, "world"))
SPEC = ModelSpec(vocabulary=len(LANGUAGE.vocabulary), width=64, heads=4, layers=4, context=48)
DTYPE = choose_dtype(TrainSpec(milestones=(1,)), torch.device("cpu"))


class Side(Protocol):
    """One way of training: it takes a step on a batch and can be asked what it has learned."""

    def step(self, tokens: UInt16[np.ndarray, "batch length"], lengths: np.ndarray) -> None: ...
    def predictor(self) -> Predictor: ...


def main() -> dict[str, object]:
    """Return what each side needed, null where it did not learn the function within the most tokens."""
    torch.set_num_threads(1)
    ours = learn(Ours)
    plain = {f"{rate:g}": learn(lambda rate=rate: Plain(rate)) for rate in RATES}
    fastest = min(plain.values(), key=lambda curve: (curve["tokens"] or MOST + 1, -curve["accuracy"][-1]))
    return {
        "model": SPEC.model_dump(),
        "learned_at": LEARNED,
        "most_tokens": MOST,
        "ours": ours,
        "plain": plain,
        "ratio": {name: _ratio(fastest[name], ours[name]) for name in ("tokens", "seconds")},
    }


def learn(make: Callable[[], Side]) -> dict[str, object]:
    """Train until the function is learned; return tokens and seconds until then and the accuracies."""
    side = make()
    corpus = Corpus(LANGUAGE, stream(0, "data", 0), context=SPEC.context)
    tokens, seconds, steps = 0, 0.0, 0
    accuracies: list[float] = []
    while tokens < MOST:
        batch = corpus.batch(steps, BATCH)
        start = time.process_time()
        side.step(*batch)
        seconds += time.process_time() - start
        steps, tokens = steps + 1, tokens + int(batch[1].sum()) - BATCH
        if tokens // EVERY > len(accuracies):
            accuracies.append(accuracy(side.predictor()))
            if accuracies[-1] >= LEARNED:
                return {"tokens": tokens, "seconds": seconds, "steps": steps, "accuracy": accuracies}
    return {"tokens": None, "seconds": None, "steps": steps, "accuracy": accuracies}


def accuracy(predictor: Predictor) -> float:
    """Return the share of right answers at ten examples to arguments that no example shows."""
    (prompts,) = make_prompts(
        LANGUAGE, "single", shots=SHOTS, prompts=PROMPTS, stream=stream(0, "evaluation", "prompts")
    )
    items = score_prompts(predictor, prompts, cell="benchmark")
    asked = items.filter(shot=SHOTS, step=0, argument="fresh")
    return float(asked["correct"].cast(float).mean())  # pyright: ignore[reportArgumentType]


def _ratio(slow: object, fast: object) -> float | None:
    return (
        float(slow) / float(fast) if isinstance(slow, int | float) and isinstance(fast, int | float) else None
    )


class Ours:
    """Steps as `emergelab.train` takes them in the study, before the learning rate decays."""

    def __init__(self) -> None:
        spec = TrainSpec(milestones=(MOST,), batch=BATCH, warmup_steps=WARM_UP)
        self._rule = Rule(spec, 10**6, DTYPE, loss_function(SPEC, DTYPE))
        self._state = fresh_state(SPEC, [stream(0, "initialisation", 0)])

    def step(self, tokens: UInt16[np.ndarray, "batch length"], lengths: np.ndarray) -> None:
        """Take one step."""
        self._state, _ = step(self._rule, self._state, make_batch([(tokens, lengths)]))

    def predictor(self) -> Predictor:
        """Return the model as it is now."""
        return TrainedPredictor("ours", SPEC, self._state.parameters)


class Plain:
    """The plain loop as a side, and as a predictor."""

    name = "plain"
    vocabulary_size = SPEC.vocabulary

    def __init__(self, rate: float) -> None:
        self._loop = PlainLoop(SPEC, rate, warm_up=WARM_UP)

    def step(self, tokens: UInt16[np.ndarray, "batch length"], lengths: np.ndarray) -> None:
        """Take one step."""
        self._loop.step(tokens, lengths)

    def predictor(self) -> Predictor:
        """Return the model as it is now."""
        return self

    @torch.inference_mode()
    def log_probabilities(
        self, tokens: UInt16[np.ndarray, "prompts length"]
    ) -> Float32[np.ndarray, "prompts length vocabulary"]:
        """Return ln P of the next token at every place."""
        scores = self._loop.model(input_ids=torch.from_numpy(tokens.astype(np.int64))).logits
        return torch.log_softmax(scores, -1).numpy()
