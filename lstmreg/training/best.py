"""Keeps the weights of the best validation epoch in memory, and gives them back however a fit ends."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lstmreg.errors import did_you_mean


class BestWeights(pl.Callback):
    """Restore the weights of the best validation: at the end, after an exception, after Ctrl-C.

    Lightning itself never does. A validation whose value is NaN or infinite is never the best one. Where several
    processes train together, all restore the same epoch, the best by the mean of their values.

    Args:
        monitor: A logged metric. Default: ``"val_loss"``.
        mode: ``"min"`` where lower is better, as of a loss, or ``"max"``, as of an accuracy. Default: ``"min"``.

    Attributes:
        best_value: The best value so far; infinite (of ``"max"``: minus infinite) before the first.
        best_epoch: Its epoch, counted from 0 as Lightning does; ``None`` before the first.

    Raises:
        ValueError: If ``mode`` is another word; at the first validation, if ``monitor`` is not logged.
    """

    def __init__(self, monitor: str = "val_loss", mode: str = "min") -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}.")
        self.monitor = monitor
        self.mode = mode
        self.best_value = math.inf if mode == "min" else -math.inf
        self.best_epoch: int | None = None
        self._weights: dict[str, Tensor] | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the weights if they are the best yet."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        logged = trainer.callback_metrics
        if self.monitor not in logged:
            raise ValueError(
                f"monitor must be a logged metric, got {self.monitor!r}; logged: {', '.join(sorted(logged))}."
                f"{did_you_mean(self.monitor, logged)}"
            )
        value = _in_all_processes(trainer, logged[self.monitor])
        if math.isfinite(value) and self._is_better(value):
            self.best_value = value
            self.best_epoch = trainer.current_epoch
            self._weights = {name: t.detach().clone() for name, t in pl_module.state_dict().items()}

    def _is_better(self, value: float) -> bool:
        return value < self.best_value if self.mode == "min" else value > self.best_value

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the best weights back."""
        self._restore(pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the best weights back; of an interrupted fit Lightning calls nothing else."""
        if trainer.state.fn == "fit":
            self._restore(pl_module)

    def _restore(self, pl_module: pl.LightningModule) -> None:
        if self._weights is not None:
            pl_module.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed fit must know."""
        return {"value": self.best_value, "epoch": self.best_epoch, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what an earlier fit knew."""
        self.best_value = state_dict["value"]
        self.best_epoch = state_dict["epoch"]
        self._weights = state_dict["weights"]


def _in_all_processes(trainer: pl.Trainer, value: Tensor) -> float:
    """Return the mean over processes, of which each may have logged its own; in float64, so that a common one stays."""
    if trainer.world_size == 1:
        return float(value)
    return float(trainer.strategy.reduce(torch.as_tensor(value, dtype=torch.float64)))
