"""The LightningDataModule of one split of a series."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from .splits import Split
from .table import Series
from .windows import Windower, Windows

Batches = DataLoader[tuple[Tensor, ...]]

#: Windows in a batch where no gradient is needed.
_EVALUATION_BATCH = 1024


class WindowsDataModule(pl.LightningDataModule):
    """Windows of a series: those before the split's origin train, those behind it validate.

    Args:
        series: The series.
        split: Where training ends, and validation after it.
        window: Past steps in a window, T.
        horizon: Steps to forecast, O.
        batch_size: Windows in a training batch.
        seed: Decides the order of the batches, and nothing else.

    Shape:
        A batch is ``(x, y)``: ``(B, T, D)`` and ``(B, O)``, scaled by the training rows.
    """

    def __init__(
        self, series: Series, split: Split, *, window: int, horizon: int, batch_size: int = 32, seed: int = 0
    ) -> None:
        super().__init__()
        self.series = series
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.windower = Windower.fit(series, split.origin, window, horizon)
        self.train_windows = self.windower.cut(series, 0, split.origin)
        self.validation_windows = self.windower.cut(series, split.origin, split.end)

    def train_dataloader(self) -> Batches:
        """Shuffled batches, in an order that ``seed`` alone decides."""
        generator = torch.Generator().manual_seed(self.seed)
        return DataLoader(_dataset(self.train_windows), self.batch_size, shuffle=True, generator=generator)

    def val_dataloader(self) -> Batches:
        """The windows behind the origin, in order of time."""
        return DataLoader(_dataset(self.validation_windows), _EVALUATION_BATCH)


def _dataset(windows: Windows) -> TensorDataset:
    return TensorDataset(torch.from_numpy(windows.inputs), torch.from_numpy(windows.targets))
