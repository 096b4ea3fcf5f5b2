"""Means over an epoch, to which a step adds in microseconds."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class EpochMean(Metric):
    """The mean of a value over the cases of an epoch, of all processes that share them.

    Lightning is given it once an epoch (``LightningModule.log``), reads it when that ends, and begins it anew. To log
    the values themselves, step by step, takes longer than a step of a small network.

    Attributes:
        total: Sum of the values, each times its cases.
        cases: How many there were.
    """

    total: Tensor
    cases: Tensor

    def __init__(self) -> None:
        super().__init__(compute_with_cache=False)  # which only ``update`` would empty
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("cases", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, value: Tensor, size: int) -> None:
        """Add the mean over ``size`` cases."""
        self.add(value, size)

    def add(self, value: Tensor, size: int) -> None:
        """Do the same without what ``Metric`` wraps around ``update``, which must have come first."""
        self.total = self.total + value * size
        self.cases += size

    def compute(self) -> Tensor:
        """Return the mean."""
        return self.total / self.cases
