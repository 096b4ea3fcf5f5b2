"""Where the members of a population get their batches from: each source is read once for all that share it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import lightning.pytorch as pl
import torch

from lstmreg.config import TrainingConfig
from lstmreg.losses import Criterion, Regression, Weighted
from lstmreg.population import Population
from lstmreg.training.batches import Data, Loaders, are_loaders, as_loaders, check_data
from lstmreg.training.finite import not_finite

from .tables import table_of


class Source:
    """Where some members' batches come from.

    Attributes:
        train: The training batches.
        val: Those of validation.
        sizes: How many cases both have, as far as that is known: sources that are alike in it have batches of one
            shape.
    """

    def __init__(self, data: Loaders) -> None:
        self._module = data if isinstance(data, pl.LightningDataModule) else None
        self.device = torch.device("cpu")
        if isinstance(data, pl.LightningDataModule):
            data.prepare_data()
            data.setup("fit")
            train, val = data.train_dataloader(), data.val_dataloader()
        else:
            train, val = data
        self.train, self.val = self._with_hooks(train), self._with_hooks(val)
        self.sizes = _cases(train), _cases(val)

    @property
    def can_begin_anew(self) -> bool:
        """Whether the training batches can be read in between without another order of those to come."""
        return self._module is not None

    @property
    def _has_own_hooks(self) -> bool:
        """Whether a data module does more to batches than to move them, which Lightning does by itself."""
        names = "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"
        return self._module is not None and any(
            getattr(type(self._module), name) is not getattr(pl.LightningDataModule, name) for name in names
        )

    def train_again(self) -> Iterable[Any]:
        """Return the training batches, to evaluate on them."""
        return self.train if self._module is None else self._with_hooks(self._module.train_dataloader())

    def fault_in(self, part: Literal["training", "validation"], criterion: Criterion) -> str:
        """Return which number of a part's rows is not finite, where it takes rows of tensors; nothing if none is."""
        table = table_of(self.train if part == "training" else self.val)
        if table is None:
            return ""
        x, y, lengths = table.rows.take(table.rows.at(torch.arange(table.rows.places, device=table.rows.x.device)))
        may_lack = isinstance(criterion, (Regression, Weighted))  # there a target that is NaN is a missing one
        found = not_finite(x if lengths is None else (x, lengths), y, None if may_lack else x.new_zeros(()))
        return f"{found} among the cases of {part}" if found else ""

    def _with_hooks(self, batches: Iterable[Any]) -> Iterable[Any]:
        """Return batches on their device, with what the data module does to them on their way."""
        return _Hooked(batches, self) if self._has_own_hooks else batches

    def hooked(self, batch: Any) -> Any:
        """Send a batch through the hooks of the data module, in Lightning's order."""
        assert self._module is not None
        batch = self._module.on_before_batch_transfer(batch, 0)
        batch = self._module.transfer_batch_to_device(batch, self.device, 0)
        return self._module.on_after_batch_transfer(batch, 0)


def _cases(batches: Any) -> int:
    try:
        return len(batches.dataset)
    except (AttributeError, TypeError, NotImplementedError):  # no DataLoader, or one of a stream
        return 0


class _Hooked:
    def __init__(self, batches: Any, source: Source) -> None:
        self._batches, self._source = batches, source

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return map(self._source.hooked, self._batches)


def as_sources(
    population: Population, data: Data | list[Data], trainings: list[TrainingConfig]
) -> tuple[list[Source], list[int]]:
    """Return the different sources, and which of them each member reads."""
    own = data if isinstance(data, list) else [data] * len(population)
    if len(own) != len(population):
        raise ValueError(
            f"data must be for all or a list with one for each of the {len(population)} members, got {len(own)}."
        )
    numbers: dict[tuple[int, ...], int] = {}
    sources: list[Source] = []
    source_of: list[int] = []
    for given, training in zip(own, trainings, strict=True):
        check_data(given)
        order = () if are_loaders(given) else (training.batch_size, training.seed)
        if (id(given), *order) not in numbers:
            numbers[id(given), *order] = len(sources)
            sources.append(Source(as_loaders(given, training, population.weights.dtype)))
        source_of.append(numbers[id(given), *order])
    return sources, source_of
