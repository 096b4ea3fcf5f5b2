"""What training takes as data, and makes loaders of: a data module, or a training and a validation part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    TensorDataset,
    default_collate,
)
from torch.utils.data import SequentialSampler as InOrder

from lstmreg.config import TrainingConfig
from lstmreg.layers.lengths import check_lengths

#: Any iterable of ``(x, y)``, such as a DataLoader; ``x`` may be ``(x, lengths)``.
Batches: TypeAlias = Iterable[tuple[Any, Tensor]]

#: Batches as they are; or a dataset, or arrays (or tensors) ``x`` and ``y``, of which batches are made; ``x`` may be
#: ``(x, lengths)``.
Part: TypeAlias = Batches | Dataset[Any] | tuple[Any, Any]

#: A data module, or a training and a validation part.
Data: TypeAlias = pl.LightningDataModule | tuple[Part, Part]

#: The same, ready to be iterated.
Loaders: TypeAlias = pl.LightningDataModule | tuple[Batches, Batches]


def check_data(data: Any) -> None:
    """Raise a ``TypeError`` that says what would do, if ``data`` are not what training takes."""
    if isinstance(data, pl.LightningDataModule) or (
        isinstance(data, tuple) and len(data) == 2 and not are_arrays(data) and all(map(_is_part, data))
    ):
        return
    expected = "data must be a LightningDataModule or a pair (training, validation) of loaders, datasets or arrays"
    if are_arrays(data):
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
        are_arrays(part) or isinstance(part, Dataset) for part in data
    )


def _is_part(part: Any) -> bool:
    return are_arrays(part) or isinstance(part, Dataset) or (isinstance(part, Iterable) and not _is_array(part))


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__")


def are_arrays(part: Any) -> bool:
    """Tell whether a part is arrays ``x`` and ``y``, or ``((x, lengths), y)``."""
    if not isinstance(part, (tuple, list)) or len(part) != 2:
        return False
    x, y = part
    return _is_array(y) and (_is_array(x) or (isinstance(x, tuple) and len(x) == 2 and all(map(_is_array, x))))


def _spoken(data: Any) -> str:
    if isinstance(data, (tuple, list)):
        return f"a {type(data).__name__} of {', '.join(type(part).__name__ for part in data) or 'nothing'}"
    return type(data).__name__


def _as_dataset(part: Any, dtype: torch.dtype) -> Any:
    if not are_arrays(part):
        return part
    given, y = part[0], _tensor(part[1], dtype)
    x = _tensor(given[0] if isinstance(given, tuple) else given, dtype)
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same number of rows, got {len(x)} and {len(y)}.")
    if not isinstance(given, tuple):
        return TensorDataset(x, y)
    lengths = _tensor(given[1], dtype)
    check_lengths(lengths, x)
    return Sequences(x, lengths.long(), y)


class Sequences(Dataset[Any]):
    """Sequences of unequal lengths; several at once are cut where the longest of them ends.

    Args:
        x: ``(N, T, D)``.
        lengths: ``(N)``.
        y: One for each sequence; or one for each step, ``(N, T, O)``, or ``(N, T)`` of whole numbers.
    """

    def __init__(self, x: Tensor, lengths: Tensor, y: Tensor) -> None:
        self.x, self.lengths, self.y = x, lengths, y
        self._has_y_of_steps = y.shape[1:2] == x.shape[1:2] and (y.dim() == 3 or not y.is_floating_point())

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, cases: list[int]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        lengths = self.lengths[cases]
        longest = int(lengths.max())
        x, y = self.x[cases, :longest], self.y[cases]
        return (x, lengths), y[:, :longest] if self._has_y_of_steps else y


def _tensor(value: Any, dtype: torch.dtype) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.tensor(np.asarray(value))
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _loader(part: Any, order: Any, batch_size: int) -> Batches:
    """Return a loader; it has a generator of its own, since each pass draws from one, and torch's draws the masks."""
    own = torch.Generator()
    if isinstance(part, (list, tuple)):  # of batches; Lightning would take it for a collection of loaders
        return DataLoader(part, batch_size=None, collate_fn=_as_it_is, generator=own)  # type: ignore[arg-type]
    if not isinstance(part, Dataset):
        batches: Batches = part
        return batches
    if isinstance(part, IterableDataset):
        return DataLoader(part, batch_size, generator=own)
    sampler: Sampler[int] = order(part)
    if isinstance(part, TensorDataset):  # whole batches at once: row by row would take longer than training on them
        return DataLoader(part, batch_size=None, sampler=BatchSampler(sampler, batch_size, False), generator=own)
    if isinstance(part, Sequences):
        several = BatchSampler(sampler, batch_size, False)
        return DataLoader(part, batch_size=None, sampler=several, collate_fn=_as_it_is, generator=own)
    return DataLoader(part, batch_size, sampler=sampler, collate_fn=_collated, generator=own)


def _as_it_is(batch: Any) -> Any:
    return batch


def _collated(cases: list[Any]) -> Any:
    """Make a batch as torch does, in which an ``x`` that is a tuple, such as ``(x, lengths)``, stays one."""
    batch = default_collate(cases)
    first = cases[0]
    if isinstance(first, tuple) and len(first) == 2 and type(first[0]) is tuple:
        return tuple(batch[0]), batch[1]
    return batch
