"""The decoder-only network: tokens to logits, with named places where activations can be read and changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Float32, Int, Num
from torch import Tensor
from torch.nn import functional

from emergelab.model.spec import ModelSpec
from emergelab.model.transformer.operations import (
    attend,
    attention_pattern,
    linear,
    normalise,
    reorder,
    split_heads,
)
from emergelab.model.transformer.parameters import Parameters

_GRAIN = 64  # rows come in multiples of it

Hook: TypeAlias = Callable[[str, Tensor], Tensor]
"""Called with a site's name and value; what it returns goes on in the value's place."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block's matrices in the compute dtype, gains folded in, ready to multiply."""

    query_key_value: Float[Tensor, "R qkv d"]
    attention_output: Float[Tensor, "R d d"]
    gate: Float[Tensor, "R h d"]
    up: Float[Tensor, "R h d"]
    down: Float[Tensor, "R d h"]


@dataclass(frozen=True, slots=True)
class Network:
    """The parameters of R models in the form that the forward pass uses."""

    spec: ModelSpec
    embedding: Float[Tensor, "R V d"]
    blocks: tuple[Block, ...]
    head: Float[Tensor, "R V d"]
    dtype: torch.dtype


def network(spec: ModelSpec, parameters: Parameters, dtype: torch.dtype = torch.float32) -> Network:
    """Return the network of `parameters`, differentiable in them, with matrix products in `dtype`.

    A norm's gain is folded into the matrix behind it, and the rows of queries and keys are put in an order
    in which the two parts of a rotary pair are neighbours (Hugging Face's checkpoints keep them half a head
    apart; a score does not depend on the order). Embedding, head and residual stream stay in full precision.
    """
    p = parameters
    attention_in = p["query_key_value"] * p["attention_norm"][:, :, None, None]
    attention_in = _pair_neighbours(attention_in, spec.heads).flatten(2, 3)
    gate, up = (p["gate_up"] * p["feed_forward_norm"][:, :, None, None]).to(dtype).unbind(2)
    stacks = (attention_in, p["attention_output"], gate, up, p["down"])
    layers = zip(*(stack.to(dtype).unbind(1) for stack in stacks), strict=True)
    head = p["head"] * p["final_norm"][:, None]
    return Network(spec, p["embedding"], tuple(Block(*layer) for layer in layers), head, dtype)


def _pair_neighbours(stack: Float[Tensor, "R L 3 d d"], heads: int) -> Float[Tensor, "R L 3 d d"]:
    query_key = stack[:, :, :2].unflatten(3, (heads, 2, -1)).transpose(4, 5).flatten(3, 5)
    return torch.cat((query_key, stack[:, :, 2:]), 2)


def rotary_angles(
    spec: ModelSpec, positions: Int[Tensor, ...], dtype: torch.dtype
) -> Float[Tensor, "... pairs 2"]:
    """Return cosine and sine of position·base^(-2j/w) for the pairs j of a head of width w."""
    exponent = torch.arange(0, spec.head_width, 2, device=positions.device, dtype=dtype) / spec.head_width
    angles = positions[..., None] * spec.rotary_base**-exponent
    return torch.stack((angles.cos(), angles.sin()), -1)


def rotary_table(spec: ModelSpec, length: int, like: Tensor) -> Float[Tensor, "2 1 T pairs 2"]:
    """Return the factors of queries, which carry the scale of the scores, and of keys."""
    angles = rotary_angles(spec, torch.arange(length, device=like.device), like.dtype)
    return torch.stack((angles * spec.head_width**-0.5, angles))[:, None]


def logits(
    net: Network, tokens: Int[Tensor, "R B T"], hook: Hook | None = None
) -> Float[Tensor, "R B T vocabulary"]:
    """Return the scores of the next token after every position, in the parameters' precision.

    Replica r reads tokens[r] with its own parameters. Positions see only themselves and earlier ones.
    """
    replicas, documents, length = tokens.shape
    hidden = embed(net, tokens.flatten(1))
    hidden = _visit(hook, "embedding", hidden, documents)
    rotary = rotary_table(net.spec, length, hidden)
    for index, block in enumerate(net.blocks):
        hidden = _block(net, block, hidden, rotary, _Place(hook, index, documents))
    return unembed(net, hidden).view(replicas, documents, length, -1)


