"""Cases as a network reads them: scaled, with what is to be predicted of each."""

from __future__ import annotations

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
