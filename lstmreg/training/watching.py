"""Has somebody watch a fit batch by batch, who may end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl


class WatchBatches(pl.Callback):
    """Tell after each batch how many epochs are done, and end the fit when asked to.

    Args:
        watch: Told how many epochs are done, which need not be whole; returns whether that is enough.
    """

    def __init__(self, watch: Callable[[float], bool]) -> None:
        self._watch = watch

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell, and ask."""
        is_enough = self._watch(trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches)
        trainer.should_stop = trainer.should_stop or is_enough