@dataclass(frozen=True, slots=True)
class Rows:
    """Which places of one model's documents, laid end to end, are computed: the counted ones and some padding.

    No place looks at padding and no loss counts it, so one row can stand for all of it. `places` are those of the
    rows, the first `count` of them counted; `row_of_place` is the row of each place, padding's the last.
    """

    places: Int[Tensor, " rows"]
    row_of_place: Int[Tensor, " places"]
    count: int

    @classmethod
    def of(cls, counted: Bool[Tensor, " places"]) -> Rows:
        """Return the rows that a mask counts and at least one of padding where there is any.

        Their number is rounded up: matrix products of ever new shapes are prepared anew each time.
        """
        real, padding = (mask.nonzero().squeeze(1) for mask in (counted, ~counted))
        spare = min(len(padding), _GRAIN - len(real) % _GRAIN)
        places = torch.cat((real, padding[:spare]))
        row_of_place = torch.where(counted, counted.cumsum(0) - 1, len(places) - 1)
        return cls(places, row_of_place, len(real))


def logits_of_rows(
    net: Network, tokens: Int[Tensor, "1 B T"], rows: Rows
) -> Float[Tensor, "count vocabulary"]:
    """Return one model's `logits` at the counted places, computing little else.

    Rows differ in number from batch to batch, which a compiler would answer by compiling anew.
    """
    _, documents, length = tokens.shape
    hidden = embed(net, tokens.flatten(1)[:, rows.places])
    rotary = rotary_table(net.spec, length, hidden)
    for index, block in enumerate(net.blocks):
        hidden = _block(net, block, hidden, rotary, _Place(None, index, documents, rows))
    return unembed(net, hidden[:, : rows.count]).squeeze(0)


def embed(net: Network, tokens: Int[Tensor, "R N"]) -> Float[Tensor, "R N d"]:
    """Return the residual stream before the first block."""
    replicas, vocabulary, width = net.embedding.shape
    if replicas == 1:
        return functional.embedding(tokens.squeeze(0), net.embedding.squeeze(0)).unsqueeze(0)
    start = torch.arange(replicas, device=tokens.device)[:, None] * vocabulary
    return functional.embedding(tokens + start, net.embedding.reshape(-1, width))


def unembed(net: Network, hidden: Float[Tensor, "R N d"]) -> Float[Tensor, "R N vocabulary"]:
    """Return the logits of the residual stream behind the last block."""
    return linear(normalise(hidden, net.spec.norm_epsilon, hidden.dtype), net.head)


def feed_forward(net: Network, block: Block, hidden: Float[Tensor, "R N d"]) -> Float[Tensor, "R N d"]:
    """Return what a block's feed-forward layer adds to the residual stream."""
    return linear(_expand(net, block, hidden), block.down)


def _expand(net: Network, block: Block, hidden: Float[Tensor, "R N d"]) -> Float[Tensor, "R N h"]:
    normal = normalise(hidden, net.spec.norm_epsilon, net.dtype)
    return functional.silu(linear(normal, block.gate)) * linear(normal, block.up)


@dataclass(frozen=True, slots=True)
class _Place:
    """Which block of which forward pass is being computed, and for which rows; None: for all places."""

    hook: Hook | None
    index: int
    documents: int
    rows: Rows | None = None

    def visit(self, site: str, value: Tensor) -> Tensor:
        if self.hook is None:
            return value
        return _visit(self.hook, f"block.{self.index}.{site}", value, self.documents)

    def spread(self, rows: Float[Tensor, "R rows x"]) -> Float[Tensor, "R places x"]:
        """Put every row in its place; at padding stands the last one."""
        return rows if self.rows is None else reorder(rows, self.rows.row_of_place, self.rows.places)

    def gather(self, places: Float[Tensor, "R places x"]) -> Float[Tensor, "R rows x"]:
        """Take the rows back from their places."""
        return places if self.rows is None else reorder(places, self.rows.places, self.rows.row_of_place)


