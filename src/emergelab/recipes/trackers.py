"""Where metrics can go while a study runs."""

from __future__ import annotations

from enum import StrEnum


class Tracker(StrEnum):
    """An experiment tracker."""

    tensorboard = "tensorboard"
    mlflow = "mlflow"
    wandb = "wandb"
