"""The names of the policies that say which checkpoints are kept."""

from __future__ import annotations

from enum import StrEnum


class Keep(StrEnum):
    """A policy: every milestone's checkpoint, the one of the last, or the one of lowest loss."""

    all = "all"
    last = "last"
    best = "best"
