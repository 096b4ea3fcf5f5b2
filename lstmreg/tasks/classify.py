"""Classifying: which of some classes a sequence belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import TrainingConfig
from lstmreg.data.encoding import SequenceEncoder, class_names, numbers_of_classes
from lstmreg.data.sources.raw import Kind
from lstmreg.errors import DataError

from .errors import errors_of_classes
from .floors import frequencies, logistic_regression
from .folds import Fold
from .losses import class_weights, losses_of_classes
from .sequence_task import SequenceTask
from .summaries import summaries
from .task import Split, Values, weights_of

if TYPE_CHECKING:
    from lstmreg.losses import Criterion


class Classify(SequenceTask):
    """Predicts the probability of each class; the truth is the number of the class."""

    name: ClassVar[str] = "classify"
    kind: ClassVar[Kind] = "classify"
    losses_by_name: ClassVar[tuple[str, ...]] = ("cross_entropy",)
    higher_is_better: ClassVar[frozenset[str]] = frozenset({"accuracy", "balanced accuracy", "macro F1", "AUROC"})
    floor_names: ClassVar[Mapping[str, str]] = {
        "majority": "how often each class occurs in training",
        "logistic": "logistic regression on simple summaries of a sequence",
    }

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the whole data."""
        return class_names(self.sequences.targets)

    @cached_property
    def strata(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """The class of each sequence."""
        if len(self.classes) < 2:
            raise DataError(f"{self.path}: {self.target!r} has one class, {self.classes[0]!r}, and two are needed.")
        return numbers_of_classes(self.sequences.targets, self.classes), self.classes

    def _check(self, fold: Fold) -> None:
        counts = np.bincount(self.strata[0][fold.train], minlength=len(self.classes))
        if not counts.all():
            raise DataError(
                f"{self.path}: class {self.classes[int(counts.argmin())]!r} is in none of the sequences that train in "
                f"one of the splits. Give more sequences of it, in more groups or times; or split at random "
                f"(data.split_by: random); or leave the class out."
            )

    def criterion(self, training: TrainingConfig, encoder: SequenceEncoder) -> Criterion:
        """Return cross entropy, smoothed and weighted as configured."""
        from lstmreg.losses import CrossEntropy

        weights = class_weights(training, encoder.counts, encoder.classes)
        return CrossEntropy(len(encoder.classes), training.label_smoothing, weights.tolist())

    def truth(self, cases: NDArray[np.int64]) -> Values:
        """Return the numbers of the classes, ``(M, 1)``."""
        return self.strata[0][cases, None].astype(np.float64)

    def floors(self, split: Split, cases: NDArray[np.int64]) -> dict[str, Values]:
        """Return the frequencies of the classes, and logistic regression on summaries, of the sequences that train."""
        numbers, known, count = self.strata[0][split.train], self._summaries, len(self.classes)
        weights = self.relative_weights(split, split.train)
        return {
            "majority": np.tile(frequencies(numbers, count, weights), (len(cases), 1)),
            "logistic": logistic_regression(known[split.train], numbers, known[cases], count, weights),
        }

    @cached_property
    def _summaries(self) -> NDArray[np.float64]:
        return summaries(self.sequences)

    def scores(self, predictions: Values, truth: Values) -> NDArray[np.float64]:
        """Return what the probability of the true class lacks to 1, ``(M, 1)``."""
        scores: NDArray[np.float64] = 1 - np.take_along_axis(predictions, truth.astype(np.int64), axis=1)
        return scores.clip(0)

    @classmethod
    def losses(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> NDArray[np.float64]:
        """Return the cross entropy of each sequence."""
        weights = class_weights(training, np.array(scales["counts"]), tuple(scales["classes"]))
        return losses_of_classes(training, predictions, truth, weights)

    @classmethod
    def errors(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> dict[str, float]:
        """Return log loss, accuracy, balanced accuracy, macro F1, and of two classes AUROC."""
        return errors_of_classes(predictions, truth[:, 0].astype(np.int64), weights_of(scales))