def _visit(hook: Hook | None, site: str, value: Num[Tensor, "R N ..."], documents: int) -> Tensor:
    if hook is None:
        return value
    shown = value.unflatten(1, (documents, -1))
    return hook(site, shown).to(value.dtype).reshape(value.shape)


def _block(net: Network, block: Block, hidden: Tensor, rotary: Tensor, place: _Place) -> Tensor:
    normal = normalise(hidden, net.spec.norm_epsilon, net.dtype)
    projected = place.spread(linear(normal, block.query_key_value))
    query, key, value = split_heads(projected, rotary, len(hidden) * place.documents)
    mixed = attend(query, key, value) if place.hook is None else _attend_seen(query, key, value, place)
    mixed = place.gather(mixed.reshape(*projected.shape[:2], -1))
    mixed = place.visit("attention.heads", mixed)
    hidden = hidden + place.visit("attention", linear(mixed, block.attention_output))
    inner = place.visit("feed_forward.hidden", _expand(net, block, hidden))
    hidden = hidden + place.visit("feed_forward", linear(inner, block.down))
    return place.visit("residual", hidden)


def _attend_seen(query: Tensor, key: Tensor, value: Tensor, place: _Place) -> Tensor:
    """Attention in plain operations, so that its pattern has a place where a hook can see it."""
    pattern = attention_pattern(query, key)
    replicas = len(pattern) // place.documents
    shown = pattern.unflatten(0, (replicas, place.documents))
    shown = place.hook(f"block.{place.index}.attention.pattern", shown) if place.hook else shown
    return (shown.flatten(0, 1).to(value.dtype) @ value).transpose(1, 2).flatten(2)


def sites(spec: ModelSpec) -> dict[str, str]:
    """Return name → shape of the places that a hook visits, in the order of the forward pass.

    R replicas, B documents, T positions, H heads, d the width, h the hidden width. `attention.pattern` is
    [.., query, key]; `attention.heads` holds the heads side by side before the output matrix; `attention` and
    `feed_forward` are what is added to the residual stream; `residual` is the stream behind the block.
    """
    in_block = {
        "attention.pattern": "R B H T T",
        "attention.heads": "R B T d",
        "attention": "R B T d",
        "feed_forward.hidden": "R B T h",
        "feed_forward": "R B T d",
        "residual": "R B T d",
    }
    names = {f"block.{i}.{site}": shape for i in range(spec.layers) for site, shape in in_block.items()}
    return {"embedding": "R B T d", **names}


@dataclass(slots=True)
class Probe:
    """A hook that records the values at `taps` and replaces those at the keys of `patches`.

    A patch takes the value of its site and returns the value that goes on. `values` holds what was recorded,
    after patching. Raises ValueError when a name is no site of the model.
    """

    spec: ModelSpec
    taps: Iterable[str] = ()
    patches: Mapping[str, Callable[[Tensor], Tensor]] = field(
        default_factory=dict[str, Callable[[Tensor], Tensor]]
    )
    values: dict[str, Float32[Tensor, "R B T ..."]] = field(default_factory=dict[str, Tensor], init=False)

    def __post_init__(self) -> None:
        self.taps = frozenset(self.taps)
        unknown = sorted((self.taps | self.patches.keys()) - sites(self.spec).keys())
        if unknown:
            message = (
                f"Got the sites {unknown}. A site is one of `sites(spec)`, for example 'block.0.residual'."
            )
            raise ValueError(message)

    def __call__(self, site: str, value: Tensor) -> Tensor:
        """Visit one site; see `Hook`."""
        if site in self.patches:
            value = self.patches[site](value)
        if site in self.taps:
            self.values[site] = value
        return value
