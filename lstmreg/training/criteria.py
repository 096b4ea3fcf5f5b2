"""What is minimized on the data: the losses that ``training.loss`` names, and the checks of what they are given."""

from __future__ import annotations

import functools
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lstmreg.config import TrainingConfig
from lstmreg.errors import ConfigError
from lstmreg.losses import CRITERIA, Criterion, CrossEntropy, Regression, balanced

from .batches import Sequences, are_arrays

#: Criteria that compare number by number, and would repeat the smaller of two shapes in silence.
_ELEMENTWISE = (
    nn.functional.mse_loss,
    nn.functional.l1_loss,
    nn.functional.smooth_l1_loss,
    nn.functional.huber_loss,
)
_ELEMENTWISE_MODULES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)


class ByTargets:
    """Squared error of numbers, and cross entropy of classes: of whole numbers without the prediction's last axis.

    A network with a single output predicts numbers.
    """

    def __init__(self, training: TrainingConfig, network: nn.Module, y: Tensor | None) -> None:
        self._training, self._of_numbers = training, _of_numbers("mse", network)
        self._of_classes = functools.cache(lambda: _cross_entropy(training, network, y))

    def settled(self, prediction: Tensor, y: Tensor) -> Criterion:
        """Return the criterion for some targets."""
        is_whole = not (y.is_floating_point() or y.is_complex())
        if is_whole and y.shape == prediction.shape[:-1] and prediction.shape[-1] > 1:
            return self._of_classes()
        for name in ("label_smoothing", "class_weight"):
            if getattr(self._training, name):
                raise ConfigError(
                    f"training.{name} is for targets that are classes, whole numbers of shape "
                    f"{tuple(prediction.shape[:-1])}, got {y.dtype} of shape {tuple(y.shape)}."
                )
        return self._of_numbers

    def __call__(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Return the loss of a batch."""
        return self.settled(prediction, y)(prediction, y)


def settled(criterion: Criterion, prediction: Any, y: Any) -> Criterion:
    """Return what a criterion is for some targets."""
    return criterion.settled(prediction, y) if isinstance(criterion, ByTargets) else criterion


def loss_of(criterion: Criterion, prediction: Any, y: Any) -> Tensor:
    """Return the loss of a batch, whose targets must fit it.

    Raises:
        ValueError: As :func:`check_targets`.
    """
    criterion = settled(criterion, prediction, y)
    check_targets(criterion, prediction, y)
    return criterion(prediction, y)


def criterion_for(training: TrainingConfig, network: nn.Module, data: Any) -> Criterion:
    """Return the criterion that ``training.loss`` names.

    Args:
        training: Names it, and of cross entropy says how classes count.
        network: Gives the number of classes, ``output_size``, and says by ``steps`` whether it predicts at every step.
        data: What it is trained on, as :func:`lstmreg.fit` takes it; its training targets give balanced weights.

    Raises:
        ConfigError: If the network does not say how many classes there are, or nothing gives the weights.
        DataError: If a class has no target, and shall have a balanced weight.
    """
    y = _training_targets(data)
    if training.loss is None:
        return ByTargets(training, network, y)
    if training.loss == "cross_entropy":
        return _cross_entropy(training, network, y)
    return _of_numbers(training.loss, network)


def _of_numbers(name: Literal["mse", "mae", "huber"], network: nn.Module) -> Criterion:
    return Regression(name, steps="all") if _steps(network) == "all" else CRITERIA[name]


def _steps(network: nn.Module) -> Literal["last", "all"]:
    return "all" if getattr(network, "steps", "last") == "all" else "last"


def _cross_entropy(training: TrainingConfig, network: nn.Module, y: Tensor | None) -> Criterion:
    classes = getattr(network, "output_size", None)
    if not isinstance(classes, int):
        raise ConfigError(
            f"training.loss can be cross_entropy by name where the network's output_size is the number of classes, "
            f"which {type(network).__name__} does not have. Use criterion=lstmreg.losses.CrossEntropy(classes)."
        )
    if classes < 2:
        raise ConfigError(
            f"training.loss can be cross_entropy for a network with an output for each class, at least 2, "
            f"got output_size={classes}."
        )
    weights = None
    if training.class_weight == "balanced":
        if y is None:
            raise ConfigError(
                "training.class_weight must be null where the training data are no arrays, which could be counted. "
                "Use criterion=lstmreg.losses.CrossEntropy(classes, class_weights=...)."
            )
        weights = balanced(y, classes)
    return CrossEntropy(classes, training.label_smoothing, weights, steps=_steps(network))


def _training_targets(data: Any) -> Tensor | None:
    """Return the training targets of arrays, and of datasets of tensors; ``None`` of what can only be iterated."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return None
    train = data[0]
    if are_arrays(train):
        return torch.as_tensor(train[1])
    if isinstance(train, TensorDataset) and len(train.tensors) == 2:
        return train.tensors[1]
    return train.y if isinstance(train, Sequences) else None


def check_targets(criterion: Criterion, prediction: Any, y: Any) -> None:
    """Raise a ``ValueError`` if ``y`` has another shape than the prediction, and the criterion goes number by number.

    torch only warns, and trains ``(B, 1)`` against ``(B,)`` on the differences of every row with every other.
    """
    is_elementwise = criterion in _ELEMENTWISE or isinstance(criterion, _ELEMENTWISE_MODULES)
    if is_elementwise and isinstance(prediction, Tensor) and isinstance(y, Tensor):
        require_shape_of(prediction, y)


def require_shape_of(prediction: Tensor, y: Tensor) -> None:
    """Raise a ``ValueError`` if ``y`` has another shape than the prediction."""
    if prediction.shape == y.shape:
        return
    wanted, got = tuple(prediction.shape), tuple(y.shape)
    remedy = "Give a target for each number that the network returns."
    if wanted == (*got, 1):
        remedy = "Use y.unsqueeze(-1)."
    elif got == (*wanted, 1):
        remedy = "Use y.squeeze(-1)."
    raise ValueError(f"y must have the prediction's shape, {wanted}, got {got}. {remedy}")
