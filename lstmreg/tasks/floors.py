"""What a network must beat: predictions by frequency, mean, and linear models; fitted on training cases alone."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from lstmreg.data.encoding import class_counts
from lstmreg.data.windows import Scaler

#: Rows that a linear model is fitted on, at most; more hardly change it.
_MOST_ROWS = 20_000

#: Among these the ridge chooses its penalty, by leaving out one case after the other.
_PENALTIES = np.logspace(-2, 4, 7)


def frequencies(numbers: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return how often each class occurs, as probabilities ``(C,)``; one that does not counts as if it did once."""
    counts = np.maximum(class_counts(numbers, classes), 1)
    return np.asarray(counts / counts.sum())


def logistic_regression(
    known: NDArray[np.float64], numbers: NDArray[np.int64], new: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """Return the probability of each class ``(M, C)`` by logistic regression.

    A class without a training case keeps its frequency.

    Args:
        known: What is known of each training case, ``(N, F)``.
        numbers: Their classes, ``(N,)``.
        new: What is known of the cases to predict, ``(M, F)``.
        classes: How many there are, C.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    probabilities = np.tile(frequencies(numbers, classes), (len(new), 1))
    present = np.unique(numbers)
    if len(present) < 2:
        return probabilities
    every = _every(len(known))
    known, numbers = known[::every], numbers[::every]
    scaler = Scaler.fit(known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a floor need not be perfect
        model = LogisticRegression(max_iter=1000).fit(_scaled(scaler, known), numbers)
    fitted = model.classes_
    probabilities[:, fitted] = model.predict_proba(_scaled(scaler, new)) * probabilities[0, fitted].sum()
    return probabilities


def ridge(known: NDArray[np.float64], targets: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers ``(M, O)`` by ridge regression on ``targets (N, O)``, each by itself where it is there."""
    from sklearn.linear_model import RidgeCV

    predicted = np.empty((len(new), targets.shape[1]))
    for k, column in enumerate(targets.T):
        there = ~np.isnan(column)
        every = _every(int(there.sum()))
        some = known[there][::every]
        scaler = Scaler.fit(some)
        model = RidgeCV(alphas=_PENALTIES).fit(_scaled(scaler, some), column[there][::every])
        predicted[:, k] = model.predict(_scaled(scaler, new))
    return predicted


def _every(rows: int) -> int:
    """Return of how many rows one is taken."""
    return -(-rows // _MOST_ROWS)


def _scaled(scaler: Scaler, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values - scaler.mean) / scaler.scale)
