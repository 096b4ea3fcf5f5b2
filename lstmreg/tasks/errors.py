"""Errors and scores that readers of a field look at, in the units of what is predicted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: How much each case counts, ``(M,)``; ``None`` where all count alike.
Weights = NDArray[np.float64] | None


def mean_absolute_error(predictions: NDArray[np.float64], truth: NDArray[np.float64], weights: Weights = None) -> float:
    """Return the mean distance from the truth ``(M, ...)``, where there is one."""
    return _mean(np.abs(predictions - truth), ~np.isnan(truth), weights)


def root_mean_square_error(
    predictions: NDArray[np.float64], truth: NDArray[np.float64], weights: Weights = None
) -> float:
    """Return the root of the mean squared distance from the truth ``(M, ...)``, where there is one."""
    return float(np.sqrt(_mean(np.square(predictions - truth), ~np.isnan(truth), weights)))


def mean_absolute_scaled_error(
    predictions: NDArray[np.float64], truth: NDArray[np.float64], naive: NDArray[np.float64], weights: Weights = None
) -> float:
    """Return the mean distance from the truth in units of the naive errors; NaN of these are left out.

    Shape:
        ``naive`` can be broadcast to the others' shape.
    """
    scaled = np.abs(predictions - truth) / naive
    there = ~np.isnan(scaled)
    return _mean(scaled, there, weights) if there.any() else float("nan")


def _mean(values: NDArray[np.float64], there: NDArray[np.bool_], weights: Weights) -> float:
    """Return the mean of values ``(M, ...)`` where they are there, weighted case by case."""
    if weights is None:
        return float(values[there].mean())
    every = np.broadcast_to(weights.reshape(-1, *[1] * (values.ndim - 1)), values.shape)
    return float(np.average(values[there], weights=every[there]))


def errors_of_numbers(
    loss: str, predictions: NDArray[np.float64], truth: NDArray[np.float64], weights: Weights = None
) -> dict[str, float]:
    """Return the errors of ``(M, O)``, the one that fits the loss first; and what share of the variance is explained.

    A truth that is NaN does not count. Of several targets each has its own share of its own variance, of which the mean
    is returned; of one that is constant it is left out.
    """
    there = ~np.isnan(truth)
    said = {
        "root mean square error": root_mean_square_error(predictions, truth, weights),
        "mean absolute error": mean_absolute_error(predictions, truth, weights),
    }
    if loss == "mae":
        said = dict(reversed(said.items()))
    from sklearn.metrics import r2_score

    shares = []
    for k in range(truth.shape[1]):
        own = there[:, k]
        if own.sum() > 1 and np.ptp(truth[own, k]) > 0:
            of_each = None if weights is None else weights[own]
            shares.append(r2_score(truth[own, k], predictions[own, k], sample_weight=of_each))
    return said | ({"R²": float(np.mean(shares))} if shares else {})


def errors_of_classes(
    probabilities: NDArray[np.float64], numbers: NDArray[np.int64], weights: Weights = None
) -> dict[str, float]:
    """Return the log loss of probabilities ``(M, C)``, and scores of the likeliest classes.

    Balanced accuracy is the mean over the classes that occur; macro F1 that over those that occur or are predicted.
    Of two classes, both of which occur, the area under the receiver's curve is that of the second one.
    """
    from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

    likeliest = probabilities.argmax(axis=1)
    said = {
        "log loss": float(np.average(surprises(probabilities, numbers), weights=weights)),
        "accuracy": float(accuracy_score(numbers, likeliest, sample_weight=weights)),
        "balanced accuracy": float(
            recall_score(
                numbers,
                likeliest,
                labels=np.unique(numbers),
                average="macro",
                zero_division=0,
                sample_weight=weights,
            )
        ),
        "macro F1": float(f1_score(numbers, likeliest, average="macro", zero_division=0, sample_weight=weights)),
    }
    if probabilities.shape[1] == 2 and len(np.unique(numbers)) == 2:
        said["AUROC"] = float(roc_auc_score(numbers, probabilities[:, 1], sample_weight=weights))
    return said


def surprises(probabilities: NDArray[np.float64], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return minus the logarithm of the probability of each case's class, ``(M,)``."""
    of_class = np.take_along_axis(probabilities, numbers[:, None], axis=1)[:, 0]
    return -np.log(np.maximum(of_class, np.finfo(np.float64).tiny))
