"""Counter-based random numbers: Philox4x64-10 (Salmon et al. 2011), bit for bit that of NumPy.

A generator is a uint64[9] array: words 0 to 3 hold the current block of random bits, word 4 the number of
32-bit halves already used, word 5 the number of the block, word 6 the index of the example and word 7 its
lane (the second and third words of the counter), words 8 and 9 the key.
"""

# Numba infers the types of kernels.
# pyright: reportMissingParameterType=false

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from emergelab.kernels.compiling import entry, kernel, subroutine

STATE_WORDS = 10
_HALVES = np.uint64(8)

_MULTIPLIER_0 = np.uint64(0xD2E7470EE14C6C93)
_MULTIPLIER_1 = np.uint64(0xCA5A826395121157)
_WEYL_0 = np.uint64(0x9E3779B97F4A7C15)
_WEYL_1 = np.uint64(0xBB67AE8584CAA73B)
_32 = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_2_TO_53 = 9007199254740992.0


@intrinsic
def _high_product(_: Any, a: Any, b: Any) -> Any:
    """Return the upper 64 bits of the 128-bit product of two uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    del a, b
    return types.uint64(types.uint64, types.uint64), generate


@kernel
def start(state, key, index, lane):
    """Point the generator at the first number of a lane of example `index` under `key`, uint64[2]."""
    state[4] = _HALVES
    state[5] = np.uint64(0)
    state[6] = np.uint64(index)
    state[7] = np.uint64(lane)
    state[8] = key[0]
    state[9] = key[1]


@kernel
def _block(c0, c1, c2, k0, k1):
    """Return the four words of the block with counter (c0, c1, c2, 0) under the key (k0, k1)."""
    c3 = np.uint64(0)
    for _ in range(10):
        high_0, low_0 = _high_product(_MULTIPLIER_0, c0), _MULTIPLIER_0 * c0  # pyright: ignore[reportCallIssue]
        high_1, low_1 = _high_product(_MULTIPLIER_1, c2), _MULTIPLIER_1 * c2  # pyright: ignore[reportCallIssue]
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0 += _WEYL_0
        k1 += _WEYL_1
    return c0, c1, c2, c3


@subroutine
def refill(state):
    """Compute the next block of 256 random bits."""
    # NumPy increments the counter before it computes a block: its first block is number 1.
    state[5] += np.uint64(1)
    state[0], state[1], state[2], state[3] = _block(state[5], state[6], state[7], state[8], state[9])
    state[4] = np.uint64(0)


@kernel
def bits32(state):
    """Return 32 random bits as a uint64."""
    if state[4] >= _HALVES:
        refill(state)
    position = state[4]
    state[4] = position + np.uint64(1)
    return (state[position >> np.uint64(1)] >> ((position & np.uint64(1)) * _32)) & _LOW


@kernel
def below(state, bound):
    """Return an integer in [0, bound), exactly uniform, for bound up to 2^32 (Lemire 2019)."""
    n = np.uint64(bound)
    product = bits32(state) * n
    if (product & _LOW) < n:
        threshold = ((_LOW + np.uint64(1)) - n) % n
        while (product & _LOW) < threshold:
            product = bits32(state) * n
    return np.int64(product >> _32)


@kernel
def fill_below(state, bound, out, count):
    """Write `count` integers in [0, bound), exactly uniform, into `out`, int32; bound at most 2^16.

    Takes 16 bits for each from whole blocks, so that what is left of the last block is not used.
    """
    n = np.uint64(bound)
    threshold = (np.uint64(1 << 16) - n) % n
    done = 0
    while done < count:
        refill(state)
        for word in range(4):
            if done >= count:
                break
            bits = state[word]
            for _ in range(4):
                product = (bits & np.uint64(0xFFFF)) * n
                bits >>= np.uint64(16)
                # Lemire's rejection, as in `below`.
                if done < count and (product & np.uint64(0xFFFF)) >= threshold:
                    out[done] = np.int32(product >> np.uint64(16))
                    done += 1
    state[4] = _HALVES


@kernel
def unit(state):
    """Return a float64 uniform on the multiples of 2^-53 in (0, 1]."""
    high = bits32(state) << np.uint64(21)
    low = bits32(state) >> np.uint64(11)
    return (np.float64(high | low) + 1.0) / _2_TO_53


@kernel
def aliased(state, cut, alias, cut_first, alias_first, count):
    """Return an index in [0, count), weighted by Walker's tables that begin at the given places."""
    index = below(state, count)
    if unit(state) <= cut[cut_first + index]:
        return index
    return np.int64(alias[alias_first + index])


@entry
def fill_bits(key, index, lane, out):
    """Write the first 32-bit numbers of a lane of example `index` into `out`, uint32[n]."""
    state = np.zeros(STATE_WORDS, np.uint64)
    start(state, key, index, lane)
    for i in range(out.shape[0]):
        out[i] = np.uint32(bits32(state))


@entry
def permuted(index, size, key):
    """Return the image of `index` under a pseudo-random permutation of [0, size), in constant memory.

    A Feistel network of six rounds on the smallest even number of bits that holds `size`, walked along its
    cycle until the image falls below `size` (Black and Rogaway 2002). `key` is uint64[2].
    """
    half = np.uint64(1)
    while (np.int64(1) << np.int64(np.uint64(2) * half)) < size:
        half += np.uint64(1)
    mask = (np.uint64(1) << half) - np.uint64(1)
    value = np.uint64(index)
    while True:
        left, right = value >> half, value & mask
        for round_number in range(6):
            left, right = right, left ^ (_mixed(right, key, np.uint64(round_number)) & mask)
        value = (left << half) | right
        if value < np.uint64(size):
            return np.int64(value)


@kernel
def _mixed(value, key, round_number):
    """Mix 64 bits with the key (the finaliser of splitmix64, Steele et al. 2014)."""
    z = value + key[0] + (round_number + np.uint64(1)) * _WEYL_0
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = ((z ^ key[1]) ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
