"""The LightningDataModule of one split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler

from .cases import Cases
from .rows import Rows, as_it_is

Batches = DataLoader[tuple[Any, ...]]

#: Cases in a batch where no gradient is needed.
_EVALUATION_BATCH = 1024


class CasesDataModule(pl.LightningDataModule):
    """Some cases train, others validate.

    Args:
        cases: All of them.
        train: Numbers of those that train.
        validation: Numbers of those that validate.
        batch_size: Cases in a training batch.
        seed: Decides the order of the batches, and nothing else.

    Shape:
        A batch is ``(x, y)``, with ``x`` ``(B, T, D)``; where lengths differ, ``x`` is ``((B, T, D), (B,))``. Where
        cases have weights, ``y`` has them behind the targets, as :class:`lstmreg.losses.Weighted` takes it.
    """

    def __init__(
        self,
        cases: Cases,
        train: NDArray[np.int64],
        validation: NDArray[np.int64],
        *,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.cases = cases
        self.train, self.validation = train, validation
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> Batches:
        """Shuffled batches, in an order that ``seed`` alone decides."""
        generator = torch.Generator().manual_seed(self.seed)
        return _loader(self.cases, self.train, lambda data: RandomSampler(data, generator=generator), self.batch_size)

    def val_dataloader(self) -> Batches:
        """The validating cases, in their order."""
        return _loader(self.cases, self.validation, SequentialSampler, _EVALUATION_BATCH)


class _Chosen(Dataset[tuple[Any, ...]]):
    """Gives whole batches of some cases: one by one, they would take longer than training on them."""

    def __init__(self, cases: Cases, numbers: NDArray[np.int64]) -> None:
        lengths, weights = (None if a is None else torch.from_numpy(a) for a in (cases.lengths, cases.weights))
        x, y = torch.from_numpy(cases.inputs), torch.from_numpy(cases.targets)
        self.rows = Rows(x, y, lengths, weights, torch.from_numpy(numbers))

    def __len__(self) -> int:
        return self.rows.places

    def __getitem__(self, places: list[int]) -> tuple[Any, ...]:
        x, y, lengths = self.rows.take(self.rows.at(torch.tensor(places)))
        return (x, y) if lengths is None else ((x, lengths), y)


def _loader(
    cases: Cases, numbers: NDArray[np.int64], order: Callable[[_Chosen], Sampler[int]], batch_size: int
) -> Batches:
    data = _Chosen(cases, numbers)
    batches = BatchSampler(order(data), batch_size, drop_last=False)
    # A loader draws from a generator for each pass. It must not be torch's own, which draws the masks.
    return DataLoader(data, sampler=batches, batch_size=None, generator=torch.Generator(), collate_fn=as_it_is)
