"""What training takes as data, and makes loaders of: a data module, or a training and a validation part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Sampler, TensorDataset
from torch.utils.data import SequentialSampler as InOrder

from lstmreg.config import TrainingConfig

#: Any iterable of ``(x, y)``, such as a DataLoader.
Batches: TypeAlias = Iterable[tuple[Any, Tensor]]

#: Batches as they are; or a dataset, or arrays (or tensors) ``x`` and ``y``, of which batches are made.
Part: TypeAlias = Batches | Dataset[Any] | tuple[Any, Any]

#: A data module, or a training and a validation part.
Data: TypeAlias = pl.LightningDataModule | tuple[Part, Part]

#: The same, ready to be iterated.
Loaders: TypeAlias = pl.LightningDataModule | tuple[Batches, Batches]


def check_data(data: Any) -> None:
    """Raise a ``TypeError`` that says what would do, if ``data`` are not what training takes."""
    if isinstance(data, pl.LightningDataModule) or (
        isinstance(data, tuple) and len(data) == 2 and not _are_arrays(data) and all(map(_is_part, data))
    ):
        return
    expected = "data must be a LightningDataModule or a pair (training, validation) of loaders, datasets or arrays"
    if _are_arrays(data):
        raise TypeError(f"{expected}, got x and y alone. Keep some rows for validation: ((x, y), (x_val, y_val)).")
    if isinstance(data, (DataLoader, Dataset)):
        raise TypeError(
            f"{expected}, got one {type(data).__name__} alone. Give a second one for validation; "
            f"torch.utils.data.random_split makes two datasets of one."
        )
    raise TypeError(f"{expected}, got {_spoken(data)}.")


def as_loaders(data: Data, training: TrainingConfig, dtype: torch.dtype) -> Loaders:
    """Return loaders of ``data`` that :func:`check_data` admits; what is a loader or a data module stays as it is.

    Of datasets and arrays, batches have ``training.batch_size``; those of training are shuffled, in an order that
    ``training.seed`` alone decides. Arrays of floating point become ``dtype``.

    Raises:
        ValueError: If ``x`` and ``y`` have different numbers of rows.
    """
    if isinstance(data, pl.LightningDataModule):
        return data
    # Masks are drawn from the seed itself: the order needs a stream of its own.
    order = torch.Generator().manual_seed(int(np.random.SeedSequence((training.seed, 1)).generate_state(1)[0]))
    train, validation = (_as_dataset(part, dtype) for part in data)
    return (
        _loader(train, lambda dataset: RandomSampler(dataset, generator=order), training.batch_size),
        _loader(validation, InOrder, training.batch_size),
    )


def are_loaders(data: Data) -> bool:
    """Tell whether :func:`as_loaders` leaves ``data`` as they are, whatever the training."""
    return isinstance(data, pl.LightningDataModule) or not any(
        _are_arrays(part) or isinstance(part, Dataset) for part in data
    )


def _is_part(part: Any) -> bool:
    return _are_arrays(part) or isinstance(part, Dataset) or (isinstance(part, Iterable) and not _is_array(part))


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__")


def _are_arrays(part: Any) -> bool:
    return isinstance(part, (tuple, list)) and len(part) == 2 and all(map(_is_array, part))


def _spoken(data: Any) -> str:
    if isinstance(data, (tuple, list)):
        return f"a {type(data).__name__} of {', '.join(type(part).__name__ for part in data) or 'nothing'}"
    return type(data).__name__


def _as_dataset(part: Any, dtype: torch.dtype) -> Any:
    if not _are_arrays(part):
        return part
    x, y = (_tensor(value, dtype) for value in part)
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same number of rows, got {len(x)} and {len(y)}.")
    return TensorDataset(x, y)


def _tensor(value: Any, dtype: torch.dtype) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.tensor(np.asarray(value))
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _loader(part: Any, order: Any, batch_size: int) -> Batches:
    """Return a loader; it has a generator of its own, since each pass draws from one, and torch's draws the masks."""
    own = torch.Generator()
    if isinstance(part, (list, tuple)):  # of batches; Lightning would take it for a collection of loaders
        return DataLoader(part, batch_size=None, collate_fn=lambda batch: batch, generator=own)  # type: ignore[arg-type]
    if not isinstance(part, Dataset):
        batches: Batches = part
        return batches
    if isinstance(part, IterableDataset):
        return DataLoader(part, batch_size, generator=own)
    sampler: Sampler[int] = order(part)
    if isinstance(part, TensorDataset):  # whole batches at once: row by row would take longer than training on them
        return DataLoader(part, batch_size=None, sampler=BatchSampler(sampler, batch_size, False), generator=own)
    return DataLoader(part, batch_size, sampler=sampler, generator=own)
