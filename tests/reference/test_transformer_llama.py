"""The network against Hugging Face's Llama with the same weights."""

import pytest
import torch

from emergelab.model.spec import ModelSpec
from emergelab.model.transformer.network import logits, network
from emergelab.model.transformer.parameters import initialise, to_llama
from emergelab.rng import stream

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(vocabulary=20, width=64, heads=4, layers=3, context=48),
        ModelSpec(
            vocabulary=9,
            width=12,
            heads=1,
            layers=1,
            context=20,
            hidden=20,
            rotary_base=500.0,
            norm_epsilon=1e-3,
        ),
    ],
)
def test_logits_equal_llama(spec: ModelSpec):
    config = transformers.LlamaConfig(
        vocab_size=spec.vocabulary,
        hidden_size=spec.width,
        intermediate_size=spec.hidden_width,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        max_position_embeddings=spec.context,
        rms_norm_eps=spec.norm_epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": spec.rotary_base},
        tie_word_embeddings=False,
    )
    llama = transformers.LlamaForCausalLM(config).eval()
    values = initialise(spec, [stream(5)])
    noise = torch.Generator().manual_seed(0)
    for name in values:
        values[name] = values[name] + 0.2 * torch.randn(values[name].shape, generator=noise)
    llama.load_state_dict(to_llama(values), strict=True)
    tokens = torch.randint(spec.vocabulary, (1, 8, spec.context), generator=noise)
    with torch.no_grad():
        expected = llama(input_ids=tokens[0]).logits
        seen = logits(network(spec, values), tokens)[0]
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-5)
