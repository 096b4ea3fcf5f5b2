"""The losses that a configuration names, as torch has them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

#: The mean loss of a batch, from a prediction and its targets.
Criterion = Callable[[Tensor, Tensor], Tensor]

CRITERIA: dict[str, Criterion] = {
    "mse": nn.functional.mse_loss,
    "mae": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}
