"""Which trainings of proposals are not worth going on with."""

from __future__ import annotations

import math
import statistics
from itertools import accumulate

from .evidence import Evidence
from .records import Replicate

#: A median of fewer trainings is no limit for others.
_ENOUGH = 10


class Medians:
    """At each epoch the median of what other trainings on the same replicate had reached by then.

    Losses of two splits do not compare, so each replicate has limits of its own.

    Args:
        evidence: The knobs alone, and proposals before this batch; so it does not matter which of a batch end first.
        before: Position of the first proposal of this batch.
    """

    def __init__(self, evidence: Evidence, before: int) -> None:
        training = evidence.config.training
        self._patience = training.max_epochs if training.patience is None else training.patience
        self._curves: dict[Replicate, list[list[float]]] = {}
        self._known: dict[tuple[Replicate, int], float] = {}
        others = [r for r in evidence.records["together"] if r.position is not None and r.position < before]
        for record in [*evidence.records["alone"], *others]:
            if record.result is not None:
                self._curves.setdefault(record.replicate, []).append(list(accumulate(record.result.val, min)))

    def are_exceeded(self, replicate: Replicate, epoch: int, loss: float) -> bool:
        """Tell whether the best loss so far of a training is worse than the limit at that epoch."""
        return loss > self.at(replicate, epoch)

    def at(self, replicate: Replicate, epoch: int) -> float:
        """Return the limit at an epoch, counted from 0; infinite before the patience and where there is none.

        What is regularized learns more slowly, so nothing ends before so many epochs; what has stopped stays where it
        was.
        """
        curves = self._curves.get(replicate, [])
        if epoch < self._patience or len(curves) < _ENOUGH:
            return math.inf
        if (replicate, epoch) not in self._known:
            reached = [curve[min(epoch, len(curve) - 1)] for curve in curves]
            self._known[replicate, epoch] = statistics.median(reached)
        return self._known[replicate, epoch]
