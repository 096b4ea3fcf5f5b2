"""Errors and scores that readers of a field look at, in the units of what is predicted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mean_absolute_error(predictions: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Return the mean distance from the truth."""
    return float(np.abs(predictions - truth).mean())


def root_mean_square_error(predictions: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Return the root of the mean squared distance from the truth."""
    return float(np.sqrt(np.square(predictions - truth).mean()))


def mean_absolute_scaled_error(
    predictions: NDArray[np.float64], truth: NDArray[np.float64], naive: NDArray[np.float64]
) -> float:
    """Return the mean distance from the truth in units of the naive errors; NaN of these are left out.

    Shape:
        ``naive`` can be broadcast to the others' shape.
    """
    scaled = np.abs(predictions - truth) / naive
    return float(np.nanmean(scaled)) if not np.isnan(scaled).all() else float("nan")


def errors_of_numbers(loss: str, predictions: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """Return the errors of ``(M, O)``, the one that fits the loss first; and what share of the variance is explained.

    A truth that is NaN does not count. Of several targets each has its own share of its own variance, of which the mean
    is returned; of one that is constant it is left out.
    """
    there = ~np.isnan(truth)
    said = {
        "root mean square error": root_mean_square_error(predictions[there], truth[there]),
        "mean absolute error": mean_absolute_error(predictions[there], truth[there]),
    }
    if loss == "mae":
        said = dict(reversed(said.items()))
    from sklearn.metrics import r2_score

    columns = [(truth[there[:, k], k], predictions[there[:, k], k]) for k in range(truth.shape[1])]
    shares = [r2_score(true, predicted) for true, predicted in columns if len(true) > 1 and np.ptp(true) > 0]
    return said | ({"R²": float(np.mean(shares))} if shares else {})


def errors_of_classes(probabilities: NDArray[np.float64], numbers: NDArray[np.int64]) -> dict[str, float]:
    """Return the log loss of probabilities ``(M, C)``, and scores of the likeliest classes.

    Balanced accuracy is the mean over the classes that occur; macro F1 that over those that occur or are predicted.
    Of two classes, both of which occur, the area under the receiver's curve is that of the second one.
    """
    from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

    likeliest = probabilities.argmax(axis=1)
    said = {
        "log loss": float(surprises(probabilities, numbers).mean()),
        "accuracy": float(accuracy_score(numbers, likeliest)),
        "balanced accuracy": float(
            recall_score(numbers, likeliest, labels=np.unique(numbers), average="macro", zero_division=0)
        ),
        "macro F1": float(f1_score(numbers, likeliest, average="macro", zero_division=0)),
    }
    if probabilities.shape[1] == 2 and len(np.unique(numbers)) == 2:
        said["AUROC"] = float(roc_auc_score(numbers, probabilities[:, 1]))
    return said


def surprises(probabilities: NDArray[np.float64], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return minus the logarithm of the probability of each case's class, ``(M,)``."""
    of_class = np.take_along_axis(probabilities, numbers[:, None], axis=1)[:, 0]
    return -np.log(np.maximum(of_class, np.finfo(np.float64).tiny))
