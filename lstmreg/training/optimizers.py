"""The optimizers by name: torch's class for a network alone, and the same step for rows with settings of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lstmreg.errors import did_you_mean
from lstmreg.ops import adam


class Rows(NamedTuple):
    """What a step of K rows needs; it changes weights and moments in place."""

    weights: Tensor  #: (K, P)
    gradient: Tensor  #: (K, P)
    rate: Tensor  #: (K, 1), float64, as are the next two
    decay: Tensor | None  #: ``None`` if none has one
    steps: Tensor  #: of each row so far, with this one
    moments: list[Tensor]  #: (K, P)


@dataclass(frozen=True)
class Optimizer:
    """One of torch's optimizers.

    Attributes:
        whole: Torch's class.
        step_rows: Steps each row as torch's class with its defaults would step it alone.
        moments: How many tensors it remembers for one of weights.
    """

    whole: Callable[..., torch.optim.Optimizer]
    step_rows: Callable[[Rows], None]
    moments: int


_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8  # torch's defaults


def _sgd(rows: Rows) -> None:
    rows.weights.addcmul_(_with_decay(rows), -rows.rate.to(rows.weights.dtype))


def _adam(rows: Rows) -> None:
    _follow_moments(rows, _with_decay(rows))


def _adamw(rows: Rows) -> None:
    if rows.decay is not None:
        rows.weights.mul_((1 - rows.rate * rows.decay).to(rows.weights.dtype))
    _follow_moments(rows, rows.gradient)


def _with_decay(rows: Rows) -> Tensor:
    """Return the gradient with that of a coupled weight decay."""
    if rows.decay is None:
        return rows.gradient
    return torch.addcmul(rows.gradient, rows.weights, rows.decay.to(rows.weights.dtype))


def _follow_moments(rows: Rows, gradient: Tensor) -> None:
    """Take Adam's step."""
    dtype = rows.weights.dtype
    mean, square = rows.moments
    root = (1 - _BETA_2**rows.steps).sqrt().to(dtype)
    size = (-rows.rate / (1 - _BETA_1**rows.steps)).to(dtype)
    if adam.serves(rows.weights, gradient, mean, square):
        adam.step(rows.weights, gradient, mean, square, (_BETA_1, _BETA_2), _EPSILON, root, size)
        return
    mean.lerp_(gradient, 1 - _BETA_1)
    square.mul_(_BETA_2).addcmul_(gradient, gradient, value=1 - _BETA_2)
    denominator = square.sqrt().div_(root).add_(_EPSILON)
    rows.weights.add_(torch.div(mean, denominator, out=denominator).mul_(size))


#: What ``TrainingConfig.optimizer`` may name; ``fit`` and ``fit_population`` know no other.
OPTIMIZERS = {
    "adam": Optimizer(torch.optim.Adam, _adam, moments=2),
    "adamw": Optimizer(torch.optim.AdamW, _adamw, moments=2),
    "sgd": Optimizer(torch.optim.SGD, _sgd, moments=0),
}


def optimizer_named(name: str) -> Optimizer:
    """Return the optimizer of a name.

    Raises:
        ValueError: If there is none.
    """
    if name not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise ValueError(f"optimizer must be one of {known}, got {name!r}.{did_you_mean(name, OPTIMIZERS)}")
    return OPTIMIZERS[name]
