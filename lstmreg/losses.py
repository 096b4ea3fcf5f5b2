"""What a prediction costs, case by case: losses whose value for one case does not depend on the others in its batch."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional

from lstmreg.errors import ConfigError, DataError

#: The mean loss of a batch, from a prediction and its targets.
Criterion = Callable[[Tensor, Tensor], Tensor]

#: Means over all numbers of a batch, by the name that a configuration gives.
CRITERIA: dict[str, Criterion] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}

#: The class of a case, or of a step, that has no target.
NO_CLASS = -100

Steps = Literal["last", "all"]


class Loss(ABC):
    """A criterion that says what each case costs.

    A case is a sequence; of a network that predicts at every step its loss is the mean over its own steps that have a
    target. Where there is no target, neither prediction nor target is looked at: both may be NaN, and the gradient
    there is zero.

    A case without any target costs 0, and counts as a case in the mean: so the mean over all cases is the mean of those
    of batches, weighted by their sizes, whichever case is in which batch.

    Attributes:
        steps: Whether a prediction is one for each case (``"last"``) or one for each step (``"all"``), as of
            :class:`lstmreg.Network`. Shapes alone would not tell it: a population has an axis in front.
    """

    steps: Steps

    #: What makes a prediction of one case, beside the axis of steps, in words.
    _shape: ClassVar[str]

    @abstractmethod
    def each(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each case.

        Args:
            prediction: ``(..., B, O)``, or ``(..., B, T, O)`` where ``steps`` is ``"all"``; any number of axes in front
                of the cases, such as one for the models of a population.
            y: The targets, with the same axes in front, or without them where all share them.

        Returns:
            ``(..., B)``.

        Raises:
            ValueError: If the shapes do not fit each other.
        """

    def __call__(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Return the mean over all cases, a scalar."""
        return self.each(prediction, y).mean()

    @property
    def _axes(self) -> int:
        """How many axes of a prediction, beginning at the last, are those of one case."""
        return 2 if self.steps == "all" else 1

    def _check_steps(self) -> None:
        if self.steps not in ("last", "all"):
            raise ValueError(f"steps must be 'last' or 'all', got {self.steps!r}.")

    def _check_prediction(self, prediction: Tensor) -> None:
        wanted = f"({'B, T' if self.steps == 'all' else 'B'}, {self._shape})"
        if prediction.dim() < self._axes + 1:
            raise ValueError(
                f"prediction must be {wanted} where steps is {self.steps!r}, got shape {tuple(prediction.shape)}."
            )

    def _mean_over_steps(self, losses: Tensor, counts: Tensor) -> Tensor:
        """Return the mean of ``losses (..., B, n)`` where ``counts`` is true, 0 where it is nowhere."""
        return losses.sum(-1) / counts.sum(-1).clamp(min=1)


@dataclass(frozen=True)
class Regression(Loss):
    """Squared, absolute or Huber error; the loss of a case is the mean over its outputs.

    A target that is NaN is none, and does not count.

    Args:
        kind: ``"mse"``, ``"mae"`` or ``"huber"``.
        steps: ``"last"`` for predictions ``(B, O)``, ``"all"`` for ``(B, T, O)``.

    Raises:
        ValueError: If ``kind`` or ``steps`` is another word.

    Example:
        >>> loss = Regression("mse")
        >>> loss.each(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [5.0]]))
        tensor([0., 4.])
    """

    kind: Literal["mse", "mae", "huber"] = "mse"
    steps: Steps = "last"

    _shape: ClassVar[str] = "O"

    def __post_init__(self) -> None:
        if self.kind not in CRITERIA:
            raise ValueError(f"kind must be one of {', '.join(map(repr, CRITERIA))}, got {self.kind!r}.")
        self._check_steps()

    def each(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each case; ``y`` has the prediction's shape, with or without the axes in front."""
        self._check_prediction(prediction)
        own = prediction.shape[-self._axes - 1 :]
        if y.shape not in (prediction.shape, own):
            raise ValueError(f"y must have the prediction's shape, {tuple(own)}, got {tuple(y.shape)}.{_hint(own, y)}")
        target = ~y.isnan()
        # Before anything is computed of them, so that what is not there has no gradient, whatever it is.
        y = torch.where(target, y, 0.0).to(prediction.dtype)
        elementwise: Callable[..., Tensor] = CRITERIA[self.kind]
        losses = elementwise(torch.where(target, prediction, 0.0), y.expand_as(prediction), reduction="none")
        if self.steps == "last":
            return self._mean_over_steps(losses, target)
        # A step is the mean over its outputs, and a case the mean over its steps.
        steps = self._mean_over_steps(losses, target)
        return self._mean_over_steps(steps, target.any(-1))


