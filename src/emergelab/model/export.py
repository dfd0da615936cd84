"""The model's shape in the words of Hugging Face's `LlamaForCausalLM`, without torch."""

from __future__ import annotations

from collections.abc import Mapping

from emergelab.grammar.language import END_TOKEN, START_TOKEN
from emergelab.model.spec import ModelSpec
from emergelab.spec import Json


def llama_config(spec: ModelSpec) -> Mapping[str, Json]:
    """Return the content of `config.json`.

    The rotary base stands there twice: version 5 of transformers reads `rope_parameters`, those before, and other
    tools, `rope_theta`.
    """
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": spec.vocabulary,
        "hidden_size": spec.width,
        "intermediate_size": spec.hidden_width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.heads,
        "head_dim": spec.head_width,
        "max_position_embeddings": spec.context,
        "rms_norm_eps": spec.norm_epsilon,
        "rope_theta": spec.rotary_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": spec.rotary_base},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": START_TOKEN,
        "eos_token_id": END_TOKEN,
        "dtype": "float32",
        "torch_dtype": "float32",
    }


def generation_config(spec: ModelSpec) -> Mapping[str, Json]:
    """Return the content of `generation_config.json`: draw from the model's law, up to its context."""
    return {
        "bos_token_id": START_TOKEN,
        "eos_token_id": END_TOKEN,
        "pad_token_id": END_TOKEN,
        "do_sample": True,
        "top_k": 0,
        "max_length": spec.context,
    }
