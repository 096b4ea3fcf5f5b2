"""Regressing: a number, or several, of a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import TrainingConfig
from lstmreg.data.encoding import SequenceEncoder
from lstmreg.data.sources.raw import Kind

from .errors import errors_of_numbers
from .floors import ridge
from .losses import losses_of_numbers
from .sequence_task import SequenceTask
from .summaries import summaries
from .task import Split, Values, weights_of

if TYPE_CHECKING:
    from lstmreg.losses import Criterion


class Regress(SequenceTask):
    """Predicts the targets of each sequence, ``(M, O)``."""

    name: ClassVar[str] = "regress"
    kind: ClassVar[Kind] = "regress"
    losses_by_name: ClassVar[tuple[str, ...]] = ("mse", "mae", "huber")
    higher_is_better: ClassVar[frozenset[str]] = frozenset({"R²"})
    floor_names: ClassVar[Mapping[str, str]] = {
        "mean": "the mean of the training sequences",
        "ridge": "ridge regression on simple summaries of a sequence",
    }

    def criterion(self, training: TrainingConfig, encoder: SequenceEncoder) -> Criterion:
        """Return the loss by its name."""
        from lstmreg.losses import Regression

        return Regression(cast(Literal["mse", "mae", "huber"], self.loss_name(training)))

    def truth(self, cases: NDArray[np.int64]) -> Values:
        """Return the targets, ``(M, O)``."""
        targets: Values = self.sequences.targets[cases]
        return targets

    def floors(self, split: Split, cases: NDArray[np.int64]) -> dict[str, Values]:
        """Return the mean, and ridge regression on summaries, of the sequences that train."""
        targets, known = self.truth(split.train), self._summaries
        weights = self.relative_weights(split, split.train)
        return {
            "mean": np.tile(np.average(targets, axis=0, weights=weights), (len(cases), 1)),
            "ridge": ridge(known[split.train], targets, known[cases], weights),
        }

    @cached_property
    def _summaries(self) -> NDArray[np.float64]:
        return summaries(self.sequences)

    def scores(self, predictions: Values, truth: Values) -> NDArray[np.float64]:
        """Return the distances from the truth, in the targets' units, ``(M, O)``."""
        return np.abs(predictions - truth)

    @classmethod
    def losses(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> NDArray[np.float64]:
        """Return the mean over the targets, of scaled values."""
        scale = np.array(scales["targets"])
        return losses_of_numbers(str(training.loss or cls.losses_by_name[0]), predictions / scale, truth / scale)

    @classmethod
    def errors(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> dict[str, float]:
        """Return root mean square and mean absolute error, and the share of the variance that is explained."""
        return errors_of_numbers(str(training.loss), predictions, truth, weights_of(scales))