@dataclass(frozen=True)
class CrossEntropy(Loss):
    r"""Cross entropy of logits, with label smoothing and class weights.

    .. math:: \ell = w_y \cdot (-\log p_y)

    Weights scale a case's loss and are not divided by their sum over the batch, as torch's mean does, which would let a
    case cost more in one batch than in another.

    A target of -100 is none, and does not count.

    Args:
        classes: How many there are, C.
        label_smoothing: In [0, 1): the part of the target that is shared by all classes.
        class_weights: One for each class, finite and not negative; see :func:`balanced`. Default: 1.
        steps: ``"last"`` for logits ``(B, C)`` and targets ``(B)``, ``"all"`` for ``(B, T, C)`` and ``(B, T)``.

    Raises:
        ValueError: If an argument breaks its rule; in a call, if a target is no class.

    Example:
        >>> loss = CrossEntropy(2, class_weights=[1.0, 3.0])
        >>> loss.each(torch.zeros(2, 2), torch.tensor([0, 1])) / torch.tensor(2.0).log()
        tensor([1., 3.])
    """

    classes: int
    label_smoothing: float = 0.0
    class_weights: Sequence[float] | None = None
    steps: Steps = "last"

    _shape: ClassVar[str] = "C"

    def __post_init__(self) -> None:
        if isinstance(self.classes, bool) or not isinstance(self.classes, int) or self.classes < 2:
            raise ValueError(f"classes must be a whole number of at least 2, got {self.classes!r}.")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {self.label_smoothing!r}.")
        self._check_steps()
        if self.class_weights is None:
            return
        weights = tuple(float(weight) for weight in self.class_weights)
        if len(weights) != self.classes or not all(math.isfinite(w) and w >= 0 for w in weights):
            raise ValueError(
                f"class_weights must be one finite number, not negative, for each of the {self.classes} classes, "
                f"got {weights}."
            )
        object.__setattr__(self, "class_weights", weights)

    def each(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each case; ``y`` are whole numbers, without the prediction's last axis."""
        self._check_prediction(prediction)
        self._check_targets(prediction, y)
        target = y != NO_CLASS
        y = y.long()
        prediction = torch.where(target.unsqueeze(-1), prediction, 0.0)
        y, target = (t.expand(prediction.shape[:-1]) for t in (y, target))
        weights = None if self.class_weights is None else _like(prediction, tuple(self.class_weights))
        losses = functional.cross_entropy(
            prediction.flatten(0, -2),
            y.flatten(),
            weight=weights,
            ignore_index=NO_CLASS,
            label_smoothing=self.label_smoothing,
            reduction="none",
        ).view(prediction.shape[:-1])
        return losses if self.steps == "last" else self._mean_over_steps(losses, target)

    def soft_targets(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what the loss of each case has of each class's ``-log p``: zeros where there is no target.

        Args:
            y: Classes, of any shape.
            dtype: Type of the result.

        Returns:
            ``(*y.shape, C)``.

        Raises:
            ValueError: If one is no class.
        """
        self._check_classes(y)
        weights = torch.tensor(self.class_weights or [1.0] * self.classes, dtype=torch.float64)
        of_class = torch.diag((1 - self.label_smoothing) * weights) + self.label_smoothing / self.classes * weights
        table = torch.cat([of_class, torch.zeros_like(weights)[None]]).to(y.device, dtype)
        return table[torch.where(y == NO_CLASS, self.classes, y.long())]

    def _check_targets(self, prediction: Tensor, y: Tensor) -> None:
        if prediction.shape[-1] != self.classes:
            raise ValueError(
                f"prediction must have one logit for each of the {self.classes} classes in its last axis, "
                f"got shape {tuple(prediction.shape)}."
            )
        if y.is_floating_point() or y.is_complex():
            raise ValueError(f"y must be whole numbers, the classes, got {y.dtype}. Use y.long().")
        own = prediction.shape[-self._axes - 1 : -1]
        if y.shape not in (prediction.shape[:-1], own):
            raise ValueError(f"y must have the shape {tuple(own)}, got {tuple(y.shape)}.{_hint(own, y)}")
        self._check_classes(y)

    def _check_classes(self, y: Tensor) -> None:
        if y.is_cpu and y.numel() > 0:  # elsewhere it would have to be waited for; there torch itself refuses it
            wrong = y[(y != NO_CLASS) & ((y < 0) | (y >= self.classes))]
            if len(wrong) > 0:
                raise ValueError(
                    f"y must be classes from 0 to {self.classes - 1}, or {NO_CLASS} for none, got {int(wrong[0])}."
                )


@dataclass(frozen=True)
class Weighted(Loss):
    r"""A loss in which each case counts as much as its weight says, :math:`w_n \, \ell_n`.

    The mean over a batch is divided by its cases, not by its weights: so a case costs the same in every batch.

    Args:
        of: The loss of each case.
        are_classes: Whether its targets are whole numbers.

    Shape:
        ``y`` as :func:`with_weights` makes it.
    """

    of: Loss
    are_classes: bool = False
    steps: Steps = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", self.of.steps)

    def each(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each case, times its weight."""
        weights = y[..., 0, -1] if self.steps == "all" else y[..., -1]
        targets = y[..., 0].long() if self.are_classes else y[..., :-1]
        return self.of.each(prediction, targets) * weights


def _like(prediction: Tensor, numbers: tuple[float, ...]) -> Tensor:
    """Return numbers as a tensor beside a prediction; on a GPU, which would be waited for, they are sent there once."""
    return _sent(numbers, prediction.device, prediction.dtype) if prediction.is_cuda else prediction.new_tensor(numbers)


@functools.lru_cache(maxsize=64)
def _sent(numbers: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(numbers, device=device, dtype=dtype)


def with_weights(y: Tensor, weights: Tensor) -> Tensor:
    """Return targets with the weights ``(B)`` of their cases behind them.

    Shape:
        Of numbers ``(B, ..., O)`` comes ``(B, ..., O + 1)``, of classes ``(B, ...)`` comes ``(B, ..., 2)``.
    """
    columns = y if y.is_floating_point() else y.unsqueeze(-1).to(weights.dtype)
    column = weights.to(columns.dtype).reshape(-1, *[1] * (columns.dim() - 1)).expand(*columns.shape[:-1], 1)
    return torch.cat([columns, column], dim=-1)


def weighted(criterion: Criterion, *, are_classes: bool) -> Weighted:
    """Return a criterion as one that takes weights of cases.

    Raises:
        ConfigError: If it does not say what each case costs.
    """
    names = {function: name for name, function in CRITERIA.items()}
    if not isinstance(criterion, Loss) and criterion in names:
        criterion = Regression(cast(Literal["mse", "mae", "huber"], names[criterion]))
    if not isinstance(criterion, Loss):
        raise ConfigError(
            "data.weight must be null where the task's criterion is a function of its own, which gives no loss of each "
            "case. Derive it from lstmreg.losses.Loss."
        )
    return Weighted(criterion, are_classes)


def _hint(wanted: Sequence[int], y: Tensor) -> str:
    if tuple(wanted) == (*y.shape, 1):
        return " Use y.unsqueeze(-1)."
    if tuple(y.shape) == (*wanted, 1):
        return " Use y.squeeze(-1)."
    return ""


def balanced(y: Tensor, classes: int) -> tuple[float, ...]:
    r"""Return weights by which every class counts alike, as scikit-learn's ``class_weight="balanced"`` has them.

    .. math:: w_c = \frac{n}{C \, n_c}

    Their mean over the targets is 1.

    Args:
        y: The targets of training; those of -100 do not count.
        classes: How many classes there are, C.

    Raises:
        DataError: If a class has no target, or a target is no class.
    """
    found = y.flatten()
    found = found[found != NO_CLASS].long()
    wrong = found[(found < 0) | (found >= classes)]
    if len(wrong) > 0:
        raise DataError(
            f"targets must be classes from 0 to {classes - 1}, or {NO_CLASS} for none, got {int(wrong[0])}."
        )
    counts = torch.bincount(found, minlength=classes)
    absent = (counts == 0).nonzero().flatten().tolist()
    if absent:
        raise DataError(
            f"class {absent[0]} has no target in training, so that it has no balanced weight. "
            f"Give it one, or use class_weight=None."
        )
    total = int(counts.sum())
    return tuple(total / (classes * count) for count in counts.tolist())
