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

#: Likewise that on windows, for each row that it is fitted on, by the validation cases.
_PENALTIES_A_ROW = np.logspace(-2, 3, 6)

#: So many numbers a window may have for it, and all of those that it is fitted on together: 80 MB.
_MOST_COLUMNS, _MOST_NUMBERS = 10_000, 10_000_000

#: So many are looked at together when it predicts.
_NUMBERS_AT_ONCE = 4_000_000


def frequencies(
    numbers: NDArray[np.int64], classes: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return how often each class occurs, as probabilities ``(C,)``; one that does not counts as if it did once."""
    counts = class_counts(numbers, classes) if weights is None else np.bincount(numbers, weights, classes)
    counts = np.where(counts > 0, counts, 1)
    return np.asarray(counts / counts.sum())


def logistic_regression(
    known: NDArray[np.float64],
    numbers: NDArray[np.int64],
    new: NDArray[np.float64],
    classes: int,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the probability of each class ``(M, C)`` by logistic regression.

    A class without a training case keeps its frequency.

    Args:
        known: What is known of each training case, ``(N, F)``.
        numbers: Their classes, ``(N,)``.
        new: What is known of the cases to predict, ``(M, F)``.
        classes: How many there are, C.
        weights: How much each training case counts, ``(N,)``.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    probabilities = np.tile(frequencies(numbers, classes, weights), (len(new), 1))
    present = np.unique(numbers)
    if len(present) < 2:
        return probabilities
    every = _every(len(known))
    known, numbers = known[::every], numbers[::every]
    scaler = Scaler.fit(known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a floor need not be perfect
        of_each = None if weights is None else weights[::every]
        model = LogisticRegression(max_iter=1000).fit(_scaled(scaler, known), numbers, sample_weight=of_each)
    fitted = model.classes_
    probabilities[:, fitted] = model.predict_proba(_scaled(scaler, new)) * probabilities[0, fitted].sum()
    return probabilities


def ridge(
    known: NDArray[np.float64],
    targets: NDArray[np.float64],
    new: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return numbers ``(M, O)`` by ridge regression on ``targets (N, O)``, each by itself where it is there."""
    from sklearn.linear_model import RidgeCV

    predicted = np.empty((len(new), targets.shape[1]))
    for k, column in enumerate(targets.T):
        there = ~np.isnan(column)
        every = _every(int(there.sum()))
        some = known[there][::every]
        scaler = Scaler.fit(some)
        of_each = None if weights is None else weights[there][::every]
        model = RidgeCV(alphas=_PENALTIES).fit(_scaled(scaler, some), column[there][::every], sample_weight=of_each)
        predicted[:, k] = model.predict(_scaled(scaler, new))
    return predicted


def ridge_on_windows(
    inputs: NDArray[np.float32],
    targets: NDArray[np.float32],
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    cases: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float32] | None:
    r"""Return what a ridge regression on all numbers of a window gives in place of a network, ``(M, O)``.

    .. math:: \min_{W, b} \sum_n \lVert x_n W + b - y_n \rVert^2 + \lambda N \lVert W \rVert^2

    It knows what a network does: the training cases fit it, and the validation cases choose :math:`\lambda`, of the
    powers of ten from 0.01 to 1000, by the mean square error. Fitted are the last 20,000 training cases at most, and
    fewer of windows so large that these would hold more than 10 million numbers.

    Args:
        inputs: All cases as a network reads them, ``(N, T, D)``.
        targets: What it is taught of them, ``(N, O)``.
        train: Numbers of the cases that train.
        validation: Numbers of those that choose the penalty.
        cases: Numbers of those to predict.
        weights: How much each of all cases counts, ``(N,)``, with a mean of 1 over those that train.

    Returns:
        What a network would give; ``None`` where a window has more than 10,000 numbers, or where what comes out is not
        finite.
    """
    columns = inputs.shape[1] * inputs.shape[2]
    if columns > _MOST_COLUMNS:
        return None
    train = train[-min(_MOST_ROWS, max(1, _MOST_NUMBERS // columns)) :]
    x, y = _flat(inputs, train), targets[train].astype(np.float64)
    of_each = None if weights is None else weights[train]
    means = np.average(x, axis=0, weights=of_each), np.average(y, axis=0, weights=of_each)
    x -= means[0]
    y -= means[1]
    if of_each is not None:
        root = np.sqrt(of_each)[:, None]
        x, y = x * root, y * root
    found = _ridge_weights(x, y, _PENALTIES_A_ROW * len(train))
    del x
    if not np.isfinite(found).all():
        return None
    errors = np.zeros(len(found))
    for part in _parts(validation, columns):
        outputs = (_flat(inputs, part) - means[0]) @ found + means[1]
        squares = np.square(outputs - targets[part]).sum(axis=2)
        errors += (squares if weights is None else squares * weights[part]).sum(axis=1)
    best = found[errors.argmin()]
    made = np.vstack([(_flat(inputs, part) - means[0]) @ best + means[1] for part in _parts(cases, columns)])
    return made.astype(np.float32) if np.isfinite(errors).all() and np.isfinite(made).all() else None


def _ridge_weights(
    x: NDArray[np.float64], y: NDArray[np.float64], penalties: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights ``(K, F, O)`` of each penalty, from as small a matrix as cases or columns make."""
    from scipy.linalg import solve

    is_wide = x.shape[1] > len(x)
    products, known = (x @ x.T, y) if is_wide else (x.T @ x, x.T @ y)
    if not (np.isfinite(products).all() and np.isfinite(known).all()):
        return np.full((len(penalties), x.shape[1], y.shape[1]), np.nan)
    diagonal = np.diag(products).copy()
    found = []
    for penalty in penalties:
        np.fill_diagonal(products, diagonal + penalty)
        found.append(solve(products, known, assume_a="pos"))
    return np.array([x.T @ one for one in found] if is_wide else found)


def _flat(inputs: NDArray[np.float32], cases: NDArray[np.int64]) -> NDArray[np.float64]:
    return inputs[cases].reshape(len(cases), -1).astype(np.float64)


def _parts(cases: NDArray[np.int64], columns: int) -> list[NDArray[np.int64]]:
    """Return the cases in parts whose windows are not too much at once."""
    return np.array_split(cases, -(-len(cases) * columns // _NUMBERS_AT_ONCE) or 1)


def _every(rows: int) -> int:
    """Return of how many rows one is taken."""
    return -(-rows // _MOST_ROWS)


def _scaled(scaler: Scaler, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values - scaler.mean) / scaler.scale)
