"""Elementwise operations and attention for CPUs, with hand-written gradients.

Without a compiler's fusion a small transformer spends as much time in elementwise passes over memory as in
matrix products. What was measured, one thread: a product in bfloat16 is 2.3 times as fast as in float32 where
the CPU has it, an addition or multiplication half as fast, and one that mixes the two slower still. So
matrices are bfloat16, what goes between them in long chains is float32, a copy that casts also makes
contiguous, and scores of attention are handled in pieces that fit the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

_PIECE = 1 << 18  # scores of attention handled at once


def wide(x: Tensor) -> Tensor:
    """Return `x` in float32, or float64 if it is that."""
    return x if x.dtype == torch.float64 else x.float()


def causal_mask(length: int, like: Tensor) -> Float[Tensor, "length length"]:
    """Return 0 where a row may look, -inf where it may not, in the dtype and on the device of `like`."""
    return torch.full((length, length), -torch.inf, dtype=like.dtype, device=like.device).triu_(1)


def normalise(x: Float[Tensor, "R N d"], epsilon: float, dtype: torch.dtype) -> Float[Tensor, "R N d"]:
    """See `operations.normalise`."""
    return cast("Tensor", _Normalise.apply(x, epsilon, dtype))


def split_heads(
    projected: Float[Tensor, "R N qkv"], rotary: Float[Tensor, "2 1 T p 2"], documents: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See `operations.split_heads`."""
    return cast("tuple[Tensor, Tensor, Tensor]", _SplitHeads.apply(projected, rotary, documents))


def reorder(
    x: Float[Tensor, "1 rows d"], there: Int[Tensor, " places"], back: Int[Tensor, " rows"]
) -> Float[Tensor, "1 places d"]:
    """See `operations.reorder`."""
    return cast("Tensor", _Reorder.apply(x, there, back))


def attend(
    query: Float[Tensor, "D H T w"], key: Float[Tensor, "D H T w"], value: Float[Tensor, "D H T w"]
) -> Float[Tensor, "D T width"]:
    """See `operations.attend`."""
    return cast("Tensor", _Attend.apply(query, key, value))


def _wide_dtype(x: Tensor) -> torch.dtype:
    return wide(x[:0]).dtype


def _pieces(count: int, elements: int) -> Iterator[slice]:
    """Cut `count` things of so many elements into pieces."""
    size = max(1, _PIECE // elements)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


class _Normalise(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        y = x * inverse
        ctx.save_for_backward(y, inverse)
        return y.to(dtype, copy=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y, inverse = ctx.saved_tensors
        grad = wide(grad)
        along = (grad * y).mean(-1, keepdim=True)
        return torch.addcmul(grad, y, along, value=-1).mul_(inverse), None, None


class _SplitHeads(Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor, rotary: Tensor, documents: int) -> tuple[Tensor, Tensor, Tensor]:
        length, pairs = rotary.shape[2:4]
        x = projected.view(documents, length, 3, -1, 2 * pairs)
        shape = (2, documents, x.shape[3], length, 2 * pairs)
        turned = torch.empty(shape, dtype=_wide_dtype(x)).copy_(x[:, :, :2].permute(2, 0, 3, 1, 4))
        turn = torch.view_as_complex(rotary)
        query, key = _turn(turned, turn).to(x.dtype)
        ctx.turn, ctx.shape = turn, projected.shape
        return query, key, x[:, :, 2].transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, key, value = grads
        turned = torch.empty((2, *value.shape), dtype=_wide_dtype(value))
        turned[0].copy_(query)
        turned[1].copy_(key)
        documents, heads, length, width = value.shape
        grad = value.new_empty((documents, length, 3, heads, width))
        grad[:, :, :2].copy_(_turn(turned, ctx.turn.conj()).permute(1, 3, 0, 2, 4))
        grad[:, :, 2].copy_(value.transpose(1, 2))
        return grad.view(ctx.shape), None, None


def _turn(x: Float[Tensor, "2 D H T w"], turn: Complex[Tensor, "2 1 T p"]) -> Tensor:
    """Turn neighbouring pairs, seen as complex numbers, in place."""
    torch.view_as_complex(x.unflatten(-1, (-1, 2))).mul_(turn[:, None])
    return x


class _Reorder(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x.index_select(1, there)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (back,) = ctx.saved_tensors
        return grad.index_select(1, back), None, None


class _Attend(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        documents, heads, length, width = query.shape
        pattern = query.new_empty((documents, heads, length, length))
        mixed = query.new_empty((documents, length, heads, width))
        mask, precise = causal_mask(length, query), _wide_dtype(query)
        for piece in _pieces(documents, heads * length * length):
            q, k, v, p = (x[piece].flatten(0, 1) for x in (query, key, value, pattern))
            p.copy_(torch.softmax(torch.baddbmm(mask, q, k.mT), -1, dtype=precise))
            mixed[piece].copy_(torch.bmm(p, v).view(-1, heads, length, width).transpose(1, 2))
        ctx.save_for_backward(query, key, value, pattern)
        return mixed.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, key, value, pattern = ctx.saved_tensors
        documents, heads, length, width = query.shape
        grad = grad.view(documents, length, heads, width).transpose(1, 2)
        grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        for piece in _pieces(documents, heads * length * length):
            q, k, v, p, dq, dk, dv = (x[piece].flatten(0, 1) for x in (query, key, value, pattern, *grads))
            dz = grad[piece].reshape(-1, length, width)
            ds = torch.ops.aten._softmax_backward_data(torch.bmm(dz, v.mT), p, -1, p.dtype)  # noqa: SLF001
            torch.bmm(ds, k, out=dq)
            torch.bmm(ds.mT, q, out=dk)
            torch.bmm(p.mT, dz, out=dv)
        return grads
