"""Errors, scores and floors equal those of scikit-learn, torchmetrics and arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchmetrics.functional as metrics
from sklearn import metrics as of_sklearn

from lstmreg.config import TrainingConfig
from lstmreg.data.sequences import from_arrays
from lstmreg.errors import DataError
from lstmreg.tasks.errors import errors_of_classes, errors_of_numbers
from lstmreg.tasks.floors import frequencies, logistic_regression, ridge
from lstmreg.tasks.losses import class_weights, losses_of_classes, losses_of_numbers
from lstmreg.tasks.summaries import steps_alone, summaries

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_scores_of_classes_are_those_of_torchmetrics_and_scikit_learn(classes: int) -> None:
    numbers = RANDOM.integers(classes, size=97)
    p = RANDOM.dirichlet(np.ones(classes), 97)
    ours, likeliest = errors_of_classes(p, numbers), p.argmax(axis=1)
    predicted, true = torch.from_numpy(p), torch.from_numpy(numbers)
    of_each = {"task": "multiclass", "num_classes": classes}
    assert next(iter(ours)) == "log loss"
    assert ours["log loss"] == pytest.approx(of_sklearn.log_loss(numbers, p))
    assert ours["accuracy"] == pytest.approx(float(metrics.accuracy(predicted, true, **of_each, average="micro")))
    assert ours["balanced accuracy"] == pytest.approx(of_sklearn.balanced_accuracy_score(numbers, likeliest))
    assert ours["macro F1"] == pytest.approx(float(metrics.f1_score(predicted, true, **of_each, average="macro")))
    assert ("AUROC" in ours) == (classes == 2)
    if classes == 2:
        assert ours["AUROC"] == pytest.approx(float(metrics.auroc(predicted[:, 1], true, task="binary")))


def test_scores_of_classes_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    ours = errors_of_classes(p, np.array([0, 0, 1, 1]))
    assert ours == {
        "log loss": pytest.approx(-np.log([0.9, 0.6, 0.8, 0.3]).mean()),
        "accuracy": 0.75,
        "balanced accuracy": 0.75,
        "macro F1": pytest.approx((2 * 2 / (2 * 2 + 1) + 2 * 1 / (2 * 1 + 1)) / 2),
        "AUROC": 0.75,  # of four pairs, three are in order
    }


def test_a_test_of_one_class_has_no_curve_and_no_probability_of_zero_costs_infinity() -> None:
    ours = errors_of_classes(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([1, 1]))
    assert "AUROC" not in ours
    assert np.isfinite(ours["log loss"])
    assert ours["balanced accuracy"] == 0


def test_errors_of_numbers_are_those_of_scikit_learn_and_what_is_not_there_does_not_count() -> None:
    truth, predicted = RANDOM.normal(size=(41, 2)), RANDOM.normal(size=(41, 2))
    ours = errors_of_numbers("mse", predicted, truth)
    assert list(ours) == ["root mean square error", "mean absolute error", "R²"]
    assert next(iter(errors_of_numbers("mae", predicted, truth))) == "mean absolute error"
    assert ours["root mean square error"] == pytest.approx(
        of_sklearn.root_mean_squared_error(truth.ravel(), predicted.ravel())
    )
    assert ours["mean absolute error"] == pytest.approx(of_sklearn.mean_absolute_error(truth, predicted))
    assert ours["R²"] == pytest.approx(of_sklearn.r2_score(truth, predicted))
    longer = [np.vstack([each, np.full((3, 2), filling)]) for each, filling in ((predicted, 7.0), (truth, np.nan))]
    assert errors_of_numbers("mse", *longer) == pytest.approx(ours)
    assert "R²" not in errors_of_numbers("mse", predicted, np.ones_like(truth))


def test_losses_of_steps_are_means_over_those_that_have_a_target() -> None:
    truth = np.array([[[1.0], [np.nan], [3.0]], [[np.nan], [np.nan], [np.nan]]])
    predicted = np.array([[[2.0], [9.0], [5.0]], [[1.0], [np.nan], [np.nan]]])
    assert losses_of_numbers("mse", predicted, truth).tolist() == [2.5, 0.0]
    assert losses_of_numbers("mae", predicted, truth).tolist() == [1.5, 0.0]
    p = np.array([[[0.5, 0.5], [0.1, 0.9], [np.nan, np.nan]]])
    labels = np.array([[[0.0], [1.0], [np.nan]]])
    weights = np.array([1.0, 3.0])
    expected = (-np.log(0.5) - 3 * np.log(0.9)) / 2
    assert losses_of_classes(TrainingConfig(), p, labels, weights) == pytest.approx([expected])


def test_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    numbers = np.repeat([0, 1, 2], [5, 20, 3])
    balanced = TrainingConfig(loss="cross_entropy", class_weight="balanced")
    ours = class_weights(balanced, np.bincount(numbers), ("a", "b", "c"))
    assert ours == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=numbers))
    assert class_weights(TrainingConfig(), np.bincount(numbers), ("a", "b", "c")).tolist() == [1, 1, 1]
    with pytest.raises(DataError, match="class 'b' has no target in training"):
        class_weights(balanced, np.array([3, 0]), ("a", "b"))


def test_summaries_by_hand() -> None:
    sequences = from_arrays(
        [[[1.0, 0], [4.0, 1], [4.0, 1]], [[2.0, 0]]], [0.0, 1.0], kind="regress", features=["v", "w"], tokens=["w"]
    )
    first, second = summaries(sequences).tolist()
    assert first == pytest.approx([3, 3, np.sqrt(2), 1, 4, 1, 4, 1.5, 1 / 3, 2 / 3])
    assert second == pytest.approx([1, 2, 0, 2, 2, 2, 2, 0, 1, 0])
    assert steps_alone(sequences).tolist() == [[1, 1, 0], [4, 0, 1], [4, 0, 1], [2, 1, 0]]


def test_frequencies_by_hand() -> None:
    assert frequencies(np.array([0, 0, 1, 0, -100]), 2).tolist() == [0.75, 0.25]
    assert frequencies(np.array([0, 0, 0]), 2).tolist() == [0.75, 0.25]  # as if what is not there had been once


def test_linear_floors_find_what_is_linear() -> None:
    x = RANDOM.normal(size=(300, 3))
    p = logistic_regression(x[:200], (x[:200, 0] > 0).astype(int), x[200:], 3)
    assert p.sum(axis=1) == pytest.approx(1)
    assert ((p[:, 1] > p[:, 0]) == (x[200:, 0] > 0)).mean() > 0.95
    assert (p[:, 2] == 1 / 201).all()  # which training does not have
    assert logistic_regression(x, np.zeros(300, dtype=int), x[:2], 2).tolist() == [[300 / 301, 1 / 301]] * 2
    targets = x @ np.array([[1.0, -2.0], [0.0, 5.0], [3.0, 0.0]])
    targets[::7, 1] = np.nan
    found = ridge(x[:200], targets[:200], x[200:])
    assert np.nanmax(np.abs(found - targets[200:])) < 0.05
