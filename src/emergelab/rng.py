"""Randomness: named streams of one key.

Every random number comes from a `Stream`, a 128-bit Philox key derived from the user's key and a path of
names. Two different paths are independent; nothing ever adds a number to a seed. Streams are counter
based (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), so that number i can be had
without the i numbers before it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from emergelab.spec import canonical_json

_MASK_63 = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Stream:
    """A named random stream: `words` is the Philox4x64 key, two unsigned 64-bit integers."""

    words: tuple[int, int]

    def child(self, *names: str | int) -> Stream:
        """Return the stream named by `names` below this one."""
        return _derive([*self.words], names)

    def generator(self, index: int = 0) -> np.random.Generator:
        """Return NumPy's generator on this key, at the `index`-th block of the counter."""
        key = np.array(self.words, dtype=np.uint64)
        counter = np.array([0, index, 0, 0], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    def key_array(self) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        """Return the key as a uint64[2] array, the form that kernels take."""
        return np.array(self.words, dtype=np.uint64)

    def torch_seed(self) -> int:
        """Return a seed in [0, 2^63) for `torch.Generator.manual_seed`."""
        return self.words[0] & _MASK_63


def stream(key: int, *names: str | int) -> Stream:
    """Return the stream of `key` named by the path `names`, for example `stream(0, "data", 3)`."""
    return _derive([key], names)


def _derive(root: list[int], names: tuple[str | int, ...]) -> Stream:
    digest = hashlib.blake2b(canonical_json([root, list(names)]).encode(), digest_size=16).digest()
    return Stream((int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")))
