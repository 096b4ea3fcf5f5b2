"""Losses case by case, in numpy: what a network is trained by, for whatever predicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstmreg.config import TrainingConfig
from lstmreg.errors import DataError


def losses_of_numbers(loss: str, predictions: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each case's mean over its numbers: squared, absolute, or Huber's with its bend at 1.

    A truth that is NaN does not count. Where each step has numbers, the loss of a case is the mean over its steps; that
    of a case without any is 0.

    Shape:
        ``(M, O)`` or ``(M, T, O)`` both, in scaled units; ``(M,)`` out.
    """
    error = np.abs(predictions - truth)
    if loss == "mae":
        each = error
    elif loss == "huber":
        each = np.where(error < 1, 0.5 * error * error, error - 0.5)
    else:
        each = error * error
    for _ in range(each.ndim - 1):
        each = _mean_of_present(each)
    return np.nan_to_num(each, nan=0.0)


def losses_of_classes(
    training: TrainingConfig,
    probabilities: NDArray[np.float64],
    truth: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return each case's cross entropy, smoothed and weighted as it is trained by.

    Where each step has a class, it is the mean over a case's own.

    Args:
        training: Says how much of a target all classes share.
        probabilities: ``(M, C)`` or ``(M, T, C)``.
        truth: Numbers of the classes, ``(M, 1)`` or ``(M, T, 1)``; NaN where there is none.
        weights: Of the classes, ``(C,)``.

    Returns:
        ``(M,)``; 0 for a case without any class.
    """
    there = ~np.isnan(truth[..., 0])
    numbers = np.where(there, truth[..., 0], 0).astype(np.int64)
    costs = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) * weights
    own = np.take_along_axis(costs, numbers[..., None], axis=-1)[..., 0]
    smoothing = training.label_smoothing
    each = np.where(there, (1 - smoothing) * own + smoothing * costs.mean(axis=-1), np.nan)
    return np.nan_to_num(_mean_of_present(each) if each.ndim > 1 else each, nan=0.0)


def class_weights(training: TrainingConfig, counts: NDArray[np.int64], names: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the weight of each class ``(C,)``: 1, or so that all count alike in training.

    Raises:
        DataError: If a class that is to count as much as others has no target in training.
    """
    if training.class_weight is None:
        return np.ones(len(counts))
    if not counts.all():
        raise DataError(
            f"class {names[int(counts.argmin())]!r} has no target in training, so that it has no balanced weight. Set "
            f"training.class_weight: null, or leave the class out."
        )
    weights: NDArray[np.float64] = counts.sum() / (len(counts) * counts)
    return weights


def _mean_of_present(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return means over the last axis of what is not NaN there; NaN where nothing is."""
    there = ~np.isnan(values)
    count = there.sum(axis=-1)
    means: NDArray[np.float64] = np.where(there, values, 0.0).sum(axis=-1) / np.maximum(count, 1)
    return np.where(count > 0, means, np.nan)
