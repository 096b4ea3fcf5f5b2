"""The LightningDataModule of one split of a series."""

from __future__ import annotations

from collections.abc import Callable

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler, SequentialSampler, TensorDataset

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
        return _whole_batches(
            self.train_windows, lambda data: RandomSampler(data, generator=generator), self.batch_size
        )

    def val_dataloader(self) -> Batches:
        """The windows behind the origin, in order of time."""
        return _whole_batches(self.validation_windows, SequentialSampler, _EVALUATION_BATCH)


def _whole_batches(windows: Windows, order: Callable[[TensorDataset], Sampler[int]], batch_size: int) -> Batches:
    """Return a loader that takes whole batches: window by window would take longer than training on them."""
    data = TensorDataset(torch.from_numpy(windows.inputs), torch.from_numpy(windows.targets))
    batches = BatchSampler(order(data), batch_size, drop_last=False)
    # A loader draws from a generator for each pass. It must not be torch's own, which draws the masks.
    return DataLoader(data, sampler=batches, batch_size=None, generator=torch.Generator())
