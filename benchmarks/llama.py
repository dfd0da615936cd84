"""The loop that one would write around Hugging Face's Llama: the baseline of the benchmarks."""

import numpy as np
import torch
from jaxtyping import Int32, UInt16

from emergelab.model.spec import ModelSpec


class PlainLoop:
    """`LlamaForCausalLM` of a given shape in float32 under torch's AdamW, uncompiled, seeded."""

    def __init__(self, spec: ModelSpec, rate: float, *, warm_up: int = 1) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - slow to import

        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=spec.vocabulary,
            hidden_size=spec.width,
            intermediate_size=spec.hidden_width,
            num_hidden_layers=spec.layers,
            num_attention_heads=spec.heads,
            max_position_embeddings=spec.context,
        )
        self.model = LlamaForCausalLM(config)
        self.losses: list[float] = []
        self._optimiser = torch.optim.AdamW(self.model.parameters(), lr=rate)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: min(1.0, (step + 1) / warm_up)
        )

    def step(self, tokens: UInt16[np.ndarray, "B length"], lengths: Int32[np.ndarray, " B"]) -> None:
        """Take one step on documents; targets behind a document's end do not count."""
        words = torch.from_numpy(tokens.astype(np.int64))
        padding = torch.arange(1, words.shape[1]) >= torch.from_numpy(lengths)[:, None]
        targets = words[:, 1:].masked_fill(padding, -100)
        scores = self.model(input_ids=words[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self._schedule.step()
        self.losses.append(float(loss.detach()))
