"""Training against the plain loop over Hugging Face's Llama: same shape, same tokens, one thread.

The baseline is `LlamaForCausalLM` in float32 with torch's AdamW, uncompiled. Both sides take the same batches
in turn. `final_loss` compares where both are after the same steps on text with something to learn: a Markov
chain over the vocabulary. The baseline's loss is that of the better of two learning rates, ours and half of it.
"""

import numpy as np
import torch

from emergelab.model.spec import ModelSpec
from emergelab.rng import stream
from emergelab.train.loop import choose_dtype
from emergelab.train.spec import TrainSpec
from emergelab.train.step import Rule, fresh_state, loss_function, make_batch, step
from ratios import interleave

SPEC = ModelSpec(vocabulary=64, width=128, heads=4, layers=4, context=256)
BATCH = 32
WARM_UP = 2
STEPS = 60  # of a whole training; the precision that is not `auto`'s takes the first ones only
RATE = 4e-3  # twice the default: so short a run on a chain is a matter of embedding and head
LAST = 5  # steps over which the final loss is averaged


def main() -> dict[str, object]:
    """Return ratios of step times and losses, in float32 and in the precision that `auto` chooses."""
    torch.set_num_threads(1)
    auto = choose_dtype(TrainSpec(milestones=(1,)), torch.device("cpu"))
    found = {_name(auto): compare(auto, STEPS)}
    if auto != torch.float32:
        found["float32"] = compare(torch.float32, STEPS // 6)
    return {
        "model": SPEC.model_dump(),
        "batch": BATCH,
        "auto": _name(auto),
        "target": {"ratio": 1.4, "final_loss_ratio": 1.01},
        "precisions": found,
    }


def compare(dtype: torch.dtype, steps: int) -> dict[str, object]:
    """Time `steps` steps of both in turn; give the losses if that was a whole training."""
    baseline, candidate = Plain(RATE), Ours(dtype)
    times = interleave(baseline, candidate, steps - WARM_UP, warm_up=WARM_UP)
    if steps < STEPS:
        return {**times}
    slower = Plain(RATE / 2)
    for _ in range(steps):
        slower()
    plain = min(_final(baseline), _final(slower))
    losses = [plain, _final(candidate)]
    return {
        **times,
        "final_loss": dict(zip(("baseline", "candidate"), losses, strict=True))
        | {"ratio": losses[1] / losses[0]},
    }


def _final(side: "Ours | Plain") -> float:
    return sum(side.losses[-LAST:]) / LAST


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def documents(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch of walks of a Markov chain in which three tokens can follow each token."""
    followers = stream(0, "chain").generator().integers(SPEC.vocabulary, size=(SPEC.vocabulary, 3))
    generator = stream(0, "walks", index).generator()
    tokens = np.empty((BATCH, SPEC.context + 1), np.uint16)
    tokens[:, 0] = generator.integers(SPEC.vocabulary, size=BATCH)
    choices = generator.integers(3, size=tokens.shape)
    for t in range(1, tokens.shape[1]):
        tokens[:, t] = followers[tokens[:, t - 1], choices[:, t]]
    return tokens, np.full(BATCH, SPEC.context + 1, np.int32)


class Ours:
    """Steps as `emergelab.train` takes them."""

    def __init__(self, dtype: torch.dtype) -> None:
        spec = TrainSpec(milestones=(1,), batch=BATCH, warmup_steps=5, other_learning_rate=RATE)
        self.rule = Rule(spec, STEPS, dtype, loss_function(SPEC, dtype))
        self.state = fresh_state(SPEC, [stream(0)])
        self.losses: list[float] = []

    def __call__(self) -> None:
        self.state, loss = step(self.rule, self.state, make_batch([documents(self.state.step)]))
        self.losses.append(float(loss))


class Plain:
    """The loop that one would write around Hugging Face's model."""

    def __init__(self, rate: float) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - slow to import

        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=SPEC.vocabulary,
            hidden_size=SPEC.width,
            intermediate_size=SPEC.hidden_width,
            num_hidden_layers=SPEC.layers,
            num_attention_heads=SPEC.heads,
            max_position_embeddings=SPEC.context,
        )
        self.model = LlamaForCausalLM(config)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=rate)
        self.losses: list[float] = []

    def __call__(self) -> None:
        tokens = torch.from_numpy(documents(len(self.losses))[0].astype(np.int64))
        scores = self.model(input_ids=tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.losses.append(float(loss.detach()))
