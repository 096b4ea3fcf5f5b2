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

    def order(self) -> Tensor:
        """Return the places of one pass, ``(M)``; generators go on as if the loader had been read to its end."""
        places = self.sampler.sampler
        count = len(places)  # type: ignore[arg-type]
        if type(places) is SequentialSampler:
            return torch.arange(count)
        if type(places) is RandomSampler and not places.replacement and places._num_samples is None:
            order = torch.randperm(count, generator=places.generator)
            if count % self.batch_size:  # for a last batch that is not full it is asked beyond its end, and draws anew
                torch.randperm(count, generator=places.generator)
            return order
        batches = islice(iter(self.sampler), len(self.sampler))
        return torch.tensor([place for batch in batches for place in batch])


def table_of(source: Any) -> Table | None:
    """Return what a source of batches takes rows of, if it is known to do so and nothing else."""
    loader = getattr(source, "loader", source)
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


def _rows_of(dataset: Any) -> Rows | None:
    if type(dataset) is TensorDataset and len(dataset.tensors) == 2:
        x, y = dataset.tensors
        return Rows(x, y, None, torch.arange(len(x)))
    rows = getattr(dataset, "rows", None)
    return rows if isinstance(rows, Rows) else None
