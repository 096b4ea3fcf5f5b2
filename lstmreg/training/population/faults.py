"""Losses that are not finite, where looking at each would make a GPU wait for who looks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Faults:
    """Keeps in mind on the device, for each row, the first step whose loss was not finite.

    Args:
        rows: How many there are.
        device: Where the losses are.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self._calls = torch.full((rows,), -1, device=device)
        self._losses = torch.zeros(rows, dtype=torch.float64, device=device)
        self._steps: list[list[int]] = []  # of each call: the steps that its rows had taken, from row 0
        self._firsts: list[int] = []

    def notice(self, rows: slice, losses: Tensor, steps: Sequence[int]) -> None:
        """Look at the losses of some rows, which have taken so many steps before."""
        calls, known = self._calls[rows], self._losses[rows]
        is_first = ~losses.isfinite() & (calls < 0)
        calls.masked_fill_(is_first, len(self._steps))
        known.copy_(torch.where(is_first, losses.double(), known))
        self._steps.append(list(steps))
        self._firsts.append(rows.start)

    def found(self) -> dict[int, tuple[int, float]]:
        """Return of each row with such a loss since the last time: the steps before it, and the loss."""
        found = {}
        calls = self._calls.tolist()
        if any(call >= 0 for call in calls):
            losses = self._losses.tolist()
            for row, call in enumerate(calls):
                if call >= 0:
                    found[row] = self._steps[call][row - self._firsts[call]], losses[row]
        self._calls.fill_(-1)
        self._steps, self._firsts = [], []
        return found
