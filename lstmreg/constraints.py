"""Projections of a weight, as Keras defines them: ``callable(w) -> projected w``, after each optimizer step.

A layer hands over its matrices as Keras has them, ``(D, 4H)`` and ``(H, 4H)``, so ``axis=0`` runs over what
comes into one unit of one gate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lstmreg.identifiers import resolve
from lstmreg.identifiers import serialize as _serialize

#: Returns a tensor of the same shape. It is declared as ``Any`` for the sake of jsonargparse, as ``Regularizer`` is.
Constraint = Callable[[Tensor], Any]

_EPSILON = 1e-7  # Keras' backend.epsilon()

Axis = int | list[int] | tuple[int, ...]


def _norms(w: Tensor, axis: Axis) -> Tensor:
    return w.square().sum(dim=tuple(axis) if isinstance(axis, (list, tuple)) else axis, keepdim=True).sqrt()


def _check(name: str, value: Any) -> None:
    """Check a norm or a rate."""
    if not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {value!r}.")


def _check_axis(axis: Any) -> None:
    for each in axis if isinstance(axis, (list, tuple)) else [axis]:
        if isinstance(each, bool) or not isinstance(each, int) or not -4 < each < 4:
            raise ValueError(f"axis must be the number of an axis of a weight, or a list of such, got {axis!r}.")


@dataclass(frozen=True)
class MaxNorm:
    r"""Shrink what is longer than ``max_value``: :math:`w \cdot \min(\|w\|, m) / (\epsilon + \|w\|)`.

    Args:
        max_value: Greatest norm. Default: ``2``.
        axis: Along which norms are taken, in Keras' layout. Default: ``0``.

    References:
        ``keras.constraints.MaxNorm``.

    Example:
        >>> import torch
        >>> MaxNorm(1.0)(torch.tensor([[3.0], [4.0]]))
        tensor([[0.6000],
                [0.8000]])
    """

    max_value: float = 2
    axis: Axis = 0

    def __post_init__(self) -> None:
        _check("max_value", self.max_value)
        _check_axis(self.axis)

    def __call__(self, w: Tensor) -> Tensor:
        """Return the projected ``w``."""
        norms = _norms(w, self.axis)
        return w * (norms.clamp(0, self.max_value) / (_EPSILON + norms))


@dataclass(frozen=True)
class NonNeg:
    r"""Set negative weights to zero.

    References:
        ``keras.constraints.NonNeg``.

    Example:
        >>> import torch
        >>> NonNeg()(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """

    def __call__(self, w: Tensor) -> Tensor:
        """Return the projected ``w``."""
        return w.clamp(min=0)


@dataclass(frozen=True)
class UnitNorm:
    r"""Give every vector the norm 1: :math:`w / (\epsilon + \|w\|)`.

    Args:
        axis: Along which norms are taken, in Keras' layout. Default: ``0``.

    References:
        ``keras.constraints.UnitNorm``.
    """

    axis: Axis = 0

    def __post_init__(self) -> None:
        _check_axis(self.axis)

    def __call__(self, w: Tensor) -> Tensor:
        """Return the projected ``w``."""
        return w / (_EPSILON + _norms(w, self.axis))


@dataclass(frozen=True)
class MinMaxNorm:
    r"""Bring norms between two bounds, at once (``rate=1``) or step by step.

    .. math:: w \cdot \frac{r \, \mathrm{clip}(\|w\|, a, b) + (1 - r) \|w\|}{\epsilon + \|w\|}

    Args:
        min_value: Least norm, :math:`a`. Default: ``0.0``.
        max_value: Greatest norm, :math:`b`. Default: ``1.0``.
        rate: How much of the way to go at each step, :math:`r`. Default: ``1.0``.
        axis: Along which norms are taken, in Keras' layout. Default: ``0``.

    References:
        ``keras.constraints.MinMaxNorm``.
    """

    min_value: float = 0.0
    max_value: float = 1.0
    rate: float = 1.0
    axis: Axis = 0

    def __post_init__(self) -> None:
        for name in ("min_value", "max_value", "rate"):
            _check(name, getattr(self, name))
        _check_axis(self.axis)

    def __call__(self, w: Tensor) -> Tensor:
        """Return the projected ``w``."""
        norms = _norms(w, self.axis)
        desired = self.rate * norms.clamp(self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (desired / (_EPSILON + norms))


#: Keras' names.
CONSTRAINTS: dict[str, Callable[..., Constraint]] = {
    "max_norm": MaxNorm,
    "MaxNorm": MaxNorm,
    "non_neg": NonNeg,
    "NonNeg": NonNeg,
    "unit_norm": UnitNorm,
    "UnitNorm": UnitNorm,
    "min_max_norm": MinMaxNorm,
    "MinMaxNorm": MinMaxNorm,
}


def get(identifier: Any, what: str = "constraint") -> Constraint | None:
    """Return the constraint that ``identifier`` names: an instance, callable, name or serialized dict.

    Raises:
        ValueError: If the name is unknown, or its config does not fit.
        TypeError: If it is none of these.
    """
    made: Constraint | None = resolve(identifier, CONSTRAINTS, what, "MaxNorm(2)")
    return made


def serialize(constraint: Constraint | None) -> dict[str, Any] | None:
    """Write a constraint as Keras does."""
    return _serialize(constraint, "keras.constraints")
