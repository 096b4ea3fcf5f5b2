"""Cases as a network reads them: scaled, with what is to be predicted of each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cases:
    """All cases of a task, as what the training cases of one split show makes of them.

    Neighbouring windows of a series are views of the same memory, so do not write into them.

    Attributes:
        inputs: ``(N, T, D)`` float32; where lengths differ, padded at the end.
        targets: The first axis is N; what the loss of the task compares a prediction with.
        lengths: ``(N,)`` int64 where lengths differ.
        weights: ``(N,)`` float32, how much each counts, with a mean of 1 over those that train; ``None`` where all
            count alike.
    """

    inputs: NDArray[np.float32]
    targets: NDArray[Any]
    lengths: NDArray[np.int64] | None = None
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def without(self, column: int) -> Cases:
        """Return them with zeros in an input column: scaled, what it is in the mean; of tokens, one and the same.

        A network that reads them learns nothing of the column. Neighbouring windows stay views of the same memory.
        """
        inputs = _copied(self.inputs)
        inputs[..., column] = 0
        return dataclasses.replace(self, inputs=inputs)


def _copied(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a copy that shares between its elements what the array shares, so that it takes no more memory."""
    if any(stride < 0 or stride % array.itemsize for stride in array.strides) or array.size == 0:
        return array.copy()
    places = 1 + sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)) // array.itemsize
    if places >= array.size:
        return array.copy()
    memory = np.lib.stride_tricks.as_strided(array, (places,), (array.itemsize,)).copy()
    return np.lib.stride_tricks.as_strided(memory, array.shape, array.strides)
