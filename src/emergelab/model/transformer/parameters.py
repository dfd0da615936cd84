"""The parameters of R models of one shape as a few stacked tensors, and their Llama names.

Every tensor has a leading replica dimension R and, inside blocks, a layer dimension L: the optimiser then
works on a handful of large stacks instead of on hundreds of small matrices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from emergelab.model.spec import ModelSpec
from emergelab.rng import Stream

Parameters: TypeAlias = dict[str, Tensor]

MATRICES = ("query_key_value", "attention_output", "gate_up", "down")
"""The hidden matrices: their last two dimensions are (out, in)."""


def shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Return name → shape of one model's tensors, without the replica dimension."""
    L, d, h, v = spec.layers, spec.width, spec.hidden_width, spec.vocabulary
    return {
        "embedding": (v, d),
        "query_key_value": (L, 3, d, d),
        "attention_output": (L, d, d),
        "gate_up": (L, 2, h, d),
        "down": (L, d, h),
        "attention_norm": (L, d),
        "feed_forward_norm": (L, d),
        "final_norm": (d,),
        "head": (v, d),
    }


def initialise(spec: ModelSpec, streams: Sequence[Stream], device: torch.device | str = "cpu") -> Parameters:
    """Return the initial float32 parameters of R = len(streams) models; replica r depends on streams[r] only.

    Norm gains are 1. The embedding has standard deviation 1, matrices have in^-1/2, and the two that write
    into the residual stream (2 L)^-1/2 of that, so that its variance does not grow with depth. The head has
    1/in: the first predictions are nearly uniform.
    """
    replicas = [_initialise_one(spec, stream) for stream in streams]
    return {
        name: torch.from_numpy(np.stack([replica[name] for replica in replicas])).to(device)
        for name in shapes(spec)
    }


def _initialise_one(spec: ModelSpec, stream: Stream) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    for name, shape in shapes(spec).items():
        if name.endswith("norm"):
            values[name] = np.ones(shape, np.float32)
        else:
            draw = stream.child(name).generator().standard_normal(shape, np.float32)
            values[name] = draw * np.float32(_deviation(name, spec, shape[-1]))
    return values


def _deviation(name: str, spec: ModelSpec, inputs: int) -> float:
    if name == "embedding":
        return 1.0
    if name == "head":
        return 1 / inputs
    residual = 2 * spec.layers if name in {"attention_output", "down"} else 1
    return 1 / math.sqrt(inputs * residual)


def to_llama(parameters: Parameters, replica: int = 0) -> dict[str, Tensor]:
    """Return one model's tensors under the names and shapes of Hugging Face's `LlamaForCausalLM`."""
    own = {name: tensor[replica].detach() for name, tensor in parameters.items()}
    return {name: view.contiguous() for name, view in _llama_views(own).items()}


def from_llama(named: Mapping[str, Tensor], spec: ModelSpec) -> Parameters:
    """Return the parameters, with R = 1, of tensors in the Llama names.

    Raises KeyError for a missing tensor and ValueError for one of another shape.
    """
    own = {name: torch.empty(shape) for name, shape in shapes(spec).items()}
    for name, tensor in _llama_views(own).items():
        if named[name].shape != tensor.shape:
            message = f"{name} must have shape {tuple(tensor.shape)}. Got {tuple(named[name].shape)}."
            raise ValueError(message)
        tensor.copy_(named[name])
    return {name: tensor.unsqueeze(0) for name, tensor in own.items()}


def _llama_views(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return views of one model's tensors under the Llama names."""
    views = {
        "model.embed_tokens.weight": own["embedding"],
        "model.norm.weight": own["final_norm"],
        "lm_head.weight": own["head"],
    }
    for layer in range(len(own["down"])):
        views |= _layer_views(own, layer)
    return views


def _layer_views(own: Mapping[str, Tensor], layer: int) -> dict[str, Tensor]:
    query, key, value = own["query_key_value"][layer]
    gate, up = own["gate_up"][layer]
    return {
        f"model.layers.{layer}.input_layernorm.weight": own["attention_norm"][layer],
        f"model.layers.{layer}.self_attn.q_proj.weight": query,
        f"model.layers.{layer}.self_attn.k_proj.weight": key,
        f"model.layers.{layer}.self_attn.v_proj.weight": value,
        f"model.layers.{layer}.self_attn.o_proj.weight": own["attention_output"][layer],
        f"model.layers.{layer}.post_attention_layernorm.weight": own["feed_forward_norm"][layer],
        f"model.layers.{layer}.mlp.gate_proj.weight": gate,
        f"model.layers.{layer}.mlp.up_proj.weight": up,
        f"model.layers.{layer}.mlp.down_proj.weight": own["down"][layer],
    }
