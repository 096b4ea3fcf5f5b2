"""Loaders that take whole batches of rows of tensors: what they take, and in which order."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset, default_convert

from lstmreg.data.rows import Rows, as_it_is

#: What makes of a batch of rows no other than it was.
_USUAL = default_convert, as_it_is


class Table(NamedTuple):
    """Such a loader."""

    rows: Rows
    batch_size: int
    sampler: BatchSampler

    @property
    def is_in_order(self) -> bool:
        """Whether each pass goes through the places in their order."""
        return type(self.sampler.sampler) is SequentialSampler

    def order(self) -> Tensor:
        """Return the places of one pass, ``(M)``; generators go on as if the loader had been read to its end."""
        places = self.sampler.sampler
        count = len(places)  # type: ignore[arg-type]
        if self.is_in_order:
            return torch.arange(count)
        if type(places) is RandomSampler and not places.replacement and places._num_samples is None:
            order = torch.randperm(count, generator=places.generator)
            if count % self.batch_size:  # for a last batch that is not full it is asked beyond its end, and draws anew
                torch.randperm(count, generator=places.generator)
            return order
        batches = islice(iter(self.sampler), len(self.sampler))
        return torch.tensor([place for batch in batches for place in batch])


def table_of(loader: Any) -> Table | None:
    """Return what a source of batches takes rows of, if it is known to do so and nothing else."""
    if type(loader) is not DataLoader or loader.batch_size is not None or loader.num_workers > 0:
        return None
    if loader.collate_fn not in _USUAL:
        return None
    sampler: Any = loader.sampler
    if type(sampler) is not BatchSampler or sampler.drop_last or loader.generator is None:
        return None
    if getattr(sampler.sampler, "generator", ...) in (None, loader.generator):  # from which a loader draws too
        return None
    rows = _rows_of(loader.dataset)
    return None if rows is None else Table(rows, sampler.batch_size, sampler)


class Residents:
    """Tensors of which rows are taken, each once on a device, as far as there is room.

    Attributes:
        device: Where they are to be; ``None`` for where they are.
    """

    #: What they may take, in bytes.
    ROOM = 4 * 2**30

    def __init__(self) -> None:
        self.device: torch.device | None = None
        self._moved: dict[object, Rows] = {}
        self._room = self.ROOM

    def of(self, rows: Rows) -> Rows:
        """Return rows on the device, or as they are: batches of what stays will be moved one by one."""
        if self.device is None or rows.x.device == self.device:
            return rows
        whole = rows._replace(numbers=None)
        if whole.memory not in self._moved:
            size = rows.x.numel() * rows.x.element_size()
            if size > self._room:
                return rows
            self._room -= size
            self._moved[whole.memory] = whole.to(self.device)
        numbers = None if rows.numbers is None else rows.numbers.to(self.device)
        return self._moved[whole.memory]._replace(numbers=numbers)


def _rows_of(dataset: Any) -> Rows | None:
    if type(dataset) is TensorDataset and len(dataset.tensors) == 2:
        x, y = dataset.tensors
        return Rows(x, y)
    rows = getattr(dataset, "rows", None)
    return rows if isinstance(rows, Rows) else None
