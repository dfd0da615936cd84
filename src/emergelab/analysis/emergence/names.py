"""What can be asked of a study's curves: axes, metrics, and how many points a curve needs. Light to import."""

from __future__ import annotations

from typing import Literal, get_args

Axis = Literal["tokens", "parameters", "compute", "loss"]
Metric = Literal["accuracy", "probability", "nats"]

AXES: tuple[Axis, ...] = get_args(Axis)
METRICS: tuple[Metric, ...] = get_args(Metric)
FEWEST_POINTS = 4
"""Points that a curve of a study must have, so that its threshold and its plateaus can be told apart."""
