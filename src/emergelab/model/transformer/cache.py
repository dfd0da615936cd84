"""Prompts read once, then continued from any of their prefixes with a key-value cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emergelab.model.transformer.cpu import wide
from emergelab.model.transformer.network import (
    Block,
    Network,
    embed,
    feed_forward,
    rotary_angles,
    rotary_table,
    unembed,
)
from emergelab.model.transformer.operations import attend, linear, normalise, split_heads


@dataclass(frozen=True, slots=True)
class Cache:
    """What one model (R = 1) keeps of B prompts of T tokens: keys and values by layer, and its logits."""

    keys: tuple[Float[Tensor, "B H T w"], ...]
    values: tuple[Float[Tensor, "B H T w"], ...]
    logits: Float[Tensor, "B T vocabulary"]


def read(net: Network, tokens: Int[Tensor, "B T"]) -> Cache:
    """Read the prompts from their start. `net` must hold one model."""
    documents, length = tokens.shape
    hidden = embed(net, tokens.flatten()[None])
    rotary = rotary_table(net.spec, length, hidden)
    keys: list[Tensor] = []
    values: list[Tensor] = []
    for block in net.blocks:
        query, key, value = split_heads(_project(net, block, hidden), rotary, documents)
        keys.append(key)
        values.append(value)
        hidden = _finish(net, block, hidden, attend(query, key, value))
    return Cache(tuple(keys), tuple(values), unembed(net, hidden).view(documents, length, -1))


def branch(
    net: Network, cache: Cache, stops: Int[Tensor, "B S"], added: Int[Tensor, "B S K"]
) -> Float[Tensor, "B S vocabulary"]:
    """Return the logits behind prompt[:stop] + added for S branches of each prompt in one pass.

    Branch s of prompt b continues its first stops[b, s] ≥ 1 tokens. New tokens attend to the cache before
    their stop and to the earlier ones of their own branch.
    """
    documents, branches, count = added.shape
    if not count:
        last = (stops - 1)[..., None].expand(-1, -1, cache.logits.shape[-1])
        return cache.logits.gather(1, last)
    hidden = embed(net, added.flatten()[None])
    positions = (stops[..., None] + torch.arange(count, device=stops.device)).flatten(1)
    angles = rotary_angles(net.spec, positions, hidden.dtype)[:, None]
    before = torch.arange(cache.logits.shape[1], device=stops.device) < stops[..., None]
    layout = _Layout(angles, before.repeat_interleave(count, 1), branches, count)
    for block, key, value in zip(net.blocks, cache.keys, cache.values, strict=True):
        mixed = _attend_branches(layout, _project(net, block, hidden), key, value)
        hidden = _finish(net, block, hidden, mixed)
    last = hidden.view(documents * branches, count, -1)[:, -1]
    return unembed(net, last[None]).view(documents, branches, -1)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the S·K new tokens of every prompt stand, branch by branch."""

    angles: Tensor  # [B, 1, S·K, pairs, 2]
    visible: Tensor  # [B, S·K, T]: which cached positions a new token sees
    branches: int
    count: int


def _project(net: Network, block: Block, hidden: Tensor) -> Tensor:
    return linear(normalise(hidden, net.spec.norm_epsilon, net.dtype), block.query_key_value)


def _finish(net: Network, block: Block, hidden: Tensor, mixed: Tensor) -> Tensor:
    hidden = hidden + linear(mixed.reshape(hidden.shape), block.attention_output)
    return hidden + feed_forward(net, block, hidden)


def _attend_branches(layout: _Layout, projected: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return the mixed values [B, S·K, width]; one softmax over the cache and the branch together."""
    documents, heads, length, width = keys.shape
    x = projected.view(documents, -1, 3, heads, width).permute(2, 0, 3, 1, 4)
    query, key, value = wide(x)
    query, key = _rotate(query, layout.angles) * width**-0.5, _rotate(key, layout.angles)
    past = (query @ wide(keys).mT).masked_fill_(~layout.visible[:, None], -torch.inf)
    split = (layout.branches, layout.count)
    query, key, value = (y.unflatten(2, split) for y in (query, key, value))
    own = query @ key.mT
    own = own + torch.full_like(own[0, 0, 0], -torch.inf).triu_(1)
    weights = torch.softmax(torch.cat((past.unflatten(2, split), own), -1), -1)
    mixed = weights[..., :length].flatten(2, 3) @ wide(values) + (weights[..., length:] @ value).flatten(2, 3)
    return mixed.to(projected.dtype).transpose(1, 2).flatten(2)


def _rotate(x: Tensor, angles: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.view_as_complex(angles)).flatten(-2)
