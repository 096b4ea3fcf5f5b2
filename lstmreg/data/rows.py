"""Cases as tensors of which a batch takes rows, by their numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """What batches take rows of; neighbouring ones of ``x`` may be views of the same memory."""

    x: Tensor  #: (N, T, D)
    y: Tensor  #: (N, ...)
    lengths: Tensor | None  #: (N), where sequences are shorter than ``T``
    numbers: Tensor  #: (M): which row stands at each place that a sampler names

    def take(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return ``x``, ``y`` and ``lengths`` of some rows; ``numbers`` may have any shape, which comes first."""
        flat = numbers.flatten()

        def taken(tensor: Tensor) -> Tensor:
            # Twice as fast as indexing with a list, above all where windows are views.
            return tensor.index_select(0, flat).view(*numbers.shape, *tensor.shape[1:])

        return taken(self.x), taken(self.y), None if self.lengths is None else taken(self.lengths)

    def to(self, device: torch.device) -> Rows:
        """Return the same on a device; there, views have memory of their own."""
        x, y, lengths, numbers = (None if t is None else t.to(device) for t in self)
        assert x is not None
        assert y is not None
        assert numbers is not None
        return Rows(x, y, lengths, numbers)


def as_it_is(batch: Any) -> Any:
    """Collate a batch that is one: torch's own way would make a list of the tuple ``(x, lengths)``."""
    return batch
