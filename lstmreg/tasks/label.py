"""Labelling: a class, or numbers, at every step of a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import TrainingConfig
from lstmreg.data.encoding import SequenceEncoder, class_names, numbers_of_classes, padded, rows_of
from lstmreg.data.sources.raw import Kind
from lstmreg.errors import DataError

from .classify import Classify
from .errors import errors_of_classes, errors_of_numbers
from .floors import frequencies, logistic_regression, ridge
from .losses import class_weights, losses_of_classes, losses_of_numbers
from .regress import Regress
from .sequence_task import SequenceTask
from .summaries import steps_alone
from .task import Split, Values, weights_of

if TYPE_CHECKING:
    from lstmreg.losses import Criterion


class Label(SequenceTask):
    """Predicts at every step the probability of each class ``(M, T, C)``, or numbers ``(M, T, O)``.

    What lies beyond the end of a sequence is NaN, in predictions and truth; a step without a label is NaN in the truth,
    and is not judged.
    """

    name: ClassVar[str] = "label"
    kind: ClassVar[Kind] = "label"
    at_steps: ClassVar[bool] = True
    losses_by_name: ClassVar[tuple[str, ...]] = (*Classify.losses_by_name, *Regress.losses_by_name)
    higher_is_better: ClassVar[frozenset[str]] = Classify.higher_is_better | Regress.higher_is_better
    floor_names: ClassVar[Mapping[str, str]] = {
        "majority": "how often each class occurs in training",
        "logistic": "logistic regression on the step's own inputs",
        "mean": "the mean of the training steps",
        "ridge": "ridge regression on the step's own inputs",
    }

    def possible_losses(self) -> tuple[str, ...]:
        """Return those of classes or those of numbers, whichever the labels are."""
        return Classify.losses_by_name if self.classes else Regress.losses_by_name

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the whole data; none where the labels are numbers."""
        if self.sequences.targets.dtype != object:
            return ()
        names = class_names(self.sequences.targets)
        if len(names) < 2:
            raise DataError(f"{self.path}: {self.target!r} has one class, {names[0]!r}, and two are needed.")
        return names

    def criterion(self, training: TrainingConfig, encoder: SequenceEncoder) -> Criterion:
        """Return the loss of the steps that have a label."""
        from lstmreg.losses import CrossEntropy, Regression

        if not encoder.classes:
            return Regression(cast(Literal["mse", "mae", "huber"], training.loss or "mse"), steps="all")
        weights = class_weights(training, encoder.counts, encoder.classes)
        return CrossEntropy(len(encoder.classes), training.label_smoothing, weights.tolist(), steps="all")

    # ---------------------------------------------------------------- judging

    def predictions(self, encoder: SequenceEncoder, outputs: NDArray[np.float32], cases: NDArray[np.int64]) -> Values:
        """Return probabilities or numbers of every step, up to the end of the longest of the cases."""
        lengths = self.sequences.lengths[cases]
        return encoder.decoded(outputs[:, : lengths.max()], lengths)

    def truth(self, cases: NDArray[np.int64]) -> Values:
        """Return the number of each step's class ``(M, T, 1)``, or its numbers ``(M, T, O)``."""
        if self.classes:
            values = self._numbers.astype(np.float64)[:, None]
            values[values < 0] = np.nan
        else:
            values = self.sequences.targets
        return self._of_cases(values, cases)

    def floors(self, split: Split, cases: NDArray[np.int64]) -> dict[str, Values]:
        """Return what is usual, and what a linear model says of each step by itself."""
        train, own = rows_of(self.sequences, split.train), rows_of(self.sequences, cases)
        known = self._known
        weights = self.relative_weights(split, np.arange(self.size))
        of_rows = None if weights is None else np.repeat(weights, self.sequences.lengths)
        if self.classes:
            labelled, count = train & (self._numbers >= 0), len(self.classes)
            numbers = self._numbers[labelled]
            of_steps = None if of_rows is None else of_rows[labelled]
            usual, name = frequencies(numbers, count, of_steps), "majority"
            linear, model = logistic_regression(known[labelled], numbers, known[own], count, of_steps), "logistic"
        else:
            targets = self.sequences.targets[train]
            of_steps = None if of_rows is None else of_rows[train]
            usual, name = _means(targets, of_steps), "mean"
            linear, model = ridge(known[train], targets, known[own], of_steps), "ridge"
        whole = np.full((len(known), linear.shape[1]), np.nan)
        predicted = {}
        for which, values in ((name, usual), (model, linear)):
            whole[own] = values
            predicted[which] = self._of_cases(whole, cases)
        return predicted

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        return numbers_of_classes(self.sequences.targets, self.classes)

    @cached_property
    def _known(self) -> NDArray[np.float64]:
        return steps_alone(self.sequences)

    def _of_cases(self, values: Values, cases: NDArray[np.int64]) -> Values:
        """Return values of all rows as ``(M, T, ...)``, NaN beyond the end, up to that of the longest case."""
        whole: Values = padded(values, self.sequences, np.nan)[0][cases]
        return whole[:, : self.sequences.lengths[cases].max()]

    @classmethod
    def losses(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> NDArray[np.float64]:
        """Return the mean over the steps of each sequence that have a label."""
        if "targets" in scales:
            scale = np.array(scales["targets"])
            return losses_of_numbers(str(training.loss or "mse"), predictions / scale, truth / scale)
        weights = class_weights(training, np.array(scales["counts"]), tuple(scales["classes"]))
        return losses_of_classes(training, predictions, truth, weights)

    @classmethod
    def errors(
        cls, training: TrainingConfig, predictions: Values, truth: Values, scales: Mapping[str, Any]
    ) -> dict[str, float]:
        """Return the errors of classes or of numbers, over all steps that have a label."""
        there = ~np.isnan(truth).all(axis=-1)
        weights = weights_of(scales)
        if weights is not None:
            weights = np.broadcast_to(weights[:, None], there.shape)[there]
        if "targets" in scales:
            return errors_of_numbers(str(training.loss), predictions[there], truth[there], weights)
        return errors_of_classes(predictions[there], truth[there][:, 0].astype(np.int64), weights)


def _means(targets: Values, weights: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return the mean of each target ``(O,)`` over the steps ``(rows, O)`` that have one."""
    if weights is None:
        return np.asarray(np.nanmean(targets, axis=0))
    there = ~np.isnan(targets)
    each = there * weights[:, None]
    return np.asarray((np.where(there, targets, 0.0) * each).sum(axis=0) / each.sum(axis=0))
