"""What can be asked of a study's curves: axes, metrics, and how many points a curve needs. Light to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Axis = Literal["tokens", "parameters", "compute", "loss"]
Metric = Literal["accuracy", "probability", "nats"]

AXES: tuple[Axis, ...] = get_args(Axis)
METRICS: tuple[Metric, ...] = get_args(Metric)
FEWEST_POINTS: Mapping[Axis, int] = {"tokens": 4, "parameters": 4, "compute": 6, "loss": 6}
"""Points that a curve of a study must have, so that its threshold and its plateaus can be told apart.

Along compute and loss models of several sizes scatter about one curve.
"""
