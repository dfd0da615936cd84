"""The parts of a block. On a CPU the elementwise ones have hand-written gradients, see `cpu`.

Elsewhere they are plain operations for a compiler to fuse; these are also the reference for the others.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from emergelab.model.transformer import cpu


def _by_hand(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def linear(x: Float[Tensor, "R N i"], weight: Float[Tensor, "R o i"]) -> Float[Tensor, "R N o"]:
    """Return x·weightᵀ, replica by replica."""
    if len(x) == 1:  # spares one model the general case's overhead
        return functional.linear(x.squeeze(0), weight.squeeze(0)).unsqueeze(0)
    return torch.bmm(x, weight.mT)


def normalise(x: Float[Tensor, "R N d"], epsilon: float, dtype: torch.dtype) -> Float[Tensor, "R N d"]:
    """Return x/√(mean x² + epsilon) in `dtype`: RMSNorm without its gain, which the next matrix holds."""
    if _by_hand(x):
        return cpu.normalise(x, epsilon, dtype)
    return plain_normalise(x, epsilon, dtype)


def plain_normalise(x: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
    """Do the same in plain operations."""
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)).to(dtype)


def split_heads(
    projected: Float[Tensor, "R N qkv"], rotary: Float[Tensor, "2 1 T p 2"], documents: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values [documents, heads, T, head width] with rotary positions applied.

    The last dimension of `projected` is (query|key|value, head, pair, part). `documents` counts those of all
    replicas.
    """
    if _by_hand(projected):
        return cpu.split_heads(projected, rotary, documents)
    return plain_split_heads(projected, rotary, documents)


def plain_split_heads(projected: Tensor, rotary: Tensor, documents: int) -> tuple[Tensor, Tensor, Tensor]:
    """Do the same in plain operations, without complex numbers, which compilers do not know."""
    length, pairs = rotary.shape[2:4]
    x = projected.view(documents, length, 3, -1, 2 * pairs).permute(2, 0, 3, 1, 4)
    even, odd = cpu.wide(x[:2]).unflatten(-1, (pairs, 2)).unbind(-1)
    cosine, sine = (part[:, None] for part in rotary.unbind(-1))
    turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)
    query, key = turned.to(projected.dtype)
    return query, key, x[2].contiguous()


def reorder(
    x: Float[Tensor, "1 rows d"], there: Int[Tensor, " places"], back: Int[Tensor, " rows"]
) -> Float[Tensor, "1 places d"]:
    """Return rows `there` of `x`; the gradient is taken back by `back`, not summed over repeated rows.

    That is right where rows that stand in several places have a gradient in none of them, as padding has not.
    """
    return cpu.reorder(x, there, back)


def attend(
    query: Float[Tensor, "D H T w"], key: Float[Tensor, "D H T w"], value: Float[Tensor, "D H T w"]
) -> Float[Tensor, "D T width"]:
    """Return causal attention with the heads side by side. Queries are scaled already.

    torch's own attention is the fastest on GPUs, and in float32 on CPUs (by 10 %); in bfloat16 on CPUs it is
    two to seven times as slow as `cpu.attend`. One thread, contexts of 48 and 256, forward and backward.
    """
    if query.device.type != "cpu" or query.dtype == torch.float32:
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=1.0)
        return mixed.transpose(1, 2).flatten(2)
    return cpu.attend(query, key, value) if _by_hand(query) else plain_attend(query, key, value)


def plain_attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Do the same in plain operations."""
    return (attention_pattern(query, key).to(value.dtype) @ value).transpose(1, 2).flatten(2)


def attention_pattern(
    query: Float[Tensor, "D H T w"], key: Float[Tensor, "D H T w"]
) -> Float[Tensor, "D H T T"]:
    """Return the attention of every position (next to last dimension) to every other, in float32 or wider."""
    scores = query @ key.mT
    return torch.softmax(cpu.wide(scores + cpu.causal_mask(query.shape[2], query)), -1)
